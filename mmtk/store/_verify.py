"""Verify a store: recompute its checksums."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmtk.errors import StoreError
from mmtk.store._content import checked, read_packed
from mmtk.store._digest import KEYS, array_checksums, checksum_rows
from mmtk.store._format import check_labels
from mmtk.store._guard import REBUILD, guarded
from mmtk.store._writer import find_region


def verify(path: str | Path, digest: str | None = None) -> list[str]:
    """Recompute a store's checksums from all of its data.

    Parameters
    ----------
    path : path
    digest : str, optional
        As for `open`.

    Returns
    -------
    list of str
        One line per problem; empty if the store is intact.

    Raises
    ------
    StoreError
        If the file cannot be opened as a store, or has another digest.

    Examples
    --------
    >>> from mmtk.store import verify
    >>> verify("stores/breastmnist_28.h5")
    []
    """
    path = Path(path)
    with guarded(path):
        return _compare(path, digest)


def expect_whole(path: str | Path) -> None:
    """Verify a store before relying on it.

    Raises
    ------
    StoreError
        If `verify` reports a problem.
    """
    if problems := verify(path):
        raise StoreError(path, f"store is corrupt: {problems[0].removeprefix(f'{path}: ')}", remedy=REBUILD)


def _compare(path: Path, digest: str | None) -> list[str]:
    """Compare checksums by reading, not through a mapping, where a disk error would be a fatal signal."""
    problems: list[str] = []
    with checked(path, digest) as store:
        handle = store.file.id.get_vfd_handle()
        for key in KEYS:
            dataset, stored = store.datasets[key], store.datasets[f"checksums/{key}"][()]
            region = find_region(dataset)
            step = checksum_rows(key, dataset)
            if region is not None:
                sums = region.checksums(handle, step)
            else:
                sums = array_checksums(key, read_packed(path, store.file, dataset))
            for chunk in np.flatnonzero((sums != stored).any(axis=1)).tolist():
                rows = f"rows {chunk * step} to {min((chunk + 1) * step, len(dataset)) - 1}"
                expected, actual = (table[chunk].tobytes().hex()[:16] for table in (stored, sums))
                mismatch = f"checksum differs, found {actual}, expected {expected}"
                problems.append(f"{path}: {key} chunk {chunk} ({rows}): {mismatch}")
            if key.endswith("labels"):
                check_labels(f"{path} {key}", store.info, dataset[()])
    return problems
