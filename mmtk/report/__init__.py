"""The report: the paper's tables beside ours, figures, and one HTML page of both that works offline."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from mmtk.base import Progress
from mmtk.errors import MmtkError

_REQUIRED = ("jinja2", "matplotlib")

__all__ = ["write_report"]


def write_report(
    runs: str | Path, out: str | Path, *, stores: str | Path | None = None, force: bool = False,
    progress: Progress | None = None, refused: Callable[[MmtkError], None] | None = None,
) -> tuple[list[Path], list[str]]:
    """Write an HTML page about finished runs, with its tables as CSV, Markdown and LaTeX alongside.

    Equal runs and stores give identical bytes on one machine.

    Parameters
    ----------
    runs : str or path
        Folder with the runs, at any depth, as written by ``mmtk train`` and ``mmtk decathlon``.
    out : str or path
        The page, named ``*.html``; the tables are named after it, for example ``page.table2.csv``.
    stores : str or path, optional
        Folder with the stores. Without a run's store, parts that need images or labels are left out, and the page says
        so.
    force : bool
        Replace other files with these names.
    progress : callable, optional
        Called with the number of evaluated runs and of all runs.
    refused : callable, optional
        Called with the error of each run that is skipped because it cannot be read, is damaged or does not match its
        store.

    Returns
    -------
    files : list of Path
        The written files, the page first.
    notes : list of str
        What the page leaves out, one sentence each.

    Raises
    ------
    MmtkError
        If matplotlib or jinja2 is not installed, there is no valid finished run, one exists twice, or other files are
        in the way.

    Examples
    --------
    >>> from mmtk.report import write_report
    >>> files, notes = write_report("runs", "page.html", stores="stores")
    >>> [file.name for file in files][:3]
    ['page.html', 'page.table1.csv', 'page.table1.md']
    """
    for package in _REQUIRED:
        if find_spec(package) is None:
            raise MmtkError.not_installed("report", package, "report")
    from mmtk.report._page import write

    return write(runs, out, stores=stores, force=force, progress=progress, refused=refused)
