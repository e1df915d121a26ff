"""Whether a study's budget is enough, on tables that are made up; and what the page of claims says of it."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, SAMPLE

from vae import provenance
from vae.analysis import effects, fidelity, swap
from vae.analysis.claims import verdicts
from vae.analysis.fidelity import Fidelity
from vae.cli import main
from vae.config import complete
from vae.grid import Spec
from vae.measures import trials
from vae.provenance import Origin
from vae.report import pages

SCHEMA = yaml.safe_load((ROOT / "vae/config.schema.yaml").read_text())
PAIRS = ["CNN1_CNN1", "CNN4_CNN4", "DNN1_DNN1", "DNN4_DNN4"]
CONVERGED = [(100.0, 99.8), (110.0, 109.9), (120.0, 120.2), (130.0, 129.6)]


def gathered(folder, losses, twice_seed=3, **grid):
    """The table of a study whose sentinels have these losses at its budget, and at twice that."""
    networks = ["CNN1", "CNN4", "DNN1", "DNN2", "DNN4"]
    grid = {"latent_sizes": [25, 200], "encoders": networks, "decoders": networks} | grid
    config = complete({"grid": grid, "training": {"seeds": [3, 0]}}, SCHEMA)
    rows = []
    for pair, (loss, twice) in zip(PAIRS, losses, strict=False):
        numbers = {"label": f"L200_{pair}", "seed": twice_seed, "epochs": 8, "validation_loss": twice}
        (folder / "fidelity").mkdir(exist_ok=True)
        provenance.write(folder / f"fidelity/{pair}.json", numbers, Origin("fidelity"))
        for label in (f"L200_{pair}", f"L200_{pair}_beta2", f"L25_{pair}"):
            for seed in (0, 3):
                # The KLD is a quarter of the loss, at a weight of 0.5; of other models nothing is asked.
                mine = label == f"L200_{pair}" and seed == twice_seed and loss is not None
                kld = loss / 4 if mine else None
                measured = {"validation_kld": kld, "validation_reconstruction": loss - kld / 2 if mine else None}
                rows.append({"label": label, "seed": seed, "epochs": 4, "effective_beta": 0.5} | measured)
    return fidelity.gather(folder, config, pd.DataFrame(rows).sample(frac=1, random_state=0))


def test_the_table_has_what_every_sentinel_loses_and_gains(tmp_path):
    budget = gathered(tmp_path, [(100, 98), (90, 91), (120, 80), (105, 105)])
    assert list(budget.columns) == fidelity.COLUMNS
    assert budget["label"].tolist() == [f"L200_{pair}" for pair in PAIRS]
    assert set(budget["seed"]) == {3}
    assert budget["loss"].tolist() == [100, 90, 120, 105]
    assert budget["loss_at_twice"].tolist() == [98, 91, 80, 105]
    assert budget["gain"].tolist() == [2, -1, 40, 0]
    assert budget["rank"].tolist() == [2, 1, 4, 3]
    assert budget["rank_at_twice"].tolist() == [3, 2, 1, 4]


def test_the_largest_gain_and_kendalls_tau_are_those_of_the_table(tmp_path):
    # Of six pairs of sentinels, three change their order.
    measured = Fidelity.of(gathered(tmp_path, [(100, 98), (90, 91), (120, 80), (105, 105)]))
    assert (measured.gain, measured.tau) == (40, pytest.approx(0))
    assert not measured.converged


@pytest.mark.parametrize(
    ("losses", "gain", "tau", "converged"),
    [
        (CONVERGED, 0.4, 1, True),
        ([(100.0, 99.4), *CONVERGED[1:]], 0.6, 1, False),  # still gains
        ([(100.0, 99.5), *CONVERGED[1:]], 0.5, 1, False),
        ([(100.0, 100.3), (100.2, 100.1), *CONVERGED[2:]], 0.4, 2 / 3, False),  # two change places
        ([(100.0, 150.0), (160.0, 170.0)], -10, 1, True),  # a longer training that is worse is no gain
    ],
)
def test_a_study_is_converged_where_nothing_gains_and_the_order_stays(losses, gain, tau, converged, tmp_path):
    sides = {"encoders": [pair.split("_")[0] for pair in PAIRS[: len(losses)]]}
    measured = Fidelity.of(gathered(tmp_path, losses, **sides, decoders=sides["encoders"]))
    assert (measured.gain, measured.tau) == (pytest.approx(gain), pytest.approx(tau))
    assert measured.converged == converged


def test_sentinels_that_diverged_have_no_gain_and_leave_a_study_not_converged(tmp_path):
    budget = gathered(tmp_path, [(100, 99.9), (None, 90), (120, None), (130, 129.8)])
    assert budget["gain"].isna().tolist() == [False, True, True, False]
    assert budget["rank"].tolist() == [1, pd.NA, 2, 3]
    assert budget["rank_at_twice"].tolist() == [2, 1, pd.NA, 3]
    measured = Fidelity.of(budget)
    assert (measured.gain, measured.tau) == (pytest.approx(0.2), 1)
    assert not measured.converged


def test_where_every_sentinel_diverged_nothing_is_known(tmp_path):
    measured = Fidelity.of(gathered(tmp_path, [(None, None)] * 4))
    assert np.isnan([measured.gain, measured.tau]).all()
    assert not measured.converged


def test_one_sentinel_has_no_order_and_does_not_tell(tmp_path):
    measured = Fidelity.of(gathered(tmp_path, CONVERGED[:1], encoders=["CNN1"], decoders=["CNN1"]))
    assert measured.gain == pytest.approx(0.2)
    assert np.isnan(measured.tau)
    assert not measured.converged


def test_a_study_without_sentinels_has_an_empty_table(tmp_path):
    config = complete({"evaluation": {"budget_fidelity": False}}, SCHEMA)
    names = ["label", "seed", "epochs", "effective_beta", "validation_kld", "validation_reconstruction"]
    budget = fidelity.gather(tmp_path, config, pd.DataFrame([["L200_CNN1_CNN1", 0, 4, 1.0, 1.0, 1.0]], columns=names))
    budget.to_csv(tmp_path / "fidelity.csv", index=False)
    for table in (budget, pd.read_csv(tmp_path / "fidelity.csv")):
        assert list(table.columns) == fidelity.COLUMNS
        assert not len(table)
        assert not Fidelity.of(table).converged


def page(budget, claims=None, slack=(0.0, 0.2, 0.5, 0.51, 7.0, None)):
    """The page of claims, of which one has each verdict."""
    claims = claims if claims is not None else decided(at_this_budget=not Fidelity.of(budget).converged)
    rows = pd.DataFrame({"status": "ok", "latent_size": 2, "effective_beta": 1.0, "epochs": 4, "slack": slack})
    rows = rows.assign(encoder="DNN1", decoder="DNN1", seed=0, collapsed=False)
    return pages.claims(claims, rows, budget, pd.DataFrame(columns=effects.COLUMNS), [])


def decided(**columns):
    shared = {
        "of": "paper",
        "ranking": "elbo",
        "cutoff": 0.25,
        "figure": "x",
        "unit": "nats",
        "rests_on": "4 contexts",
        "reason": "",
    }
    shared |= {"statistic": "difference", "value": 1.0, "low": 0.5, "high": 1.5, "finding": "So it is.", "error": 0.1}
    return pd.DataFrame(
        [
            {"claim": verdict, "sentence": f"This is {verdict}.", "verdict": verdict} | shared | columns
            for verdict in pages.VERDICTS
        ]
    )


def opening(text):
    """The second paragraph below the title, which says how well the models are trained."""
    return re.search(r"</h1>\s*<p>.*?</p>\s*<p>(.*?)</p>", text, re.S).group(1)


def test_the_page_opens_with_what_twice_the_budget_gains(tmp_path):
    first = opening(page(gathered(tmp_path, [(100, 98), (90, 91), (120, 80), (105, 105)])))
    assert first.startswith(
        "Twice the budget gains a sentinel 40.00 nats at most, and Kendall&#39;s τ of their order is"
    )
    assert "so verdicts that rest on ranks hold at this budget, and may not for trained models." in first
    assert "same architecture, 2 of 5 models are more than 0.5 nats above" in first
    trained = opening(page(gathered(tmp_path, CONVERGED)))
    assert trained.startswith("Twice the budget gains a sentinel 0.40 nats at most")
    assert "order is 1.00: so ranks are those of trained models." in trained


def test_the_page_shows_every_sentinel(tmp_path):
    text = page(gathered(tmp_path, [(100, 98), (None, 91), (120, None), (105, 105)]))
    assert "<td>L200_CNN1_CNN1</td><td>100.0</td><td>98.0</td><td>+2.00</td><td>1</td><td>2</td>" in text
    assert [f"<td>L200_{pair}</td>" in text for pair in PAIRS] == [True] * 4


def test_decided_verdicts_are_at_this_budget_where_the_study_is_not_converged(tmp_path):
    cells = re.compile(r'<p class="(\w+)"><b>\1</b>(<br><small>at this budget</small>)?</p>')
    short = page(gathered(tmp_path, [(100, 98), (90, 91), (120, 80), (105, 105)]))
    assert [(verdict, bool(said)) for verdict, said in cells.findall(short)] == [
        ("supported", True),
        ("contradicted", True),
        ("equivalent", True),
        ("undecided", False),
    ]
    long = page(gathered(tmp_path, CONVERGED))
    assert [bool(said) for _, said in cells.findall(long)] == [False] * 4


def test_the_page_says_where_nothing_is_known_of_the_budget(tmp_path):
    none = pd.DataFrame(columns=fidelity.COLUMNS)
    assert opening(page(none)).startswith("Whether the models are trained is not known: no sentinel was trained for")
    every = gathered(tmp_path, [(None, None)] * 4)
    assert opening(page(every)).startswith("Whether the models are trained is not known: each sentinel diverged.")
    assert "nan" not in opening(page(every, slack=[None]))


@pytest.mark.parametrize(("losses", "at_this_budget"), [(CONVERGED, False), ([(100.0, 90.0), *CONVERGED[1:]], True)])
def test_the_stages_of_claims_and_of_the_page_say_it_of_a_study(losses, at_this_budget, tmp_path, monkeypatch):
    """Of rows of the config itself; those of a sweep decide nothing."""
    judged = []

    def judge(rows, *_):
        judged.append(rows["label"].tolist())
        return decided()

    monkeypatch.setattr(verdicts, "verdicts", judge)
    monkeypatch.setattr(effects, "shares", lambda rows: pd.DataFrame(columns=effects.COLUMNS))
    monkeypatch.setattr(effects, "means", lambda rows: rows)
    gathered(tmp_path, losses).to_csv(tmp_path / "fidelity.csv", index=False)
    rows = {"label": ["L2_DNN1_DNN1", "L2_DNN1_DNN1_beta2"], "variant": ["", "beta2"], "status": "ok", "slack": 0.0}
    rows |= {"validation_reconstruction": 1.0, "latent_size": 2, "effective_beta": 1.0, "epochs": 4}
    rows |= {"encoder": "DNN1", "decoder": "DNN1", "seed": 0, "collapsed": False}
    pd.DataFrame(rows).to_csv(tmp_path / "models.csv", index=False)
    given = ["--table", str(tmp_path / "models.csv"), "--fidelity", str(tmp_path / "fidelity.csv")]
    pd.DataFrame(columns=swap.COLUMNS).to_csv(tmp_path / "swap.csv", index=False)
    claims, shares, *others = (tmp_path / f"{name}.csv" for name in ("claims", "effects", "means", "rate_distortion"))
    swapped = ["--swap", str(tmp_path / "swap.csv")]
    assert main(["claims", *given, *swapped, *map(str, (claims, shares, *others))]) == 0
    assert judged == [["L2_DNN1_DNN1"]]
    assert pd.read_csv(claims)["at_this_budget"].tolist() == [at_this_budget] * 4
    given += ["--claims", str(claims), "--effects", str(shares)]
    assert main(["page", *given, str(tmp_path / "claims.html")]) == 0
    assert ("<small>at this budget</small>" in (tmp_path / "claims.html").read_text()) == at_this_budget


def test_a_sentinel_is_trained_for_twice_the_epochs_with_a_seed_of_the_study(tmp_path, monkeypatch):
    config = complete(
        {
            "dataset": {"name": "sample", "path": str(SAMPLE)},
            "grid": {"latent_sizes": [2, 3], "encoders": ["DNN1", "DNN2"], "decoders": ["DNN1"]},
            "networks": {"hidden_units": 16},
            "training": {"epochs": 2, "images": 200, "seeds": [5, 6]},
            "device": "cpu",
        },
        SCHEMA,
    )
    trained, train = [], trials.schedule.train

    def record(spec, seed, images, recipe, *arguments):
        trained.append((spec, seed, recipe.training.epochs))
        return train(spec, seed, images, recipe, *arguments)

    monkeypatch.setattr(trials.schedule, "train", record)
    given, output = ["--config", json.dumps(config)], tmp_path / "fidelity/DNN2_DNN1.json"
    assert main(["dataset", *given, str(tmp_path / "dataset.npz")]) == 0
    assert main(["fidelity", *given, "--dataset", str(tmp_path / "dataset.npz"), "L3_DNN2_DNN1", str(output)]) == 0
    numbers = provenance.read(output)
    assert trained == [(Spec.parse("L3_DNN2_DNN1"), 5, 4)]
    assert (numbers["label"], numbers["seed"], numbers["epochs"]) == ("L3_DNN2_DNN1", 5, 4)
    assert 0 < numbers["validation_loss"] < 1000
    assert [path.name for path in output.parent.iterdir()] == [output.name]
