"""The site's pages and README: links and anchors lead somewhere, notebooks run, every public name has its entry."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import mmtk

LINES = re.MULTILINE | re.DOTALL
ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(p for p in DOCS.rglob("*.md") if not {"_build", "generated"} & set(p.parts))]
NOTEBOOKS = [page for page in PAGES if "```{code-cell}" in page.read_text(encoding="utf-8")]
FENCE = re.compile(r"^(```+|:::+).*?^\1\s*$", LINES)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def prose(page: Path) -> str:
    """A page without its code."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))


def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"^```\{include\} (.+)$", text, re.MULTILINE):
        text += (page.parent / name).read_text(encoding="utf-8")
    headings = re.findall(r"^#+ +(.+?) *$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading.lower())) for heading in headings}


def problem(page: Path, link: str) -> str:
    """What is wrong with a link, empty if nothing is."""
    parts = urlsplit(link)
    if parts.scheme:
        good = parts.scheme in ("http", "https") and re.fullmatch(r"[\w.-]+\.[a-z]+(:\d+)?", parts.netloc)
        return "" if good else "no address of the web"
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not target.exists():
        return "no such file"
    if ROOT not in target.parents:
        return "outside the project"
    return "" if not parts.fragment or parts.fragment in anchors(target) else "no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    links = LINK.findall(prose(page))
    assert {link: said for link in links if (said := problem(page, link))} == {}


def test_every_page_is_in_a_table_of_contents() -> None:
    listed = set()
    for page in PAGES:
        for body in re.findall(r"^```\{toctree\}\n(.*?)^```", page.read_text(encoding="utf-8"), LINES):
            names = [line for line in body.splitlines() if line and not line.startswith(":")]
            listed |= {(page.parent / f"{name.rpartition('<')[2].rstrip('>')}.md").resolve() for name in names}
    assert set(PAGES) - listed == {ROOT / "README.md", DOCS / "index.md"}


def test_the_reference_has_every_name_on_top() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "api").glob("*.md"))
    named = set(re.findall(r"^ +mmtk\.(\w+)", text, re.MULTILINE))
    assert set(mmtk.__all__) <= named


def program(notebook: Path) -> str:
    """A notebook's cells as one program that also asks for what each cell shows."""
    cells = re.findall(r"^```\{code-cell\}[^\n]*\n(.*?)^```", notebook.read_text(encoding="utf-8"), LINES)
    bodies = [re.sub(r"\A(:[^\n]*\n)+", "", cell) for cell in cells]
    return f"CELLS = {bodies!r}\n" + """
import ast, importlib.util, sys, types
import matplotlib
matplotlib.use("Agg")
if not importlib.util.find_spec("IPython"):  # comes with what makes the site
    sys.modules["IPython.display"] = types.SimpleNamespace(Image=dict, HTML=str)
for cell in CELLS:
    tree = ast.parse(cell)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), globals())
    if last is not None:
        shown = eval(compile(ast.Expression(last.value), "cell", "eval"), globals())
        getattr(shown, "_repr_html_", shown.__repr__)()
"""


@pytest.mark.slow
@pytest.mark.parametrize("notebook", [page for page in NOTEBOOKS if page.stem != "train"], ids=lambda page: page.stem)
def test_notebook_runs(notebook: Path, tmp_path: Path) -> None:
    """`make docs` runs them all; the one that trains is left to it."""
    for needed in ("torch", "matplotlib", "jinja2"):
        pytest.importorskip(needed)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", program(notebook)], cwd=tmp_path, env=environment, capture_output=True, text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
