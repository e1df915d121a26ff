"""`vae <stage> …`: the stages of a study as commands, one per rule of the workflow.

A command reads its arguments and files and calls the module that does the work. Each imports what it needs when it is
called: torch takes seconds to import, and most stages do without.
"""

import argparse
import logging
import os
import shlex
import sys
from pathlib import Path

from vae.errors import UserError

log = logging.getLogger("vae")


def main(arguments: list[str] | None = None) -> int:
    """Run one stage; returns the exit code: 0, 2 for bad input, 1 for what the system refused."""
    args = _parser().parse_args(arguments)
    args.given = sys.argv[1:] if arguments is None else arguments
    try:
        _start_log(args.log)
        args.run(args)
    except UserError as error:
        log.error("%s", error)
        return 2
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        log.error("%s%s", where, error.strerror or error)
        return 1
    except Exception:
        log.exception("this should not happen, and is a bug of the program")
        return 1
    return 0


def _start_log(path: Path | None) -> None:
    """Progress goes to the log file, or to the terminal where there is none; warnings and errors always go to both."""
    logging.raiseExceptions = False  # a log that cannot be written, on a full disk, must not hide the error itself
    terminal = logging.StreamHandler()
    terminal.setFormatter(logging.Formatter("vae: %(levelname)s: %(message)s"))
    handlers: list[logging.Handler] = [terminal]
    if path:
        terminal.setLevel(logging.WARNING)
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(path, mode="w", encoding="utf-8"))
        handlers[1].setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=handlers, force=True)
    for package in ("vae", "export"):
        logging.getLogger(package).setLevel(logging.INFO)


def _command(args: argparse.Namespace, folder: Path | None = None) -> str:
    """The command that does again what this one did: of a job, for the model of one folder."""
    words, kept = iter(args.given), ["python", "-m", "vae"]
    for word in words:
        if word == "--log":
            next(words)
        elif not folder or Path(word) not in args.models:
            kept.append(word)
    return shlex.join(kept + [str(folder)] * bool(folder))


def run_data(args: argparse.Namespace) -> None:
    """Fetch, check and write the dataset."""
    from vae import data
    from vae.files import read_config

    data.save(data.load(read_config(args.config)["dataset"]), args.output)


def run_study(args: argparse.Namespace) -> None:
    """Check the grid against the dataset's images, and write the merged config."""
    import yaml

    from vae import study
    from vae.files import read_config, read_json, write_text

    config = read_config(args.config)
    study.check(config, tuple(read_json(args.dataset.with_suffix(".json"))["image_shape"]))
    write_text(args.output, yaml.safe_dump(config, sort_keys=False))


def run_classifier(args: argparse.Namespace) -> None:
    """Train a classifier of the dataset, in whose features samples are compared with images."""
    import numpy as np
    import torch

    from export.graphs import export_features
    from vae import classifier, data, frechet, provenance
    from vae.files import write_npz

    torch.set_num_threads(args.threads)
    dataset = data.saved(args.dataset)
    if dataset.train_labels is None:
        write_npz(args.output)
        provenance.write(args.output.with_suffix(".json"), {"classifier_accuracy": None}, _command(args))
        return
    train, test = dataset.seen(np.arange(len(dataset.train_images))), dataset.test_images
    model = classifier.train(train, dataset.train_labels)
    moments = frechet.moments(classifier.features(model, test))
    mean_image = np.rint(dataset.train_images.mean(0, keepdims=True)).astype(np.uint8)
    others = {"frechet_floor": train[data.draw(len(train), args.samples)], "frechet_ceiling": mean_image.repeat(2, 0)}
    numbers = {
        name: frechet.distance(*frechet.moments(classifier.features(model, images)), *moments)
        for name, images in others.items()
    }
    numbers["classifier_accuracy"] = classifier.accuracy(model, test, dataset.test_labels)
    log.info("classifier: %s", numbers)
    graph = np.frombuffer(export_features(model.features, test), np.uint8)
    write_npz(args.output, graph=graph, mean=moments[0], covariance=moments[1])
    provenance.write(args.output.with_suffix(".json"), numbers, _command(args))


