"""The paper's claims, each as a number with an interval and a verdict, from the table of models alone.

A claim's statistic is a number that is positive where the claim holds, or several, where it holds if all are positive.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from scipy import stats

from vae.analysis.claims.statistics import (
    Sample,
    by_latent_size,
    enriched,
    in_deviations,
    mean,
    of_each,
    of_family,
    rank_correlation,
    rank_correlation_p,
)
from vae.analysis.ranking import is_collapsed
from vae.catalogue import FIGURES
from vae.registry import Registry

# For claims in words that are no numbers. The bounds of "nearly half" were set when the default study was known to have
# 30% collapsed: as wide as the interval that a hundred architectures give, or no share could support the claim.
NEARLY_HALF = (1 / 3, 3 / 5)
SEPARABLE = 0.8  # kNN accuracy
NO_HARM = 0.1  # standard deviations of the score over the grid


@dataclass(frozen=True)
class Claim:
    """What the paper says, what the statistic means, and the figure that shows it.

    Then the finding in plain words, from the sample and the statistic's value; the statistic; and its p-value where
    there is one.
    """

    name: str
    sentence: str
    meaning: str
    figure: str
    finding: Callable[[Sample, float], str]
    statistic: Callable[[Sample], float | list[float]]
    p: Callable[[Sample], float] | None = None


CLAIMS: Registry[Claim] = Registry("claim")
Statistic = TypeVar("Statistic", bound=Callable[[Sample], float | list[float]])


def claim(
    sentence: str,
    meaning: str,
    figure: str,
    finding: Callable[[Sample, float], str],
    p: Callable[[Sample], float] | None = None,
) -> Callable[[Statistic], Statistic]:
    """Register a function as the statistic of the claim that bears its name."""

    def register(statistic: Statistic) -> Statistic:
        name = statistic.__name__
        CLAIMS.add(name, Claim(name, sentence, meaning, FIGURES[figure].name, finding, statistic, p))
        return statistic

    return register


@claim(
    "Nearly half of the models collapse.",
    "how far inside a third to three fifths the share of collapsed ones lies",
    "collapse_atlas",
    lambda sample, _: f"{sample.collapsed.sum():.4g} of {len(sample.collapsed)} architectures collapse.",
)
def collapse(sample: Sample) -> list[float]:
    share, (low, high) = sample.collapsed.mean(), NEARLY_HALF
    return [share - low, high - share]


@claim(
    "Models that code less reconstruct worse.",
    "rank correlation of KLD and reconstruction loss, with its sign turned",
    "reconstruction_ranked",
    lambda _, value: f"Over all models, KLD and loss correlate by {-value:+.2f}.",
    lambda sample: rank_correlation_p(sample.kld, sample.reconstruction),
)
def collapse_and_reconstruction(sample: Sample) -> float:
    return -rank_correlation(sample.kld, sample.reconstruction)


@claim(
    "Among the best, more KLD goes with better reconstruction.",
    "the same rank correlation within the top",
    "reconstruction_top_quartile",
    lambda sample, value: f"Within the top {sample.top.sum()}, KLD and loss correlate by {-value:+.2f}.",
    lambda sample: rank_correlation_p(sample.kld[sample.top], sample.reconstruction[sample.top]),
)
def kld_in_the_top(sample: Sample) -> float:
    return -rank_correlation(sample.kld[sample.top], sample.reconstruction[sample.top])


class Ranks(NamedTuple):
    """The probability that a model that is not collapsed beats one that is, and the p-value of the rank test."""

    probability: float
    p: float


def _against_collapsed(sample: Sample) -> Ranks:
    collapsed = is_collapsed(sample.collapsed)
    worse, better = sample.score[collapsed], sample.score[~collapsed]
    if not len(worse) or not len(better):
        return Ranks(float("nan"), float("nan"))
    test = stats.mannwhitneyu(worse, better)
    return Ranks(float(test.statistic / (len(worse) * len(better))), float(test.pvalue))


@claim(
    "Models with KLD beat collapsed ones.",
    "probability that one that is not collapsed beats one that is, less one half",
    "reconstruction_ranked",
    lambda sample, _: (
        f"One that is not collapsed beats one that is in {_against_collapsed(sample).probability:.0%} of all pairs."
    ),
    lambda sample: _against_collapsed(sample).p,
)
def collapsed_are_beaten(sample: Sample) -> float:
    return _against_collapsed(sample).probability - 0.5


def _shares(sample: Sample) -> dict[str, float]:
    """The share of each encoder's models that is in the top."""
    top = sample.top
    return {name: mean(top[sample.encoder == name]) for name in sample.encoders}


