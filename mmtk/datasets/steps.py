"""Recipe steps: the processing of a raw image as data, with the input and output of each step."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, get_args

from mmtk.errors import ArgumentError
from mmtk.imaging import FILTERS, PLANES

# What is passed from step to step: an encoded file; an image of any size, in grey, colour or measured values; an image
# of the store's size; a CT volume; an organ's grid or a slice of it, in Hounsfield units or grey levels.
FILE, VOLUME = "an image file", "a CT volume"
_VALUES = "an image of measured values"
_GREY, _COLOUR = "a grey image", "a colour image"
GREY_ROW, COLOUR_ROW = "a grey image of the store's size", "a colour image of the store's size"
_TURNED, _HU_GRID, _GREY_GRID, _HU_SLICE = (
    "a turned CT volume", "a grid in Hounsfield units", "a grid in grey levels", "a slice in Hounsfield units",
)


@dataclass(frozen=True)
class Grey:
    """Decode an image file to grey; alpha is dropped.

    Attributes
    ----------
    luma : {"truncated", "rounded"}
        For colour files: as in OpenCV's ``IMREAD_GRAYSCALE``, which is libpng's truncated luma or a JPEG's own luma
        plane; or Pillow's rounded luma of the decoded RGB. See `mmtk.imaging.read_kinds`.

    Examples
    --------
    >>> from mmtk.datasets.steps import Grey
    >>> Grey().luma
    'truncated'
    """

    name: ClassVar[str] = "grey"
    flow: ClassVar[dict[str, str]] = {FILE: _GREY}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"luma": ("truncated", "rounded")}
    luma: str = "truncated"


@dataclass(frozen=True)
class Colour:
    """Decode an image file to RGB; alpha is dropped.

    Examples
    --------
    >>> from mmtk.datasets.steps import Colour
    >>> Colour().name
    'colour'
    """

    name: ClassVar[str] = "colour"
    flow: ClassVar[dict[str, str]] = {FILE: _COLOUR}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {}


@dataclass(frozen=True)
class Values:
    """Read the measured values of a grey DICOM, PNG or TIFF of up to 16 bits; see `mmtk.imaging.read_values`.

    Examples
    --------
    >>> from mmtk.datasets.steps import Values
    >>> Values().name
    'values'
    """

    name: ClassVar[str] = "values"
    flow: ClassVar[dict[str, str]] = {FILE: _VALUES}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {}


@dataclass(frozen=True)
class DicomWindow:
    """Read a DICOM image as grey levels, using the window or VOI look-up table in the file.

    Examples
    --------
    >>> from mmtk.datasets.steps import DicomWindow
    >>> DicomWindow().name
    'dicom_window'
    """

    name: ClassVar[str] = "dicom_window"
    flow: ClassVar[dict[str, str]] = {FILE: _GREY}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {}


@dataclass(frozen=True)
class CenterCrop:
    """Crop to the largest centred square; see `mmtk.imaging.center_crop`.

    Examples
    --------
    >>> from mmtk.datasets.steps import CenterCrop
    >>> CenterCrop().name
    'center_crop'
    """

    name: ClassVar[str] = "center_crop"
    flow: ClassVar[dict[str, str]] = {_GREY: _GREY, _COLOUR: _COLOUR}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {}


@dataclass(frozen=True)
class Resize:
    """Resize to the store's size; see `mmtk.imaging.resize`.

    Attributes
    ----------
    filter : {"nearest", "box", "bilinear", "bicubic", "lanczos"}
        All are antialiased except ``nearest``.

    Examples
    --------
    >>> from mmtk.datasets.steps import Resize
    >>> Resize("bicubic").filter
    'bicubic'
    """

    name: ClassVar[str] = "resize"
    flow: ClassVar[dict[str, str]] = {_GREY: GREY_ROW, _COLOUR: COLOUR_ROW}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"filter": FILTERS}
    filter: str = "bilinear"


@dataclass(frozen=True)
class RoundTrip:
    """Encode and decode the resized image, as for official 28 px files of JPEG sources; see `mmtk.imaging.round_trip`.

    Attributes
    ----------
    format : {"jpeg"}
    quality : int, 1 to 100

    Examples
    --------
    >>> from mmtk.datasets.steps import RoundTrip
    >>> RoundTrip("jpeg", 75).quality
    75
    """

    name: ClassVar[str] = "round_trip"
    flow: ClassVar[dict[str, str]] = {GREY_ROW: GREY_ROW, COLOUR_ROW: COLOUR_ROW}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"format": ("jpeg",)}
    format: str = "jpeg"
    quality: int = 75


@dataclass(frozen=True)
class Turn:
    """Reorient a volume by its header so that x runs to the left, y to the back and z to the head.

    The organ boxes refer to these axes; see `mmtk.imaging.turn_volume`.

    Examples
    --------
    >>> from mmtk.datasets.steps import Turn
    >>> Turn().name
    'turn'
    """

    name: ClassVar[str] = "turn"
    flow: ClassVar[dict[str, str]] = {VOLUME: _TURNED}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {}


@dataclass(frozen=True)
class Zoom:
    """Resample an organ's box to a grid, without voxels outside the box; see `mmtk.imaging.zoom`.

    Attributes
    ----------
    spacing : (x, y, z) or None
        Voxel size in mm assumed for all volumes. With None, the header's voxel size is used in the plane of the images,
        while the positions of the slices remain those of the assumed spacing, so that the dataset has the same images.
    to : (x, y, z)
        Distance between grid points in mm.
    border : {"zero", "edge"}
        Value of the last grid point if rounding puts it outside the box: 0 HU, or that of the box's last voxel.

    Examples
    --------
    >>> from mmtk.datasets.steps import Zoom
    >>> Zoom((0.7031, 0.7031, 2.5)).extents((0, 200, 0, 180, 0, 50))
    (70, 63, 125)
    """

    name: ClassVar[str] = "zoom"
    flow: ClassVar[dict[str, str]] = {VOLUME: _HU_GRID, _TURNED: _HU_GRID}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"border": ("zero", "edge")}
    spacing: tuple[float, float, float] | None
    to: tuple[float, float, float] = (2.0, 2.0, 1.0)
    border: str = "zero"

    def extents(
        self, box: tuple[int, int, int, int, int, int], spacing: tuple[float, float, float] | None = None
    ) -> tuple[int, int, int]:
        """Number of grid points along x, y and z: voxels times the ratio of spacings, halves rounded to even.

        Parameters
        ----------
        box : (xmin, xmax, ymin, ymax, zmin, zmax)
            In voxels, upper ends exclusive.
        spacing : (x, y, z), optional
            Voxel size in mm from the header, needed if the step has none.
        """
        sizes = self.spacing or spacing
        assert sizes is not None
        x, y, z = (
            max(1, round((box[2 * axis + 1] - box[2 * axis]) * (sizes[axis] / self.to[axis]))) for axis in range(3)
        )
        return x, y, z


@dataclass(frozen=True)
class Box:
    """Cut a box out of a volume without resampling.

    Examples
    --------
    >>> from mmtk.datasets.steps import Box
    >>> Box().name
    'box'
    """

    name: ClassVar[str] = "box"
    flow: ClassVar[dict[str, str]] = {VOLUME: _HU_GRID, _TURNED: _HU_GRID}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {}


@dataclass(frozen=True)
class Percentiles:
    """Map measured values to grey levels by two percentiles of the image or box; see `mmtk.imaging.percentile_window`.

    Attributes
    ----------
    low, high : float
        The percentiles, 0 to 100, that become black and white.

    Examples
    --------
    >>> from mmtk.datasets.steps import Percentiles
    >>> Percentiles(1, 99).high
    99
    """

    name: ClassVar[str] = "percentiles"
    flow: ClassVar[dict[str, str]] = {_VALUES: _GREY, _HU_GRID: _GREY_GRID}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {}
    low: float
    high: float


@dataclass(frozen=True)
class HuWindow:
    """Map Hounsfield units, or other measured values, to grey levels; see `mmtk.imaging.hu_window`.

    Attributes
    ----------
    level, width : float
    rounding : {"nearest", "down"}

    Examples
    --------
    >>> from mmtk.datasets.steps import HuWindow
    >>> HuWindow(level=-600, width=1500).width
    1500
    """

    name: ClassVar[str] = "hu_window"
    flow: ClassVar[dict[str, str]] = {_HU_GRID: _GREY_GRID, _HU_SLICE: _GREY, _VALUES: _GREY}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"rounding": ("nearest", "down")}
    level: float = 50.0
    width: float = 400.0
    rounding: str = "nearest"


@dataclass(frozen=True)
class Slice:
    """Take slices of a grid; see `mmtk.imaging.cut_plane`.

    Attributes
    ----------
    plane : {"axial", "coronal", "sagittal"}
        Perpendicular to z, y or x.
    every : int
        Slices whose index is a multiple of it become images.

    Examples
    --------
    >>> from mmtk.datasets.steps import Slice
    >>> Slice("axial", 4).every
    4
    """

    name: ClassVar[str] = "slice"
    flow: ClassVar[dict[str, str]] = {_HU_GRID: _HU_SLICE, _GREY_GRID: _GREY}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"plane": tuple(PLANES)}
    plane: str
    every: int


@dataclass(frozen=True)
class Upright:
    """Show a slice of a reoriented volume in radiological convention: patient's right at the left, front or head up.

    Attributes
    ----------
    plane : {"axial", "coronal", "sagittal"}
        Plane of the slice. A sagittal slice has the front at the left.

    Examples
    --------
    >>> from mmtk.datasets.steps import Upright
    >>> Upright("coronal").plane
    'coronal'
    """

    name: ClassVar[str] = "upright"
    flow: ClassVar[dict[str, str]] = {_GREY: _GREY}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"plane": tuple(PLANES)}
    plane: str


Step = (
    Grey | Colour | Values | DicomWindow | CenterCrop | Resize | RoundTrip
    | Turn | Box | Zoom | Percentiles | HuWindow | Slice | Upright
)
Recipe = tuple[Step, ...]
_STEPS: dict[str, type[Step]] = {step.name: step for step in get_args(Step)}


@dataclass(frozen=True)
class BySize:
    """The recipes of a dataset whose official images at 28 px were made differently from larger ones.

    Examples
    --------
    >>> import mmtk
    >>> recipe = mmtk.get_dataset("breastmnist").recipe
    >>> recipe.at_28[0].luma, recipe.larger[0].luma
    ('truncated', 'rounded')
    """

    at_28: Recipe
    larger: Recipe


def as_released(*steps: Step) -> BySize:
    """Derive the recipes of a dataset of image files from the one for 28 px.

    The larger files of January 2024 were made from the originals again, with rounded luma and without JPEG.

    Examples
    --------
    >>> from mmtk.datasets.steps import Grey, Resize, as_released
    >>> as_released(Grey(), Resize()).larger[0].luma
    'rounded'
    """
    larger = (Grey("rounded") if isinstance(step, Grey) else step for step in steps if not isinstance(step, RoundTrip))
    return BySize(steps, tuple(larger))


def recipe_to_json(recipe: Recipe) -> str:
    """Write a recipe as canonical JSON, which is what its hash is computed from.

    Examples
    --------
    >>> from mmtk.datasets.steps import Grey, recipe_to_json
    >>> recipe_to_json((Grey(),))
    '[{"luma":"truncated","step":"grey"}]'
    """
    return _canonical([{"step": step.name, **_unsigned_zeros(asdict(step))} for step in recipe])


def _unsigned_zeros(values: dict[str, Any]) -> dict[str, Any]:
    """Replace -0.0 by 0.0, which is equal but would be written differently."""
    return {name: value + 0.0 if isinstance(value, float) else value for name, value in values.items()}


def recipe_from_json(text: str) -> Recipe:
    """Read a recipe from JSON.

    Raises
    ------
    ArgumentError
        If the text is not a recipe in JSON, or a step or one of its values is unknown.

    Examples
    --------
    >>> from mmtk.datasets.steps import recipe_from_json
    >>> recipe_from_json('[{"step": "grey", "luma": "rounded"}]')[0].luma
    'rounded'
    """
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        entries = None
    if not isinstance(entries, list):
        raise ArgumentError("recipe", found=text[:80], expected="a JSON list of steps")
    return recipe_from_values(entries)


def recipe_from_values(entries: Sequence[Any]) -> Recipe:
    """Make a recipe from JSON values, one dict per step, with its name under "step".

    Raises
    ------
    ArgumentError
        If a step or one of its values is unknown.
    """
    return tuple(map(_step, entries))


def _step(entry: Any) -> Step:
    try:
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
        return _STEPS[values.pop("step")](**values)
    except (AttributeError, KeyError, TypeError):
        problem = f"has the invalid step {json.dumps(entry)[:80]}"
        raise ArgumentError("recipe", problem, expected=f"one of {', '.join(_STEPS)}") from None


def recipe_hash(recipe: Recipe) -> str:
    """SHA-256 of the recipe's canonical JSON, as hex.

    Examples
    --------
    >>> from mmtk.datasets.steps import Grey, Resize, recipe_hash
    >>> recipe_hash((Grey(), Resize()))[:8]
    'a63104bc'
    """
    return hashlib.sha256(recipe_to_json(recipe).encode()).hexdigest()


def facts_hash(facts: Any) -> str:
    """SHA-256 of JSON values regardless of the order of keys, as hex."""
    return hashlib.sha256(_canonical(facts).encode()).hexdigest()


def _canonical(facts: Any) -> str:
    return json.dumps(facts, sort_keys=True, separators=(",", ":"))
