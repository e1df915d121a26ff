"""What a model's code is held against: the pixels, as many of their principal components, and the untrained encoder."""

import numpy as np
import torch
from sklearn.decomposition import PCA

from vae import data, probes
from vae.data import Dataset
from vae.evaluation import BATCH
from vae.grid import Network
from vae.networks import Encoder, Widths, as_inputs, encoder, to_planes
from vae.training import streams


class Held:
    """The images that codes are read on, and their labels: `fitted` on training images and `scored` on test images."""

    def __init__(self, dataset: Dataset, fitted: int | None, scored: int | None):
        train = data.draw(len(dataset.train_images), fitted)
        test = data.draw(len(dataset.test_images), scored)
        self.train, self.test = dataset.seen(train), dataset.test_images[test]
        self.labels = None, None
        if dataset.train_labels is not None:
            self.labels = dataset.train_labels[train], dataset.test_labels[test]

    def measure(self, train: np.ndarray, test: np.ndarray) -> dict[str, float | None]:
        """The measures of `vae.probes` of codes `[N, latent]` of the two sets of images."""
        return probes.measure(train, self.labels[0], test, self.labels[1])


def pixels(held: Held, latent_sizes: list[int]) -> dict:
    """`pixels`: the measures of the raw images; `pca`: those of their principal components, by latent size."""
    train, test = (images.reshape(len(images), -1) / np.float32(255) for images in (held.train, held.test))
    pca = PCA(min(max(latent_sizes), *train.shape), random_state=0).fit(train)
    codes = pca.transform(train), pca.transform(test)
    return {
        "pixels": held.measure(train, test),
        "pca": {str(size): held.measure(*(code[:, :size] for code in codes)) for size in latent_sizes},
    }


def untrained(held: Held, network: Network, latent_sizes: list[int], seeds: list[int], widths: Widths) -> dict:
    """The measures of an encoder's means before it is trained, by latent size and seed."""
    planes = to_planes(held.train.shape[1:])
    found = {}
    for size in latent_sizes:
        for seed in seeds:
            model = initial(network, size, planes, widths, seed)
            codes = (means(model, images) for images in (held.train, held.test))
            found.setdefault(str(size), {})[str(seed)] = held.measure(*codes)
    return found


def initial(network: Network, latent_size: int, planes: tuple[int, int, int], widths: Widths, seed: int) -> Encoder:
    """The encoder that training starts from with this seed, whatever the decoder is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(streams(seed, 1)[0])
        return encoder(network, latent_size, planes, widths).eval()


@torch.inference_mode()
def means(model: Encoder, images: np.ndarray) -> np.ndarray:
    """The means of the codes of images `uint8 [N, ...]`, `float32 [N, latent]`."""
    return torch.cat([model(as_inputs(batch))[0] for batch in torch.from_numpy(images).split(BATCH)]).numpy()
