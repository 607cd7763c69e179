"""``mmtk match`` and ``mmtk audit``: what the pixels of a store tell."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmtk.cli._common import echo_json, json_option, progress_bar, progress_bars

if TYPE_CHECKING:
    from mmtk.matching import Alike, Audit

_file = click.Path(path_type=Path)
_SHOWN = 10


@click.command("match")
@click.argument("path", metavar="STORE", type=_file)
@click.argument("npz", type=_file)
@click.option("--out", type=_file, help="CSV file to write: the source of each row.")
@click.option("--limit", type=float, default=8.0, show_default=True,
              help="Farthest a source may be, in root mean square grey levels; JPEG 75 takes 2.6 to 7.7 at 28 px.")
@click.option("--force", is_flag=True, help="Replace another file.")
@json_option
@click.pass_context
def match_command(
    ctx: click.Context, path: Path, npz: Path, out: Path | None, limit: float, force: bool, as_json: bool
) -> None:
    """Tell which source of STORE each row of NPZ, an official file, is; exit 1 if one has none or is ambiguous."""
    from mmtk import matching, store

    start = time.monotonic()
    with progress_bar("searching") as progress:
        found = matching.match(store.open(path), npz, limit, progress)
    if out is not None:
        matching.write_match(found, out, force)
    facts = found.summary()
    seconds = round(time.monotonic() - start, 1)
    if as_json:
        files = {"store": str(path), "npz": str(npz)}
        echo_json({**files, "limit": limit, **facts, "sure": found.sure, "seconds": seconds})
    else:
        told = f"{facts['exact']} exact, {facts['nearest']} nearest, {facts['tie']} ties, {facts['none']} none"
        click.echo(f"{npz}: {facts['rows']} rows, {told}; {facts['ambiguous']} ambiguous; {seconds} s")
        if facts["farthest"]:
            click.echo(f"the farthest source is {facts['farthest']:g} grey levels away (limit {limit:g})")
        if facts["none"]:
            click.echo(f"the nearest source to a row without one is {facts['nearest_none']:g} grey levels away")
        if out is not None:
            click.echo(f"{out}: written")
    ctx.exit(0 if found.sure else 1)


@click.command("audit")
@click.argument("names", metavar="STORE_OR_FLAG...", nargs=-1, required=True)
@click.option("--near", type=float, default=4.0, show_default=True,
              help="Near duplicates: at most so many root mean square grey levels apart; 0 looks for none.")
@click.option("--sources", type=_file, envvar="MMTK_SOURCES", show_envvar=True,
              help="Folder with raw CT volumes: their axes are held against the organ boxes of each FLAG.")
@click.option("--csv", "table", type=_file, help="CSV file to write: all that is found.")
@click.option("--force", is_flag=True, help="Replace another file.")
@json_option
@click.pass_context
def audit_command(
    ctx: click.Context, names: tuple[str, ...], near: float, sources: Path | None, table: Path | None, force: bool,
    as_json: bool,
) -> None:
    """Find duplicates, conflicting labels and subjects in several splits; exit 1 if there are any.

    A dataset's flag stands for its known official membership, of which subjects alone are looked at; with --sources the
    flag of an Organ set counts the images that show another place than their label.
    """
    from mmtk import matching

    with progress_bars() as progress:
        found = [matching.audit_named(name, near, sources, progress) for name in names]
    if table is not None:
        matching.write_audit(found, table, force)
    if as_json:
        echo_json([one.facts() for one in found])
    else:
        for one in found:
            _print(one)
        if table is not None:
            click.echo(f"{table}: written")
    ctx.exit(1 if any(one.findings for one in found) else 0)


def _print(found: Audit) -> None:
    from mmtk.matching import across

    if found.near_limit is not None:
        exact, near, conflicts = found.exact, found.near, found.conflicts
        _list(f"{found.name}: {len(exact)} groups of equal pictures, {across(exact)} across splits", exact)
        limit = f"at most {found.near_limit:g} grey levels apart"
        _list(f"{found.name}: {len(near)} pairs of pictures {limit}, {across(near)} across splits", near)
        _list(f"{found.name}: {len(conflicts)} of these have different labels", conflicts)
    if found.volumes:
        _print_volumes(found)
        if not found.known_subjects:
            return
    if not found.known_subjects:
        click.echo(f"{found.name}: no subjects are known")
        return
    click.echo(f"{found.name}: {len(found.crossing)} subjects in several splits")
    for overlap in found.overlaps:
        click.echo(f"  {overlap}")


def _print_volumes(found: Audit) -> None:
    """Say how many images show another place than their label, and how each volume of these lies."""
    elsewhere = [volume for volume in found.volumes if volume.elsewhere]
    images, total = (sum(volume.count for volume in some) for some in (elsewhere, found.volumes))
    click.echo(
        f"{found.name}: {len(elsewhere)} of {len(found.volumes)} volumes lie against their boxes: {images} of {total} "
        "official images show another place than their label (--pixels clean turns the volumes)"
    )
    for volume in found.volumes:
        if volume.elsewhere or volume.contradiction:
            counts = ", ".join(f"{n} {split}" for split, n in volume.images.items())
            warning = "HEADER AND BODY DISAGREE: " if volume.contradiction else ""
            click.echo(f"  {volume.file}: {counts} images; {warning}{volume}")


def _list(title: str, found: tuple[Alike, ...]) -> None:
    click.echo(title)
    for alike in sorted(found, key=lambda one: not one.across)[:_SHOWN]:
        places = [f"{place} ({place.label_text})" for place in alike.places[:_SHOWN]]
        more = f" and {len(alike.places) - _SHOWN} more" if len(alike.places) > _SHOWN else ""
        click.echo(f"  {alike.distance:g}: {' = '.join(places) if not alike.distance else ' ~ '.join(places)}{more}")
    if len(found) > _SHOWN:
        click.echo(f"  and {len(found) - _SHOWN} more")
