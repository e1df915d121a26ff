"""Random streams: each has a name, and none is a part of another."""

import numpy as np
import pytest

from export import runtime
from export.graphs import export
from vae import seeds
from vae.grid import Spec
from vae.models.networks import Networks
from vae.models.vae import build


def test_every_stream_of_every_model_and_of_the_study_has_a_number_of_its_own():
    numbers = [seeds.of_model(stream, seed) for stream in seeds.OF_MODEL for seed in (0, 1, 2**63 - 1)]
    numbers += [seeds.of_study(stream) for stream in seeds.OF_STUDY]
    assert len(set(numbers)) == len(numbers) == 3 * len(seeds.OF_MODEL) + len(seeds.OF_STUDY)
    assert all(0 <= number < 2**63 for number in numbers)


def test_the_streams_of_training_are_what_they_always_were():
    """Or every model that was ever trained would come out otherwise."""
    children = np.random.SeedSequence(7).spawn(6)
    wanted = [int(child.generate_state(1, np.uint64)[0] >> 1) for child in children]
    streams = ("weights", "order", "noise", "losses", "likelihood", "pixels")
    assert [seeds.of_model(stream, 7) for stream in streams] == wanted


def test_a_stream_that_has_no_name_is_an_error():
    for number in (lambda: seeds.of_model("other", 0), lambda: seeds.of_study("weights")):
        with pytest.raises(ValueError, match="not in tuple"):
            number()


def test_fewer_are_the_first_of_more_and_all_are_there_once():
    assert seeds.draw(100, 10).tolist() == seeds.draw(100, 20).tolist()[:10]
    assert sorted(seeds.draw(100, None)) == list(range(100))


def test_what_is_shown_is_no_part_of_what_is_measured(tmp_path, sample):
    """The samples of the gallery are not the first draws of the FID-style distance."""
    model = build(Spec.parse("L4_DNN1_DNN1"), (28, 28), Networks(16, 2), 0).eval()
    export(tmp_path, model, np.array(sample.test_images[:50]), {}, check=True)
    zeros = np.zeros((500, 4), np.float32)
    shown = runtime.examples(tmp_path, zeros, zeros, None, 3, 1)
    measured = runtime.prior_samples(tmp_path, 10, 3, 1)
    assert not np.array_equal(shown["samples"], measured)
    assert not np.array_equal(shown["samples"], shown["reconstructions"])
