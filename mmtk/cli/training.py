"""``mmtk train``: one model on one store under a protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mmtk.cli._common import echo_json, json_option, progress_bar
from mmtk.errors import ArgumentError
from mmtk.training.protocols import PROTOCOLS


@click.command("train")
@click.argument("path", metavar="STORE", type=click.Path(path_type=Path))
@click.option("--protocol", type=click.Choice(list(PROTOCOLS)), required=True, help="The training set-up.")
@click.option("--model", type=click.Choice(["resnet18", "resnet50"]), required=True)
@click.option("--resolution", type=click.Choice(["28"]), default="28", show_default=True, help="Edge of the input.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the run; continued if there.")
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of the protocol's number.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@json_option
def train_command(
    path: Path, protocol: str, model: str, resolution: str, out: Path, epochs: int | None, seed: int, device: str,
    as_json: bool,
) -> None:
    """Train a model on STORE under a protocol; test the epoch with the best validation AUC.

    A run that was stopped goes on when the same command is given again.
    """
    from mmtk import store
    from mmtk.training import decathlon, fit

    opened = store.open(path)
    if opened.info.size != int(resolution):
        raise ArgumentError(path, expected=f"images of {resolution} px", found=f"{opened.info.size} px")

    def report(line: dict[str, Any]) -> None:
        figures = " ".join(f"{name} {line[f'val_{name.lower()}']:.3f}" for name in ("loss", "AUC", "ACC"))
        speed = f"{line['seconds']:.1f} s, {line['images_per_second']:.0f} images/s"
        click.echo(f"epoch {line['epoch']}: loss {line['train_loss']:.4f}, validation {figures}, {speed}", err=True)

    with progress_bar(f"{opened.info.flag} {model}") as progress:
        result = fit(
            opened, protocol, model, out, seed=seed, epochs=epochs, device=None if device == "auto" else device,
            progress=progress, report=report,
        )
    published = decathlon.published(opened.info, protocol, model, result)
    if as_json:
        echo_json({
            "path": str(out), "protocol": protocol, "model": model, "seed": seed, "best_epoch": result.best_epoch,
            "epochs": result.epochs, "flag": opened.info.flag, "synthetic": opened.info.synthetic,
            "splits": {n: {"images": result.images[n], **m._asdict()} for n, m in result.metrics.items()},
            "paper": published and dict(zip(("auc", "acc"), published, strict=True)),
        })
        return
    marks = f" {opened.info.marks}" if opened.info.marks else ""
    click.echo(
        f"{opened.info.title}{marks}: {model}, {protocol}, seed {seed}, epoch {result.best_epoch} of {result.epochs}"
        + (f" (this run was finished before, {out})" if result.reused else "")
    )
    click.echo(f"{'split':6}{'images':>8}{'AUC':>8}{'ACC':>8}" + ("   paper: AUC     ACC" if published else ""))
    for name, metrics in result.metrics.items():
        beside = f"{published[0]:>14.3f}{published[1]:>8.3f}" if published and name == "test" else ""
        click.echo(f"{name:6}{result.images[name]:>8}{metrics.auc:>8.3f}{metrics.acc:>8.3f}{beside}")
