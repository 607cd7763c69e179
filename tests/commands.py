"""Ways to run the command line, and other code, as the package that the tests import: in this process or in its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import mmtk
from mmtk.cli import group

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 600  # seconds; a shared machine is slow at times, and what hangs has to end all the same


def environment(**changes: object) -> dict[str, str]:
    """The environment in which a process imports this package; None takes a name away."""
    paths = [str(Path(mmtk.__file__).parents[1]), str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    names = {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(filter(None, paths))), **changes}
    return {name: str(value) for name, value in names.items() if value is not None}


def run_python(
    *arguments: object, code: int | None = None, cwd: Path | None = None, env: dict[str, object] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run this interpreter in a process of its own, which has to end with `code` where one is given."""
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT, cwd=cwd, env=environment(**env or {}), check=False
    )
    assert code is None or done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done


def run_mmtk(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own; options as of `run_python`."""
    return run_python("-m", "mmtk", *arguments, **options)


def invoke(*arguments: object, code: int | None = 0) -> Result:
    """Run the command line in this process; where it has to succeed, its exceptions are raised."""
    result = CliRunner().invoke(group, [str(argument) for argument in arguments], catch_exceptions=code != 0)
    assert code is None or result.exit_code == code, (result.exit_code, result.output, result.exception)
    return result


def peak_of(work: str, *arguments: object, first: str = "") -> tuple[int, str]:
    """MB that a piece of code takes at most beyond what its imports and `first` take, and what it ends with.

    It runs in a process of its own. What getrusage tells would be in vain: it counts what the parent held as it forked.
    """
    if not Path("/proc/self/status").exists():
        pytest.skip("a process's peak of memory is read from /proc, which only Linux has")
    script = f"""
import re, sys
import cv2, deflate, simplejpeg, numpy
from mmtk import store
from mmtk.imaging import probe, probe_volume, read_image, read_volume
from mmtk.errors import MmtkError
path = sys.argv[1]
def peak():
    return int(re.search("VmHWM:\\s*([0-9]+) kB", open("/proc/self/status").read())[1])
{first}
before = peak()
try:
    {work}
    told = "read"
except MmtkError as error:
    told = str(error)
print((peak() - before) // 1024, told)
"""
    grown, _, told = run_python("-c", script, *arguments, code=0).stdout.strip().partition(" ")
    return int(grown), told
