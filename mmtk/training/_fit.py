"""Train one model under a protocol: deterministic under a seed, resumable, leaving predictions in MedMNIST's format.

On one machine and device the same seed gives the same weights: first weights come from the seed, the order of images
from the seed and the epoch, and nothing else is random. A run that was killed and continued equals one that was not.
"""

from __future__ import annotations

import json
import math
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mmtk import __version__
from mmtk.datasets.base import Task
from mmtk.errors import ArgumentError, MmtkError
from mmtk.loader import Batches
from mmtk.scoring import evaluate
from mmtk.store import Split, Store
from mmtk.training import checkpoints
from mmtk.training.models import build_model
from mmtk.training.protocols import Protocol, get_protocol
from mmtk.training.results import RunResult, check_scorable, read_result, write_result


def fit(
    store: Store,
    protocol: str | Protocol,
    model: str,
    out: str | Path,
    *,
    seed: int = 0,
    epochs: int | None = None,
    device: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    report: Callable[[dict[str, Any]], None] | None = None,
) -> RunResult:
    """Train a model on a store, or go on with an unfinished run of the same configuration.

    Parameters
    ----------
    store : Store
    protocol : str or Protocol
    model : {"resnet18", "resnet50"}
    out : path
        Folder of the run. A finished run of the same configuration is left alone and its result returned.
    seed : int
        Decides first weights and order of images, from 0.
    epochs : int, optional
        Instead of the protocol's number.
    device : {"cpu", "cuda"}, optional
        By default ``cuda`` where there is one.
    progress : callable, optional
        Called with the batches done and all batches of the run.
    report : callable, optional
        Called with each epoch's line of ``metrics.jsonl``.

    Returns
    -------
    RunResult
        ``out`` then holds ``config.json``, ``metrics.jsonl``, ``best.pt`` (a state dict), ``last.pt``, ``result.json``
        and a result file for each split.

    Raises
    ------
    ArgumentError
        If a name is unknown, epochs or seed out of range, or the device is not there.
    ScoreError
        If the AUC of a split is not defined because a class is missing in it; said before training starts.
    MmtkError
        If `out` holds another run or is in use, or the loss is no longer finite.
    """
    protocol = get_protocol(protocol) if isinstance(protocol, str) else protocol
    epochs = protocol.epochs if epochs is None else epochs
    if epochs < 1:
        raise ArgumentError("epochs", expected="at least 1", found=str(epochs))
    if not 0 <= seed < 2**63:
        raise ArgumentError("seed", expected="0 to 2^63 - 1", found=str(seed))
    device = _device(device)
    out = Path(out)
    run = _Run(store, protocol, model, out, seed, epochs, device)
    with checkpoints.alone(out), torch.backends.cudnn.flags(enabled=True, deterministic=True):
        checkpoints.claim(out, run.config())
        if (out / checkpoints.RESULT).exists():
            return read_result(out)
        best_epoch = run.train(progress, report)
        return run.conclude(best_epoch)


