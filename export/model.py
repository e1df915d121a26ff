"""A trained model without the workflow: images to codes, and codes to images; onnxruntime and NumPy are enough.

from export import Model

model = Model.load("results/models/L50_DNN1_CNN4/seed0")
images = model.sample(10)
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from export.encoder import Encoder
from export.runtime import compute, grey_levels, open_session, sizes, warn_of
from vae.errors import UserError

# Codes that are decoded at once: bounds the memory.
BATCH = 256


class Decoder:
    """A trained decoder, which maps codes to the mean of p(x|z) (Kingma & Welling 2014).

    Made by `Decoder.load`. Threads may share it. A copy and a pickle open the model's file anew.

    Attributes
    ----------
    image_shape : tuple of int
        `(H, W)` or `(C, H, W)`.
    latent_size : int
        Dimensions of a code.
    label : str
        The label of the model, such as `L50_DNN1_CNN4`.
    """

    def __init__(self, graph: Path, threads: int):
        self.graph, self.threads = graph, threads
        self._session = open_session(graph, threads)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if [side.type for side in inputs + outputs] != ["tensor(float)"] * 2 or not sizes(outputs[0]):
            raise UserError(f"{graph}: not a decoder of this package: it has to take floats to images of one size")
        (self.latent_size,), self.image_shape = sizes(inputs[0]), sizes(outputs[0])
        self.metadata = self._session.get_modelmeta().custom_metadata_map
        self.label = self.metadata.get("label", graph.stem)

    @classmethod
    def load(cls, path: str | Path, threads: int | None = None) -> "Decoder":
        """Open the decoder of a model.

        Logs a warning if the model diverged or collapsed.

        Parameters
        ----------
        path : str or Path
            The folder of a model, or its `decoder.onnx`.
        threads : int, optional
            CPU threads, all if not given.

        Returns
        -------
        Decoder

        Raises
        ------
        UserError
            If there is no such model.

        Examples
        --------
        >>> from export import Decoder
        >>> Decoder.load("my_model").latent_size
        2
        """
        decoder = cls._of(path, threads)
        warn_of(decoder.label, decoder.metadata)
        return decoder

    @classmethod
    def _of(cls, path: str | Path, threads: int | None) -> "Decoder":
        graph = Path(path)
        graph = graph / "decoder.onnx" if graph.is_dir() else graph
        if not graph.exists():
            raise UserError(f"{graph}: no such file; give a model's folder, or a decoder.onnx")
        return cls(graph, threads or os.cpu_count() or 1)

    def __getstate__(self) -> dict[str, Any]:
        return {"graph": self.graph, "threads": self.threads}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def probabilities(self, codes: np.ndarray) -> np.ndarray:
        """Decode codes to the mean of p(x|z).

        Parameters
        ----------
        codes : array
            Floats `[N, latent_size]`. Images of codes that are not finite are meaningless.

        Returns
        -------
        float32 [N, *image_shape]
            From 0 to 1.

        Raises
        ------
        UserError
            For codes of another type or shape.
        """
        codes = np.asarray(codes)
        if codes.ndim != 2 or codes.shape[1] != self.latent_size or codes.dtype.kind != "f":
            raise UserError(f"codes are floats [N, {self.latent_size}], not {codes.dtype} {list(codes.shape)}")
        codes, images = codes.astype(np.float32), np.empty((len(codes), *self.image_shape), np.float32)
        for start in range(0, len(codes), BATCH):
            (images[start : start + BATCH],) = compute(self._session, codes[start : start + BATCH])
        return images

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Decode codes to images: the mean of p(x|z) in grey levels.

        Parameters
        ----------
        codes : array
            Floats `[N, latent_size]`.

        Returns
        -------
        uint8 [N, *image_shape]
            From 0 to 255.

        Raises
        ------
        UserError
            For codes of another type or shape.

        Examples
        --------
        >>> Decoder.load("my_model").decode(np.zeros((3, 2))).shape
        (3, 8, 8)
        """
        return grey_levels(self.probabilities(codes))


class Model:
    """The encoder and the decoder of a trained model.

    Made by `Model.load`. Images are `uint8 [N, *image_shape]` from 0 to 255; codes are `float32 [N, latent_size]`.
    Threads may share it. A copy and a pickle open the model's files anew.

    Attributes
    ----------
    encoder : Encoder
    decoder : Decoder
    """

    def __init__(self, encoder: Encoder, decoder: Decoder):
        self.encoder, self.decoder = encoder, decoder

    @classmethod
    def load(cls, folder: str | Path, runtime: str = "auto", threads: int | None = None) -> "Model":
        """Open a model.

        Logs a warning if the model diverged or collapsed.

        Parameters
        ----------
        folder : str or Path
            The folder of the model.
        runtime : str
            The runtime of its encoder; see `Encoder.load`.
        threads : int, optional
            CPU threads, all if not given.

        Returns
        -------
        Model

        Raises
        ------
        UserError
            If there is no such model, or the runtime is not available.

        Examples
        --------
        >>> from export import Model
        >>> model = Model.load("my_model")
        >>> model.reconstruct(images).shape, model.sample(3).shape
        ((200, 8, 8), (3, 8, 8))
        >>> model.interpolate(images[0], images[1], steps=5).shape
        (5, 8, 8)
        """
        return cls(Encoder.load(folder, runtime, threads=threads), Decoder._of(folder, threads))

    @property
    def label(self) -> str:
        """The label of the model, such as `L50_DNN1_CNN4`."""
        return self.encoder.label

    @property
    def latent_size(self) -> int:
        return self.encoder.latent_size

    @property
    def image_shape(self) -> tuple[int, ...]:
        """`(H, W)` or `(C, H, W)`."""
        return self.encoder.image_shape

    def encode(self, images: Any, sample: int | None = None) -> Any:
        """Mean and log-variance of q(z|x), or with a seed as `sample` draws from it; see `Encoder.encode`."""
        return self.encoder.encode(images, sample)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Images of codes; see `Decoder.decode`."""
        return self.decoder.decode(codes)

    def reconstruct(self, images: np.ndarray, sample: int | None = None) -> np.ndarray:
        """Reconstructions of images, from the means of q(z|x); with a seed as `sample`, from sampled codes."""
        return self.decode(self.encode(images)[0] if sample is None else self.encode(images, sample))

    def sample(self, count: int, seed: int = 0) -> np.ndarray:
        """Images of `count` codes that are sampled from the prior."""
        return self.decode(np.random.default_rng(seed).standard_normal((count, self.latent_size), np.float32))

    def interpolate(self, first: np.ndarray, last: np.ndarray, steps: int = 8) -> np.ndarray:
        """Images `[steps, *image_shape]` on the straight line between the codes of two images, ends included."""
        mean, _ = self.encode(np.stack([first, last]))
        share = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
        return self.decode((1 - share) * mean[0] + share * mean[1])

    def traverse(
        self, image: np.ndarray, dimension: int, low: float = -3, high: float = 3, steps: int = 7
    ) -> np.ndarray:
        """Images `[steps, *image_shape]` of the code of an image, with one dimension going from `low` to `high`.

        `dimension` counts from 0; the others keep the values that the image has.
        """
        if not 0 <= dimension < self.latent_size:
            raise UserError(f"dimension {dimension}: the code has {self.latent_size}, counted from 0")
        codes = np.repeat(self.encode(image[None])[0], steps, axis=0)
        codes[:, dimension] = np.linspace(low, high, steps)
        return self.decode(codes)
