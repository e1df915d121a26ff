"""Sprites: images whose distribution is known, made on the fly.

A sprite is a shape of some size, at some angle and place, and in colour images of some colour. A template that two of
them share is kept once, and no angle is there twice by a shape's symmetry. An image is a template, each as likely, with
every pixel flipped with the probability `FLIPPED`:

    log p*(x) = log 1/N Σ_v p(x|v),    log p(x|v) = d log ε + (D − d) log(1 − ε),

with d the number of the D pixels in which x differs from the template v: exact, by enumeration. What −ELBO exceeds
−log p*(x) by is what a model loses, on a scale whose zero is known.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import cos, log, pi, sin, sqrt
from typing import NamedTuple

import numpy as np

from vae.seeds import of_study

FLIPPED = 0.02
TRAIN, TEST = 60_000, 10_000
FACTORS = ("shape", "size", "angle", "column", "row", "colour")
# In steps of 30°, how many angles there are before a shape looks the same again.
SHAPES = {"square": 3, "ellipse": 6, "heart": 12}
STEP = pi / 6
# Half of the width of shapes, and how far their centres are from that of the image, in sixteenths of its side.
SIZES = (2.5, 3.5, 4.5)
PLACES = (-2.5, -1.5, -0.5, 0.5, 1.5, 2.5)
# All but black.
COLOURS = [colour for colour in product((0, 1), repeat=3) if any(colour)]
BATCH = 500  # images that are drawn, or compared with all templates, at once; bounds the memory


class Sprite(NamedTuple):
    """The factors of an image, by the places of its values in their lists."""

    shape: int
    size: int
    angle: int
    column: int
    row: int
    colour: int = 0


@dataclass(frozen=True)
class Sprites:
    """Sprites of `side` × `side` pixels, with `channels` 1 for white ones, or 3 for those in seven colours."""

    side: int
    channels: int = 1

    @property
    def image_shape(self) -> tuple[int, ...]:
        return (self.side, self.side) if self.channels == 1 else (self.channels, self.side, self.side)

    @cached_property
    def distinct(self) -> tuple[np.ndarray, np.ndarray]:
        """The N templates, `bool [N, D]`, and the factors of each, `int64 [N, 5]`, or 6 in colour."""
        colours = range(len(COLOURS)) if self.channels == 3 else (0,)
        kinds = [(shape, angle) for shape, angles in enumerate(SHAPES.values()) for angle in range(angles)]
        places = range(len(PLACES))
        every = [
            Sprite(shape, size, angle, column, row, colour)
            for (shape, angle), size, column, row, colour in product(kinds, range(len(SIZES)), places, places, colours)
        ]
        masks = {sprite[:5]: self._mask(sprite) for sprite in every}
        templates = np.array([self._coloured(masks[sprite[:5]], sprite.colour).ravel() for sprite in every])
        _, first = np.unique(templates, axis=0, return_index=True)
        chosen = np.sort(first)
        return templates[chosen], np.array(every)[chosen, : len(self.factors)]

    @property
    def factors(self) -> tuple[str, ...]:
        """The names of the factors."""
        return FACTORS if self.channels == 3 else FACTORS[:-1]

    def _mask(self, sprite: Sprite) -> np.ndarray:
        """The pixels of a shape, `bool [H, W]`: those whose centres it covers."""
        unit, angle = self.side / 16, sprite.angle * STEP
        middles = np.arange(self.side) + 0.5 - self.side / 2
        x = (middles[None, :] - PLACES[sprite.column] * unit) / (SIZES[sprite.size] * unit)
        y = (middles[:, None] - PLACES[sprite.row] * unit) / (SIZES[sprite.size] * unit)
        u, v = cos(angle) * x + sin(angle) * y, cos(angle) * y - sin(angle) * x
        name = list(SHAPES)[sprite.shape]
        if name == "square":
            return np.maximum(abs(u), abs(v)) <= 0.8
        if name == "ellipse":
            return u**2 + (2 * v) ** 2 <= 1
        u, v = 1.2 * u, -1.2 * v + 0.1
        return (u**2 + v**2 - 1) ** 3 <= u**2 * v**3

    def _coloured(self, mask: np.ndarray, colour: int) -> np.ndarray:
        return mask if self.channels == 1 else mask * np.array(COLOURS[colour], bool)[:, None, None]

    def draw(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Images of p*, `uint8 [count, ...]` of 0 and 255, and their factors, `int64 [count, factors]`."""
        templates, factors = self.distinct
        chosen = rng.integers(len(templates), size=count)
        pixels = templates[chosen]
        for start in range(0, count, BATCH):
            part = pixels[start : start + BATCH]
            part ^= rng.random(part.shape, np.float32) < FLIPPED
        return (pixels * np.uint8(255)).reshape(count, *self.image_shape), factors[chosen]

    def arrays(self) -> dict[str, np.ndarray]:
        """Training and test images with their factors, and their shape as label, by the names of a dataset's parts."""
        arrays: dict[str, np.ndarray] = {}
        for part, count in (("train", TRAIN), ("test", TEST)):
            images, factors = self.draw(count, np.random.default_rng(of_study(f"sprites_{part}")))
            arrays |= {f"{part}_images": images, f"{part}_labels": factors[:, 0], f"{part}_factors": factors}
        return arrays

    def log_likelihoods(self, images: np.ndarray) -> np.ndarray:
        """log p(x|v) + log 1/N of images `uint8 [B, ...]` and all templates, `float64 [B, N]`, in nats."""
        templates, _ = self.distinct
        pixels = images.reshape(len(images), -1) > 127
        inside, templates_inside = pixels.astype(np.float32), templates.astype(np.float32)
        # How many pixels differ; exact, as counts are far below what float32 can tell apart.
        differing = inside.sum(1)[:, None] + templates_inside.sum(1) - 2 * inside @ templates_inside.T
        known = differing.astype(np.float64)
        count = templates.shape[1]
        return known * log(FLIPPED) + (count - known) * log(1 - FLIPPED) - log(len(templates))

    def log_probabilities(self, images: np.ndarray) -> np.ndarray:
        """log p*(x) of images `uint8 [B, ...]` of 0 and 255, `float64 [B]`, in nats."""
        batches = (images[start : start + BATCH] for start in range(0, len(images), BATCH))
        return np.concatenate([np.logaddexp.reduce(self.log_likelihoods(batch), axis=1) for batch in batches])

    def entropy(self, images: np.ndarray) -> tuple[float, float]:
        """The entropy of p*, in nats, and its standard error, from images that are drawn from it.

        H(x) = H(v) + H(x|v) − H(v|x), of which the first two are known, and the last, how far an image leaves open
        which template it is, is small; its mean over the images has little noise.
        """
        templates, _ = self.distinct
        flips = -(FLIPPED * log(FLIPPED) + (1 - FLIPPED) * log(1 - FLIPPED))
        left = []
        for start in range(0, len(images), BATCH):
            joint = self.log_likelihoods(images[start : start + BATCH])
            posterior = joint - np.logaddexp.reduce(joint, axis=1, keepdims=True)
            left.append(-(np.exp(posterior) * posterior).sum(1))
        open_ = np.concatenate(left)
        known = log(len(templates)) + templates.shape[1] * flips
        return float(known - open_.mean()), float(open_.std(ddof=1) / sqrt(len(open_)))


SPRITES = {
    "sprites": Sprites(16),
    "sprites32": Sprites(32),
    "sprites_rgb": Sprites(16, 3),
    "sprites32_rgb": Sprites(32, 3),
}
