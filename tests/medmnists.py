"""Homes and roots as users of medmnist have them, and programs that run on medmnist and on the drop-in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.commands import run_python

STAND_IN = Path(__file__).resolve().parents[1] / "mmtk" / "compat" / "_medmnist"
WAYS = ("medmnist", "mmtk.compat.medmnist")


def write_npz(
    root: Path, flag="breastmnist", counts=(40, 9, 12), *, shape=(28, 28), labels=1, classes=2, dtype=np.uint8, seed=0
) -> Path:
    """An ``.npz`` of noise; of breastmnist's and other names, but no official one."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for split, n in zip(("train", "val", "test"), counts, strict=True):
        arrays[f"{split}_images"] = rng.integers(0, 256, (n, *shape), np.uint8)
        arrays[f"{split}_labels"] = (rng.permutation(n * labels) % classes).reshape(n, labels).astype(dtype)
    root.mkdir(parents=True, exist_ok=True)
    path = root / f"{flag}.npz"
    np.savez_compressed(path, **arrays)
    return path


def counted(root: Path, flag="breastmnist") -> Path:
    """An ``.npz`` with as many images as medmnist insists on, of 8 px."""
    from mmtk.compat.medmnist import INFO

    return write_npz(root, flag, tuple(INFO[flag]["n_samples"].values()), shape=(8, 8))


def run_on(way: str, *arguments: object, home: Path, code: int | None = 0, **options):
    """Run a program on medmnist or on the drop-in, in a home of its own."""
    words = ["-W", "ignore", *([] if way == "medmnist" else ["-m", way]), *arguments]
    env = {"HOME": home, "XDG_CACHE_HOME": home / ".cache", **options.pop("env", {})}
    return run_python(*words, code=code, env=env, **options)


def run_on_ours(*arguments: object, **options):
    """Run a program on the drop-in."""
    return run_on(WAYS[1], *arguments, **options)


def run_both(*arguments: object, **options) -> list[str]:
    """What a program prints on medmnist, and on the drop-in."""
    pytest.importorskip("medmnist")
    return [run_on(way, *arguments, **options).stdout for way in WAYS]


def script(folder: Path, text: str, name="program.py") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text)
    return path


