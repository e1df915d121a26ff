"""How far each choice of an architecture moves each measure."""

from math import ceil

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from vae.analysis.ranking import LEVEL
from vae.report.figures.drawing import BLUE, GREY, HEIGHT, WIDTH, Study, figure, legend_below, line, nothing_to_draw


@figure
def effect_sizes(study: Study) -> list[Figure]:
    """How far each choice of an architecture moves each measure, by a linear model."""
    effects = study.effects
    responses = list(effects["response"].unique())
    if not responses:
        return [nothing_to_draw("effect_sizes: too few models for a linear model, there is nothing to draw")]
    terms = list(effects["term"].drop_duplicates())[::-1]
    wide = min(3, len(responses))
    high = ceil(len(responses) / wide)
    size = (WIDTH, min(HEIGHT, high * (0.16 * len(terms) + 0.8) + 0.9))
    page, grid = plt.subplots(high, wide, figsize=size, sharey=True, sharex=True, squeeze=False)
    for axes, response in zip(grid.flat, responses):
        part = effects[effects["response"] == response]
        rows = part["term"].map(terms.index)
        sure = part["p"] < LEVEL
        for chosen, colour in ((sure, BLUE), (~sure, GREY)):
            axes.hlines(rows[chosen], part.loc[chosen, "low"], part.loc[chosen, "high"], color=colour, linewidth=1.5)
            axes.plot(part.loc[chosen, "effect"], rows[chosen], "o", color=colour, markersize=3.5)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_title(f"{part['measure'].iloc[0]} (R² {part['r2'].iloc[0]:.2f})")
        axes.set_yticks(range(len(terms)), terms, fontsize=7)
        axes.grid(axis="y", linewidth=0.3)
    for axes in grid.flat[len(responses) :]:
        axes.set_visible(False)
    grid[-1, wide // 2].set_xlabel("effect of one step, in standard deviations of the measure over all architectures")
    seeds = effects["seeds"].iloc[0]
    precision = "with 95% intervals" if seeds > 1 else "without intervals, which one seed cannot give"
    page.suptitle(f"How far each choice moves each measure, {precision}")
    handles = [line("p < 0.05, corrected", BLUE, marker="o"), line("not significant", GREY, marker="o")]
    if seeds > 1:
        legend_below(page, handles)
    return [page]
