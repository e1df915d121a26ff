"""Variational autoencoders whose encoder and decoder architectures are the object of study.

The public names. Each is imported from its module when it is asked for, because torch takes seconds. Code of this
package imports from the modules themselves, of which the source of a stage is made up (`vae.provenance.closure`).
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "UserError": "vae.errors",
    "Network": "vae.grid",
    "Spec": "vae.grid",
    "Dataset": "vae.data.dataset",
    "load_dataset": "vae.data.loading",
    "VAE": "vae.models.vae",
    "Networks": "vae.models.networks",
    "build": "vae.models.vae",
    "family": "vae.models.families",
    "load_families": "vae.models.own",
    "Objective": "vae.training.objective",
    "Recipe": "vae.training.recipe",
    "Training": "vae.training.recipe",
    "train": "vae.training.one_model",
    "Study": "vae.analysis.study",
    "load_study": "vae.analysis.study",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vae' has no attribute {name!r}")
    try:
        return getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        from vae.errors import lacking

        raise ModuleNotFoundError(lacking(f"vae.{name}", error), name=error.name) from None
