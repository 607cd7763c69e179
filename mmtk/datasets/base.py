"""The types that describe a dataset: tasks, counts, records and the dataset itself. Recipes are in steps.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

from mmtk.datasets.checks import check_dataset
from mmtk.datasets.pipelines import Pipeline, without_flaws
from mmtk.datasets.records import Box, Cut, Finding, Record, Scan
from mmtk.datasets.steps import BySize, Recipe, recipe_to_json
from mmtk.display import facts_table, rows_table
from mmtk.errors import ArgumentError, SourceError

if TYPE_CHECKING:
    from mmtk.datasets.listing import Listing

__all__ = [
    "CONTAINER_OF_2021", "EDITIONS", "LIKE_BREAST", "OFFICIAL_ALONE", "OWN", "SPLITS", "Box", "Counts", "Cut",
    "Dataset", "Finding", "Record", "Scan", "Source", "SplitRule", "Task", "no_raw_images",
]
SPLITS = ("train", "val", "test")
EDITIONS = ("2020", "2021", "2022", "2024")  # years in which official files were published
OWN = "own"  # the pixels and split of an unpublished dataset
LIKE_BREAST = "larger sizes: as BreastMNIST's were made, whose files have the published MD5s; no original compared"
OFFICIAL_ALONE = "Only the official files are available: there is no pipeline from raw images yet."
CONTAINER_OF_2021 = (
    "The container of its .npz of 2021 is assumed to be that of BloodMNIST, the only file of that year examined."
)


class Task(StrEnum):
    """The kind of labels, named as in MedMNIST.

    Examples
    --------
    >>> from mmtk.datasets.base import Task
    >>> Task("multi-class") is Task.MULTICLASS
    True
    """

    BINARY = "binary-class"
    MULTICLASS = "multi-class"
    MULTILABEL = "multi-label, binary-class"
    ORDINAL = "ordinal-regression"


@dataclass(frozen=True)
class Counts:
    """Number of images in each split.

    Examples
    --------
    >>> from mmtk.datasets.base import Counts
    >>> counts = Counts(546, 78, 156)
    >>> counts.total, str(counts)
    (780, 'train 546, val 78, test 156')
    """

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
    """A provider of raw images.

    Attributes
    ----------
    name, licence, page, citation : str
        Who provides the data, under which licence, where to get it, and how to cite it.
    layout : str
        How its files are arranged.
    marks : tuple of str
        Files or folders, any of which identifies the provider's folder.
    archives : tuple of str
        Patterns of the provider's archive names, which identify a folder of downloads.

    Examples
    --------
    >>> import mmtk
    >>> source = mmtk.get_dataset("breastmnist").source
    >>> source.name, source.licence
    ('BUSI', 'CC BY 4.0')
    """

    name: str
    licence: str
    page: str
    layout: str
    citation: str
    marks: tuple[str, ...] = ()
    archives: tuple[str, ...] = ()


@dataclass(frozen=True)
class SplitRule:
    """Assigns a split to each record, for own data, phantoms, and datasets without an official map.

    A rule is a dataclass of JSON values with a permanent name.

    Examples
    --------
    >>> import mmtk
    >>> print(mmtk.get_dataset("breastmnist").split)
    floor cut (first 0.7, second 0.8, seed 0)
    """

    name: ClassVar[str]

    def assign(self, records: tuple[Record, ...]) -> list[str]:
        """Return the split of each record ("train", "val" or "test"), in the same order."""
        raise NotImplementedError

    def may_be(self, split: str) -> tuple[str, ...]:
        """The official splits to which records of a split of this rule may belong; any, if the rule is random."""
        return SPLITS

    def facts(self) -> dict[str, Any]:
        """Name and fields as JSON values, for hashes of plans.

        Fields with their default value are omitted, so that adding a field with a default does not change hashes.
        """
        values = asdict(self)
        given = {f.name: values[f.name] for f in fields(self) if getattr(self, f.name) != f.default}
        return {"rule": self.name, **given}

    def __str__(self) -> str:
        values = ", ".join(f"{name} {value}" for name, value in vars(self).items() if value != "")
        return self.name.replace("_", " ") + (f" ({values})" if values else "")


def no_raw_images(listing: Listing) -> Scan:
    """The scan of a dataset that cannot be built from raw images: it always fails."""
    remedy = "get its official files with mmtk fetch and mmtk import"
    raise SourceError(listing.root, "cannot be used: the dataset is not built from raw images", remedy=remedy)


@dataclass(frozen=True)
class Dataset:
    """All facts about a dataset; the modules next to this one define the known ones.

    Attributes
    ----------
    flag, title, modality : str
        Its identifier, as in file names, its name, and how its images were acquired.
    task : Task
    classes : tuple of str
        Names of the classes, in the order of the labels.
    channels : {1, 3}
        1 for grey, 3 for colour.
    counts : dict of str to Counts
        Published number of images by edition; empty for an own dataset, see `mmtk.datasets.own`.
    source : Source
        The provider of its raw images.
    recipe : tuple of steps, or BySize
        How a raw image becomes pixels; a plain recipe applies to every size.
    split : SplitRule
        The split where no official map is known.
    scan : callable
        Lists the records of a source. Without it, the dataset cannot be built from raw images.
    aliases : tuple of str
        Other names, the flag of the 2020 edition first.
    md5 : dict of str to str
        MD5s of official files, by "edition:size".
    unchecked, unchecked_larger : tuple of str
        Parts of the recipe at 28 px, and above, that were inferred but not checked against official pixels.
    notes : tuple of str
        Remarks for users.
    family : str
        Datasets of a family are built from the same raw files in one pass; by default the flag.
    blank_in : tuple of str
        Editions that include slices of a single grey level.
    listed : callable or None
        Gives the image files that exist according to a source's own lists.
    ndim : {2, 3}
        3 if the images are volumes, cubes of grey voxels.

    Raises
    ------
    ArgumentError
        If it could not be built, or its store not read back; see `mmtk.datasets.checks.check_dataset`.

    Examples
    --------
    >>> import mmtk
    >>> dataset = mmtk.get_dataset("breastmnist")
    >>> dataset.classes, dataset.channels, dataset.sizes
    (('malignant', 'normal, benign'), 1, (28, 64, 128, 224))
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
        """The recipes for 28 px and for larger sizes."""
        by_size = self.recipe if isinstance(self.recipe, BySize) else BySize(self.recipe, self.recipe)
        return by_size.at_28, by_size.larger

    def unchecked_at(self, size: int, edition: str = "2024") -> tuple[str, ...]:
        """The parts of the recipe that were not checked against official pixels of this size and edition."""
        unchecked = self.unchecked if size == 28 else self.unchecked_larger
        known = self.published(edition, size) or not self.md5
        return unchecked if known else (*unchecked, f"there are no official images of {size} px in edition {edition}")

    @property
    def has_raw_pipeline(self) -> bool:
        """Whether it can be built from raw images; otherwise only official files are available."""
        return self.scan is not no_raw_images

    @property
    def licence(self) -> str:
        """Licence of the source."""
        return self.source.licence

    @property
    def citation(self) -> str:
        """Citation of the source."""
        return self.source.citation

    @property
    def page(self) -> str:
        """Web page of the source."""
        return self.source.page

    @property
    def volumetric(self) -> bool:
        """Whether its images are slices of CT volumes."""
        return Pipeline(self.recipes[0]).takes_volumes

    @property
    def own(self) -> bool:
        """Whether it is an own dataset, without published counts and editions."""
        return not self.counts

    @property
    def first_edition(self) -> str:
        """The default edition: 2020 for the ten, 2021 for the others; empty for an own dataset."""
        return next(iter(self.counts), "")

    @property
    def last_edition(self) -> str:
        """The edition that is downloaded by default: 2024 for MedMNIST's datasets; empty for an own dataset."""
        return next(reversed(self.counts), "")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Edge lengths of its official files in pixels: 28, 64, 128 and 224, or 28 and 64 for volumes."""
        return tuple(sorted({int(key.partition(":")[2]) for key in self.md5}))

    @property
    def pixel_choices(self) -> tuple[str, ...]:
        """Allowed values of ``pixels`` in a build; the first is the default."""
        return (OWN,) if self.own else ("official", "clean")

    @property
    def split_choices(self) -> tuple[str, ...]:
        """Allowed values of ``split`` in a build; the first is the default."""
        return (OWN,) if self.own else ("official", "grouped")

    def alias_of(self, edition: str) -> str:
        """The flag in MedMNIST's file names of an edition; the Organ datasets had others in 2020."""
        return self.aliases[0] if edition == "2020" and self.aliases else self.flag

    def published(self, edition: str, size: int) -> str | None:
        """MD5 of the official file of an edition and size; None if there is none.

        Files above 28 px were published in 2024 only; they also count for earlier editions with the same images.
        """
        unchanged = edition in self.counts and self.counts[edition] == self.counts.get("2024")
        return self.md5.get(f"{edition}:{size}") or (self.md5.get(f"2024:{size}") if unchanged else None)

    def container(self, edition: str, size: int) -> str:
        """The edition that determines the ``.npz`` container: the first that has this very file."""
        md5 = self.published(edition, size)
        return next((e for e in EDITIONS if md5 and self.md5.get(f"{e}:{size}") == md5), EDITIONS[-1])

    @property
    def labels(self) -> int:
        """Number of values in a label row: 14 for ChestMNIST, 1 for the others."""
        return len(self.classes) if self.task is Task.MULTILABEL else 1

    def recipe_for(self, pixels: str, size: int) -> Recipe:
        """The recipe for a choice of pixels and a size.

        Parameters
        ----------
        pixels : {"official", "clean"}
            As MedMNIST was made, or without its mistakes, see `without_flaws`. For an own dataset "own".
        size : int
            Edge length in pixels. Official images above 28 px were made differently from those at 28 px.

        Returns
        -------
        tuple of steps

        Raises
        ------
        ArgumentError
            For another value of `pixels`.
        """
        if pixels not in self.pixel_choices:
            raise ArgumentError("pixels", found=repr(pixels), expected=" or ".join(self.pixel_choices))
        recipe = self.recipes[size > 28]
        return without_flaws(recipe) if pixels == "clean" else recipe

    def pipeline(self, pixels: str) -> Pipeline:
        """The combined steps for all sizes, which determine how a source's files are read."""
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
