"""What MedMNIST published, and the words it uses: editions, sizes, records, names of files and splits."""

from __future__ import annotations

from mmtk.datasets.base import EDITIONS, SPLITS

PAPER, LATEST = EDITIONS[0], EDITIONS[-1]  # the edition whose counts the paper gives, and the one of the larger sizes
SIZES = (28, 64, 128, 224)
SPLIT_WORDS = dict(zip(SPLITS, ("TRAIN", "VALIDATION", "TEST"), strict=True))  # in the CSV beside exported images
# of each edition the record with its files; which of them a dataset has, its own MD5s tell
RECORDS = {
    PAPER: "https://zenodo.org/records/4269852/files",
    "2021": "https://zenodo.org/records/5208230/files",
    "2022": "https://zenodo.org/records/6496656/files",
    LATEST: "https://zenodo.org/records/10519652/files",
}


def size_suffix(size: int) -> str:
    """What follows a flag in the name of a file of some size: nothing at 28 px."""
    return "" if size == SIZES[0] else f"_{size}"


def sized_name(flag: str, size: int) -> str:
    """The name of a file without its ending, such as ``breastmnist`` or ``breastmnist_64``."""
    return f"{flag}{size_suffix(size)}"
