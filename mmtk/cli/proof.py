"""``mmtk prove``: how much of MedMNIST the files at hand show to be reproduced bit for bit."""

from __future__ import annotations

from pathlib import Path

import click

from mmtk.cli._common import echo_json, echo_table, example, json_option, progress_bars
from mmtk.cli._names import FLAG, Folder
from mmtk.datasets.official import SIZES


@click.command("prove", epilog=example("mmtk prove breastmnist --sources sources --npz . --size 28"))
@click.argument("flags", metavar="[FLAG]...", nargs=-1, type=FLAG)
@click.option("--sources", type=Folder(), envvar="MMTK_SOURCES", show_envvar=True,
              help="Folder with the raw data: one provider's, or one that holds several.")
@click.option("--npz", type=Folder(), help="Folder with official .npz files, which are recognised by their MD5.")
@click.option("--stores", type=Folder(), help="Folder with existing stores to use; only missing ones are built.")
@click.option("--size", "sizes", type=int, multiple=True, default=SIZES, show_default=True,
              help="Edge length in pixels; repeatable.")
@click.option("--out", type=Folder(), help="Folder for a picture of the first row that differs.")
@click.option("--workers", type=click.IntRange(min=1), help="Number of threads; by default one per core.")
@json_option
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the table as Markdown.")
@click.pass_context
def prove_command(
    ctx: click.Context, flags: tuple[str, ...], sources: Path | None, npz: Path | None, stores: Path | None,
    sizes: tuple[int, ...], out: Path | None, workers: int | None, as_json: bool, as_markdown: bool,
) -> None:
    """Prove for each FLAG (by default, the paper's ten) whatever the files at hand allow, and print one table.

    \b
    The kinds of evidence, strongest first:
      MD5          built from raw images and written as .npz, the dataset has the published MD5
      rows n of m  rows built from the raw images equal official rows bit for bit, labels included
      counts       the split rule, applied to all raw files or lists of them, gives the published counts
      container    the official file has its published MD5 again after import and export
      signature    official pixels show traces of JPEG, or none, as the recipe predicts

    Each cell of the table shows the strongest evidence, and weaker kinds that also hold in brackets. Below the table
    are the differences, and what is missing for stronger evidence and where to get it. Give --sources, --npz or both.
    Datasets that are not built from raw images have evidence of the container only.

    Exits with 1 if something differs.
    """
    from mmtk import proof

    if as_json and as_markdown:
        raise click.UsageError("give --json or --markdown, not both")
    with progress_bars() as progress:
        result = proof.prove(
            flags, sources=sources, npz=npz, stores=stores, sizes=sizes, out=out, workers=workers, progress=progress
        )
    if as_json:
        echo_json(result.facts())
    elif as_markdown:
        click.echo(proof.markdown(result), nl=False)
    else:
        echo_table(*proof.table(result))
        for line in proof.lines(result):
            click.echo(line)
    ctx.exit(1 if result.differences else 0)
