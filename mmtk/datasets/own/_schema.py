"""The keys of a dataset file; `read_dataset` explains them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from mmtk.imaging import FILTERS


class _Keys(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"source": "from"}):
    """A table of the file; keys other than these are refused."""


class Table(_Keys, frozen=True):
    """Images listed in a table, one row per image, with its file, labels, subject and split."""

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
    """Images given by their paths, which contain class, subject and split."""

    files: str | tuple[str, ...] = "{class}/*"
    exclude: str | tuple[str, ...] = ()
    names: dict[str, str] = {}
    subject: str = ""


class Split(_Keys, frozen=True):
    """The percentages of images for train, val and test."""

    shares: tuple[float, float, float] = (70.0, 10.0, 20.0)
    seed: int = 0
    val: float = 0.0


class Window(_Keys, frozen=True):
    """The measured values that become black and white."""

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
    """How an image is processed: single choices, or all steps."""

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
