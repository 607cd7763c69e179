"""``mmtk train``: one model on one store under a protocol."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from mmtk.cli._common import echo_json, json_option, progress_bar
from mmtk.training import MODELS, PROTOCOLS


def _rate(images: float) -> str:
    """Images a second, of which volumes may take more than one."""
    return f"{images:.0f}" if images >= 10 else f"{images:.2g}"


@click.command("train")
@click.argument("path", metavar="STORE", type=click.Path(path_type=Path))
@click.option("--protocol", metavar="NAME|FILE", required=True,
              help=f"The training set-up: {', '.join(PROTOCOLS.names)}, or a protocol file, .toml or .json.")
@click.option("--model", type=click.Choice(MODELS.names), required=True)
@click.option("--resolution", type=click.IntRange(min=1),
              help="Edge of the input, by default that of the images; smaller ones are enlarged.")
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]),
              help="float32 on the CPU and bfloat16 on CUDA if not given.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the run; continued if there.")
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of the protocol's number.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--tensorboard", is_flag=True, help="Write curves for TensorBoard into the run's folder.")
@json_option
def train_command(
    path: Path, protocol: str, model: str, resolution: int | None, precision: str | None, out: Path, epochs: int | None,
    seed: int, device: str, tensorboard: bool, as_json: bool,
) -> None:
    """Train a model on STORE under a protocol; test the epoch with the best validation AUC.

    The model's first layers go by the edge of its input: up to 64 px a 3x3 convolution without pooling, above, as at
    128 and 224 px, torchvision's 7x7 of stride 2 with max-pooling. For a store of volumes all its layers have three
    dimensions, and v2 is what was published for those: batches of 32, pixels from 0 to 1.

    A partial store may lack a class in a split: its AUC is then undefined, and the epoch is the one with the lowest
    validation loss.

    A run that was stopped goes on when the same command is given again. Several processes share every batch:
    torchrun --nproc-per-node N -m mmtk train ...
    """
    from mmtk import store
    from mmtk.runs import published
    from mmtk.scoring import as_facts, shown
    from mmtk.training import Curves, fit, get_protocol, leads

    chosen = get_protocol(protocol)
    opened = store.open(path)
    store.expect_whole(path)
    edge = resolution or opened.info.size
    curves = Curves(out / "tensorboard") if tensorboard else None

    def report(line: dict[str, Any]) -> None:
        figures = " ".join(f"{name} {shown(line[f'val_{name.lower()}'])}" for name in ("loss", "AUC", "ACC"))
        speed = f"{line['seconds']:.1f} s, {_rate(line['images_per_second'])} {opened.info.kind}/s"
        click.echo(f"epoch {line['epoch']}: loss {line['train_loss']:.4f}, validation {figures}, {speed}", err=True)
        if curves:
            curves(line)

    with progress_bar(f"{opened.info.flag} {model}") if leads() else nullcontext() as progress:
        result = fit(
            opened, chosen, model, out, seed=seed, epochs=epochs, device=None if device == "auto" else device,
            resolution=edge, precision=precision, progress=progress, report=report,
        )
    if not leads():
        return
    facts = {"protocol": chosen.name, "model": model, "resolution": edge}
    paper = published(opened.info, facts, result)
    if as_json:
        echo_json({
            "path": str(out), **facts, "seed": seed,
            "best_epoch": result.best_epoch, "epochs": result.epochs,
            "flag": opened.info.flag, "synthetic": opened.info.synthetic,
            "splits": {n: {"images": result.images[n], **as_facts(m._asdict())} for n, m in result.metrics.items()},
            "paper": paper and dict(zip(("auc", "acc"), paper, strict=True)),
        })
        return
    marks = f" {opened.info.marks}" if opened.info.marks else ""
    click.echo(
        f"{opened.info.title}{marks}: {model}, {chosen.name}, seed {seed}, epoch {result.best_epoch} of {result.epochs}"
        + (f" (this run was finished before, {out})" if result.reused else "")
    )
    click.echo(f"{'split':6}{opened.info.kind:>8}{'AUC':>10}{'ACC':>8}" + ("   paper: AUC     ACC" if paper else ""))
    for name, metrics in result.metrics.items():
        beside = f"{paper[0]:>14.3f}{paper[1]:>8.3f}" if paper and name == "test" else ""
        click.echo(f"{name:6}{result.images[name]:>8}{shown(metrics.auc):>10}{metrics.acc:>8.3f}{beside}")
