"""Every random stream of a study, once, by name.

Streams are independent by construction: each is a child, of a key of its own, in NumPy's `SeedSequence`. Those of a
model are children of its seed; those of the study, which all models share, are children of a number that is no model's
seed.
"""

import numpy as np

# In the order of their keys: a new stream goes to the end, or the numbers of others change.
OF_MODEL = (
    "weights",  # initial weights
    "order",  # of the training images, in every epoch
    "noise",  # of the codes, in every step of training
    "losses",  # of the codes that the losses of the test set are measured on
    "likelihood",  # of the codes of the IWAE bound
    "pixels",  # of binarised training images, in every epoch
    "mutual_information",  # of the codes that it is estimated on
    "prior_samples",  # codes from the prior, decoded for the FID-style distance
    "prior_pixels",  # of these, binarised
    "gallery_codes",  # of the reconstructions that are shown
    "gallery_samples",  # codes from the prior, decoded to be shown
    "validation_losses",  # of the codes that the losses of the validation set are measured on
    "probe_codes",  # that probes are fitted on and score
    "gaps",  # of the codes that the gaps of inference are measured on
    "permuted_factors",  # among the images, for the level of chance
)
OF_STUDY = (
    "test_pixels",  # of binarised test images
    "training_pixels",  # of training images that are binarised once, for probes, classifier and linear VAE
    "pixel_components",  # of the randomised principal components of the pixels
    "classifier_weights",
    "classifier_order",  # of the training images, in every epoch
    "exported_codes",  # that exported decoders are checked on
    "bootstrap",  # of the intervals of claims
    "jitter",  # of points in figures
    "validation",  # which training images are for validation
    "validation_pixels",  # of binarised validation images
    "tuning",  # the seed of the models that a hyperparameter is chosen by
    "slack",  # of the codes that models of an architecture are compared on
    "sprites_train",  # of generated training images
    "sprites_test",  # of generated test images
)
SEEDS = 2**63  # from which on no number is a model's seed


def of_model(stream: str, seed: int) -> int:
    """A number from 0 to 2^63 - 1 for the generator of one stream of the model with this seed."""
    return _number(seed, OF_MODEL.index(stream))


def of_study(stream: str) -> int:
    """A number from 0 to 2^63 - 1 for the generator of one stream of the study."""
    return _number(SEEDS, OF_STUDY.index(stream))


def _number(entropy: int, key: int) -> int:
    return int(np.random.SeedSequence(entropy, spawn_key=(key,)).generate_state(1, np.uint64)[0] >> 1)


def draw(total: int, count: int | None) -> np.ndarray:
    """Indices of `count` of `total` things, or of all: always the same, and at random, for files sorted by class.

    Its generator is the root of the sequence of seed 0, of which no stream above is a part. Fewer are the first of
    more.
    """
    return np.random.default_rng(0).permutation(total)[:count]
