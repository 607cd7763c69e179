"""The examples of the public names: every name of docs/api has one, and it prints what its docstring says."""

from __future__ import annotations

import doctest
import re
import shutil
from importlib import import_module
from pathlib import Path

import pytest

import mmtk

PAGES = Path(__file__).resolve().parents[1] / "docs" / "api"
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
LISTED = re.compile(r"^ *(mmtk(?:\.\w+)+) *$", re.MULTILINE)
NAMES = sorted({name for page in PAGES.glob("*.md") for name in LISTED.findall(page.read_text())})


def resolve(name: str) -> object:
    """The object of a dotted name."""
    here, *rest = name.split(".")
    value: object = import_module(here)
    for part in rest:
        here = f"{here}.{part}"
        value = getattr(value, part) if hasattr(value, part) else import_module(here)
    return value


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the examples expect it: synthetic sources, their stores, an .npz and a finished run."""
    from mmtk.phantom import write_phantom
    from mmtk.store import export_npz
    from tests.small_runs import write_small_run

    folder = tmp_path_factory.mktemp("examples")
    for flag in ("breastmnist", "dermamnist"):
        write_phantom(flag, folder / "sources", scale=0.01)
        mmtk.build(flag, sources=folder / "sources", out=folder / "stores", allow_partial=True, workers=1)
    path = folder / "stores" / "breastmnist_28.h5"
    export_npz(mmtk.open(path), folder)
    write_small_run(path, folder / "runs" / "resnet18_28_seed0")
    write_small_run(path, folder / "runs" / "resnet50_28_seed0", model="resnet50", skill=2.0)
    return folder


def test_the_reference_lists_names() -> None:
    assert len(NAMES) > 50


@pytest.mark.parametrize("name", NAMES)
def test_example(name: str, examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value = resolve(name)
    folder = tmp_path / "examples"
    shutil.copytree(examples, folder)
    monkeypatch.chdir(folder)
    tests = [test for test in doctest.DocTestFinder(recurse=True).find(value, name) if test.examples]
    assert tests, f"{name} has no example"
    printed: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    for test in tests:
        test.globs = {}
        runner.run(test, out=printed.append)
    assert not printed, "".join(printed)
