"""Measures of codes: one module each, which is registered by being in this folder.

Each has `measure`, from `vae.measures.latents.Latents` to values by name: numbers, which become columns of the table
and are None where they cannot be computed; and arrays, which are kept beside them.
"""

from importlib import import_module
from pkgutil import iter_modules

MEASURES = [import_module(f"{__name__}.{module.name}").measure for module in iter_modules(__path__)]
