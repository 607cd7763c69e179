"""Real files as often as a benchmark needs them: a handful of originals stands in for a provider's thousands."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from mmtk.datasets import get_dataset
from mmtk.datasets.base import Dataset, Scan
from mmtk.datasets.listing import Listing

FOLDERS = {
    "breastmnist": "busi", "chestmnist": "chestxray14", "pneumoniamnist": "kermany-cxr", "dermamnist": "ham10000",
    "octmnist": "kermany-oct", "pathmnist": "nct-crc",
}


def repeated(flag: str, sources: Path, times: int, out: Path) -> tuple[Dataset, Path]:
    """A dataset whose every file counts as `times` images, and a folder with its source.

    The folder is marked as a phantom, which frees it from the official rows, and names no images that are not there.
    """
    dataset, provider, root = get_dataset(flag), sources / FOLDERS[flag], out / FOLDERS[flag]
    root.mkdir()
    (root / "PHANTOM.json").write_text(json.dumps({"flag": dataset.family, "images": 1}))
    there = {path.stem for path in provider.rglob("*") if path.is_file()}
    for child in provider.iterdir():
        if child.name == "chexnet_lists":
            (root / child.name).mkdir()
            for path in child.glob("*_list.txt"):
                lines = [line for line in path.read_text().splitlines() if line.split(".")[0] in there]
                (root / child.name / path.name).write_text("\n".join(lines))
        elif child.name == "HAM10000_metadata.csv":
            head, *lines = child.read_text().splitlines()
            (root / child.name).write_text("\n".join([head, *(x for x in lines if x.split(",")[1] in there)]))
        else:
            (root / child.name).symlink_to(child)

    def scan(listing: Listing) -> Scan:
        once = dataset.scan(listing)
        records = (replace(r, source=f"{r.source} {k}") for k in range(times) for r in once.records)
        return Scan(tuple(records), once.findings)

    return replace(dataset, scan=scan), root
