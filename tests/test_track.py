"""`vae track`: what TensorBoard and MLflow read of a study, and that it is there once, however often it is called."""

import csv
import shutil
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import laid_out
from PIL import Image

from vae import progress, seeds
from vae.cli import main
from vae.files import read_json, write_json
from vae.report.tracking import mlflow, tensorboard
from vae.report.tracking.runs import Run, runs
from vae.training.state import Progress, Saved

NAME = "L3_CNN5_DNN1/seed0"
OF_HISTORY = ("loss", "reconstruction", "kld", "seconds")


@pytest.fixture(scope="module")
def original(colour, tmp_path_factory):
    """The study of colour images as the workflow lays it out, but for the times of its jobs."""
    folder = laid_out(colour, tmp_path_factory.mktemp("tracked") / "elbo/results")
    return folder


@pytest.fixture
def results(original, tmp_path):
    return shutil.copytree(original, tmp_path / "elbo/results")


def history(results, name=NAME):
    with open(results / "models" / name / "history.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def train_again(results, name=NAME):
    """Another history of the same model."""
    path = results / "models" / name / "history.csv"
    rows = pd.read_csv(path)
    rows.assign(kld=rows["kld"] + 1).to_csv(path, index=False)


def in_training(results, epochs, name=NAME):
    """Leave what a training does that has come so far, in place of the trained model."""
    folder = results / "models" / name
    rows = [{key: float(value) for key, value in row.items()} for row in history(results, name)[:epochs]]
    facts = read_json(folder / "provenance.json")
    identity = {key: facts[key] for key in ("label", "seed", "config", "dataset")}
    shutil.rmtree(folder)
    folder.mkdir()
    Progress(folder / "unfinished.safetensors", identity).save(Saved({"a": torch.ones(1)}, {}, {}, rows, "ok"))


def of(results, name=NAME):
    return {run.name: run for run in runs(results)}.get(name)


def test_a_run_has_what_its_model_was_trained_by_how_and_what_is_measured_of_it(results):
    found = list(runs(results))
    rows = pd.read_csv(results / "tables/models.csv")
    assert sorted(run.name for run in found) == sorted(f"{label}/seed0" for label in rows["label"])
    for run in found:
        row = rows[rows["label"] == run.name.split("/")[0]].iloc[0]
        assert run.hyperparameters["latent_size"] == row["latent_size"]
        assert (run.hyperparameters["encoder"], run.hyperparameters["decoder"]) == (row["encoder"], row["decoder"])
        assert run.hyperparameters["training.learning_rate"] == 0.003
        assert run.hyperparameters["training.images"] == "none"
        assert run.hyperparameters["binarise"] == "false"
        assert run.epochs == 2
        assert run.curves == {
            f"training/{name}": [float(epoch[name]) for epoch in history(results, run.name)] for name in OF_HISTORY
        }
        metrics = {name.removeprefix("final/"): value for name, value in run.metrics.items()}
        for name in (
            "reconstruction",
            "validation_kld",
            "iwae_bound",
            "encoder_flops",
            "mutual_information",
            "collapsed",
        ):
            assert metrics[name] == pytest.approx(float(row[name]))
        assert not {"seed", "epochs", "label"} & set(metrics)
        assert "probe_accuracy" not in metrics  # it has no labels
        assert np.isfinite(list(metrics.values())).all()
        assert run.latents == results / "models" / run.name / "latents.npz"


def test_a_model_that_is_in_training_has_the_epochs_that_are_over(results):
    whole = of(results)
    in_training(results, epochs=1)
    run = of(results)
    assert run.curves == {name: values[:1] for name, values in whole.curves.items()}
    assert run.hyperparameters == whole.hyperparameters
    assert (run.metrics, run.latents, run.diverged) == ({}, None, False)
    (results / "models" / NAME / "unfinished.safetensors").write_bytes(b"half of it")
    assert of(results) is None


def test_a_model_that_is_not_measured_has_no_metrics_yet(results):
    (results / "models" / NAME / "codes.json").unlink()
    assert of(results).metrics == {}
    assert of(results).epochs == 2


def test_measures_of_the_training_before_are_none_of_the_model(results):
    """As the times say that the workflow has noted."""
    states = progress.read(results).states
    for job in states:
        if job.files[0].startswith("jobs/"):
            (results / job.files[0]).parent.mkdir(parents=True, exist_ok=True)
            (results / job.files[0]).write_text(str({"train": 1, "export": 2, "measure": 3}[job.stage]))
    assert all(run.metrics for run in runs(results))
    (results / "jobs/CNN5_DNN1/train").write_text("9")
    assert {run.name for run in runs(results) if not run.metrics} == {"L1_CNN5_DNN1/seed0", NAME}


def test_a_model_that_diverged_says_so_and_has_no_codes_to_show(results):
    path = results / "models" / NAME / "metrics.json"
    write_json(path, read_json(path) | {"status": "diverged", "kld": None, "reconstruction": None})
    run = of(results)
    assert run.diverged
    assert run.latents is None
    assert not {"final/kld", "final/reconstruction", "final/collapsed"} & set(run.metrics)


@pytest.mark.parametrize("text", ["", "epoch,kld\n", "epoch,kld\n1,much\n", "epoch,kld\n1\n"])
def test_a_history_that_is_damaged_is_refused_by_name(results, text, capsys):
    (results / "models" / NAME / "history.csv").write_text(text)
    for tracker in ("tensorboard", "mlflow"):
        assert main(["track", str(results), "--to", tracker, str(results.parent / "out")]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "history.csv: not the history of a training; delete it and run again" in line
    assert not (results.parent / "out").exists()


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [((5, 28, 28), (5, 1, 28, 28)), ((5, 3, 8, 8), (5, 3, 8, 8)), ((5, 2, 8, 8), (5, 1, 8, 8)),
     ((5, 9, 6), (5, 1, 9, 9)), ((5, 4, 7), (5, 1, 7, 7)), ((5, 1, 65, 40), (5, 1, 33, 33)),
     ((5, 3, 64, 64), (5, 3, 64, 64))],
)  # fmt: skip
def test_thumbnails_are_squares_of_one_or_three_planes(shape, wanted):
    images = np.random.default_rng(0).integers(1, 256, shape, np.uint8)
    squares = tensorboard._squares(images)
    assert squares.shape == wanted
    assert squares.dtype == np.float32
    assert squares.max() <= 1
    if shape[-1] == shape[-2] and len(shape) == 3:
        np.testing.assert_allclose(squares[:, 0] * 255, images, rtol=1e-6)
    if shape == (5, 4, 7):
        np.testing.assert_allclose(squares[:, 0, 1:5] * 255, images, rtol=1e-6)
        assert not squares[:, 0, [0, 5, 6]].any()


# TensorBoard


@pytest.fixture
def board(tmp_path):
    """What TensorBoard reads of a run: the points of each name, and its hyperparameters."""
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    def read(name=NAME):
        events = EventAccumulator(str(tmp_path / "out" / name), size_guidance={"scalars": 0}).Reload()
        points = {
            name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]
        }
        try:
            content = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
        except KeyError:
            return points, None
        values = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
        return points, {key: getattr(value, value.WhichOneof("kind")) for key, value in values.items()}

    return read


