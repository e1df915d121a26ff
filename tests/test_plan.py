"""What is kept of a plan: by all that decides it, and nothing that is wrong."""

import json
import subprocess
import sys

import pytest
import yaml
from conftest import ENVIRONMENT, ROOT
from PIL import Image

from vae.config import complete
from vae.errors import UserError
from workflow.lib import plan
from workflow.lib.resources import Budget

SCHEMA = yaml.safe_load((ROOT / "vae/config.schema.yaml").read_text())
GRID = {"latent_sizes": [2, 5], "encoders": ["DNN1", "CNN2"], "decoders": ["DNN2"]}


def study(**changes):
    return complete({"grid": GRID} | changes, SCHEMA)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "vae-encoders/plans"


@pytest.mark.parametrize(("jobs", "models"), [("pair", 2), ("model", 1)])
@pytest.mark.parametrize(("on_gpu", "device"), [(False, "cpu"), (True, "cuda")])
def test_every_job_has_its_estimate(jobs, models, on_gpu, device):
    config = study(jobs=jobs)
    estimates, budget = plan.estimates(config, on_gpu), Budget(config, (55000, 28, 28), 10000)
    assert set(estimates) == {"tune", "train", "fidelity", "export", "measure", "gaps", "swap", "control", "quantise"}
    for stage, pairs in estimates.items():
        assert set(pairs) == {"DNN1_DNN2", "CNN2_DNN2"}
        computed_on = device if stage in ("tune", "train", "fidelity", "gaps", "swap", "control") else "cpu"
        for pair, (memory, minutes) in pairs.items():
            assert memory == budget.memory(stage, *pair.split("_"), computed_on)
            assert minutes == budget.minutes(stage, *pair.split("_"), models, computed_on)


def test_a_plan_is_made_once_and_again_where_anything_changes(folder, monkeypatch):
    made = []
    make = plan._estimates
    monkeypatch.setattr(plan, "_estimates", lambda *given: made.append(given) or make(*given))
    first = plan.estimates(study(), False)
    assert plan.estimates(study(), False) == first
    assert len(made) == 1
    plan.estimates(study(), True)
    plan.estimates(study(networks={"hidden_units": 64}), False)
    monkeypatch.setattr(plan.provenance, "source", lambda stage: "another")
    plan.estimates(study(), False)
    assert len(made) == len(list(folder.iterdir())) == 4


@pytest.mark.parametrize("damaged", ["", "[]", '{"train"', "\0" * 100])
def test_a_damaged_plan_is_made_again(folder, damaged):
    first = plan.estimates(study(), False)
    (kept,) = folder.iterdir()
    kept.write_text(damaged)
    assert plan.estimates(study(), False) == first == json.loads(kept.read_text())


def test_what_is_wrong_is_never_kept(folder):
    for _ in range(2):
        with pytest.raises(UserError, match="CNN9: too deep"):
            plan.estimates(study(grid=GRID | {"encoders": ["CNN9"]}), False)
        with pytest.raises(UserError, match="gap_images: 20000"):
            plan.estimates(study(evaluation={"gap_images": 20000}), False)
        with pytest.raises(UserError, match=r"training\.images: 55001 are asked for, the dataset has 55000 training"):
            plan.estimates(study(training={"images": 55001}), False)
    assert not folder.exists()


def test_a_user_without_a_home_plans_too(nobody):
    assert plan.estimates(study(), False)["train"]


def test_only_the_first_plan_loads_torch(tmp_path):
    program = (
        "import json, sys; from workflow.lib import plan;"
        f"plan.estimates(json.loads({json.dumps(study())!r}), False); print('torch' in sys.modules)"
    )
    loaded = [
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env=ENVIRONMENT | {"XDG_CACHE_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for _ in range(2)
    ]
    assert loaded == ["True", "False"]


def test_a_folder_of_pictures_is_planned_where_snakemake_runs_without_pillow(tmp_path):
    """Nothing is estimated; the rule `check` finds what is wrong."""
    for side in ("train", "test"):
        (tmp_path / f"own/{side}").mkdir(parents=True)
        Image.new("L", (28, 28)).save(tmp_path / f"own/{side}/1.png")
    config = study(dataset={"name": "own", "path": str(tmp_path / "own"), "resize": [8, 9]})
    program = (
        "import json, sys; sys.modules |= dict.fromkeys(['PIL', 'tqdm', 'torch', 'sklearn', 'scipy', 'torchvision']);"
        f"from workflow.lib import plan; print(plan.estimates(json.loads({json.dumps(config)!r}), False))"
    )
    environment = ENVIRONMENT | {"XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert (done.stdout.strip(), done.stderr) == ("{}", "")
