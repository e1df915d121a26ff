"""A trained encoder as a transformer of scikit-learn."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from export.encoder import Encoder
from vae.errors import UserError


class LatentTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Images to the means of their codes, for pipelines of scikit-learn.

    The encoder is trained already: `fit` opens it, and learns nothing.

    Parameters
    ----------
    model : str or Path
        The folder of a model, or its `encoder.onnx`.
    runtime : str
        The runtime of the encoder; see `Encoder.load`. Codes of two runtimes differ by rounding.
    n_jobs : int or None
        CPU threads; None is one and -1 all, as in scikit-learn. The codes do not depend on it.

    Attributes
    ----------
    n_features_in_ : int
        Pixels of an image, over all channels.
    image_shape_ : tuple of int
        `(H, W)` or `(C, H, W)`.
    latent_size_ : int
        Columns of the output.

    Raises
    ------
    UserError
        From `fit` and `transform`, if there is no such model, or for images of another size or range.

    Examples
    --------
    >>> from export import LatentTransformer
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> pipeline = make_pipeline(LatentTransformer("my_model"), StandardScaler())
    >>> pipeline.fit_transform(images.reshape(len(images), -1)).shape
    (200, 2)
    """

    def __init__(self, model: Any, runtime: str = "onnx", n_jobs: int | None = None):
        self.model = model
        self.runtime = runtime
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None) -> "LatentTransformer":
        """Open the encoder, and check that `X`, images `[N, pixels]` from 0 to 255, are of its size."""
        jobs = 1 if self.n_jobs is None else self.n_jobs
        self.encoder_ = Encoder.load(self.model, self.runtime, threads=None if jobs < 0 else jobs)
        self.image_shape_, self.latent_size_ = self.encoder_.image_shape, self.encoder_.latent_size
        self._images(validate_data(self, X, dtype="numeric"))
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Means of codes, `float32 [N, latent_size]`, of images `[N, pixels]` from 0 to 255, of any type of numbers."""
        check_is_fitted(self)
        return self.encoder_.encode(self._images(validate_data(self, X, reset=False, dtype="numeric")))[0]

    @property
    def _n_features_out(self) -> int:
        return self.latent_size_

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # codes are float32, whatever images are
        return tags

    def _images(self, rows: np.ndarray) -> np.ndarray:
        """Rows of pixels as images, `uint8 [N, *image_shape]`."""
        pixels = int(np.prod(self.image_shape_))
        if rows.shape[1] != pixels:
            wanted = "×".join(map(str, self.image_shape_))
            raise UserError(f"X has {rows.shape[1]} features, the encoder takes images of {wanted} = {pixels} pixels")
        images = rows.astype(np.uint8)
        if (images != rows).any():
            raise UserError("X: images are whole numbers from 0 to 255; multiply what is from 0 to 1 by 255, and round")
        return images.reshape(-1, *self.image_shape_)
