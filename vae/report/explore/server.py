"""The explore page and the models that it runs, from this machine, to this machine alone, and no other file."""

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd

from vae.errors import UserError
from vae.grid import Spec, folder

ADDRESS = "127.0.0.1"
TYPES = {".onnx": "application/octet-stream", ".wasm": "application/wasm", ".html": "text/html; charset=utf-8"}
SIDES = ("encoder", "decoder")

Answer = Callable[[], bytes]


def models(studies: list[tuple[Path, pd.DataFrame]]) -> dict[str, Answer]:
    """The files that are served of models that did not diverge, for each folder of results and its table, by path."""
    files: dict[str, Answer] = {}
    for place, (results, rows) in enumerate(studies):
        usable = rows[rows["status"] == "ok"]
        for label, seed in zip(usable["label"], usable["seed"], strict=True):
            for side in SIDES:
                file = folder(results / "models", Spec.parse(label), seed) / f"{side}.onnx"
                files[f"/models/{place}/{label}.{seed}/{side}.onnx"] = _inside(results, file)
    return files


def _inside(results: Path, file: Path) -> Answer:
    def read() -> bytes:
        # A link may have been put there since.
        if not file.resolve().is_relative_to(results.resolve()):
            raise FileNotFoundError(file)
        return file.read_bytes()

    return read


def server(files: dict[str, Answer], policy: str, port: int) -> ThreadingHTTPServer:
    """A server of these answers, by their paths, with the page at `/`; at any free port where `port` is 0.

    `policy` is the page's Content-Security-Policy. UserError where the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "vae", ""

        def do_GET(self) -> None:
            # Another site may have its name lead here, and ask for what only the reader of this page may see.
            if self.headers.get("Host") not in {f"{name}:{served.server_port}" for name in (ADDRESS, "localhost")}:
                self.send_error(403, "not the address of this page")
                return
            answer = files.get(self.path)
            try:
                content = answer() if answer else None
            except OSError:
                content = None
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", TYPES.get(Path(self.path).suffix, TYPES[".html"]))
            self.send_header("Content-Length", str(len(content)))
            for name, value in {
                "Content-Security-Policy": policy,
                "X-Content-Type-Options": "nosniff",
                "Cross-Origin-Resource-Policy": "same-origin",
                "Referrer-Policy": "no-referrer",
                "Cache-Control": "no-store",
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    try:
        served = ThreadingHTTPServer((ADDRESS, port), Handler)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"port {port}: {reason}; choose another with --port") from None
    return served
