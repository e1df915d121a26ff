"""The paper's claims, each as a number with an interval and a verdict, from the table of models alone.

A claim's statistic is a number that is positive where the claim holds, or several, where it holds if all are positive;
then the least stands for it. Its interval is the 95% percentile interval of a bootstrap over architectures and, within
each, over seeds. Of several numbers it is the least of the lower ends to the least of the upper ends, these at a level
corrected for their number (Bonferroni), because the least of several noisy numbers is too small. The rule, the same for
all and fixed before looking: supported where the whole interval is above zero, contradicted where it is all below,
undecided otherwise. With one seed the spread between seeds is not known, so there is no interval and no verdict:
undecided. Architectures are compared by their means over seeds; models that diverged are left out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import numpy as np
import pandas as pd
from scipy import stats

from vae.grid import Network

RANKINGS = {"reconstruction": 1, "elbo": -1, "likelihood_bound": -1, "knn_accuracy": -1}  # 1: less is better
CUTOFFS = (0.25, 0.1, 0.5)
RESAMPLES = 1000
LEVEL = 0.95

# For claims in words that are no numbers. The bounds of "nearly half" were set when the default study was known to have
# 30% collapsed: as wide as the interval that a hundred architectures give, or no share could support the claim.
NEARLY_HALF = (1 / 3, 3 / 5)
SEPARABLE = 0.8  # kNN accuracy
NO_HARM = 0.1  # standard deviations of the score over the grid


@dataclass
class Sample:
    """Architectures with their means over seeds, one entry each; `score` is what ranks them, less is better.

    `encoders` are all those of the grid, also where a resample has none of them.
    """

    score: np.ndarray
    reconstruction: np.ndarray
    kld: np.ndarray
    knn_accuracy: np.ndarray
    collapsed: np.ndarray
    latent_size: np.ndarray
    encoder: np.ndarray
    decoder: np.ndarray
    encoders: np.ndarray
    cutoff: float

    @property
    def top(self) -> np.ndarray:
        """Which are among the best `cutoff`, a share rounded up."""
        best = np.argsort(self.score, kind="stable")[: ceil(self.cutoff * len(self.score))]
        return np.isin(np.arange(len(self.score)), best)


@dataclass(frozen=True)
class Claim:
    """What the paper says, what the statistic means, the figure that shows it, what is found in plain words.

    Then the statistic, and its p-value where one is had.
    """

    name: str
    sentence: str
    meaning: str
    figure: str
    finding: Callable[[Sample], str]
    statistic: Callable[[Sample], float | list[float]]
    p: Callable[[Sample], float] | None = None


CLAIMS: list[Claim] = []


def claim(
    sentence: str,
    meaning: str,
    figure: str,
    finding: Callable[[Sample], str],
    p: Callable[[Sample], float] | None = None,
):
    """Register a function as the statistic of the claim that bears its name."""

    def register(statistic: Callable[[Sample], float | list[float]]) -> Callable[[Sample], float | list[float]]:
        CLAIMS.append(Claim(statistic.__name__, sentence, meaning, figure, finding, statistic, p))
        return statistic

    return register


def _family(networks: np.ndarray, family: str, depths: Callable[[int], bool] = lambda depth: True) -> np.ndarray:
    parsed = {name: Network.parse(name) for name in np.unique(networks)}
    fits = {name: network.family == family and depths(network.depth) for name, network in parsed.items()}
    return np.array([fits[name] for name in networks], bool)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _in_deviations(difference: float, sample: Sample) -> float:
    """A difference of scores in standard deviations over the grid; NaN where all are the same."""
    deviation = sample.score.std()
    return difference / deviation if deviation > 1e-12 else float("nan")


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation; NaN where one side does not vary or is not known."""
    known = np.isfinite(first) & np.isfinite(second)
    if known.sum() < 3 or np.ptp(first[known]) == 0 or np.ptp(second[known]) == 0:
        return float("nan")
    return float(np.corrcoef(stats.rankdata(first[known]), stats.rankdata(second[known]))[0, 1])


def _rank_correlation_p(first: np.ndarray, second: np.ndarray) -> float:
    """The two-sided p-value of Spearman's rank correlation."""
    known = np.isfinite(first) & np.isfinite(second)
    if np.isnan(_rank_correlation(first, second)):
        return float("nan")
    return float(stats.spearmanr(first[known], second[known]).pvalue)


