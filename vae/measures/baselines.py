"""Baselines: the pixels, as many of their principal components, the untrained encoder, and the truth."""

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.decomposition import PCA

from vae.data.dataset import Dataset
from vae.data.sprites import SPRITES
from vae.grid import Network
from vae.measures.codes import probes
from vae.measures.losses import BATCH
from vae.models.families import Shape
from vae.models.networks import Networks
from vae.models.vae import Encoder, as_inputs, encoder, to_planes
from vae.seeds import draw, of_model, of_study


def truth(dataset: Dataset) -> dict[str, float]:
    """The entropy of generated images, and the mean of log p*(x) over the test images, in nats.

    Nothing where the distribution of the images is not known.
    """
    if dataset.name not in SPRITES:
        return {}
    sprites, images = SPRITES[dataset.name], dataset.test_images
    entropy, error = sprites.entropy(images)
    likelihood = float(sprites.log_probabilities(images).mean())
    return {"entropy": entropy, "entropy_error": error, "true_log_likelihood": likelihood}


class ProbeImages:
    """Images with labels: `fitted` many validation images that probes are fitted on, `scored` many test images."""

    def __init__(self, dataset: Dataset, fitted: int | None, scored: int | None):
        fit, test = draw(len(dataset.validation_images), fitted), draw(len(dataset.test_images), scored)
        self.fit, self.test = dataset.validation_images[fit], dataset.test_images[test]
        self.fit_labels = None if dataset.validation_labels is None else dataset.validation_labels[fit]
        self.test_labels = None if dataset.test_labels is None else dataset.test_labels[test]

    def measure(self, fit: np.ndarray, test: np.ndarray) -> dict[str, float | None]:
        """The measures of `vae.measures.codes.probes` of codes `[N, latent]` of the two sets of images."""
        return probes.classes(fit, self.fit_labels, test, self.test_labels)


def pixels(images: ProbeImages, latent_sizes: list[int]) -> dict:
    """`pixels`: the measures of the raw images; `pca`: those of their principal components, by latent size."""
    fit, test = (side.reshape(len(side), -1) / np.float32(255) for side in (images.fit, images.test))
    pca = PCA(min(max(latent_sizes), *fit.shape), random_state=of_study("pixel_components") % 2**32).fit(fit)
    codes = pca.transform(fit), pca.transform(test)
    return {
        "pixels": images.measure(fit, test),
        "pca": {str(size): images.measure(*(code[:, :size] for code in codes)) for size in latent_sizes},
    }


def untrained(
    images: ProbeImages, network: Network, latent_sizes: Sequence[int], seeds: Sequence[int], widths: Networks
) -> dict[str, dict[str, dict[str, float | None]]]:
    """The measures of an encoder's means before it is trained, by latent size and seed."""
    planes = to_planes(images.fit.shape[1:])

    def measure(latent_size: int, seed: int) -> dict[str, float | None]:
        model = initial(network, latent_size, planes, widths, seed)
        return images.measure(means(model, images.fit), means(model, images.test))

    return {str(size): {str(seed): measure(size, seed) for seed in seeds} for size in latent_sizes}


def initial(network: Network, latent_size: int, planes: Shape, widths: Networks, seed: int) -> Encoder:
    """The encoder that training starts from with this seed, whatever the decoder is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(of_model("weights", seed))
        return encoder(network, latent_size, planes, widths).eval()


@torch.inference_mode()
def means(model: Encoder, images: np.ndarray) -> np.ndarray:
    """The means of the codes of images `uint8 [N, ...]`, `float32 [N, latent]`."""
    codes = (model(as_inputs(batch)) for batch in torch.from_numpy(images).split(BATCH))
    return torch.cat([mean for mean, _ in codes]).numpy()
