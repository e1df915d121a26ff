import re
from dataclasses import replace
from itertools import pairwise, product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from vae import catalogue
from vae.analysis import effects, ranking, swap
from vae.analysis.rate_distortion import Curve
from vae.files import write_json, write_npz
from vae.grid import expand, folder
from vae.report import figures
from vae.report.figures import drawing

FONT_AT_LEAST = 6.5


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The paper's hundred labels with two seeds, one label diverged, and made-up numbers."""
    models = tmp_path_factory.mktemp("models")
    rng = np.random.default_rng(0)
    networks = ["DNN1", "DNN4", "CNN1", "CNN2", "CNN4"]
    specs = expand({"grid": {"latent_sizes": [25, 50, 100, 200], "encoders": networks, "decoders": networks}})
    rows = []
    for i, spec in enumerate(specs):
        for seed in (0, 1):
            path = folder(models, spec, seed)
            status = "diverged" if i == 0 else "ok"
            rows.append(
                {
                    "label": str(spec),
                    "latent_size": spec.latent_size,
                    "encoder": str(spec.encoder),
                    "decoder": str(spec.decoder),
                    "seed": seed,
                    "status": status,
                    "reconstruction": None if i == 0 else 80 + i + rng.normal(),
                    "validation_reconstruction": None if i == 0 else 80 + i + rng.normal(),
                    "kld": None if i == 0 else 10 ** rng.uniform(-8, 1.5),
                    "elbo": None if i == 0 else -100.0 - i,
                    "iwae_bound": None if i == 0 else -95.0 - i + rng.normal(),
                    "probe_accuracy_sampled": None if i == 0 else rng.uniform(0.8, 0.9),
                    "frechet_distance": None if i == 0 else rng.uniform(10, 20),
                    "collapsed": None if i == 0 else i % 3 == 0,
                    "collapsed_below": 1.0,
                    "active_units": None if i == 0 else i % 20,
                    "linear_kld": 500 / spec.latent_size,
                    "linear_active_units": spec.latent_size // 20,
                    "effective_beta": 784 / spec.latent_size,
                    "encoder_parameters": 1000 + int(rng.integers(10**6)),
                    "decoder_parameters": 1000 + int(rng.integers(10**6)),
                    "mean_image_reconstruction": 206.0,
                }
            )
            dimensions = 10 ** rng.uniform(-8, 1, spec.latent_size)
            write_json(path / "metrics.json", {"kld_per_dimension": dimensions.tolist()})
            write_npz(
                path / "codes.npz",
                components=rng.normal(size=(50, 2)).astype(np.float32),
                explained_variance_ratio=np.array([0.4, 0.2, 0.1]),
            )
            images = rng.integers(0, 256, (10, 28, 28), np.uint8)
            write_npz(path / "examples.npz", indices=np.arange(10), reconstructions=images, samples=images)
            history = pd.DataFrame({"epoch": [1, 2], "reconstruction": [200.0, 100.0 + i], "kld": [0.001, 5.0]})
            history.to_csv(path / "history.csv", index=False)
    rows = pd.DataFrame(rows)
    test_images = rng.integers(0, 256, (50, 28, 28), np.uint8)
    spectrum = np.linspace(40, 0, 784)
    labels = ranking.by_architecture(rows)
    tables = {"labels": labels, "counts": ranking.counts(labels), "effects": effects.shares(rows)}
    tables["means"] = effects.means(rows)
    tables["swap"] = pd.DataFrame(columns=swap.COLUMNS)
    rates, betas = np.array([5.0, 10.0, 20.0]), np.array([4.0, 2.0, 1.0])
    tables["curves"] = {
        (size, encoder, decoder): Curve.of(rates, 100 - 3 * rates + rates**2 / 40 + place, betas)
        for size in (25, 50)
        for place, (encoder, decoder) in enumerate(product(["DNN1", "CNN4"], ["DNN1", "DNN4", "CNN1"]))
    }
    return figures.Study(
        rows,
        models=models,
        spectrum=spectrum,
        class_name=str,
        test_labels=np.arange(50) % 10,
        test_images=test_images,
        **tables,
    )


def texts(page):
    page.canvas.draw()
    return [text for text in page.findobj(plt.Text) if text.get_visible() and text.get_text().strip()]


@pytest.mark.parametrize("name", figures.FIGURES)
def test_every_text_is_large_enough_and_on_the_page(study, name):
    for page in figures.FIGURES[name](study):
        width, height = page.get_size_inches()
        assert width == drawing.WIDTH
        assert height <= drawing.HEIGHT + 0.01
        assert min(text.get_fontsize() for text in texts(page)) >= FONT_AT_LEAST
        drawn = page.get_tightbbox()
        assert 0 <= drawn.x0 <= drawn.x1 <= width
        assert 0 <= drawn.y0 <= drawn.y1 <= height
        plt.close(page)


