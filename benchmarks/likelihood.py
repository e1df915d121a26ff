"""How near a plain VAE of this package comes to the literature on dynamically binarised MNIST.

    python benchmarks/likelihood.py [--minutes M] [--threads N] [--dataset results/data/dataset.npz] [--json FILE]

The model is that of Burda et al. (2016, table 1, one stochastic layer, k = 1): encoder and decoder of two layers of 200
units, 50 latent units. Its test log-likelihood is -86.76 nats after 3,280 epochs, bounded with 5,000 codes per image.
Here it is trained for M minutes (30 if not given), with their schedule squeezed into that time: step sizes of
0.001 · 10^(-i/7), for i = 0 to 7, each for three times as long as the one before. LeakyReLU instead of tanh, batches of
100 instead of 20, and torch's own initial weights are all else that differs. The curve is of 50 codes for each of 500
test images; the last value is of 5,000 codes for every test image, after the time.
"""

import argparse
import json
import os
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from vae import seeds
from vae.data import dataset, source
from vae.grid import Spec
from vae.measures import likelihood
from vae.models.networks import Networks
from vae.models.vae import as_inputs, build
from vae.training.loop import Run, terms
from vae.training.objective import Objective

SPEC = Spec.parse("L50_DNN2_DNN2")
WIDTHS = Networks(hidden_units=200, base_channels=1)
ELBO = Objective("bernoulli", 0.1, 1.0, "sum")
BATCH = 100
STAGES = 8
LITERATURE = -86.76
POINTS = 20


def step_size(share: float) -> float:
    """The step size when this share of the time is over: stage i ends at (3^(i + 1) - 1) / (3^8 - 1) of it."""
    ends = [(3 ** (i + 1) - 1) / (3**STAGES - 1) for i in range(STAGES)]
    stage = next((i for i, end in enumerate(ends) if share < end), STAGES - 1)
    return 0.001 * 10 ** (-stage / (STAGES - 1))


def main(arguments: list[str] | None = None) -> None:
    """Train, and print the curve and the last value."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--dataset", type=Path, help="dataset.npz of a study of grey MNIST; fetched if not given")
    parser.add_argument("--samples", type=int, default=5000, help="codes per image of the last value")
    parser.add_argument("--json", type=Path, help="write the curve to this file too")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    published = {"name": "mnist", "path": None, "validation_images": None, "binarise": False}
    data = dataset.load(args.dataset) if args.dataset else source.load(published)
    # All that the file of training images has, as in the literature.
    images = torch.from_numpy(np.concatenate([data.train_images, data.validation_images]))
    test = torch.from_numpy(dataset.binarise(data.test_images, seeds.of_study("test_pixels")))
    few = test[seeds.draw(len(test), 500)]
    run, curve, trained, epochs = Run(SPEC, 0, torch.device("cpu")), [], 0.0, 0
    model = build(SPEC, tuple(images.shape[1:]), WIDTHS, run.weights_seed)
    optimizer = torch.optim.Adam(model.parameters(), eps=1e-4, fused=True)
    while trained < 60 * args.minutes:
        begun = perf_counter()
        optimizer.param_groups[0]["lr"] = step_size(trained / 60 / args.minutes)
        drawn = run.images(images)
        for chosen, noise in run.batches(len(images), BATCH):
            inputs = as_inputs(drawn[chosen])
            terms(ELBO, model(inputs, noise), inputs, ELBO.beta)[0].backward()
            optimizer.step()
            optimizer.zero_grad()
        trained, epochs = trained + perf_counter() - begun, epochs + 1
        if trained >= 60 * args.minutes * (len(curve) + 1) / POINTS:
            value, error = likelihood.bound(likelihood.log_weights(model, few, ELBO, 50, 0))
            curve.append({"minutes": trained / 60, "epochs": epochs, "bound": value, "error": error})
            print(f"{trained / 60:5.1f} min, {epochs:4d} epochs: {value:.2f} ± {error:.2f}", flush=True)
    value, error = likelihood.bound(likelihood.log_weights(model, test, ELBO, args.samples, 0))
    print(f"{args.samples:,} codes, {len(test):,} images: {value:.2f} ± {error:.2f} nats; literature {LITERATURE}")
    if args.json:
        last = {"samples": args.samples, "bound": value, "error": error, "literature": LITERATURE}
        args.json.write_text(json.dumps({"curve": curve, "last": last, "epochs": epochs}, indent=2) + "\n")


if __name__ == "__main__":
    main()
