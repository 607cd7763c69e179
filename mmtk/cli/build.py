"""``mmtk build``: stores from raw images."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from mmtk.cli._common import echo_json, json_option, progress_bar


@click.command("build")
@click.argument("flags", metavar="FLAG...", nargs=-1)
@click.option("--all", "everything", is_flag=True,
              help="All ten. A source that is not there is an error; with "
              "--allow-partial its dataset is passed by.")
@click.option("--sources", type=click.Path(path_type=Path), envvar="MMTK_SOURCES", show_envvar=True,
              help="Folder with the raw data: a provider's folder, or one that holds several.")
@click.option("--listing", type=click.Path(path_type=Path), help="With --plan-only: a text file of file names instead.")
@click.option("--out", type=click.Path(path_type=Path), envvar="MMTK_STORES", show_envvar=True,
              help="Folder of the stores.")
@click.option("--size", "sizes", type=int, multiple=True, default=(28,), show_default=True,
              help="Edge length in pixels; give it again for more, all from one decode.")
@click.option("--edition", type=click.Choice(["2020", "2024"]), default="2020", show_default=True)
@click.option("--pixels", type=click.Choice(["official", "clean"]), default="official", show_default=True,
              help="As MedMNIST was made; or without its flaws: no JPEG round trip, CT turned and sized by its header.")
@click.option("--split", type=click.Choice(["official", "grouped"]), default="official", show_default=True,
              help="The official rows, or no patient, lesion or volume in two splits.")
@click.option("--match-npz", type=click.Path(path_type=Path),
              help="Folder with official .npz files: find their rows among the raw images again, by pixels.")
@click.option("--map", "map_csv", metavar="FILE", type=click.Path(path_type=Path),
              help="CSV that says which image is which row of one dataset: split,index,image_id.")
@click.option("--allow-partial", is_flag=True, help="Build from what is there; the store is marked partial.")
@click.option("--on-error", type=click.Choice(["stop", "skip"]), default="stop", show_default=True,
              help="At a bad image: stop, or leave it out, name it in a findings file and exit 1.")
@click.option("--plan-only", is_flag=True, help="Print the counts beside the published ones and stop.")
@click.option("--force", is_flag=True, help="Replace stores that were built from another plan.")
@click.option("--workers", type=int, help="Threads; by default one a core.")
@json_option
@click.pass_context
def build_command(
    ctx: click.Context, /, flags: tuple[str, ...], everything: bool, sources: Path | None, listing: Path | None,
    out: Path | None, plan_only: bool, as_json: bool, **choices: Any,
) -> None:
    """Build the stores of each FLAG from the providers' raw images."""
    if bool(flags) == everything:
        raise click.UsageError("give one FLAG or several, or --all")
    if sources is None and not (plan_only and listing):
        raise click.UsageError("give --sources, or set MMTK_SOURCES")
    if listing and not plan_only:
        raise click.UsageError("--listing goes with --plan-only: a list of names has no pixels")
    names = _all(None if listing else sources, choices["allow_partial"]) if everything else list(flags)
    if plan_only:
        _plan(names, sources, listing, as_json, choices)
        return
    if out is None:
        raise click.UsageError("give --out, or set MMTK_STORES")
    from mmtk.builder import build

    start = time.perf_counter()
    with ExitStack() as stack:
        track: Callable[[str], Any] = lambda flag: stack.enter_context(progress_bar(flag))  # noqa: E731
        results = build(names, sources=sources, out=out, progress=track, **choices)  # type: ignore[arg-type]
    seconds = time.perf_counter() - start
    bad = sorted({(f.name, f.detail) for result in results for f in result.findings if f.kind == "bad"})
    if as_json:
        echo_json([
            {"path": str(r.path), "flag": r.flag, "size": r.size, "counts": r.counts, "reused": r.reused,
             "synthetic": r.synthetic, "partial": r.partial, "seconds": r.seconds,
             "findings": [vars(f) for f in r.findings]}
            for r in results
        ])
    else:
        for result in results:
            marks = [m for m, on in (("SYNTHETIC", result.synthetic), ("PARTIAL", result.partial)) if on]
            if result.reused:
                marks.append("left alone: it was there from the same plan")
            tail = f" ({', '.join(marks)})" if marks else ""
            click.echo(f"{result.path}: {_beside_published(result.flag, choices['edition'], result.counts)}{tail}")
        built = sum(sum(counts.values()) for counts in {r.flag: r.counts for r in results if not r.reused}.values())
        if built:
            click.echo(f"{built} images in {seconds:.1f} s, {built / seconds:.0f} images/s{_shares(results)}")
        for flag, findings in {r.flag: r.findings for r in results}.items():
            if kinds := Counter(finding.kind for finding in findings):
                click.echo(f"{flag}: {', '.join(f'{n:,} {kind}' for kind, n in kinds.items())}; --json names them")
    for name, reason in bad:
        click.echo(f"left out: {name}: {reason}", err=True)
    if bad:
        ctx.exit(1)


