"""How far each choice of an architecture moves each measure: a linear model over the grid, with seeds as replicates.

A model says nothing new of an architecture but its seed's noise, so architectures count once, by their mean over seeds,
and errors are those between architectures.
"""

import warnings
from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
import statsmodels.api as sm
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.outliers_influence import variance_inflation_factor

from vae.analysis.ranking import LEVEL
from vae.grid import Network

# The measures that are explained; those that span orders of magnitude by their logarithm.
RESPONSES = {
    "reconstruction": "reconstruction",
    "elbo": "ELBO",
    "likelihood_bound": "log p(x) bound",
    "kld": "log KLD",
    "probe_accuracy": "probe accuracy",
    "frechet_distance": "log FID-style distance",
}
LOGARITHMIC = ("kld", "frechet_distance")
SMALLEST = 1e-6
SIDES = ("encoder", "decoder")
LATENT = "latent size, doubled"
FACTS = ["latent_size", "encoder", "decoder", "encoder_parameters", "decoder_parameters"]
COLUMNS = [
    "response",
    "measure",
    "term",
    "effect",
    "low",
    "high",
    "p",
    "in_units",
    "vif",
    "r2",
    "architectures",
    "seeds",
]


def design(rows: pd.DataFrame) -> pd.DataFrame:
    """Centred columns of the main effects and interactions, one row per architecture.

    A family counts 1 against the last in the alphabet (CNN against DNN); depth, latent size and numbers of parameters
    count by their logarithm to base 2. Columns that do not vary (numbers of parameters: by no more than 10%), or are a
    combination of those before them, are left out: their effects cannot be told from these architectures.
    """
    main = _main_effects(rows)
    columns = pd.DataFrame({effect.name: effect.values for effect in main}, index=rows.index)
    columns -= columns.mean()
    for first, second in combinations(main, 2):
        if _interact(first, second):
            columns[f"{_short(first.name)} × {_short(second.name)}"] = columns[first.name] * columns[second.name]
    return columns[list(_independent(columns))]


class MainEffect(NamedTuple):
    """A choice of `kind` on a `side` of an architecture, which is empty for the latent size; `values` are `[N]`."""

    name: str
    side: str
    kind: str
    values: np.ndarray


def _main_effects(rows: pd.DataFrame) -> list[MainEffect]:
    effects = []
    for side in SIDES:
        networks = [Network.parse(name) for name in rows[side]]
        first, *remaining = sorted({network.family for network in networks}, reverse=True)
        for family in remaining:
            values = np.array([network.family == family for network in networks], float)
            effects.append(MainEffect(f"{side}: {family}, not {first}", side, "family", values))
        depths = np.log2([network.depth for network in networks])
        effects.append(MainEffect(f"{side}: depth, doubled", side, "depth", depths))
    effects.append(MainEffect(LATENT, "", "latent size", np.log2(rows["latent_size"].to_numpy())))
    for side in SIDES:
        count = rows[f"{side}_parameters"].to_numpy()
        if count.max() > 1.1 * count.min():
            effects.append(MainEffect(f"{side}: parameters, doubled", side, "parameters", np.log2(count)))
    return effects


def _short(term: str) -> str:
    """`encoder CNN` for `encoder: CNN, not DNN`."""
    return term.split(",")[0].replace(":", "")


def _interact(first: MainEffect, second: MainEffect) -> bool:
    """Main interactions: family with depth on a side, each with its like on the other, family with latent size."""
    kinds = first.kind, second.kind
    if "parameters" in kinds:
        return False
    if "latent size" in kinds:
        return "family" in kinds
    return (first.side == second.side) != (first.kind == second.kind)


def _independent(columns: pd.DataFrame) -> Iterator[str]:
    kept = [np.ones(len(columns))]
    for name in map(str, columns):
        values = columns[name].to_numpy()
        scale = np.abs(values).max()
        if scale > 1e-9 and np.linalg.matrix_rank(np.stack([*kept, values / scale], 1)) > len(kept):
            kept.append(values / scale)
            yield name


def fit(rows: pd.DataFrame) -> pd.DataFrame:
    """Every effect on every measure, one row each, from the table of models; those that diverged are left out.

    Columns: response; measure, the same in words; term; effect, in standard deviations of the response over the
    architectures, of one step of the term; low and high, its 95% interval; p, corrected over the terms of a response
    (Holm); in_units, the effect in those of the response; vif, the term's variance inflation factor; r2 of the whole;
    architectures; seeds. With one seed there are no intervals and no p-values.
    """
    rows = rows[rows["status"] == "ok"]
    seeds = rows["seed"].nunique()
    tables = []
    for response in RESPONSES:
        values = rows[response].to_numpy(float)
        if response in LOGARITHMIC:
            values = np.log(values.clip(SMALLEST))
        finite = rows.assign(value=values)[np.isfinite(values)]
        labels = finite.groupby("label").agg(dict.fromkeys(FACTS, "first") | {"value": "mean"})
        columns = design(labels) if len(labels) > 1 else pd.DataFrame()
        deviation = labels["value"].std()
        if columns.empty or len(labels) <= len(columns.columns) + 1 or not deviation > 1e-12:
            continue
        terms = _terms(columns, labels["value"] / deviation, seeds)
        terms["in_units"] = terms["effect"] * deviation
        tables.append(
            terms.assign(response=response, measure=RESPONSES[response], architectures=len(labels), seeds=seeds)
        )
    return pd.concat(tables, ignore_index=True)[COLUMNS] if tables else pd.DataFrame(columns=COLUMNS)


def _terms(columns: pd.DataFrame, response: pd.Series, seeds: int) -> pd.DataFrame:
    """The linear model of a standardised response: a row for each of these columns, the terms."""
    matrix = sm.add_constant(columns)
    model = sm.OLS(response, matrix).fit()
    terms = pd.DataFrame({"term": columns.columns, "effect": model.params[1:].to_numpy()})
    interval = model.conf_int()[1:].to_numpy() if seeds > 1 else np.full((len(terms), 2), np.nan)
    terms["low"], terms["high"] = interval.T
    terms["p"] = np.nan
    if seeds > 1:
        _, terms["p"], *_ = multipletests(model.pvalues[1:], LEVEL, "holm")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # one column alone inflates nothing: 1 / (1 - 0)
        terms["vif"] = [variance_inflation_factor(matrix.to_numpy(), 1 + i) for i in range(len(terms))]
    return terms.assign(r2=model.rsquared)
