"""Preview a build without reading any image."""

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
    """Plan datasets from the names of their raw files; only counts and membership of the plans are meaningful.

    Parameters
    ----------
    flags : iterable of str or Dataset
    sources : path, optional
        Folder with the raw data, as for `build`.
    listing : path, optional
        A text file of file names, or a folder, to plan from instead.
    **choices
        ``edition``, ``pixels``, ``split`` and ``allow_partial``, as for `make_plan`.

    Returns
    -------
    list of Plan
        One per dataset.

    Raises
    ------
    ArgumentError
        If a flag or choice is unknown, or neither folder nor listing is given.
    SourceError
        If a source is missing or incomplete.

    Examples
    --------
    >>> from mmtk.builder import preview
    >>> (plan,) = preview(["breastmnist"], sources="sources", allow_partial=True)
    >>> plan.edition, plan.synthetic, sorted(plan.counts)
    ('2020', True, ['test', 'train', 'val'])
    """
    if sources is None and listing is None:
        raise ArgumentError("sources", "not given", remedy="give a folder with raw data, or a listing")
    plans = []
    datasets = [flag if isinstance(flag, Dataset) else get_dataset(flag) for flag in flags]
    check_apart(datasets)
    for dataset in datasets:
        files = open_listing(listing) if listing else find_source(sources, dataset)  # type: ignore[arg-type]
        plans.append(make_plan(dataset, files, headers=False, **choices))
    return plans
