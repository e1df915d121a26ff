"""How far each choice of an architecture moves each measure: a linear model over the grid, with seeds as replicates.

A model says nothing new of an architecture but its seed's noise, so architectures count once, by their mean over seeds,
and errors are those between architectures.
"""

import warnings
from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pandas as pd
import statsmodels.api as sm
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.outliers_influence import variance_inflation_factor

from vae.grid import Network

# What is explained; measures that span orders of magnitude by their logarithm.
RESPONSES = {
    "reconstruction": "reconstruction",
    "elbo": "ELBO",
    "likelihood_bound": "log p(x) bound",
    "kld": "log KLD",
    "probe_accuracy": "probe accuracy",
    "frechet_distance": "log Fréchet distance",
}
LOGARITHMIC = ("kld", "frechet_distance")
SMALLEST = 1e-6
SIDES = ("encoder", "decoder")
LATENT = "latent size, doubled"
LEVEL = 0.05


def design(rows: pd.DataFrame) -> pd.DataFrame:
    """Centred columns of the main effects and interactions, one row per architecture.

    A family counts 1 against the last in the alphabet (CNN against DNN); depth, latent size and numbers of parameters
    count by their logarithm to base 2. Columns that do not vary (numbers of parameters: by no more than 10%), or are a
    combination of those before them, are left out: their effects cannot be told from these architectures.
    """
    main, kinds = {}, {}
    for side in SIDES:
        networks = [Network.parse(name) for name in rows[side]]
        first, *others = sorted({network.family for network in networks}, reverse=True)
        for family in others:
            name = f"{side}: {family}, not {first}"
            main[name], kinds[name] = [network.family == family for network in networks], (side, "family")
        name = f"{side}: depth, doubled"
        main[name], kinds[name] = np.log2([network.depth for network in networks]), (side, "depth")
    main[LATENT], kinds[LATENT] = np.log2(rows["latent_size"]), ("", "latent size")
    for side in SIDES:
        name, count = f"{side}: parameters, doubled", rows[f"{side}_parameters"]
        if count.max() > 1.1 * count.min():
            main[name], kinds[name] = np.log2(count), (side, "parameters")
    columns = pd.DataFrame({name: np.asarray(values, float) for name, values in main.items()}, index=rows.index)
    columns -= columns.mean()
    for one, other in combinations(main, 2):
        if _interact(kinds[one], kinds[other]):
            columns[f"{_short(one)} × {_short(other)}"] = columns[one] * columns[other]
    return columns[list(_independent(columns))]


def _short(term: str) -> str:
    """`encoder CNN` for `encoder: CNN, not DNN`."""
    return term.split(",")[0].replace(":", "")


def _interact(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Main interactions: family with depth on a side, each with its like on the other, family with latent size."""
    (side, kind), (other_side, other_kind) = one, other
    if "parameters" in (kind, other_kind):
        return False
    if "latent size" in (kind, other_kind):
        return "family" in (kind, other_kind)
    return (side == other_side) != (kind == other_kind)


def _independent(columns: pd.DataFrame) -> Iterator[str]:
    kept = [np.ones(len(columns))]
    for name in columns:
        scale = np.abs(columns[name]).max()
        if scale > 1e-9 and np.linalg.matrix_rank(np.stack([*kept, columns[name] / scale], 1)) > len(kept):
            kept.append(columns[name] / scale)
            yield name


def fit(rows: pd.DataFrame) -> pd.DataFrame:
    """Every effect on every measure, one row each, from the table of models; those that diverged are left out.

    Columns: response; term; effect, in standard deviations of the response over the architectures, of one step of the
    term; low and high, its 95% interval; p, corrected over the terms of a response (Holm); in_units, the effect in
    those of the response; vif, the term's variance inflation factor; r2 of the whole; architectures; seeds. With one
    seed there are no intervals and no p-values.
    """
    rows = rows[rows["status"] == "ok"]
    seeds = rows["seed"].nunique()
    facts = ["latent_size", "encoder", "decoder", "encoder_parameters", "decoder_parameters"]
    found = []
    for response in RESPONSES:
        values = rows[response].astype(float)
        if response in LOGARITHMIC:
            values = np.log(values.clip(lower=SMALLEST))
        known = rows.assign(value=values)[np.isfinite(values)]
        labels = known.groupby("label").agg(dict.fromkeys(facts, "first") | {"value": "mean"})
        columns = design(labels) if len(labels) > 1 else pd.DataFrame()
        deviation = labels["value"].std()
        if columns.empty or len(labels) <= len(columns.columns) + 1 or not deviation > 1e-12:
            continue
        matrix = sm.add_constant(columns)
        done = sm.OLS(labels["value"] / deviation, matrix).fit()
        terms = pd.DataFrame({"response": response, "term": columns.columns, "effect": done.params[1:].to_numpy()})
        interval = done.conf_int()[1:].to_numpy() if seeds > 1 else np.full((len(terms), 2), np.nan)
        terms["low"], terms["high"] = interval.T
        terms["p"] = multipletests(done.pvalues[1:], LEVEL, "holm")[1] if seeds > 1 else np.nan
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # one column alone inflates nothing: 1 / (1 - 0)
            terms["vif"] = [variance_inflation_factor(matrix.to_numpy(), 1 + i) for i in range(len(terms))]
        facts_of_all = {"r2": done.rsquared, "architectures": len(labels), "seeds": seeds}
        found.append(terms.assign(in_units=terms["effect"] * deviation, **facts_of_all))
    names = ["response", "term", "effect", "low", "high", "p", "in_units", "vif", "r2", "architectures", "seeds"]
    return pd.concat(found, ignore_index=True)[names] if found else pd.DataFrame(columns=names)
