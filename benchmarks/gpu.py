"""What training reaches on this machine's GPU, in one table: ``make bench-gpu``.

ResNet-18 under ``isbi21`` on noise: images per second of training at 28 px, at 28 px enlarged to 224 and at 224 px;
what share of an epoch waits for the loader, against an epoch that is given one batch again and again; the whole
Decathlon, ten sets of Table 1's counts, by ``run_all``; and the same training shared by torchrun, with nccl. Beside
each rate stands its share of the chip's peak: of what one large matrix product in bfloat16 reaches here, and of the
maker's figure where the chip is known. Without a GPU all of it runs small, on the CPU, to show that it runs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import click
import torch
from torch.utils.flop_counter import FlopCounterMode

from mmtk import store
from mmtk.datasets import TEN, get_dataset
from mmtk.loader import Batches
from mmtk.runs import environment
from mmtk.training import _fit, build_model, choose_methods, fit, get_protocol, plan_runs, run_all
from tests.small_stores import write_small_store

BATCH = get_protocol("isbi21").batch_size
# bfloat16, dense, in TFLOP/s: the makers' data sheets
MAKERS = {
    "H200": 989, "H100 NVL": 835, "H100 PCIe": 756, "H100": 989, "A100": 312, "L40S": 362, "L4": 121, "A10": 125,
}


@dataclass(frozen=True)
class Chip:
    """Where it runs, and what it can do: TFLOP/s of a matrix product measured, and by the maker where known."""

    name: str
    device: str
    measured: float
    maker: float | None

    @classmethod
    def here(cls) -> Chip:
        """The GPU, or the CPU where there is none."""
        facts = environment()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        name = facts.get("gpu") or facts["processor"]
        known = (peak for part, peak in MAKERS.items() if device == "cuda" and part in name)
        return cls(name, device, product_rate(device), next(known, None))


def product_rate(device: str) -> float:
    """TFLOP/s of the fastest of ten products of two square matrices in bfloat16."""
    edge = 8192 if device == "cuda" else 1024
    left, right = (torch.randn(edge, edge, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(10):
        waited(device)
        start = time.perf_counter()
        left @ right
        waited(device)
        seconds.append(time.perf_counter() - start)
    return 2 * edge**3 / min(seconds) / 1e12


def waited(device: str) -> None:
    """Wait until the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def flops_an_image(resolution: int) -> float:
    """Operations of a step, forward and backward, for each image."""
    model = build_model("resnet18", 1, 2, resolution)
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(2, 1, resolution, resolution)).sum().backward()
    return counter.get_total_flops() / 2


class OneBatch(Batches):
    """The first batch again and again: an epoch that waits for no loader."""

    def __iter__(self) -> Iterator[Any]:
        batch = next(super().__iter__())
        return iter([batch] * len(self))


def rate_of(opened: store.Store, out: Path, device: str, resolution: int, epochs: int) -> float:
    """Images per second in the last epoch, validation left out."""
    lines: list[dict[str, Any]] = []
    fit(
        opened, "isbi21", "resnet18", out, epochs=epochs, device=device, resolution=resolution, precision="bfloat16",
        report=lines.append,
    )
    return float(lines[-1]["images_per_second"])


