"""The paper's tables beside ours, figures, and one HTML page of both that asks nothing of any network."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from mmtk.base import Progress
from mmtk.errors import MmtkError

_NEEDED = ("jinja2", "matplotlib")

__all__ = ["write_report"]


def write_report(
    runs: str | Path, out: str | Path, *, stores: str | Path | None = None, force: bool = False,
    progress: Progress | None = None, refused: Callable[[MmtkError], None] | None = None,
) -> tuple[list[Path], list[str]]:
    """Write a page about finished runs, and its tables as CSV, Markdown and LaTeX beside it.

    Equal runs and stores give equal bytes on one machine.

    Parameters
    ----------
    runs : path
        Folder with the runs, at any depth, as ``mmtk train`` and ``mmtk decathlon`` leave them.
    out : path
        The page, named ``*.html``; the tables take its name, say ``page.table2.csv``.
    stores : path, optional
        Folder with the stores; what needs images or labels is left out where one is not there, and the page says so.
    force : bool
        Replace other files of these names.
    progress : callable, optional
        Told the runs whose intervals are found and their number.
    refused : callable, optional
        Told why a run is left out that cannot be read, is damaged or does not fit its store.

    Returns
    -------
    files : list of Path
        What was written, the page first.
    notes : list of str
        What is left out.

    Raises
    ------
    MmtkError
        If matplotlib or jinja2 is not installed, there is no finished run that can be shown, one is there twice, or
        other files are in the way.
    """
    for package in _NEEDED:
        if find_spec(package) is None:
            raise MmtkError.not_installed("report", package, "report")
    from mmtk.report._page import write

    return write(runs, out, stores=stores, force=force, progress=progress, refused=refused)
