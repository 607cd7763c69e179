"""MedMNIST's publications and naming: editions, sizes, Zenodo records, file names and splits."""

from __future__ import annotations

from mmtk.datasets.base import EDITIONS, SPLITS

PAPER, LATEST = EDITIONS[0], EDITIONS[-1]  # the edition of the paper's counts, and the one with larger sizes
SIZES = (28, 64, 128, 224)
SPLIT_WORDS = dict(zip(SPLITS, ("TRAIN", "VALIDATION", "TEST"), strict=True))  # in the CSV beside exported images
# the Zenodo record of each edition; a dataset's MD5s say which files exist
RECORDS = {
    PAPER: "https://zenodo.org/records/4269852/files",
    "2021": "https://zenodo.org/records/5208230/files",
    "2022": "https://zenodo.org/records/6496656/files",
    LATEST: "https://zenodo.org/records/10519652/files",
}


def size_suffix(size: int) -> str:
    """The suffix of the flag in file names of a size: empty at 28 px."""
    return "" if size == SIZES[0] else f"_{size}"


def sized_name(flag: str, size: int) -> str:
    """The name of a file without its suffix, such as ``breastmnist`` or ``breastmnist_64``."""
    return f"{flag}{size_suffix(size)}"
