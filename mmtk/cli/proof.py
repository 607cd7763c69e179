"""``mmtk prove``: how much can be shown to be MedMNIST bit for bit, with the files at hand."""

from __future__ import annotations

from pathlib import Path

import click

from mmtk.cli._common import echo_json, echo_table, json_option, progress_bars
from mmtk.datasets.official import SIZES

_folder = click.Path(path_type=Path)


@click.command("prove")
@click.argument("flags", metavar="[FLAG]...", nargs=-1)
@click.option("--sources", type=_folder, envvar="MMTK_SOURCES", show_envvar=True,
              help="Folder with the raw data: a provider's folder, or one that holds several.")
@click.option("--npz", type=_folder, help="Folder with official .npz files; their MD5s tell which are official.")
@click.option("--stores", type=_folder, help="Folder with stores built before: taken as they are, the rest is built.")
@click.option("--size", "sizes", type=int, multiple=True, default=SIZES, show_default=True,
              help="Edge length in pixels; give it again for more.")
@click.option("--out", type=_folder, help="Folder for a picture of the first row that differs.")
@click.option("--workers", type=click.IntRange(min=1), help="Threads of the build; by default one a core.")
@json_option
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the table as Markdown.")
@click.pass_context
def prove_command(
    ctx: click.Context, flags: tuple[str, ...], sources: Path | None, npz: Path | None, stores: Path | None,
    sizes: tuple[int, ...], out: Path | None, workers: int | None, as_json: bool, as_markdown: bool,
) -> None:
    """Prove of each FLAG (by default the paper's ten) what the files at hand allow, and print one table.

    \b
    From strong to weak, for each size:
      MD5          built from raw images and written as .npz, it has the published MD5
      rows n of m  rows built from the raw images at hand equal official ones, bit for bit, label and all
      counts       the split rule, on all raw files or lists of them, gives the published counts
      container    the official file, imported and exported again, has its published MD5
      signature    official pixels bear the trace of JPEG, or do not, as the recipe says

    The strongest stands first, weaker ones that hold as well in brackets. Below it: what differs, and what is
    missing to prove more and where to get it. Give --sources, --npz or both. Exit 1 if something differs. Of sets that
    are not built from raw images the container is all that can be proved.
    """
    from mmtk import proof

    if as_json and as_markdown:
        raise click.UsageError("give --json or --markdown, not both")
    with progress_bars() as progress:
        found = proof.prove(
            flags, sources=sources, npz=npz, stores=stores, sizes=sizes, out=out, workers=workers, progress=progress
        )
    if as_json:
        echo_json(found.facts())
    elif as_markdown:
        click.echo(proof.markdown(found), nl=False)
    else:
        echo_table(*proof.table(found))
        for line in proof.lines(found):
            click.echo(line)
    ctx.exit(1 if found.differences else 0)
