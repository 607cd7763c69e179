"""Protocols: named, frozen training set-ups. A protocol is data; what it means is in ``fit``."""

from __future__ import annotations

from dataclasses import dataclass

from mmtk.errors import ArgumentError


@dataclass(frozen=True)
class Protocol:
    """A training set-up without a schedule or augmentation.

    The input is ``x / 255`` with mean 0.5 and standard deviation 0.5, the loss is cross entropy (binary cross entropy
    of each label for multi-label tasks), the last, smaller batch is kept, and the epoch with the best validation AUC is
    the one that is tested.
    """

    name: str
    title: str
    optimiser: str
    learning_rate: float
    momentum: float
    batch_size: int
    epochs: int


_ALL = (
    Protocol(
        name="isbi21", title="Table 2 of the paper (script of November 2020)",
        optimiser="sgd", learning_rate=1e-3, momentum=0.9, batch_size=128, epochs=100,
    ),
    Protocol(
        name="quick", title="mmtk's own short set-up for first tries; not a published one",
        optimiser="adam", learning_rate=3e-4, momentum=0.9, batch_size=16, epochs=6,
    ),
)
PROTOCOLS = {protocol.name: protocol for protocol in _ALL}


def get_protocol(name: str) -> Protocol:
    """The protocol of that name.

    Raises
    ------
    ArgumentError
        If there is none.
    """
    if name not in PROTOCOLS:
        raise ArgumentError("protocol", expected=f"one of {', '.join(PROTOCOLS)}", found=name)
    return PROTOCOLS[name]
