"""A stored study, and its numbers as the pages write them."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from vae.analysis import effects, table
from vae.analysis.blocks import Estimate, Grid, estimate
from vae.analysis.claims import verdicts
from vae.analysis.fidelity import Fidelity
from vae.analysis.swap import minimised
from vae.files import read_config, read_json


def number(value: float, digits: int = 1) -> str:
    """A number with a true minus, and none before zero."""
    return f"{value:.{digits}f}".replace("-", "−") if round(value, digits) else f"{0:.{digits}f}"


def interval(of: Estimate, digits: int = 1) -> str:
    """A mean with its 95% interval, as `0.2 (0.1 to 0.3)`."""
    low, high = of.interval
    return f"{number(of.value, digits)} ({number(low, digits)} to {number(high, digits)})"


def in_words(verdict: str) -> str:
    """A verdict as the pages write it."""
    return {"identity": "true by definition", "equivalent": "no difference that matters"}.get(verdict, verdict)


def listed(values: Iterable) -> str:
    """Values as a list in a sentence."""
    *first, last = map(str, values)
    return f"{', '.join(first)} and {last}" if first else last


@dataclass(frozen=True)
class Stored:
    """The tables of a study in a folder of docs/results."""

    folder: Path

    @cached_property
    def _all(self) -> pd.DataFrame:
        return table.read(self.folder / "models.csv")

    @property
    def trained(self) -> int:
        """The number of models, those of a sweep among them."""
        return len(self._all)

    @cached_property
    def models(self) -> pd.DataFrame:
        """The models of the config itself that did not diverge, with the objective that was minimised."""
        rows = table.base(self._all)
        return rows[rows["status"] == "ok"].assign(minimised=minimised)

    @cached_property
    def claims(self) -> pd.DataFrame:
        """Each claim with its verdict, by name."""
        return verdicts.main_rows(verdicts.read(self.folder / "claims.csv")).set_index("claim")

    @cached_property
    def config(self) -> dict:
        """The merged config."""
        return read_config(str(self.folder / "config.yaml"))

    @cached_property
    def run(self) -> dict:
        """The versions and the device of the study, and its core-seconds."""
        return read_json(self.folder / "run.json")

    @cached_property
    def fidelity(self) -> Fidelity:
        """The gain of the sentinels at twice the budget."""
        return Fidelity.of(self.budget)

    @cached_property
    def budget(self) -> pd.DataFrame:
        """A row per sentinel."""
        return table.read(self.folder / "fidelity.csv", needed=())

    def levels(self, factor: str) -> list:
        """Latent sizes, encoders, decoders or seeds."""
        return Grid.of(self.models, ()).levels[factor]

    def at(self, size: int) -> "Part":
        """The models of a latent size."""
        return Part(self.models[self.models["latent_size"] == size])

    def share(self, side: str) -> str:
        """The share of the variance of the −ELBO that encoders or decoders explain at equal latent size."""
        shares = table.read(self.folder / "effects.csv", needed=())
        return f"{effects.at_equal_size(shares, 'negative_elbo')[side]:.0%}"

    def verdicts(self, verdict: str) -> pd.DataFrame:
        """The paper's claims of a verdict."""
        return self.of_paper[self.of_paper["verdict"] == verdict]

    def verdict(self, claim: str) -> str:
        """The verdict on a claim, and that by the −ELBO where it is another."""
        every = verdicts.read(self.folder / "claims.csv")
        by_elbo = every[(every["claim"] == claim) & (every["ranking"] == "elbo")]["verdict"]
        said = self.claims.loc[claim, "verdict"]
        others = [f"by −ELBO {in_words(verdict)}" for verdict in by_elbo if verdict != said]
        return "; ".join([in_words(said), *others])

    def decided_otherwise(self, other: "Stored") -> pd.DataFrame:
        """The paper's claims that both studies decide, each with a verdict of its own."""
        here, there = self.of_paper["verdict"], other.of_paper["verdict"]
        return self.of_paper[(here != there) & (here != "undecided") & (there != "undecided")]

    @property
    def of_paper(self) -> pd.DataFrame:
        """The paper's claims."""
        return self.claims[self.claims["of"] == "paper"]

    @property
    def answers(self) -> pd.DataFrame:
        """The claims on the parts of the loss."""
        return self.claims[self.claims["of"] == "answer"]

    @property
    def seeds(self) -> str:
        """How many seeds every architecture was trained with."""
        count = len(self.levels("seed"))
        return f"{count} seeds" if count > 1 else "one seed"

    @property
    def collapsed(self) -> str:
        """How many models collapsed at each latent size, as `16, 0 and 0 of 16`."""
        by_size = self.models.groupby("latent_size")["collapsed"]
        return f"{listed(by_size.sum())} of {by_size.size().max()}"

    @property
    def core_seconds(self) -> int:
        """The time of all jobs."""
        return sum(self.run["core_seconds"].values())