def run_pixels(args: argparse.Namespace) -> None:
    """Measure what models are held against: the classes in raw pixels and their components, and the linear theory."""
    import numpy as np

    from vae import data, linear, provenance, references
    from vae.files import read_config

    config, dataset = read_config(args.config), data.saved(args.dataset)
    held = references.Held(dataset, args.probe_images, args.images)
    numbers = references.pixels(held, config["grid"]["latent_sizes"])
    objective = config["objective"]
    images = dataset.seen(np.arange(len(dataset.train_images)))
    spectrum = linear.spectrum(images, objective["likelihood"], objective["sigma"])
    provenance.write(args.output, numbers | {"spectrum": spectrum.tolist()}, _command(args))


def run_untrained(args: argparse.Namespace) -> None:
    """Measure the classes in the codes of an encoder before it is trained."""
    import torch

    from vae import data, provenance, references
    from vae.files import read_config
    from vae.grid import Network
    from vae.networks import Widths

    torch.set_num_threads(args.threads)
    config = read_config(args.config)
    held = references.Held(data.saved(args.dataset), args.probe_images, args.images)
    sizes, seeds = config["grid"]["latent_sizes"], config["training"]["seeds"]
    widths = Widths(**config["networks"])
    numbers = references.untrained(held, Network.parse(args.encoder), sizes, seeds, widths)
    provenance.write(args.output, numbers, _command(args))


def run_train(args: argparse.Namespace) -> None:
    """Train models; on a GPU those of one encoder and decoder together.

    What an interrupted job has left is gone on with; it is kept until all models of the job are on disk, for Snakemake
    removes the files of a job that fails.
    """
    import torch

    from vae import checkpoint, data, device, evaluation, provenance, stacking, training
    from vae.files import read_config, read_json
    from vae.grid import parse_folder
    from vae.resume import Progress

    torch.set_num_threads(args.threads)
    config = read_config(args.config)
    dataset, facts = data.saved(args.dataset), read_json(args.dataset.with_suffix(".json"))
    recipe, chosen = training.Recipe.of(config, dataset.binarised), device.pick(config["device"])
    device.set_arithmetic(recipe.training.precision)
    images = torch.from_numpy(training.subset(dataset.train_images, recipe.training.images))
    test_images = torch.from_numpy(dataset.test_images)
    baseline = evaluation.mean_image_reconstruction(images, test_images, recipe.objective)
    members = [parse_folder(folder) for folder in args.models]
    limit = args.max_memory and args.max_memory * 2**20
    with device.leased(chosen, args.jobs_per_gpu) as own:
        progress = {}
        for folder, member in zip(args.models, members, strict=True):
            identity = provenance.stamp() | checkpoint.identity(folder, recipe, facts, own)
            progress[member] = Progress(folder / "unfinished.safetensors", identity)
        every = stacking.train_all(members, images.to(own), recipe, own, limit, progress)
        for folder, (spec, seed), trained in zip(args.models, members, every, strict=True):
            metrics = evaluation.measure(spec, seed, trained, test_images, recipe)
            metrics["mean_image_reconstruction"] = baseline
            checkpoint.save(folder, trained, metrics, recipe, facts, _command(args, folder))
    for kept in progress.values():
        kept.remove()


def run_export(args: argparse.Namespace) -> None:
    """Export models to TorchScript and ONNX, and check both."""
    import torch

    from export.graphs import export_trained
    from vae import data

    torch.set_num_threads(args.threads)
    images = data.read(args.dataset).test_images
    for folder in args.models:
        export_trained(folder, images, _command(args, folder))


