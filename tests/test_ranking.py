from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae.analysis import ranking, table
from vae.analysis.claims import verdicts
from vae.errors import UserError
from vae.grid import expand, folder
from vae.provenance import Origin
from vae.provenance import write as write_numbers

CONFIG = {
    "grid": {
        "latent_sizes": [2, 5], "encoders": ["DNN1", "CNN1"], "decoders": ["DNN1", "CNN1"], "sweep": {}, "tune": {},
    },
    "networks": {"encoder_parameters": None, "decoder_parameters": None},
    "objective": {},
    "training": {"seeds": [0, 1]},
    "evaluation": {"collapsed_below": 1.0, "active_above": 0.01, "gap_images": 0, "control": False},
}  # fmt: skip
SPECS = expand(CONFIG)


def write(path, numbers):
    write_numbers(path, numbers, Origin("train"))


def write_model(models, spec, seed, reconstruction, validation, kld, status="ok"):
    """A model of these reconstructions of test and validation images."""
    path = folder(models, spec, seed)
    sets = {"": reconstruction, "validation_": validation, "train_": reconstruction - 2}
    metrics = {
        "status": status,
        **{f"{of}reconstruction": loss for of, loss in sets.items()},
        **{f"{of}kld": kld for of in sets},
        **{f"{of}elbo": -loss - kld for of, loss in sets.items()},
        "reconstruction_per_pixel": reconstruction / 784,
        "mean_variance_per_dimension": [0.5, 0.011, 0.01, 0.0],
        "kld_per_dimension": [2.0, 2.0, 0.04, 0.0],
        "effective_beta": 3.0,
        "encoder_parameters": 10,
        "decoder_parameters": 20,
        "encoder_features": 7,
        "encoder_flops": 100,
        "decoder_flops": 200,
        "mean_image_reconstruction": 206.0,
        "epochs": 3,
    }
    write(path / "metrics.json", metrics)
    codes = {
        "explained_variance_2": 0.7, "silhouette": 0.1, "knn_accuracy": 0.9, "probe_accuracy": 0.8,
        "knn_accuracy_sampled": 0.7, "probe_accuracy_sampled": 0.6,
        "mutual_information": 2.0, "mutual_information_ceiling": 7.6,
    }  # fmt: skip
    write(path / "likelihood.json", {"iwae_bound": -reconstruction, "iwae_bound_error": 1.0})
    write(path / "samples.json", {"frechet_distance": 5.0})
    write(path / "codes.json", codes)
    write(path / "export.json", {"largest_relative_difference": {"encoder": {"onnx": 1e-7, "torchscript": 0.0}}})
    write(
        path / "provenance.json",
        {"seconds": 1.5, "images_per_second": 8.0, "device": "CPU", "dataset": {"sha256": "ab"}},
    )


def write_baselines(path):
    """Of two latent sizes; the number tells what it was measured of."""

    def measures(value):
        return {"probe_accuracy": value, "knn_accuracy": value + 0.01, "silhouette": value + 0.02}

    pca = {"2": measures(0.2), "5": measures(0.5)}
    write(path / "pixels.json", {"pixels": measures(0.9), "pca": pca, "spectra": {"": [3 * np.exp(2), 3.0, 1.0]}})
    classifier = {"frechet_floor": 1.0, "frechet_ceiling": 100.0, "classifier_accuracy": 0.99}
    write(path / "classifier.json", classifier)
    untrained = {
        encoder: {"": {size: {seed: measures(i + int(size) / 100 + int(seed) / 10) for seed in "01"} for size in "25"}}
        for i, encoder in enumerate(("DNN1", "CNN1"))
    }
    write(path / "untrained.json", untrained)
    write(path / "truth.json", {"entropy": 32.8})


@pytest.fixture
def rows(tmp_path):
    """Eight labels with two seeds; the first label diverged once, the second twice.

    The eighth reconstructs best. The seventh comes second by test images, and the sixth by validation images.
    """
    for i, spec in enumerate(SPECS):
        for seed in (0, 1):
            status = "diverged" if (i, seed) in ((0, 1), (1, 0), (1, 1)) else "ok"
            losses = 200.0 - 10 * i + seed, 199.0 - 10 * {5: 6, 6: 5}.get(i, i) + seed
            write_model(tmp_path / "models", spec, seed, *losses, 0.2 * i, status)
    write_baselines(tmp_path / "baselines")
    return table.gather(tmp_path, CONFIG)


