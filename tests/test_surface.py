"""What a user meets first: the import, the help and the errors of the command line."""

from __future__ import annotations

import ast
import pickle
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

import mmtk
from mmtk.errors import ImageError, MmtkError
from tests.commands import run_mmtk, run_python

HEAVY = ("torch", "cv2", "numba", "SimpleITK", "sklearn", "h5py", "matplotlib")


@pytest.mark.parametrize("statement", ["import mmtk", "import mmtk.cli; mmtk.cli.group.list_commands(None)"])
def test_import_pulls_in_nothing_heavy(statement: str) -> None:
    code = f"{statement}\nimport sys\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    assert run_python("-c", code).stdout.strip() == "[]"


def test_public_names_resolve_to_what_the_design_names() -> None:
    assert set(mmtk.__all__) <= set(dir(mmtk))
    for name in mmtk.__all__:
        assert getattr(mmtk, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        mmtk.nothing  # noqa: B018


def test_every_package_is_there_without_importing_it_by_name() -> None:
    root = Path(mmtk.__file__).parent
    packages = {p.parent.name for p in root.glob("*/__init__.py")} - {"cli"}
    code = """
import sys, mmtk
print([m for m in sys.modules if m.startswith("mmtk.")])
rooms = [name for name in dir(mmtk) if type(getattr(mmtk, name)).__name__ == "module"]
print(*rooms)
print([m for m in ("torch", "matplotlib") if m in sys.modules])
print(mmtk.training.fit, mmtk.store.open is mmtk.open, mmtk.scoring.evaluate is mmtk.evaluate)
"""
    before, rooms, heavy, _ = run_python("-c", code, code=0).stdout.splitlines()
    assert (before, heavy) == ("[]", "[]")
    assert packages <= set(rooms.split())


def test_no_module_hides_a_public_function() -> None:
    root = Path(mmtk.__file__).parent
    modules = {p.stem for p in root.rglob("*.py")} | {p.parent.name for p in root.rglob("__init__.py")}
    functions = {n for n in mmtk.__all__ if not isinstance(getattr(mmtk, n), ModuleType)}
    functions |= {n for n in dir(mmtk.imaging) if callable(getattr(mmtk.imaging, n))}
    cli = {p.stem for p in (root / "cli").glob("*.py")}
    assert not {n for n in functions & modules if n not in cli}


def test_help_lists_every_command_and_each_has_help() -> None:
    from mmtk.cli import _COMMANDS

    shown = run_mmtk("--help", code=0).stdout
    for name in _COMMANDS:
        assert f"\n  {name} " in shown
        assert run_mmtk(name, "--help", code=0).stdout.startswith("Usage: mmtk " + name)


@pytest.mark.parametrize(
    "args",
    [["nonsense"], ["build", "nosuchmnist", "--sources", ".", "--out", "x"], ["verify", "missing.h5"],
     ["info", "nothing"], ["import", "missing.npz", "--out", "x"],
     ["export", "missing.h5", "--to", "npz", "--out", "x"],
     ["train", "missing.h5", "--protocol", "isbi21", "--out", "x"], ["evaluate", "missing.csv", "--stores", "."],
     ["match", "missing.h5", "missing.npz"], ["audit", "missing.h5"], ["audit", "nothing"], ["audit", "pathmnist"],
     ["report", "missing", "--out", "page.html"], ["report", ".", "--out", "page.html"], ["report", "."]],
)
def test_bad_usage_is_said_without_a_traceback(args: list[str], tmp_path: Path) -> None:
    done = run_mmtk(*args, cwd=tmp_path)
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr + done.stdout
    assert done.stderr.strip()
    assert not list(tmp_path.iterdir())


def test_doctor_says_which_kernels_are_in_use() -> None:
    import json

    facts = json.loads(run_mmtk("doctor", "--json").stdout)
    assert facts["kernels"] in ("vnni", "avx2", "neon", "plain", "numba")
    assert facts["mmtk"] == mmtk.__version__
    assert "numpy" in facts["packages"]


def test_an_error_is_one_line_and_survives_a_process_boundary() -> None:
    error = ImageError("a\nb.png", "is no image", expected="a PNG", found="text", remedy="fetch it again")
    assert str(error) == "a b.png: is no image; found text, expected a PNG; fetch it again"
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, ImageError)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
    assert str(MmtkError("just this")) == "just this"


@pytest.mark.parametrize("fact", [
    "zenodo.org/records/10519652", "zenodo.org/records/4269852", '"VALIDATION"', '"SYNTHETIC"', '"PARTIAL"',
    "(28, 64, 128, 224)", '"multi-class"', '"multi-label', '"ordinal-regression"', '"train", "val", "test"',
])
def test_a_fact_of_medmnist_stands_in_one_module(fact: str) -> None:
    root = Path(mmtk.__file__).parent
    places = {path.stem for path in root.rglob("*.py") if fact in code_of(path)}
    assert len(places) == 1, places


@cache
def code_of(path: Path) -> str:
    """A module without docstrings and comments, all quotes double."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            node.body[0] = ast.Pass()
    return ast.unparse(tree).replace("'", '"')


@pytest.mark.parametrize("statement", [
    "from mmtk.machine import examine; print(examine().cores)",
    "from mmtk.datasets.sources import choose; print(len(choose(())))",
])
def test_what_commands_tell_can_be_asked_without_click(statement: str) -> None:
    done = run_python("-c", f"{statement}\nimport sys\nassert 'click' not in sys.modules")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0
