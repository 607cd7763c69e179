"""Match a store with the same images shuffled and saved as JPEG: what is recovered, how long it takes, how much memory.

``python benchmarks/match_100k.py [--rows 100000] [--colour]``. Images are seeded, smooth variations of a few hundred
prototypes, so that each has hundreds of others that are much alike; the command runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from mmtk import imaging, store
from mmtk.datasets import get_dataset
from mmtk.matching import Match, read_match

PROTOTYPES = 500


def draw(rows: int, colour: bool, seed: int = 0) -> np.ndarray:
    """Seeded images of 28 px."""
    rng = np.random.default_rng(seed)
    channels = 3 if colour else 1

    def smooth(strength: float) -> np.ndarray:
        """Light that changes over a few pixels and colour that changes over more, as in photographs."""
        light, tint = rng.normal(0, strength, (7, 7, 1)), rng.normal(0, strength / 4, (3, 3, channels))
        large = [cv2.resize(g.astype(np.float32), (28, 28), interpolation=cv2.INTER_CUBIC) for g in (light, tint)]
        return large[0][..., None] + large[1].reshape(28, 28, channels)

    prototypes = [128 + smooth(50) for _ in range(min(rows, PROTOTYPES))]
    images = np.empty((rows, 28, 28, channels), np.uint8)
    for i in range(rows):
        varied = prototypes[i % len(prototypes)] + smooth(12) + rng.normal(0, 2, (28, 28, 1))
        images[i] = np.clip(np.rint(varied), 0, 255)
    return images if colour else images[..., 0]


def write_pair(folder: Path, rows: int, colour: bool) -> tuple[Path, Path, dict[str, list[str]]]:
    """Write a store and an official file of the same images; gives the true sources of its rows too."""
    dataset = get_dataset("dermamnist" if colour else "octmnist")
    images = draw(rows, colour)
    rng = np.random.default_rng(1)
    labels = rng.integers(0, len(dataset.classes), (rows, 1), np.uint8)
    cuts = [rows * 7 // 10, rows * 8 // 10]
    info = store.StoreInfo(
        flag=dataset.flag, title=dataset.title, modality=dataset.modality, task=dataset.task.value,
        classes=dataset.classes, channels=dataset.channels, size=28, edition="none", pixels="clean", split="none",
        membership="seeded", recipe="[]", recipe_hash="", licence="none", citation="", source="", plan_hash="",
        synthetic=True, partial=False, unchecked=(), mmtk_version="0",
    )
    records = np.zeros(rows, store.record_dtype(12, 1))
    records["source"] = [f"image{i:07d}".encode() for i in range(rows)]
    arrays = zip(*(np.split(array, cuts) for array in (images, labels, records)), strict=True)
    path = store.write_store(folder / f"{dataset.flag}_28.h5", info, dict(zip(store.SPLITS, arrays, strict=True)))
    order = rng.permutation(rows)
    saved, given = {}, {}
    for split, part in zip(store.SPLITS, np.split(order, cuts), strict=True):
        saved[f"{split}_images"] = np.stack([imaging.round_trip(images[i]) for i in part])
        saved[f"{split}_labels"] = labels[part]
        given[split] = [f"image{i:07d}" for i in part]
    npz = folder / f"{dataset.flag}.npz"
    np.savez_compressed(npz, **saved)
    return path, npz, given


def recovered(found: Match, given: dict[str, list[str]]) -> float:
    """Part of the rows whose source is the true one."""
    names = [name for split in store.SPLITS for name in given[split]]
    return sum(row.source == name for row, name in zip(found.everything, names, strict=True)) / len(names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--colour", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, npz, given = write_pair(folder, asked.rows, asked.colour)
        table = folder / "map.csv"
        command = [sys.executable, "-m", "mmtk", "match", path, npz, "--out", table, "--json"]
        start = time.monotonic()
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        seconds = time.monotonic() - start
        if done.returncode > 1:
            sys.exit(done.returncode)
        print(json.dumps({
            **json.loads(done.stdout), "recovered_percent": 100 * recovered(read_match(table), given),
            "seconds": round(seconds, 1),
            "peak_rss_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
        }, indent=2))


if __name__ == "__main__":
    main()