def test_a_model_stands_beside_what_it_is_held_against(rows):
    row = rows.set_index(["label", "seed"]).loc[("L5_CNN1_DNN1", 1)]
    assert row["probe_accuracy"] == 0.8
    assert row["probe_accuracy_pixels"] == 0.9
    assert row["knn_accuracy_pca"] == 0.51
    assert row["silhouette_untrained"] == pytest.approx(1 + 0.05 + 0.1 + 0.02)
    assert row[["frechet_floor", "frechet_distance", "frechet_ceiling"]].tolist() == [1, 5, 100]
    assert row["entropy"] == 32.8
    # The effective beta is 3: one direction is above it, by a factor of e².
    assert row["linear_kld"] == pytest.approx(1)
    assert row["linear_active_units"] == 1


def test_one_row_per_model_best_first_and_diverged_last(rows):
    assert len(rows) == 16
    assert rows["rank"].tolist() == list(range(1, 17))
    ok = rows[rows["status"] == "ok"]
    assert ok["validation_reconstruction"].is_monotonic_increasing
    assert not ok["reconstruction"].is_monotonic_increasing
    assert rows["status"].tolist() == ["ok"] * 13 + ["diverged"] * 3
    for column in (
        "reconstruction",
        "validation_reconstruction",
        "train_kld",
        "slack",
        "kld",
        "collapsed",
        "silhouette",
        "knn_accuracy",
        "explained_variance_2",
        "iwae_bound",
        "mutual_information",
    ):
        assert rows[column].isna().tolist() == [False] * 13 + [True] * 3
    assert rows.iloc[0]["label"] == str(SPECS[-1])


def test_what_follows_from_the_thresholds(rows):
    first = rows.iloc[0]
    assert first["active_units"] == 2  # 0.01 itself is not above 0.01
    assert first["coding_units"] == 2
    # Two of the same KLD, and one of a hundredth of both together.
    shares = np.array([2, 2, 0.04]) / 4.04
    assert first["effective_units"] == pytest.approx(np.prod(shares**-shares))
    assert 2 < first["effective_units"] < 2.2
    assert first["explained_variance_2"] == pytest.approx(0.7)
    assert first["export_difference"] == 1e-7
    ok = rows[rows["status"] == "ok"]
    assert (ok["collapsed"] == (ok["kld"] < 1.0)).all()
    assert rows[rows["status"] != "ok"]["collapsed"].isna().all()


def test_the_table_reads_back(rows, tmp_path):
    rows.to_csv(tmp_path / "models.csv", index=False)
    again = table.read(tmp_path / "models.csv")
    for column in ("validation_reconstruction", "reconstruction", "kld", "label", "rank"):
        pd.testing.assert_series_equal(again[column], rows[column], check_dtype=False)
    pd.testing.assert_frame_equal(ranking.by_architecture(again), ranking.by_architecture(rows), check_dtype=False)
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"other.csv: not the table that is expected \(has no column label, status, v"):
        table.read(tmp_path / "other.csv")
    with pytest.raises(UserError, match=r"missing.csv: not a table \(No such file or directory\)$"):
        table.read(tmp_path / "missing.csv")


@pytest.mark.parametrize(
    "damage", [lambda raw: b"", lambda raw: bytes(len(raw)), lambda raw: raw[:-2], lambda raw: raw[:40]]
)
@pytest.mark.parametrize("read", [table.read, verdicts.read])
def test_a_table_that_is_damaged_or_cut_is_refused_by_name(read, damage, rows, tmp_path):
    """Of one that ends in the middle of a row, the rows before would be read."""
    path = tmp_path / "table.csv"
    rows.assign(**dict.fromkeys(verdicts.NEEDED, "x")).to_csv(path, index=False)
    assert len(read(path)) == len(rows)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"table.csv: not a table( of claims)? \(.*\); delete it and run again$"):
        read(path)


def test_labels_average_the_seeds_that_did_not_diverge(rows):
    labels = ranking.by_architecture(rows).set_index("label")
    assert labels.loc[str(SPECS[0]), "reconstruction"] == 200.0
    assert labels.loc[str(SPECS[0]), ["seeds", "diverged"]].tolist() == [1, 1]
    assert labels.loc[str(SPECS[2]), "reconstruction"] == 180.5
    assert labels.loc[str(SPECS[2]), ["reconstruction_low", "reconstruction_high"]].tolist() == [180.0, 181.0]
    assert labels.index[-1] == str(SPECS[1])
    assert np.isnan(labels.loc[str(SPECS[1]), "reconstruction"])
    assert labels["rank"].tolist() == list(range(1, 9))
    # Seeds differ by a nat, and labels by ten.
    assert labels.loc[str(SPECS[7]), ["p_best", "rank_low", "rank_high"]].tolist() == [1, 1, 1]
    assert np.isnan(labels.loc[str(SPECS[1]), "p_best"])
    assert labels.loc[[str(SPECS[0]), str(SPECS[7])], "collapsed"].tolist() == [1, 0]