@pytest.mark.parametrize(
    ("name", "rows"), [("{}", 1), ("the {}th of ten classes of clothes", 4), ("so " * 30 + "{}", 10)]
)
def test_a_legend_has_as_many_rows_as_its_names_need(study, name, rows):
    page = figures.FIGURES["pca_top_quartile"](replace(study, class_name=name.format))[0]
    shown = [text.get_text() for text in page.legends[0].get_texts()]
    assert shown == [name.format(label) for label in range(10)]
    texts(page)
    boxes = [text.get_window_extent() for text in page.legends[0].get_texts()]
    assert len({round(box.y0) for box in boxes}) == rows
    assert all(page.bbox.x0 <= box.x0 <= box.x1 <= page.bbox.x1 for box in boxes)
    plt.close(page)


@pytest.mark.parametrize("name", ["kld_ranked", "reconstruction_ranked"])
def test_a_ranking_names_every_label_that_did_not_diverge_without_overlap(study, name):
    pages = figures.FIGURES[name](study)
    labels = []
    for page in pages:
        texts(page)
        for axes in page.axes[: drawing.COLUMNS]:  # the axes of the KLD lie on top of them
            boxes = [tick.get_window_extent() for tick in axes.get_yticklabels() if tick.get_text()]
            assert all(lower.y1 <= upper.y0 + 1 for upper, lower in pairwise(boxes))
            labels += [tick.get_text().split()[0] for tick in axes.get_yticklabels() if tick.get_text().startswith("L")]
        plt.close(page)
    assert len(labels) == 99
    assert set(labels) == set(study.labels.dropna(subset="kld")["label"])


@pytest.mark.parametrize(("name", "panels"), [("pca_top_quartile", 25), ("pca_top_half", 50), ("training_curves", 50)])
def test_there_is_a_panel_for_each(study, name, panels):
    pages = figures.FIGURES[name](study)
    assert sum(axes.get_visible() and bool(axes.get_title()) for page in pages for axes in page.axes) == panels
    for page in pages:
        plt.close(page)


def test_no_two_encoders_look_alike_on_curves(study):
    (curve, *_) = study.curves.values()
    encoders = [f"{family}{depth}" for family in ("DNN", "CNN", "RES") for depth in (1, 2, 3, 4)]
    (page,) = figures.FIGURES["rate_distortion"](
        replace(study, curves={(25, name, "DNN1"): curve for name in encoders})
    )
    handles = [handle for handle in page.legends[0].legend_handles if handle.get_label().startswith("encoder")]
    listed = {(handle.get_linestyle(), handle.get_marker()) for handle in handles}
    drawn = page.axes[0].lines
    assert listed == {(curve.get_linestyle(), points.get_marker()) for curve, points in zip(drawn[::2], drawn[1::2])}
    assert len(listed) == len(encoders)
    plt.close(page)


def test_the_atlas_shows_the_share_that_collapsed_and_the_theory(study):
    (page,) = figures.FIGURES["collapse_atlas"](study)
    (first, *_), (share, kld, active, _), (dimensions, *_) = (part.axes for part in page.subfigs)
    rows = study.rows[(study.rows["status"] == "ok") & (study.rows["latent_size"] == 25)]
    drawn = first.images[0].get_array()
    assert drawn.shape == (5, 5)
    assert np.ma.count(drawn) == 24  # one architecture diverged
    assert drawn.mean() == pytest.approx(rows["collapsed"].astype(float).mean())
    assert share.lines[0].get_ydata()[0] == pytest.approx(rows["collapsed"].astype(float).mean())
    for axes, name in ((kld, "linear_kld"), (active, "linear_active_units")):
        theory = [segment[0, 1] for segment in axes.collections[0].get_segments()]
        assert theory == pytest.approx(study.rows.groupby("latent_size")[name].first())
    assert len(dimensions.lines) == len(rows) + 1
    plt.close(page)


def test_every_figure_says_how_many_architectures_diverged(study):
    sound = study.rows[study.rows["status"] == "ok"]
    whole = replace(study, rows=sound, labels=ranking.by_architecture(sound))
    for name in ("kld_ranked", "effects", "top_quartile_counts"):
        for told, expected in ((study, ["1 of 100 architectures\ndiverged and are left out"]), (whole, [])):
            for page in figures.FIGURES[name](told):
                assert [text.get_text() for text in page.texts if "diverged" in text.get_text()] == expected
                plt.close(page)


