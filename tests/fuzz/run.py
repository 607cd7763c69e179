"""Run one target: ``python -m tests.fuzz.run png -max_total_time=600``; the options are libFuzzer's."""

from __future__ import annotations

import importlib
import sys
import tempfile
from functools import partial
from pathlib import Path

import atheris

from tests.fuzz import TARGETS, once


def main() -> None:
    """Take the target's name and libFuzzer's options from the command line."""
    name, *options = sys.argv[1:]
    if name not in TARGETS:
        sys.exit(f"target: expected {', '.join(TARGETS)}, found {name}")
    with atheris.instrument_imports(include=["mmtk"], exclude=["mmtk.imaging._numba_kernels"]):
        target = importlib.import_module(f"tests.fuzz.{name}")
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(target.seeds()):
            Path(corpus, str(number)).write_bytes(seed)
        atheris.Setup([f"fuzz {name}", corpus, "-print_final_stats=1", *options], partial(once, target))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
