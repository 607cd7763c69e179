"""``mmtk match`` and ``mmtk audit``: compare pixels, with an official file or within stores."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmtk.cli._common import echo_json, example, json_option, progress_bar, progress_bars
from mmtk.cli._names import FLAG_OR_FILE, Folder

if TYPE_CHECKING:
    from mmtk.matching import Audit, DuplicateGroup

_file = click.Path(path_type=Path)
_SHOWN = 10


@click.command("match", epilog=example(
    "mmtk match stores/breastmnist_28.h5 breastmnist.npz --out breastmnist_map.csv",
))
@click.argument("path", metavar="STORE", type=_file)
@click.argument("npz", type=_file)
@click.option("--out", type=_file, metavar="FILE", help="CSV file to write: the source of each row.")
@click.option("--limit", type=float, default=8.0, show_default=True,
              help="Largest distance of a source, as RMS in grey levels; JPEG 75 causes 2.6 to 7.7 at 28 px.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@json_option
@click.pass_context
def match_command(
    ctx: click.Context, path: Path, npz: Path, out: Path | None, limit: float, force: bool, as_json: bool
) -> None:
    """Find the source image in STORE of each row of NPZ, an official file.

    Exits with 1 if a row has no source or more than one.
    """
    from mmtk import matching, store

    start = time.monotonic()
    with progress_bar("searching") as progress:
        result = matching.match(store.open(path), npz, limit, progress)
    if out is not None:
        matching.write_match(result, out, force)
    facts = result.summary()
    seconds = round(time.monotonic() - start, 1)
    if as_json:
        files = {"store": str(path), "npz": str(npz)}
        echo_json({**files, "limit": limit, **facts, "sure": result.sure, "seconds": seconds})
    else:
        counts = f"{facts['exact']} exact, {facts['nearest']} nearest, {facts['tie']} ties, {facts['none']} unmatched"
        click.echo(f"{npz}: {facts['rows']} rows: {counts}; {facts['ambiguous']} ambiguous; {seconds} s")
        if facts["farthest"]:
            click.echo(f"largest distance of a matched row: RMS {facts['farthest']:g} (limit {limit:g})")
        if facts["none"]:
            click.echo(f"closest candidate for an unmatched row: RMS {facts['nearest_none']:g}")
        if out is not None:
            click.echo(f"{out}: written")
    ctx.exit(0 if result.sure else 1)


@click.command("audit", epilog=example("mmtk audit stores/breastmnist_28.h5 --csv audit.csv"))
@click.argument("names", metavar="STORE_OR_FLAG...", nargs=-1, required=True, type=FLAG_OR_FILE)
@click.option("--near", type=float, default=4.0, show_default=True,
              help="Largest distance of near duplicates, as RMS in grey levels; 0 to skip them.")
@click.option("--sources", type=Folder(), envvar="MMTK_SOURCES", show_envvar=True,
              help="Folder with raw CT volumes, whose axes are compared with the organ boxes of each FLAG.")
@click.option("--csv", "table", type=_file, metavar="FILE", help="CSV file to write, with all findings.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@json_option
@click.pass_context
def audit_command(
    ctx: click.Context, names: tuple[str, ...], near: float, sources: Path | None, table: Path | None, force: bool,
    as_json: bool,
) -> None:
    """Find duplicates, conflicting labels and subjects in several splits. Exits with 1 if there are any.

    Of a dataset's flag, only the subjects of its known official rows are checked. With --sources, the flag of an Organ
    set also reports images that show a different place from the one their label names.
    """
    from mmtk import matching

    with progress_bars() as progress:
        audits = [matching.audit_named(name, near, sources, progress) for name in names]
    if table is not None:
        matching.write_audit(audits, table, force)
    if as_json:
        echo_json([audit.facts() for audit in audits])
    else:
        for audit in audits:
            _print(audit)
        if table is not None:
            click.echo(f"{table}: written")
    ctx.exit(1 if any(audit.findings for audit in audits) else 0)


def _print(audit: Audit) -> None:
    from mmtk.matching import count_across

    if audit.near_limit is not None:
        exact, near, conflicts = audit.exact, audit.near, audit.conflicts
        _list(f"{audit.name}: {len(exact)} groups of identical images, {count_across(exact)} across splits", exact)
        limit = f"within RMS {audit.near_limit:g}"
        _list(f"{audit.name}: {len(near)} pairs of near duplicates ({limit}), {count_across(near)} across splits", near)
        _list(f"{audit.name}: {len(conflicts)} of these with conflicting labels", conflicts)
    if audit.volumes:
        _print_volumes(audit)
        if not audit.known_subjects:
            return
    if not audit.known_subjects:
        click.echo(f"{audit.name}: subjects unknown")
        return
    click.echo(f"{audit.name}: {len(audit.crossing)} subjects in several splits")
    for overlap in audit.overlaps:
        click.echo(f"  {overlap}")


def _print_volumes(audit: Audit) -> None:
    """Print how many images show a different place from their label's, and how their volumes are oriented."""
    misplaced = [volume for volume in audit.volumes if volume.misplaced]
    images, total = (sum(volume.count for volume in volumes) for volumes in (misplaced, audit.volumes))
    click.echo(
        f"{audit.name}: {len(misplaced)} of {len(audit.volumes)} volumes are oriented differently from their boxes: "
        f"{images} of {total} official images do not show the place their label names (--pixels clean corrects this)"
    )
    for volume in audit.volumes:
        if volume.misplaced or volume.contradiction:
            counts = ", ".join(f"{n} {split}" for split, n in volume.images.items())
            warning = "HEADER AND IMAGE DISAGREE: " if volume.contradiction else ""
            click.echo(f"  {volume.file}: {counts} images; {warning}{volume}")


def _list(title: str, groups: tuple[DuplicateGroup, ...]) -> None:
    click.echo(title)
    for group in sorted(groups, key=lambda group: not group.across)[:_SHOWN]:
        places = [f"{place} ({place.label_text})" for place in group.places[:_SHOWN]]
        more = f" and {len(group.places) - _SHOWN} more" if len(group.places) > _SHOWN else ""
        click.echo(f"  {group.distance:g}: {' = '.join(places) if not group.distance else ' ~ '.join(places)}{more}")
    if len(groups) > _SHOWN:
        click.echo(f"  and {len(groups) - _SHOWN} more")
