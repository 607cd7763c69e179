"""``mmtk phantom``: synthetic sources."""

from __future__ import annotations

from pathlib import Path

import click

from mmtk.cli._common import progress_bar


@click.command("phantom")
@click.argument("flags", metavar="[FLAG]...", nargs=-1)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder that will hold the sources.")
@click.option("--scale", type=float, default=0.01, show_default=True, help="Part of the published counts, at most 1.")
@click.option("--seed", type=int, default=0, show_default=True, help="Equal seeds give equal pixels.")
def phantom_command(flags: tuple[str, ...], out: Path, scale: float, seed: int) -> None:
    """Write synthetic raw files of each FLAG (by default all ten) into OUT/FLAG.

    At least two images a class and split are written, whatever the scale. The three Organ sets share their volumes, in
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
