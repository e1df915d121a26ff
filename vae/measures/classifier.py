"""A small classifier of the dataset's own classes, in whose features samples are compared with images."""

import logging

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vae.data.dataset import Dataset
from vae.measures import frechet
from vae.measures.losses import BATCH
from vae.models.families import FAMILIES
from vae.models.networks import Networks
from vae.models.vae import as_inputs, to_planes
from vae.seeds import draw, of_study

log = logging.getLogger(__name__)

FEATURES = 64
EPOCHS = 3
BATCH_SIZE = 128
CHANNELS = 16


class Classifier(nn.Module):
    """Up to two convolutional blocks, a dense layer of features, and a linear map to the classes."""

    def __init__(self, image_shape: tuple[int, ...], labels: np.ndarray):
        super().__init__()
        self.labels = labels
        planes, family = to_planes(image_shape), FAMILIES["CNN"]
        body, size = family.encoder(min(2, family.deepest(planes)), planes, Networks(FEATURES, CHANNELS))
        self.features = nn.Sequential(body, nn.Linear(size, FEATURES), nn.LeakyReLU())
        self.classes = nn.Linear(FEATURES, len(labels))

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[B, classes]` of images `uint8 [B, H, W]` or `[B, C, H, W]`."""
        return self.classes(self.features(as_inputs(images)))


def train(images: np.ndarray, labels: np.ndarray) -> Classifier:
    """A classifier of images `uint8 [N, ...]` with labels `int64 [N]`."""
    classes, indices = np.unique(labels, return_inverse=True)
    inputs, targets = torch.from_numpy(images), torch.from_numpy(indices)
    order = torch.Generator().manual_seed(of_study("classifier_order"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(of_study("classifier_weights"))
        model = Classifier(images.shape[1:], classes)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    for epoch in range(EPOCHS):
        total = 0.0
        for chosen in torch.randperm(len(inputs), generator=order).split(BATCH_SIZE):
            loss = F.cross_entropy(model(inputs[chosen]), targets[chosen])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            total += loss.item() * len(chosen)
        log.info("classifier epoch %d: cross-entropy %.4f", epoch + 1, total / len(inputs))
    return model.eval()


@torch.inference_mode()
def features(model: Classifier, images: np.ndarray) -> np.ndarray:
    """The features, `float32 [N, 64]`, of images `uint8 [N, ...]`."""
    return torch.cat([model.features(as_inputs(batch)) for batch in torch.from_numpy(images).split(BATCH)]).numpy()


@torch.inference_mode()
def accuracy(model: Classifier, images: np.ndarray, labels: np.ndarray) -> float:
    """The share of images `uint8 [N, ...]` that are classified correctly."""
    predicted = torch.cat([model(batch).argmax(1) for batch in torch.from_numpy(images).split(BATCH)]).numpy()
    return float((model.labels[predicted] == labels).mean())


def baselines(model: Classifier, dataset: Dataset, of_test_images: frechet.Moments, count: int) -> dict[str, float]:
    """The distances to the test images of validation images, as many as models draw samples, and of the mean image."""
    validation = dataset.validation_images
    mean_image = np.rint(dataset.train_images.mean(0, keepdims=True)).astype(np.uint8)
    compared = {"frechet_floor": validation[draw(len(validation), count)], "frechet_ceiling": mean_image.repeat(2, 0)}
    return {
        name: frechet.distance(frechet.moments(features(model, images)), of_test_images)
        for name, images in compared.items()
    }
