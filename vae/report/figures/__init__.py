"""Every figure: one family of figures a module, which is registered by being in this folder."""

from importlib import import_module
from pkgutil import iter_modules

from vae.report.figures.comparison import shifted_ranks
from vae.report.figures.drawing import FIGURES, Study, save

for module in iter_modules(__path__):
    import_module(f"{__name__}.{module.name}")

__all__ = ["FIGURES", "Study", "save", "shifted_ranks"]
