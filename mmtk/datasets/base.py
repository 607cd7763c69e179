"""The words every dataset is written in: tasks, counts, records and the dataset itself. Its recipe is of steps.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

from mmtk.datasets.checks import check_dataset
from mmtk.datasets.steps import BySize, Pipeline, Recipe, recipe_to_json, without_flaws
from mmtk.display import facts_table, rows_table
from mmtk.errors import ArgumentError, ImageError, SourceError
from mmtk.imaging import PLANES

if TYPE_CHECKING:
    from mmtk.datasets.listing import Listing

SPLITS = ("train", "val", "test")
EDITIONS = ("2020", "2021", "2022", "2024")  # in which official files appeared, in their order
OWN = "own"  # the choice of pixels and split of a dataset that nobody published
Box = tuple[int, int, int, int, int, int]
LIKE_BREAST = "larger sizes: as BreastMNIST's were made, whose files have the published MD5s; no original compared"
OFFICIAL_ALONE = "Known by its official files alone: there is no pipeline from raw images yet."
CONTAINER_OF_2021 = "The container of its .npz of 2021 is taken to be BloodMNIST's, the one file of that year seen."


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

    def __str__(self) -> str:
        return f"train {self.train:,}, val {self.val:,}, test {self.test:,}"


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


# -------------------------------------------------------------- records, scans


@dataclass(frozen=True, slots=True)
class Cut:
    """Where in a CT volume an image lies.

    ``box`` is xmin, xmax, ymin, ymax, zmin, zmax in voxels, upper ends left out; ``extents`` are the voxels along x, y
    and z of the grid that the box is resampled to, and ``slice`` counts that grid's slices from the box's lower edge.
    ``mask`` is a volume in the same listing that is above 0 in the box's organ, where there is one.
    """

    plane: str
    slice: int
    box: Box
    extents: tuple[int, int, int]
    mask: str = ""

    @property
    def across(self) -> int:
        """The axis that the plane lies across."""
        return PLANES[self.plane]

    @property
    def region(self) -> tuple[int, int, int, int]:
        """Top, left, height and width of the box in the plane, in voxels: rows run along the lower of its axes."""
        rows, columns = (2 * axis for axis in range(3) if axis != self.across)
        top, left = self.box[rows], self.box[columns]
        return top, left, self.box[rows + 1] - top, self.box[columns + 1] - left


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
    """What a listing holds: records in a fixed order, findings, and files that had to be read and cannot be used."""

    records: tuple[Record, ...]
    findings: tuple[Finding, ...] = ()
    bad: tuple[tuple[str, ImageError], ...] = ()


@dataclass(frozen=True)
class SplitRule:
    """Gives each record its split; used where no official map is known, for own data and for phantoms.

    A rule is a dataclass of JSON values, with a name by which it stays known.
    """

    name: ClassVar[str]

    def assign(self, records: tuple[Record, ...]) -> list[str]:
        """The split of each record: train, val or test, in the records' order."""
        raise NotImplementedError

    def may_be(self, split: str) -> tuple[str, ...]:
        """The official splits in which a record may stand that this rule gives to a split; drawn at random, in any."""
        return SPLITS

    def facts(self) -> dict[str, Any]:
        """Its name and its fields as JSON values, for hashes of plans.

        Fields that have their default are left out, so that one which is added later with a default changes no hash.
        """
        values = asdict(self)
        given = {f.name: values[f.name] for f in fields(self) if getattr(self, f.name) != f.default}
        return {"rule": self.name, **given}

    def __str__(self) -> str:
        values = ", ".join(f"{name} {value}" for name, value in vars(self).items() if value != "")
        return self.name.replace("_", " ") + (f" ({values})" if values else "")


def no_raw_images(listing: Listing) -> Scan:
    """The scan of a dataset that is known by its official files alone."""
    remedy = "mmtk fetch and mmtk import get its official files"
    raise SourceError(listing.root, expected="a dataset that is built from raw images", found="none", remedy=remedy)


