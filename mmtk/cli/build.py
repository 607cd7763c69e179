"""``mmtk build``: stores from raw images."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmtk.cli._common import counts_text, echo_json, json_option, progress_bars
from mmtk.datasets.official import SIZES

if TYPE_CHECKING:
    from mmtk.datasets.base import Dataset


@click.command("build")
@click.argument("flags", metavar="FLAG_OR_TOML...", nargs=-1)
@click.option("--all", "everything", is_flag=True,
              help="All that are built from raw images, the paper's ten. A source that is not there is an error; with "
              "--allow-partial its dataset is passed by.")
@click.option("--sources", type=click.Path(path_type=Path), envvar="MMTK_SOURCES", show_envvar=True,
              help="Folder with the raw data: a provider's folder, or one that holds several.")
@click.option("--listing", type=click.Path(path_type=Path), help="With --plan-only: a text file of file names instead.")
@click.option("--out", type=click.Path(path_type=Path), envvar="MMTK_STORES", show_envvar=True,
              help="Folder of the stores.")
@click.option("--size", "sizes", type=int, multiple=True, default=SIZES[:1], show_default=True,
              help="Edge length in pixels; give it again for more, all from one decode.")
@click.option("--edition", show_default="the dataset's first: 2020 of the ten",
              help="Of the ten 2020 or 2024, which differ for the Organ sets alone.")
@click.option("--pixels", type=click.Choice(["official", "clean"]), show_default="official",
              help="As MedMNIST was made; or without its flaws: no JPEG round trip, CT turned and sized by its header.")
@click.option("--split", type=click.Choice(["official", "grouped"]), show_default="official",
              help="The official rows, or no patient, lesion or volume in two splits.")
@click.option("--match-npz", type=click.Path(path_type=Path),
              help="Folder with official .npz files: find their rows among the raw images again, by pixels.")
@click.option("--map", "map_csv", metavar="FILE", type=click.Path(path_type=Path),
              help="CSV that says which image is which row of one dataset: split,index,image_id.")
@click.option("--allow-partial", is_flag=True, help="Build from what is there; the store is marked partial.")
@click.option("--on-error", type=click.Choice(["stop", "skip"]), default="stop", show_default=True,
              help="At a bad image: stop, or leave it out, name it in a findings file and exit 1.")
@click.option("--plan-only", is_flag=True, help="Print the counts beside the published ones and stop.")
@click.option("--force", is_flag=True,
              help="Replace stores that were built from another plan; of your own data, all. Without it, one whose "
              "files have changed is refused.")
@click.option("--workers", type=int, help="Threads; by default one a core.")
@click.option("--scheduler", metavar="ADDRESS",
              help="Let the workers of a Dask scheduler, such as tcp://10.0.0.5:8786, decode and resize; they find the "
              "sources under the same path. This process writes.")
@json_option
@click.pass_context
def build_command(
    ctx: click.Context, /, flags: tuple[str, ...], everything: bool, sources: Path | None, listing: Path | None,
    out: Path | None, plan_only: bool, as_json: bool, **choices: Any,
) -> None:
    """Build the stores of each FLAG from the providers' raw images, or of your own data from a dataset file (.toml).

    A dataset file says what the images of a folder are; mmtk draft DIR writes one.
    """
    if bool(flags) == everything:
        raise click.UsageError("give one FLAG or several, or --all")
    if sources is None and not (plan_only and listing):
        raise click.UsageError("give --sources, or set MMTK_SOURCES")
    if listing and not plan_only:
        raise click.UsageError("--listing goes with --plan-only: a list of names has no pixels")
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
                marks.append("left alone: it was there from the same plan")
            tail = f" ({', '.join(marks)})" if marks else ""
            counts = _beside_published(of_flag[result.flag], choices["edition"], result.counts)
            click.echo(f"{result.path}: {counts}{tail}")
        if images := results.images_built(built):
            shares = [f"{stage} {share:.0%}" for stage, share in results.time_shares(built).items() if share >= 0.005]
            rate = f"{images} images in {seconds:.1f} s, {images / seconds:.0f} images/s"
            click.echo(f"{rate}; of the workers' time {', '.join(shares)}")
        for flag, findings in {result.flag: result.findings for result in built}.items():
            if kinds := Counter(finding.kind for finding in findings):
                click.echo(f"{flag}: {', '.join(f'{n:,} {kind}' for kind, n in kinds.items())}; --json names them")
    bad = results.bad_images(built)
    for name, reason in bad:
        click.echo(f"left out: {name}: {reason}", err=True)
    if bad:
        ctx.exit(1)


def _all(sources: Path | None, allow_partial: bool) -> list[Dataset]:
    """All datasets that have a source; planned from a list of names, all there are."""
    from mmtk.datasets.sources import available, choose

    if sources is None:
        return list(choose(()))
    chosen, absent = available(sources, allow_partial)
    for flag, reason in absent.items():
        click.echo(f"passed by: {flag}: {reason}", err=True)
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
