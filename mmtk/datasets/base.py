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

    ``marks`` are files or folders by any one of which the provider's folder is recognised, ``archives`` patterns of the
    archive names the provider ships, by which a folder of downloads is.
    """

    name: str
    licence: str
    page: str
    layout: str
    citation: str
    marks: tuple[str, ...] = ()
    archives: tuple[str, ...] = ()


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


@dataclass(frozen=True)
class Slice:
    """One slice of a CT volume, cut to the organ's box.

    Attributes
    ----------
    plane : {"axial", "coronal", "sagittal"}
    resample : {"nearest", "linear"}
        The original slice nearest to the rescaled one, in the volume's own voxels; or slice and pixels interpolated
        between voxels at the rescaled extents.
    crop : {"box", "square"}
        The box as it is, or the square of its longer side around its centre.
    orientation : {"array", "patient"}
        Rows and columns in the order of the file's array, or turned by the file's axes as radiologists look at them.
    """

    name: ClassVar[str] = "slice"
    plane: str = "axial"
    resample: str = "nearest"
    crop: str = "box"
    orientation: str = "array"


@dataclass(frozen=True)
class HuWindow:
    """Hounsfield units to grey levels."""

    name: ClassVar[str] = "hu_window"
    level: float = 50.0
    width: float = 400.0


Step = Grey | Colour | CenterCrop | Resize | RoundTrip | Slice | HuWindow
Recipe = tuple[Step, ...]
_STEPS: dict[str, type[Step]] = {
    step.name: step for step in (Grey, Colour, CenterCrop, Resize, RoundTrip, Slice, HuWindow)
}


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


@dataclass(frozen=True, slots=True)
class Cut:
    """Where in a CT volume an image lies.

    ``slice`` counts rescaled slices from the box's lower edge; ``box`` is xmin, xmax, ymin, ymax, zmin, zmax in voxels
    of the file's array, upper ends left out.
    """

    plane: str
    slice: int
    box: tuple[int, int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Record:
    """One image to be.

    ``source`` is its canonical name, the one official maps use, ``file`` the file's name in its listing, ``labels`` one
    value a label, ``subject`` whatever must not cross splits (empty where the provider does not tell), ``part`` the
    provider's own part ("train", "val", "test" or ""), ``cut`` where it lies in a CT volume.
    """

    source: str
    file: str
    labels: tuple[int, ...]
    subject: str = ""
    part: str = ""
    cut: Cut | None = None


@dataclass(frozen=True)
class Finding:
    """Something a user should know about a source: ``kind`` is missing, surplus, junk, doubt, left out or bad."""

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
    """Everything mmtk knows about one of the ten; see the modules beside this one.

    ``unchecked`` names what of the recipe rests on inference alone. Datasets of one ``family`` are made from the same
    raw files, in one pass; by default a dataset is its own.
    """

    flag: str
    title: str
    modality: str
    task: Task
    classes: tuple[str, ...]
    channels: int
    counts: dict[str, Counts]
    source: Source
    recipe: Recipe
    split: SplitRule
    scan: Callable[[Listing], Scan]
    aliases: tuple[str, ...] = ()
    md5: dict[str, str] = field(default_factory=dict)
    unchecked: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    family: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "family", self.family or self.flag)

    def unchecked_at(self, size: int) -> tuple[str, ...]:
        """What of the recipe was not compared with official pixels, for images of a size."""
        return self.unchecked if size == 28 else (*self.unchecked, f"how the official images of {size} px were made")

    @property
    def volumetric(self) -> bool:
        """Whether its images are cut from CT volumes, several from one file."""
        return any(isinstance(step, Slice) for step in self.recipe)

    def alias_of(self, edition: str) -> str:
        """The flag that MedMNIST's files of an edition bear; the Organ sets had others in 2020."""
        return self.aliases[0] if edition == "2020" and self.aliases else self.flag

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
            "source": {name: value for name, value in asdict(self.source).items()
                       if name not in ("marks", "archives")},
            "recipe": json.loads(recipe_to_json(self.recipe)),
            "aliases": list(self.aliases), "md5": dict(self.md5), "unchecked": list(self.unchecked),
            "notes": list(self.notes),
        }
