"""Which datasets stand together in tables: the paper's ten, those that MedMNIST added later, and all others."""

from __future__ import annotations

from mmtk.datasets import TEN, find_dataset, list_datasets

LATER_SETS = "MedMNIST v2's other sets"


def is_later(flag: str) -> bool:
    """Whether a dataset is one that MedMNIST published and the paper does not have."""
    known = find_dataset(flag)
    return known is not None and not known.own and flag not in TEN


def place_of(flag: str) -> tuple[int, str]:
    """By what datasets are sorted: those that are published in their order, then the others by flag."""
    known = [dataset.flag for dataset in list_datasets() if not dataset.own]
    return (known.index(flag), flag) if flag in known else (len(known), flag)