def run_likelihood(args: argparse.Namespace) -> None:
    """Bound log p(x) of test images with importance-weighted codes."""
    import torch

    from vae import checkpoint, data, device, likelihood, provenance
    from vae.grid import parse_folder
    from vae.objective import Objective
    from vae.training import streams

    torch.set_num_threads(args.threads)
    images = data.read(args.dataset).test_images
    images = torch.from_numpy(images[data.draw(len(images), args.images)])
    with device.leased(device.pick(args.device), args.jobs_per_gpu) as own:
        for folder in args.models:
            recipe = provenance.read(folder / "provenance.json")["config"]
            device.set_arithmetic(recipe["training"]["precision"])
            model, seed = checkpoint.load(folder).to(own), streams(parse_folder(folder)[1], 5)[4]
            numbers = likelihood.measure(model, images, Objective(**recipe["objective"]), args.samples, seed)
            numbers |= {"samples": args.samples, "images": len(images), "device": device.describe(own)}
            provenance.write(folder / "likelihood.json", numbers, _command(args, folder))
            log.info("%s: %s", folder, numbers)


def run_latents(args: argparse.Namespace) -> None:
    """Compute latents of the test set and of training images, and a few example images, with the exported models."""
    from export import runtime
    from vae import data
    from vae.files import write_npz
    from vae.grid import parse_folder

    dataset = data.saved(args.dataset)
    indices = data.draw(len(dataset.train_images), args.probe_images)
    train_images = dataset.seen(indices)
    for folder in args.models:
        encoder = runtime.open_session(folder / "encoder.onnx", args.threads)
        train_mean, _ = runtime.run(encoder, train_images)
        mean, log_variance = runtime.run(encoder, dataset.test_images)
        train = {"train_mean": train_mean, "train_indices": indices}
        codes = {"mean": mean, "log_variance": log_variance, "command": _command(args, folder)}
        write_npz(folder / "latents.npz", **codes, **train)
        seed = parse_folder(folder)[1]
        examples = runtime.examples(folder, mean, log_variance, dataset.test_labels, seed, args.threads)
        write_npz(folder / "examples.npz", **examples)
        log.info("%s: %d test images encoded", folder, len(mean))


def run_project(args: argparse.Namespace) -> None:
    """Project latents on their principal components, and measure what they say of image and class."""
    from vae import data, information, probes, projection, provenance
    from vae.files import read_npz, write_npz
    from vae.grid import parse_folder

    dataset = data.read(args.dataset)
    chosen = data.draw(len(dataset.test_images), args.images)
    for folder in args.models:
        latents = read_npz(folder / "latents.npz", "mean", "log_variance", "train_mean", "train_indices")
        mean, log_variance, train_mean, indices = latents.values()
        components, ratio = projection.project(mean)
        labels = (None, None)
        if dataset.train_labels is not None:
            labels = dataset.train_labels[indices], dataset.test_labels[chosen]
        numbers = probes.measure(train_mean, labels[0], mean[chosen], labels[1])
        numbers |= information.measure(mean[chosen], log_variance[chosen], parse_folder(folder)[1])
        write_npz(folder / "projection.npz", components=components, explained_variance_ratio=ratio)
        numbers["explained_variance_ratio"] = ratio.tolist()
        provenance.write(folder / "projection.json", numbers, _command(args, folder))
        log.info("%s: %s", folder, numbers)


def run_quantise(args: argparse.Namespace) -> None:
    """Write encoders in 8-bit integers, and measure what that costs."""
    from export import quantise
    from vae import data, provenance
    from vae.files import read_npz

    dataset = data.saved(args.dataset)
    chosen = data.draw(len(dataset.test_images), args.images)
    test = dataset.test_images[chosen]
    for folder in args.models:
        latents = read_npz(folder / "latents.npz", "train_indices", "mean", "log_variance")
        indices, exact = latents["train_indices"], (latents["mean"][chosen], latents["log_variance"][chosen])
        labels = (None, None)
        if dataset.train_labels is not None:
            labels = dataset.train_labels[indices], dataset.test_labels[chosen]
        train = dataset.seen(indices)
        quantise.quantise(folder, train)
        numbers = quantise.cost(folder, train, test, labels, exact, args.threads)
        provenance.write(folder / "encoder.int8.json", numbers, _command(args, folder))
        log.info("%s: %s", folder, numbers)