def _shares(results: list[Any]) -> str:
    """Where the time of all workers went, most first."""
    spent: Counter[str] = Counter()
    for seconds in {id(r.seconds): r.seconds for r in results}.values():
        spent.update(seconds)
    total = sum(spent.values()) or 1.0
    shares = [f"{stage} {share:.0%}" for stage, s in spent.most_common() if (share := s / total) >= 0.005]
    return f"; of the workers' time {', '.join(shares)}"


def _all(sources: Path | None, allow_partial: bool) -> list[str]:
    """All datasets; without those that have no source, if that is allowed."""
    from mmtk.datasets import list_datasets
    from mmtk.datasets.listing import find_source
    from mmtk.errors import SourceError

    known = {dataset.flag: dataset for dataset in list_datasets()}
    if sources is None:
        return list(known)  # planned from a list of names
    absent: dict[str, SourceError] = {}
    for flag, dataset in known.items():
        try:
            listing = find_source(sources, dataset, unpack=False)
            if allow_partial and not listing.packed:
                dataset.scan(listing)  # a folder that holds nothing of it is no source either
        except SourceError as error:
            absent[flag] = error
    if absent.keys() == known.keys():
        raise next(iter(absent.values()))
    if absent and not allow_partial:
        remedy = "mmtk sources says where to get them; name the FLAGs to build, or add --allow-partial"
        raise SourceError(sources, expected="every source", found=f"none for {', '.join(absent)}", remedy=remedy)
    for flag, reason in absent.items():
        click.echo(f"passed by: {flag}: {reason}", err=True)
    return [flag for flag in known if flag not in absent]


def _plan(
    names: list[str], sources: Path | None, listing: Path | None, as_json: bool, choices: dict[str, Any]
) -> None:
    from mmtk.builder import make_plan
    from mmtk.datasets import get_dataset
    from mmtk.datasets.listing import find_source, open_listing

    plans = []
    for name in names:
        dataset = get_dataset(name)
        found = open_listing(listing) if listing else find_source(sources, dataset)  # type: ignore[arg-type]
        chosen = {key: choices[key] for key in ("edition", "pixels", "split", "allow_partial")}
        plans.append(make_plan(dataset, found, headers=False, **chosen))
    if as_json:
        echo_json([{"flag": p.dataset.flag, "counts": p.counts, "membership": p.membership} for p in plans])
        return
    for plan in plans:
        counts = _beside_published(plan.dataset.flag, choices["edition"], plan.counts)
        click.echo(f"{plan.dataset.flag}: {counts}; {plan.membership}")


def _beside_published(flag: str, edition: str, counts: dict[str, int]) -> str:
    from mmtk.datasets import get_dataset

    published = get_dataset(flag).counts[edition]
    return ", ".join(f"{split} {n:,} of {getattr(published, split):,}" for split, n in counts.items())
