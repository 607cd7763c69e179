"""The words every dataset is written in: tasks, counts, records, recipe steps and the dataset itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from mmtk.errors import ArgumentError

if TYPE_CHECKING:
    from mmtk.datasets.listing import Listing

SPLITS = ("train", "val", "test")


class Task(StrEnum):
    """What a label means, by the names MedMNIST uses."""

    BINARY = "binary-class"
    MULTICLASS = "multi-class"
    MULTILABEL = "multi-label, binary-class"
    ORDINAL = "ordinal-regression"


@dataclass(frozen=True)
class Counts:
    """Images in each split."""

    train: int
    val: int
    test: int

    @property
    def total(self) -> int:
        return self.train + self.val + self.test


@dataclass(frozen=True)
class Source:
    """A provider: who, under what licence, where to get it, how it lies on disk, how to cite it.

    ``marks`` are files or folders by any one of which the provider's folder is recognised.
    """

    name: str
    licence: str
    page: str
    layout: str
    citation: str
    marks: tuple[str, ...] = ()


# ---------------------------------------------------------------- recipe steps


@dataclass(frozen=True)
class Grey:
    """Luma as OpenCV's ``IMREAD_GRAYSCALE`` decodes it."""

    name: ClassVar[str] = "grey"


@dataclass(frozen=True)
class Colour:
    """RGB, alpha dropped."""

    name: ClassVar[str] = "colour"


@dataclass(frozen=True)
class CenterCrop:
    """Centre square of the short side."""

    name: ClassVar[str] = "center_crop"


@dataclass(frozen=True)
class Resize:
    """Antialiased resize to the store's size."""

    name: ClassVar[str] = "resize"
    filter: str = "bilinear"


@dataclass(frozen=True)
class RoundTrip:
    """Encode the small image and decode it again, as the official files were."""

    name: ClassVar[str] = "round_trip"
    format: str = "jpeg"
    quality: int = 75


Step = Grey | Colour | CenterCrop | Resize | RoundTrip
Recipe = tuple[Step, ...]
_STEPS: dict[str, type[Step]] = {step.name: step for step in (Grey, Colour, CenterCrop, Resize, RoundTrip)}


def recipe_to_json(recipe: Recipe) -> str:
    """Write a recipe as canonical JSON, the form its hash is taken from."""
    return json.dumps([{"step": step.name, **asdict(step)} for step in recipe], sort_keys=True, separators=(",", ":"))


def recipe_from_json(text: str) -> Recipe:
    """Read a recipe back.

    Raises
    ------
    ArgumentError
        If a step or one of its values is unknown.
    """
    steps: list[Step] = []
    for entry in json.loads(text):
        values = dict(entry)
        kind = _STEPS.get(values.pop("step", ""))
        if kind is None or set(values) - {f.name for f in fields(kind)}:
            raise ArgumentError("recipe", expected=f"steps of {', '.join(_STEPS)}", found=json.dumps(entry))
        steps.append(kind(**values))
    return tuple(steps)


def recipe_hash(recipe: Recipe) -> str:
    """SHA-256 of the recipe's JSON, as hex."""
    return hashlib.sha256(recipe_to_json(recipe).encode()).hexdigest()


# -------------------------------------------------------------- records, scans


@dataclass(frozen=True)
class Record:
    """One image to be.

    ``source`` is its canonical name, the one official maps use, ``file`` the file's name in its listing, ``labels`` one
    value a label, ``subject`` whatever must not cross splits (empty where the provider does not tell), ``part`` the
    provider's own part ("train", "test" or "").
    """

    source: str
    file: str
    labels: tuple[int, ...]
    subject: str = ""
    part: str = ""


@dataclass(frozen=True)
class Finding:
    """Something a user should know about a source: ``kind`` is missing, surplus, junk or bad."""

    kind: str
    name: str
    detail: str = ""


@dataclass(frozen=True)
class Scan:
    """What a listing holds: records in a fixed order, and findings."""

    records: tuple[Record, ...]
    findings: tuple[Finding, ...] = ()


class SplitRule(Protocol):
    """Gives each record its split; used where no official map is known, and for phantoms."""

    def assign(self, records: tuple[Record, ...]) -> list[str]: ...


@dataclass(frozen=True)
class Dataset:
    """Everything mmtk knows about one of the ten; see the modules beside this one."""

    flag: str
    title: str
    modality: str
    task: Task
    classes: tuple[str, ...]
    channels: int
    counts: dict[str, Counts]
    source: Source
    recipe: Recipe
    split: SplitRule | None = None
    scan: Callable[[Listing], Scan] | None = None
    aliases: tuple[str, ...] = ()
    md5: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def labels(self) -> int:
        """Values in a label row: 14 for ChestMNIST, 1 elsewhere."""
        return len(self.classes) if self.task is Task.MULTILABEL else 1

    def recipe_for(self, pixels: str) -> Recipe:
        """The recipe of a choice of pixels: ``official``, or ``clean`` which leaves out the round trip.

        Raises
        ------
        ArgumentError
            For any other choice.
        """
        if pixels not in ("official", "clean"):
            raise ArgumentError("pixels", expected="official or clean", found=pixels)
        return tuple(s for s in self.recipe if pixels == "official" or not isinstance(s, RoundTrip))

    def facts(self) -> dict[str, Any]:
        """All facts as JSON values, for ``mmtk info --json``."""
        return {
            "flag": self.flag, "title": self.title, "modality": self.modality, "task": self.task.value,
            "classes": list(self.classes), "channels": self.channels,
            "counts": {edition: asdict(c) for edition, c in self.counts.items()},
            "source": {name: value for name, value in asdict(self.source).items() if name != "marks"},
            "recipe": json.loads(recipe_to_json(self.recipe)),
            "aliases": list(self.aliases), "md5": dict(self.md5), "notes": list(self.notes),
            "buildable": self.scan is not None,
        }
