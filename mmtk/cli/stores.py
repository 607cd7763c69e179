"""``mmtk fetch``, ``import``, ``export``, ``verify`` and ``show``: official files and stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mmtk.cli._common import counts_text, echo_json, example, json_option, out_option, progress_bar
from mmtk.cli._names import EDITION, FLAG, Choice, Folder
from mmtk.datasets.base import SPLITS
from mmtk.datasets.official import SIZES

_file = click.Path(path_type=Path)


@click.command("fetch", epilog=example("mmtk fetch breastmnist --size 28 --size 224 --out official"))
@click.argument("flags", metavar="FLAG...", nargs=-1, required=True, type=FLAG)
@click.option("--out", type=Folder(), required=True, help="Output folder.")
@click.option("--size", "sizes", type=int, multiple=True, default=SIZES[:1], show_default=True,
              help=f"Edge length in pixels: {', '.join(map(str, SIZES[:-1]))} or {SIZES[-1]}; for volumes 28 or 64; "
              "repeatable.")
@click.option("--edition", type=EDITION, metavar="YEAR", show_default="the dataset's last: 2024",
              help="The 2020, 2021 and 2022 editions exist only at 28 px; mmtk info FLAG lists a dataset's editions.")
@click.option("--base-url", envvar="MMTK_OFFICIAL_URL", show_envvar=True, metavar="URL",
              help="Mirror to download from.")
@click.option("--force", is_flag=True, help="Replace existing files whose content differs.")
def fetch_command(
    flags: tuple[str, ...], out: Path, sizes: tuple[int, ...], edition: str | None, base_url: str | None, force: bool
) -> None:
    """Download the official .npz file of each FLAG and check its MD5; interrupted downloads resume."""
    from mmtk import store
    from mmtk.datasets import get_dataset

    for flag in flags:
        chosen = edition or get_dataset(flag).last_edition
        for size in sizes:
            with progress_bar(f"fetch {flag} {size}") as progress:
                path = store.fetch_npz(
                    flag, out, size=size, edition=chosen, base_url=base_url, force=force, progress=progress
                )
            click.echo(f"{path}: official file (MD5 matches)")


@click.command("import", epilog=example("mmtk import breastmnist.npz --out imported"))
@click.argument("npz", type=_file)
@out_option("Output folder for the store.")
@click.option("--flag", type=FLAG, help="Dataset; by default taken from the file's name.")
@click.option("--force", is_flag=True, help="Replace a store whose content differs.")
@json_option
def import_command(npz: Path, out: Path, flag: str | None, force: bool, as_json: bool) -> None:
    """Convert NPZ to a store: a MedMNIST file, or one that mmtk export wrote from a dataset of your own.

    Only its MD5 makes a MedMNIST file official. A file that was never published is marked as such if it has the image
    counts of an edition, and refused otherwise; for your own images, write a dataset file (mmtk draft). A store that
    was imported from the same file before is kept unchanged.
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


@click.command("export", epilog=example(
    "mmtk export stores/breastmnist_28.h5 --to npz --out exported",
    "mmtk export stores/breastmnist_28.h5 --to hub --out shared",
))
@click.argument("path", metavar="STORE", type=_file)
@click.option(
    "--to", "kind", type=Choice(["npz", "png", "h5", "hub", "vertex"]), required=True,
    help="npz: MedMNIST's format. png: PNG files (GIF for volumes) and a CSV. h5: a compressed store. hub: a folder to "
         "share on Hugging Face. vertex: import files for Google's Vertex AI.",
)
@click.option("--out", type=Folder(), required=True, help="Output folder; with --to hub, the folder to share.")
@click.option("--as", "form", type=Choice(["imagefolder", "parquet"]), default="imagefolder", show_default=True,
              help="With --to hub: PNG files with a CSV, or Parquet, which suits more than about ten thousand images.")
@click.option("--keep-names", is_flag=True,
              help="With --to hub: keep the names of files and subjects, in place of keyed hashes.")
@click.option("--compression", type=Choice(["gzip", "zstd"]), default="gzip", show_default=True,
              help="With --to h5; zstd needs pip install 'mmtk[zstd]'.")
