"""Registries refuse duplicates and bad names, and list themselves."""

import pytest

from vae.analysis.claims.paper import CLAIMS
from vae.catalogue import FIGURES, STAGES, TOOLS
from vae.errors import UserError
from vae.models.families import FAMILIES, family
from vae.registry import Registry
from vae.report import figures

REGISTRIES = {
    "family": FAMILIES, "stage": STAGES, "tool": TOOLS, "claim": CLAIMS, "figure": FIGURES,
    "drawing": figures.FIGURES,
}  # fmt: skip


def test_entries_come_in_the_order_in_which_they_were_added():
    registry = Registry("thing")
    assert registry.add("b", 1) == 1
    registry.add("a", 2)
    assert list(registry) == ["b", "a"]
    assert (registry["a"], registry.get("c")) == (2, None)


@pytest.mark.parametrize("registry", REGISTRIES.values(), ids=REGISTRIES)
def test_duplicates_bad_names_and_strangers_are_refused(registry):
    size, taken = len(registry), next(iter(registry))
    assert size > 1
    with pytest.raises(UserError, match=f"'{taken}' is the name of two"):
        registry.add(taken, None)
    for bad in ("", "two words", "é", "a-b", "1"):
        with pytest.raises(UserError, match="cannot be the name of a"):
            registry.add(bad, None)
    with pytest.raises(UserError, match=f"unknown {registry.kind} nothing; known are {taken}, "):
        registry["nothing"]
    assert len(registry) == size


def test_a_family_of_a_taken_or_bad_name_is_refused():
    for name in ("DNN", "Dnn", "DNN2"):
        with pytest.raises(UserError):
            family(name)(object)
    assert list(FAMILIES) == ["LIN", "DNN", "CNN", "RES"]


def test_a_figure_that_the_catalogue_does_not_know_is_refused():
    with pytest.raises(UserError, match="unknown figure nowhere_listed"):

        @figures.drawing.figure
        def nowhere_listed(study):
            return []