def run_sample(args: argparse.Namespace) -> None:
    """Compare draws from the prior, decoded by the exported decoders, with the test images."""
    from export import runtime
    from vae import data, frechet, provenance
    from vae.files import read_json, read_npz
    from vae.grid import parse_folder

    binarised, session = read_json(args.dataset.with_suffix(".json"))["binarised"], None
    classifier = read_npz(args.classifier, optional=("graph", "mean", "covariance"))
    if classifier:
        session = runtime.open_session(classifier["graph"].tobytes(), args.threads)
        moments = classifier["mean"], classifier["covariance"]
    for folder in args.models:
        found = None
        if session:
            seed = parse_folder(folder)[1]
            images = runtime.prior_samples(folder, args.samples, seed, args.threads)
            # The draws of test and training images have the seeds 0 and 1.
            (features,) = runtime.run(session, data.binarise(images, 2 + seed) if binarised else images)
            found = frechet.distance(*frechet.moments(features), *moments)
        numbers = {"samples": args.samples, "frechet_distance": found}
        provenance.write(folder / "samples.json", numbers, _command(args, folder))
        log.info("%s: Fréchet distance %s", folder, found)


def run_rank(args: argparse.Namespace) -> None:
    """Gather all models in one table, and count who is in the top quartile."""
    from vae import ranking
    from vae.files import read_config, write_text
    from vae.grid import expand

    config = read_config(args.config)
    specs, seeds = expand(config["grid"]), config["training"]["seeds"]
    ranking.check(args.models, specs, seeds, config)
    rows = ranking.table(args.models, args.references, specs, seeds, config["evaluation"])
    write_text(args.table, rows.to_csv(index=False))
    write_text(args.counts, ranking.counts(ranking.by_architecture(rows), 1 / 4).to_csv(index=False))


def run_claims(args: argparse.Namespace) -> None:
    """Test the paper's claims, and fit the linear model of effects."""
    from vae import claims, effects, ranking
    from vae.files import write_text

    rows = ranking.read(args.table)
    write_text(args.output, claims.verdicts(rows).to_csv(index=False))
    write_text(args.effects, effects.fit(rows).to_csv(index=False))


def run_page(args: argparse.Namespace) -> None:
    """Write the page of claims, with the figures that show them."""
    from vae import page, ranking
    from vae.files import write_text

    write_text(args.output, page.claims(page.read(args.claims), ranking.read(args.table), args.figures))


def run_figure(args: argparse.Namespace) -> None:
    """Draw one figure as PNG and PDF."""
    import numpy as np

    from vae import data, figures, ranking
    from vae.files import read_json

    rows, dataset = ranking.read(args.table), data.read(args.dataset)
    spectrum = np.array(read_json(args.references / "pixels.json")["spectrum"])
    labels, test = ranking.by_architecture(rows), (dataset.test_labels, dataset.test_images)
    study = figures.Study(rows, labels, args.models, spectrum, *test)
    figures.save(figures.FIGURES[args.name](study), args.png, args.pdf)


def run_leaderboard(args: argparse.Namespace) -> None:
    """Write the table of models as a sortable HTML page."""
    from vae import leaderboard, ranking
    from vae.files import read_json, write_text

    write_text(args.output, leaderboard.page(ranking.read(args.table), read_json(args.dataset.with_suffix(".json"))))


def run_encode(args: argparse.Namespace) -> None:
    """Encode images from IDX (plain or .gz), .npy or a folder of PNGs with a trained encoder, to .npy."""
    from export.encoder import Encoder

    encoder = Encoder.load(args.model, args.runtime, args.device, args.threads)
    encoder.encode_file(
        args.images, args.output, args.log_variance, args.sample, args.overwrite, progress=args.log is None
    )
    print(f"{args.output}: codes of {encoder.label}, with {encoder.runtime}")


def run_decode(args: argparse.Namespace) -> None:
    """Decode codes, .npy [N, latent], with a trained decoder, to images .npy `uint8`."""
    from export import codes

    codes.decode_file(args.model, args.codes, args.output, args.threads, args.overwrite)
    print(args.output)


