"""``mmtk import``, ``export``, ``verify`` and ``show``: what is done to a store."""

from __future__ import annotations

from pathlib import Path

import click

from mmtk.cli._common import echo_json, json_option, out_option

_store = click.Path(path_type=Path)


@click.command("import")
@click.argument("npz", type=_store)
@out_option("Folder of the store.")
@click.option("--flag", help="The dataset; by default told by the file's name.")
@click.option("--force", is_flag=True, help="Replace a store of other content.")
@json_option
def import_command(npz: Path, out: Path, flag: str | None, force: bool, as_json: bool) -> None:
    """Turn NPZ, a MedMNIST file, into a store; one that is there from the same file is left alone."""
    from mmtk import store

    path = store.import_npz(npz, out, flag, force)
    opened = store.open(path)
    if as_json:
        info = opened.info
        echo_json({
            "path": str(path), "counts": opened.counts, "membership": info.membership,
            "synthetic": info.synthetic, "partial": info.partial,
        })
    else:
        click.echo(f"{path}: {_counts(opened.counts)}; {opened.info.membership}{_marks(opened.info.marks)}")


@click.command("export")
@click.argument("path", metavar="STORE", type=_store)
@click.option(
    "--to", "kind", type=click.Choice(["npz", "png"]), required=True, help="One .npz, or a folder of PNG and a CSV."
)
@click.option("--out", type=_store, required=True, help="Folder to write into.")
@click.option("--force", is_flag=True, help="Replace what is there; equal files are left alone in any case.")
def export_command(path: Path, kind: str, out: Path, force: bool) -> None:
    """Write STORE as MedMNIST's .npz, or as PNG files with a CSV."""
    from mmtk import store

    opened = store.open(path)
    written = (store.export_npz if kind == "npz" else store.export_png)(opened, out, force)
    click.echo(f"{written}: {_counts(opened.counts)}{_marks(opened.info.marks)}")


@click.command("verify")
@click.argument("paths", metavar="STORE...", nargs=-1, required=True, type=_store)
@json_option
@click.pass_context
def verify_command(ctx: click.Context, paths: tuple[Path, ...], as_json: bool) -> None:
    """Recompute the checksums of each STORE; exit 1 if one differs, 2 if one cannot be opened."""
    from mmtk import store
    from mmtk.errors import StoreError

    found: dict[str, list[str]] = {}
    code = 0
    for path in paths:
        try:
            found[str(path)] = problems = store.verify(path)
            opened = store.open(path)
        except StoreError as error:
            found[str(path)], code = [str(error)], 2
            click.echo(f"mmtk: error: {error}", err=True)
            continue
        code = max(code, 1 if problems else 0)
        if not as_json:
            for line in problems or [f"{path}: whole, {_counts(opened.counts)}{_marks(opened.info.marks)}"]:
                click.echo(line)
    if as_json:
        echo_json(found)
    ctx.exit(code)


@click.command("show")
@click.argument("path", metavar="STORE", type=_store)
@click.option("--out", type=_store, required=True, help="The PNG file to write.")
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="train", show_default=True)
def show_command(path: Path, out: Path, split: str) -> None:
    """Draw a montage of STORE: a row of images a class, or a label."""
    from mmtk import store

    opened = store.open(path)
    click.echo(f"{store.draw_montage(opened, out, split)}: {opened.info.title} {split}{_marks(opened.info.marks)}")


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.items())


def _marks(marks: str) -> str:
    return f"; {marks}" if marks else ""