def track(results, capsys, *options):
    """Track the study with TensorBoard; returns what the command says."""
    assert main(["track", str(results), "--to", "tensorboard", str(results.parents[1] / "out"), *options]) == 0
    return capsys.readouterr().out.split(": ", 1)[1].split(";")[0]


def files(results):
    return {path: path.stat().st_mtime_ns for path in (results.parents[1] / "out").rglob("*")}


def wanted(results, name=NAME):
    """All points that a run has, in the precision of TensorBoard."""
    run = of(results, name)
    curves = {key: [(step, np.float32(value)) for step, value in enumerate(v, 1)] for key, v in run.curves.items()}
    return curves | {key: [(run.epochs, np.float32(value))] for key, value in run.metrics.items()}


def test_tensorboard_reads_curves_hyperparameters_and_metrics(results, board, capsys):
    assert track(results, capsys) == "8 added, 0 extended, 0 replaced, 0 unchanged"
    for run in runs(results):
        points, hyperparameters = board(run.name)
        assert points == wanted(results, run.name)
        assert hyperparameters == run.hyperparameters


def test_called_again_nothing_is_added_that_is_there(results, board, capsys):
    track(results, capsys)
    before = files(results)
    assert track(results, capsys) == "0 added, 0 extended, 0 replaced, 8 unchanged"
    assert files(results) == before


