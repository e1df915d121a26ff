"""The effects of every choice: an analysis of variance of the crossed grid, and marginal means.

Latent size, encoder and decoder are factors, and their levels are categories; a number of parameters follows from
these, and is none. With several seeds, the error is that between models which differ in their seed alone; with one, the
interaction of all three factors takes its place, and the two cannot be told apart.
"""

from itertools import combinations

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from scipy import stats
from statsmodels.stats.anova import anova_lm

from vae.analysis.blocks import FACTORS, Grid, estimate, standing

# What is explained, with its unit; the IWAE bound is of log p(x).
RESPONSES = {
    "reconstruction": ("reconstruction", "nats"),
    "negative_elbo": ("−ELBO", "nats"),
    "iwae_bound": ("IWAE bound", "nats"),
    "kld": ("rate (KLD)", "nats"),
    "probe_accuracy_sampled": ("probe accuracy (sampled codes)", "share of images"),
    "frechet_distance": ("FID-style distance", "squared features"),
}
CHOICES = FACTORS[:-1]
ERROR = "seed"
# The interaction of all factors, which is the error where there is one seed.
WHOLE = " × ".join(CHOICES)
COLUMNS = ["response", "measure", "unit", "term", "share", "freedom", "f", "p", "models", "seeds"]
OF_LEVEL = ["mean", "difference", "low", "high", "p_best", "rank_low", "rank_high", "blocks", "seeds"]
MEANS = ["response", "measure", "unit", "choice", "level", *OF_LEVEL]


def shares(rows: pd.DataFrame) -> pd.DataFrame:
    """The share of the variance of each measure that each choice explains, from the table of models.

    Columns: response; measure, the same in words; unit; term, a factor, an interaction or the error; share of the sum
    of squares (type II, Langsrud 2003: each term beside those that do not contain it); freedom, its degrees of freedom;
    f and p, of the F test against the error; models; seeds. Models that diverged are left out.
    """
    rows = rows[rows["status"] == "ok"].assign(negative_elbo=lambda rows: -rows["elbo"])
    tables = []
    for response, (measure, unit) in RESPONSES.items():
        known = rows[np.isfinite(rows[response].to_numpy(float))]
        terms = _terms(known, response)
        if not terms.empty:
            named = {"response": response, "measure": measure, "unit": unit}
            tables.append(terms.assign(**named, models=len(known), seeds=known["seed"].nunique()))
    return pd.concat(tables, ignore_index=True)[COLUMNS] if tables else pd.DataFrame(columns=COLUMNS)


def at_equal_size(shares: pd.DataFrame, response: str) -> dict[str, float]:
    """By term, its share of the variance of a response that the latent size leaves, from the table of `shares`."""
    of = shares[shares["response"] == response].set_index("term")["share"]
    size = of.pop("latent_size") if "latent_size" in of else 0.0
    return dict(of / (1 - size))


def _terms(rows: pd.DataFrame, response: str) -> pd.DataFrame:
    """A row per term of the analysis of variance of a response; none where nothing varies, or nothing is left over."""
    factors = [factor for factor in CHOICES if rows[factor].nunique() > 1]
    if not factors or np.ptp(rows[response].to_numpy(float)) < 1e-12:
        return pd.DataFrame()
    together = [f"C({first}):C({second})" for first, second in combinations(factors, 2)] if len(factors) > 2 else []
    model = smf.ols(f"{response} ~ " + " + ".join([*(f"C({factor})" for factor in factors), *together]), rows).fit()
    if model.df_resid < 1:
        return pd.DataFrame()
    table = anova_lm(model, typ=2).rename(columns={"sum_sq": "squares", "df": "freedom"})[["squares", "freedom"]]
    rest = table.loc["Residual"]
    within = rows.groupby(factors)[response]
    pure = float(((rows[response] - within.transform("mean")) ** 2).sum())
    freedom = len(rows) - within.ngroups
    table = table.drop(index="Residual")
    table.index = [name.replace("C(", "").replace(")", "").replace(":", " × ") for name in table.index]
    if freedom:
        table.loc[" × ".join(factors)] = [max(rest["squares"] - pure, 0.0), rest["freedom"] - freedom]
        table.loc[ERROR] = [pure, freedom]
    else:
        table.loc[f"{' × '.join(factors)}, and {ERROR}"] = rest
    table = table[table["freedom"] > 0]
    table["share"] = table["squares"] / table["squares"].sum()
    error = table.iloc[-1]
    table["f"] = (table["squares"] / table["freedom"]) / (error["squares"] / error["freedom"])
    table["p"] = stats.f.sf(table["f"], table["freedom"], error["freedom"])
    table.loc[table.index[-1], ["f", "p"]] = np.nan
    return table.rename_axis("term").reset_index()


def means(rows: pd.DataFrame) -> pd.DataFrame:
    """The marginal mean of each level of each choice, from the table of models.

    Columns: response; measure; unit; choice, a factor; level; mean over all models that have it; difference, how far it
    is from the mean of all levels within the same blocks, with low and high, its 95% interval; p_best, the share of
    paired bootstrap resamples in which it is the best of its choice; rank_low and rank_high, the 95% interval of its
    rank in these; blocks and seeds that it rests on.
    """
    grid = Grid.of(rows.assign(negative_elbo=-rows["elbo"].astype(float)), RESPONSES)
    table = []
    for response, (measure, unit) in RESPONSES.items():
        for choice in CHOICES:
            levels = grid.by(response, choice)
            stacked = np.stack(list(levels.values()))
            order = standing(stacked if response not in ("iwae_bound", "probe_accuracy_sampled") else -stacked)
            centre = stacked.mean(0)
            for (level, values), ranks in zip(levels.items(), order, strict=True):
                of = estimate(values - centre)
                low, high = of.interval
                mean = float(np.nanmean(values)) if np.isfinite(values).any() else np.nan
                table.append(
                    [response, measure, unit, choice, level, mean, of.value, low, high, *ranks, of.blocks, of.seeds]
                )
    return pd.DataFrame(table, columns=MEANS)
