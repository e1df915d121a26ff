"""`vae view`: what is served, and to whom; and, in a real browser, what models make of a drawing."""

import base64
import contextlib
import http.client
import json
import re
import shutil
import threading

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from conftest import ROOT, laid_out
from test_explore import CHROMIUM

from export.half import halved
from vae.cli import main
from vae.errors import UserError
from vae.files import sha256
from vae.report.explore import page, runtime, server
from vae.tools import view

DIST = ROOT / "tests/web/node_modules/onnxruntime-web/dist"
BROWSER = pytest.mark.skipif(
    not (CHROMIUM and DIST.exists()), reason="needs Chromium, and npm ci --prefix tests/web for onnxruntime-web"
)


@pytest.fixture(scope="module")
def results(colour, tmp_path_factory):
    """The study of colour images, with its dataset where a study has it."""
    return laid_out(colour, tmp_path_factory.mktemp("viewed") / "results")


def table(results):
    return pd.read_csv(results / "tables/models.csv")


@contextlib.contextmanager
def serving(files, policy="default-src 'none'"):
    served = server.server({"/": lambda: b"<h1>page</h1>", **files}, policy, 0)
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    try:
        yield served.server_port
    finally:
        served.shutdown()
        served.server_close()
        thread.join()


def get(port, path, host=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest("GET", path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{port}")
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read(), dict(answer.getheaders())


def test_models_and_the_page_are_served_and_no_other_file(results):
    files = server.models([(results, table(results))])
    assert len(files) == 2 * 8
    with serving(files) as port:
        status, content, headers = get(port, "/")
        assert (status, content) == (200, b"<h1>page</h1>")
        assert headers["Content-Security-Policy"] == "default-src 'none'"
        assert headers["X-Content-Type-Options"] == "nosniff"
        for path in files:
            status, content, headers = get(port, path)
            assert status == 200
            assert headers["Content-Type"] == "application/octet-stream"
            onnxruntime.InferenceSession(content)
        some = next(iter(files))
        for path in (
            "/config.yaml",
            "/../config.yaml",
            "/models/",
            "/models/0/../../tables/models.csv",
            "/models/0/%2e%2e/%2e%2e/config.yaml",
            f"{some}/../weights.safetensors",
            some.replace("encoder.onnx", "weights.safetensors"),
            some.replace("/0/", "/1/"),
            some.replace("models", "%6dodels"),
            f"{some}?x",
            "//etc/passwd",
        ):
            assert get(port, path)[0] == 404, path


HOSTS = ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1:1", "", "localhost.evil.example"]


@pytest.mark.parametrize("host", HOSTS)
def test_another_host_gets_nothing(host):
    """Of a site whose name was made to lead here (DNS rebinding)."""
    with serving({}) as port:
        status, content, _ = get(port, "/", host or " ")
        assert status == 403
        assert b"page" not in content.replace(b"address of this page", b"")
        assert get(port, "/", f"localhost:{port}")[0] == 200


def test_a_link_out_of_the_results_is_not_followed(results, tmp_path):
    copy = tmp_path / "results"
    shutil.copytree(results, copy)
    files = server.models([(copy, table(copy))])
    (tmp_path / "secret").write_bytes(b"secret")
    label = table(copy)["label"][0]
    linked = copy / f"models/{label}/seed0/encoder.onnx"
    linked.unlink()
    linked.symlink_to(tmp_path / "secret")
    (copy / f"models/{label}/seed0/decoder.onnx").unlink()
    with serving(files) as port:
        assert get(port, f"/models/0/{label}.0/encoder.onnx")[0] == 404
        assert get(port, f"/models/0/{label}.0/decoder.onnx")[0] == 404


def test_only_this_machine_can_connect():
    served = server.server({}, "", 0)
    assert served.server_address[0] == "127.0.0.1"
    with pytest.raises(UserError, match=f"port {served.server_port}: .*; choose another with --port"):
        server.server({}, "", served.server_port)
    served.server_close()
    with pytest.raises(UserError, match=r"port 99999: .*0-65535.*choose another"):
        server.server({}, "", 99999)


def test_a_user_without_a_name_is_told_of_the_machine(monkeypatch, nobody):
    monkeypatch.setattr("platform.node", lambda: "node7")
    assert view._login() == "node7"
    monkeypatch.setenv("LOGNAME", "ada")
    assert view._login() == "ada@node7"


def test_a_diverged_model_is_listed_and_not_served(results):
    rows = table(results)
    rows.loc[2, "status"] = "diverged"
    assert not [path for path in server.models([(results, rows)]) if f"/{rows['label'][2]}." in path]


def test_the_policy_of_a_served_page_lets_it_ask_for_models_alone():
    ready = runtime.Runtime("globalThis.ort = {};", b"")
    rules = dict(rule.split(" ", 1) for rule in page.policy({"live": {"models": "/models/"}}, ready, True).split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["connect-src"] == "'self'"
    assert rules["frame-ancestors"] == "'none'"
    assert "unsafe-inline" not in rules["script-src"]
    assert "'unsafe-eval'" not in rules["script-src"]
    packed = dict(rule.split(" ", 1) for rule in page.policy({"live": {"packed": {}}}, ready).split("; "))
    assert packed["connect-src"] == "'none'"


def test_the_runtime_is_that_of_the_lock_file():
    locked = json.loads((ROOT / "tests/web/package-lock.json").read_text())["packages"]
    assert locked["node_modules/onnxruntime-web"]["version"] == runtime.FACTS["version"]


@pytest.mark.skipif(not DIST.exists(), reason="onnxruntime-web is not installed: npm ci --prefix tests/web")
def test_a_runtime_is_held_to_its_hashes(tmp_path):
    ready = runtime.runtime(DIST)
    assert "InferenceSession:" in ready.script
    assert "export{" not in ready.script
    for name in runtime.FACTS["files"]:
        shutil.copy(DIST / name, tmp_path)
    (tmp_path / runtime.BUNDLE).write_text("alert()")
    with pytest.raises(UserError, match=r"not that of onnxruntime-web@1\.30\.0"):
        runtime.runtime(tmp_path)
    (tmp_path / runtime.WASM).unlink()
    (tmp_path / runtime.BUNDLE).write_bytes((DIST / runtime.BUNDLE).read_bytes())
    with pytest.raises(UserError, match="wasm: no such file; give the folder `dist`"):
        runtime.runtime(tmp_path)


def test_without_npm_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(runtime.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"there is no npm to fetch onnxruntime-web@.*--runtime FOLDER"):
        runtime.runtime()


ARCHIVE = "mkdir -p package/dist; for f in {names}; do echo alert > package/dist/$f; done; tar czf a.tgz package"


@pytest.mark.parametrize("script", ["exit 1", "true", ARCHIVE.format(names=" ".join(runtime.FACTS["files"]))])
def test_what_npm_brings_is_checked_before_it_is_kept(tmp_path, monkeypatch, script):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    npm = tmp_path / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(0o755)
    monkeypatch.setattr(runtime.shutil, "which", lambda name: str(npm))
    with pytest.raises(UserError, match=r"could not fetch|not what was published"):
        runtime.runtime()
    assert not list(tmp_path.rglob("cache/*/*/*"))


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """An npm that brings a runtime whose hashes are known, and notes every call; and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    contents = {runtime.BUNDLE: b"export{a as b};", runtime.WASM: b"wasm"}
    monkeypatch.setitem(runtime.FACTS, "files", {name: sha256(content) for name, content in contents.items()})
    (tmp_path / "package/dist").mkdir(parents=True)
    for name, content in contents.items():
        (tmp_path / "package/dist" / name).write_bytes(content)
    script = tmp_path / "npm"
    script.write_text(f"#!/bin/sh\necho >> {tmp_path}/calls\ntar czf a.tgz -C {tmp_path} package\n")
    script.chmod(0o755)
    monkeypatch.setattr(runtime.shutil, "which", lambda name: str(script))
    return lambda: len((tmp_path / "calls").read_text())


def test_the_runtime_is_fetched_once_and_again_where_it_is_damaged(npm, tmp_path, caplog):
    wanted = runtime.Runtime("globalThis.ort={b:a};", b"wasm")
    assert runtime.runtime() == runtime.runtime() == wanted
    assert npm() == 1
    for damage in (lambda file: file.write_bytes(b"damaged"), lambda file: file.unlink()):
        damage(next(tmp_path.rglob(f"cache/*/*/{runtime.WASM}")))
        assert runtime.runtime() == runtime.runtime() == wanted
    assert npm() == 3
    assert not caplog.messages


def test_where_the_runtime_cannot_be_kept_it_is_used_all_the_same(npm, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "npm"))  # a file
    assert runtime.runtime().wasm == b"wasm"
    (line,) = caplog.messages
    assert line.startswith("onnxruntime-web-1.30.0 is not kept in the user's cache (Not a directory)")


def test_a_user_without_a_home_uses_the_runtime_all_the_same(npm, nobody, caplog):
    assert runtime.runtime().wasm == b"wasm"
    (line,) = caplog.messages
    assert "is not kept in the user's cache (this user has no home to keep a cache in; set XDG_CACHE_HOME" in line


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_a_graph_of_half_precision_is_smaller_and_computes_nearly_the_same(results, side):
    graph = (results / f"models/L3_CNN5_CNN5/seed0/{side}.onnx").read_bytes()
    half = halved(graph)
    assert len(half) < 0.7 * len(graph)
    whole, other = (onnxruntime.InferenceSession(each) for each in (graph, half))
    (given,) = whole.get_inputs()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 3, 32, 32)).astype(np.uint8)
    values = images if side == "encoder" else rng.normal(size=(5, 3)).astype(np.float32)
    for one, two in zip(*(session.run(None, {given.name: values}) for session in (whole, other)), strict=True):
        np.testing.assert_allclose(two, one, atol=0.01 * np.abs(one).max())


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--pack", "page.html"], "belong together"),
        (["--models", "L1_DNN1_DNN1"], "belong together"),
        (["--pack", "page.html", "--models", "L9_DNN1_DNN1"], "L9_DNN1_DNN1: no such model in"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(results, tmp_path, monkeypatch, capsys, words, error):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(view, "runtime", lambda folder: runtime.Runtime("", b""))
    assert main(["view", str(results), *words]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "ERROR" in line]
    assert error in line
    assert not list(tmp_path.iterdir())


@contextlib.contextmanager
def opened(address, **options):
    """A page whose models have answered once; what it logs, and asks for."""
    pytest.importorskip("playwright", reason="Playwright is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_context(**options).new_page()
        said, asked = [], []
        # The tests read pictures back, the page does not.
        opened.on("console", lambda message: "readback" in message.text or said.append(message.text))
        opened.on("pageerror", lambda error: said.append(str(error)))
        opened.on("request", lambda request: asked.append(request.url))
        opened.goto(address)
        opened.wait_for_selector("body[data-answered]", timeout=60_000)
        yield opened, asked
        assert said == []
        browser.close()


def pixels(opened):
    """What the models see, `uint8 [3, 32, 32]`."""
    values = opened.evaluate("() => window.seenPixels()")
    return np.array(values, np.uint8).reshape(1, 3, 32, 32)


def stroke(opened, points):
    box = opened.locator(".paper").bounding_box()
    (x, y), *rest = points
    opened.mouse.move(box["x"] + x, box["y"] + y)
    opened.mouse.down()
    for x, y in rest:
        opened.mouse.move(box["x"] + x, box["y"] + y, steps=5)
    opened.mouse.up()
    settle(opened)


def settle(opened):
    """Wait until the last stroke is answered."""
    opened.wait_for_selector("body[data-state=idle]")


READ = "each => Array.from(each.getContext('2d').getImageData(0, 0, each.width, each.height).data)"


def picture(opened, selector):
    """A canvas of the page, `float [3, 32, 32]` from 0 to 1."""
    values = opened.eval_on_selector(selector, READ)
    return np.array(values).reshape(32, 32, 4)[..., :3].transpose(2, 0, 1) / 255


def keys_of(opened, selector):
    return opened.eval_on_selector_all(selector, "all => all.map(each => each.dataset.key)")


def computed(results, key, images):
    """Codes and their reconstruction by onnxruntime in Python."""
    label, seed = key.rsplit(".", 1)
    encoder, decoder = (
        onnxruntime.InferenceSession(results / f"models/{label}/seed{seed}/{side}.onnx") for side in server.SIDES
    )
    mean, log_variance = encoder.run(None, {encoder.get_inputs()[0].name: images})
    return mean, log_variance, decoder.run(None, {decoder.get_inputs()[0].name: mean})[0]


def agrees(opened, results, tolerance):
    """Whether codes, KLD and reconstruction of A and B are those of Python, for the same pixels."""
    images = pixels(opened)
    keys = dict(re.findall(r"([ab])=([^&]+)", opened.url))
    for side in "ab":
        name = opened.locator(f"#drawing .model.{side} h3").inner_text()
        label, seed = re.search(r"(L\S+), seed (\d+)", name).groups()
        assert keys.get(side, f"{label}.{seed}") == f"{label}.{seed}"
        mean, log_variance, reconstruction = computed(results, f"{label}.{seed}", images)
        found = opened.locator(f"#drawing .model.{side}").get_attribute("data-mean")
        np.testing.assert_allclose(np.array(found.split(","), float), mean[0], atol=tolerance)
        kld = float(opened.locator(f"#drawing .model.{side} [data-kld]").get_attribute("data-kld"))
        wanted = (mean**2 + np.exp(log_variance) - 1 - log_variance).sum() / 2
        assert kld == pytest.approx(wanted, abs=10 * tolerance)
        # By the likelihood of this study, a Gaussian; the page draws other codes, which hardly matters to its mean.
        distortion = float(opened.locator(f"#drawing .model.{side} [data-distortion]").get_attribute("data-distortion"))
        errors = (images / 255 - reconstruction) / 0.1
        assert distortion == pytest.approx((errors**2 / 2 + np.log(0.1) + np.log(2 * np.pi) / 2).sum(), rel=0.1)
        shown = picture(opened, f"#drawing .model.{side} canvas[data-side={side}]")
        np.testing.assert_allclose(shown, reconstruction[0], atol=1 / 255 + tolerance)


@BROWSER
def test_a_stroke_is_answered_as_onnxruntime_in_python_answers_its_pixels(results):
    ready = runtime.runtime(DIST)
    payload = view._payload([(results, table(results))]) | {"live": {"wasm": "/runtime.wasm", "models": "/models/"}}
    html = page.render("title", [], payload, ready).encode()
    files = server.models([(results, table(results))]) | {"/": lambda: html, "/runtime.wasm": lambda: ready.wasm}
    with (
        serving(files, page.policy(payload, ready, served=True)) as port,
        opened(f"http://127.0.0.1:{port}/", viewport={"width": 1280, "height": 3000}) as (viewed, asked),
    ):
        settle(viewed)
        viewed.get_by_role("button", name="clear").click()
        viewed.locator("input[type=color]").fill("#20c040")
        stroke(viewed, [(60, 60), (200, 80), (120, 220)])
        seen = pixels(viewed)
        assert seen[0, 1].max() > 100 > seen[0, 0].max()
        agrees(viewed, results, 1e-4)
        # What another model makes of the same drawing, chosen in the table by keyboard.
        key = next(key for key in keys_of(viewed, "#table tr[data-key]") if "L3_DNN1_DNN1" in key)
        viewed.locator(f"tr[data-key='{key}'] button").first.focus()
        viewed.keyboard.press("Enter")
        settle(viewed)
        assert (pixels(viewed) == seen).all()
        agrees(viewed, results, 1e-4)
        # The grid: what is collapsed looks alike whatever is drawn, and nothing else does.
        before = cells(viewed)
        viewed.get_by_role("button", name="a test image").click()
        settle(viewed)
        after = cells(viewed)
        collapsed = {f"{row.label}.{row.seed}": row.collapsed for row in table(results).itertuples()}
        assert len(before) == 4
        change = {False: [], True: []}
        for key, (image, dashed) in before.items():
            assert dashed == collapsed[key]
            change[dashed].append(np.abs(image - after[key][0]).mean())
        assert max(change[True]) < 0.01 < min(change[False]), change
        # Every dimension has a slider, and moving one changes the picture.
        assert viewed.locator("#traversal .strips input").count() == 3
        was = picture(viewed, "#traversed")
        viewed.locator("#traversal .strips input").first.focus()
        viewed.keyboard.press("End")
        viewed.wait_for_timeout(300)
        assert np.abs(picture(viewed, "#traversed") - was).max() > 0.02
        assert {url.split("/")[2] for url in asked if url.startswith("http")} == {f"127.0.0.1:{port}"}
        viewed.set_viewport_size({"width": 400, "height": 800})
        assert viewed.evaluate("() => document.documentElement.scrollWidth") <= 400


def cells(viewed):
    """The pictures of the grid of latent size 3, and whether their frame is dashed, by model."""
    if not viewed.locator("#drawing details[open]").count():
        viewed.locator("#drawing summary").click()
        viewed.select_option("select[aria-label='latent size of the grid']", "3")
        settle(viewed)
        viewed.wait_for_timeout(500)
        settle(viewed)
    found = {}
    for key in keys_of(viewed, ".grid canvas"):
        cell = f".grid canvas[data-key='{key}']"
        found[key] = picture(viewed, cell), "dashed" in viewed.locator(cell).get_attribute("class")
    return found


@BROWSER
def test_a_pack_works_from_a_file_and_asks_for_nothing(results, tmp_path, monkeypatch):
    best, worst = table(results)["label"].iloc[[0, 3]]
    pack, chosen = tmp_path / "pack.html", [best, f"{worst}.0"]
    words = [str(results), "--runtime", str(DIST), "--pack", str(pack), "--models", *chosen]
    assert main(["view", *words]) == 0
    assert pack.read_text() == view._packed([(results, table(results))], chosen, runtime.runtime(DIST))
    address, options = f"file://{pack}", {"offline": True, "viewport": {"width": 1280, "height": 3000}}
    with opened(f"{address}#a={best}.0&b={worst}.0", **options) as (viewed, asked):
        settle(viewed)
        stroke(viewed, [(60, 60), (200, 80)])
        agrees(viewed, results, 0.05)
        assert [url.split("#")[0] for url in asked if not url.startswith(("data:", "blob:"))] == [address]


def test_two_studies_have_one_page(results):
    payload = view._payload([(results, table(results))] * 2)
    assert len(payload["studies"]) == 2
    title, sentences = view._findings([(results, table(results))] * 2)
    assert title == "2 studies beside each other"
    assert len(sentences) == 2
    assert {study["name"] for study in payload["studies"]} == {str(results)}
    assert base64.b64decode(payload["studies"][0]["details"][0]["plane"]["points"])


@BROWSER
def test_models_of_two_studies_stand_in_one_table_and_one_pair(results, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(results, other)
    payload = view._payload([(results, table(results)), (other, table(other))])
    payload["live"] = {"wasm": "/runtime.wasm", "models": "/models/"}
    ready = runtime.runtime(DIST)
    html = page.render("title", [], payload, ready).encode()
    files = server.models([(results, table(results)), (other, table(other))])
    files |= {"/": lambda: html, "/runtime.wasm": lambda: ready.wasm}
    with (
        serving(files, page.policy(payload, ready, served=True)) as port,
        opened(f"http://127.0.0.1:{port}/", viewport={"width": 1280, "height": 3000}) as (viewed, asked),
    ):
        names = viewed.eval_on_selector_all("#table tbody tr", "rows => rows.map(row => row.cells[1].textContent)")
        assert sorted(names) == sorted([str(results)] * 8 + [str(other)] * 8)
        viewed.locator("#drawing summary").click()
        settle(viewed)
        key = next(key for key in keys_of(viewed, "#table tr[data-key]") if key.startswith("1:L3"))
        viewed.locator(f"tr[data-key='{key}'] button").first.click()
        settle(viewed)
        assert str(other) in viewed.locator("#drawing .model.a h3").inner_text()
        assert {cell.split(":")[0] for cell in keys_of(viewed, ".grid canvas")} == {"1"}  # the grid is of A's study
        assert any("/models/1/" in url for url in asked)
        viewed.locator("#filters").get_by_role("button", name=str(other)).click()
        assert viewed.locator("#table tbody tr").count() == 8
