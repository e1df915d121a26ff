"""A finished study in Python: its tables as pandas, and the measures of each model as NumPy."""

import difflib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from vae import grid
from vae.analysis import table
from vae.analysis.claims import verdicts
from vae.data import dataset
from vae.errors import UserError
from vae.files import read_config, read_npz
from vae.grid import Spec

LATENTS = ("mean", "log_variance", "fit_mean", "fit_log_variance", "fit_indices")


@dataclass(frozen=True)
class Study:
    """The results of a study.

    Made by `vae.load_study`. Each file is read when it is asked for; a file that is missing raises UserError. A model
    is named by its label, such as `L50_DNN1_CNN4`, and its seed; without a seed, the first one of the study is taken.

    Attributes
    ----------
    results : Path
        The folder of the results.

    Examples
    --------
    >>> study = vae.load_study("results")
    >>> study.models["rank"].tolist()[:3]
    [1, 2, 3]
    >>> study.claims.set_index("claim").loc["collapse", "sentence"]
    'Nearly half of the models collapse.'
    >>> label = study.models["label"][0]
    >>> study.latents(label)["mean"].shape == (len(study.dataset.test_images), study.models["latent_size"][0])
    True
    """

    results: Path

    @cached_property
    def models(self) -> pd.DataFrame:
        """One row per model, best first; docs/reference/measures.md says what the columns are."""
        return table.read(self.results / "tables/models.csv")

    @cached_property
    def claims(self) -> pd.DataFrame:
        """Each claim of the paper with its verdict, its number and the 95% interval of it, one row per claim."""
        return verdicts.main_rows(verdicts.read(self.results / "tables/claims.csv")).reset_index(drop=True)

    @cached_property
    def config(self) -> dict:
        """The merged config that made the results."""
        return read_config(str(self.results / "config.yaml"))

    @cached_property
    def dataset(self) -> dataset.Dataset:
        """Images, labels and factors of the training, validation and test sets."""
        return dataset.load(self.results / "data/dataset.npz")

    def table(self, name: str) -> pd.DataFrame:
        """Any table of the study.

        Parameters
        ----------
        name : str
            Such as `effects`, `counts`, `architectures`, `fidelity` or `swap`; docs/reference/measures.md has all.

        Returns
        -------
        DataFrame
        """
        return table.read(self.results / f"tables/{name}.csv", needed=())

    def folder(self, label: str, seed: int | None = None) -> Path:
        """The folder of a model, which `export.Encoder.load` takes.

        Raises
        ------
        UserError
            If the study has no such model.
        """
        known = self.models
        if label not in set(known["label"]):
            near = difflib.get_close_matches(label, known["label"].unique(), 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UserError(f"{self.results}: has no model {label}{hint}")
        seeds = known.loc[known["label"] == label, "seed"].sort_values().tolist()
        if seed is not None and seed not in seeds:
            raise UserError(f"{self.results}: {label} was trained with the seeds {', '.join(map(str, seeds))}")
        return grid.folder(self.results / "models", Spec.parse(label), seeds[0] if seed is None else seed)

    def latents(self, label: str, seed: int | None = None) -> dict[str, np.ndarray]:
        """Posteriors q(z|x) of a model.

        Returns
        -------
        dict of arrays
            `mean` and `log_variance`, `float32 [N, latent_size]`, of the test images; `fit_mean` and
            `fit_log_variance`, `[M, latent_size]`, of the validation images `fit_indices`, `[M]`, that probes are
            fitted on.
        """
        return read_npz(self.folder(label, seed) / "latents.npz", *LATENTS)

    def history(self, label: str, seed: int | None = None) -> pd.DataFrame:
        """The training of a model: a row per epoch, losses in nats per training image."""
        return table.read(self.folder(label, seed) / "history.csv", ("epoch", "reconstruction", "kld"))


def load_study(results: str | Path = "results") -> Study:
    """Open the results of a finished study.

    Parameters
    ----------
    results : str or Path
        The folder of the results.

    Returns
    -------
    Study

    Raises
    ------
    UserError
        If there is no finished study.

    Examples
    --------
    >>> vae.load_study("results").config["objective"]["reduction"]
    'mean'
    """
    study = Study(Path(results))
    if not (study.results / "tables/models.csv").is_file():
        raise UserError(f"{results}: no finished study (has no tables/models.csv); give the folder of its results")
    return study
