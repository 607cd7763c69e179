"""``mmtk decathlon``: every store by every method with every seed, and one table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmtk.cli._common import echo_json, json_option, progress_bar, stores_option
from mmtk.errors import MmtkError
from mmtk.runs import MODELS

if TYPE_CHECKING:
    from mmtk.runs import Outcome, Row
    from mmtk.training import Standing


def _read_shard(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", value)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise click.BadParameter(f"expected I/N with I from 1 to N, such as 1/4, found {value}")
    return int(match[1]), int(match[2])


@click.command("decathlon")
@stores_option
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the runs; continued if there.")
@click.option("--model", "models", type=click.Choice(MODELS.names), multiple=True, default=("resnet18",),
              show_default=True, help="Give it again for more.")
@click.option("--protocol", "protocols", multiple=True,
              help="Give it again for more; isbi21 if neither this nor a method is given.")
@click.option("--method", "methods", multiple=True,
              metavar="NAME|cmd:NAME=WORDS|FILE.toml|tflite:FOLDER",
              help="A method besides or instead of protocols: by its name, as sklearn, which has no network, or a "
                   "plugin's; a command, also in a .toml file (docs/methods.md); an exported model.")
@click.option("--size", "sizes", type=click.IntRange(min=1), multiple=True, default=(28,), show_default=True,
              help="Edge of the stored images: 28, 64, 128 or 224; give it again for more.")
@click.option("--budget", type=click.FloatRange(min=0, min_open=True),
              help="Seconds that such a method has for a store, instead of a share of the paper's.")
@click.option("--budget-share", type=click.FloatRange(min=0, min_open=True),
              help="Share of the paper's 2, 4 or 6 hours by the number of images; by default 1/60, minutes for hours.")
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="How many, from seed 0 on.")
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of the protocol's number.")
@click.option("--resolution", type=click.IntRange(min=1),
              help="Edge of a network's input, by default that of the images; smaller ones are enlarged.")
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]),
              help="float32 on the CPU and bfloat16 on CUDA if not given.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--shard", callback=_read_shard, metavar="I/N",
              help="Make the I-th of N parts of the runs, 1/N to N/N; without it, the table is that of all.")
@click.option("--scheduler", metavar="ADDRESS",
              help="Make the runs on the workers of this scheduler of Dask, for instance tcp://10.0.0.5:8786.")
@json_option
@click.pass_context
def decathlon_command(
    ctx: click.Context, stores: Path, out: Path, models: tuple[str, ...], protocols: tuple[str, ...],
    methods: tuple[str, ...], sizes: tuple[int, ...], budget: float | None, budget_share: float | None, seeds: int,
    epochs: int | None, resolution: int | None, precision: str | None, device: str,
    shard: tuple[int, int] | None, scheduler: str | None, as_json: bool,
) -> None:
    """Train and test on every store of a size, 28 px if none is given; print the table of test figures.

    A network's first layers go by the edge of its input: up to 64 px a 3x3 convolution without pooling, above, as at
    128 and 224 px, torchvision's 7x7 of stride 2 with max-pooling. Means are over the ten; other sets stand alone.

    Runs that were finished before are left alone, one that was stopped goes on; several processes may work in one
    folder. Intervals are of 95 %, of other test images, or subjects where they are known (bootstrap); standard
    deviations are over seeds. The three planes of the Organ sets are drawn by the same subjects if they have the same.
    Exit 1 if a run failed; the others are made all the same.
    """
    from mmtk.datasets import TEN
    from mmtk.runs import outcome_facts, rows_of, table_facts, write_results
    from mmtk.training import SHARE, choose_methods, plan_runs, run_all, run_on_cluster, take_shard

    if budget is not None and budget_share is not None:
        raise click.UsageError("--budget and --budget-share exclude each other")
    chosen = choose_methods(
        models, protocols or (() if methods else ("isbi21",)), methods, epochs, resolution=resolution,
        precision=precision,
    )
    share = SHARE if budget_share is None else budget_share
    entries, missing = plan_runs(
        stores, out, methods=chosen, seeds=range(seeds), sizes=sizes, budget=budget, share=share,
    )
    if shard:
        entries = take_shard(entries, *shard)
    where = None if device == "auto" else device
    outcomes: list[Outcome] = []
    unwritten: MmtkError | OSError | None = None
    with progress_bar("decathlon", share=True) as show:
        def follow(now: Standing) -> None:
            at = f"{now.done}/{now.runs} {now.name}"
            show(now.done + now.share, now.runs, left=_left(now), description=at)

        if scheduler:
            runs = run_on_cluster(entries, scheduler, device=where, follow=follow)
        else:
            runs = run_all(entries, device=where, follow=follow)
        for number, outcome in enumerate(runs, 1):
            outcomes.append(outcome)
            try:
                write_results(outcomes, out)
                unwritten = None
            except (MmtkError, OSError) as error:  # the runs themselves are as good without
                unwritten = error
            click.echo(f"{number}/{len(entries)} {outcome.entry.name}: {_said(outcome)}", err=True)
    rows = rows_of(outcomes)
    if as_json:
        echo_json({"runs": outcome_facts(outcomes, out), **table_facts(rows), "missing": missing})
    else:
        _echo_rows(rows)
        if missing and any(entry.flag in TEN for entry in entries):
            click.echo(f"no store of {', '.join(missing)} in {stores}")
    if unwritten:
        raise unwritten
    ctx.exit(1 if any(outcome.error for outcome in outcomes) else 0)


def _left(now: Standing) -> str:
    if now.left is None:
        return ""
    minutes, seconds = divmod(round(now.left), 60)
    hours, minutes = divmod(minutes, 60)
    return f", about {hours} h {minutes} min left" if hours else f", about {minutes} min {seconds} s left"


def _said(outcome: Outcome) -> str:
    if outcome.result is None:
        return outcome.error
    result = outcome.result
    time = _time(result.seconds, result.budget)
    before = (f", {time}" if time else "") + (" (finished before)" if result.reused else "")
    unsaved = outcome.evaluation.unsaved if outcome.evaluation else ""
    return f"{result.metrics['test']}{before}" + (f" (intervals not kept: {unsaved})" if unsaved else "")


def _time(seconds: float | None, budget: float | None) -> str:
    """What a method spent, beside what it had."""
    if seconds is None:
        return ""
    return f"{seconds:.1f} s" + (f" of {budget:g} s" if budget else "")


def _echo_rows(rows: list[Row]) -> None:
    """The table, a block for each method with its mean over the ten and then others, then how the methods differ."""
    from mmtk.datasets import EIGHT, EIGHTEEN
    from mmtk.runs import LATER_SETS, differences_of, means_of

    means = {whole.method: whole for whole in means_of(rows)}
    for method in dict.fromkeys(row.method for row in rows):
        block = [row for row in rows if row.method == method]
        named = next((row.paper_row for row in block if row.paper_row), "")
        beside = f"paper: AUC   ACC  {named and f'({named})'}" if any(row.paper for row in block) else ""
        click.echo(f"\n{method:34}{'seeds':>6}{'images':>8}  {'AUC':23}{'ACC':23}{beside}".rstrip())
        for row in block:
            if row.is_of_ten:
                _echo_row(row)
        if whole := means.get(method):
            name = f"mean over {whole.datasets}"
            click.echo(f"{name:50}{whole.auc!s:23}{whole.acc!s:23}{_sd(whole.spread)}".rstrip())
        later = [row for row in block if row.info.flag in EIGHT]
        others = [row for row in block if row.info.flag not in EIGHTEEN]
        for heading, rows_of_it in ((LATER_SETS, later), ("other datasets" if later else "", others)):
            if heading and rows_of_it:
                click.echo(heading)
            for row in rows_of_it:
                _echo_row(row)
    differences, titles = differences_of(rows), {row.info.flag: row.info.title for row in rows}
    if differences:
        click.echo("\ndifferences, on the same resamples")
    for one in differences:
        where = f"on {titles[one.flag]}" if one.flag else f"over {one.datasets}"
        click.echo(f"{one.method} - {one.other}, {where}: AUC {one.auc}  ACC {one.acc}")


def _echo_row(row: Row) -> None:
    paper = f"{row.paper[0]:>10.3f}{row.paper[1]:>6.3f}" if row.paper else ""
    name = f"{row.info.title} {row.info.marks}".rstrip()
    figures = f"{row.auc!s:23}{row.acc!s:23}{paper}{_sd(row.spread)} {_time(row.seconds, row.budget)}"
    click.echo(f"{name:34}{len(row.tests):>6}{row.images:>8}  {figures}".rstrip())


def _sd(spread: tuple[float, float] | None) -> str:
    from mmtk.scoring import shown

    return f"(sd {shown(spread[0])}, {shown(spread[1])})" if spread else ""