@claim(
    "One-layer dense encoders are the most frequent in the top.",
    "share of DNN1 encoders that are in the top, less that of the next encoder",
    "top_quartile_counts",
    lambda sample, _: of_each(sample, sample.encoder),
)
def simple_dense_encoders(sample: Sample) -> list[float]:
    shares = _shares(sample)
    first = shares.pop("DNN1", float("nan"))
    return [first - share for share in shares.values()]


@claim(
    "Single-block convolutional encoders come second.",
    "share of CNN1 encoders that are in the top, less that of the next; or that of DNN1, less it, if that is less",
    "top_quartile_counts",
    lambda sample, _: of_each(sample, sample.encoder),
)
def simple_convolutional_encoders(sample: Sample) -> list[float]:
    shares = _shares(sample)
    first, second = shares.pop("DNN1", float("nan")), shares.pop("CNN1", float("nan"))
    return [first - second, *(second - share for share in shares.values())]


def _good_decoders(sample: Sample) -> np.ndarray:
    return (sample.decoder == "DNN1") | of_family(sample.decoder, "CNN", lambda depth: depth > 1)


@claim(
    "Decoders of several convolutional blocks or one dense layer do well.",
    "share of them that is in the top, less that of other decoders",
    "top_quartile_counts",
    lambda sample, _: of_each(sample, sample.decoder),
    lambda sample: enriched(sample, _good_decoders(sample)),
)
def decoders(sample: Sample) -> float:
    good, top = _good_decoders(sample), sample.top
    return mean(top[good]) - mean(top[~good])


@claim(
    "Powerful convolutional encoders do no harm.",
    "loss of CNN1 encoders less that of deeper ones, in standard deviations of the grid, plus a tenth",
    "top_quartile_counts_by_latent_size",
    lambda _, value: f"Encoders of several blocks lose {NO_HARM - value:+.2f} standard deviations more than CNN1.",
)
def powerful_convolutional_encoders(sample: Sample) -> float:
    deep = of_family(sample.encoder, "CNN", lambda depth: depth > 1)
    harm = mean(sample.score[deep]) - mean(sample.score[sample.encoder == "CNN1"])
    return NO_HARM - in_deviations(harm, sample)


@claim(
    "Compression degrades the representation.",
    "rank correlation of latent size and kNN accuracy",
    "pca_top_half",
    lambda sample, _: "kNN accuracy by latent size: " + by_latent_size(sample, sample.knn_accuracy),
    lambda sample: rank_correlation_p(sample.latent_size, sample.knn_accuracy),
)
def compression_degrades(sample: Sample) -> float:
    return rank_correlation(sample.latent_size, sample.knn_accuracy)


@claim(
    "Classes stay separable at latent size 50.",
    "mean kNN accuracy at latent size 50, less 0.8",
    "pca_top_quartile",
    lambda _, value: f"At latent size 50 the mean kNN accuracy is {value + SEPARABLE:.0%}.",
)
def separable_at_50(sample: Sample) -> float:
    return mean(sample.knn_accuracy[sample.latent_size == 50]) - SEPARABLE


@claim(
    "Dense networks cope worse with compact latents than convolutional ones.",
    "loss of dense less convolutional pairs at smaller latent sizes, less that at larger, in standard deviations",
    "top_quartile_counts_by_latent_size",
    lambda _, value: (
        "The lead of convolutional over dense pairs at small latent sizes, less that at large ones, is"
        f" {value:+.2f} standard deviations."
    ),
)
def dense_and_compact(sample: Sample) -> float:
    dense, convolutional = (
        of_family(sample.encoder, family) & of_family(sample.decoder, family) for family in ("DNN", "CNN")
    )
    compact = sample.latent_size <= np.median(np.unique(sample.latent_size))

    def gap(here: np.ndarray) -> float:
        return mean(sample.score[dense & here]) - mean(sample.score[convolutional & here])

    return in_deviations(gap(compact) - gap(~compact), sample)
