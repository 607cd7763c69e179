"""The order of datasets in tables: the paper's ten, the eight that MedMNIST added later, then all others."""

from __future__ import annotations

from mmtk.datasets import EIGHTEEN

LATER_SETS = "MedMNIST v2's other sets"


def table_order(flag: str) -> tuple[int, str]:
    """Return the sort key of a dataset: MedMNIST's in its order, then all others by flag."""
    return EIGHTEEN.index(flag) if flag in EIGHTEEN else len(EIGHTEEN), flag
