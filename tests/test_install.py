"""The package installs offline beside existing packages, and without a C compiler; its sdist tests itself."""

from __future__ import annotations

import json
import shutil
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.commands import ROOT, run_python


def _copied(folder: Path) -> Path:
    ignored = shutil.ignore_patterns(".git", ".venv*", ".*_cache", "build", "*.egg-info", "*.so", "__pycache__", "demo")
    return shutil.copytree(ROOT, folder / "tree", ignore=ignored)


def test_an_sdist_has_every_file_of_the_tests_and_what_they_read(tmp_path: Path) -> None:
    pytest.importorskip("setuptools")
    tree = _copied(tmp_path)
    code = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    run_python("-c", code, tmp_path, cwd=tree, code=0)
    (sdist,) = tmp_path.glob("mmtk-*.tar.gz")
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    folders = ["tests", "benchmarks", "docs", "mmtk", "src_ext", ".ci", ".github"]
    written = {path.relative_to(tree).as_posix() for top in folders for path in (tree / top).rglob("*.*")}
    written = {name for name in written if not name.startswith("docs/api/generated")}
    assert not {*written, "Makefile", "CITATION.cff", "CHANGELOG.md", "setup.cfg", "setup.py"} - packed


@pytest.mark.slow
def test_without_a_compiler_the_numba_kernels_take_over(tmp_path: Path) -> None:
    tree = _copied(tmp_path)
    offline = ["-q", "--no-deps", "--no-build-isolation", "--no-index"]
    without = {"CC": "no-such-compiler", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    run_python("-m", "pip", "wheel", *offline, "-w", tmp_path, tree, env=without, code=0)
    (wheel,) = tmp_path.glob("mmtk-*.whl")
    assert ("-cp311-abi3-" in wheel.name) is not bool(sysconfig.get_config_var("Py_GIL_DISABLED")), wheel.name
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
