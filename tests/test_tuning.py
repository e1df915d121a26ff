"""The choice of a hyperparameter for a pair of networks, by the losses of its trials."""

import json
from copy import deepcopy

import pytest
import torch
import yaml
from conftest import ROOT, SAMPLE
from hypothesis import given
from hypothesis import strategies as st

from vae import provenance, seeds
from vae.cli import main
from vae.config import complete
from vae.data import dataset
from vae.measures import trials, tuning
from vae.provenance import Origin
from vae.seeds import SEEDS
from vae.training import loop
from vae.training.state import Progress

SCHEMA = yaml.safe_load((ROOT / "vae/config.schema.yaml").read_text())
RATES = [0.001, 0.003, 0.01]


def test_the_value_of_least_mean_loss_is_chosen_with_what_its_neighbours_cost():
    """Not the one that is best at one latent size."""
    choice = tuning.choose(RATES, [[100, 130], [101, 120], [90, 140]])
    assert choice == {"chosen": 0.003, "at_edge": False, "cost_before": 4.5, "cost_after": 4.5}


def test_a_value_at_either_end_of_the_list_is_flagged():
    first, last = tuning.choose(RATES, [[100], [102], [105]]), tuning.choose(RATES, [[105], [102], [100]])
    assert first == {"chosen": 0.001, "at_edge": True, "cost_before": None, "cost_after": 2}
    assert last == {"chosen": 0.01, "at_edge": True, "cost_before": 2, "cost_after": None}
    assert tuning.choose([3], [[100]]) == {"chosen": 3, "at_edge": True, "cost_before": None, "cost_after": None}
    assert tuning.choose(RATES, [[7], [7], [7]])["chosen"] == 0.001


def test_a_value_of_which_a_model_diverged_is_not_chosen():
    choice = tuning.choose(RATES, [[200, 300], [100, 150], [50, None]])
    assert choice == {"chosen": 0.003, "at_edge": False, "cost_before": 125, "cost_after": None}
    assert tuning.choose(RATES, [[None, 1], [None, None], [400, 500]])["chosen"] == 0.01


def test_where_every_value_diverged_the_first_is_taken_and_flagged():
    choice = tuning.choose(RATES, [[None, 1], [1, None], [None, None]])
    assert choice == {"chosen": 0.001, "at_edge": True, "cost_before": None, "cost_after": None}
    json.dumps(choice, allow_nan=False)


LOSS = st.none() | st.integers(0, 1000)


@given(st.lists(st.tuples(LOSS, LOSS), min_size=1, max_size=6))
def test_nothing_that_is_listed_does_better_than_what_is_chosen(losses):
    values = list(range(len(losses)))
    choice = tuning.choose(values, [list(of_value) for of_value in losses])
    best = losses[choice["chosen"]]
    sound = [of_value for of_value in losses if None not in of_value]
    assert None not in best or not sound
    assert all(sum(best) <= sum(of_value) for of_value in sound)
    assert choice["at_edge"] == (choice["chosen"] in (0, len(losses) - 1))
    for name, index in (("cost_before", choice["chosen"] - 1), ("cost_after", choice["chosen"] + 1)):
        beside = losses[index] if 0 <= index < len(losses) else (None,)
        assert choice[name] == (None if None in beside else (sum(beside) - sum(best)) / 2)


def test_the_config_is_given_what_was_chosen(tmp_path):
    config = complete({"training": {"epochs": 7}}, SCHEMA)
    before = deepcopy(config)
    assert tuning.applied(config, None) == config
    provenance.write(tmp_path / "tuning.json", {"key": "training.learning_rate", "chosen": 0.02}, Origin("tune"))
    changed = tuning.applied(config, tmp_path / "tuning.json")
    assert changed["training"] == before["training"] | {"learning_rate": 0.02}
    assert {part: changed[part] for part in changed if part != "training"} == {
        part: before[part] for part in before if part != "training"
    }
    assert config == before


def run(folder, values, **changes):
    """What the stage `tune` writes of DNN1_DNN1 on the sample, with tiny networks."""
    config = complete(
        {
            "dataset": {"name": "sample", "path": str(SAMPLE)},
            "grid": {"latent_sizes": [2], "tune": {"training.learning_rate": values}},
            "networks": {"hidden_units": 32},
            "training": {"epochs": 1, "images": 500, "batch_size": 50},
            "device": "cpu",
        },
        SCHEMA,
    )
    for part, change in changes.items():
        config[part] |= change
    given = ["--config", json.dumps(config)]
    assert main(["dataset", *given, str(folder / "dataset.npz")]) == 0
    output = folder / "tuning/DNN1_DNN1.json"
    assert main(["tune", *given, "--dataset", str(folder / "dataset.npz"), "DNN1", "DNN1", str(output)]) == 0
    return provenance.read(output)


