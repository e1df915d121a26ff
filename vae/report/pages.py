"""Pages for people, from the templates beside this file: the claims, and two studies."""

from base64 import b64encode
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vae.analysis import certificate, effects
from vae.analysis.blocks import MARGIN
from vae.analysis.claims.testing import IDENTITY, VERDICTS
from vae.analysis.claims.verdicts import RANKINGS, main_rows
from vae.analysis.comparison import OUTCOMES, Study
from vae.analysis.fidelity import Fidelity
from vae.catalogue import FIGURES

# Units that are shown in percent.
PERCENT = {"share": "%", "accuracy": " points", "points of accuracy": " points"}
RULE = (
    "The number of a claim is above zero if the claim holds, except for shares. Models are compared within blocks that"
    " have all other choices and the seed in common. A claim is supported if the 95% interval of its number is above"
    f" zero, contradicted if it is below, and equivalent if it lies within the margin of {MARGIN} nats (or one point of"
    " accuracy) around zero: then there is no difference that matters. An identity follows from the definition of its"
    " terms, and is not counted. With several seeds the interval is between seeds; with one seed it is over the"
    " contexts of this grid."
)
# Measures on the page of claims: the column of the table of models, and its baselines.
BASELINES = {
    "KLD": {"models": "kld", "linear VAE": "linear_kld"},
    "active units": {"models": "active_units", "by KLD": "coding_units", "linear VAE": "linear_active_units"},
    "probe accuracy": {
        "sampled": "probe_accuracy_sampled",
        "models": "probe_accuracy",
        "untrained": "probe_accuracy_untrained",
        "components": "probe_accuracy_pca",
        "pixels": "probe_accuracy_pixels",
    },
    "kNN accuracy": {
        "models": "knn_accuracy",
        "untrained": "knn_accuracy_untrained",
        "components": "knn_accuracy_pca",
        "pixels": "knn_accuracy_pixels",
    },
    "FID-style distance of samples": {
        "models": "frechet_distance",
        "training images": "frechet_floor",
        "mean image": "frechet_ceiling",
    },
}


def claims(
    table: pd.DataFrame, rows: pd.DataFrame, budget: pd.DataFrame, shares: pd.DataFrame, figures: list[Path]
) -> str:
    """The page to read first: what was trained, how well, and what came out; every claim with its verdict.

    Below them stand what other rankings and cutoffs say, the fidelity of the budget, and the means of all models by
    latent size, beside their baselines. `table` is that of claims, `rows` that of models, `budget` that of the budget's
    fidelity, `shares` that of effects; `figures` are PNGs, each named like the figure.
    """
    paper, answers = (table[table["of"] == of] for of in ("paper", "answer"))
    means = rows[rows["status"] == "ok"].groupby("latent_size").mean(numeric_only=True)
    measures = {
        name: columns
        for name, columns in BASELINES.items()
        if columns["models"] in means and means[columns["models"]].notna().any()
    }
    return _render(
        "claims.html",
        title="The claims of the paper, and the findings of this study",
        summary=summary(rows, budget, paper, shares),
        rule=RULE,
        **_others(paper),
        budget=list(budget.itertuples()),
        answers=_decided_first(answers),
        claims=_decided_first(paper),
        measures=measures,
        by_latent_size=list(means.iterrows()),
        figures=[_picture(path) for path in figures],
    )


def finding(rows: pd.DataFrame, shares: pd.DataFrame) -> str:
    """The main finding, for a title: the side that explains more of the variance of reconstruction."""
    of = _sides(shares)
    if not of:
        return f"{len(rows)} models by rate and distortion"
    first, second = sorted(of, key=lambda side: -of[side])
    return (
        f"The {first} matters more than the {second}: {of[first]:.0%} against {of[second]:.0%} of the variance of"
        " reconstruction, at equal latent size"
    )


def summary(rows: pd.DataFrame, budget: pd.DataFrame, claims: pd.DataFrame, shares: pd.DataFrame) -> list[str]:
    """The models of a study, whether they are trained, and the verdicts, a sentence or two each."""
    return [_what_was_trained(rows), _trained(rows, budget), _what_came_out(main_rows(claims), shares)]


def _sides(shares: pd.DataFrame) -> dict[str, float]:
    """The shares of the variance of reconstruction at equal latent size of encoder and decoder, if both are known."""
    of = effects.at_equal_size(shares, "reconstruction")
    return {side: of[side] for side in ("encoder", "decoder")} if {"encoder", "decoder"} <= set(of) else {}


def _decided_first(table: pd.DataFrame) -> list:
    """The row of each claim that decides, verdicts first, and then what is undecided or follows from its words."""
    first = main_rows(table)
    order = first["verdict"].map([*VERDICTS, IDENTITY].index).to_numpy()
    return list(first.iloc[np.argsort(order, kind="stable")].itertuples())


