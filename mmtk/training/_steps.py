"""A training step, plain and as a CUDA graph; no step synchronises with the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from mmtk.training._objectives import Objective
from mmtk.training.protocols import Protocol

Step = Callable[[Any, Any], Any]
_WARM_UP = 3  # steps before a capture: cuDNN has then chosen its algorithms and the optimiser has its state


class Network(nn.Module):  # type: ignore[misc]
    """A model with a protocol's input: images or volumes enlarged, grey channels repeated, in a chosen precision.

    Parameters
    ----------
    model : nn.Module
    resolution : int
        Edge length of the model's input, in pixels.
    protocol : Protocol
    precision : {"float32", "bfloat16"}
        With bfloat16, convolutions and the last layer are computed in it, from float32 weights.
    """

    def __init__(self, model: Any, resolution: int, protocol: Protocol, precision: str) -> None:
        super().__init__()
        self.model, self._resolution, self._protocol = model, resolution, protocol
        self._half = precision == "bfloat16"

    def forward(self, images: Any) -> Any:
        """Return float32 logits, of normalised pixels or of stored uint8 pixels, which are scaled to 0 to 1."""
        if images.dtype == torch.uint8:
            images = images.float() / 255
        edges = images.shape[2:]
        if edges[-1] != self._resolution:
            mode = "trilinear" if self._protocol.enlarge == "bilinear" and len(edges) == 3 else self._protocol.enlarge
            images = nn.functional.interpolate(images, (self._resolution,) * len(edges), mode=mode)
        images = images.expand(-1, self._protocol.channels(images.shape[1]), *images.shape[2:])
        # do not cache weights in bfloat16: each is used once, and a graph must not keep those of an earlier step
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self._half, cache_enabled=False):
            return self.model(images).float()


def make_optimiser(model: Any, protocol: Protocol, device: str) -> Any:
    """Make the protocol's optimiser: fused on CUDA, with the learning rate on the device, where a graph reads it.

    On the CPU, fused SGD gives the same bits as unfused; Adam does not and stays unfused, as in published results.
    """
    rate: Any = protocol.learning_rate
    if device == "cuda":
        rate = torch.tensor(rate, device=device)
    parameters: Any = list(model.parameters())
    if protocol.weight_decay:
        parameters = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": protocol.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
    if protocol.optimiser == "sgd":
        return torch.optim.SGD(
            parameters, lr=rate, momentum=protocol.momentum, nesterov=protocol.nesterov, fused=True
        )
    kind = torch.optim.Adam if protocol.optimiser == "adam" else torch.optim.AdamW
    fused = True if device == "cuda" else None
    return kind(parameters, lr=rate, betas=(protocol.momentum, 0.999), weight_decay=0.0, fused=fused)


def set_rate(optimiser: Any, rate: float) -> None:
    """Set the learning rate, on the device if it is there."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def load_optimiser(optimiser: Any, state: dict[str, Any]) -> None:
    """Load an optimiser's state but keep its learning rates, which may be on the device."""
    rates = [group["lr"] for group in optimiser.param_groups]
    optimiser.load_state_dict(state)
    for group, rate in zip(optimiser.param_groups, rates, strict=True):
        group["lr"] = rate


def plain_step(network: Any, objective: Objective, optimiser: Any) -> Step:
    """Make a step: images and labels in, their loss out, on the device."""

    def step(images: Any, labels: Any) -> Any:
        optimiser.zero_grad()
        loss = objective.loss(network(images), labels)
        loss.backward()
        optimiser.step()
        return loss.detach()

    return step


class ReplayedStep:
    """A step that is recorded once and replayed for batches of the first one's shape; other batches run directly.

    If recording fails, all batches run directly.

    Parameters
    ----------
    step : callable
        Images and labels in, loss out.
    recorder : object
        ``warm_up(step, images, labels)`` runs it. ``record(step, images, labels)`` returns, without running it, a
        callable without arguments that repeats it on the same tensors, and the tensor that then holds the loss.

    Attributes
    ----------
    recorded : bool
        Whether steps are being replayed.
    """

    def __init__(self, step: Step, recorder: Any) -> None:
        self._step, self._recorder = step, recorder
        self._shape: Any = None
        self._steps = 0
        self._replay: Any = None
        self.recorded = False

    def __call__(self, images: Any, labels: Any) -> Any:
        self._shape = self._shape or images.shape
        if images.shape != self._shape:
            return self._step(images, labels)
        self._steps += 1
        if self._steps <= _WARM_UP:
            return self._recorder.warm_up(self._step, images, labels)
        if self._steps == _WARM_UP + 1:
            self._images, self._labels = images.clone(), labels.clone()
            try:
                self._replay, self._loss = self._recorder.record(self._step, self._images, self._labels)
                self.recorded = True
            except RuntimeError:  # not capturable, or no memory for a second pool: slower, not wrong
                self._replay = None
        if self._replay is None:
            return self._step(images, labels)
        self._images.copy_(images)
        self._labels.copy_(labels)
        self._replay()
        return self._loss


class GraphRecorder:
    """Records a step as a CUDA graph, on the stream of its warm-up."""

    def __init__(self, optimiser: Any) -> None:
        self._optimiser, self._stream = optimiser, torch.cuda.Stream()

    def warm_up(self, step: Step, images: Any, labels: Any) -> Any:
        """Run a step on that stream, in order with the work on the current stream."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            loss = step(images, labels)
        current.wait_stream(self._stream)
        return loss

    def record(self, step: Step, images: Any, labels: Any) -> tuple[Callable[[], None], Any]:
        """Record it; gradients are allocated again inside, in the graph's own memory."""
        self._optimiser.zero_grad()
        graph = torch.cuda.CUDAGraph()
        groups = [group for group in self._optimiser.param_groups if "capturable" in group]
        for group in groups:  # Adam requires it during recording and warns about it otherwise
            group["capturable"] = True
        try:
            # thread_local: threads that prepare batches may pin memory at the same time
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                loss = step(images, labels)
        finally:
            for group in groups:
                group["capturable"] = False
        return graph.replay, loss