def test_effects_are_drawn_as_they_are_measured(study):
    shares, means = figures.FIGURES["effects"](study)
    (axes,) = shares.axes
    drawn = {
        (patch.get_y(), container.get_label()): patch.get_width()
        for container in axes.containers
        for patch in container
    }
    assert sum(drawn.values()) == pytest.approx(study.effects["measure"].nunique())
    shared = study.effects.set_index(["response", "term"])["share"]
    part = shared["reconstruction"].drop("latent_size") / (1 - shared["reconstruction"]["latent_size"])
    for term, share in part.items():
        assert any(
            label == term.replace("_", " ") and width == pytest.approx(share) for (_, label), width in drawn.items()
        )
    for axes, response in zip(means.axes, study.effects["response"].unique(), strict=True):
        points = sorted(x for line in axes.lines if line.get_marker() == "o" for x in line.get_xdata())
        part = study.means[(study.means["response"] == response) & (study.means["choice"] != "latent_size")]
        assert points == pytest.approx(sorted(part["difference"]))
        ends = sorted(x for collection in axes.collections for x, _ in collection.get_segments()[0][:1])
        assert set(np.round(ends, 9)) <= set(np.round(part["low"], 9))
    assert "95% intervals between" in means.get_suptitle()
    plt.close(shares)
    plt.close(means)


def test_a_kld_of_nothing_is_drawn_at_the_edge(study):
    assert study.labels["kld"].min() < drawing.SMALLEST_KLD
    for page in figures.FIGURES["kld_ranked"](study):
        for axes in page.axes:
            low, high = axes.get_xlim()
            drawn = np.concatenate([line.get_xdata() for line in axes.lines if line.get_linestyle() == "None"])
            assert ((low < drawn) & (drawn < high)).all()
        plt.close(page)


def test_negative_losses_are_on_the_page(study):
    """Densities, as those of the gaussian likelihood, may exceed 1."""
    rows = study.rows.assign(reconstruction=study.rows["reconstruction"] - 900, mean_image_reconstruction=-600.0)
    shifted = replace(study, rows=rows, labels=ranking.by_architecture(rows))
    for name in ("reconstruction_ranked", "reconstruction_top_quartile"):
        for page in figures.FIGURES[name](shifted):
            for axes in (axes for axes in page.axes if "reconstruction" in axes.get_xlabel()):
                low, high = axes.get_xlim()
                drawn = np.concatenate([np.asarray(line.get_xdata(), float) for line in axes.lines])
                assert ((low <= drawn) & (drawn <= high)).all()
            plt.close(page)


@pytest.mark.parametrize("baseline", [-600.0, 50.0, 206.0])
def test_where_training_ends_is_on_the_page_whatever_the_mean_image_loses(study, baseline):
    shifted = replace(study, rows=study.rows.assign(mean_image_reconstruction=baseline))
    page = figures.FIGURES["training_curves"](shifted)[0]
    for axes in (axes for axes in page.axes if axes.get_visible()):
        low, high = axes.get_ylim()
        assert all(low < line.get_ydata()[-1] < high for line in axes.lines)
    plt.close("all")


def test_panels_name_their_axes(study):
    for name, (xlabel, ylabel) in {
        "pca_top_half": ("component 1", "component 2"),
        "training_curves": ("epoch", "nats per image"),
    }.items():
        for page in figures.FIGURES[name](study):
            shown = [axes for axes in page.axes if axes.get_visible()]
            assert sum(axes.get_xlabel() == xlabel for axes in shown) == drawing.PANELS[1]
            assert sum(ylabel in axes.get_ylabel() for axes in shown) == drawing.PANELS[0]
            plt.close(page)


def test_losses_have_axes_with_units(study):
    for name in ("kld_ranked", "reconstruction_ranked", "reconstruction_top_quartile"):
        for page in figures.FIGURES[name](study):
            assert all("nats per image" in axes.get_xlabel() for axes in page.axes if axes.get_visible())
            plt.close(page)


def test_the_bars_of_the_counts_are_the_counts(study):
    (page,) = figures.FIGURES["top_quartile_counts"](study)
    counts = ranking.counts(study.labels, 1 / 4)
    for axes, by in zip(page.axes, ("latent_size", "encoder", "decoder"), strict=True):
        assert [bar.get_height() for bar in axes.patches] == counts[counts["by"] == by]["top"].tolist()
    plt.close(page)


@pytest.mark.slow
def test_pages_are_kept_apart_in_the_pdf_and_stacked_in_the_png(study, tmp_path):
    pages = figures.FIGURES["pca_top_half"](study)
    heights = [page.get_size_inches()[1] * 150 for page in pages]
    drawing.save(pages, tmp_path / "a.png", tmp_path / "a.pdf")
    with Image.open(tmp_path / "a.png") as image:
        assert image.size[1] == pytest.approx(sum(heights), abs=3)
    assert len(re.findall(rb"/Type /Page\b", (tmp_path / "a.pdf").read_bytes())) == len(pages) == 2
    assert not any(plt.fignum_exists(page.number) for page in pages)  # all figures of a study are drawn in one process


def test_every_figure_of_the_catalogue_is_drawn():
    assert set(figures.FIGURES) == set(catalogue.FIGURES)
