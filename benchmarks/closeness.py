"""How close each of the ten is to the official data, by the real sample files: ``python benchmarks/closeness.py DATA``.

Prints for each dataset the sample images that were built, how many of them are official rows bit for bit, and the
counts that the provider's own lists of names give, beside the paper's Table 1.
"""

from __future__ import annotations

import csv
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import astuple
from pathlib import Path

import numpy as np

import mmtk
from mmtk.builder import make_plan
from mmtk.datasets import TEN, get_dataset
from mmtk.datasets.listing import open_listing
from mmtk.datasets.maps import official_map
from mmtk.imaging import read_volume
from mmtk.store import compare_official

FOLDERS = {
    "breastmnist": "busi", "pneumoniamnist": "kermany-cxr", "octmnist": "kermany-oct", "chestmnist": "chestxray14",
    "pathmnist": "nct-crc", "dermamnist": "ham10000",
}
# of the CT stand-in's segmentation, which follows TotalSegmentator's numbers
ORGANS = {1: "spleen", 2: "kidney-r", 3: "kidney-l", 5: "liver", 7: "pancreas"}


def lits_names(data: Path, folder: Path) -> Iterator[str]:
    (folder / "boxes").symlink_to((data / "sources/lits/annotations_on_LiTS").resolve())
    yield from (f"boxes/{path.name}" for path in (folder / "boxes").iterdir())
    yield from (f"volume-{n}.nii" for n in range(131))
    yield from (f"test-volume-{n}.nii" for n in range(70))


def chest_names(data: Path, folder: Path) -> Iterator[str]:
    for path in (data / "sources/chestxray14/chexnet_lists").iterdir():
        yield from (f"images/{line.split()[0]}" for line in path.read_text().splitlines())


def derma_names(data: Path, folder: Path) -> Iterator[str]:
    table = shutil.copy(data / "sources/ham10000/HAM10000_metadata.csv", folder)
    yield "HAM10000_metadata.csv"
    with Path(table).open(newline="") as file:
        yield from (f"HAM10000_images_part_1/{row['image_id']}.jpg" for row in csv.DictReader(file))


def retina_names(data: Path, folder: Path) -> Iterator[str]:
    for part in ("training", "validation"):
        (table,) = (data / "sources/deepdrid").rglob(f"regular-fundus-{part}*.csv")
        target = folder / f"regular-fundus-{part}"
        target.mkdir()
        shutil.copy(table, target)
        yield f"{target.name}/{table.name}"
        with table.open(newline="") as file:
            yield from (f"{target.name}/Images/{r['patient_id']}/{r['image_id']}.jpg" for r in csv.DictReader(file))


def pneumonia_names(data: Path, folder: Path) -> Iterator[str]:
    return iter((data / "sources/kermany-cxr/filelist_kaggle.txt").read_text().splitlines())


def breast_names(data: Path, folder: Path) -> Iterator[str]:
    known = official_map("breastmnist")
    return iter(known.labels if known else ())


NAMES: dict[str, Callable[[Path, Path], Iterator[str]]] = {
    "breastmnist": breast_names, "pneumoniamnist": pneumonia_names, "chestmnist": chest_names,
    "dermamnist": derma_names, "retinamnist": retina_names, "organmnist": lits_names,
}


def ct_stand_in(data: Path, folder: Path) -> Path:
    """A source of one volume, its boxes drawn round what the segmentation has."""
    labels = read_volume(data / "sources/ct-standin/example_seg.nii.gz").voxels
    lines = []
    for value, organ in ORGANS.items():
        places = np.nonzero(labels == value)
        if len(places[0]):
            lines.append(f"{organ} {value} " + " ".join(f"{axis.min()} {axis.max() + 1}" for axis in places[::-1]))
    (folder / "annotations_on_LiTS").mkdir(parents=True)
    (folder / "annotations_on_LiTS/segmentation-0.txt").write_text("\n".join(lines))
    shutil.copy(data / "sources/ct-standin/example_ct_sm.nii.gz", folder / "volume-0.nii.gz")
    return folder


def exact_rows(store: mmtk.Store, data: Path) -> str:
    """Rows of a store that are official ones, where official pixels are at hand."""
    compared = compare_official(store, data / "npz")
    if compared.splits:
        return f"{sum(one.anywhere for one in compared.splits.values())}"
    if store.info.flag == "pathmnist":
        with np.load(data / "npz/pathmnist_test718_partial.npz") as some:
            images = next(some[name] for name in some.files if some[name].ndim == 4)
        known = {image.tobytes() for image in images}
        return f"{sum(image.tobytes() in known for image in store.test.images)} (among {len(images)} at hand)"
    return "no official pixels"


def main(data: Path) -> None:
    print(f"{'dataset':16}{'samples':>8}  {'official rows':24}{'counts from the real lists':28}Table 1")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        stand_in = ct_stand_in(data, folder / "ct")
        for dataset in map(get_dataset, TEN):
            family = dataset.family
            source = stand_in if dataset.volumetric else data / "sources" / FOLDERS.get(dataset.flag, "")
            samples, exact = "none", "labels alone"
            if dataset.volumetric or dataset.flag in FOLDERS:
                (built,) = mmtk.build(dataset, sources=source, out=folder / "out", allow_partial=True)
                samples, exact = str(sum(built.counts.values())), exact_rows(mmtk.open(built.path), data)
            counted = "no list at hand"
            if family in NAMES:
                names = folder / f"{dataset.flag}-names"
                names.mkdir()
                (names / "names.txt").write_text("\n".join(NAMES[family](data, names)))
                plan = make_plan(dataset, open_listing(names / "names.txt"), headers=False)
                counted = " / ".join(f"{n:,}" for n in plan.counts.values())
            wanted = " / ".join(f"{n:,}" for n in astuple(dataset.counts["2020"]))
            print(f"{dataset.flag:16}{samples:>8}  {exact:24}{counted:28}{wanted}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data"))
