"""The documentation: its links, the site, the pages that are generated, and the code in them."""

import contextlib
import doctest
import importlib.util
import inspect
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, own_family

import export
import vae
from vae.cli import main

PAGES = [page for folder in (".", "config", "benchmarks") for page in (ROOT / folder).glob("*.md")]
PAGES += (ROOT / "docs").rglob("*.md")
LINK = re.compile(r"\[[^\]]*\]\((?![a-z]+:)([^)#\s]*)(?:#([^)\s]*))?\)")


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / page).read_text(), re.S)


def anchors(page):
    """Of its headings, as GitHub and the site make them."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.S), re.M)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title) for title in titles)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page):
    for path, anchor in LINK.findall(re.sub(r"```.*?```", "", page.read_text(), flags=re.S)):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{path} is not there"
        if anchor:
            assert anchor in anchors(target), f"{path}#{anchor}: no such heading"


def test_the_site_builds_without_a_warning_and_has_what_its_pages_link_to(tmp_path):
    pytest.importorskip("mkdocs")
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", site]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    # Pages and files outside of docs/, and a signature.
    assert "Where things live" in (site / "CONTRIBUTING/index.html").read_text()
    assert (site / "config.yaml").read_bytes() == (ROOT / "config.yaml").read_bytes()
    assert "encode_file" in (site / "reference/python/index.html").read_text()
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img)[^>]* src="?(https?:[^ ">]*)', page.read_text())
        assert not loaded, f"{page} loads {loaded}"


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="argparse lays out its help in another way there")
@pytest.mark.parametrize("page", ["commands.md", "figures.md"])
def test_a_page_of_the_reference_is_what_the_code_says(page, monkeypatch):
    monkeypatch.setenv("COLUMNS", "")
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert (ROOT / "docs/reference" / page).read_text() == generate.PAGES[page]()


def test_the_table_of_predicted_collapse_is_what_its_code_prints():
    (code,) = blocks("explanation/collapse.md", "python")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {})
    assert len(printed.getvalue().splitlines()) == 15
    assert printed.getvalue() in (ROOT / "docs/explanation/collapse.md").read_text()


ENTRY_POINTS = {
    "export.Encoder": export.Encoder,
    "export.Encoder.load": export.Encoder.load,
    "export.Encoder.encode": export.Encoder.encode,
    "export.Encoder.encode_file": export.Encoder.encode_file,
    "export.Decoder": export.Decoder,
    "export.Decoder.load": export.Decoder.load,
    "export.Decoder.decode": export.Decoder.decode,
    "export.Model": export.Model,
    "export.Model.load": export.Model.load,
    "export.LatentTransformer": export.LatentTransformer,
    "export.save": export.save,
    "vae.train": vae.train,
    "vae.load_study": vae.load_study,
    "vae.Study": vae.Study,
    "vae.load_dataset": vae.load_dataset,
    "vae.load_families": vae.load_families,
}


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_an_entry_point_documents_what_it_takes_gives_and_raises(name):
    """In the sections of NumPy's style; a class that a function makes documents its attributes."""
    documented = ENTRY_POINTS[name]
    sections = dict(re.findall(r"^(\w+)\n-+\n(.*?)(?=^\w+\n-+\n|\Z)", inspect.getdoc(documented), re.S | re.M))
    if isinstance(documented, type) and documented is not export.LatentTransformer:
        assert "Attributes" in sections
        return
    signature = inspect.signature(documented)
    taken = {str(parameter).split(":")[0] for parameter in signature.parameters.values()} - {"self", "cls"}
    assert taken == set(re.findall(r"^(\*{0,2}\w+)(?= :|$)", sections.get("Parameters", ""), re.M))
    if signature.return_annotation is not None and not isinstance(documented, type):
        assert "Returns" in sections
    assert {"Raises", "Examples"} <= set(sections)


@pytest.fixture(scope="module")
def examples(checkout, tmp_path_factory):
    """A folder with what the examples of docstrings name: a model, the results of a study, a file of families."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "results").symlink_to(checkout / "results")
    (folder / "families.py").write_text(own_family())
    images = np.random.default_rng(0).integers(0, 256, (200, 8, 8), np.uint8)
    export.save(vae.train("L2_DNN1_DNN1", images, {"training": {"epochs": 1}}), folder / "my_model", images)
    return folder, vars(export) | {"vae": vae, "export": export, "np": np, "images": images}


@pytest.mark.parametrize("name", [name for name in ENTRY_POINTS if ">>>" in ENTRY_POINTS[name].__doc__])
def test_the_example_of_an_entry_point_works(name, examples, monkeypatch):
    folder, names = examples
    monkeypatch.chdir(folder)
    found = doctest.DocTestFinder(recurse=False).find(ENTRY_POINTS[name], name, globs=dict(names))
    runner = doctest.DocTestRunner()
    assert [runner.run(test).attempted > 0 for test in found] == [True]
    assert runner.failures == 0


def test_the_tutorial_works(checkout, tmp_path, monkeypatch, capsys):
    """On the study of the tests in place of the quick one, of which another test has the plan."""
    shutil.copytree(checkout / "results", tmp_path / "quick/results", symlinks=True)
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/tutorial.md").read_text().replace("L50_CNN2_DNN1", "L4_CNN2_DNN1")
    names = {}
    commands = []
    for language, code in re.findall(r"```(python|sh)\n(.*?)```", text, re.S):
        if language == "python":
            exec(code, names)
            continue
        for line in code.splitlines():
            if line.startswith("vae "):
                commands.append(line.split()[1])
                assert main(shlex.split(line)[1:]) == 0, line
    assert commands == ["status", "models", "encode"]
    assert names["images"].shape == (500, 28, 28)
    assert names["mean"].shape == (500, 4)
    assert Path("reconstructions.png").stat().st_size > 1000
    assert Path("codes.npy").is_file()
    assert "active units of 4" in capsys.readouterr().out