def test_a_learning_rate_is_chosen_by_training(tmp_path):
    tuned = run(tmp_path, [1e-6, 3e-3, 30])
    assert (tuned["key"], tuned["chosen"], tuned["at_edge"]) == ("training.learning_rate", 3e-3, False)
    (slow,), (best,), (fast,) = tuned["losses"]
    assert best < slow
    assert fast is None or best < fast
    assert tuned["cost_before"] == pytest.approx(slow - best)
    # What is kept of unfinished trainings is gone.
    assert [path.name for path in (tmp_path / "tuning").iterdir()] == ["DNN1_DNN1.json"]


@pytest.mark.parametrize(
    ("key", "values"), [("training.epochs", [1, 2]), ("training.batch_size", [50, 20]), ("training.images", [100, 400])]
)
def test_any_key_of_training_is_tuned_and_every_loss_is_of_its_value_and_latent_size(tmp_path, key, values):
    both = run(tmp_path, [0.1], grid={"latent_sizes": [2, 5], "tune": {key: values}})["losses"]
    for value, losses in zip(values, both, strict=True):
        alone = run(tmp_path / str(value), [0.1], grid={"latent_sizes": [2, 5], "tune": {key: [value]}})
        assert alone["losses"] == [losses]
    assert both[0] != both[1]


def test_a_trial_that_diverged_has_no_loss(tmp_path):
    """Though its weights are those of the last epoch in which they were finite."""
    tuned = run(tmp_path, [1e30, 1e-3])
    assert tuned["losses"][0] == [None]
    assert tuned["chosen"] == 1e-3


def test_trials_are_trained_with_a_seed_that_is_no_models_and_scored_on_validation_images(tmp_path, monkeypatch):
    members, scored = [], []
    train, evaluate = loop.train, trials.losses.evaluate

    def record(spec, seed, images, recipe, device, progress):
        members.append((str(spec), seed, recipe.training.learning_rate))
        return train(spec, seed, images, recipe, device, progress)

    def note(model, images, objective, seed):
        scored.append(images)
        return evaluate(model, images, objective, seed)

    monkeypatch.setattr(trials.schedule, "train", record)
    monkeypatch.setattr(trials.losses, "evaluate", note)
    tuned = run(tmp_path, [0.01, 0.001], grid={"latent_sizes": [2, 5]})
    seed = seeds.of_study("tuning")
    # A number of nineteen digits, which no one gives a model by chance.
    assert 10**6 < seed < SEEDS
    assert members == [
        (f"L{size}_DNN1_DNN1_value{index}", seed, rate) for size in (2, 5) for index, rate in enumerate((0.01, 0.001))
    ]
    validation = torch.from_numpy(dataset.load(tmp_path / "dataset.npz").validation_images)
    assert len(validation) == 166
    assert all(torch.equal(images, validation) for images in scored)
    assert [len(of_value) for of_value in tuned["losses"]] == [2, 2]


def test_an_interrupted_choice_trains_nothing_again_that_was_over(tmp_path, monkeypatch):
    save, train, epochs = Progress.save, loop.train, []

    def count(progress, saved):
        epochs.append(len(saved.history))
        save(progress, saved)

    def killed(spec, seed, images, recipe, *arguments):
        if recipe.training.learning_rate == 0.01:
            raise KeyboardInterrupt
        return train(spec, seed, images, recipe, *arguments)

    monkeypatch.setattr(Progress, "save", count)
    with monkeypatch.context() as patch:
        patch.setattr(trials.schedule, "train", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, [0.001, 0.01])
    assert epochs == [1]
    resumed = run(tmp_path, [0.001, 0.01])
    assert epochs == [1, 1]
    assert run(tmp_path, [0.001, 0.01])["losses"] == resumed["losses"]


def test_a_loss_is_the_reconstruction_and_the_kld_at_its_full_weight(tmp_path, monkeypatch):
    measured, evaluate = [], trials.losses.evaluate

    def note(*arguments):
        measured.append(evaluate(*arguments))
        return measured[-1]

    monkeypatch.setattr(trials.losses, "evaluate", note)
    ((loss,),) = run(tmp_path, [1e-3], objective={"beta": 3.0, "reduction": "mean", "kl_warmup": 1.0})["losses"]
    assert loss == measured[0]["reconstruction"] + 3 * 784 / 2 * measured[0]["kld"]