def run_native(args: argparse.Namespace) -> None:
    """Build the encoder in C++, and print where its program is."""
    from export import native

    if args.copy_to and args.copy_to.exists():
        raise UserError(f"{args.copy_to}: exists; choose another folder")
    folder = native.build()
    if args.copy_to:
        native.copy(args.copy_to)
        folder = args.copy_to
    print(folder / "bin" / "latent-encode")


def run_models(args: argparse.Namespace) -> None:
    """List the models of a study with their ranks, best first."""
    from vae import ranking
    from vae.grid import Spec, folder

    rows = ranking.read(args.results / "tables/models.csv")
    rows["folder"] = [
        str(folder(args.results / "models", Spec.parse(one.label), one.seed)) for one in rows.itertuples()
    ]
    shown = rows[["rank", "label", "seed", "reconstruction", "kld", "elbo", "collapsed", "status", "folder"]]
    print(shown.to_string(index=False, float_format="{:.2f}".format))


def run_provenance(args: argparse.Namespace) -> None:
    """Say how every number of a model came about, and whether its files are still those that were written."""
    import yaml

    from vae import provenance

    found = provenance.of_model(args.model)
    commands = found.pop("commands")
    print(yaml.safe_dump(found, sort_keys=False, width=120))
    print("# Each again, from the folder that the study ran in:")
    for command, names in commands.items():
        print(f"{command}  # {', '.join(names)}")


def run_compare(args: argparse.Namespace) -> None:
    """Lay two studies beside each other: verdicts side by side, and the architectures whose rank shifts."""
    from vae import compare, figures
    from vae.files import write_text

    first, second = (compare.Study.read(results) for results in (args.results_a, args.results_b))
    verdicts, ranks = compare.verdicts(first, second), compare.ranks(first, second)
    picture = args.output / "shifted_ranks.png"
    figures.save(compare.shifted_ranks(ranks, first, second), picture, picture.with_suffix(".pdf"))
    write_text(args.output / "verdicts.csv", verdicts.to_csv(index=False))
    write_text(args.output / "ranks.csv", ranks.to_csv(index=False))
    write_text(args.output / "compare.html", compare.write_page(verdicts, first, second, picture))
    print(args.output / "compare.html")


