"""Train one model under a protocol: deterministic under a seed, resumable, leaving predictions in MedMNIST's format.

On one CPU the same seed gives the same weights, bit for bit: first weights come from the seed, the order of images and
their augmentation from the seed and the epoch, and nothing else is random. A run that was killed and continued equals
one that was not. On CUDA float32 is the mode for comparison: deterministic algorithms and no TF32; bfloat16, which is
what is used there unless one asks, takes the fastest algorithms that cuDNN measures, and replays each step as one CUDA
graph.

The record, ResNet-18 at 28 px, batch 128, ``isbi21``, images/s over an epoch with its validation: on two cores of an
EPYC with AVX-512 BF16 239 in bfloat16 and 150 in float32, where the published script's way of working gives 124
(``benchmarks/test_training.py``, by turns, torch 2.13, medians of three). On CUDA: unmeasured. Not worth it on the CPU:
``torch.compile``, 240 against 259 in bfloat16 and 151 against 134 to 148 in float32 after 20 to 27 s of compiling, and
validation in batches of 2,000, 599 against 630.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmtk import runs
from mmtk.base import Progress
from mmtk.display import NotebookBar, notebook_bar
from mmtk.errors import ArgumentError, MmtkError
from mmtk.files import write_text
from mmtk.loader import Batches
from mmtk.runs import RunConfig, RunResult, StoreFacts
from mmtk.scoring import Metrics, as_facts, evaluate
from mmtk.store import Split, Store, with_labels, without_labels
from mmtk.training import checkpoints
from mmtk.training._averaging import Average
from mmtk.training._distributed import World, joined
from mmtk.training._objectives import Objective
from mmtk.training._resuming import load_weights, resume
from mmtk.training._steps import (
    GraphRecorder,
    Network,
    Replayed,
    make_optimiser,
    plain_step,
    set_rate,
)
from mmtk.training.models import build_model
from mmtk.training.protocols import Protocol, get_protocol

PRECISIONS = ("float32", "bfloat16")
_AT_ONCE = 2000  # images of 28 px that are scored together on CUDA


def fit(
    store: Store,
    protocol: str | Protocol,
    model: str,
    out: str | Path,
    *,
    seed: int = 0,
    epochs: int | None = None,
    device: str | None = None,
    resolution: int | None = None,
    precision: str | None = None,
    progress: Progress | None = None,
    report: Callable[[dict[str, Any]], None] | None = None,
) -> RunResult:
    """Train a model on a store, or go on with an unfinished run of the same configuration.

    Started by ``torchrun``, its processes share every batch, and the first one writes.

    Parameters
    ----------
    store : Store
        Of images, or of volumes, for which the network's layers have three dimensions.
    protocol : str or Protocol
        A name, a protocol file, or the protocol itself; see `Protocol.for_ndim` for what it is for volumes.
    model : {"resnet18", "resnet50"}
    out : path
        Folder of the run. A finished run of the same configuration is left alone and its result returned.
    seed : int
        Decides first weights, order of images and augmentation, from 0.
    epochs : int, optional
        Instead of the protocol's number.
    device : {"cpu", "cuda"}, optional
        By default ``cuda`` where there is one.
    resolution : int, optional
        Edge of the images that the network is given, by default that of the stored ones; smaller ones are enlarged.
    precision : {"float32", "bfloat16"}, optional
        By default float32 on the CPU, as the published protocols had it, and bfloat16 on CUDA.
    progress : callable, optional
        Called with the batches done and all batches of the run. By default a bar in a notebook, else nothing.
    report : callable, optional
        Called with each epoch's line of ``metrics.jsonl``, in which a validation AUC that is undefined is NaN.

    Returns
    -------
    RunResult
        ``out`` then holds ``config.json``, ``metrics.jsonl``, ``best.pt`` (a state dict), ``last.pt``, ``result.json``
        and a result file for each split. Where the validation AUC is undefined, as in a partial store that lacks a
        class there, the best epoch is the one with the lowest validation loss.

    Raises
    ------
    ArgumentError
        If a name is unknown, epochs, seed or resolution out of range, or the device is not there.
    ScoreError
        If a split is empty, or its AUC undefined because a class is missing in it though the store is whole; said
        before training starts.
    MmtkError
        If `out` holds another run, a damaged one or is in use, the loss is no longer finite, or memory of the device
        runs out.
    OSError
        If the system cannot read or write what is there.
    """
    protocol = get_protocol(protocol) if isinstance(protocol, str) else protocol
    protocol = protocol.for_ndim(store.info.ndim)
    epochs = protocol.epochs if epochs is None else epochs
    if epochs < 1:
        raise ArgumentError("epochs", expected="at least 1", found=str(epochs))
    if not 0 <= seed < 2**63:
        raise ArgumentError("seed", expected="0 to 2^63 - 1", found=str(seed))
    kind = _device(device)
    precision = precision or ("bfloat16" if kind == "cuda" else "float32")
    if precision not in PRECISIONS:
        raise ArgumentError("precision", expected=" or ".join(PRECISIONS), found=precision)
    resolution = store.info.size if resolution is None else resolution
    if resolution < store.info.size:
        found = f"{store.info.size} px in {store.path}"
        raise ArgumentError("resolution", expected=f"images of at most {resolution} px", found=found)
    store = with_labels(store)
    for split in store.splits:
        runs.check_scorable(split)
    out = Path(out)
    if progress is None and (bar := notebook_bar(f"{store.info.flag} {model}")):
        progress, report = bar, _shown_by(bar, report)
    exact = precision == "float32"
    flags = torch.backends.cudnn.flags(enabled=True, benchmark=not exact, deterministic=exact, allow_tf32=not exact)
    try:
        with ExitStack() as stack:
            world = stack.enter_context(joined(kind))
            run = _Run(store, protocol, model, out, seed, epochs, resolution, precision, world)

            def begin() -> bool:
                stack.enter_context(runs.alone(out))
                runs.claim(out, run.config())
                return (out / runs.RESULT).exists()

            if world.agreed(begin):
                return runs.read_result(out)
            stack.enter_context(flags)
            best_epoch = run.train(progress if world.first else None, report if world.first else None)
            return run.conclude(best_epoch)
    except torch.OutOfMemoryError:
        raise _out_of_memory(kind, protocol.batch_size, resolution, store.info.size, precision) from None


class _Run:
    """One run: its model, optimiser and data."""

    def __init__(
        self, store: Store, protocol: Protocol, model: str, out: Path, seed: int, epochs: int, resolution: int,
        precision: str, world: World,
    ) -> None:
        self.whole, self.store = store, without_labels(store)  # to score by, and to train on
        self.protocol, self.name, self.out = protocol, model, out
        self.seed, self.epochs, self.resolution, self.precision = seed, epochs, resolution, precision
        self.world, self.kind = world, world.device.partition(":")[0]
        if protocol.batch_size % world.size:
            found = f"a batch of {protocol.batch_size}"
            raise ArgumentError("processes", expected=f"a batch that {world.size} can share", found=found)
        self.objective = Objective(store.info, protocol)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            channels, ndim = protocol.channels(store.info.channels), store.info.ndim
            self.model = build_model(model, channels, self.objective.outputs, resolution, ndim)
        self.model.to(device=world.device, memory_format=_layout(ndim, self.kind))
        self.batches = self._batches(store.train, protocol.batch_size // world.size, training=True)
        self.scored: dict[str, Batches] = {}  # kept, since on CUDA they hold the split
        self.average = Average(self.model, protocol.averaging, len(self.batches)) if protocol.averaging else None
        self.tested = self.average.model if self.average else self.model

    def config(self) -> RunConfig:
        settings = {
            "protocol": self.protocol.facts(), "model": self.name, "resolution": self.resolution, "epochs": self.epochs,
            "precision": self.precision, "processes": self.world.size,
        }
        return RunConfig(settings, self.seed, StoreFacts.of(self.whole), self.kind, runs.environment())

    def train(
        self, progress: Progress | None, report: Callable[[dict[str, Any]], None] | None
    ) -> int:
        """Train what is left of the run; return the best epoch."""
        log: list[dict[str, Any]] = []
        last = self.out / runs.LAST
        network = Network(self.world.shared(self.model), self.resolution, self.protocol, self.precision)
        optimiser = make_optimiser(self.model, self.protocol, self.kind)
        step = plain_step(network, self.objective, optimiser)
        if self.kind == "cuda" and self.precision == "bfloat16" and self.world.size == 1:
            step = Replayed(step, GraphRecorder(optimiser))
        if last.exists():
            log = resume(last, self.epochs, self.model, self.average and self.average.model, optimiser)
        if self.world.first:
            write_text(self.out / runs.LOG, "".join(map(_json_line, log)))
        for epoch in range(len(log) + 1, self.epochs + 1):
            line = self._epoch(epoch, step, optimiser, progress)
            log.append(line)
            if not self.world.first:
                continue
            if runs.best_of(log) == epoch:
                checkpoints.save(self.out / runs.BEST, self.tested.state_dict())
            state = {
                "model": self.model.state_dict(), "average": self.average and self.average.model.state_dict(),
                "optimiser": optimiser.state_dict(), "log": log,
            }
            checkpoints.save(last, state)
            with (self.out / runs.LOG).open("a") as file:
                file.write(_json_line(line))
            if report:
                report(line)
        return runs.best_of(log)

    def _epoch(
        self, epoch: int, step: Any, optimiser: Any, progress: Progress | None
    ) -> dict[str, Any]:
        start = time.perf_counter()
        steps = len(self.batches)
        self.model.train()
        self.batches.set_epoch(epoch - 1)
        losses, counts = torch.zeros(steps, device=self.world.device), np.zeros(steps)
        for number, (images, labels) in enumerate(self.batches):
            done = (epoch - 1) * steps + number
            set_rate(optimiser, self.protocol.rate(done, steps, self.epochs))
            losses[number] = step(images, labels)
            counts[number] = len(images)
            if self.average:
                self.average.update(first=epoch == 1)
            if progress:
                progress(done + 1, self.epochs * steps)
        statistics = [one for model in (self.model, self.tested) for one in model.buffers()]
        self.world.mean([losses, *(one for one in statistics if one.is_floating_point())])
        each = losses.cpu().numpy()
        seconds = time.perf_counter() - start
        scores, val_loss = self._validate()
        self._check_finite(epoch, each, val_loss)
        info = self.store.info
        val = evaluate(self.store.val.labels, scores, info.task, allow_undefined=info.partial)
        return {
            "epoch": epoch, "train_loss": float(each @ counts / counts.sum()), "val_loss": val_loss,
            "val_auc": val.auc, "val_acc": val.acc, "learning_rate": self.protocol.rate(done, steps, self.epochs),
            "seconds": round(time.perf_counter() - start, 3),
            "images_per_second": float(f"{len(self.store.train) / seconds:.4g}"),
            **({"cuda_graph": step.recorded} if isinstance(step, Replayed) else {}),
        }

    def _check_finite(self, epoch: int, losses: NDArray[np.float32], val_loss: float) -> None:
        bad = np.flatnonzero(~np.isfinite(losses))
        if len(bad):
            found = f"{losses[bad[0]]} in epoch {epoch}, batch {bad[0] + 1} of {len(losses)}"
        elif not math.isfinite(val_loss):
            found = f"{val_loss} on the validation split after epoch {epoch}"
        else:
            return
        kept = f"; {runs.LAST} is that of epoch {epoch - 1}" if epoch > 1 else ""
        remedy = f"lower the learning rate{kept}"
        raise MmtkError(self.out, expected="a finite loss", found=found, remedy=remedy)

    def _validate(self) -> tuple[NDArray[np.float32], float]:
        """Scores of the validation images, ``(n, classes)``, and their mean loss."""
        sides = self._outputs(self.store.val)
        with torch.inference_mode():
            labels = torch.tensor(self.scored["val"].data.targets).to(self.world.device)
            return self._scores(sides), float(self.objective.loss(sides[0], labels))

    def _scores(self, sides: Sequence[Any]) -> NDArray[np.float32]:
        """Scores ``(n, classes)``, the mean of those of each side."""
        with torch.inference_mode():
            mean = sum(self.objective.scores(side) for side in sides) / len(sides)
        scores: NDArray[np.float32] = mean.cpu().numpy()
        return scores

    def _outputs(self, split: Split) -> Sequence[Any]:
        """What the network gives for a split, ``(n, outputs)``, and for its mirror images if the protocol has them."""
        self.tested.eval()
        network = Network(self.tested, self.resolution, self.protocol, self.precision)
        if split.name not in self.scored:
            at_once = self.protocol.batch_size
            if self.kind == "cuda":
                at_once = max(at_once, _AT_ONCE * 28**2 // self.resolution ** self.store.info.ndim)
            self.scored[split.name] = self._batches(split, at_once)
        with torch.inference_mode():
            rows = []
            for images, _ in self.scored[split.name]:
                sides = (images, images.flip(-1)) if self.protocol.mirror else (images,)
                rows.append(torch.cat([network(side) for side in sides], dim=1))
            outputs = self.world.gathered(torch.cat(rows))[: len(split)]
            found: Sequence[Any] = outputs.split(self.objective.outputs, dim=1)
            return found

    def _batches(self, split: Split, size: int, *, training: bool = False) -> Batches:
        dtype = self.precision if self.protocol.input == "centred" else "uint8"  # `Network` does the rest
        return Batches(
            split, size, shuffle=training, seed=self.seed, device=self.world.device, dtype=dtype,
            augment=self.protocol.augmentation if training else None,
            rank=self.world.rank, world_size=self.world.size, pad=self.world.size > 1,
        )

    def conclude(self, best_epoch: int) -> RunResult:
        """Score the best epoch on every split; write result files, then the result."""
        self.world.agreed(lambda: None)  # the others come here while the first still writes
        best = self.out / runs.BEST
        load_weights(self.tested, checkpoints.load(best), best)
        scores = {split.name: self._scores(self._outputs(split)) for split in self.store.splits}
        name = f"{self.name}_{self.resolution}_{self.protocol.name}_seed{self.seed}"
        return self.world.agreed(
            lambda: runs.write_result(self.out, self.whole, name, scores, best_epoch=best_epoch, epochs=self.epochs)
        )


def _layout(ndim: int, kind: str) -> Any:
    """The order of weights in memory: of volumes on the CPU the plain one, which took two thirds of the time there."""
    if ndim == 2:
        return torch.channels_last
    return torch.channels_last_3d if kind == "cuda" else torch.contiguous_format


def _shown_by(
    bar: NotebookBar, report: Callable[[dict[str, Any]], None] | None
) -> Callable[[dict[str, Any]], None]:
    """A report that also shows an epoch's validation scores behind the bar."""

    def follow(line: dict[str, Any]) -> None:
        bar.say(f"epoch {line['epoch']}: validation {Metrics(line['val_auc'], line['val_acc'])}")
        if report:
            report(line)

    return follow


def _json_line(line: dict[str, Any]) -> str:
    return json.dumps(as_facts(line)) + "\n"


def _out_of_memory(device: str, batch: int, resolution: int, stored: int, precision: str) -> MmtkError:
    lower = ["a lower batch_size in a protocol file"]
    lower += ["--precision bfloat16"] * (precision == "float32")
    lower += [f"--resolution {stored}"] * (resolution > stored) + ["a store of smaller images"] * (stored > 28)
    expected = f"memory for batches of {batch} at {resolution} px in {precision}"
    return MmtkError(device, expected=expected, found="too little", remedy=f"use {' or '.join(lower)}")


def _device(name: str | None) -> str:
    if name not in (None, "cpu", "cuda"):
        raise ArgumentError("device", expected="cpu or cuda", found=str(name))
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ArgumentError("device", expected="a CUDA device", found="none that torch can use", remedy="use cpu")
    return name or ("cuda" if available else "cpu")
