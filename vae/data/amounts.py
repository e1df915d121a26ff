"""How many images a config asks for, and how many there are."""

from collections.abc import Iterator

from vae.errors import UserError


def check(config: dict, train: int, test: int) -> None:
    """Raise UserError where a config asks for more of so many training and test images than there are."""
    grid, own = config["grid"], config["training"]["images"]
    others = (count for axes in ("sweep", "tune") for count in grid.get(axes, {}).get("training.images", []))
    for asked in (own, *others):
        check_training(asked, train)
    check_gaps(config["evaluation"]["gap_images"], own or train, test)


def check_training(count: int | None, train: int) -> None:
    """Raise UserError where fewer training images are there than models are to be trained on; None stands for all."""
    if count and count > train:
        raise UserError(f"training.images: {count} are asked for, the dataset has {train} training images")


def check_gaps(count: int, train: int, test: int) -> None:
    """Raise UserError where fewer images than gaps are to be measured on are trained or tested on."""
    if count == 1:
        raise UserError(
            "evaluation.gap_images: of one image there is no standard error; ask for 2 or more, or 0 for none"
        )
    for name, total in (("training", train), ("test", test)):
        if count > total:
            raise UserError(f"evaluation.gap_images: {count} are asked for, there are {total} {name} images")


def remarks(config: dict, facts: dict) -> Iterator[str]:
    """Lines that say where all images of a dataset, whose .json has these facts, are taken as more are asked for."""
    of_key = {"probe_images": "validation", "separability_images": "test", "likelihood_images": "test"}
    for key, name in of_key.items():
        asked, there = config["evaluation"].get(key), facts[f"{name}_images"]
        if asked and asked > there:
            yield f"evaluation.{key}: {asked} are asked for, there are {there} {name} images; all are taken"
    trained, batch = config["training"]["images"] or facts["train_images"], config["training"]["batch_size"]
    if batch > trained:
        yield f"training.batch_size: {batch} are asked for, there are {trained} training images; all are in every batch"
