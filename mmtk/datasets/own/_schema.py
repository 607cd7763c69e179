"""The keys of a dataset file; `read_dataset` says what they mean."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from mmtk.imaging import FILTERS


class _Keys(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"source": "from"}):
    """A table of the file, whose keys are all that it may have."""


class Table(_Keys, frozen=True):
    """Images by a table: a row an image, with its file, its label or labels, its subject and its split."""

    file: str
    column: str
    strip: str = ""
    prefix: str = ""
    suffix: str = ""
    label: str = ""
    labels: tuple[str, ...] = ()
    separator: str = ""
    names: dict[str, str] = {}
    subject: str = ""
    split: str = ""


class Images(_Keys, frozen=True):
    """Images by their paths, whose parts tell class, subject and split."""

    files: str | tuple[str, ...] = "{class}/*"
    exclude: str | tuple[str, ...] = ()
    names: dict[str, str] = {}
    subject: str = ""


class Split(_Keys, frozen=True):
    """Which shares of the images, in percent, are train, val and test."""

    shares: tuple[float, float, float] = (70.0, 10.0, 20.0)
    seed: int = 0
    val: float = 0.0


class Window(_Keys, frozen=True):
    """Which measured values become black and white."""

    level: float | None = None
    width: float | None = None
    source: Literal["", "dicom"] = ""
    percentiles: tuple[float, float] | None = None


class Volumes(_Keys, frozen=True):
    """Slices of CT or MR volumes: of the organs of a mask, or of whole volumes."""

    image: str = ""
    mask: str = ""
    organs: dict[str, int | tuple[int, ...]] = {}
    subject: str = ""
    plane: Literal["axial", "coronal", "sagittal"] = "axial"
    spacing: float = 0.0
    keep: tuple[float, float] | None = None
    crop: Literal["", "box", "square", "centre", "none"] = ""
    orientation: Literal["patient", "file"] = "patient"


class Recipe(_Keys, frozen=True):
    """How an image becomes a small square: a line for each choice, or all steps."""

    colour: Literal["grey", "rgb"] = "grey"
    crop: Literal["centre", "none"] = "centre"
    filter: Literal[FILTERS] = "bilinear"  # type: ignore[valid-type]
    steps: tuple[dict[str, Any], ...] = ()


class DatasetFile(_Keys, frozen=True):
    """The whole file."""

    flag: str
    title: str
    modality: str
    task: str
    classes: tuple[str, ...] = ()
    licence: str = ""
    citation: str = ""
    page: str = ""
    provider: str = ""
    table: Table | None = None
    images: Images | None = None
    volumes: Volumes | None = None
    split: Split = Split()
    window: Window | None = None
    recipe: Recipe = Recipe()
