"""Disentanglement: how codes represent the factors that images were made of, if a dataset has them.

Each number stands beside that of factors which are permuted among the images, `…_permuted`: what is measured where
codes know nothing of them. Whatever is fitted is fitted on validation images and scored on test images.
"""

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, mutual_info_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vae.measures.codes.probes import draw
from vae.measures.latents import Latents
from vae.seeds import of_model

BINS = 20  # into which a dimension is divided, as Locatello et al. (2019) do
# Every split looks at all dimensions, or one that is of no use would be used where it stands alone.
FOREST = {"n_estimators": 10, "min_samples_leaf": 5, "max_features": None, "random_state": 0}


def measure(latents: Latents) -> dict[str, float | None]:
    """MIG, DCI, SAP of the means, and bits by factor of codes drawn from posteriors; nothing without factors.

    They are None for codes that are not finite.
    """
    if latents.factors is None or latents.fit_factors is None:
        return {}
    scored = latents.scored
    fit, test = latents.fit_factors, latents.factors[scored]
    rng = np.random.default_rng(of_model("permuted_factors", latents.seed))
    permuted = rng.permutation(fit), rng.permutation(test)
    means, codes = (latents.fit_mean, latents.mean[scored]), draw(latents)
    finite = all(np.isfinite(part).all() for part in (*means, *codes))
    measured: dict[str, float | None] = {}
    for ending, factors in (("", (fit, test)), ("_permuted", permuted)):
        numbers = _of_means(*means, *factors) | _bits(latents.factor_names, *codes, *factors) if finite else {}
        measured |= {f"{name}{ending}": numbers.get(name) for name in names(latents.factor_names)}
    return measured


def names(factors: list[str]) -> list[str]:
    """The names of the measures, for factors of these names."""
    dci = [f"dci_{part}" for part in ("disentanglement", "completeness", "informativeness")]
    return ["mig", *dci, "sap", *(f"bits_{factor}" for factor in factors)]


def _of_means(fit: np.ndarray, test: np.ndarray, fit_factors: np.ndarray, test_factors: np.ndarray) -> dict[str, float]:
    disentanglement, completeness, informativeness = dci(fit, test, fit_factors, test_factors)
    return {
        "mig": mig(test, test_factors),
        "dci_disentanglement": disentanglement,
        "dci_completeness": completeness,
        "dci_informativeness": informativeness,
        "sap": sap(fit, test, fit_factors, test_factors),
    }


def mig(codes: np.ndarray, factors: np.ndarray) -> float:
    """The mutual information gap (Chen et al. 2018) of codes `[N, latent]` and factors `[N, factors]`, from 0 to 1.

    By how much the dimension that says most of a factor says more than the next, over the factor's entropy; the mean
    over the factors. A dimension is divided into `BINS` of equal width.
    """
    binned = [np.digitize(values, np.histogram_bin_edges(values, BINS)[1:-1]) for values in codes.T]
    gaps = []
    for factor in factors.T:
        entropy = mutual_info_score(factor, factor)
        said = sorted((mutual_info_score(factor, values) for values in binned), reverse=True)
        gaps.append((said[0] - (said[1] if len(said) > 1 else 0)) / entropy if entropy else 0.0)
    return float(np.mean(gaps))


def dci(
    fit: np.ndarray, test: np.ndarray, fit_factors: np.ndarray, test_factors: np.ndarray
) -> tuple[float, float, float]:
    """Disentanglement, completeness and informativeness (Eastwood & Williams 2018), each from 0 to 1.

    A random forest reads each factor from the codes `[N, latent]`. A dimension is disentangled as far as it is of use
    for one factor alone, a factor is complete as far as one dimension is of use for it, both weighted by their use;
    forests are informative by the accuracy of their answers, the mean over the factors.
    """
    uses, accuracies = [], []
    for values, wanted in zip(fit_factors.T, test_factors.T, strict=True):
        forest = RandomForestClassifier(**FOREST).fit(fit, values)
        uses.append(forest.feature_importances_)
        accuracies.append(forest.score(test, wanted))
    table = np.array(uses)  # [factors, latent]
    return _concentrated(table.T), _concentrated(table), float(np.mean(accuracies))


def _concentrated(uses: np.ndarray) -> float:
    """The concentration of each row on one column, 1 − entropy / largest entropy; the mean, weighted by sums."""
    sums = uses.sum(1)
    if uses.shape[1] == 1 or not sums.sum():
        return 1.0 if sums.sum() else 0.0
    shares = np.divide(uses, sums[:, None], out=np.zeros_like(uses), where=sums[:, None] > 0)
    entropies = -(shares * np.log(shares, out=np.zeros_like(shares), where=shares > 0)).sum(1) / np.log(uses.shape[1])
    return float(np.average(1 - entropies, weights=sums))


def sap(fit: np.ndarray, test: np.ndarray, fit_factors: np.ndarray, test_factors: np.ndarray) -> float:
    """The separated attribute predictability (Kumar et al. 2018), from 0 to 1.

    By how much a linear classifier, that of the nearest class mean, answers a factor more often rightly from the best
    dimension of codes `[N, latent]` than from the next; the mean over the factors.
    """
    gaps = []
    for values, wanted in zip(fit_factors.T, test_factors.T, strict=True):
        scores = sorted(
            (_separated(*columns, values, wanted) for columns in zip(fit.T, test.T, strict=True)), reverse=True
        )
        gaps.append(scores[0] - (scores[1] if len(scores) > 1 else 0))
    return float(np.mean(gaps))


def _separated(fit: np.ndarray, test: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> float:
    """How often the class of `values` whose mean is nearest is that of `wanted`, of one dimension `[N]`."""
    classes = np.unique(values)
    centres = np.array([fit[values == each].mean() for each in classes])
    return float((classes[abs(test[:, None] - centres).argmin(1)] == wanted).mean())


def _bits(
    factors: list[str], fit: np.ndarray, test: np.ndarray, fit_factors: np.ndarray, test_factors: np.ndarray
) -> dict[str, float]:
    """A lower bound, in bits, on the information about each factor: its entropy less a linear probe's cross-entropy.

    A lower bound of the mutual information (Barber & Agakov 2003); it may be below 0 by what the probe learned wrongly.
    """
    columns = zip(factors, fit_factors.T, test_factors.T, strict=True)
    return {f"bits_{name}": bits(fit, test, values, wanted) for name, values, wanted in columns}


def bits(fit: np.ndarray, test: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> float:
    """Bits of one factor, `[N]`, that codes `[N, latent]` say, by a logistic regression on standardised codes.

    Images whose level of the factor is not among the fitted ones are left out.
    """
    known = np.isin(wanted, values)
    wanted, test = wanted[known], test[known]
    classes = np.unique(values)
    if len(classes) < 2 or not len(wanted):
        return 0.0
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(fit, values)
    lost = log_loss(wanted, probe.predict_proba(test), labels=classes)
    return float((mutual_info_score(wanted, wanted) - lost) / np.log(2))