def test_during_a_study_what_is_new_is_added_alone(results, original, board, capsys):
    """Epoch by epoch, then the measures."""
    whole = wanted(results)
    in_training(results, epochs=1)
    assert track(results, capsys).startswith("8 added")
    assert board() == ({f"training/{name}": whole[f"training/{name}"][:1] for name in OF_HISTORY}, None)
    shutil.copytree(original / "models" / NAME, results / "models" / NAME, dirs_exist_ok=True)
    (results / "models" / NAME / "codes.json").unlink()
    assert track(results, capsys) == "0 added, 1 extended, 0 replaced, 7 unchanged"
    assert board() == ({f"training/{name}": whole[f"training/{name}"] for name in OF_HISTORY}, None)
    shutil.copy(original / "models" / NAME / "codes.json", results / "models" / NAME)
    assert track(results, capsys) == "0 added, 1 extended, 0 replaced, 7 unchanged"
    assert board() == (whole, of(results).hyperparameters)


@pytest.mark.parametrize("what", ["history", "metrics", "hyperparameters", "fewer epochs"])
def test_a_model_that_was_trained_again_takes_the_place_of_the_one_before(results, board, capsys, what):
    track(results, capsys)
    own = results.parents[1] / "out" / NAME / "mine.txt"
    own.write_text("a file of the user's")
    folder = results / "models" / NAME
    if what == "history":
        train_again(results)
    elif what == "metrics":
        write_json(folder / "samples.json", read_json(folder / "samples.json") | {"frechet_distance": 7.0})
        write_json(folder / "metrics.json", read_json(folder / "metrics.json") | {"kld": 7.0})
    elif what == "hyperparameters":
        facts = read_json(folder / "provenance.json")
        facts["config"]["training"]["learning_rate"] = 0.5
        write_json(folder / "provenance.json", facts)
    else:
        in_training(results, epochs=1)
    assert track(results, capsys) == "0 added, 0 extended, 1 replaced, 7 unchanged"
    points, hyperparameters = board()
    assert points == wanted(results)
    assert hyperparameters in (None, of(results).hyperparameters)
    assert own.exists()
    assert track(results, capsys) == "0 added, 0 extended, 0 replaced, 8 unchanged"


def test_what_was_left_half_written_is_completed(results, board, capsys):
    track(results, capsys, "--images", "0")
    first, *rest = sorted((results.parents[1] / "out" / NAME).glob("events*"))
    for path in rest:
        path.unlink()
    first.write_bytes(first.read_bytes()[:-150])
    assert board()[0].keys() < wanted(results).keys()
    assert track(results, capsys, "--images", "0") == "0 added, 1 extended, 0 replaced, 7 unchanged"
    assert board()[0] == wanted(results)


def test_curves_of_a_model_that_diverged_are_shown_as_they_are(results, board, capsys):
    path = results / "models" / NAME / "history.csv"
    rows = pd.read_csv(path)
    rows.loc[1, "kld"] = np.nan
    rows.to_csv(path, index=False, na_rep="nan")
    track(results, capsys)
    (_, first), (step, second) = board()[0]["training/kld"]
    assert np.isfinite(first)
    assert step == 2
    assert np.isnan(second)
    assert track(results, capsys) == "0 added, 0 extended, 0 replaced, 8 unchanged"


@pytest.mark.parametrize("labelled", [False, True])
def test_codes_are_projected_beside_their_images(results, board, capsys, labelled):
    with np.load(results / "data/dataset.npz") as stored:
        arrays = dict(stored)
    if labelled:
        arrays["test_labels"] = np.arange(30) % 7
        np.savez(results / "data/dataset.npz", **arrays)
    track(results, capsys, "--images", "10")
    from google.protobuf import text_format
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    folder = results.parents[1] / "out" / NAME
    config = text_format.Parse((folder / "projector_config.pbtxt").read_text(), ProjectorConfig())
    (embedding,) = config.embeddings
    chosen = np.sort(seeds.draw(30, 10))
    with np.load(results / "models" / NAME / "latents.npz") as latents:
        means = latents["mean"][chosen]
    np.testing.assert_allclose(np.loadtxt(folder / embedding.tensor_path), means, rtol=1e-5, atol=1e-6)
    if labelled:
        assert (folder / embedding.metadata_path).read_text().split() == [str(place % 7) for place in chosen]
    assert list(embedding.sprite.single_image_dim) == [32, 32]
    with Image.open(folder / embedding.sprite.image_path) as image:
        sheet = np.asarray(image)
    assert sheet.shape == (128, 128, 3)  # four in a row
    for place, image in enumerate(arrays["test_images"][chosen]):
        row, column = divmod(place, 4)
        tile = sheet[32 * row : 32 * (row + 1), 32 * column : 32 * (column + 1)]
        np.testing.assert_allclose(tile.astype(int), image.transpose(1, 2, 0), atol=1)


