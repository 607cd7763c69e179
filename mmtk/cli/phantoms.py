"""``mmtk phantom``: synthetic raw data."""

from __future__ import annotations

from pathlib import Path

import click

from mmtk.cli._common import example, progress_bar
from mmtk.cli._names import RAW_FLAG, Folder


@click.command("phantom", epilog=example("mmtk phantom breastmnist --scale 0.1 --out sources"))
@click.argument("flags", metavar="[FLAG]...", nargs=-1, type=RAW_FLAG)
@click.option("--out", type=Folder(), required=True, help="Output folder; each source gets a subfolder.")
@click.option("--scale", type=float, default=0.01, show_default=True,
              help="Number of images, as a share of the published counts; at most 1.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same pixels.")
def phantom_command(flags: tuple[str, ...], out: Path, scale: float, seed: int) -> None:
    """Write synthetic raw data of each FLAG (by default, of the paper's ten) to OUT/FLAG.

    Each class has at least two images per split, whatever the scale. The three Organ sets share their volumes, in
    OUT/organmnist.
    """
    from mmtk.datasets.marks import SYNTHETIC
    from mmtk.datasets.sources import choose
    from mmtk.phantom import PHANTOMS, expect_drawn, write_phantom

    chosen = choose(flags or PHANTOMS)
    for dataset in chosen:
        expect_drawn(dataset)
    for family in dict.fromkeys(dataset.family for dataset in chosen):
        with progress_bar(f"phantom {family}") as progress:
            path = write_phantom(family, out, scale, seed, progress)
        click.echo(f"{path}: {SYNTHETIC} {family}, scale {scale:g}, seed {seed}")