def _enriched(sample: Sample, chosen: np.ndarray) -> float:
    """Fisher's exact test, two-sided, of whether `chosen` are as often in the top as others."""
    top = sample.top
    table = [[(top & chosen).sum(), (~top & chosen).sum()], [(top & ~chosen).sum(), (~top & ~chosen).sum()]]
    return float(stats.fisher_exact(table).pvalue)


def _of_each(sample: Sample, networks: np.ndarray) -> str:
    """How many models of each network are in the top, the most frequent first."""
    top = sample.top
    counts = {name: (top[networks == name].sum(), (networks == name).sum()) for name in np.unique(networks)}
    ordered = sorted(counts, key=lambda name: -counts[name][0] / counts[name][1])
    return "In the top: " + ", ".join(f"{counts[name][0]} of {counts[name][1]} {name}" for name in ordered) + "."


def _by_latent_size(sample: Sample, values: np.ndarray) -> str:
    sizes = np.unique(sample.latent_size)
    return ", ".join(f"{_mean(values[sample.latent_size == size]):.0%} at {size}" for size in sizes) + "."


@claim(
    "Nearly half of the models collapse.",
    "how far inside a third to three fifths the share of collapsed ones lies",
    "collapse_atlas",
    lambda sample: f"{sample.collapsed.sum()} of {len(sample.collapsed)} architectures collapse.",
)
def collapse(sample: Sample) -> list[float]:
    share, (low, high) = sample.collapsed.mean(), NEARLY_HALF
    return [share - low, high - share]


@claim(
    "Models that code less reconstruct worse.",
    "rank correlation of KLD and reconstruction loss, with its sign turned",
    "reconstruction_ranked",
    lambda sample: f"Over all models, KLD and loss correlate by {-collapse_and_reconstruction(sample):+.2f}.",
    lambda sample: _rank_correlation_p(sample.kld, sample.reconstruction),
)
def collapse_and_reconstruction(sample: Sample) -> float:
    return -_rank_correlation(sample.kld, sample.reconstruction)


@claim(
    "Among the best, more KLD goes with better reconstruction.",
    "the same rank correlation within the top",
    "reconstruction_top_quartile",
    lambda sample: f"Within the top {sample.top.sum()}, KLD and loss correlate by {-kld_in_the_top(sample):+.2f}.",
    lambda sample: _rank_correlation_p(sample.kld[sample.top], sample.reconstruction[sample.top]),
)
def kld_in_the_top(sample: Sample) -> float:
    return -_rank_correlation(sample.kld[sample.top], sample.reconstruction[sample.top])


def _against_collapsed(sample: Sample) -> tuple[float, float]:
    apart = sample.score[sample.collapsed], sample.score[~sample.collapsed]
    if not all(map(len, apart)):
        return float("nan"), float("nan")
    found = stats.mannwhitneyu(*apart)
    return float(found.statistic / (len(apart[0]) * len(apart[1]))), float(found.pvalue)


@claim(
    "Models with KLD beat collapsed ones.",
    "probability that one that is not collapsed beats one that is, less one half",
    "reconstruction_ranked",
    lambda sample: f"One that is not collapsed beats one that is in {_against_collapsed(sample)[0]:.0%} of all pairs.",
    lambda sample: _against_collapsed(sample)[1],
)
def collapsed_are_beaten(sample: Sample) -> float:
    return _against_collapsed(sample)[0] - 0.5


def _shares(sample: Sample) -> dict[str, float]:
    """The share of each encoder's models that is in the top."""
    top = sample.top
    return {name: _mean(top[sample.encoder == name]) for name in sample.encoders}


@claim(
    "One-layer dense encoders are the most frequent in the top.",
    "share of DNN1 encoders that are in the top, less that of the next encoder",
    "top_quartile_counts",
    lambda sample: _of_each(sample, sample.encoder),
)
def simple_dense_encoders(sample: Sample) -> list[float]:
    shares = _shares(sample)
    first = shares.pop("DNN1", float("nan"))
    return [first - share for share in shares.values()]


@claim(
    "Single-block convolutional encoders come second.",
    "share of CNN1 encoders that are in the top, less that of the next; or that of DNN1, less it, if that is less",
    "top_quartile_counts",
    lambda sample: _of_each(sample, sample.encoder),
)
def simple_convolutional_encoders(sample: Sample) -> list[float]:
    shares = _shares(sample)
    first, second = shares.pop("DNN1", float("nan")), shares.pop("CNN1", float("nan"))
    return [first - second, *(second - share for share in shares.values())]


