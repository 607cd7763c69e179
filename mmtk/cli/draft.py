"""``mmtk draft``: a dataset file for a folder of the user's own data."""

from __future__ import annotations

from pathlib import Path

import click

from mmtk.cli._common import example
from mmtk.cli._names import Folder


@click.command("draft", epilog=example(
    "mmtk draft my_images > lung.toml", "mmtk build lung.toml --sources my_images --out stores",
))
@click.argument("folder", metavar="DIR", type=Folder())
@click.option("--table", default="", metavar="FILE",
              help="Table to use if several describe the images, by its path in DIR.")
def draft_command(folder: Path, table: str) -> None:
    """Inspect the images, volumes and tables in DIR and print a dataset file that describes them.

    Comments in the file mark what you still need to fill in; mmtk build then takes the file in place of a FLAG.
    """
    from mmtk.datasets.own import draft_dataset

    click.echo(draft_dataset(folder, table), nl=False)
