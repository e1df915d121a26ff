"""Reconstructions of test images, and samples from the prior."""

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from vae.report.figures.drawing import WIDTH, Study, figure


@figure
def reconstructions(study: Study) -> list[Figure]:
    """Test images above what the best, the median and the worst models make of them."""
    return _gallery(
        study,
        "reconstructions",
        "Test images and their reconstructions by the best, median and worst models",
        inputs=True,
    )


@figure
def prior_samples(study: Study) -> list[Figure]:
    """Decoded draws from the prior, of the best, the median and the worst models."""
    return _gallery(
        study, "samples", "Samples from the prior, by the best, median and worst models (by reconstruction)"
    )


def _gallery(study: Study, key: str, title: str, inputs: bool = False) -> list[Figure]:
    labels = study.labels.dropna(subset="reconstruction")
    middle = max(len(labels) // 2 - 1, 0)
    chosen = {"best": labels.head(3), "median": labels.iloc[middle : middle + 3], "worst": labels.tail(3)}
    rows = []
    for group, part in chosen.items():
        for _, row in part.iterrows():
            examples = study.arrays(row["label"], "examples.npz", key, "indices")
            caption = (
                f"{group}: {row['label']}\nrank {row['rank']}, {row['reconstruction']:.1f} + {row['kld']:.1f} nats"
            )
            rows.append((caption, examples[key]))
            chosen_images = study.test_images[examples["indices"]]
    if inputs:
        rows.insert(0, ("test images", chosen_images))
    page, grid = plt.subplots(len(rows), 2, figsize=(WIDTH, 0.72 * len(rows) + 0.5), width_ratios=[1.8, 6.2])
    for (left, right), (caption, images) in zip(grid, rows, strict=True):
        left.text(1, 0.5, caption, ha="right", va="center", transform=left.transAxes)
        right.imshow(_strip(images), cmap="gray_r" if images.ndim == 3 else None, vmin=0, vmax=255)
        left.set_axis_off()
        right.set_axis_off()
    page.suptitle(title)
    return [page]


def _strip(images: np.ndarray) -> np.ndarray:
    """Images `uint8 [N, H, W]` or `[N, C, H, W]` side by side, as `[H, N·W]` or `[H, N·W, 3]`."""
    if images.ndim == 4:
        images = np.moveaxis(images, 1, -1)
        if images.shape[-1] != 3:
            images = images.mean(-1, keepdims=True).repeat(3, -1).astype(np.uint8)
    return np.concatenate(list(images), axis=1)
