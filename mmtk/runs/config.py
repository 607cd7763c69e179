"""``config.json``, the configuration of a run, as a value with its reader and writer."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmtk.errors import MmtkError
from mmtk.runs.jsonfiles import REMOVE_FOLDER, read_object
from mmtk.runs.models import MODELS
from mmtk.store import Store
from mmtk.values import typed

VERSION = 1
_OWN = ("version", "title", "seed", "device", "store", "made_with")  # all other keys of the file are settings
_ADDED = ("store task", "store channels", "store unpublished")  # absent from earlier runs and those of methods


@dataclass(frozen=True)
class StoreFacts:
    """The store that a run was made from.

    Attributes
    ----------
    flag, size, task, channels, edition, synthetic, partial, unpublished, ndim
        As in the store's `StoreInfo`.
    content : str
        Digest of the store's images and labels.

    Examples
    --------
    >>> import mmtk
    >>> from mmtk.runs import StoreFacts
    >>> facts = StoreFacts.of(mmtk.open("stores/breastmnist_28.h5"))
    >>> facts.flag, facts.size, facts.synthetic
    ('breastmnist', 28, True)
    """

    flag: str
    size: int
    task: str = ""
    channels: int = 0
    edition: str = ""
    synthetic: bool = False
    partial: bool = False
    content: str = ""
    unpublished: bool = False
    ndim: int = 2

    def facts(self) -> dict[str, Any]:
        """Return its fields; ``ndim`` only for volumes, since earlier runs do not have it."""
        return {name: value for name, value in asdict(self).items() if (name, value) != ("ndim", 2)}

    @classmethod
    def of(cls, store: Store) -> StoreFacts:
        """Return the facts of an open store."""
        info = store.info
        return cls(
            info.flag, info.size, info.task, info.channels, info.edition, info.synthetic, info.partial,
            store.content_digest(), info.unpublished, info.ndim,
        )


@dataclass(frozen=True)
class Setup:
    """How runs were made, apart from dataset and seed.

    Attributes
    ----------
    values : tuple of (str, value)
        All settings, by dotted names.
    title : str
        For tables.
    shortened : str
        Such as "2 of 100 epochs", if there were fewer than the protocol has; otherwise empty.
    is_network : bool
        Whether a network was trained by epochs.

    Examples
    --------
    >>> from mmtk.runs import find_runs, setups_of
    >>> runs, _ = find_runs("runs")
    >>> [setup.title for setup in setups_of(runs)]
    ['ResNet-18 (28), isbi21', 'ResNet-50 (28), isbi21']
    """

    values: tuple[tuple[str, Any], ...]
    title: str
    shortened: str = ""
    is_network: bool = True


@dataclass(frozen=True)
class RunConfig:
    """The configuration of a run.

    Attributes
    ----------
    settings : mapping of JSON values
        How it is made, apart from dataset, seed and machine. A network has ``protocol``, ``model``, ``resolution``,
        ``epochs``, ``precision`` and ``processes``; other methods have ``method``, ``budget`` or ``share``, and
        settings of their own.
    seed : int
    store : StoreFacts
    device : str
        "cpu" or "cuda"; empty if the method does not choose one.
    made_with : mapping of str
        Versions and machine when the run was first started.
    title : str
        The method's title in tables; empty if that is its name or model.

    Examples
    --------
    >>> from pathlib import Path
    >>> from mmtk.runs import RunConfig
    >>> config = RunConfig.read(Path("runs/resnet18_28_seed0/config.json"))
    >>> config.settings["model"], config.seed, config.store.flag, config.setup.title
    ('resnet18', 0, 'breastmnist', 'ResNet-18 (28), isbi21')
    """

    settings: Mapping[str, Any]
    seed: int
    store: StoreFacts
    device: str = ""
    made_with: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""

    # ------------------------------------------------------------------------ the file

    def to_json(self) -> str:
        """Return the text of the file."""
        device = {"device": self.device} if self.device else {}
        title = {"title": self.title} if self.title else {}
        values = {
            "version": VERSION, **self.settings, **title, "seed": self.seed, **device, "store": self.store.facts(),
            "made_with": dict(self.made_with),
        }
        return json.dumps(values, indent=2) + "\n"

    @classmethod
    def read(cls, path: Path) -> RunConfig:
        """Read the file; one without a version counts as version 1.

        Raises
        ------
        MmtkError
            If the file does not exist, is damaged, or is of a later version.
        OSError
            If the file exists but the system cannot read it.
        """
        if not path.exists():
            raise MmtkError(path, "the run has no configuration", remedy=REMOVE_FOLDER)
        values = read_object(path)
        if values.setdefault("version", VERSION) != VERSION:
            remedy = "use the version of mmtk that wrote it, or a later one"
            raise MmtkError(path, found=f"version {values['version']}", expected=f"version {VERSION}", remedy=remedy)
        settings = {name: value for name, value in values.items() if name not in _OWN}
        try:
            config = typed(path, {**values, "settings": settings}, cls, REMOVE_FOLDER)
            config.setup_of(path)
        except RecursionError:
            raise MmtkError(path, "its values are nested too deeply", remedy=REMOVE_FOLDER) from None
        return config

    def difference(self, other: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
        """Return the first field that differs from a file's values, with both values; None if it is the same run."""
        mine = dict(_flat(json.loads(self.to_json()), " "))
        theirs = {"version": VERSION, **dict(_flat(other, " "))}
        for name in sorted({**mine, **theirs}, key=lambda name: name.partition(" ")[0]):
            added = name in _ADDED and name not in theirs
            descriptive = name == "title" or name.startswith("made_with")
            if mine.get(name) != theirs.get(name) and not added and not descriptive:
                return name, mine.get(name), theirs.get(name)
        return None

    # ------------------------------------------------------------------------ derived values

    @property
    def is_network(self) -> bool:
        """Whether it trains a network by epochs."""
        return "method" not in self.settings

    @property
    def setup(self) -> Setup:
        """How it was made, apart from dataset and seed."""
        return self.setup_of("settings")

    def setup_of(self, what: str | Path) -> Setup:
        """Return `setup`; an error about a missing setting starts with `what`."""
        values = {n: json.dumps(v) if isinstance(v, list) else v for n, v in _flat(self.settings, ".")}
        values["store.size"] = size = self.store.size
        kind: type[_Network | _Other] = _Network if self.is_network else _Other
        settings = typed(what, {**self.settings, "title": self.title}, kind, REMOVE_FOLDER)
        title, shortened = settings.describe(size, self.store.ndim)
        return Setup(tuple(sorted(values.items())), title, shortened, self.is_network)