@click.option("--prefix", metavar="URL", help="With --to vertex: where --out will be uploaded, as gs://bucket/path.")
@click.option("--force", is_flag=True, help="Replace existing files whose content differs.")
def export_command(
    path: Path, kind: str, out: Path, form: str, keep_names: bool, compression: str, prefix: str | None, force: bool
) -> None:
    """Convert STORE to MedMNIST's .npz, PNG files, a compressed store, a folder to share, or files for Vertex AI.

    A compressed store reads like any other and keeps the names of files and subjects. The .npz file of a dataset of
    your own contains its facts, so that mmtk import can read it back.

    A folder to share (--to hub) can be loaded by Hugging Face's datasets and by mlcroissant, and includes a dataset
    card, the licence and the citation; a dataset without a licence is refused. Names of files and subjects are replaced
    by keyed hashes; keep the key, FLAG.key beside STORE, to yourself.

    For Vertex AI (--to vertex), PNG files are written with two lists of labels and splits: FLAG_vertex.jsonl for the
    current service and FLAG_automl.csv for its predecessor, AutoML Vision.
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
        written = store.export_vertex(opened, out, _required_prefix(prefix), force)
    else:
        written = (store.export_npz if kind == "npz" else store.export_png)(opened, out, force)
    click.echo(f"{written}: {counts_text(opened.counts)}{_marks(opened.info.marks)}")


def _required_prefix(prefix: str | None) -> str:
    from mmtk.errors import ArgumentError

    if prefix is None:
        raise ArgumentError("--to vertex", "needs --prefix gs://bucket/path, the place --out will be uploaded to")
    return prefix


@click.command("verify", epilog=example("mmtk verify stores/*.h5"))
@click.argument("paths", metavar="STORE...", nargs=-1, required=True, type=_file)
@click.option("--digest", help="Digest that the one STORE must have, as noted earlier.")
@click.option("--against-official", is_flag=True, help="Also compare with the official file and the published MD5.")
@click.option("--npz", type=Folder(), help="Folder with the official files; by default the store's folder.")
@json_option
@click.pass_context
def verify_command(
    ctx: click.Context, paths: tuple[Path, ...], digest: str | None, against_official: bool, npz: Path | None,
    as_json: bool,
) -> None:
    """Read each STORE and compare it with its checksums.

    mmtk info STORE prints a store's digest: one number for its facts and every pixel.

    Exits with 1 if a checksum differs, 2 if a store cannot be opened or has another digest.
    """
    from mmtk import store
    from mmtk.errors import ArgumentError, StoreError

    if digest is not None and len(paths) > 1:
        raise ArgumentError("--digest", f"goes with one store, not {len(paths)}")
    results: dict[str, Any] = {}
    code = 0
    for path in paths:
        try:
            results[str(path)] = problems = store.verify(path, digest)
            opened = store.open(path)
        except StoreError as error:
            results[str(path)], code = [str(error)], 2
            click.echo(f"mmtk: error: {error}", err=True)
            continue
        code = max(code, 1 if problems else 0)
        if not as_json:
            for line in problems or [f"{path}: intact, {counts_text(opened.counts)}{_marks(opened.info.marks)}"]:
                click.echo(line)
        if against_official:
            try:
                compared = store.compare_official(opened, npz or path.parent)
            except StoreError as error:
                results[str(path)], code = [*problems, str(error)], 2
                click.echo(f"mmtk: error: {error}", err=True)
                continue
            code = max(code, 1 if compared.differs else 0)
            results[str(path)] = {"problems": problems, "official": compared.facts()}
            if not as_json:
                for line in compared.lines(opened.info):
                    click.echo(f"  {line}")
    if as_json:
        echo_json(results)
    ctx.exit(code)


@click.command("show", epilog=example("mmtk show stores/breastmnist_28.h5 --out montage.png"))
@click.argument("path", metavar="STORE", type=_file)
@click.option("--out", type=_file, metavar="FILE", required=True, help="File to write: .png, or for volumes also .gif.")
@click.option("--split", type=Choice(SPLITS), default=SPLITS[0], show_default=True)
def show_command(path: Path, out: Path, split: str) -> None:
    """Draw a montage of STORE, with a row of images per class or label.

    For volumes, a PNG shows the middle slices and a GIF (--out NAME.gif) animates all slices.
    """
    from mmtk import store

    opened = store.open(path)
    click.echo(f"{store.draw_montage(opened, out, split)}: {opened.info.title} {split}{_marks(opened.info.marks)}")


def _marks(marks: str) -> str:
    return f"; {marks}" if marks else ""