def noise(folder: Path, size: int, images: int) -> store.Store:
    """A store of whole batches: `images` to train on, two batches each to validate and test."""
    counts = (-(-images // BATCH) * BATCH, 2 * BATCH, 2 * BATCH)
    return store.open(write_small_store(folder / f"breastmnist_{size}.h5", counts, size=size))


def training(folder: Path, chip: Chip, images: int, epochs: int) -> Iterator[str]:
    """A line for each resolution."""
    few = max(images // 16, BATCH)
    for stored, resolution, count in ((28, 28, images), (28, 224, few), (224, 224, few)):
        opened = noise(folder, stored, count)
        out = folder / f"run_{stored}_{resolution}"
        rate = rate_of(opened, out, chip.device, resolution, epochs)
        with mock.patch.object(_fit, "Batches", OneBatch):
            unhindered = rate_of(opened, folder / f"{out.name}_one", chip.device, resolution, epochs)
        flops = flops_an_image(resolution)
        enlarged = f" from {stored}" if resolution > stored else ""
        yield (
            f"{f'ResNet-18 at {resolution} px{enlarged}':34}{rate:>12,.0f} images/s{shares(rate * flops, chip)}"
            f"   loader waiting {max(0.0, 1 - rate / unhindered):.1%}"
        )


def shares(operations: float, chip: Chip) -> str:
    """What part of the chip's peak so many operations per second are."""
    reached = operations / 1e12
    maker = f", {reached / chip.maker:.1%} of the maker's {chip.maker:g}" if chip.maker else ""
    return f"   {reached:.3g} TFLOP/s, {reached / chip.measured:.1%} of a matrix product's {chip.measured:.3g}{maker}"


def decathlon(folder: Path, chip: Chip, share: float, epochs: int) -> str:
    """The ten sets, each with this share of its images, by ResNet-18 under isbi21."""
    for flag in TEN:
        dataset = get_dataset(flag)
        counts = dataset.counts["2020"]
        some = tuple(max(round(n * share), 32) for n in (counts.train, counts.val, counts.test))
        write_small_store(
            folder / "ten" / f"{flag}_28.h5", some, flag=flag, task=dataset.task, classes=len(dataset.classes),
            channels=dataset.channels, size=28,
        )
    methods = choose_methods(["resnet18"], ["isbi21"], [], epochs, precision="bfloat16")
    entries, _ = plan_runs(folder / "ten", folder / "runs", methods=methods, seeds=[0])
    start = time.perf_counter()
    errors = [outcome.error for outcome in run_all(entries, device=chip.device) if outcome.error]
    seconds = time.perf_counter() - start
    if errors:
        raise click.ClickException(errors[0])
    images = sum(entry.images for entry in entries) * epochs
    part = "" if share == 1 else f", {share:g} of their images"
    name = f"Decathlon, {len(entries)} sets, {epochs} epoch{'s' * (epochs > 1)}{part}"
    return f"{name:56}{seconds:>10,.1f} s   {images / seconds:,.0f} images/s, validation, tests and intervals included"


def shared(folder: Path, chip: Chip, images: int, epochs: int) -> str:
    """The same training by torchrun, a process a GPU, or two on the CPU."""
    processes = torch.cuda.device_count() if chip.device == "cuda" else 2
    opened, out = noise(folder, 28, images), folder / "shared"
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m", "mmtk",
         "train", opened.path, "--model", "resnet18", "--protocol", "isbi21", "--epochs", str(epochs), "--out", out,
         "--precision", "bfloat16", "--device", chip.device],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    line = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    by = "nccl" if chip.device == "cuda" else "gloo"
    name = f"torchrun, {processes} process{'es' * (processes > 1)}, {by}"
    return f"{name:34}{line['images_per_second']:>12,.0f} images/s"


@click.command()
@click.option("--images", type=click.IntRange(min=1), help="To train on at 28 px; a sixteenth at 224.")
@click.option("--epochs", type=click.IntRange(min=1), help="Of the Decathlon.")
@click.option("--share", type=click.FloatRange(min=0, max=1, min_open=True), help="Of the Decathlon's images.")
def main(images: int | None, epochs: int | None, share: float | None) -> None:
    """Print what training reaches here; by default as much as a large GPU does in ten minutes, or a CPU in one."""
    chip = Chip.here()
    large = chip.device == "cuda"
    images = images or (65_536 if large else BATCH)
    small = "" if large else ": no GPU here, only a check that it runs"
    click.echo(f"{chip.name}, torch {torch.__version__}{small}")
    with tempfile.TemporaryDirectory() as folder:
        for line in training(Path(folder), chip, images, 3 if large else 2):
            click.echo(line)
        click.echo(shared(Path(folder), chip, images, 3 if large else 2))
        click.echo(decathlon(Path(folder), chip, share or (1.0 if large else 0.001), epochs or (100 if large else 1)))


if __name__ == "__main__":
    main()