@dataclass(frozen=True)
class Dataset:
    """Everything mmtk knows about a dataset; see the modules beside this one.

    A plain recipe and its ``unchecked`` hold for every size. That names what of the recipe of 28 px rests on inference
    alone, ``unchecked_larger`` what of the other one does. Datasets of one ``family`` are made from the same raw files,
    in one pass; by default a dataset is its own. ``blank_in`` are the editions in which slices of one grey level are
    images. ``listed`` gives the image files that a source's own lists tell it has, where they do not name them. Images
    are volumes, cubes of grey voxels, where ``ndim`` is 3.

    One without a ``scan`` cannot be built from raw images: its official files are all that is known of it.
    One without counts is somebody's own; see `mmtk.datasets.own`.

    Raises
    ------
    ArgumentError
        If it could not be built, or its store not read again; see `mmtk.datasets.checks.check_dataset`.
    """

    flag: str
    title: str
    modality: str
    task: Task
    classes: tuple[str, ...]
    channels: int
    counts: dict[str, Counts]
    source: Source
    recipe: Recipe | BySize = ()
    split: SplitRule = field(default_factory=SplitRule)
    scan: Callable[[Listing], Scan] = no_raw_images
    aliases: tuple[str, ...] = ()
    md5: dict[str, str] = field(default_factory=dict)
    unchecked: tuple[str, ...] = ()
    unchecked_larger: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    family: str = ""
    blank_in: tuple[str, ...] = ()
    listed: Callable[[Listing], Iterable[str]] | None = None
    ndim: int = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "family", self.family or self.flag)
        if not isinstance(self.recipe, BySize):
            object.__setattr__(self, "unchecked_larger", self.unchecked)
        check_dataset(self)

    @property
    def recipes(self) -> tuple[Recipe, Recipe]:
        """Of 28 px, and of larger sizes."""
        by_size = self.recipe if isinstance(self.recipe, BySize) else BySize(self.recipe, self.recipe)
        return by_size.at_28, by_size.larger

    def unchecked_at(self, size: int, edition: str = "2024") -> tuple[str, ...]:
        """What of the recipe was not compared with official pixels, for images of a size and an edition."""
        unchecked = self.unchecked if size == 28 else self.unchecked_larger
        known = self.published(edition, size) or not self.md5
        return unchecked if known else (*unchecked, f"there are no official images of {size} px in edition {edition}")

    @property
    def has_raw_pipeline(self) -> bool:
        """Whether it can be built from raw images; else its official files are all there is."""
        return self.scan is not no_raw_images

    @property
    def licence(self) -> str:
        """The source's."""
        return self.source.licence

    @property
    def citation(self) -> str:
        """The source's."""
        return self.source.citation

    @property
    def page(self) -> str:
        """The source's."""
        return self.source.page

    @property
    def volumetric(self) -> bool:
        """Whether its images are cut from CT volumes, several from one file."""
        return Pipeline(self.recipes[0]).takes_volumes

    @property
    def own(self) -> bool:
        """Whether it is somebody's own: nobody published counts of it, so it has no editions."""
        return not self.counts

    @property
    def first_edition(self) -> str:
        """The edition that is meant where none is named: 2020 of the ten, 2021 of the rest; empty if there are none."""
        return next(iter(self.counts), "")

    @property
    def last_edition(self) -> str:
        """The edition whose files are fetched where none is named: 2024 of MedMNIST's sets; empty if there are none."""
        return next(reversed(self.counts), "")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Edge lengths of its official files: 28, 64, 128 and 224 px, of volumes 28 and 64; none if there are none."""
        return tuple(sorted({int(key.partition(":")[2]) for key in self.md5}))

    @property
    def pixel_choices(self) -> tuple[str, ...]:
        """What ``pixels`` of a build may be; the first is meant where nothing is said."""
        return (OWN,) if self.own else ("official", "clean")

    @property
    def split_choices(self) -> tuple[str, ...]:
        """What ``split`` of a build may be; the first is meant where nothing is said."""
        return (OWN,) if self.own else ("official", "grouped")

    def alias_of(self, edition: str) -> str:
        """The flag that MedMNIST's files of an edition bear; the Organ sets had others in 2020."""
        return self.aliases[0] if edition == "2020" and self.aliases else self.flag

    def published(self, edition: str, size: int) -> str | None:
        """MD5 of the official file of an edition and size, None where there is none.

        Files above 28 px appeared in 2024 only; of a dataset whose images that edition left alone they are either's.
        """
        unchanged = edition in self.counts and self.counts[edition] == self.counts.get("2024")
        return self.md5.get(f"{edition}:{size}") or (self.md5.get(f"2024:{size}") if unchanged else None)

    def container(self, edition: str, size: int) -> str:
        """The edition whose kind of ``.npz`` the official file is: the first one that has this very file."""
        md5 = self.published(edition, size)
        return next((e for e in EDITIONS if md5 and self.md5.get(f"{e}:{size}") == md5), EDITIONS[-1])

    @property
    def labels(self) -> int:
        """Values in a label row: 14 for ChestMNIST, 1 elsewhere."""
        return len(self.classes) if self.task is Task.MULTILABEL else 1

    def recipe_for(self, pixels: str, size: int) -> Recipe:
        """The recipe of a choice of pixels and a size.

        Parameters
        ----------
        pixels : {"official", "clean"}
            As MedMNIST was made; or without what that did to the images by mistake, see `without_flaws`. An own dataset
            has nothing but its own pixels, "own".
        size : int
            Edge length in pixels. The official images up to 28 px were made in one way, larger ones in another.

        Raises
        ------
        ArgumentError
            For any other choice of pixels.
        """
        if pixels not in self.pixel_choices:
            raise ArgumentError("pixels", expected=" or ".join(self.pixel_choices), found=pixels)
        recipe = self.recipes[size > 28]
        return without_flaws(recipe) if pixels == "clean" else recipe

    def pipeline(self, pixels: str) -> Pipeline:
        """What the recipes of a choice of pixels, of every size, ask of a source's files."""
        steps = (step for size in (28, 29) for step in self.recipe_for(pixels, size))  # up to 28, and above
        return Pipeline(tuple(dict.fromkeys(steps)))

    def _repr_html_(self) -> str:
        counts = [(edition, c.train, c.val, c.test, c.total) for edition, c in self.counts.items()]
        return facts_table(f"{self.title} ({self.modality})", {
            "flag": [self.flag, *self.aliases], "task": self.task.value,
            "classes": [f"{number} {name}" for number, name in enumerate(self.classes)],
            "images": rows_table(("edition", *SPLITS, "total"), counts) if counts else "",
            "official sizes": ", ".join(f"{size} px" for size in self.sizes), "source": self.source.name,
            "licence": self.licence, "page": self.page, "citation": self.citation,
        })

    def facts(self) -> dict[str, Any]:
        """All facts as JSON values, for ``mmtk info --json``."""
        return {
            "flag": self.flag, "title": self.title, "modality": self.modality, "task": self.task.value,
            "classes": list(self.classes), "channels": self.channels, "ndim": self.ndim, "sizes": list(self.sizes),
            "counts": {edition: asdict(c) for edition, c in self.counts.items()},
            "source": {name: value for name, value in asdict(self.source).items()
                       if name not in ("marks", "archives")},
            "recipe": json.loads(recipe_to_json(self.recipes[0])),
            "recipe_larger": json.loads(recipe_to_json(self.recipes[1])),
            "has_raw_pipeline": self.has_raw_pipeline,
            "aliases": list(self.aliases), "md5": dict(self.md5), "unchecked": list(self.unchecked),
            "unchecked_larger": list(self.unchecked_larger), "notes": list(self.notes),
        }
