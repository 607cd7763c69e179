"""The drop-in beside medmnist, as a script uses either: import, open a file, take every item of a split, evaluate.

The file has the counts and the size of PneumoniaMNIST and is noise; ``kept`` is one that the drop-in keeps a store of,
for which it has to be taken for official.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.commands import run_python

CYCLES = 3
COUNTS = (4708, 524, 624)
WHO = {"mmtk drop-in": "mmtk.compat.medmnist", "medmnist": "medmnist"}


@pytest.fixture(params=WHO)
def who(request):
    return request.param


@pytest.fixture
def package(who):
    from importlib import import_module

    found = pytest.importorskip(WHO[who])
    for module in ("dataset", "evaluator"):
        import_module(f"{WHO[who]}.{module}")
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("root")
    rng = np.random.default_rng(0)
    arrays = {}
    for split, n in zip(("train", "val", "test"), COUNTS, strict=True):
        arrays[f"{split}_images"] = rng.integers(0, 16, (n, 28, 28), np.uint8) * 16  # which packs as images do
        arrays[f"{split}_labels"] = rng.integers(0, 2, (n, 1), np.uint8)
    np.savez_compressed(folder / "pneumoniamnist.npz", **arrays)
    return folder


def test_import(benchmark, who):
    benchmark.group = "import, a process of its own"
    code = f"from {WHO[who]} import INFO, Evaluator, BreastMNIST"
    benchmark.pedantic(lambda: run_python("-W", "ignore", "-c", code, code=0), rounds=2)


@pytest.mark.parametrize("kept", [False, True], ids=["", "kept"])
def test_open(benchmark, who, package, root, kept, monkeypatch, tmp_path_factory):
    benchmark.group = f"open PneumoniaMNIST, 28 px{', kept' if kept else ''}"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    if kept and who != "medmnist":
        from mmtk.base import md5_of
        from mmtk.compat.medmnist import _files

        md5 = md5_of(root / "pneumoniamnist.npz")
        monkeypatch.setattr(_files.Place, "_md5", lambda self: md5)
    package.PneumoniaMNIST("train", root=root)
    benchmark.pedantic(lambda: package.PneumoniaMNIST("train", root=root), rounds=5)


def test_items(benchmark, who, package, root):
    benchmark.group = "every item of PneumoniaMNIST, 28 px"
    data = package.PneumoniaMNIST("train", root=root)
    benchmark.pedantic(lambda: [data[row] for row in range(len(data))], rounds=3, warmup_rounds=1)


def test_evaluate(benchmark, who, package, root):
    benchmark.group = "evaluate 624 scores"
    evaluator = package.Evaluator("pneumoniamnist", "test", root=root)
    scores = np.random.default_rng(0).random((624, 2))
    benchmark.pedantic(lambda: evaluator.evaluate(scores), rounds=10, warmup_rounds=1)
