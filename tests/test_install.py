"""The package installs offline beside existing packages, and without a C compiler."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_without_a_compiler_the_numba_kernels_take_over(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    ignored = shutil.ignore_patterns(".*", "build", "*.egg-info", "*.so", "__pycache__", "demo")
    shutil.copytree(ROOT, tree, ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    environment = {**os.environ, "CC": "no-such-compiler", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    command += ["-w", str(tmp_path), str(tree)]
    built = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert built.returncode == 0, built.stderr
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
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120)
    assert json.loads(told.stdout)["kernels"] == "numba", told.stderr