@dataclass(frozen=True)
class Part:
    """Some models of a study."""

    rows: pd.DataFrame

    def mean(self, column: str, digits: int = 1, **of: str) -> str:
        """The mean of a column over the models with an encoder or decoder."""
        rows = self.rows
        for side, name in of.items():
            rows = rows[rows[side] == name]
        return number(rows[column].mean(), digits)

    def level(self, column: str, side: str, name: str) -> Estimate:
        """The mean of a column over the models with an encoder or decoder, with its interval."""
        return estimate(Grid.of(self.rows, [column]).by(column, side)[name])

    def excess(self, column: str, first: str, second: str, side: str = "encoder") -> Estimate:
        """By how much a column is larger with one encoder or decoder than with another, all else equal."""
        levels = Grid.of(self.rows, [column]).by(column, side)
        return estimate(levels[first] - levels[second])

    def means(self, column: str, side: str) -> pd.Series:
        """The means of a column by encoder or decoder."""
        return self.rows.groupby(side)[column].mean()


def conditions(studies: dict[str, Stored]) -> list[Stored]:
    """The default study, and those that have its grid under other conditions."""
    grid = studies["default"].config["grid"]
    return [study for study in studies.values() if study.config["grid"] == grid]


def changed(study: Stored, default: Stored) -> str:
    """The options of a study that differ from the default, seeds apart, as the config says them."""
    own, usual = (pd.json_normalize(each.config).loc[0].drop("training.seeds") for each in (study, default))
    return ", ".join(f"`{name}: {value}`" for name, value in own.items() if value != usual[name]) or "–"


def by_size(study: Stored, column: str, digits: int, statistic: str = "mean") -> str:
    """A statistic of a column at each latent size, as a list in a sentence."""
    values = study.models.groupby("latent_size")[column].agg(statistic)
    return listed(number(value, digits) for value in values)


def accuracy_by_size(study: Stored) -> str:
    """The mean probe accuracy of sampled codes at each latent size, as a list in a sentence."""
    return listed(f"{value:.0%}" for value in study.models.groupby("latent_size")["probe_accuracy_sampled"].mean())


def points_below(study: Stored) -> str:
    """By how many points the probe accuracy at latent size 50 is below that in principal components of the pixels."""
    return number(-100 * study.claims.loc["separable_at_50", "value"], 0)


def collapsed_by_size(study: Stored) -> str:
    """At which latent sizes models collapsed, as a sentence without its end."""
    shares = study.models.groupby("latent_size")["collapsed"].mean()
    counts = study.models.groupby("latent_size").size()
    parts = []
    for words, chosen in (
        (f"all {counts[shares == 1].sum()}", shares == 1),
        ("some of the", shares.between(0, 1, "neither")),
        ("none of the", shares == 0),
    ):
        if chosen.any():
            parts.append(
                f"{words} models of latent size{'s' if chosen.sum() > 1 else ''} {listed(shares.index[chosen])}"
            )
    said = ", and ".join([f"{parts[0]} collapsed", *parts[1:]])
    return said[0].upper() + said[1:]
