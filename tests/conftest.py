"""What tests share. `mnist/` holds real MNIST: the first 200 training and 50 test images of each class, in order."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from vae import data
from vae.training import Recipe

ROOT = Path(__file__).parent.parent
SAMPLE = Path(__file__).parent / "mnist"

torch.set_num_threads(1)


def write_idx(path, images):
    """Write images as IDX, packed where the name says so."""
    raw = b"\0\0\x08" + bytes([images.ndim]) + struct.pack(f">{images.ndim}I", *images.shape) + images.tobytes()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


@pytest.fixture(scope="session", autouse=True)
def own_cache(request):
    """What is compiled for this machine is kept from one run of the tests to the next, apart from the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(request.config.cache.mkdir("compiled")))
        yield


@pytest.fixture(scope="session")
def sample() -> data.Dataset:
    """2,000 training and 500 test images of MNIST."""
    return data.read(SAMPLE, "sample")


@pytest.fixture(scope="session")
def images(sample) -> torch.Tensor:
    return torch.from_numpy(np.array(sample.train_images))


@pytest.fixture(scope="session")
def test_images(sample) -> torch.Tensor:
    return torch.from_numpy(np.array(sample.test_images))


@pytest.fixture
def config() -> dict:
    """The config of a training that takes a second."""
    return {
        "networks": {"hidden_units": 32, "base_channels": 2},
        "objective": {"likelihood": "bernoulli", "sigma": 0.1, "beta": 1.0, "reduction": "sum"},
        "training": {"optimizer": "adam", "learning_rate": 0.001, "batch_size": 100, "epochs": 1, "images": 500},
        "evaluation": {"collapsed_below": 1.0, "active_above": 0.01, "separability_images": 500},
        "device": "cpu",
    }


@pytest.fixture
def recipe(config) -> Recipe:
    return Recipe.of(config)
