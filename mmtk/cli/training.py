"""``mmtk train`` and ``decathlon``: one model on one store under a protocol, and all of them."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmtk.cli._common import echo_json, json_option, progress_bar, stores_option
from mmtk.errors import ArgumentError
from mmtk.training.protocols import PROTOCOLS

if TYPE_CHECKING:
    from mmtk.training.decathlon import Outcome, Row


@click.command("train")
@click.argument("path", metavar="STORE", type=click.Path(path_type=Path))
@click.option("--protocol", metavar="NAME|FILE", required=True,
              help=f"The training set-up: {', '.join(PROTOCOLS)}, or a protocol file, .toml or .json.")
@click.option("--model", type=click.Choice(["resnet18", "resnet50"]), required=True)
@click.option("--resolution", type=click.Choice(["28", "224"]), default="28", show_default=True,
              help="Edge of the input; images of 28 px are enlarged to 224.")
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]),
              help="float32 on the CPU and bfloat16 on CUDA if not given.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the run; continued if there.")
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of the protocol's number.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--tensorboard", is_flag=True, help="Write curves for TensorBoard into the run's folder.")
@json_option
def train_command(
    path: Path, protocol: str, model: str, resolution: str, precision: str | None, out: Path, epochs: int | None,
    seed: int, device: str, tensorboard: bool, as_json: bool,
) -> None:
    """Train a model on STORE under a protocol; test the epoch with the best validation AUC.

    A run that was stopped goes on when the same command is given again. Several processes share every batch:
    torchrun --nproc-per-node N -m mmtk train ...
    """
    from mmtk import store
    from mmtk.training import decathlon, fit, get_protocol
    from mmtk.training._distributed import leads
    from mmtk.training._tensorboard import Curves

    chosen = get_protocol(protocol)
    opened = store.open(path)
    if opened.info.size not in (28, int(resolution)):
        expected = f"images of {resolution} px" + (", or of 28 to be enlarged" if resolution != "28" else "")
        raise ArgumentError(path, expected=expected, found=f"{opened.info.size} px")

    curves = Curves(out / "tensorboard") if tensorboard else None

    def report(line: dict[str, Any]) -> None:
        figures = " ".join(f"{name} {line[f'val_{name.lower()}']:.3f}" for name in ("loss", "AUC", "ACC"))
        speed = f"{line['seconds']:.1f} s, {line['images_per_second']:.0f} images/s"
        click.echo(f"epoch {line['epoch']}: loss {line['train_loss']:.4f}, validation {figures}, {speed}", err=True)
        if curves:
            curves(line)

    with progress_bar(f"{opened.info.flag} {model}") if leads() else nullcontext() as progress:
        result = fit(
            opened, chosen, model, out, seed=seed, epochs=epochs, device=None if device == "auto" else device,
            resolution=int(resolution), precision=precision, progress=progress, report=report,
        )
    if not leads():
        return
    published = decathlon.published(opened.info, chosen.name, model, result) if resolution == "28" else None
    if as_json:
        echo_json({
            "path": str(out), "protocol": chosen.name, "model": model, "resolution": int(resolution), "seed": seed,
            "best_epoch": result.best_epoch, "epochs": result.epochs,
            "flag": opened.info.flag, "synthetic": opened.info.synthetic,
            "splits": {n: {"images": result.images[n], **m._asdict()} for n, m in result.metrics.items()},
            "paper": published and dict(zip(("auc", "acc"), published, strict=True)),
        })
        return
    marks = f" {opened.info.marks}" if opened.info.marks else ""
    click.echo(
        f"{opened.info.title}{marks}: {model}, {chosen.name}, seed {seed}, epoch {result.best_epoch} of {result.epochs}"
        + (f" (this run was finished before, {out})" if result.reused else "")
    )
    click.echo(f"{'split':6}{'images':>8}{'AUC':>8}{'ACC':>8}" + ("   paper: AUC     ACC" if published else ""))
    for name, metrics in result.metrics.items():
        beside = f"{published[0]:>14.3f}{published[1]:>8.3f}" if published and name == "test" else ""
        click.echo(f"{name:6}{result.images[name]:>8}{metrics.auc:>8.3f}{metrics.acc:>8.3f}{beside}")


@click.command("decathlon")
@stores_option
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the runs; continued if there.")
@click.option("--model", "models", type=click.Choice(["resnet18", "resnet50"]), multiple=True, default=("resnet18",),
              show_default=True, help="Give it again for more.")
@click.option("--protocol", "protocols", type=click.Choice(list(PROTOCOLS)), multiple=True,
              help="Give it again for more; isbi21 if neither this nor a method is given.")
@click.option("--method", "methods", type=click.Choice(["sklearn"]), multiple=True,
              help="A method without a network, besides or instead of protocols.")
@click.option("--budget", type=click.FloatRange(min=0, min_open=True), default=600.0, show_default=True,
              help="Seconds that a method has for a store.")
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="How many, from seed 0 on.")
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of the protocol's number.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@json_option
@click.pass_context
def decathlon_command(
    ctx: click.Context, stores: Path, out: Path, models: tuple[str, ...], protocols: tuple[str, ...],
    methods: tuple[str, ...], budget: float, seeds: int, epochs: int | None, device: str, as_json: bool,
) -> None:
    """Train and test on every 28 px store of the ten that is there; print the table of test figures.

    Runs that were finished before are left alone, one that was stopped goes on. Exit 1 if a run failed; the others are
    made all the same.
    """
    from mmtk.training import decathlon

    protocols = protocols or (() if methods else ("isbi21",))
    ways = [
        *(decathlon.Way(model, name, epochs or PROTOCOLS[name].epochs) for model in models for name in protocols),
        *(decathlon.Way(method=method, budget=budget) for method in methods),
    ]
    entries, missing = decathlon.plan_runs(stores, out, ways=ways, seeds=range(seeds))
    outcomes = []
    with progress_bar("decathlon") as progress:
        runs = decathlon.run_all(entries, device=None if device == "auto" else device, progress=progress)
        for number, outcome in enumerate(runs, 1):
            outcomes.append(outcome)
            click.echo(f"{number}/{len(entries)} {outcome.entry.name}: {_said(outcome)}", err=True)
    decathlon.write_results(outcomes, out)
    if as_json:
        echo_json(decathlon.as_json(outcomes))
    else:
        _echo_rows(decathlon.rows_of(outcomes))
        if missing:
            click.echo(f"no store of {', '.join(missing)} in {stores}")
    ctx.exit(1 if any(outcome.error for outcome in outcomes) else 0)


def _said(outcome: Outcome) -> str:
    if outcome.result is None:
        return outcome.error
    test = outcome.result.metrics["test"]
    return f"AUC {test.auc:.3f} ACC {test.acc:.3f}" + (" (finished before)" if outcome.result.reused else "")


def _echo_rows(rows: list[Row]) -> None:
    """The table, a block for each way, with the mean over its datasets."""
    for way in dict.fromkeys(row.way for row in rows):
        block = [row for row in rows if row.way == way]
        click.echo(f"\n{way.title:34}{'seeds':>6}{'images':>8}{'AUC':>8}{'ACC':>8}   paper: AUC     ACC")
        for row in block:
            paper = f"{row.paper[0]:>14.3f}{row.paper[1]:>8.3f}" if row.paper else ""
            spread = "  (sd {:.3f}, {:.3f})".format(*row.spread) if row.spread else ""
            name = f"{row.info.title} {row.info.marks}".rstrip()
            click.echo(f"{name:34}{row.seeds:>6}{row.images:>8}{row.auc:>8.3f}{row.acc:>8.3f}{paper}{spread}")
        auc, acc = (sum(getattr(row, figure) for row in block) / len(block) for figure in ("auc", "acc"))
        click.echo(f"{f'mean over {len(block)}':48}{auc:>8.3f}{acc:>8.3f}")
