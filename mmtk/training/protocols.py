"""Protocols: named, frozen training set-ups. A protocol is data; what it means is in ``fit``."""

from __future__ import annotations

from dataclasses import dataclass

from mmtk.errors import ArgumentError


@dataclass(frozen=True)
class Protocol:
    """A training set-up without augmentation.

    The input is ``x / 255`` with mean 0.5 and standard deviation 0.5, the loss is cross entropy (binary cross entropy
    of each label for multi-label tasks), the last, smaller batch is kept, and the epoch with the best validation AUC is
    the one that is tested.

    Attributes
    ----------
    milestones : tuple of float
        Shares of the epochs after each of which the learning rate is a tenth of what it was.
    as_rgb : bool
        Whether grey images are given to the network as three equal channels.
    """

    name: str
    title: str
    optimiser: str
    learning_rate: float
    momentum: float
    batch_size: int
    epochs: int
    milestones: tuple[float, ...] = ()
    as_rgb: bool = False

    def rate(self, epoch: int, epochs: int) -> float:
        """Learning rate of an epoch, from 1, of so many."""
        passed = sum(epoch > int(share * epochs) for share in self.milestones)
        return self.learning_rate * 0.1**passed

    def channels(self, stored: int) -> int:
        """Channels that the network is given, of images with so many."""
        return 3 if self.as_rgb else stored


_ALL = (
    Protocol(
        name="isbi21", title="Table 2 of the paper (script of November 2020)",
        optimiser="sgd", learning_rate=1e-3, momentum=0.9, batch_size=128, epochs=100,
    ),
    Protocol(
        name="v2", title="MedMNIST v2 (2021)",
        optimiser="adam", learning_rate=1e-3, momentum=0.9, batch_size=128, epochs=100, milestones=(0.5, 0.75),
        as_rgb=True,
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