def test_no_codes_are_projected_where_none_are_wanted_and_they_can_be_added(results, board, capsys):
    track(results, capsys, "--images", "0")
    assert not list((results.parents[1] / "out").rglob("projector_config.pbtxt"))
    points = board()[0]
    assert track(results, capsys) == "0 added, 8 extended, 0 replaced, 0 unchanged"
    assert len(list((results.parents[1] / "out").rglob("projector_config.pbtxt"))) == 8
    assert board()[0] == points


def test_codes_of_other_images_are_refused(results, board, capsys):
    with np.load(results / "data/dataset.npz") as stored:
        arrays = dict(stored)
    np.savez(results / "data/dataset.npz", **arrays | {"test_images": arrays["test_images"][:20]})
    assert main(["track", str(results), "--to", "tensorboard", str(results.parent / "out")]) == 2
    assert "codes of 30 images, of which the dataset has 20" in capsys.readouterr().err


def test_it_says_how_to_look_at_it(results, board, capsys):
    assert main(["track", str(results), "--to", "tensorboard", str(results.parents[1] / "out")]) == 0
    assert capsys.readouterr().out.endswith(f"tensorboard --logdir {results.parents[1] / 'out'}\n")


# MLflow


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """A database of MLflow's without any runs, which takes seconds to make."""
    for name in ("mlflow", "sqlalchemy", "alembic"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    folder = tmp_path_factory.mktemp("mlflow")
    mlflow.track([], str(folder), "another")
    return folder / "mlflow.db"


@pytest.fixture
def store(database, tmp_path):
    """What MLflow reads of all runs of an experiment, by name: parameters, the points of each metric, and status."""
    (tmp_path / "out").mkdir()
    shutil.copy(database, tmp_path / "out/mlflow.db")
    client = mlflow._client(mlflow.address(str(tmp_path / "out")))

    def read(experiment="elbo"):
        found = {}
        for run in mlflow._logged(client, client.get_experiment_by_name(experiment).experiment_id):
            points = {
                key: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, key)]
                for key in run.data.metrics
            }
            assert run.info.run_name not in found
            found[run.info.run_name] = (run.data.params, points, run.info.status)
        return found

    return read


@pytest.fixture
def few(results):
    """The same study with two of its models: MLflow takes its time."""
    config = yaml.safe_load((results / "config.yaml").read_text())
    config["grid"] |= {"latent_sizes": [3], "encoders": ["CNN5"]}
    (results / "config.yaml").write_text(yaml.safe_dump(config))
    return results


def log(results, capsys, *options, target=None):
    target = target or str(results.parents[1] / "out")
    assert main(["track", str(results), "--to", "mlflow", target, *options]) == 0
    return capsys.readouterr().out.split(": ", 1)[1].split(";")[0]


def as_logged(run):
    """All of a run, as MLflow has it."""
    curves = {name: list(enumerate(values, 1)) for name, values in run.curves.items()}
    metrics = {name: [(run.epochs, value)] for name, value in run.metrics.items()}
    return {key: str(value) for key, value in run.hyperparameters.items()}, curves | metrics, "FINISHED"


needs_mlflow = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@needs_mlflow
def test_mlflow_reads_curves_hyperparameters_and_metrics_once(few, store, capsys):
    assert log(few, capsys) == "2 added, 0 extended, 0 replaced, 0 unchanged"
    logged = {run.name: as_logged(run) for run in runs(few)}
    assert store() == logged
    assert log(few, capsys) == "0 added, 0 extended, 0 replaced, 2 unchanged"
    assert store() == logged


@needs_mlflow
def test_mlflow_is_given_what_is_new_during_a_study(few, original, store, capsys):
    in_training(few, epochs=1)
    log(few, capsys)
    assert store()[NAME] == as_logged(of(few))
    shutil.copytree(original / "models" / NAME, few / "models" / NAME, dirs_exist_ok=True)
    (few / "models" / NAME / "codes.json").unlink()
    assert log(few, capsys) == "0 added, 1 extended, 0 replaced, 1 unchanged"
    assert store()[NAME] == as_logged(of(few))
    shutil.copy(original / "models" / NAME / "codes.json", few / "models" / NAME)
    assert log(few, capsys) == "0 added, 1 extended, 0 replaced, 1 unchanged"
    assert store()[NAME] == as_logged(of(few))


