"""``mmtk decathlon``: run every method on every store with every seed, and print one table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmtk.cli._common import echo_json, example, json_option, progress_bar, stores_option
from mmtk.cli._names import METHOD, PROTOCOL, Choice, Folder
from mmtk.errors import MmtkError
from mmtk.runs import MODELS

if TYPE_CHECKING:
    from mmtk.runs import Outcome, Row
    from mmtk.training import OverallProgress


def _read_shard(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", value)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise click.BadParameter(f"{value} is not I/N with I from 1 to N, such as 1/4")
    return int(match[1]), int(match[2])


@click.command("decathlon", epilog=example(
    "mmtk decathlon --stores stores --out runs --protocol quick --seeds 3",
    "mmtk decathlon --stores stores --out runs --method sklearn --budget 60",
))
@stores_option
@click.option("--out", type=Folder(), required=True, help="Output folder; existing runs are resumed.")
@click.option("--model", "models", type=Choice(MODELS.names), multiple=True, default=("resnet18",),
              show_default=True, help="Model to train; repeatable.")
@click.option("--protocol", "protocols", type=PROTOCOL, metavar="NAME|FILE", multiple=True,
              help="Training protocol, by name or file; repeatable.  [default: isbi21, unless a method is given]")
@click.option("--method", "methods", type=METHOD, multiple=True,
              metavar="NAME|cmd:NAME=WORDS|FILE.toml|tflite:FOLDER",
              help="Method to run, with or without protocols: a built-in one such as sklearn, which needs no network, "
                   "a plugin's, a command (also in a .toml file; see docs/methods.md) or an exported model.")
@click.option("--size", "sizes", type=click.IntRange(min=1), multiple=True, default=(28,), show_default=True,
              help="Edge length of the stored images: 28, 64, 128 or 224; repeatable.")
@click.option("--budget", type=click.FloatRange(min=0, min_open=True),
              help="Seconds per store for such methods, in place of a share of the paper's budget.")
@click.option("--budget-share", type=click.FloatRange(min=0, min_open=True),
              help="Share of the paper's budget of 2, 4 or 6 hours, by number of images.  [default: 1/60, minutes for "
                   "hours]")
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Number of seeds, from 0.")
@click.option("--epochs", type=click.IntRange(min=1), help="Number of epochs, in place of the protocol's.")
@click.option("--resolution", type=click.IntRange(min=1),
              help="Edge length of the network's input; smaller images are enlarged.  [default: that of the images]")
@click.option("--precision", type=Choice(["float32", "bfloat16"]),
              help="Floating-point format.  [default: float32 on the CPU, bfloat16 on CUDA]")
@click.option("--device", type=Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--shard", callback=_read_shard, metavar="I/N",
              help="Do only the I-th of N parts of the runs; a final call without it prints the whole table.")
@click.option("--scheduler", metavar="ADDRESS",
              help="Do the runs on the workers of a Dask scheduler, such as tcp://10.0.0.5:8786.")
@json_option
@click.pass_context
def decathlon_command(
    ctx: click.Context, stores: Path, out: Path, models: tuple[str, ...], protocols: tuple[str, ...],
    methods: tuple[str, ...], sizes: tuple[int, ...], budget: float | None, budget_share: float | None, seeds: int,
    epochs: int | None, resolution: int | None, precision: str | None, device: str,
    shard: tuple[int, int] | None, scheduler: str | None, as_json: bool,
) -> None:
    """Train and test on every store of the given sizes, and print a table of test scores.

    The network's first layers depend on the edge length of its input: up to 64 px a 3x3 convolution without pooling,
    above that torchvision's 7x7 convolution of stride 2 with max-pooling. Means are over the paper's ten datasets;
    others are listed separately.

    Finished runs are kept and interrupted ones resume; several processes may share one output folder. Intervals are
    95 % bootstrap intervals over test images, or over subjects where they are known; standard deviations are over
    seeds. The three Organ sets are resampled by the same subjects if they have the same ones.

    Exits with 1 if a run failed; the other runs are still done.
    """
    from mmtk.datasets import TEN
    from mmtk.runs import outcome_facts, rows_of, table_facts, write_results
    from mmtk.training import SHARE, choose_methods, plan_runs, run_all, run_on_cluster, take_shard

    if budget is not None and budget_share is not None:
        raise click.UsageError("give --budget or --budget-share, not both")
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
        def follow(now: OverallProgress) -> None:
            at = f"{now.done}/{now.runs} {now.name}"
            show(now.done + now.fraction, now.runs, left=_left(now), description=at)

        if scheduler:
            runs = run_on_cluster(entries, scheduler, device=where, follow=follow)
        else:
            runs = run_all(entries, device=where, follow=follow)
        for number, outcome in enumerate(runs, 1):
            outcomes.append(outcome)
            try:
                write_results(outcomes, out)
                unwritten = None
            except (MmtkError, OSError) as error:  # the runs themselves are not affected
                unwritten = error
            click.echo(f"{number}/{len(entries)} {outcome.entry.name}: {_outcome_text(outcome)}", err=True)
    rows = rows_of(outcomes)
    if as_json:
        echo_json({"runs": outcome_facts(outcomes, out), **table_facts(rows), "missing": missing})
    else:
        _echo_rows(rows)
        if missing and any(entry.flag in TEN for entry in entries):
            click.echo(f"{stores}: no store of {', '.join(missing)}")
    if unwritten:
        raise unwritten
    ctx.exit(1 if any(outcome.error for outcome in outcomes) else 0)


def _left(now: OverallProgress) -> str:
    if now.remaining is None:
        return ""
    minutes, seconds = divmod(round(now.remaining), 60)
    hours, minutes = divmod(minutes, 60)
    return f", about {hours} h {minutes} min left" if hours else f", about {minutes} min {seconds} s left"


def _outcome_text(outcome: Outcome) -> str:
    if outcome.result is None:
        return outcome.error
    result = outcome.result
    time = _time(result.seconds, result.budget)
    before = (f", {time}" if time else "") + (" (finished before)" if result.reused else "")
    unsaved = outcome.evaluation.unsaved if outcome.evaluation else ""
    return f"{result.metrics['test']}{before}" + (f" (intervals not saved: {unsaved})" if unsaved else "")


def _time(seconds: float | None, budget: float | None) -> str:
    """The seconds a method took, and its budget."""
    if seconds is None:
        return ""
    return f"{seconds:.1f} s" + (f" of {budget:g} s" if budget else "")


def _echo_rows(rows: list[Row]) -> None:
    """Print a block per method, with its mean over the ten and then other sets, and the methods' differences."""
    from mmtk.datasets import EIGHT, EIGHTEEN
    from mmtk.runs import LATER_SETS, differences_of, means_of

    means = {mean.method: mean for mean in means_of(rows)}
    for method in dict.fromkeys(row.method for row in rows):
        block = [row for row in rows if row.method == method]
        paper_row = next((row.paper_row for row in block if row.paper_row), "")
        paper = f"paper: AUC   ACC  {paper_row and f'({paper_row})'}" if any(row.paper for row in block) else ""
        click.echo(f"\n{method:34}{'seeds':>6}{'images':>8}  {'AUC':23}{'ACC':23}{paper}".rstrip())
        for row in block:
            if row.is_of_ten:
                _echo_row(row)
        if mean := means.get(method):
            name = f"mean over {mean.datasets}"
            click.echo(f"{name:50}{mean.auc!s:23}{mean.acc!s:23}{_sd(mean.spread)}".rstrip())
        later = [row for row in block if row.info.flag in EIGHT]
        others = [row for row in block if row.info.flag not in EIGHTEEN]
        for heading, section in ((LATER_SETS, later), ("other datasets" if later else "", others)):
            if heading and section:
                click.echo(heading)
            for row in section:
                _echo_row(row)
    differences, titles = differences_of(rows), {row.info.flag: row.info.title for row in rows}
    if differences:
        click.echo("\ndifferences, on the same resamples")
    for pair in differences:
        where = f"on {titles[pair.flag]}" if pair.flag else f"over {pair.datasets}"
        click.echo(f"{pair.method} - {pair.other}, {where}: AUC {pair.auc}  ACC {pair.acc}")


def _echo_row(row: Row) -> None:
    paper = f"{row.paper[0]:>10.3f}{row.paper[1]:>6.3f}" if row.paper else ""
    name = f"{row.info.title} {row.info.marks}".rstrip()
    figures = f"{row.auc!s:23}{row.acc!s:23}{paper}{_sd(row.spread)} {_time(row.seconds, row.budget)}"
    click.echo(f"{name:34}{len(row.tests):>6}{row.images:>8}  {figures}".rstrip())


def _sd(spread: tuple[float, float] | None) -> str:
    from mmtk.scoring import format_figure

    return f"(sd {format_figure(spread[0])}, {format_figure(spread[1])})" if spread else ""
