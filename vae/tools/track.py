"""Show a study in TensorBoard or MLflow, after or while it runs: called again, it adds what is new.

Each model is a run, with its curves, its hyperparameters and, once it is measured, its final metrics.
"""

import argparse
from collections import Counter
from pathlib import Path

from vae.errors import UserError
from vae.report.tracking import mlflow, tensorboard
from vae.report.tracking.runs import runs

IMAGES = 300


def arguments(parser: argparse.ArgumentParser) -> None:
    """The folder of a study, the tracker, where it keeps what it shows, and what of it."""
    parser.add_argument("results", type=Path, help="the folder of a study")
    parser.add_argument("--to", choices=["tensorboard", "mlflow"], required=True, help="the tracker")
    parser.add_argument("target", metavar="DIR", help="folder to write, of one study; with mlflow also a tracking URI")
    parser.add_argument(
        "--images",
        type=int,
        metavar="N",
        help=f"test images of every model whose codes TensorBoard projects (default: {IMAGES}; 0 for none)",
    )
    parser.add_argument(
        "--experiment", metavar="NAME", help="the experiment of MLflow (default: the name of the study's folder)"
    )


def run(args: argparse.Namespace) -> None:
    """Write what is new, and print how much that is and how to look at it."""
    # All of it is read before any is written.
    if args.to == "tensorboard":
        outcome, shown = _tensorboard(args), f"tensorboard --logdir {args.target}"
    else:
        outcome, shown = _mlflow(args), f"mlflow ui --backend-store-uri {mlflow.address(args.target)}"
    counts = ", ".join(f"{outcome[name]} {name}" for name in ("added", "extended", "replaced", "unchanged"))
    print(f"{args.target}: {counts}; to look at them: {shown}")


def _tensorboard(args: argparse.Namespace) -> Counter[str]:
    if args.experiment is not None:
        raise UserError("--experiment: MLflow has experiments, and TensorBoard has none; name another folder")
    count = IMAGES if args.images is None else args.images
    if count < 0:
        raise UserError(f"--images {count}: give a number from 0")
    thumbnails = tensorboard.Thumbnails(args.results / "data/dataset.npz", count) if count else None
    return tensorboard.track(list(runs(args.results)), Path(args.target), thumbnails)


def _mlflow(args: argparse.Namespace) -> Counter[str]:
    if args.images is not None:
        raise UserError("--images: TensorBoard projects the codes of images, and MLflow does not")
    here = args.results.absolute()
    name = args.experiment or (here.parent.name if here.name == "results" else here.name)
    return mlflow.track(list(runs(args.results)), args.target, name)
