"""Protocols: named, frozen training set-ups. A protocol is data, which ``fit`` interprets.

A protocol file, TOML or JSON, has the fields of `Protocol`; with ``base = "NAME"`` omitted fields are taken from that
protocol.

A protocol may differ for volumes, if it was published that way: see `Protocol.for_ndim`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from mmtk.display import facts_table
from mmtk.errors import ArgumentError, did_you_mean
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
_LIMITS = {  # lowest, and highest (exclusive)
    "learning_rate": (0.0, math.inf), "momentum": (0.0, 1.0), "weight_decay": (0.0, math.inf),
    "batch_size": (1, 2**31), "epochs": (1, 2**31), "warmup": (0.0, 1.0), "label_smoothing": (0.0, 1.0),
    "averaging": (0.0, math.inf),
}


@dataclass(frozen=True)
class Protocol:
    """A training set-up.

    The input is ``x / 255``, shifted by a mean of 0.5 and divided by a standard deviation of 0.5 unless `input` says
    otherwise. The loss is cross entropy (binary cross entropy per label for multi-label tasks). The last, smaller batch
    is kept, and the epoch with the best validation AUC is tested.

    Attributes
    ----------
    name, title : str
        The name is part of result file names: letters, digits, ``.`` and ``-``.
    optimiser : {"sgd", "adam", "adamw"}
    learning_rate : float
        The maximum.
    momentum : float
        For SGD; for the others the first beta.
    batch_size : int
        Total over all processes.
    epochs : int
    milestones : tuple of float
        Fractions of the epochs after which the learning rate is divided by ten, if the schedule is "milestones".
    as_rgb : bool
        Whether grey images are repeated to three channels.
    weight_decay : float
        For parameters with at least two dimensions; decoupled from the gradient with "adamw".
    nesterov : bool
    schedule : {"milestones", "cosine", "linear"}
        How the learning rate falls: at milestones, or with each step to nearly 0 as half a cosine or linearly.
    warmup : float
        Fraction of the steps in which the learning rate first rises linearly.
    augmentation : Augmentation, optional
        In protocol files a table, in which omitted values are 0.
    label_smoothing : float
        Fraction of each target that is spread over all classes, in the cross entropy.
    averaging : float
        Time constant, in epochs, of an exponential moving average of the weights and of batch normalisation's running
        statistics. The average is validated and tested. 0 for none.
    mirror : bool
        Whether scores are averaged over the image and its mirror image.
    ordinal_loss : {"cross entropy", "emd", "cumulative"}
        For ordinal tasks: "emd" is the squared earth mover's distance between distributions over grades, "cumulative"
        the cross entropy of each "above this grade, given above the previous one".
    enlarge : {"bilinear", "nearest"}
        How stored images are enlarged, on the device, for a network with larger input; volumes are enlarged
        trilinearly instead of bilinearly.
    input : {"centred", "from 0 to 1"}
        Whether the network's input is from -1 to 1, or ``x / 255``.

    Raises
    ------
    ArgumentError
        If a value is out of range.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from mmtk.training import Protocol, get_protocol
    >>> short = replace(get_protocol("isbi21"), name="short", title="Ten epochs of isbi21", epochs=10)
    >>> isinstance(short, Protocol), short.optimiser, short.learning_rate, short.epochs
    (True, 'sgd', 0.001, 10)
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
            raise ArgumentError("protocol name", found=repr(self.name), expected="letters, digits, . and -")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                self._refuse(name, f"one of {', '.join(choices)}")
        for name, (least, most) in _LIMITS.items():
            if not least <= getattr(self, name) < most:
                self._refuse(name, f"at least {least} and below {most}" if math.isfinite(most) else f"at least {least}")
        if not all(0 < share < 1 for share in self.milestones):
            self._refuse("milestones", "fractions between 0 and 1")
        if self.nesterov and not (self.optimiser == "sgd" and self.momentum):
            self._refuse("nesterov", "sgd with momentum")

    def _refuse(self, name: str, expected: str) -> None:
        raise ArgumentError(f"protocol {self.name}: {name}", found=repr(getattr(self, name)), expected=expected)

    def rate(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        total = steps_per_epoch * epochs
        risen = min(1.0, (step + 1) / (self.warmup * total)) if self.warmup else 1.0
        if self.schedule == "milestones":
            passed = sum(step // steps_per_epoch >= int(share * epochs) for share in self.milestones)
            return self.learning_rate * 0.1**passed * risen
        start = int(self.warmup * total)
        left = 1 - max(0, step - start) / (total - start)
        fallen = left if self.schedule == "linear" else (1 - math.cos(math.pi * left)) / 2
        return self.learning_rate * min(risen, fallen)

    def channels(self, stored: int) -> int:
        """Return the number of input channels of the network for images with this many stored channels."""
        return 3 if self.as_rgb else stored

    def for_ndim(self, ndim: int) -> Protocol:
        """Return the protocol for images (2), which is itself, or for volumes (3).

        For volumes, ``v2`` is that of MedMNIST v2's script for its six datasets of volumes: batches of 32, one channel,
        pixels from 0 to 1. Of the script's three kinds of convolution it uses the three-dimensional one with weights
        initialised as such; by default the script initialises flat ones and repeats them along the depth. The script's
        option for volumes of shapes (multiplied by a random factor in training and by one half in testing) is left out.
        All other protocols, and all protocol files, are the same for volumes as for images.
        """
        return _V2_OF_VOLUMES if ndim == 3 and self == _V2 else self

    def facts(self) -> dict[str, Any]:
        """Return its fields as JSON values; fields added later only if they differ from their defaults."""
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
_LATER = {"input": "centred"}  # fields that earlier runs do not have
PROTOCOLS: Registry[Protocol] = Registry("protocol")
for _protocol in _ALL:
    PROTOCOLS.add(_protocol, _protocol.name)
_V2 = PROTOCOLS.get("v2")
_V2_OF_VOLUMES = replace(_V2, batch_size=32, as_rgb=False, input="from 0 to 1", enlarge="bilinear")


def get_protocol(name: str) -> Protocol:
    """Return the protocol with this name, or read it from a protocol file.

    Parameters
    ----------
    name : str
        A name, or the path of a ``.toml`` or ``.json`` file.

    Returns
    -------
    Protocol

    Raises
    ------
    ArgumentError
        If there is no such protocol, or the file is not a valid one.

    Examples
    --------
    >>> from mmtk.training import get_protocol
    >>> protocol = get_protocol("isbi21")
    >>> protocol.optimiser, protocol.batch_size, protocol.epochs
    ('sgd', 128, 100)
    """
    if not isinstance(name, str):
        raise ArgumentError("protocol", found=repr(name), expected="a name")
    if Path(name).suffix in (".toml", ".json"):
        return read_protocol(name)
    return PROTOCOLS.get(name, ", or a .toml or .json file")


def read_protocol(path: str | Path) -> Protocol:
    """Read a protocol file.

    Parameters
    ----------
    path : str or path
        TOML if the name ends in ``.toml``, otherwise JSON.

    Returns
    -------
    Protocol

    Raises
    ------
    ArgumentError
        If the file does not exist or is neither TOML nor JSON, a key is unknown or missing, a value has the wrong type
        or is out of range, the name is that of a built-in protocol, or the protocol is its own base.
    OSError
        If the file exists but the system cannot read it.

    Examples
    --------
    >>> from pathlib import Path
    >>> from mmtk.training import read_protocol
    >>> _ = Path("short.toml").write_text('base = "isbi21"\\nname = "short"\\nepochs = 10\\n')
    >>> protocol = read_protocol("short.toml")
    >>> protocol.title, protocol.epochs, protocol.batch_size
    ('short.toml, after isbi21', 10, 128)
    """
    path = Path(path)
    given = read_toml_or_json(path, "a protocol as TOML or JSON")
    base = given.pop("base", None)
    try:
        values = {} if base is None else asdict(get_protocol(base))
    except RecursionError:
        raise ArgumentError(path, f"its base {base} leads back to itself") from None
    _check_keys(path, given, Protocol)
    if isinstance(given.get("augmentation"), dict):
        _check_keys(path, given["augmentation"], Augmentation, "augmentation.")
        given["augmentation"] = {**dict.fromkeys(_names(Augmentation), 0), **given["augmentation"]}
    if base is not None and "name" not in given:
        raise ArgumentError(path, "the field name is missing")
    title = path.name if base is None else f"{path.name}, after {base}"
    protocol = typed(path, {**values, "title": title, **given}, Protocol)
    if protocol.name in PROTOCOLS:
        raise ArgumentError(path, f"{protocol.name} is the name of a built-in protocol", remedy="choose another name")
    return protocol


def _names(kind: type[Protocol | Augmentation]) -> list[str]:
    return [field.name for field in fields(kind)]


def _check_keys(path: Path, given: Mapping[str, Any], kind: type[Protocol | Augmentation], where: str = "") -> None:
    for key in given:
        if key not in _names(kind):
            hint = did_you_mean(key, _names(kind))
            expected = "" if hint else f"one of {', '.join(_names(kind))}"
            raise ArgumentError(path, f"unknown key {where}{key}", expected=expected, remedy=hint)
