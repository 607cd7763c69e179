"""``mmtk build``: stores from raw images."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmtk.cli._common import counts_text, echo_json, example, json_option, progress_bars
from mmtk.cli._names import EDITION, RAW_FLAG_OR_FILE, Choice, Folder
from mmtk.datasets.official import SIZES

if TYPE_CHECKING:
    from mmtk.datasets.base import Dataset


@click.command("build", epilog=example(
    "mmtk build breastmnist --sources sources --out stores",
    "mmtk build --all --allow-partial --size 28 --size 224 --sources sources --out stores",
))
@click.argument("flags", metavar="FLAG_OR_TOML...", nargs=-1, type=RAW_FLAG_OR_FILE)
@click.option("--all", "everything", is_flag=True,
              help="Build the paper's ten datasets. A missing source is an error; with --allow-partial its dataset is "
              "skipped.")
@click.option("--sources", type=Folder(), envvar="MMTK_SOURCES", show_envvar=True,
              help="Folder with the raw data: one provider's, or one that holds several.")
@click.option("--listing", type=click.Path(path_type=Path), metavar="FILE",
              help="With --plan-only: a text file of file names, in place of --sources.")
@click.option("--out", type=Folder(), envvar="MMTK_STORES", show_envvar=True, help="Output folder for the stores.")
@click.option("--size", "sizes", type=int, multiple=True, default=SIZES[:1], show_default=True,
              help="Edge length in pixels; repeatable, and each image is decoded only once.")
@click.option("--edition", type=EDITION, metavar="YEAR", show_default="the dataset's first: 2020 for the ten",
              help="2020 or 2024 for the ten; they differ for the Organ sets only.")
@click.option("--pixels", type=Choice(["official", "clean"]), show_default="official",
              help="official: as MedMNIST was made. clean: without its flaws, so no JPEG round trip, and CT volumes "
              "oriented and scaled by their headers.")
@click.option("--split", type=Choice(["official", "grouped"]), show_default="official",
              help="official: the published rows. grouped: no patient, lesion or volume in more than one split.")
@click.option("--match-npz", type=Folder(),
              help="Folder with official .npz files, whose rows are matched with the raw images by their pixels.")
@click.option("--map", "map_csv", metavar="FILE", type=click.Path(path_type=Path),
              help="CSV that assigns images to the rows of a dataset; columns split,index,image_id.")
@click.option("--allow-partial", is_flag=True, help="Build from the files present; the store is marked partial.")
@click.option("--on-error", type=Choice(["stop", "skip"]), default="stop", show_default=True,
              help="stop: stop at the first bad image. skip: leave bad images out, list them in a findings file and "
              "exit with 1.")
@click.option("--plan-only", is_flag=True, help="Print the planned and published image counts without building.")
@click.option("--force", is_flag=True,
              help="Replace stores built from another plan, and all stores of your own data. Without it, a store whose "
              "raw files have changed is refused.")
@click.option("--workers", type=int, help="Number of threads; by default one per core.")
@click.option("--scheduler", metavar="ADDRESS",
              help="Decode and resize on the workers of a Dask scheduler, such as tcp://10.0.0.5:8786. They need the "
              "sources under the same path; this process writes the stores.")
@json_option
@click.pass_context
def build_command(
    ctx: click.Context, /, flags: tuple[str, ...], everything: bool, sources: Path | None, listing: Path | None,
    out: Path | None, plan_only: bool, as_json: bool, **choices: Any,
) -> None:
    """Build stores of each FLAG from the providers' raw images, or of your own data from a dataset file (.toml).

    A dataset file describes the images in a folder; mmtk draft DIR writes one. An interrupted build resumes when the
    same command is given again.
    """
    if bool(flags) == everything:
        raise click.UsageError("give at least one FLAG, or --all")
    if sources is None and not (plan_only and listing):
        raise click.UsageError("give --sources, or set MMTK_SOURCES")
    if listing and not plan_only:
        raise click.UsageError("--listing needs --plan-only: a list of names has no pixels")
    from mmtk.datasets.own import named

    allow_partial = choices["allow_partial"]
    datasets = _all(None if listing else sources, allow_partial) if everything else [named(flag) for flag in flags]
    if plan_only:
        _plan(datasets, sources, listing, as_json, choices)
        return
    if out is None:
        raise click.UsageError("give --out, or set MMTK_STORES")
    from mmtk.builder import build, results
    from mmtk.datasets.marks import marks_of

    start = time.perf_counter()
    with progress_bars() as progress:
        built = build(datasets, sources=sources, out=out, progress=progress, **choices)  # type: ignore[arg-type]
    seconds = time.perf_counter() - start
    if as_json:
        echo_json([results.facts_of(result) for result in built])
    else:
        of_flag = {dataset.flag: dataset for dataset in datasets}
        for result in built:
            marks = [*marks_of(result.synthetic, result.partial)]
            if result.reused:
                marks.append("unchanged: already built from this plan")
            tail = f" ({', '.join(marks)})" if marks else ""
            counts = _beside_published(of_flag[result.flag], choices["edition"], result.counts)
            click.echo(f"{result.path}: {counts}{tail}")
        if images := results.images_built(built):
            stages = results.time_shares(built).items()
            shares = [f"{stage} {100 * share:.0f} %" for stage, share in stages if share >= 0.005]
            rate = f"{images} images in {seconds:.1f} s, {images / seconds:.0f} images/s"
            click.echo(f"{rate}; worker time: {', '.join(shares)}")
        for flag, findings in {result.flag: result.findings for result in built}.items():
            if kinds := Counter(finding.kind for finding in findings):
                click.echo(f"{flag}: {', '.join(f'{n:,} {kind}' for kind, n in kinds.items())}; --json lists them")
    bad = results.bad_images(built)
    for name, reason in bad:
        click.echo(f"skipped: {name}: {reason}", err=True)
    if bad:
        ctx.exit(1)


def _all(sources: Path | None, allow_partial: bool) -> list[Dataset]:
    """All datasets whose source is present; those of a listing, all that are built from raw images."""
    from mmtk.datasets.sources import available, choose

    if sources is None:
        return list(choose(()))
    chosen, absent = available(sources, allow_partial)
    for flag, reason in absent.items():
        click.echo(f"skipped: {flag}: {reason}", err=True)
    return list(chosen)


def _plan(
    datasets: list[Dataset], sources: Path | None, listing: Path | None, as_json: bool, choices: dict[str, Any]
) -> None:
    from mmtk.builder import preview

    chosen = {key: choices[key] for key in ("edition", "pixels", "split", "allow_partial")}
    plans = preview(datasets, sources=sources, listing=listing, **chosen)
    if as_json:
        echo_json([{"flag": p.dataset.flag, "counts": p.counts, "membership": p.membership} for p in plans])
        return
    for plan in plans:
        counts = _beside_published(plan.dataset, choices["edition"], plan.counts)
        click.echo(f"{plan.dataset.flag}: {counts}; {plan.membership}")


def _beside_published(dataset: Dataset, edition: str | None, counts: dict[str, int]) -> str:
    if dataset.own:
        return counts_text(counts, ",")
    published = dataset.counts[edition or dataset.first_edition]
    return ", ".join(f"{split} {n:,} of {getattr(published, split):,}" for split, n in counts.items())
