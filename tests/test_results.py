"""The reference results in docs/results: what is stored, and that tables and pages follow from it."""

import filecmp
import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from conftest import ROOT

from vae import grid
from vae.config import complete, schema

STORED = ROOT / "docs/results"
STUDIES = sorted(path.parent.name for path in STORED.glob("*/models.csv"))


@pytest.fixture
def copied(tmp_path):
    """A copy of what `refresh.py` reads and writes."""
    shutil.copytree(STORED, tmp_path / "docs/results", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "README.md", tmp_path)
    return tmp_path


def refresh(folder, *arguments):
    command = [sys.executable, folder / "docs/results/refresh.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def files(folder):
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path for path in paths if "__pycache__" not in path.parts}


def test_tables_and_pages_are_what_the_stored_measures_give_byte_for_byte(copied):
    for study in STUDIES:
        for derived in ("claims.csv", "effects.csv", "means.csv", "rate_distortion.csv", "claims.html"):
            (copied / "docs/results" / study / derived).unlink()
    (copied / "docs/results/README.md").unlink()
    done = refresh(copied)
    assert (done.returncode, done.stderr) == (0, "")
    assert filecmp.cmpfiles(STORED, copied / "docs/results", files(STORED), shallow=False)[1:] == ([], [])
    assert (copied / "README.md").read_text() == (ROOT / "README.md").read_text()


def test_a_number_that_does_not_follow_from_the_tables_is_overwritten(copied):
    readme = (copied / "README.md").read_text()
    (copied / "README.md").write_text(readme.replace("of the variance", "42% of the variance", 1))
    models = pd.read_csv(copied / f"docs/results/{STUDIES[0]}/models.csv")
    page = (copied / "docs/results/README.md").read_text()
    models["kld"] += 1
    models.to_csv(copied / f"docs/results/{STUDIES[0]}/models.csv", index=False)
    assert refresh(copied).returncode == 0
    assert (copied / "README.md").read_text() == readme
    assert (copied / "docs/results/README.md").read_text() != page


def test_claims_that_other_conditions_decide_otherwise_are_told_and_counted():
    def decided(study):
        rows = pd.read_csv(STORED / study / "claims.csv").drop_duplicates("claim").query("of == 'paper'")
        return rows[rows["verdict"] != "undecided"].set_index("claim")[["sentence", "verdict"]]

    default, elbo = decided("default"), decided("elbo")
    both = default.loc[default.index.intersection(elbo.index)]
    otherwise = both[both["verdict"] != elbo.loc[both.index, "verdict"]]["sentence"]
    page = (STORED / "README.md").read_text()
    assert set(re.findall(r"^- \*(.+?)\*.*\n(?:  In .*\n)*?  In \[elbo\]", page, re.M)) == set(otherwise)
    assert f" {len(otherwise)} of these verdicts are decided otherwise" in (ROOT / "README.md").read_text()


def test_the_results_are_small_and_name_no_place_of_a_machine():
    assert sum((STORED / path).stat().st_size for path in files(STORED)) < 8e6
    for study in STUDIES:
        pictures = re.findall('<img [^>]*src="(.*?)"', (STORED / study / "claims.html").read_text())
        assert sorted(pictures) == sorted(path.name for path in (STORED / study).glob("*.png"))
        config = yaml.safe_load((STORED / study / "config.yaml").read_text())
        assert config["dataset"]["path"] is config["families"] is None
        for path in (STORED / study).iterdir():
            if path.suffix != ".png":
                text = re.sub(r"[A-Za-z0-9+/=]{200,}", "", path.read_text())  # pictures in pages
                assert not re.search(r"/(home|root|tmp)/", text), path


@pytest.mark.parametrize("study", STUDIES)
def test_the_stored_config_asks_for_the_stored_models(study):
    asked = complete(yaml.safe_load((STORED / study / "config.yaml").read_text()), schema())
    models = pd.read_csv(STORED / study / "models.csv")
    every = [(str(spec), seed) for spec in grid.expand(asked) for seed in asked["training"]["seeds"]]
    assert sorted(every) == sorted(zip(models["label"], models["seed"], strict=True))


def test_a_finished_study_is_stored_and_an_unfinished_one_refused(copied, checkout, tmp_path):
    results, mine = tmp_path / "results", copied / "docs/results/mine"
    assert "not a name of a study" in refresh(copied, "..", results).stderr
    shutil.copytree(checkout / "results", results, symlinks=True)
    assert "names a path" in refresh(copied, "mine", results).stderr
    assert not mine.exists()
    config = yaml.safe_load((results / "config.yaml").read_text())
    config["dataset"]["path"] = None
    (results / "config.yaml").write_text(yaml.safe_dump(config))
    assert refresh(copied, "mine", results).returncode == 0
    assert pd.read_csv(mine / "models.csv").equals(pd.read_csv(results / "tables/models.csv"))
    stored = {name: (mine / name).read_bytes() for name in files(mine)}
    assert {"claims.html", "explore.html", "collapse_atlas.png", "effects.png", "run.json"} <= {*map(str, stored)}
    (results / "figures/effects.png").unlink()
    done = refresh(copied, "mine", results)
    assert done.returncode == 1
    assert done.stderr == f"{results}: not finished (has no figures/effects.png); run the study to its end\n"
    assert stored == {name: (mine / name).read_bytes() for name in files(mine)}
