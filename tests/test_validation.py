"""The validation set: no model is trained on it or tested on it, and what is fitted to codes is fitted on it."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import SAMPLE
from hypothesis import given
from hypothesis import strategies as st

from vae import provenance
from vae.cli import main
from vae.data import dataset, source
from vae.data.dataset import Dataset, split, subset
from vae.errors import UserError
from vae.grid import Spec
from vae.measures import baselines, classifier, losses
from vae.training import loop

GIVEN = {"name": "sample", "path": str(SAMPLE), "validation_images": None, "binarise": False}


def hashes(images):
    """One hash for every image."""
    return [hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest() for image in np.asarray(images)]


@pytest.fixture(scope="module")
def loaded() -> Dataset:
    """The sample with its validation set, as a study has it."""
    study = source.load(GIVEN)
    return replace(study, test_images=np.array(study.test_images))  # which torch may write to


def test_no_validation_image_is_a_training_image_and_none_is_lost(sample, loaded):
    training, validation = hashes(loaded.train_images), hashes(loaded.validation_images)
    assert len(set(hashes(sample.train_images))) == 2000  # they are all distinct
    assert not set(training) & set(validation)
    assert sorted(training + validation) == sorted(hashes(sample.train_images))
    assert hashes(loaded.test_images) == hashes(sample.test_images)


def test_labels_stay_with_their_images_and_images_in_their_order(sample, loaded):
    labels = dict(zip(hashes(sample.train_images), sample.train_labels.tolist(), strict=True))
    places = {image: place for place, image in enumerate(hashes(sample.train_images))}
    for part in ("train", "validation"):
        images = hashes(getattr(loaded, f"{part}_images"))
        assert [labels[image] for image in images] == getattr(loaded, f"{part}_labels").tolist()
        assert [places[image] for image in images] == sorted(places[image] for image in images)


def test_of_a_file_that_is_sorted_by_class_every_class_is_in_both_sets(sample):
    order = np.argsort(sample.train_labels, kind="stable")
    by_class = replace(sample, train_images=sample.train_images[order], train_labels=sample.train_labels[order])
    assert np.bincount(split(by_class, None).validation_labels, minlength=10).min() >= 8


def test_one_image_in_twelve_is_for_validation_or_as_many_as_are_asked_for(sample):
    assert len(split(sample, None).validation_images) == 2000 // 12
    for count in (1, 300, 1999):
        divided = split(sample, count)
        assert (len(divided.train_images), len(divided.validation_images)) == (2000 - count, count)
        assert (len(divided.train_labels), len(divided.validation_labels)) == (2000 - count, count)
    few = replace(sample, train_images=sample.train_images[:5], train_labels=sample.train_labels[:5])
    assert len(split(few, None).validation_images) == 1


@pytest.mark.parametrize("count", [2000, 10**9])
def test_a_training_set_that_has_no_image_left_is_refused_in_one_line(count, sample, capsys, tmp_path):
    message = f"dataset.validation_images: {count} are asked for, and 2000 training images are there to draw them from"
    with pytest.raises(UserError) as error:
        split(sample, count)
    assert str(error.value) == message
    config = json.dumps({"dataset": GIVEN | {"validation_images": count}})
    assert main(["dataset", "--config", config, str(tmp_path / "dataset.npz")]) == 2
    assert capsys.readouterr().err.splitlines() == [f"vae: ERROR: {message}"]
    for name in ("sample", "mnist"):
        with pytest.raises(UserError, match="validation_images: 60000 are asked for"):
            source.extent(GIVEN | {"validation_images": 60_000, "name": name, "path": str(SAMPLE)})


def test_one_image_cannot_be_divided():
    image = np.zeros((1, 4, 4), np.uint8)
    with pytest.raises(UserError, match="1 are asked for, and 1 training images"):
        split(Dataset("own", "own", image, image), None)


def test_what_a_study_will_have_to_train_on_is_known_before_any_of_it_is_fetched(loaded):
    assert source.extent(GIVEN) == (loaded.train_images.shape, 500)
    assert source.extent(GIVEN | {"name": "mnist", "path": None}) == ((55_000, 28, 28), 10_000)
    fewer = GIVEN | {"name": "mnist", "path": None, "validation_images": 1000}
    assert source.extent(fewer) == ((59_000, 28, 28), 10_000)


def test_the_validation_set_is_the_same_every_time_and_a_smaller_is_part_of_a_larger(sample, loaded):
    assert split(sample, None).sha256 == loaded.sha256
    assert split(sample, 100).sha256 != loaded.sha256
    assert set(hashes(split(sample, 100).validation_images)) < set(hashes(loaded.validation_images))
    unlabelled = split(replace(sample, train_labels=None, test_labels=None), None)
    assert hashes(unlabelled.validation_images) == hashes(loaded.validation_images)
    assert unlabelled.validation_labels is None


@given(st.integers(2, 60), st.data())
def test_images_of_any_number_are_divided(total, data):
    images = np.arange(total, dtype=np.uint8).reshape(-1, 1, 1)
    count = data.draw(st.none() | st.integers(1, total - 1))
    divided = split(Dataset("own", "own", images, images, np.arange(total), np.arange(total)), count)
    validation, training = divided.validation_images.ravel().tolist(), divided.train_images.ravel().tolist()
    assert len(validation) == (count or max(1, total // 12))
    assert sorted(validation + training) == list(range(total))
    assert divided.validation_labels.tolist() == validation
    assert divided.train_labels.tolist() == training


def test_the_validation_set_is_saved_with_the_dataset(loaded, tmp_path):
    dataset.save(loaded, tmp_path / "dataset.npz")
    again, facts = dataset.load(tmp_path / "dataset.npz"), json.loads((tmp_path / "dataset.json").read_text())
    np.testing.assert_array_equal(again.validation_images, loaded.validation_images)
    np.testing.assert_array_equal(again.validation_labels, loaded.validation_labels)
    assert again.sha256 == loaded.sha256 == facts["sha256"]
    assert (facts["train_images"], facts["validation_images"], facts["test_images"]) == (1834, 166, 500)


def test_binarised_validation_images_are_those_of_the_grey_ones(loaded):
    drawn, again = (source.load(GIVEN | {"binarise": True}) for _ in range(2))
    assert np.unique(drawn.validation_images).tolist() == [0, 255]
    np.testing.assert_array_equal(drawn.validation_images, again.validation_images)
    np.testing.assert_array_equal(drawn.train_images, loaded.train_images)
    # Black stays black and white stays white.
    assert not drawn.validation_images[loaded.validation_images == 0].any()
    assert drawn.validation_images[loaded.validation_images == 255].all()


def test_probes_are_fitted_on_validation_images_and_scored_on_test_images(loaded):
    validation = dict(zip(hashes(loaded.validation_images), loaded.validation_labels.tolist(), strict=True))
    test = dict(zip(hashes(loaded.test_images), loaded.test_labels.tolist(), strict=True))
    for fitted, scored in ((None, None), (50, 40), (10**6, 10**6)):
        images = baselines.ProbeImages(loaded, fitted, scored)
        assert len(images.fit) == min(fitted or 166, 166)
        assert len(images.test) == min(scored or 500, 500)
        assert [validation.get(image) for image in hashes(images.fit)] == images.fit_labels.tolist()
        assert [test.get(image) for image in hashes(images.test)] == images.test_labels.tolist()


def test_the_floor_of_the_frechet_distance_is_that_of_validation_images(loaded, tmp_path, monkeypatch):
    """The classifier itself has seen the training images."""
    dataset.save(loaded, tmp_path / "dataset.npz")
    seen, features = [], classifier.features

    def note(model, images):
        seen.append(hashes(images))
        return features(model, images)

    monkeypatch.setattr(classifier, "features", note)
    output = tmp_path / "classifier.npz"
    assert main(["classifier", "--dataset", str(tmp_path / "dataset.npz"), "--samples", "120", str(output)]) == 0
    floors = [images for images in seen if len(images) == 120]
    assert len(floors) == 1
    assert set(floors[0]) < set(hashes(loaded.validation_images))
    assert not any(set(images) & set(hashes(loaded.train_images)) for images in seen)
    numbers = provenance.read(output.with_suffix(".json"))
    assert 0 < numbers["frechet_floor"] < numbers["frechet_ceiling"]


def test_models_are_compared_on_training_images_that_each_was_trained_on(loaded):
    """If not on fewer than there are to compare."""
    compared = hashes(losses.Sets(loaded).compared)
    assert len(compared) == 1834
    assert set(compared) == set(hashes(loaded.train_images))
    images = np.arange(5000, dtype=np.uint16).view(np.uint8).reshape(-1, 1, 2)
    many = Dataset("own", "own", images, images[:1], validation_images=images[:1])
    compared = hashes(losses.Sets(many).compared)
    assert len(set(compared)) == losses.COMPARED == 2000
    for count in (2000, 2001, 4000, None):
        assert set(compared) <= set(hashes(subset(images, count)))
    assert not set(compared) <= set(hashes(subset(images, 1999)))


def test_losses_are_measured_on_the_sets_that_they_are_named_by(loaded, recipe, monkeypatch):
    spec = Spec.parse("L2_DNN1_DNN1")
    trained = loop.train(spec, 0, torch.from_numpy(loaded.train_images[:300]), recipe, torch.device("cpu"))
    metrics = losses.measure(spec, 0, trained, losses.Sets(loaded), recipe)
    counts = {"": 500, "validation_": 166, "train_": 1834}
    evaluated = []
    evaluate = losses.evaluate

    def note(model, images, *arguments):
        evaluated.append((len(images), evaluate(model, images, *arguments)))
        return evaluated[-1][1]

    monkeypatch.setattr(losses, "evaluate", note)
    assert losses.measure(spec, 0, trained, losses.Sets(loaded), recipe) == metrics
    for part, count in counts.items():
        (measured,) = [numbers for images, numbers in evaluated if images == count]
        assert {name: metrics[f"{part}{name}"] for name in ("reconstruction", "kld", "elbo")} == {
            name: measured[name] for name in ("reconstruction", "kld", "elbo")
        }