@dataclass(frozen=True)
class _Other:
    method: str
    budget: float | None = None  # seconds
    share: float | None = None  # of the paper's budget
    title: str = ""

    def describe(self, size: int, ndim: int) -> tuple[str, str]:
        """Title, and how the run was shortened."""
        budget = "" if self.budget is None else f", {self.budget:g} s"
        share = "" if self.share is None else f", {_part(self.share)} of the paper's time"
        return f"{self.title or self.method}{budget}{share}", ""


def _part(share: float) -> str:
    """Format a share as 1/60 rather than 0.0167 if it is such a fraction."""
    whole = round(1 / share) if 0 < share < 1 else 0
    return f"1/{whole}" if whole and math.isclose(share * whole, 1) else f"{share:.3g}"


@dataclass(frozen=True)
class _Protocol:
    name: str
    epochs: int


@dataclass(frozen=True)
class _Network:
    model: str
    epochs: int
    protocol: _Protocol | str
    resolution: int | None = None

    def describe(self, size: int, ndim: int) -> tuple[str, str]:
        """Title, and how the run was shortened."""
        protocol = _Protocol(self.protocol, self.epochs) if isinstance(self.protocol, str) else self.protocol
        short = f"{self.epochs} of {protocol.epochs} epochs" if self.epochs < protocol.epochs else ""
        model = MODELS.get(self.model).title if self.model in MODELS else self.model
        deep = " 3D" if ndim == 3 else ""
        return f"{model}{deep} ({self.resolution or size}), {protocol.name}", short


def _flat(values: Mapping[str, Any], join: str, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, join, f"{before}{name}{join}")
        else:
            yield f"{before}{name}", value
