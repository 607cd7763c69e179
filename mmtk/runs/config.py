"""``config.json``: what a run is, as one value with its reader and its writer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmtk.errors import MmtkError
from mmtk.runs import jsonfiles
from mmtk.runs.jsonfiles import AGAIN, read_object
from mmtk.runs.models import MODELS
from mmtk.store import Store

VERSION = 1
_OWN = ("version", "seed", "device", "store", "made_with")  # all other keys of the file are settings
_ADDED = ("store task", "store channels")  # which the runs of methods had not before the file had a version


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

    @classmethod
    def of(cls, store: Store) -> StoreFacts:
        """The facts of an open store."""
        info = store.info
        return cls(
            info.flag, info.size, info.task, info.channels, info.edition, info.synthetic, info.partial,
            store.content_digest(),
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
    """

    settings: Mapping[str, Any]
    seed: int
    store: StoreFacts
    device: str = ""
    made_with: Mapping[str, Any] = field(default_factory=dict)

    # ------------------------------------------------------------------------ the file

    def to_json(self) -> str:
        """The text of the file."""
        return json.dumps(self._values(), indent=2) + "\n"

    def _values(self) -> dict[str, Any]:
        device = {"device": self.device} if self.device else {}
        return {
            "version": VERSION, **self.settings, "seed": self.seed, **device, "store": asdict(self.store),
            "made_with": dict(self.made_with),
        }

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
        try:
            version = jsonfiles.field(values, "version", "a whole number") if "version" in values else VERSION
            if version != VERSION:
                raise MmtkError(path, expected=f"{expected}, version {VERSION}", found=f"version {version}",
                                remedy="use the mmtk that wrote it, or a later one")
            config = cls._of(values)
            _ = config.setup  # which names what the settings must have
        except RecursionError:
            raise MmtkError(path, expected=expected, found="values nested too deeply", remedy=AGAIN) from None
        except ValueError as error:
            raise MmtkError(path, expected=expected, found=str(error), remedy=AGAIN) from None
        return config

    @classmethod
    def _of(cls, values: Mapping[str, Any]) -> RunConfig:
        told = jsonfiles.field(values, "store", "a table")
        store = StoreFacts(
            jsonfiles.field(told, "flag", "text"), jsonfiles.field(told, "size", "a whole number"),
            str(told.get("task", "")), jsonfiles.field({"channels": 0, **told}, "channels", "a whole number"),
            str(told.get("edition", "")), bool(told.get("synthetic", False)), bool(told.get("partial", False)),
            str(told.get("content", "")),
        )
        made_with = jsonfiles.field(values, "made_with", "a table") if "made_with" in values else {}
        return cls(
            {name: value for name, value in values.items() if name not in _OWN},
            jsonfiles.field(values, "seed", "a whole number"), store, str(values.get("device", "")), made_with,
        )

    def difference(self, other: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
        """The first field in which the values of a file differ from these, with both values; None if it is this run."""
        mine = dict(_flat(json.loads(self.to_json()), " "))
        theirs = {"version": VERSION, **dict(_flat(other, " "))}
        for name in sorted({**mine, **theirs}, key=lambda name: name.partition(" ")[0]):
            added = name in _ADDED and name not in theirs
            if mine.get(name) != theirs.get(name) and not added and not name.startswith("made_with"):
                return name, mine.get(name), theirs.get(name)
        return None

    # ------------------------------------------------------------------------ what it says

    @property
    def is_network(self) -> bool:
        """Whether it trains a model by epochs."""
        return "method" not in self.settings

    @property
    def setup(self) -> Setup:
        """How it was made, whatever its dataset and seed.

        Raises
        ------
        ValueError
            If a setting that its title takes is missing or of another kind.
        """
        values = {n: json.dumps(v) if isinstance(v, list) else v for n, v in _flat(self.settings, ".")}
        values["store.size"] = self.store.size
        title = self._title()
        protocol, epochs = self.settings.get("protocol"), self.settings.get("epochs", 0)
        usual = protocol["epochs"] if self.is_network and isinstance(protocol, dict) else epochs
        shortened = f"{epochs} of {usual} epochs" if self.is_network and epochs < usual else ""
        return Setup(tuple(sorted(values.items())), title, shortened, self.is_network)

    def _title(self) -> str:
        settings = self.settings
        if not self.is_network:
            title: str = jsonfiles.field(settings, "method", "text")
            if "budget" in settings:
                title += f", {jsonfiles.field(settings, 'budget', 'a number'):g} s"
            if "share" in settings:
                title += f", {jsonfiles.field(settings, 'share', 'a number'):.3g} of the paper's time"
            return title
        name = jsonfiles.field(settings, "model", "text")
        jsonfiles.field(settings, "epochs", "a whole number")
        protocol = settings.get("protocol")
        if isinstance(protocol, dict):
            jsonfiles.field(protocol, "epochs", "a whole number")
            told = jsonfiles.field(protocol, "name", "text")
        else:
            told = jsonfiles.field(settings, "protocol", "text")
        resolution = jsonfiles.field(settings, "resolution", "a whole number") if "resolution" in settings else None
        model = MODELS.get(name).title if name in MODELS else name
        return f"{model} ({self.store.size if resolution is None else resolution}), {told}"


def _flat(values: Mapping[str, Any], join: str, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, join, f"{before}{name}{join}")
        else:
            yield f"{before}{name}", value
