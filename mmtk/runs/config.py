"""``config.json``: what a run is, as one value with its reader and its writer."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmtk.errors import MmtkError
from mmtk.runs.jsonfiles import AGAIN, read_object
from mmtk.runs.models import MODELS
from mmtk.store import Store
from mmtk.values import typed

VERSION = 1
_OWN = ("version", "title", "seed", "device", "store", "made_with")  # all other keys of the file are settings
_ADDED = ("store task", "store channels", "store unpublished")  # which earlier runs, or those of methods, had not


@dataclass(frozen=True)
class StoreFacts:
    """Which store a run is of; ``content`` is the digest of its images and labels."""

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
        """Its fields; of images no dimensions, as runs from before volumes have it."""
        return {name: value for name, value in asdict(self).items() if (name, value) != ("ndim", 2)}

    @classmethod
    def of(cls, store: Store) -> StoreFacts:
        """The facts of an open store."""
        info = store.info
        return cls(
            info.flag, info.size, info.task, info.channels, info.edition, info.synthetic, info.partial,
            store.content_digest(), info.unpublished, info.ndim,
        )


@dataclass(frozen=True)
class Setup:
    """How runs were made, whatever their dataset and seed.

    Attributes
    ----------
    values : tuple of (str, value)
        All settings, by dotted names.
    title : str
    shortened : str
        "2 of 100 epochs" where there were fewer than the protocol has.
    is_network : bool
    """

    values: tuple[tuple[str, Any], ...]
    title: str
    shortened: str = ""
    is_network: bool = True


@dataclass(frozen=True)
class RunConfig:
    """What a run is.

    Attributes
    ----------
    settings : mapping of JSON values
        How it is made, whatever its dataset, seed and machine: of a network ``protocol``, ``model``, ``resolution``,
        ``epochs``, ``precision`` and ``processes``; of another method ``method``, ``budget`` or ``share``, and what
        else it adds.
    seed : int
    store : StoreFacts
    device : str
        "cpu" or "cuda"; empty for what does not choose one.
    made_with : mapping of str
        Versions and machine at its first start.
    title : str
        What tables call the method; empty where its name or model does.
    """

    settings: Mapping[str, Any]
    seed: int
    store: StoreFacts
    device: str = ""
    made_with: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""

    # ------------------------------------------------------------------------ the file

    def to_json(self) -> str:
        """The text of the file."""
        device = {"device": self.device} if self.device else {}
        title = {"title": self.title} if self.title else {}
        values = {
            "version": VERSION, **self.settings, **title, "seed": self.seed, **device, "store": self.store.facts(),
            "made_with": dict(self.made_with),
        }
        return json.dumps(values, indent=2) + "\n"

    @classmethod
    def read(cls, path: Path) -> RunConfig:
        """Read the file; one without a version is of the first.

        Raises
        ------
        MmtkError
            If it is not there, is damaged, or is of a later version.
        OSError
            If the system cannot read it, though it is there.
        """
        expected = "the configuration of a run"
        if not path.exists():
            raise MmtkError(path, expected=expected, found="none", remedy=AGAIN)
        values = read_object(path)
        if values.setdefault("version", VERSION) != VERSION:
            remedy = "use the mmtk that wrote it, or a later one"
            found = f"version {values['version']}"
            raise MmtkError(path, expected=f"{expected}, version {VERSION}", found=found, remedy=remedy)
        settings = {name: value for name, value in values.items() if name not in _OWN}
        try:
            config = typed(path, {**values, "settings": settings}, cls, AGAIN)
            config.setup_of(path)
        except RecursionError:
            raise MmtkError(path, expected=expected, found="values nested too deeply", remedy=AGAIN) from None
        return config

    def difference(self, other: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
        """The first field in which the values of a file differ from these, with both values; None if it is this run."""
        mine = dict(_flat(json.loads(self.to_json()), " "))
        theirs = {"version": VERSION, **dict(_flat(other, " "))}
        for name in sorted({**mine, **theirs}, key=lambda name: name.partition(" ")[0]):
            added = name in _ADDED and name not in theirs
            told = name == "title" or name.startswith("made_with")
            if mine.get(name) != theirs.get(name) and not added and not told:
                return name, mine.get(name), theirs.get(name)
        return None

    # ------------------------------------------------------------------------ what it says

    @property
    def is_network(self) -> bool:
        """Whether it trains a model by epochs."""
        return "method" not in self.settings

    @property
    def setup(self) -> Setup:
        """How it was made, whatever its dataset and seed."""
        return self.setup_of("settings")

    def setup_of(self, what: str | Path) -> Setup:
        """Like `setup`, and what to name in the error where the title lacks a setting."""
        values = {n: json.dumps(v) if isinstance(v, list) else v for n, v in _flat(self.settings, ".")}
        values["store.size"] = size = self.store.size
        kind: type[_Network | _Other] = _Network if self.is_network else _Other
        settings = typed(what, {**self.settings, "title": self.title}, kind, AGAIN)
        title, shortened = settings.told(size, self.store.ndim)
        return Setup(tuple(sorted(values.items())), title, shortened, self.is_network)


@dataclass(frozen=True)
class _Other:
    method: str
    budget: float | None = None  # seconds
    share: float | None = None  # of what the paper gave
    title: str = ""

    def told(self, size: int, ndim: int) -> tuple[str, str]:
        """Title, and how it was shortened."""
        budget = "" if self.budget is None else f", {self.budget:g} s"
        share = "" if self.share is None else f", {_part(self.share)} of the paper's time"
        return f"{self.title or self.method}{budget}{share}", ""


def _part(share: float) -> str:
    """A share as a fraction of one, where it is one: 1/60 rather than 0.0167."""
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

    def told(self, size: int, ndim: int) -> tuple[str, str]:
        """Title, and how it was shortened."""
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
