"""The explore page: what it holds of a study; and, in a real browser, what a reader does with it."""

import base64
import hashlib
import io
import json
import re
import shutil
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, laid_out
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vae.data import dataset
from vae.report.explore import content
from vae.report.explore import page as html

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-headless-shell", "chromium-browser"))), None)
SIDES = ("train", "validation", "test")
HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"


def parsed(page):
    """What the page holds, and its scripts."""
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    return json.loads(data[1]), re.findall(r"<script>(.*?)</script>", page, re.S)


def rows(count, diverged=0, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "label": [f"L{1 + place % 3}_DNN1_CNN{1 + place % 2}" for place in range(count)],
            "latent_size": [1 + place % 3 for place in range(count)],
            "status": ["ok"] * (count - diverged) + ["diverged"] * diverged,
            "reconstruction": np.where(np.arange(count) < count - diverged, rng.uniform(80, 200, count), np.nan),
            "kld": np.where(np.arange(count) < count - diverged, rng.uniform(0, 30, count), np.nan),
        }
    )


def test_a_large_table_is_thinned_evenly_from_the_best_to_the_worst():
    small = rows(content.LISTED)
    pd.testing.assert_frame_equal(content._thinned(small), small)
    large = rows(100_000).assign(rank=range(1, 100_001))
    ranks = content._thinned(large)["rank"].to_numpy()
    assert len(ranks) == content.LISTED
    assert (ranks[0], ranks[-1]) == (1, 100_000)
    assert set(np.diff(ranks)) == {50, 51}


