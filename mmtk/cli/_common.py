"""Shared by several commands: folder options, examples, JSON output, tables and progress."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import click

from mmtk.base import Progress
from mmtk.cli._names import Folder
from mmtk.cli._streams import is_terminal

sources_option = click.option(
    "--sources", type=Folder(), envvar="MMTK_SOURCES", show_envvar=True, required=True,
    help="Folder with the raw data: one provider's, or one that holds several.",
)
stores_option = click.option(
    "--stores", type=Folder(), envvar="MMTK_STORES", show_envvar=True, required=True,
    help="Folder with the stores.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def example(*lines: str) -> str:
    """The epilog of a command's help: command lines that show how it is used."""
    return "\n".join(["\b", "Examples:" if len(lines) > 1 else "Example:", *(f"  {line}" for line in lines)])


def out_option(what: str) -> Callable[[Any], Any]:
    """The ``--out`` folder of a command that writes stores, by default ``MMTK_STORES``."""
    return click.option("--out", type=Folder(), envvar="MMTK_STORES", show_envvar=True, required=True, help=what)


def echo_json(value: Any) -> None:
    """Print a value as JSON; bytes that are not text, as in some paths, are escaped."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        text = json.dumps(value, indent=2)
    click.echo(text)


def counts_text(counts: Mapping[str, int], style: str = "") -> str:
    """Images per split, for instance ``train 20, val 6, test 9``; the style "," groups thousands."""
    return ", ".join(f"{split} {count:{style}}" for split, count in counts.items())


def echo_table(heads: tuple[str, ...], rows: list[tuple[str, ...]], right: Collection[str] = ()) -> None:
    """Print a table: drawn by rich on a terminal, plain columns in a pipe."""
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
    """Yield a function that starts a progress bar with a title, in place of the previous one."""
    with ExitStack() as current:
        def start(title: str) -> Progress:
            current.close()
            return current.enter_context(progress_bar(title))

        yield start


@contextmanager
def progress_bar(title: str, share: bool = False) -> Iterator[Callable[..., None]]:
    """Yield a callable ``(done, total)`` that shows progress on stderr: a bar on a terminal, else a line per tenth.

    With `share` it shows a percentage instead of counts, followed by the text passed as ``left`` and preceded by the
    one passed as ``description``; the bar disappears at the end.
    """
    if is_terminal(sys.stderr):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        percent = TextColumn("{task.percentage:3.0f} %{task.fields[left]}")
        counts = (percent,) if share else (MofNCompleteColumn(), TimeRemainingColumn())
        columns = (TextColumn("{task.description}"), BarColumn(), *counts)
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
            with suppress(OSError):  # a closed terminal must not stop the work
                click.echo(f"{title}: {text}", err=True)

    yield line
