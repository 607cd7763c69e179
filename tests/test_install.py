"""The package installs offline beside existing packages, and without a C compiler."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from tests.commands import ROOT, run_python


@pytest.mark.slow
def test_without_a_compiler_the_numba_kernels_take_over(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    ignored = shutil.ignore_patterns(".*", "build", "*.egg-info", "*.so", "__pycache__", "demo")
    shutil.copytree(ROOT, tree, ignore=ignored)
    offline = ["-q", "--no-deps", "--no-build-isolation", "--no-index"]
    without = {"CC": "no-such-compiler", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    run_python("-m", "pip", "wheel", *offline, "-w", tmp_path, tree, env=without, code=0)
    (wheel,) = tmp_path.glob("mmtk-*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    assert not list(site.rglob("*.so"))
    assert list(site.glob("mmtk/datasets/maps/*.csv")), "the official maps are missing from the wheel"
    assert (site / "mmtk" / "report" / "page.html").is_file(), "the report's template is missing from the wheel"

    # what finds the checkout's own extension, where mmtk is installed from it for development, must not help out
    code = (
        "import sys\n"
        "sys.meta_path = [f for f in sys.meta_path if not getattr(f, '__module__', '').startswith('__editable__')]\n"
        "sys.argv = ['mmtk', 'doctor', '--json']\n"
        "from mmtk.cli import main\n"
        "main()\n"
    )
    told = run_python("-c", code, cwd=tmp_path, env={"PYTHONPATH": site})
    assert json.loads(told.stdout)["kernels"] == "numba", told.stderr