def _what_was_trained(rows: pd.DataFrame) -> str:
    seeds, diverged = rows["seed"].nunique(), int((rows["status"] != "ok").sum())
    grid = " × ".join(
        f"{rows[column].nunique()} {name}{'s' if rows[column].nunique() != 1 else ''}"
        for column, name in {"encoder": "encoder", "decoder": "decoder", "latent_size": "latent size"}.items()
    )
    low, high = rows["effective_beta"].min(), rows["effective_beta"].max()
    beta = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
    return (
        f"This study trained {len(rows)} models ({grid}, {seeds} seed{'s' if seeds != 1 else ''}) for"
        f" {rows['epochs'].max()} epochs, at an effective beta of {beta}; {int(rows['collapsed'].eq(True).sum())}"
        f" collapsed and {diverged} diverged."
    )


def _what_came_out(first: pd.DataFrame, shares: pd.DataFrame) -> str:
    counts = first["verdict"].value_counts()
    counted = [f"{counts[name]} {'is' if counts[name] == 1 else 'are'} {name}" for name in VERDICTS if name in counts]
    said = f"Of {len(first) - counts.get(IDENTITY, 0)} claims of the paper, {', '.join(counted)}"
    if IDENTITY in counts:
        said += ", not counting one that follows from its definition"
    explained = ""
    if of := _sides(shares):
        chance = "the seed" if "seed" in set(shares["term"]) else "chance"
        explained = (
            f" At equal latent size, the decoder explains {of['decoder']:.0%} of the variance of reconstruction and the"
            f" encoder {of['encoder']:.0%}; the rest is their interactions and {chance}."
        )
    return f"{said}.{explained}"


def _others(table: pd.DataFrame) -> dict:
    """Verdicts under rankings and cutoffs other than the first, by claim, beside the names of these conditions."""
    losses = {ranking.name: ranking.loss for ranking in RANKINGS}
    table = table.assign(condition=[f"{losses[r]}, top {c:.0%}" for r, c in zip(table["ranking"], table["cutoff"])])
    cells = table.pivot(index="sentence", columns="condition", values="verdict").fillna("")
    conditions = list(table["condition"].unique())
    varying = [sentence for sentence in table["sentence"].unique() if (cells.loc[sentence] != "").sum() > 1]
    return {"conditions": conditions, "others": {name: list(cells.loc[name, conditions]) for name in varying}}


def _trained(rows: pd.DataFrame, budget: pd.DataFrame) -> str:
    """Whether the models are trained: the gain at twice the budget, and their least distance from the optimum."""
    slack = rows["slack"].dropna()
    far = (
        " By the losses of other models of the same architecture,"
        f" {(slack > certificate.FLAGGED).sum()} of {len(slack)} models are more than {certificate.FLAGGED} nats above"
        " their optimum."
    )
    if budget["gain"].isna().all():
        reason = "each sentinel diverged" if len(budget) else "no sentinel was trained for longer"
        return f"Whether the models are trained is not known: {reason}.{far}"
    fidelity = Fidelity.of(budget)
    order = f"Kendall's τ of their order is {fidelity.tau:.2f}" if np.isfinite(fidelity.tau) else "they have no order"
    verdict = (
        "so ranks are those of trained models."
        if fidelity.converged
        else "so verdicts that rest on ranks hold at this budget, and may not for trained models."
    )
    return f"Twice the budget gains a sentinel {fidelity.gain:.2f} nats at most, and {order}: {verdict}{far}"


def comparison(table: pd.DataFrame, first: Study, second: Study, figure: Path) -> str:
    """The verdicts of two studies side by side, the differences of their numbers, and the figure of shifted ranks."""
    counts = table["outcome"].value_counts()
    said = "; ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if outcome in counts)
    return _render(
        "comparison.html",
        title=f"{first.name} and {second.name}",
        summary=(
            f"Of {len(table)} claims: {said}. A verdict is robust if both studies decide alike; two undecided verdicts"
            " say nothing. The difference of a claim's number has its own interval: if it excludes zero, the studies"
            " differ, whatever their verdicts."
        ),
        names=(first.name, second.name),
        claims=list(table.itertuples()),
        figures=[_picture(figure)],
    )


def amount(value: float, low: float, high: float, unit: str) -> str:
    """A claim's number with its unit, and its interval where it has one."""
    if not np.isfinite(value):
        return "no number"
    scale, digits = (100, ".1f") if unit in PERCENT else (1, "+.2f")
    shown = [f"{scale * number:{digits}}".replace("-", "−") for number in (value, low, high)]
    return f"{shown[0]}{PERCENT.get(unit, f' {unit}')}" + (f" ({shown[1]} to {shown[2]})" if np.isfinite(low) else "")


def rounded(value: float) -> str:
    """Three digits, or a whole number from a hundred on."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _picture(path: Path) -> dict[str, str]:
    """Title, caption and content of a PNG that is named like its figure."""
    name = path.stem
    caption = FIGURES[name].caption if name in FIGURES else ""
    content = b64encode(path.read_bytes()).decode()
    return {"name": name, "title": name.replace("_", " "), "caption": caption, "content": content}


def _render(template: str, **values: object) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(amount=amount, rounded=rounded, **values) + "\n"