def test_the_quartile_and_its_counts(rows):
    labels = ranking.by_architecture(rows)
    assert ranking.top(labels, 1 / 4)["label"].tolist() == [str(SPECS[7]), str(SPECS[5])]
    assert len(ranking.top(labels, 1)) == 7  # the one that diverged is in no quantile
    counts = ranking.counts(labels, 1 / 4).set_index(["by", "value"])
    # Two blocks have one in the top: one of two latent sizes, and one of a single one, whose other model diverged.
    assert counts.loc[("latent_size", 5), ["top", "models", "expected"]].tolist() == [2, 4, 1.5]
    assert counts.loc[("latent_size", 2), "top"] == 0
    assert counts.loc[("encoder", "CNN1"), "top"] == 1
    assert counts.loc[("decoder", "CNN1"), "top"] == 2
    assert counts.loc[("decoder", "DNN1"), "top"] == 0


@given(st.lists(st.floats(50, 300), min_size=8, max_size=8), st.sampled_from([0.1, 0.25, 0.5, 1.0]))
def test_counts_add_up(reconstructions, fraction):
    labels = pd.DataFrame(
        {
            "label": [str(spec) for spec in SPECS],
            "latent_size": [spec.latent_size for spec in SPECS],
            "encoder": [str(spec.encoder) for spec in SPECS],
            "decoder": [str(spec.decoder) for spec in SPECS],
            "reconstruction": reconstructions[::-1],
            "validation_reconstruction": reconstructions,
        }
    ).sort_values("validation_reconstruction")
    best, losses = ranking.top(labels, fraction), labels["validation_reconstruction"]
    assert best["validation_reconstruction"].max() <= losses.iloc[len(best) :].min() or len(best) == 8
    for _, part in ranking.counts(labels, fraction).groupby("by"):
        assert part["top"].sum() == len(best) == pytest.approx(part["expected"].sum())
        assert part["models"].sum() == 8


def test_the_null_of_counts_is_that_of_all_permutations_within_blocks():
    """Enumerated: the encoders of each of four blocks, in every order."""
    rng = np.random.default_rng(3)
    blocks = list(product((2, 5), ("DNN1", "CNN1")))
    encoders = ("DNN1", "CNN1", "CNN2")
    labels = pd.DataFrame(
        [
            {"label": f"L{size}_{encoder}_{decoder}", "latent_size": size, "encoder": encoder, "decoder": decoder}
            for size, decoder in blocks
            for encoder in encoders
        ]
    )
    labels["reconstruction"] = labels["validation_reconstruction"] = rng.normal(size=len(labels))
    table = ranking.counts(labels, 1 / 3).set_index(["by", "value"])
    top = ranking.best(labels["validation_reconstruction"].to_numpy(), 1 / 3).reshape(4, 3)
    totals = [sum(block[orders[i]] for i, block in enumerate(top)) for orders in product(range(3), repeat=4)]
    chances = np.bincount(totals, minlength=5) / len(totals)
    for place, encoder in enumerate(encoders):
        row = table.loc[("encoder", encoder)]
        assert row["top"] == top[:, place].sum()
        assert row["expected"] == pytest.approx(np.mean(totals))
        p = chances[chances <= chances[int(row["top"])] + 1e-12].sum()
        assert row["p"] == pytest.approx(min(3 * p, 1))


@pytest.mark.slow
def test_labels_that_mean_nothing_are_significant_as_often_as_the_level_says():
    """Encoders shuffled within blocks: an exact test at 5%, corrected for five encoders, errs no more often."""
    rng, networks = np.random.default_rng(0), ["DNN1", "DNN4", "CNN1", "CNN2", "CNN4"]
    rows = [(size, encoder, decoder) for size in (25, 50) for decoder in networks for encoder in networks]
    labels = pd.DataFrame(rows, columns=["latent_size", "encoder", "decoder"])
    labels["reconstruction"] = labels["validation_reconstruction"] = rng.normal(size=50)
    p = []
    for _ in range(200):
        labels["encoder"] = np.concatenate([rng.permutation(networks) for _ in range(10)])
        counts = ranking.counts(labels, 1 / 4)
        p.append(counts.loc[counts["by"] == "encoder", "p"].min())
    assert np.mean(np.array(p) < 0.05) <= 0.07
    assert np.mean(np.array(p) < 0.05) < np.mean(np.array(p) < 0.5)


def test_a_model_without_results_is_named(tmp_path):
    write_baselines(tmp_path / "baselines")
    with pytest.raises(UserError, match=r"L2_DNN1_DNN1/seed0/metrics\.json: no such file"):
        table.gather(tmp_path, CONFIG)