def _good_decoders(sample: Sample) -> np.ndarray:
    return (sample.decoder == "DNN1") | _family(sample.decoder, "CNN", lambda depth: depth > 1)


@claim(
    "Decoders of several convolutional blocks or one dense layer do well.",
    "share of them that is in the top, less that of other decoders",
    "top_quartile_counts",
    lambda sample: _of_each(sample, sample.decoder),
    lambda sample: _enriched(sample, _good_decoders(sample)),
)
def decoders(sample: Sample) -> float:
    good, top = _good_decoders(sample), sample.top
    return _mean(top[good]) - _mean(top[~good])


@claim(
    "Powerful convolutional encoders do no harm.",
    "loss of CNN1 encoders less that of deeper ones, in standard deviations of the grid, plus a tenth",
    "top_quartile_counts_by_latent_size",
    lambda sample: (
        f"Encoders of several blocks lose {NO_HARM - powerful_convolutional_encoders(sample):+.2f} standard deviations"
        " more than CNN1."
    ),
)
def powerful_convolutional_encoders(sample: Sample) -> float:
    deep = _family(sample.encoder, "CNN", lambda depth: depth > 1)
    harm = _mean(sample.score[deep]) - _mean(sample.score[sample.encoder == "CNN1"])
    return NO_HARM - _in_deviations(harm, sample)


@claim(
    "Compression degrades the representation.",
    "rank correlation of latent size and kNN accuracy",
    "pca_top_half",
    lambda sample: "kNN accuracy by latent size: " + _by_latent_size(sample, sample.knn_accuracy),
    lambda sample: _rank_correlation_p(sample.latent_size, sample.knn_accuracy),
)
def compression_degrades(sample: Sample) -> float:
    return _rank_correlation(sample.latent_size, sample.knn_accuracy)


@claim(
    "Classes stay separable at latent size 50.",
    "mean kNN accuracy at latent size 50, less 0.8",
    "pca_top_quartile",
    lambda sample: f"At latent size 50 the mean kNN accuracy is {separable_at_50(sample) + SEPARABLE:.0%}.",
)
def separable_at_50(sample: Sample) -> float:
    return _mean(sample.knn_accuracy[sample.latent_size == 50]) - SEPARABLE


@claim(
    "Dense networks cope worse with compact latents than convolutional ones.",
    "loss of dense less convolutional pairs at smaller latent sizes, less that at larger, in standard deviations",
    "top_quartile_counts_by_latent_size",
    lambda sample: (
        "The lead of convolutional over dense pairs at small latent sizes, less that at large ones, is"
        f" {dense_and_compact(sample):+.2f} standard deviations."
    ),
)
def dense_and_compact(sample: Sample) -> float:
    dense, convolutional = (
        _family(sample.encoder, family) & _family(sample.decoder, family) for family in ("DNN", "CNN")
    )
    compact = sample.latent_size <= np.median(np.unique(sample.latent_size))

    def gap(here: np.ndarray) -> float:
        return _mean(sample.score[dense & here]) - _mean(sample.score[convolutional & here])

    return _in_deviations(gap(compact) - gap(~compact), sample)


