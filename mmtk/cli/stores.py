"""``mmtk import``, ``export``, ``verify`` and ``show``: what is done to a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mmtk.cli._common import counts_text, echo_json, json_option, out_option, progress_bar
from mmtk.datasets.base import SPLITS
from mmtk.datasets.official import SIZES

_store = click.Path(path_type=Path)


@click.command("fetch")
@click.argument("flags", metavar="FLAG...", nargs=-1, required=True)
@click.option("--out", type=_store, required=True, help="Folder of the files.")
@click.option("--size", "sizes", type=int, multiple=True, default=SIZES[:1], show_default=True,
              help=f"Edge length in pixels: {', '.join(map(str, SIZES[:-1]))} or {SIZES[-1]}, of volumes 28 or 64; "
              "give it again for more.")
@click.option("--edition", show_default="the dataset's last: 2024",
              help="Of 2020, 2021 and 2022 there is 28 px alone; mmtk info FLAG tells which of them a set has.")
@click.option("--base-url", envvar="MMTK_OFFICIAL_URL", show_envvar=True, help="A mirror to fetch from.")
@click.option("--force", is_flag=True, help="Replace files of other content.")
def fetch_command(
    flags: tuple[str, ...], out: Path, sizes: tuple[int, ...], edition: str | None, base_url: str | None, force: bool
) -> None:
    """Fetch the official .npz of each FLAG: resumed after a cut, and kept only with the published MD5."""
    from mmtk import store
    from mmtk.datasets import get_dataset

    for flag in flags:
        meant = edition or get_dataset(flag).last_edition
        for size in sizes:
            with progress_bar(f"fetch {flag} {size}") as progress:
                path = store.fetch_npz(
                    flag, out, size=size, edition=meant, base_url=base_url, force=force, progress=progress
                )
            click.echo(f"{path}: the official file, by its MD5")


@click.command("import")
@click.argument("npz", type=_store)
@out_option("Folder of the store.")
@click.option("--flag", help="The dataset; by default told by the file's name.")
@click.option("--force", is_flag=True, help="Replace a store of other content.")
@json_option
def import_command(npz: Path, out: Path, flag: str | None, force: bool, as_json: bool) -> None:
    """Turn NPZ into a store: a MedMNIST file, or one that mmtk export wrote of a dataset of your own.

    A file of MedMNIST is official by its MD5 alone. One that was never published is marked as such if it has the counts
    of an edition, and refused if it has not: a dataset file is the way for images of your own. A store that is there
    from the same file is left alone.
    """
    from mmtk import store

    path = store.import_npz(npz, out, flag, force)
    opened = store.open(path)
    if as_json:
        info = opened.info
        echo_json({
            "path": str(path), "counts": opened.counts, "membership": info.membership,
            "synthetic": info.synthetic, "partial": info.partial, "unpublished": info.unpublished,
        })
    else:
        click.echo(f"{path}: {counts_text(opened.counts)}; {opened.info.membership}{_marks(opened.info.marks)}")


@click.command("export")
@click.argument("path", metavar="STORE", type=_store)
@click.option(
    "--to", "kind", type=click.Choice(["npz", "png", "h5", "hub", "vertex"]), required=True,
    help="One .npz, a folder of PNG (of volumes GIF) and a CSV, a compressed store, a folder to share, or what "
         "Google's Vertex AI imports.",
)
@click.option("--out", type=_store, required=True, help="Folder to write into; of --to hub, the one to share.")
@click.option("--as", "form", type=click.Choice(["imagefolder", "parquet"]), default="imagefolder", show_default=True,
              help="Of --to hub: PNG files with a CSV, or Parquet, for more than some ten thousand images.")
@click.option("--keep-names", is_flag=True,
              help="Of --to hub: let file names and subjects leave as they are, not as keyed hashes.")
@click.option("--compression", type=click.Choice(["gzip", "zstd"]), default="gzip", show_default=True,
              help="Of --to h5; zstd needs the extra of that name.")
@click.option("--prefix", help="Of --to vertex: where the content of --out will lie, as gs://bucket/path.")
@click.option("--force", is_flag=True, help="Replace what is there; equal files are left alone in any case.")
def export_command(
    path: Path, kind: str, out: Path, form: str, keep_names: bool, compression: str, prefix: str | None, force: bool
) -> None:
    """Write STORE as MedMNIST's .npz, PNG files with a CSV, a compressed store, a folder to share, or for Vertex AI.

    A compressed store reads like any other, and has the names of files and subjects too. The .npz of a dataset of your
    own brings its facts, for mmtk import.

    A folder to share (--to hub) is what Hugging Face's datasets and mlcroissant load, with card, licence and citation;
    without a licence there is none. Names of files and subjects are keyed hashes in it: the key, FLAG.key beside STORE,
    is yours to keep.

    For Vertex AI (--to vertex) there are PNG files and two lists of them with labels and splits: FLAG_vertex.jsonl for
    today's service and FLAG_automl.csv as its predecessor, AutoML Vision, took it.
    """
    from mmtk import store

    opened = store.open(path)
    store.expect_whole(path)
    if kind == "h5":
        written = store.compress(opened, out, compression, force)
    elif kind == "hub":
        from mmtk.compat import export_hub

        written = export_hub(opened, out, form, keep_names=keep_names, force=force)
    elif kind == "vertex":
        written = store.export_vertex(opened, out, _given_prefix(prefix), force)
    else:
        written = (store.export_npz if kind == "npz" else store.export_png)(opened, out, force)
    click.echo(f"{written}: {counts_text(opened.counts)}{_marks(opened.info.marks)}")


def _given_prefix(prefix: str | None) -> str:
    from mmtk.errors import ArgumentError

    if prefix is None:
        raise ArgumentError("--to vertex", expected="--prefix gs://bucket/path, where --out will lie", found="none")
    return prefix


@click.command("verify")
@click.argument("paths", metavar="STORE...", nargs=-1, required=True, type=_store)
@click.option("--digest", help="The digest that one STORE must have, as noted when it was whole.")
@click.option("--against-official", is_flag=True, help="Compare with the official file and the published MD5 too.")
@click.option("--npz", type=_store, help="Folder with the official files; by default the store's own.")
@json_option
@click.pass_context
def verify_command(
    ctx: click.Context, paths: tuple[Path, ...], digest: str | None, against_official: bool, npz: Path | None,
    as_json: bool,
) -> None:
    """Recompute the checksums of each STORE; exit 1 if one differs, 2 if one cannot be opened or has another digest.

    The digest is printed by mmtk info STORE: one number for the facts and every pixel.
    """
    from mmtk import store
    from mmtk.errors import ArgumentError, StoreError

    if digest is not None and len(paths) > 1:
        raise ArgumentError("--digest", expected="one store", found=f"{len(paths)}")
    found: dict[str, Any] = {}
    code = 0
    for path in paths:
        try:
            found[str(path)] = problems = store.verify(path, digest)
            opened = store.open(path)
        except StoreError as error:
            found[str(path)], code = [str(error)], 2
            click.echo(f"mmtk: error: {error}", err=True)
            continue
        code = max(code, 1 if problems else 0)
        if not as_json:
            for line in problems or [f"{path}: whole, {counts_text(opened.counts)}{_marks(opened.info.marks)}"]:
                click.echo(line)
        if against_official:
            try:
                compared = store.compare_official(opened, npz or path.parent)
            except StoreError as error:
                found[str(path)], code = [*problems, str(error)], 2
                click.echo(f"mmtk: error: {error}", err=True)
                continue
            code = max(code, 1 if compared.differs else 0)
            found[str(path)] = {"problems": problems, "official": compared.facts()}
            if not as_json:
                for line in compared.lines(opened.info):
                    click.echo(f"  {line}")
    if as_json:
        echo_json(found)
    ctx.exit(code)


@click.command("show")
@click.argument("path", metavar="STORE", type=_store)
@click.option("--out", type=_store, required=True, help="The PNG file to write; of volumes also a GIF, by its name.")
@click.option("--split", type=click.Choice(SPLITS), default=SPLITS[0], show_default=True)
def show_command(path: Path, out: Path, split: str) -> None:
    """Draw a montage of STORE: a row of images a class, or a label.

    Of volumes a PNG shows the slices in the middle, a GIF (--out NAME.gif) all of them in turn.
    """
    from mmtk import store

    opened = store.open(path)
    click.echo(f"{store.draw_montage(opened, out, split)}: {opened.info.title} {split}{_marks(opened.info.marks)}")


def _marks(marks: str) -> str:
    return f"; {marks}" if marks else ""