@pytest.mark.parametrize("diverged", [0, 300])
def test_details_are_kept_of_the_best_the_median_the_worst_and_of_the_front(diverged):
    table = rows(1000, diverged)
    chosen = np.flatnonzero(content._chosen(table))
    usable = 1000 - diverged
    assert len(chosen) <= content.DETAILED
    assert {0, usable // 2, usable - 1} <= set(chosen)
    assert (table["status"][chosen] == "ok").all()
    front = np.flatnonzero(content._front(table))
    assert set(front) <= set(chosen)
    few = rows(content.DETAILED + 3, 3)
    assert np.flatnonzero(content._chosen(few)).tolist() == list(range(content.DETAILED))


@given(st.integers(0, 1000), st.integers(1, 40))
def test_the_front_is_what_none_of_its_latent_size_surpasses(seed, count):
    table = rows(count, seed=seed)

    def surpassed(one):
        others = table[table["latent_size"] == one["latent_size"]]
        no_worse = (others["kld"] <= one["kld"]) & (others["reconstruction"] <= one["reconstruction"])
        return (no_worse & ((others["kld"] < one["kld"]) | (others["reconstruction"] < one["reconstruction"]))).any()

    assert content._front(table).tolist() == [not surpassed(one) for _, one in table.iterrows()]


@given(st.integers(0, 100), st.floats(1e-6, 1e6))
def test_a_plane_keeps_places_and_one_scale_for_both_axes(seed, scale):
    points = np.random.default_rng(seed).normal(size=(50, 2)).astype(np.float32) * [3, 1] * scale
    plane = content._plane(points)
    kept = np.frombuffer(base64.b64decode(plane["points"]), "<u2").reshape(-1, 2)
    assert np.ptp(kept, axis=0).max() == 65535
    placed = (kept / 65535 - 0.5) * plane["side"] + plane["middle"]
    np.testing.assert_allclose(placed, points, atol=1e-4 * np.ptp(points))


def test_a_plane_of_a_collapsed_model_is_a_point():
    kept = np.frombuffer(base64.b64decode(content._plane(np.zeros((5, 2), np.float32))["points"]), "<u2")
    assert len(set(kept)) == 1


@pytest.mark.parametrize("shape", [(9, 7), (3, 8, 5), (4, 8, 5)])
def test_a_sheet_shows_images_in_rows(shape):
    images = np.random.default_rng(0).integers(0, 256, (23, *shape)).astype(np.uint8)
    images = np.broadcast_to(images.reshape(23, -1)[:, :1].reshape(23, *[1] * len(shape)), images.shape)  # flat ones
    kind, encoded = content._sheet(images).split(",")
    assert kind == "data:image/webp;base64"
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("L")).astype(int)
    height, width = shape[-2:]
    assert sheet.shape == (2 * height, content.ACROSS * width)
    for place in (0, 5, 19, 20, 22):
        line, column = divmod(place, content.ACROSS)
        cell = sheet[line * height : (line + 1) * height, column * width : (column + 1) * width]
        assert abs(cell[height // 2, width // 2] - images[place].flat[0]) < 40


def test_no_data_becomes_html_and_only_the_pages_own_scripts_may_run():
    page = html.render(HOSTILE, [HOSTILE], {"studies": [{"name": HOSTILE}]})
    data, scripts = parsed(page)
    assert data == {"studies": [{"name": HOSTILE}]}
    assert page.count("<script") == page.count("</script>") == len(scripts) + 1 == 4
    assert "<img" not in page
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="(.*?)"', page)
    allowed = re.findall(r"'sha256-(.*?)'", policy)
    assert allowed == [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    script_rule = next(rule for rule in policy.split("; ") if rule.startswith("script-src"))
    assert "default-src 'none'" in policy
    assert "unsafe" not in script_rule


def test_libraries_are_those_of_the_lock_file_to_the_byte_with_their_licences():
    locked = json.loads((ROOT / "tests/web/package-lock.json").read_text())["packages"]
    vendored = json.loads((html.VENDOR / "vendored.json").read_text())
    assert set(vendored) == set(html.LIBRARIES)
    for name, facts in vendored.items():
        source = (html.VENDOR / name).read_bytes()
        assert hashlib.sha256(source).hexdigest() == facts["sha256"]
        assert locked[f"node_modules/{facts['package']}"]["version"] == facts["version"]
        assert facts["version"] in source[:100].decode()
        licence = (html.VENDOR / facts["licence"]).read_text()
        assert "Permission to use, copy, modify" in licence
        installed = ROOT / "tests/web/node_modules" / facts["package"] / "dist" / name
        assert not installed.exists() or installed.read_bytes() == source


def test_a_live_page_has_the_axes_of_planes_with_five_decimals(colour):
    results = colour / "results"
    study = content.study(results, colour / "dataset.npz", pd.read_csv(results / "tables/models.csv"), live=True)
    axes = np.concatenate([details["plane"]["axes"] for details in study["details"].values()], axis=1)
    assert (axes == axes.round(5)).all()


def test_the_page_holds_a_study_in_little_space(colour):
    page = (colour / "results/explore.html").read_text()
    data, scripts = parsed(page)
    (study,) = data["studies"]
    table = pd.read_csv(colour / "results/tables/models.csv")
    assert study["rows"]["label"] == table["label"].tolist()
    np.testing.assert_allclose(study["rows"]["kld"], table["kld"], rtol=1e-4)
    assert set(study["details"]) == {str(place) for place in range(8)}
    assert study["images"]["labels"] is None
    assert study["images"]["shape"] == [3, 32, 32]
    details = study["details"]["0"]
    assert len(details["klds"]) == len(details["linear"]) == table["latent_size"][0]
    assert details["klds"] == sorted(details["klds"], reverse=True)
    assert sum(details["klds"]) == pytest.approx(table["kld"][0], rel=1e-3)
    assert set(details["plane"]) == {"points", "middle", "side"}
    each = (len(page) - sum(map(len, scripts))) / len(table)
    assert sum(map(len, scripts)) + 100 * each < 5e6
    assert page == html.of_study(colour / "results", colour / "dataset.npz")


@contextmanager
def opened(path, **options):
    """The page in a browser without a network, and what it logs and asks for."""
    pytest.importorskip("playwright", reason="Playwright is not installed")
    if not CHROMIUM:
        pytest.skip("no Chromium is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(offline=True, **options).new_page()
        page.said, page.asked = [], []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(f"file://{path}")
        page.wait_for_selector("#table tbody")
        yield page
        assert page.said == []
        assert all(url.startswith((f"file://{path}", "data:", "blob:")) for url in page.asked)
        browser.close()


def shown(page):
    return page.eval_on_selector_all("#table tbody tr", "rows => rows.map(row => row.dataset.key)")


def test_a_reader_searches_filters_sorts_and_saves_what_is_shown(colour, tmp_path):
    with opened(colour / "results/explore.html") as page:
        assert len(shown(page)) == 8
        page.get_by_role("searchbox").fill("l3 cnn5_")
        assert {key.split(".")[0] for key in shown(page)} == {"L3_CNN5_DNN1", "L3_CNN5_CNN5"}
        page.get_by_role("searchbox").fill("")
        page.locator("#filters").get_by_role("button", name="CNN5").first.click()
        assert {key.split("_")[1] for key in shown(page)} == {"DNN1"}
        page.locator("[data-sort=kld]").click()
        table = pd.read_csv(colour / "results/tables/models.csv")
        wanted = table[table["encoder"] == "DNN1"].sort_values("kld")
        assert shown(page) == [f"{row.label}.{row.seed}" for row in wanted.itertuples()]
        page.locator("[data-sort=kld]").click()
        assert shown(page) == [f"{row.label}.{row.seed}" for row in wanted[::-1].itertuples()]
        with page.expect_download() as saved:
            page.get_by_role("button", name="save as CSV").click()
        saved.value.save_as(tmp_path / "models.csv")
        kept = pd.read_csv(tmp_path / "models.csv")
        assert kept["label"].tolist() == wanted[::-1]["label"].tolist()
        np.testing.assert_allclose(kept["kld"], wanted[::-1]["kld"], rtol=1e-4)
        page.get_by_role("searchbox").fill("nothing")
        assert "No model matches" in page.locator("#scatter").inner_text()


def test_a_selection_is_made_by_keyboard_alone_and_kept_in_the_address(colour):
    with opened(colour / "results/explore.html") as page:
        key = shown(page)[3]
        page.locator(f"tr[data-key='{key}'] button").first.focus()
        page.keyboard.press("Tab")
        page.keyboard.press("Shift+Tab")
        assert key.split(".")[0] in page.locator("#card").inner_text()  # of the model whose button has the focus
        page.keyboard.press("Enter")
        assert f"a={key}" in page.url
        assert key.split(".")[0] in page.locator(".model.a").inner_text()
        page.select_option("select[aria-label='x axis']", "encoder_parameters")
        page.reload()
        page.wait_for_selector("#table tbody")
        assert key.split(".")[0] in page.locator(".model.a").inner_text()
        assert page.locator("select[aria-label='x axis']").input_value() == "encoder_parameters"
        page.goto(page.url.split("#")[0] + "#a=L9_no_such.0&x=label&sort=__proto__&columns=rank,none")
        page.reload()
        page.wait_for_selector("#table tbody")
        assert page.locator("select[aria-label='x axis']").input_value() == "kld"


def test_a_mark_shows_its_model_and_a_click_chooses_it(colour):
    with opened(colour / "results/explore.html", viewport={"width": 1280, "height": 1000}) as page:
        pointed = 0
        for label in pd.read_csv(colour / "results/tables/models.csv")["label"]:
            box = page.locator(f"#scatter path[aria-label='{label}, seed 0']").bounding_box()
            page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
            pointed += page.locator("#card h3").inner_text() == f"{label}, seed 0"
        assert pointed > 4  # others lie above each other
        page.keyboard.down("Shift")
        page.mouse.down()
        page.mouse.up()
        assert page.locator(".model.b h3").inner_text() == "B" + page.locator("#card h3").inner_text()
        page.mouse.move(0, 0)
        assert page.locator("#card").is_hidden()


def test_a_page_opens_with_two_models_whose_pictures_it_has(colour, tmp_path):
    given = pd.read_csv(colour / "results/tables/models.csv")
    by_loss = given.assign(loss=given["reconstruction"] + given["kld"]).sort_values("loss")["label"].tolist()
    page = tmp_path / "page.html"
    study = content.study(laid_out(colour, tmp_path / "results"), colour / "dataset.npz", given)
    study["details"] = {
        place: details for place, details in study["details"].items() if given["label"][place] != by_loss[-1]
    }
    page.write_text(html.render("title", [], {"studies": [study]}))
    with opened(page) as opening:
        assert opening.locator(".model.a h3").inner_text() == f"A{by_loss[0]}, seed 0"
        assert opening.locator(".model.b h3").inner_text() == f"B{by_loss[-2]}, seed 0"


def test_the_same_image_is_pointed_at_in_both_planes(colour):
    with opened(colour / "results/explore.html", viewport={"width": 1280, "height": 4000}) as page:
        first = page.locator(".plane svg").first
        box = first.bounding_box()
        for across in np.linspace(0.1, 0.9, 30):
            page.mouse.move(box["x"] + across * box["width"], box["y"] + box["height"] / 2)
            if page.locator(".plane .at").first.is_visible():
                break
        places = page.eval_on_selector_all(".plane .at", "all => all.map(each => each.style.backgroundPosition)")
        assert page.locator(".plane .at").nth(1).is_visible()
        assert places[0] == places[1] != ""


@pytest.fixture
def unusual(colour, tmp_path):
    """The results of colour images with 24 classes, a family of encoders of one's own, and a model that diverged."""
    results = laid_out(colour, tmp_path / "results")
    whole = dataset.load(colour / "dataset.npz")
    labels = {f"{side}_labels": np.arange(len(getattr(whole, f"{side}_images"))) % 24 for side in SIDES}
    names = tuple(f"name{number}" for number in range(24))
    dataset.save(replace(whole, **labels, class_names=names), results / "data/dataset.npz")
    table = pd.read_csv(results / "tables/models.csv")
    numbers = table.select_dtypes("float").columns
    table.loc[7, numbers] = np.nan
    table.loc[7, "status"] = "diverged"
    table["encoder"] = table["encoder"].replace("CNN5", "SKIP2")
    page = html.render("title", [], {"studies": [content.study(results, results / "data/dataset.npz", table)]})
    (tmp_path / "page.html").write_text(page)
    return tmp_path / "page.html"


@pytest.mark.parametrize(("name", "centred"), [("mnist_sample", True), ("fashion_mnist", False), ("own", False)])
def test_drawings_are_centred_for_digits_that_are(colour, tmp_path, name, centred):
    results = laid_out(colour, tmp_path / "results")
    dataset.save(replace(dataset.load(colour / "dataset.npz"), name=name), results / "data/dataset.npz")
    page = content.study(results, results / "data/dataset.npz", pd.read_csv(results / "tables/models.csv"))
    assert page["images"]["centred"] == centred


def test_many_classes_a_family_of_ones_own_and_a_diverged_model_are_shown(unusual):
    (study,) = parsed(unusual.read_text())[0]["studies"]
    assert len(set(study["colours"]["classes"])) == len(study["images"]["classes"]) == 24
    assert len(set(study["colours"]["families"].values())) == len({"DNN", "CNN", "SKIP"}) == 3
    assert set(study["details"]) == {str(place) for place in range(7)}
    with opened(unusual, viewport={"width": 1280, "height": 4000}) as page:
        assert page.locator("#legend").get_by_text("SKIP encoder").is_visible()
        legend = page.locator(".model.a div:has(> style)").last.inner_text().split()
        assert legend == [f"name{number}" for number in range(0, 24, 2)]  # every second of many
        assert page.locator("#scatter path[aria-label*='seed']").count() >= 7
        key = study["rows"]["label"][7] + ".0"
        page.locator(f"tr.diverged[data-key='{key}'] button").first.click()
        assert "This model diverged" in page.locator(".model.a").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(colour, scheme):
    with opened(colour / "results/explore.html", viewport={"width": 400, "height": 800}, color_scheme=scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        contrast = page.evaluate(
            "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
        )
        light = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in contrast]
        assert (light[0] < light[1]) == (scheme == "light")


def test_hostile_names_stay_text(colour, tmp_path):
    page = (colour / "results/explore.html").read_text()
    (study,) = parsed(page)[0]["studies"]
    study["rows"]["label"] = [f"L1_DNN1_DNN1{HOSTILE}"] * 8
    study["columns"][1]["heading"] = HOSTILE
    (tmp_path / "page.html").write_text(html.render(HOSTILE, [HOSTILE], {"studies": [study]}))
    with opened(tmp_path / "page.html") as hostile:
        assert "taken" in hostile.locator("h1").inner_text()
        assert hostile.title() == HOSTILE
        assert not hostile.locator("img[src=x]").count()
        # Nor would a script run that had come in all the same.
        hostile.evaluate(
            "() => { const one = document.createElement('script'); one.textContent = 'document.title = \"taken\"';"
            " document.body.append(one); document.body.setAttribute('onclick', 'document.title = \"taken\"');"
            " document.body.click(); }"
        )
        assert hostile.title() == HOSTILE
        assert len(hostile.said) == 2
        assert all("Content Security Policy" in message for message in hostile.said)
        hostile.said.clear()
