"""The paper's claims, each as differences within blocks of models that are above zero where the claim holds.

Losses are those that rank: nats per image, less is better; a ranking by accuracy has the error of the probe in their
place, in points of accuracy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np

from vae.analysis.claims.statistics import View, correlations
from vae.analysis.claims.testing import Parts, Tested, differences, identity, share
from vae.catalogue import FIGURES
from vae.registry import Registry


@dataclass(frozen=True)
class Claim:
    """A claim: its sentence, the meaning and unit of its number, the figure that shows it, and its test.

    `finding` puts what was found in a sentence. `by` says what decides it beside the models: the ranking, the cutoff.
    """

    name: str
    sentence: str
    meaning: str
    unit: str
    figure: str
    test: Callable[[View], Tested]
    finding: Callable[[View, Tested], str]
    by: tuple[str, ...] = ()


def dense_encoders(view: View) -> Parts:
    return view.leads("encoder", "DNN1", _others(view, "DNN1"))


def convolutional_encoders(view: View) -> Parts:
    return view.leads("encoder", "DNN1", ["CNN1"]) | view.leads("encoder", "CNN1", _others(view, "DNN1", "CNN1"))


def _others(view: View, *names: str) -> list[str]:
    return [name for name in view.grid.levels["encoder"] if name not in names]


def good_decoders(view: View) -> Parts:
    decoders = view.grid.levels["decoder"]
    good = [*view.networks("decoder", "DNN", lambda depth: depth == 1), *view.networks("decoder", "CNN", _deep)]
    return {"": view.lead("decoder", good, [name for name in decoders if name not in good])}


def _deep(depth: int) -> bool:
    return depth > 1


def deep_encoders(view: View) -> Parts:
    lead = view.lead("encoder", view.networks("encoder", "CNN", _deep), ["CNN1"])
    return {"": lead + view.ranking.margin}


def compact_latents(view: View) -> Parts:
    """Pairs of each family are compared that stand at the same places by depth."""
    places = [
        range(min(len(view.networks(side, family)) for family in ("DNN", "CNN"))) for side in ("encoder", "decoder")
    ]
    gaps = [view.pairs("DNN", depth) - view.pairs("CNN", depth) for depth in product(*places)]
    half = len(view.coded.levels["latent_size"]) // 2
    if not gaps or not half:
        return {}
    return {"": np.array([gap[:half].mean(0) - gap[-half:].mean(0) for gap in gaps])}


def less_code_reconstructs_worse(view: View) -> Parts:
    return {"": -correlations(view.coded, "kld", "reconstruction", ("decoder",))}


def more_code_among_the_best(view: View) -> Parts:
    return {"": -correlations(view.coded, "kld", "reconstruction", ("encoder", "decoder"), view.cutoff)}


def accuracy_grows_with_latents(view: View) -> Parts:
    by_size = list(view.grid.by("probe_accuracy_sampled", "latent_size").values())
    return {"": by_size[-1] - by_size[0]} if len(by_size) > 1 else {}


def separable(view: View) -> Parts:
    codes, components = (view.grid.by(name, "latent_size") for name in ("probe_accuracy_sampled", "probe_accuracy_pca"))
    return {"": codes[50] - components[50]} if 50 in codes else {}


def better_than_collapsed(view: View) -> float:
    """The share of pairs of a model that is not collapsed and one that is in which the first has less loss."""
    score, collapsed = view.grid.measures["score"].ravel(), view.grid.measures["collapsed"].ravel()
    first, second = score[collapsed == 0], score[collapsed == 1]
    return float((first[:, None] < second).mean()) if len(first) and len(second) else float("nan")


def _leader(view: View, tested: Tested, first: str) -> str:
    """Whether the first or the rival that stands for all others has the lower loss, and by how much."""
    ahead, behind = (first, tested.least) if tested.value >= 0 else (tested.least, first)
    return f"With {ahead} encoders the {view.ranking.loss} is {view.amount(tested.value)} lower than with {behind}."


def _gain(view: View, difference: float) -> str:
    return f"{view.amount(difference)} {'lower' if difference >= 0 else 'higher'}"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _accuracy(view: View, size: int) -> float:
    return float(np.nanmean(view.grid.where("latent_size", [size]).measures["probe_accuracy_sampled"]))


def _ends(view: View, tested: Tested) -> str:
    sizes = view.grid.levels["latent_size"]
    first, last = (f"{_accuracy(view, size):.0%} at {size}" for size in (sizes[0], sizes[-1]))
    return f"From the smallest latent size to the largest, probe accuracy of sampled codes goes from {first} to {last}."


CLAIMS: Registry[Claim] = Registry("claim")
for claim in (
    Claim(
        "collapse",
        "Nearly half of the models collapse.",
        "share of models that collapsed",
        "share",
        "collapse_atlas",
        share(lambda view: view.grid.measures["collapsed"], "every model diverged"),
        lambda view, tested: f"{tested.value:.0%} of the models collapse.",
    ),
    Claim(
        "collapse_and_reconstruction",
        "Models with a lower KLD reconstruct worse.",
        "negative rank correlation of KLD and reconstruction loss over the decoders",
        "correlation",
        "reconstruction_ranked",
        differences(less_code_reconstructs_worse, "too few decoders, or every model collapsed", most=1),
        lambda view, tested: (
            "At equal latent size and encoder, the rank correlation of KLD and reconstruction loss is"
            f" {_signed(-tested.value)}."
        ),
    ),
    Claim(
        "kld_in_the_top",
        "Among the best models, a higher KLD goes with better reconstruction.",
        "negative rank correlation of KLD and reconstruction loss among the best models of a latent size",
        "correlation",
        "reconstruction_top_quartile",
        differences(more_code_among_the_best, "too few models in the top of a latent size", most=1),
        lambda view, tested: (
            f"Among the best {view.cutoff:.0%} of a latent size, the rank correlation of KLD and reconstruction loss is"
            f" {_signed(-tested.value)}."
        ),
        by=("cutoff",),
    ),
    Claim(
        "collapsed_are_beaten",
        "Models with a KLD above zero beat collapsed ones.",
        "share of pairs, one model collapsed and the other not, in which the latter has the lower loss",
        "share",
        "reconstruction_ranked",
        identity(better_than_collapsed),
        lambda view, tested: (
            "This follows from the definition: the code of a collapsed model carries next to no information, so it"
            " cannot reconstruct much better than the constant decoder."
        ),
    ),
    Claim(
        "simple_dense_encoders",
        "One-layer dense encoders are the most frequent in the top.",
        "loss of the next best encoder less that of DNN1, at equal latent size, decoder and seed",
        "loss",
        "top_quartile_counts",
        differences(dense_encoders, "there is no DNN1 encoder, or no other", negligible=True),
        lambda view, tested: _leader(view, tested, "DNN1"),
        by=("ranking",),
    ),
    Claim(
        "simple_convolutional_encoders",
        "Single-block convolutional encoders come second.",
        "loss of CNN1 less that of DNN1, or of the next encoder less that of CNN1, if that is less",
        "loss",
        "top_quartile_counts",
        differences(convolutional_encoders, "there is no DNN1 encoder, no CNN1, or no other", negligible=True),
        lambda view, tested: _leader(view, tested, "DNN1") if tested.least == "CNN1" else _leader(view, tested, "CNN1"),
        by=("ranking",),
    ),
    Claim(
        "decoders",
        "Decoders of several convolutional blocks or one dense layer do well.",
        "loss of the other decoders less that of these, at equal latent size, encoder and seed",
        "loss",
        "top_quartile_counts",
        differences(good_decoders, "there is none of these decoders, or no other", negligible=True),
        lambda view, tested: (
            f"The {view.ranking.loss} with these decoders is {_gain(view, tested.value)} than with the others."
        ),
        by=("ranking",),
    ),
    Claim(
        "powerful_convolutional_encoders",
        "Powerful convolutional encoders do no harm.",
        "margin of equivalence, less the loss of deeper convolutional encoders above that of CNN1",
        "loss",
        "top_quartile_counts_by_latent_size",
        differences(deep_encoders, "there is no CNN1 encoder, or no deeper one"),
        lambda view, tested: (
            f"With encoders of several blocks the {view.ranking.loss} is"
            f" {_gain(view, tested.value - view.ranking.margin)} than with CNN1; the margin is"
            f" {view.amount(view.ranking.margin)}."
        ),
        by=("ranking",),
    ),
    Claim(
        "compression_degrades",
        "Compression degrades the representation.",
        "probe accuracy of sampled codes at the largest latent size less that at the smallest, all else equal",
        "accuracy",
        "pca_top_half",
        differences(accuracy_grows_with_latents, "there is one latent size alone, or there are no labels"),
        _ends,
    ),
    Claim(
        "separable_at_50",
        "Classes stay separable at latent size 50.",
        "probe accuracy of sampled codes at latent size 50 less that in 50 principal components of the pixels",
        "accuracy",
        "pca_top_quartile",
        differences(separable, "there is no latent size 50, or there are no labels"),
        lambda view, tested: (
            f"At latent size 50 the mean probe accuracy of sampled codes is {_accuracy(view, 50):.0%},"
            f" {100 * abs(tested.value):.0f} points {'above' if tested.value >= 0 else 'below'} that in 50 principal"
            " components of the pixels."
        ),
    ),
    Claim(
        "dense_and_compact",
        "Dense networks cope worse with compact latents than convolutional ones.",
        "loss of dense pairs above convolutional ones of the same depth, at smaller latent sizes less at larger ones",
        "loss",
        "top_quartile_counts_by_latent_size",
        differences(compact_latents, "there is one latent size alone, or one family", negligible=True),
        lambda view, tested: (
            f"The {view.ranking.loss} of dense pairs above that of convolutional ones is {_gain(view, -tested.value)}"
            " at the smaller latent sizes than at the larger."
        ),
        by=("ranking",),
    ),
):
    FIGURES[claim.figure]  # an unknown figure is refused here
    CLAIMS.add(claim.name, claim)
