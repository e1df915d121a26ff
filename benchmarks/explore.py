"""How soon the explore page opens, how large it is, and how soon the models on it answer a stroke.

    python benchmarks/explore.py [RESULTS] [--models 100 1000] [--runtime FOLDER] [--json FILE]

The page of a finished study, its rows repeated to so many models, is opened in Chromium without a network: from the
address to the table, the median of several. Then it is served with its models, as `vae view` does: from the address to
the first answer of A and B, of a test image; and, as the page measures them itself, from the first stroke to its
answer, from the choice of a model that has yet to be fetched to its answer, and from strokes to the pictures of every
encoder and decoder of a latent size.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import pandas as pd
from playwright.sync_api import Browser, Page, sync_playwright

from vae.analysis import table
from vae.report.explore import content, page, server
from vae.report.explore.runtime import runtime

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-headless-shell"))), None)
REPEATS = 5


def repeated(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    """A table of that many models: the given ones, again and again."""
    return pd.concat([rows] * -(-count // len(rows)), ignore_index=True).head(count)


def opening(browser: Browser, html: str, scratch: Path) -> float:
    """Seconds from the address to the table, the median."""
    (scratch / "page.html").write_text(html)
    seconds = []
    for _ in range(REPEATS):
        opened = browser.new_context(offline=True).new_page()
        start = perf_counter()
        opened.goto(f"file://{scratch}/page.html")
        opened.wait_for_selector("#table tbody tr")
        seconds.append(perf_counter() - start)
        opened.close()
    return statistics.median(seconds)


@contextmanager
def serving(results: Path, rows: pd.DataFrame, folder: Path | None) -> Iterator[str]:
    """The address of the page of a study, with its models."""
    ready = runtime(folder)
    payload = {"studies": [content.study(results, results / "data/dataset.npz", rows)]}
    payload["live"] = {"wasm": "/runtime.wasm", "models": "/models/"}
    html = page.render("study", [], payload, ready).encode()
    files = server.models([(results, rows)]) | {"/": lambda: html, "/runtime.wasm": lambda: ready.wasm}
    served = server.server(files, page.policy(payload, ready, served=True), 0)
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    yield f"http://{server.ADDRESS}:{served.server_port}/"
    served.shutdown()
    thread.join()


def answering(browser: Browser, address: str) -> dict[str, float]:
    """Milliseconds of the first answers, and of strokes with the pictures of all encoders and decoders."""
    opened = browser.new_page(viewport={"width": 1280, "height": 2400})
    start = perf_counter()
    opened.goto(address)
    opened.wait_for_selector("body[data-answered]", timeout=60_000)
    first = {"first_ms": 1000 * (perf_counter() - start), "first_stroke_ms": _stroke(opened, 0)}
    rows = opened.locator("#table tbody tr")
    rows.nth(rows.count() // 2).locator("button").first.click()
    first["chosen_ms"] = _answered(opened)
    opened.locator("#drawing summary").click()
    opened.wait_for_timeout(5000)  # models are fetched
    taken = [_stroke(opened, number) for number in range(2 * REPEATS)]
    cells = opened.locator(".grid canvas").count()
    return first | {"cells": cells, "stroke_ms": statistics.median(taken), "worst_ms": max(taken)}


def _stroke(opened: Page, number: int) -> float:
    """Milliseconds from a stroke to its answer."""
    box = opened.locator(".paper").bounding_box()
    assert box
    opened.mouse.move(box["x"] + 60 + 10 * number, box["y"] + 60)
    opened.mouse.down()
    opened.mouse.up()
    return _answered(opened)


def _answered(opened: Page) -> float:
    """Milliseconds of the last answer, once all is answered."""
    opened.wait_for_timeout(300)
    opened.wait_for_selector("body[data-state=idle]")
    if fault := opened.locator("#drawing [role=status]").inner_text():
        raise SystemExit(fault)
    return float(opened.locator("body").get_attribute("data-answered") or "nan")


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs="?", default=Path("results"), help="the folder of a study")
    parser.add_argument("--models", type=int, nargs="+", default=[100, 1000], help="how many models are on the page")
    parser.add_argument("--runtime", type=Path, help="the `dist` of onnxruntime-web; npm fetches it if not given")
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    args = parser.parse_args(arguments)
    rows = table.read(args.results / "tables/models.csv")
    numbers: dict[str, dict[str, float]] = {}
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as scratch:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for count in args.models:
            payload = content.study(args.results, args.results / "data/dataset.npz", repeated(rows, count))
            html = page.render("study", [], {"studies": [payload]})
            numbers[f"{count} models"] = {
                "megabytes": len(html.encode()) / 1e6, "open_s": opening(browser, html, Path(scratch)),
            }  # fmt: skip
        with serving(args.results, rows, args.runtime) as address:
            numbers["drawing"] = answering(browser, address)
        browser.close()
    for name, values in numbers.items():
        print(f"{name}: " + ", ".join(f"{key} {value:,.2f}" for key, value in values.items()))
    if args.json:
        args.json.write_text(json.dumps(numbers, indent=2) + "\n")


if __name__ == "__main__":
    main()
