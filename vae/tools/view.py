"""Explore studies in the browser, and encode what you draw; or write one HTML file that contains models."""

import argparse
import base64
import getpass
import gzip
import logging
import os
import platform
import webbrowser
from pathlib import Path

import pandas as pd

from export.half import halved
from vae.analysis import table
from vae.errors import UserError
from vae.files import write_text
from vae.grid import Spec, folder
from vae.report.explore import content, page, server
from vae.report.explore.runtime import Runtime, runtime

log = logging.getLogger(__name__)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The folders of studies, and where to show or to write them."""
    parser.add_argument(
        "results", type=Path, nargs="*", default=[Path("results")], help="results of studies (default: results)"
    )
    parser.add_argument(
        "--port", type=int, default=0, help="port of the page on this machine (default: any that is free)"
    )
    parser.add_argument("--no-browser", action="store_true", help="print the address, and open no browser")
    parser.add_argument(
        "--runtime", type=Path, metavar="FOLDER", help="the folder `dist` of onnxruntime-web, if there is no npm"
    )
    parser.add_argument(
        "--pack", type=Path, metavar="PAGE", help="write one HTML file that contains models, and serve nothing"
    )
    parser.add_argument(
        "--models",
        nargs="+",
        metavar="LABEL",
        help="the models in that file, such as L50_DNN1_CNN4, or L50_DNN1_CNN4.1 for seed 1",
    )


def run(args: argparse.Namespace) -> None:
    """Serve the page until it is interrupted, or write it."""
    if bool(args.pack) != bool(args.models):
        raise UserError("--pack PAGE and --models LABEL … belong together")
    studies = [(results, table.read(results / "tables/models.csv")) for results in args.results]
    if args.pack:
        write_text(args.pack, _packed(studies, args.models, runtime(args.runtime)))
        print(f"{args.pack}: {args.pack.stat().st_size / 1e6:.1f} MB")
        return
    _serve(studies, args)


def _payload(studies: list[tuple[Path, pd.DataFrame]]) -> dict:
    """The content of the page: the studies by the names of their folders, as several may be of one dataset."""
    of_studies = [content.study(results, results / "data/dataset.npz", rows, live=True) for results, rows in studies]
    return {"studies": [study | {"name": str(results)} for study, (results, _) in zip(of_studies, studies)]}


def _findings(studies: list[tuple[Path, pd.DataFrame]]) -> tuple[str, list[str]]:
    """The title and the sentences of the page: those of a study; of several, what each finds."""
    findings = [page.findings(results, table.base(rows)) for results, rows in studies]
    if len(findings) == 1:
        return findings[0][0], findings[0][1:]
    return f"{len(findings)} studies beside each other", [
        f"{results}: {title}." for (results, _), (title, *_) in zip(studies, findings, strict=True)
    ]


def _serve(studies: list[tuple[Path, pd.DataFrame]], args: argparse.Namespace) -> None:
    title, sentences = _findings(studies)
    payload, files, ready = _payload(studies), server.models(studies), None
    try:
        ready = runtime(args.runtime)
    except UserError as error:
        # All but the models themselves can be looked at without.
        log.warning("%s", error)
        sentences = [*sentences, f"To draw, and to run models here: {error}."]
    if ready:
        payload["live"], wasm = {"wasm": "/runtime.wasm", "models": "/models/"}, ready.wasm
        files["/runtime.wasm"] = lambda: wasm
    html = page.render(title, sentences, payload, ready).encode()
    served = server.server(files | {"/": lambda: html}, page.policy(payload, ready, served=True), args.port)
    address = f"http://{server.ADDRESS}:{served.server_port}/"
    print(f"{address} (Ctrl-C ends)", flush=True)
    if "SSH_CONNECTION" in os.environ or "SLURM_JOB_ID" in os.environ:
        forwarded = f"{served.server_port}:{server.ADDRESS}:{served.server_port}"
        print(f"On your machine: ssh -L {forwarded} {_login()}", flush=True)
    elif not args.no_browser:
        webbrowser.open(address)
    try:
        served.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        served.server_close()


def _login() -> str:
    """This user and machine, as ssh takes them; the machine alone where the user has no name, as in a container."""
    try:
        return f"{getpass.getuser()}@{platform.node()}"
    except (KeyError, OSError):
        return platform.node()


def _packed(studies: list[tuple[Path, pd.DataFrame]], names: list[str], ready: Runtime) -> str:
    """The page with the runtime and these models in it, their weights of half precision."""
    payload, packed, missing = _payload(studies), {}, set(names)
    for place, (results, rows) in enumerate(studies):
        usable = rows[rows["status"] == "ok"].sort_values("seed", kind="stable")
        models = {f"{row['label']}.{row['seed']}": row for _, row in usable.iterrows()}
        for name in names:
            # The first seed, where none is named.
            key = next((key for key in models if name in (key, models[key]["label"])), None)
            if key:
                path = folder(results / "models", Spec.parse(models[key]["label"]), models[key]["seed"])
                graphs = {side: halved((path / f"{side}.onnx").read_bytes()) for side in server.SIDES}
                packed[f"{place}/{key}"] = {side: _deflated(graph) for side, graph in graphs.items()}
                missing.discard(name)
    if missing:
        raise UserError(f"{min(missing)}: no such model in {', '.join(str(results) for results, _ in studies)}")
    payload["live"] = {"wasm": _deflated(ready.wasm), "packed": packed}
    return page.render(*_findings(studies), payload, ready)


def _deflated(raw: bytes) -> str:
    return base64.b64encode(gzip.compress(raw, 9, mtime=0)).decode()
