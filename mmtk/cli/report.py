"""``mmtk report``: one page about finished runs."""

from __future__ import annotations

from pathlib import Path

import click

from mmtk.cli._common import progress_bar
from mmtk.errors import MmtkError

_path = click.Path(path_type=Path)


@click.command("report")
@click.argument("runs", metavar="RUNS", type=_path)
@click.option("--out", type=_path, required=True, help="The page, a name that ends in .html; its tables go beside it.")
@click.option("--stores", type=_path, envvar="MMTK_STORES", show_envvar=True,
              help="Folder with the stores; without it, what needs images or labels is left out.")
@click.option("--force", is_flag=True, help="Replace other files.")
@click.pass_context
def report_command(ctx: click.Context, runs: Path, out: Path, stores: Path | None, force: bool) -> None:
    """Show all finished runs below RUNS on one HTML page: the paper's tables with ours beside them, and figures.

    The page needs no network; its tables are written beside it as CSV, Markdown and LaTeX too. Exit 1 if a run is left
    out because it cannot be read or trusted; the others are shown all the same.
    """
    from mmtk.report import write_report

    refused: list[MmtkError] = []
    with progress_bar("scoring runs") as progress:
        (page, *tables), notes = write_report(
            runs, out, stores=stores, force=force, progress=progress, refused=refused.append
        )
    for error in refused:
        click.echo(f"mmtk: error: {error}", err=True)
    for note in notes:
        click.echo(note)
    click.echo(f"{page}: written, with {len(tables)} files of its tables beside it")
    ctx.exit(1 if refused else 0)