@needs_mlflow
@pytest.mark.parametrize("what", ["trained again", "half-written"])
def test_in_mlflow_a_run_that_is_not_of_the_model_is_replaced(few, store, capsys, what):
    log(few, capsys)
    if what == "trained again":
        train_again(few)
    else:
        client = mlflow._client(mlflow.address(str(few.parents[1] / "out")))
        (run,) = client.search_runs(["2"], filter_string=f"attributes.run_name = '{NAME}'")
        client.update_run(run.info.run_id, status="RUNNING")
    assert log(few, capsys) == "0 added, 0 extended, 1 replaced, 1 unchanged"
    assert store() == {run.name: as_logged(run) for run in runs(few)}


@needs_mlflow
def test_mlflow_takes_a_name_and_an_address_and_knows_models_that_diverged(few, store, capsys, tmp_path):
    path = few / "models" / NAME / "metrics.json"
    write_json(path, read_json(path) | {"status": "diverged", "kld": None, "reconstruction": None})
    log(few, capsys, "--experiment", "mine", target=f"sqlite:///{tmp_path}/out/mlflow.db")
    assert {name for name, (_, _, status) in store("mine").items() if status == "FAILED"} == {NAME}


@needs_mlflow
def test_a_long_training_with_losses_that_are_not_finite_is_logged_whole_and_once(store, tmp_path):
    """More epochs than MLflow takes at once."""
    losses = [float(epoch) for epoch in range(1100)]
    losses[1098:] = [np.inf, np.nan]
    run = Run("L2_DNN1_DNN1/seed0", {"latent_size": 2}, {"training/kld": losses}, {}, None, True)
    assert mlflow.track([run], str(tmp_path / "out"), "long") == {"added": 1}
    assert mlflow.track([run], str(tmp_path / "out"), "long") == {"unchanged": 1}
    points = store("long")[run.name][1]["training/kld"]
    assert [step for step, _ in points] == list(range(1, 1101))
    assert [value for _, value in points][:1098] == losses[:1098]
    longer = replace(run, curves={"training/kld": [*losses, 1.0]})
    assert mlflow.track([longer], str(tmp_path / "out"), "long") == {"extended": 1}
    assert len(store("long")[run.name][1]["training/kld"]) == 1101


@needs_mlflow
@pytest.mark.parametrize("scheme", ["nowhere", "sqlite"])
def test_what_mlflow_refuses_is_said_in_one_line(few, store, capsys, tmp_path, scheme):
    path = tmp_path / "out/mlflow.db"
    path.write_bytes(b"no database" * 1000)
    assert main(["track", str(few), "--to", "mlflow", f"{scheme}:///{path}"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"vae: ERROR: {scheme}:///{path}: ")
    assert len(line) > len(str(path)) + 40


def test_runs_are_found_on_all_pages():
    class Page(list):
        token = None

    class Client:
        def search_runs(self, experiments, page_token=None):
            assert experiments == ["7"]
            page = Page([page_token])
            page.token = {None: "a", "a": "b"}.get(page_token)
            return page

    assert list(mlflow._logged(Client(), "7")) == [None, "a", "b"]


# Without them


@needs_mlflow
@pytest.mark.parametrize(
    ("tracker", "module"), [("tensorboard", "tensorboard"), ("mlflow", "mlflow"), ("mlflow", "alembic")]
)
def test_without_its_packages_the_extra_is_named(results, capsys, monkeypatch, tracker, module):
    if module == "alembic":
        pytest.importorskip("mlflow", reason="mlflow is not installed")
    for name in [name for name in sys.modules if name.startswith(("torch.utils.tensorboard", f"{module}."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["track", str(results), "--to", tracker, str(results.parent / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"vae: ERROR: vae track --to {tracker} needs {module}")
    assert line.endswith("which is not installed: pip install '.[track]' in a checkout brings it")
    assert not (results.parent / "out").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--to", "tensorboard", "out", "--experiment", "a"], "--experiment: MLflow has experiments"),
        (["--to", "tensorboard", "out", "--images", "-1"], "--images -1: give a number from 0"),
        (["--to", "mlflow", "out", "--images", "5"], "--images: TensorBoard projects"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(results, capsys, monkeypatch, tmp_path, options, reason):
    monkeypatch.chdir(tmp_path)
    assert main(["track", str(results), *options]) == 2
    assert f"vae: ERROR: {reason}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("tracker", ["tensorboard", "mlflow"])
def test_a_folder_that_is_no_study_is_refused(tmp_path, capsys, tracker):
    (tmp_path / "results").mkdir()
    assert main(["track", str(tmp_path / "results"), "--to", tracker, str(tmp_path / "out")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