class _Run:
    """One run: its model, optimiser and data."""

    def __init__(
        self, store: Store, protocol: Protocol, model: str, out: Path, seed: int, epochs: int, device: str
    ) -> None:
        self.store, self.protocol, self.name, self.out = store, protocol, model, out
        self.seed, self.epochs, self.device = seed, epochs, device
        outputs = len(store.info.classes)
        for split in store.splits:
            check_scorable(split)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.model = build_model(model, protocol.channels(store.info.channels), outputs)
        self.model.to(device=device, memory_format=torch.channels_last)
        parameters, rate = self.model.parameters(), protocol.learning_rate
        self.optimiser = (
            torch.optim.SGD(parameters, lr=rate, momentum=protocol.momentum)
            if protocol.optimiser == "sgd"
            else torch.optim.Adam(parameters, lr=rate, betas=(protocol.momentum, 0.999))
        )
        self.multilabel = store.info.task == Task.MULTILABEL
        self.loss = nn.BCEWithLogitsLoss() if self.multilabel else nn.CrossEntropyLoss()
        self.batches = self._batches(store.train, shuffle=True)

    def config(self) -> dict[str, Any]:
        info = self.store.info
        return {
            "protocol": asdict(self.protocol),
            "model": self.name,
            "seed": self.seed,
            "epochs": self.epochs,
            "device": self.device,
            "store": {
                "flag": info.flag, "size": info.size, "edition": info.edition, "synthetic": info.synthetic,
                "partial": info.partial, "content": self.store.content_digest(),
            },
            "made_with": {
                "mmtk": __version__, "revision": _revision(), "torch": torch.__version__, "numpy": np.__version__,
                "python": platform.python_version(),
            },
        }

    def train(
        self, progress: Callable[[int, int], None] | None, report: Callable[[dict[str, Any]], None] | None
    ) -> int:
        """Train what is left of the run; return the best epoch."""
        log: list[dict[str, Any]] = []
        best_auc, best_epoch = -math.inf, 0
        last = self.out / checkpoints.LAST
        if last.exists():
            state = checkpoints.load(last)
            self.model.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            log, best_auc, best_epoch = state["log"], state["best_auc"], state["best_epoch"]
        checkpoints.write_text(self.out / checkpoints.LOG, "".join(json.dumps(line) + "\n" for line in log))
        for epoch in range(len(log) + 1, self.epochs + 1):
            line = self._epoch(epoch, progress)
            log.append(line)
            if line["val_auc"] > best_auc:
                best_auc, best_epoch = line["val_auc"], epoch
                checkpoints.save(self.out / checkpoints.BEST, self.model.state_dict())
            state = {
                "model": self.model.state_dict(), "optimiser": self.optimiser.state_dict(),
                "log": log, "best_auc": best_auc, "best_epoch": best_epoch,
            }
            checkpoints.save(last, state)
            with (self.out / checkpoints.LOG).open("a") as file:
                file.write(json.dumps(line) + "\n")
            if report:
                report(line)
        return best_epoch

    def _epoch(self, epoch: int, progress: Callable[[int, int], None] | None) -> dict[str, Any]:
        start = time.perf_counter()
        self.model.train()
        self.batches.set_epoch(epoch - 1)
        for group in self.optimiser.param_groups:
            group["lr"] = self.protocol.rate(epoch, self.epochs)
        total = torch.zeros((), device=self.device)
        for done, (images, labels) in enumerate(self.batches, start=1):
            self.optimiser.zero_grad()
            loss = self.loss(self._logits(images), labels)
            loss.backward()
            self.optimiser.step()
            total += loss.detach() * len(images)
            if progress:
                progress((epoch - 1) * len(self.batches) + done, self.epochs * len(self.batches))
        train_loss = float(total) / len(self.store.train)
        seconds = time.perf_counter() - start
        scores, val_loss = self._predict(self.store.val)
        if not (math.isfinite(train_loss) and math.isfinite(val_loss)):
            found = f"training {train_loss}, validation {val_loss} in epoch {epoch}"
            remedy = "lower the learning rate, or remove the run's folder if the run was continued"
            raise MmtkError(self.out, expected="a finite loss", found=found, remedy=remedy)
        val = evaluate(self.store.val.labels, scores, self.store.info.task)
        return {
            "epoch": epoch, "train_loss": train_loss, "val_loss": val_loss, "val_auc": val.auc, "val_acc": val.acc,
            "seconds": round(time.perf_counter() - start, 3),
            "images_per_second": round(len(self.store.train) / seconds, 1),
        }

    def _logits(self, images: Any) -> Any:
        channels = self.protocol.channels(images.shape[1])
        return self.model(images.expand(-1, channels, -1, -1))

    def _predict(self, split: Split) -> tuple[NDArray[np.float32], float]:
        """Scores ``(n, outputs)``, softmax or sigmoid, and mean loss."""
        self.model.eval()
        with torch.inference_mode():
            pairs = [(self._logits(images).float(), labels) for images, labels in self._batches(split, shuffle=False)]
            logits, labels = (torch.cat(parts) for parts in zip(*pairs, strict=True))
            scores = logits.sigmoid() if self.multilabel else logits.softmax(dim=1)
            return scores.cpu().numpy(), float(self.loss(logits, labels))

    def _batches(self, split: Split, *, shuffle: bool) -> Batches:
        return Batches(
            split, self.protocol.batch_size, shuffle=shuffle, seed=self.seed, device=self.device, dtype="float32"
        )

    def conclude(self, best_epoch: int) -> RunResult:
        """Score the best epoch on every split; write result files, then the result."""
        self.model.load_state_dict(checkpoints.load(self.out / checkpoints.BEST))
        scores = {split.name: self._predict(split)[0] for split in self.store.splits}
        name = f"{self.name}_{self.store.info.size}_{self.protocol.name}_seed{self.seed}"
        return write_result(self.out, self.store, name, scores, best_epoch=best_epoch, epochs=self.epochs)


def _device(name: str | None) -> str:
    if name not in (None, "cpu", "cuda"):
        raise ArgumentError("device", expected="cpu or cuda", found=str(name))
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ArgumentError("device", expected="a CUDA device", found="none that torch can use", remedy="use cpu")
    return name or ("cuda" if available else "cpu")


def _revision() -> str | None:
    """The git revision mmtk runs from, where it runs from a checkout of its own."""
    package = Path(__file__).resolve().parents[1]
    command = ["git", "-C", str(package), "rev-parse", "--show-toplevel", "HEAD"]
    try:
        top, revision = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None
    return revision if Path(top) == package.parent else None
