"""A worker: imports all once, then does the jobs it is told on standard input, a line of JSON each."""

from __future__ import annotations

import gc
import hashlib
import importlib
import json
import os
import shutil
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np

# imported before the first fork, so that no child pays for them
_HEAVY = (
    "cv2", "h5py", "simplejpeg", "deflate", "isal.igzip", "scipy.ndimage", "sklearn.ensemble", "sklearn.linear_model",
    "sklearn.svm", "sklearn.neighbors", "sklearn.model_selection", "threadpoolctl", "pooch", "requests", "rich.progress",
    "matplotlib.pyplot", "jinja2", "torch", "mmtk.builder", "mmtk.store", "mmtk.matching",
    "mmtk.training.decathlon", "mmtk.training.search", "mmtk.training.methods", "mmtk.loader", "mmtk.report", "mmtk.scoring",
    "mmtk.phantom", "mmtk.imaging", "mmtk.scoring._resampling", *(
        f"mmtk.cli.{name}" for name in ("build", "datasets", "decathlon", "matching", "phantoms", "report", "scores",
                                        "stores", "training")
    ),
)


def _do(job: dict[str, Any], shim: Any) -> dict[str, Any]:
    """Do one job; the answer is a tally."""
    from tests.torture.tally import Tally

    inputs, work, seed = Path(job["inputs"]), Path(job["work"]), int(job["seed"])
    work.mkdir(parents=True)
    try:
        if job["kind"] == "mutants":
            from tests.torture.kinds import MUTANTS
            from tests.torture.mutants import try_mutants

            numbers = range(job["start"], job["stop"])
            return try_mutants(job["name"], MUTANTS[job["name"]][1], inputs, work, seed, numbers).to_json()
        from tests.torture.commands import COMMANDS
        from tests.torture.faults import Bench, Fault

        command = COMMANDS[job["name"]]
        tally = Tally(command.section, faults=True)
        if command.section == "fetch":
            _publish(inputs / "npz" / "breastmnist.npz")
        bench = Bench(command, inputs, work, job["url"], shim)
        if "fault" in job:
            faults = [Fault.parse(job["fault"])]
        else:
            rng = np.random.default_rng([seed, zlib.crc32(job["name"].encode())])
            faults = bench.plan(job["number"], rng)[job["part"] :: job["parts"]]
        for fault in faults:
            bench.try_fault(fault, tally)
        return tally.to_json()
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _publish(path: Path) -> None:
    """Let a file of ours be the official one that `fetch` expects."""
    from mmtk.datasets import get_dataset

    get_dataset("breastmnist").md5["2024:28"] = hashlib.md5(path.read_bytes()).hexdigest()


def main() -> None:
    """Take jobs until there are no more."""
    for name in _HEAVY:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    from mmtk.store import _fetch
    from tests.torture.shim import Shim

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _fetch._PAUSE = 0.0
    shim = Shim() if "LD_PRELOAD" in os.environ else None
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        job = json.loads(line)
        try:
            answer = _do(job, shim)
        except Exception as error:
            answer = {"error": f"{job['name']}: {type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
