"""``mmtk train``: train one model on one store under a protocol."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from mmtk.cli._common import echo_json, example, json_option, progress_bar
from mmtk.cli._names import PROTOCOL, Choice, Folder
from mmtk.training import MODELS, PROTOCOLS


def _rate(images: float) -> str:
    """Images per second, which may be below one for volumes."""
    return f"{images:.0f}" if images >= 10 else f"{images:.2g}"


@click.command("train", epilog=example(
    "mmtk train stores/breastmnist_28.h5 --protocol quick --model resnet18 --out runs/breast",
))
@click.argument("path", metavar="STORE", type=click.Path(path_type=Path))
@click.option("--protocol", type=PROTOCOL, metavar="NAME|FILE", required=True,
              help=f"Training set-up: {', '.join(PROTOCOLS.names)}, or a protocol file (.toml or .json).")
@click.option("--model", type=Choice(MODELS.names), required=True)
@click.option("--resolution", type=click.IntRange(min=1),
              help="Edge length of the input; smaller images are enlarged.  [default: that of the images]")
@click.option("--precision", type=Choice(["float32", "bfloat16"]),
              help="Floating-point format.  [default: float32 on the CPU, bfloat16 on CUDA]")
@click.option("--out", type=Folder(), required=True, help="Output folder; an interrupted run in it is resumed.")
@click.option("--epochs", type=click.IntRange(min=1), help="Number of epochs, in place of the protocol's.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--device", type=Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard curves to the run's folder.")
@json_option
def train_command(
    path: Path, protocol: str, model: str, resolution: int | None, precision: str | None, out: Path, epochs: int | None,
    seed: int, device: str, tensorboard: bool, as_json: bool,
) -> None:
    """Train a model on STORE under a protocol, and test the epoch with the best validation AUC.

    The model's first layers depend on the edge length of its input: up to 64 px a 3x3 convolution without pooling,
    above that torchvision's 7x7 convolution of stride 2 with max-pooling. For a store of volumes all layers are
    three-dimensional, and the protocol v2 is the one published for volumes: batches of 32, pixels from 0 to 1.

    If a partial store lacks a class in the validation split, the AUC is undefined and the epoch with the lowest
    validation loss is tested.

    An interrupted run resumes when the same command is given again. To share each batch among several processes:
    torchrun --nproc-per-node N -m mmtk train ...
    """
    from mmtk import store
    from mmtk.runs import published
    from mmtk.scoring import as_facts, format_figure
    from mmtk.training import Curves, fit, get_protocol, is_main_process

    chosen = get_protocol(protocol)
    opened = store.open(path)
    store.expect_whole(path)
    edge = resolution or opened.info.size
    curves = Curves(out / "tensorboard") if tensorboard else None

    def report(line: dict[str, Any]) -> None:
        figures = " ".join(f"{name} {format_figure(line[f'val_{name.lower()}'])}" for name in ("loss", "AUC", "ACC"))
        speed = f"{line['seconds']:.1f} s, {_rate(line['images_per_second'])} {opened.info.kind}/s"
        click.echo(f"epoch {line['epoch']}: loss {line['train_loss']:.4f}, validation {figures}, {speed}", err=True)
        if curves:
            curves(line)

    with progress_bar(f"{opened.info.flag} {model}") if is_main_process() else nullcontext() as progress:
        result = fit(
            opened, chosen, model, out, seed=seed, epochs=epochs, device=None if device == "auto" else device,
            resolution=edge, precision=precision, progress=progress, report=report,
        )
    if not is_main_process():
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
        + (f" (run already finished, {out})" if result.reused else "")
    )
    click.echo(f"{'split':6}{opened.info.kind:>8}{'AUC':>10}{'ACC':>8}" + ("   paper: AUC     ACC" if paper else ""))
    for name, metrics in result.metrics.items():
        reference = f"{paper[0]:>14.3f}{paper[1]:>8.3f}" if paper and name == "test" else ""
        click.echo(f"{name:6}{result.images[name]:>8}{format_figure(metrics.auc):>10}{metrics.acc:>8.3f}{reference}")
