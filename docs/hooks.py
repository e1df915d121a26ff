"""Let the site have the pages and files of the repository that its pages link to.

Pages link to files by their paths in the repository, so that they are readable on GitHub. On the site a page outside of
docs/, like CONTRIBUTING.md, is a page, and another file, like config.yaml, is a file. A link to a folder is its text
alone.
"""

import re
from pathlib import Path
from posixpath import normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

DOCS = Path(__file__).parent
ROOT = DOCS.parent
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is linked to, and what that links to."""
    waiting = [file.src_uri for file in files.documentation_pages()]
    while waiting:
        uri = waiting.pop()
        text = in_repository(uri).read_text(encoding="utf-8")
        for target in {uri_of(match[3], uri) for match in LINK.finditer(text)}:
            if not files.get_file_from_path(target) and in_repository(target).is_file():
                files.append(File.generated(config, target, abs_src_path=str(in_repository(target))))
                waiting += [target] if target.endswith(".md") else []
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links lead to where their targets are on the site."""

    def moved(match: re.Match) -> str:
        image, text, path, anchor = match.groups()
        target = uri_of(path, page.file.src_uri)
        if in_repository(target).is_dir():
            return text
        return f"{image}[{text}]({relpath(target, str(Path(page.file.src_uri).parent))}{anchor or ''})"

    return LINK.sub(moved, markdown)


def in_repository(uri: str) -> Path:
    """Where a page or file of the site is in the repository: in docs/, or else from its top."""
    return DOCS / uri if (DOCS / uri).exists() else ROOT / uri


def uri_of(link: str, page: str) -> str:
    """Where on the site the target of a link of a page is; the README of the repository is the first page."""
    path = normpath(in_repository(page).parent.relative_to(ROOT) / link)
    return path.removeprefix("docs/")
