"""Train a model under a protocol: deterministic for a given seed, resumable, with predictions in MedMNIST's format.

On one CPU the same seed gives the same weights, bit for bit: initial weights depend on the seed, the order of images
and their augmentation on the seed and epoch, and nothing else is random. A run that was killed and resumed equals one
that was not. On CUDA, float32 is the mode for comparisons: deterministic algorithms and no TF32. bfloat16, the default
there, uses the fastest algorithms that cuDNN measures and replays each step as a CUDA graph.

Speed for ResNet-18 at 28 px, batch 128, ``isbi21``, in images/s over an epoch including validation: on two cores of an
EPYC with AVX-512 BF16 239 in bfloat16 and 150 in float32, against 124 for the published script's approach
(``benchmarks/test_training.py``, interleaved, torch 2.13, medians of three). On CUDA: not measured. Not worthwhile on
the CPU: ``torch.compile``, 240 against 259 in bfloat16 and 151 against 134 to 148 in float32 after 20 to 27 s of
compiling, and validation in batches of 2,000, 599 against 630.
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
from mmtk.training._distributed import World, join_group
from mmtk.training._objectives import Objective
from mmtk.training._resuming import load_weights, resume
from mmtk.training._steps import (
    GraphRecorder,
    Network,
    ReplayedStep,
    make_optimiser,
    plain_step,
    set_rate,
)
from mmtk.training.models import build_model
from mmtk.training.protocols import Protocol, get_protocol

PRECISIONS = ("float32", "bfloat16")
_AT_ONCE = 2000  # images of 28 px per scoring batch on CUDA


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
    """Train a model on a store, or resume an unfinished run of the same configuration.

    Under ``torchrun`` its processes share every batch, and the first one writes files.

    Parameters
    ----------
    store : Store
        Of images, or of volumes, for which the network's layers are three-dimensional.
    protocol : str or Protocol
        A name, a protocol file, or the protocol itself; for volumes see `Protocol.for_ndim`.
    model : {"resnet18", "resnet50"}
    out : str or path
        Folder of the run. If it holds a finished run of the same configuration, that result is returned.
    seed : int
        Decides initial weights, order of images and augmentation; from 0 to 2^63 - 1.
    epochs : int, optional
        Replaces the protocol's number of epochs.
    device : {"cpu", "cuda"}, optional
        By default ``cuda`` if available.
    resolution : int, optional
        Edge length in pixels of the network's input, by default that of the stored images; smaller ones are enlarged.
    precision : {"float32", "bfloat16"}, optional
        By default float32 on the CPU, as in the published protocols, and bfloat16 on CUDA.
    progress : callable, optional
        Called with the number of finished batches and of all batches of the run. By default a progress bar in a
        notebook, otherwise nothing.
    report : callable, optional
        Called with each epoch's line of ``metrics.jsonl``, in which an undefined validation AUC is NaN.

    Returns
    -------
    RunResult
        `out` then holds ``config.json``, ``metrics.jsonl``, ``best.pt`` (a state dict), ``last.pt``, ``result.json``
        and a result file per split. If the validation AUC is undefined, as in a partial store that lacks a class
        there, the best epoch is the one with the lowest validation loss.

    Raises
    ------
    ArgumentError
        If a name is unknown, `epochs`, `seed` or `resolution` is out of range, or the device is not available.
    ScoreError
        If a split is empty, or its AUC is undefined because it lacks a class although the store is not partial; raised
        before training starts.
    MmtkError
        If `out` holds another or a damaged run or is in use, the loss is not finite, or the device runs out of memory.
    OSError
        If the system cannot read or write a file.

    Examples
    --------
    >>> import mmtk.training
    >>> store = mmtk.open("stores/breastmnist_28.h5")
    >>> result = mmtk.training.fit(store, "quick", "resnet18", "out/first", epochs=1, device="cpu")
    >>> result.epochs, sorted(result.metrics), result.reused
    (1, ['test', 'train', 'val'], False)
    >>> mmtk.training.fit(store, "quick", "resnet18", "out/first", epochs=1, device="cpu").reused
    True
    """
    protocol = get_protocol(protocol) if isinstance(protocol, str) else protocol
    protocol = protocol.for_ndim(store.info.ndim)
    epochs = protocol.epochs if epochs is None else epochs
    if epochs < 1:
        raise ArgumentError("epochs", found=str(epochs), expected="at least 1")
    if not 0 <= seed < 2**63:
        raise ArgumentError("seed", found=str(seed), expected="0 to 2^63 - 1")
    kind = _device(device)
    precision = precision or ("bfloat16" if kind == "cuda" else "float32")
    if precision not in PRECISIONS:
        raise ArgumentError("precision", found=precision, expected=" or ".join(PRECISIONS))
    resolution = store.info.size if resolution is None else resolution
    if resolution < store.info.size:
        expected = f"at least the {store.info.size} px of {store.path}"
        raise ArgumentError("resolution", found=f"{resolution} px", expected=expected)
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
            world = stack.enter_context(join_group(kind))
            run = _Run(store, protocol, model, out, seed, epochs, resolution, precision, world)

            def begin() -> bool:
                stack.enter_context(runs.lock_folder(out))
                runs.ensure_config(out, run.config())
                return (out / runs.RESULT).exists()

            if world.on_main(begin):
                return runs.read_result(out)
            stack.enter_context(flags)
            best_epoch = run.train(progress if world.is_main else None, report if world.is_main else None)
            return run.conclude(best_epoch)
    except torch.OutOfMemoryError:
        raise _out_of_memory(kind, protocol.batch_size, resolution, store.info.size, precision) from None


class _Run:
    """One run: its model, optimiser and data."""

    def __init__(
        self, store: Store, protocol: Protocol, model: str, out: Path, seed: int, epochs: int, resolution: int,
        precision: str, world: World,
    ) -> None:
        self.labelled, self.store = store, without_labels(store)  # for scoring and for training
        self.protocol, self.name, self.out = protocol, model, out
        self.seed, self.epochs, self.resolution, self.precision = seed, epochs, resolution, precision
        self.world, self.kind = world, world.device.partition(":")[0]
        if protocol.batch_size % world.size:
            problem = f"{world.size} processes cannot share batches of {protocol.batch_size} equally"
            raise ArgumentError("torchrun", problem, remedy="start another number of processes")
        self.objective = Objective(store.info, protocol)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            channels, ndim = protocol.channels(store.info.channels), store.info.ndim
            self.model = build_model(model, channels, self.objective.outputs, resolution, ndim)
        self.model.to(device=world.device, memory_format=_layout(ndim, self.kind))
        self.batches = self._batches(store.train, protocol.batch_size // world.size, training=True)
        self.scored: dict[str, Batches] = {}  # cached, since on CUDA they hold the split
        self.average = Average(self.model, protocol.averaging, len(self.batches)) if protocol.averaging else None
        self.final = self.average.model if self.average else self.model  # the model that is validated and tested

    def config(self) -> RunConfig:
        settings = {
            "protocol": self.protocol.facts(), "model": self.name, "resolution": self.resolution, "epochs": self.epochs,
            "precision": self.precision, "processes": self.world.size,
        }
        return RunConfig(settings, self.seed, StoreFacts.of(self.labelled), self.kind, runs.environment())

    def train(
        self, progress: Progress | None, report: Callable[[dict[str, Any]], None] | None
    ) -> int:
        """Train the remaining epochs; return the best epoch."""
        log: list[dict[str, Any]] = []
        last = self.out / runs.LAST
        network = Network(self.world.parallel(self.model), self.resolution, self.protocol, self.precision)
        optimiser = make_optimiser(self.model, self.protocol, self.kind)
        step = plain_step(network, self.objective, optimiser)
        if self.kind == "cuda" and self.precision == "bfloat16" and self.world.size == 1:
            step = ReplayedStep(step, GraphRecorder(optimiser))
        if last.exists():
            log = resume(last, self.epochs, self.model, self.average and self.average.model, optimiser)
        if self.world.is_main:
            write_text(self.out / runs.LOG, "".join(map(_json_line, log)))
        for epoch in range(len(log) + 1, self.epochs + 1):
            line = self._epoch(epoch, step, optimiser, progress)
            log.append(line)
            if not self.world.is_main:
                continue
            if runs.best_of(log) == epoch:
                checkpoints.save(self.out / runs.BEST, self.final.state_dict())
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
        buffers = [buffer for model in (self.model, self.final) for buffer in model.buffers()]
        self.world.average([losses, *(buffer for buffer in buffers if buffer.is_floating_point())])
        batch_losses = losses.cpu().numpy()
        seconds = time.perf_counter() - start
        scores, val_loss = self._validate()
        self._check_finite(epoch, batch_losses, val_loss)
        info = self.store.info
        val = evaluate(self.store.val.labels, scores, info.task, allow_undefined=info.partial)
        return {
            "epoch": epoch, "train_loss": float(batch_losses @ counts / counts.sum()), "val_loss": val_loss,
            "val_auc": val.auc, "val_acc": val.acc, "learning_rate": self.protocol.rate(done, steps, self.epochs),
            "seconds": round(time.perf_counter() - start, 3),
            "images_per_second": float(f"{len(self.store.train) / seconds:.4g}"),
            **({"cuda_graph": step.recorded} if isinstance(step, ReplayedStep) else {}),
        }

    def _check_finite(self, epoch: int, losses: NDArray[np.float32], val_loss: float) -> None:
        bad = np.flatnonzero(~np.isfinite(losses))
        if len(bad):
            problem = f"the loss became {losses[bad[0]]} in epoch {epoch}, batch {bad[0] + 1} of {len(losses)}"
        elif not math.isfinite(val_loss):
            problem = f"the validation loss became {val_loss} after epoch {epoch}"
        else:
            return
        kept = f"; {runs.LAST} holds epoch {epoch - 1}" if epoch > 1 else ""
        raise MmtkError(self.out, problem, remedy=f"lower the learning rate{kept}")

    def _validate(self) -> tuple[NDArray[np.float32], float]:
        """Scores (n, classes) of the validation images, and their mean loss."""
        sides = self._outputs(self.store.val)
        with torch.inference_mode():
            labels = torch.tensor(self.scored["val"].data.targets).to(self.world.device)
            return self._scores(sides), float(self.objective.loss(sides[0], labels))

    def _scores(self, sides: Sequence[Any]) -> NDArray[np.float32]:
        """Scores (n, classes), averaged over images and mirror images."""
        with torch.inference_mode():
            mean = sum(self.objective.scores(side) for side in sides) / len(sides)
        scores: NDArray[np.float32] = mean.cpu().numpy()
        return scores

    def _outputs(self, split: Split) -> Sequence[Any]:
        """The network's outputs (n, outputs) for a split, and for its mirror images if the protocol uses them."""
        self.final.eval()
        network = Network(self.final, self.resolution, self.protocol, self.precision)
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
            outputs = self.world.gather(torch.cat(rows))[: len(split)]
            by_side: Sequence[Any] = outputs.split(self.objective.outputs, dim=1)
            return by_side

    def _batches(self, split: Split, size: int, *, training: bool = False) -> Batches:
        dtype = self.precision if self.protocol.input == "centred" else "uint8"  # `Network` does the rest
        return Batches(
            split, size, shuffle=training, seed=self.seed, device=self.world.device, dtype=dtype,
            augment=self.protocol.augmentation if training else None,
            rank=self.world.rank, world_size=self.world.size, pad=self.world.size > 1,
        )

    def conclude(self, best_epoch: int) -> RunResult:
        """Score the best epoch on every split; write the result files, then the result."""
        self.world.on_main(lambda: None)  # the others arrive here while the main process is still writing
        best = self.out / runs.BEST
        load_weights(self.final, checkpoints.load(best), best)
        scores = {split.name: self._scores(self._outputs(split)) for split in self.store.splits}
        name = f"{self.name}_{self.resolution}_{self.protocol.name}_seed{self.seed}"
        return self.world.on_main(
            lambda: runs.write_result(self.out, self.labelled, name, scores, best_epoch=best_epoch, epochs=self.epochs)
        )


def _layout(ndim: int, kind: str) -> Any:
    """The memory format of weights; the contiguous one for volumes on the CPU, where it takes a third less time."""
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
    smaller = ["a smaller batch_size in a protocol file"]
    smaller += ["--precision bfloat16"] * (precision == "float32")
    smaller += [f"--resolution {stored}"] * (resolution > stored) + ["a store of smaller images"] * (stored > 28)
    problem = f"out of memory with batches of {batch} at {resolution} px in {precision}"
    return MmtkError(device, problem, remedy=f"use {' or '.join(smaller)}")


def _device(name: str | None) -> str:
    if name not in (None, "cpu", "cuda"):
        raise ArgumentError("device", found=str(name), expected="cpu or cuda")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ArgumentError("device cuda", "torch finds no usable CUDA device", remedy="use cpu")
    return name or ("cuda" if available else "cpu")