class Replicates:
    """What is known of every architecture and seed; draws the samples that statistics are computed on."""

    def __init__(self, rows: pd.DataFrame):
        ok = rows[rows["status"] == "ok"]
        facts = ok.drop_duplicates("label").set_index("label")[["latent_size", "encoder", "decoder"]]
        self.facts = {name: facts[name].to_numpy() for name in facts}
        self.collapsed_below = rows["collapsed_below"].iloc[0]
        self.measures = {
            name: ok.pivot(index="label", columns="seed", values=name).loc[facts.index].to_numpy(float)
            for name in {"kld", "reconstruction", "knn_accuracy", *RANKINGS}
        }
        self.architectures, self.seeds = self.measures["kld"].shape

    def means(self, rng: np.random.Generator | None) -> dict[str, np.ndarray]:
        """Means over the seeds of every architecture, of those that are known; resampled, both, if there is an rng."""
        size = self.architectures, self.seeds
        if rng is None:
            labels, seeds = np.arange(size[0]), np.broadcast_to(np.arange(size[1]), size)
        else:
            labels, seeds = rng.integers(size[0], size=size[0]), rng.integers(size[1], size=size)
        found = {name: values[labels] for name, values in self.facts.items()}
        for name, values in self.measures.items():
            drawn = np.take_along_axis(values[labels], seeds, 1)
            known = np.isfinite(drawn)  # a seed that diverged is not
            with np.errstate(invalid="ignore"):
                found[name] = np.where(known, drawn, 0).sum(1) / known.sum(1)
        return found

    def sample(self, means: dict[str, np.ndarray], ranking: str, cutoff: float) -> Sample:
        """The architectures as ranked by one measure, without those of which it is not known."""
        known = np.isfinite(means["kld"]) & np.isfinite(means[ranking])
        shown = {name: values[known] for name, values in means.items()}
        names = ("reconstruction", "kld", "knn_accuracy", *self.facts)
        return Sample(
            score=RANKINGS[ranking] * shown[ranking],
            collapsed=shown["kld"] < self.collapsed_below,
            encoders=np.unique(self.facts["encoder"]),
            cutoff=cutoff,
            **{name: shown[name] for name in names},
        )


def verdicts(rows: pd.DataFrame, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Every claim under every ranking and cutoff, one row each; those of reconstruction and a quarter come first.

    Columns: claim, sentence, statistic (in words), figure, ranking, cutoff, value, low, high, p, verdict, finding (in
    plain words), architectures, seeds, and in the first row of a claim flips: where another ranking or cutoff says
    otherwise.
    """
    replicates = Replicates(rows)
    rng = np.random.default_rng(0)
    drawn = [replicates.means(rng) for _ in range(resamples)] if replicates.seeds > 1 else []
    known = replicates.architectures > 0  # where every model diverged, nothing can be said
    once = replicates.means(None)
    found = []
    for ranking in RANKINGS:
        if known and not np.isfinite(once[ranking]).any():
            continue  # kNN accuracy without labels
        for cutoff in CUTOFFS:
            whole = replicates.sample(once, ranking, cutoff)
            others = [replicates.sample(means, ranking, cutoff) for means in drawn]
            for one in CLAIMS:
                value = _least(one.statistic(whole)) if known else float("nan")
                low, high = _interval([np.atleast_1d(one.statistic(other)) for other in others])
                found.append(
                    {
                        "claim": one.name,
                        "sentence": one.sentence,
                        "statistic": one.meaning,
                        "figure": one.figure,
                        "ranking": ranking,
                        "cutoff": cutoff,
                        "value": value,
                        "low": low,
                        "high": high,
                        "p": one.p(whole) if one.p and known else float("nan"),
                        "verdict": verdict(low, high),
                        "finding": one.finding(whole) if np.isfinite(value) else "",
                    }
                )
    table = pd.DataFrame(found)
    first = table.groupby("claim")["verdict"].transform("first")
    table["flips"] = ""
    for name, group in table[table["verdict"] != first].groupby("claim"):
        said = "; ".join(
            f"{verdict} by {', '.join(rankings)} at {cutoff:.0%}"
            for (verdict, cutoff), rankings in group.groupby(["verdict", "cutoff"], sort=False)["ranking"]
        )
        table.loc[table["claim"].eq(name).idxmax(), "flips"] = said
    return table.assign(architectures=replicates.architectures, seeds=replicates.seeds)


def verdict(low: float, high: float) -> str:
    """`supported` above zero, `contradicted` below, `undecided` across it or where there is no interval."""
    if low > 0:
        return "supported"
    return "contradicted" if high < 0 else "undecided"


def _least(parts: float | list[float]) -> float:
    return float(np.min(parts)) if np.size(parts) else float("nan")


def _interval(values: list[np.ndarray]) -> tuple[float, float]:
    """The interval of a statistic of one or several parts, `[parts]` for every resample."""
    known = np.array([value for value in values if np.isfinite(value).all()])
    # A statistic that most resamples do not have, such as that of a network which is not in the grid, has no interval.
    if len(known) <= len(values) / 2 or not known.size:
        return float("nan"), float("nan")
    tail = (1 - LEVEL) / 2
    low, high = (np.quantile(known, level, axis=0).min() for level in (tail, 1 - tail / known.shape[1]))
    return float(low), float(high)
