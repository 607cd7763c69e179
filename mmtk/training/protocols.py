"""Protocols: named, frozen training set-ups. A protocol is data; what it means is in ``fit``.

A protocol file, TOML or JSON, holds the fields of `Protocol`; with ``base = "NAME"`` those that it leaves out are that
protocol's.

What a protocol is for volumes may differ, where it was published so: see `Protocol.for_ndim`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from mmtk.display import facts_table
from mmtk.errors import ArgumentError
from mmtk.loader import Augmentation
from mmtk.registry import Registry
from mmtk.values import read_toml_or_json, typed

_CHOICES = {
    "optimiser": ("sgd", "adam", "adamw"),
    "schedule": ("milestones", "cosine", "linear"),
    "ordinal_loss": ("cross entropy", "emd", "cumulative"),
    "enlarge": ("bilinear", "nearest"),
    "input": ("centred", "from 0 to 1"),
}
_LIMITS = {  # least and most; the most of those that are shares of one is not reached
    "learning_rate": (0.0, math.inf), "momentum": (0.0, 1.0), "weight_decay": (0.0, math.inf),
    "batch_size": (1, 2**31), "epochs": (1, 2**31), "warmup": (0.0, 1.0), "label_smoothing": (0.0, 1.0),
    "averaging": (0.0, math.inf),
}


@dataclass(frozen=True)
class Protocol:
    """A training set-up.

    The input is ``x / 255``, with mean 0.5 and standard deviation 0.5 unless `input` says otherwise, the loss is cross
    entropy (binary cross entropy of each label for multi-label tasks), the last, smaller batch is kept, and the epoch
    with the best validation AUC is the one that is tested.

    Attributes
    ----------
    name, title : str
        The name stands in result files: letters, digits, ``.`` and ``-``.
    optimiser : {"sgd", "adam", "adamw"}
    learning_rate : float
        The highest.
    momentum : float
        Of SGD; the first beta of the others.
    batch_size : int
        Of all processes together.
    epochs : int
    milestones : tuple of float
        Shares of the epochs after each of which the learning rate is a tenth of what it was, where the schedule is
        "milestones".
    as_rgb : bool
        Whether grey images are given to the network as three equal channels.
    weight_decay : float
        Of all parameters with two or more dimensions; with "adamw" decoupled from the gradient.
    nesterov : bool
    schedule : {"milestones", "cosine", "linear"}
        How the learning rate falls: by epochs, or with each step to nearly 0, as half a cosine or a line.
    warmup : float
        Share of the steps in which it rises in a line first.
    augmentation : Augmentation, optional
        In protocol files a table, in which what is left out is 0.
    label_smoothing : float
        Share of each target that is spread over all classes, in the cross entropy.
    averaging : float
        Epochs over which weights are averaged, each step of the past weighing less by ``exp(-1 / steps)`` of so many;
        running statistics of batch normalisation likewise. The average is what is validated and tested. 0: none.
    mirror : bool
        Whether scores are the means of those of the image and of its mirror image.
    ordinal_loss : {"cross entropy", "emd", "cumulative"}
        For ordinal tasks: squared earth mover's distance between the distributions over grades, or cross entropy of
        each "above this grade, given above the last one".
    enlarge : {"bilinear", "nearest"}
        How images are enlarged on the device where the network takes larger ones than are stored; volumes likewise,
        trilinearly in place of bilinearly.
    input : {"centred", "from 0 to 1"}
        Whether pixels are given to the network from -1 to 1, or as ``x / 255``.

    Raises
    ------
    ArgumentError
        If a value is out of range.
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
    weight_decay: float = 0.0
    nesterov: bool = False
    schedule: str = "milestones"
    warmup: float = 0.0
    augmentation: Augmentation | None = None
    label_smoothing: float = 0.0
    averaging: float = 0.0
    mirror: bool = False
    ordinal_loss: str = "cross entropy"
    enlarge: str = "bilinear"
    input: str = "centred"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9.-]+", self.name):
            raise ArgumentError("protocol name", expected="letters, digits, . and -", found=repr(self.name))
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                self._refuse(name, f"one of {', '.join(choices)}")
        for name, (least, most) in _LIMITS.items():
            if not least <= getattr(self, name) < most:
                self._refuse(name, f"from {least} and below {most}" if math.isfinite(most) else f"from {least}")
        if not all(0 < share < 1 for share in self.milestones):
            self._refuse("milestones", "shares between 0 and 1")
        if self.nesterov and not (self.optimiser == "sgd" and self.momentum):
            self._refuse("nesterov", "sgd with momentum")

    def _refuse(self, name: str, expected: str) -> None:
        raise ArgumentError(f"protocol {self.name}: {name}", expected=expected, found=repr(getattr(self, name)))

    def rate(self, step: int, in_epoch: int, epochs: int) -> float:
        """Learning rate of a step, from 0, where an epoch has so many and the run so many epochs."""
        total = in_epoch * epochs
        risen = min(1.0, (step + 1) / (self.warmup * total)) if self.warmup else 1.0
        if self.schedule == "milestones":
            passed = sum(step // in_epoch >= int(share * epochs) for share in self.milestones)
            return self.learning_rate * 0.1**passed * risen
        start = int(self.warmup * total)
        left = 1 - max(0, step - start) / (total - start)
        fallen = left if self.schedule == "linear" else (1 - math.cos(math.pi * left)) / 2
        return self.learning_rate * min(risen, fallen)

    def channels(self, stored: int) -> int:
        """Channels that the network is given, of images with so many."""
        return 3 if self.as_rgb else stored

    def for_ndim(self, ndim: int) -> Protocol:
        """What it is for images of two dimensions, which is itself, or for volumes, of three.

        ``v2`` is then that of MedMNIST v2's script for its six sets of volumes: batches of 32, one channel, pixels from
        0 to 1. Of that script's three kinds of convolution it is the one of three dimensions, whose weights are drawn
        as such; the script by default draws flat ones and repeats them along the depth. Left out is what it can do to
        volumes of shapes: a factor drawn at random for each in training, and one half in testing. Every other protocol,
        and any protocol file, is for volumes what it is for images.
        """
        return _V2_OF_VOLUMES if ndim == 3 and self == _V2 else self

    def facts(self) -> dict[str, Any]:
        """Its fields as JSON values; those that came later are left out where they have their default."""
        return {name: value for name, value in asdict(self).items() if value != _LATER.get(name, ...)}

    def _repr_html_(self) -> str:
        usual = {field.name: field.default for field in fields(self)}
        settings = {name: value for name, value in vars(self).items() if value != usual[name] and name != "name"}
        if self.augmentation is not None:
            settings["augmentation"] = [f"{name} {value:g}" for name, value in vars(self.augmentation).items() if value]
        return facts_table(f"Protocol {self.name}", settings)


_ALL = (
    Protocol(
        name="isbi21", title="Table 2 of the paper (script of November 2020)",
        optimiser="sgd", learning_rate=1e-3, momentum=0.9, batch_size=128, epochs=100,
    ),
    Protocol(
        name="v2", title="MedMNIST v2 (2021)",
        optimiser="adam", learning_rate=1e-3, momentum=0.9, batch_size=128, epochs=100, milestones=(0.5, 0.75),
        as_rgb=True, enlarge="nearest",
    ),
    Protocol(  # chosen by benchmarks/choose_protocol.py, on validation splits alone
        name="tuned-v1", title="mmtk's own, one setting for all ten",
        optimiser="adamw", learning_rate=1e-3, momentum=0.9, batch_size=128, epochs=100, weight_decay=0.05,
        schedule="cosine", warmup=0.05, augmentation=Augmentation(horizontal=0.0, padding=2), averaging=2.0,
    ),
    Protocol(
        name="quick", title="mmtk's own short set-up for first tries; not a published one",
        optimiser="adam", learning_rate=3e-4, momentum=0.9, batch_size=16, epochs=6,
    ),
)
_LATER = {"input": "centred"}  # which runs from before them do not have
PROTOCOLS: Registry[Protocol] = Registry("protocol")
for _protocol in _ALL:
    PROTOCOLS.add(_protocol, _protocol.name)
_V2 = PROTOCOLS.get("v2")
_V2_OF_VOLUMES = replace(_V2, batch_size=32, as_rgb=False, input="from 0 to 1", enlarge="bilinear")


def get_protocol(name: str) -> Protocol:
    """The protocol of that name, or that of a protocol file.

    Raises
    ------
    ArgumentError
        If there is none, or the file is no protocol.
    """
    if not isinstance(name, str):
        raise ArgumentError("protocol", expected="a name", found=repr(name))
    if Path(name).suffix in (".toml", ".json"):
        return read_protocol(name)
    return PROTOCOLS.get(name, ", or a .toml or .json file")


def read_protocol(path: str | Path) -> Protocol:
    """Read a protocol file.

    Raises
    ------
    ArgumentError
        If it is not there or no TOML or JSON, a key is unknown or missing, a value is of another kind or out of range,
        its name is that of a built-in protocol, or it is its own base.
    OSError
        If the system cannot read it, though it is there.
    """
    path = Path(path)
    given = read_toml_or_json(path, "a protocol as TOML or JSON")
    base = given.pop("base", None)
    try:
        values = {} if base is None else asdict(get_protocol(base))
    except RecursionError:
        raise ArgumentError(path, expected="another protocol as base", found=f"a circle, {base}") from None
    _check_keys(path, given, Protocol)
    if isinstance(given.get("augmentation"), dict):
        _check_keys(path, given["augmentation"], Augmentation, "in augmentation ")
        given["augmentation"] = {**dict.fromkeys(_names(Augmentation), 0), **given["augmentation"]}
    if base is not None and "name" not in given:
        raise ArgumentError(path, expected="the field name", found="none")
    title = path.name if base is None else f"{path.name}, after {base}"
    protocol = typed(path, {**values, "title": title, **given}, Protocol)
    if protocol.name in PROTOCOLS:
        raise ArgumentError(path, expected="a name of its own", found=f"that of a built-in protocol, {protocol.name}")
    return protocol


def _names(kind: type[Protocol | Augmentation]) -> list[str]:
    return [field.name for field in fields(kind)]


def _check_keys(path: Path, given: Mapping[str, Any], kind: type[Protocol | Augmentation], where: str = "") -> None:
    for key in given:
        if key not in _names(kind):
            expected = f"fields {where}of {', '.join(_names(kind))}"
            raise ArgumentError(path, expected=expected, found=f"the unknown key {key}")
