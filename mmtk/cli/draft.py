"""``mmtk draft``: a dataset file for a folder of one's own data."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("draft")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--table", default="", metavar="FILE",
              help="Which table to take, by its path in DIR, where several describe the images.")
def draft_command(folder: Path, table: str) -> None:
    """Look at the images, volumes and tables in DIR and print a dataset file for them.

    It holds what was seen, and as comments what is still to be said: mmtk draft DIR > lung.toml, then mmtk build
    lung.toml --sources DIR.
    """
    from mmtk.datasets.own import draft_dataset

    click.echo(draft_dataset(folder, table), nl=False)