def _parser() -> argparse.ArgumentParser:
    """The command line; options that several stages share are defined once."""
    shared = {
        "--config": {"required": True, "help": "YAML file, or inline JSON, such as the results/config.yaml of a study"},
        "--dataset": {"required": True, "type": Path, "help": "dataset.npz, with dataset.json beside it"},
        "--threads": {"type": int, "default": 1, "help": "CPU threads"},
        "--jobs-per-gpu": {
            "type": int,
            "default": int(os.environ.get("VAE_JOBS_PER_GPU", 1)),
            "help": "how many jobs may share a GPU, $VAE_JOBS_PER_GPU or 1 if not given; others wait for a free one",
        },
        "--images": {"type": int, "help": "how many test images to measure on; all if not given"},
        "--probe-images": {"type": int, "help": "how many training images probes are fitted on; all if not given"},
        "--samples": {"type": int, "required": True, "help": "draws from the prior; of `likelihood`, codes per image"},
        "--table": {"required": True, "type": Path, "help": "models.csv"},
        "models": {"nargs": "+", "type": Path, "help": "folders of models, <anything>/<label>/seed<k>"},
        "--models": {"required": True, "type": Path, "help": "the folder that holds all models"},
        "--references": {"required": True, "type": Path, "help": "the folder that holds what models are held against"},
        "encoder": {"help": "an encoder, such as CNN2"},
        "output": {"type": Path, "help": "the file to write"},
    }
    stages = {
        "data": (run_data, ["--config", "output"]),
        "study": (run_study, ["--config", "--dataset", "output"]),
        "classifier": (run_classifier, ["--dataset", "--threads", "--samples", "output"]),
        "pixels": (run_pixels, ["--config", "--dataset", "--images", "--probe-images", "output"]),
        "untrained": (
            run_untrained,
            ["--config", "--dataset", "--threads", "--images", "--probe-images", "encoder", "output"],
        ),
        "train": (run_train, ["--config", "--dataset", "--threads", "--jobs-per-gpu", "models"]),
        "likelihood": (
            run_likelihood,
            ["--dataset", "--threads", "--jobs-per-gpu", "--images", "--samples", "models"],
        ),
        "export": (run_export, ["--dataset", "--threads", "models"]),
        "quantise": (run_quantise, ["--dataset", "--threads", "--images", "models"]),
        "latents": (run_latents, ["--dataset", "--threads", "--probe-images", "models"]),
        "project": (run_project, ["--dataset", "--images", "models"]),
        "sample": (run_sample, ["--dataset", "--threads", "--samples", "models"]),
        "rank": (run_rank, ["--config", "--models", "--references", "--table"]),
        "claims": (run_claims, ["--table", "output"]),
        "page": (run_page, ["--table", "output"]),
        "figure": (run_figure, ["--table", "--models", "--references", "--dataset"]),
        "compare": (run_compare, []),
        "models": (run_models, []),
        "provenance": (run_provenance, []),
        "encode": (run_encode, []),
        "decode": (run_decode, []),
        "native": (run_native, []),
        "leaderboard": (run_leaderboard, ["--table", "--dataset", "output"]),
    }
    parser = argparse.ArgumentParser(prog="vae", description="The stages of a study of VAE architectures.")
    commands = parser.add_subparsers(required=True, metavar="stage")
    for name, (run, options) in stages.items():
        command = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        command.set_defaults(run=run)
        command.add_argument("--log", type=Path, help="write progress to this file instead of the terminal")
        for option in options:
            command.add_argument(option, **shared[option])
        if name == "train":
            command.add_argument(
                "--max-memory",
                type=int,
                metavar="MIB",
                help="memory to train in, of the device; what is free if not given",
            )
        if name == "likelihood":
            command.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
        if name == "sample":
            command.add_argument("--classifier", type=Path, required=True, help="what `classifier` has written")
        if name == "rank":
            command.add_argument("--counts", required=True, type=Path, help="the table of counts to write")
        if name == "claims":
            command.add_argument("effects", type=Path, help="the table of effects to write")
        if name == "page":
            command.add_argument("--claims", type=Path, required=True, help="claims.csv")
            command.add_argument("figures", type=Path, nargs="*", help="figures to show, as PNG")
        if name == "models":
            command.add_argument("results", type=Path, nargs="?", default=Path("results"), help="the folder of a study")
        if name == "provenance":
            command.add_argument("model", type=Path, help="the folder of a model, <anything>/<label>/seed<k>")
        if name in ("encode", "decode"):
            command.add_argument("model", type=Path, help="the folder of a model, or its .onnx")
            command.add_argument("images" if name == "encode" else "codes", type=Path, help="what to read")
            command.add_argument("output", type=Path, help="the .npy to write")
            command.add_argument("--threads", type=int, help="CPU threads; all if not given")
            command.add_argument("--overwrite", action="store_true", help="replace what is there")
        if name == "encode":
            command.add_argument(
                "--runtime", default="auto", choices=["auto", "onnx", "torchscript", "native", "aot", "int8"]
            )
            command.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
            command.add_argument("--sample", type=int, metavar="SEED", help="write draws from q(z|x), not its means")
            command.add_argument("--log-variance", type=Path, metavar="FILE", help="write log-variances too, as .npy")
        if name == "native":
            command.add_argument("action", choices=["build"], help="build it for this machine, once")
            command.add_argument(
                "--copy-to", type=Path, metavar="FOLDER", help="copy program, library and header there"
            )
        if name == "compare":
            command.add_argument("results_a", type=Path, help="the results folder of a study")
            command.add_argument("results_b", type=Path, help="that of another")
            command.add_argument(
                "--output", type=Path, default=Path("comparison"), help="folder; comparison by default"
            )
        if name == "figure":
            command.add_argument("name", help="which figure")
            command.add_argument("png", type=Path)
            command.add_argument("pdf", type=Path)
    return parser
