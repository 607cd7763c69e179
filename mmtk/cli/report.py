"""``mmtk report``: an HTML page on finished runs."""

from __future__ import annotations

from pathlib import Path

import click

from mmtk.cli._common import example, progress_bar
from mmtk.cli._names import Folder
from mmtk.errors import MmtkError


@click.command("report", epilog=example("mmtk report runs --stores stores --out report.html"))
@click.argument("runs", metavar="RUNS", type=Folder())
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", required=True,
              help="Page to write, named .html; its tables go into files beside it.")
@click.option("--stores", type=Folder(), envvar="MMTK_STORES", show_envvar=True,
              help="Folder with the stores; without it, figures that need images or labels are left out.")
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@click.pass_context
def report_command(ctx: click.Context, runs: Path, out: Path, stores: Path | None, force: bool) -> None:
    """Write one HTML page on all finished runs in RUNS: tables with the paper's results beside ours, and figures.

    The page works offline; its tables are also written beside it as CSV, Markdown and LaTeX.

    Exits with 1 if a run is left out because it cannot be read or trusted.
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
    click.echo(f"{page}: written, with {len(tables)} files of tables beside it")
    ctx.exit(1 if refused else 0)
