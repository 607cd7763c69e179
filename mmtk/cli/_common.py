"""What several commands share: folder options, JSON output and progress."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from mmtk.base import Progress
from mmtk.cli._streams import is_terminal

sources_option = click.option(
    "--sources", type=click.Path(path_type=Path), envvar="MMTK_SOURCES", show_envvar=True, required=True,
    help="Folder with the raw data: a provider's folder, or one that holds several.",
)
stores_option = click.option(
    "--stores", type=click.Path(path_type=Path), envvar="MMTK_STORES", show_envvar=True, required=True,
    help="Folder with the stores.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program to read.")


def out_option(what: str) -> Callable[[Any], Any]:
    """The ``--out`` folder of a command that writes stores; ``MMTK_STORES`` stands in for it."""
    folder = click.Path(path_type=Path)
    return click.option("--out", type=folder, envvar="MMTK_STORES", show_envvar=True, required=True, help=what)


def echo_json(value: Any) -> None:
    """Print a value as JSON on standard output; what is no text in it, as paths may have, is escaped."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        text = json.dumps(value, indent=2)
    click.echo(text)


def counts_text(counts: Mapping[str, int], style: str = "") -> str:
    """Images of each split, for instance ``train 20, val 6, test 9``; with the style "," thousands are marked."""
    return ", ".join(f"{split} {count:{style}}" for split, count in counts.items())


def echo_table(heads: tuple[str, ...], rows: list[tuple[str, ...]], right: Collection[str] = ()) -> None:
    """A table: drawn by rich on a terminal, plain columns for a pipe."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table()
        for head in heads:
            table.add_column(head, justify="right" if head in right else "left")
        for row in rows:
            table.add_row(*row)
        Console().print(table)
        return
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
    for row in (heads, *rows):
        cells = (
            cell.rjust(width) if head in right else cell.ljust(width)
            for cell, head, width in zip(row, heads, widths, strict=True)
        )
        click.echo("  ".join(cells).rstrip())


@contextmanager
def progress_bars() -> Iterator[Callable[[str], Progress]]:
    """Give what makes a progress bar of a title, in the place of the one before."""
    with ExitStack() as shown:
        def start(title: str) -> Progress:
            shown.close()
            return shown.enter_context(progress_bar(title))

        yield start


@contextmanager
def progress_bar(title: str, share: bool = False) -> Iterator[Callable[..., None]]:
    """Give a callable ``(done, total)``: a bar on a terminal, a plain line at each tenth else, both on stderr.

    With `share` it tells percent instead of numbers, and the text it is given as ``left``; the bar stands beside what
    it is given as ``description`` and is gone in the end.
    """
    if is_terminal(sys.stderr):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        percent = TextColumn("{task.percentage:3.0f} %{task.fields[left]}")
        told = (percent,) if share else (MofNCompleteColumn(), TimeRemainingColumn())
        columns = (TextColumn("{task.description}"), BarColumn(), *told)
        with Bar(*columns, console=Console(stderr=True), transient=share) as bar:
            task = bar.add_task(title, total=1 if share else None, left="")
            yield lambda done, total, **fields: bar.update(task, completed=done, total=total, **fields)
        return
    last = 0 if share else -1

    def line(done: float, total: float, left: str = "", description: str = "") -> None:
        nonlocal last
        tenth = int(10 * done / total) if total else 10
        if tenth > last:
            last = tenth
            text = f"{10 * tenth} %{left}" if share else f"{done} of {total}"
            with suppress(OSError):  # the work does not depend on who watches it
                click.echo(f"{title}: {text}", err=True)

    yield line
