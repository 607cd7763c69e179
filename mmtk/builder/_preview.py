"""What a build would make, without reading an image."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmtk.builder.plan import Plan, make_plan
from mmtk.datasets import get_dataset
from mmtk.datasets.base import Dataset
from mmtk.datasets.checks import check_apart
from mmtk.datasets.listing import find_source, open_listing
from mmtk.errors import ArgumentError


def preview(
    flags: Iterable[str | Dataset], *, sources: str | Path | None = None, listing: str | Path | None = None,
    **choices: Any,
) -> list[Plan]:
    """Plan datasets by the names of their raw files; of a plan only counts and membership hold.

    Parameters
    ----------
    flags : iterable of str or Dataset
    sources : path, optional
        Folder with the raw data, as `build` takes it.
    listing : path, optional
        A text file of file names, or a folder, to be planned from in its place.
    **choices
        ``edition``, ``pixels``, ``split`` and ``allow_partial``, as `make_plan` takes them.

    Raises
    ------
    ArgumentError
        If a flag or a choice is unknown, or neither folder nor listing is given.
    SourceError
        If a source is missing or incomplete.
    """
    if sources is None and listing is None:
        raise ArgumentError("sources", expected="a folder with raw data, or a listing", found="neither")
    plans = []
    datasets = [flag if isinstance(flag, Dataset) else get_dataset(flag) for flag in flags]
    check_apart(datasets)
    for dataset in datasets:
        files = open_listing(listing) if listing else find_source(sources, dataset)  # type: ignore[arg-type]
        plans.append(make_plan(dataset, files, headers=False, **choices))
    return plans
