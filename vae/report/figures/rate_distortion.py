"""Rate and distortion, where a study sweeps the weight of the KLD."""

from itertools import cycle
from math import ceil

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.typing import LineStyleType

from vae.grid import Network
from vae.report.figures.drawing import WIDTH, Study, figure, legend_below, line, nothing_to_draw

STYLES: tuple[LineStyleType, ...] = ("-", "--", ":", "-.")
# One more than a multiple of the styles: with both, 36 encoders look different.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")


@figure
def rate_distortion(study: Study) -> list[Figure]:
    """The curve of every architecture, a panel for each latent size, coloured by decoder, with an encoder's marker."""
    if not study.curves:
        return [nothing_to_draw("rate_distortion: no architecture has two points, there is nothing to draw")]
    sizes = sorted({size for size, *_ in study.curves})
    decoders = sorted({decoder for *_, decoder in study.curves}, key=Network.parse)
    encoders = sorted({encoder for _, encoder, _ in study.curves}, key=Network.parse)
    colours = dict(zip(decoders, plt.get_cmap("viridis")(np.linspace(0, 0.9, len(decoders))), strict=True))
    looks = dict(zip(encoders, zip(cycle(STYLES), cycle(MARKERS))))
    wide = min(2, len(sizes))
    high = ceil(len(sizes) / wide)
    page, grid = plt.subplots(high, wide, figsize=(WIDTH, 3.6 * high + 0.8), squeeze=False)
    for axes, size in zip(grid.flat, sizes):
        for (latent_size, encoder, decoder), curve in study.curves.items():
            if latent_size == size:
                rates, (style, marker) = np.linspace(curve.rates[0], curve.rates[-1], 100), looks[encoder]
                axes.plot(rates, curve(rates), linestyle=style, color=colours[decoder], linewidth=1)
                axes.plot(curve.rates, curve.distortions, marker, color=colours[decoder], markersize=4)
        axes.set(xlabel="rate: KLD (nats per image)", ylabel="distortion: reconstruction (nats per image)")
        axes.set_title(f"latent size {size}")
    for axes in grid.flat[len(sizes) :]:
        axes.set_visible(False)
    handles = [line(f"decoder {name}", colours[name], linestyle="-") for name in decoders]
    handles += [line(f"encoder {name}", "black", *look) for name, look in looks.items()]
    legend_below(page, handles)
    page.suptitle("Distortion over rate, by architecture")
    return [page]
