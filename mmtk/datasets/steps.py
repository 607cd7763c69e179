"""Recipe steps: what is done to a raw image, as data, and what each step takes and gives."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, get_args

from mmtk.errors import ArgumentError
from mmtk.imaging import FILTERS, PLANES

# What flows from step to step: an encoded file; an image of any size, grey, colour or of measured values; one of the
# store's size; a CT volume; an organ's grid or a slice of it, in Hounsfield units or grey levels.
_FILE, _VOLUME = "an image file", "a CT volume"
_VALUES = "an image of measured values"
_GREY, _COLOUR = "a grey image", "a colour image"
_GREY_ROW, _COLOUR_ROW = "a grey image of the store's size", "a colour image of the store's size"
_TURNED, _HU_GRID, _GREY_GRID, _HU_SLICE = (
    "a turned CT volume", "a grid in Hounsfield units", "a grid in grey levels", "a slice in Hounsfield units",
)


@dataclass(frozen=True)
class Grey:
    """Luma of an image file, alpha dropped.

    Attributes
    ----------
    luma : {"truncated", "rounded"}
        Of a file with colour: as OpenCV's ``IMREAD_GRAYSCALE`` decodes it, which is libpng's truncated luma or a JPEG's
        own luma plane; or Pillow's rounded luma of the decoded RGB. See `mmtk.imaging.read_image`.
    """

    name: ClassVar[str] = "grey"
    flow: ClassVar[dict[str, str]] = {_FILE: _GREY}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"luma": ("truncated", "rounded")}
    luma: str = "truncated"


@dataclass(frozen=True)
class Colour:
    """RGB, alpha dropped."""

    name: ClassVar[str] = "colour"
    flow: ClassVar[dict[str, str]] = {_FILE: _COLOUR}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {}


@dataclass(frozen=True)
class Values:
    """Measured values of a grey DICOM, PNG or TIFF of up to 16 bits; see `mmtk.imaging.read_values`."""

    name: ClassVar[str] = "values"
    flow: ClassVar[dict[str, str]] = {_FILE: _VALUES}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {}


@dataclass(frozen=True)
class DicomWindow:
    """Grey levels of a DICOM by the window, or the table of values, that the file itself names."""

    name: ClassVar[str] = "dicom_window"
    flow: ClassVar[dict[str, str]] = {_FILE: _GREY}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {}


@dataclass(frozen=True)
class CenterCrop:
    """Centre square of the short side."""

    name: ClassVar[str] = "center_crop"
    flow: ClassVar[dict[str, str]] = {_GREY: _GREY, _COLOUR: _COLOUR}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {}


@dataclass(frozen=True)
class Resize:
    """Resize to the store's size: antialiased, or ``nearest``, which takes single pixels."""

    name: ClassVar[str] = "resize"
    flow: ClassVar[dict[str, str]] = {_GREY: _GREY_ROW, _COLOUR: _COLOUR_ROW}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"filter": FILTERS}
    filter: str = "bilinear"


@dataclass(frozen=True)
class RoundTrip:
    """Encode the small image and decode it again, as the official 28 px files of JPEG sources were."""

    name: ClassVar[str] = "round_trip"
    flow: ClassVar[dict[str, str]] = {_GREY_ROW: _GREY_ROW, _COLOUR_ROW: _COLOUR_ROW}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"format": ("jpeg",)}
    format: str = "jpeg"
    quality: int = 75


@dataclass(frozen=True)
class Turn:
    """Turn a volume, by the axes its header names, so that x runs to the left, y to the back and z upwards.

    These are the axes that the organ boxes count along.
    """

    name: ClassVar[str] = "turn"
    flow: ClassVar[dict[str, str]] = {_VOLUME: _TURNED}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {}


@dataclass(frozen=True)
class Zoom:
    """Resample an organ's box, and nothing beside it, to a grid; see `mmtk.imaging.zoom`.

    Attributes
    ----------
    spacing : (x, y, z) or None
        Size of a voxel in mm that is assumed of every volume. With None the header's holds in the plane of the images;
        across it the slices stay where the assumed spacing puts them, so that the images of a dataset are the same.
    to : (x, y, z)
        Distance of the grid's points in mm.
    border : {"zero", "edge"}
        What lies where rounding puts the grid's last point outside the box: 0 HU, or the box's last voxel.
    """

    name: ClassVar[str] = "zoom"
    flow: ClassVar[dict[str, str]] = {_VOLUME: _HU_GRID, _TURNED: _HU_GRID}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"border": ("zero", "edge")}
    spacing: tuple[float, float, float] | None
    to: tuple[float, float, float] = (2.0, 2.0, 1.0)
    border: str = "zero"

    def extents(
        self, box: tuple[int, int, int, int, int, int], spacing: tuple[float, float, float] | None = None
    ) -> tuple[int, int, int]:
        """Points of the grid along x, y and z: voxels times the ratio of the spacings, rounded, halves to even.

        Parameters
        ----------
        box : xmin, xmax, ymin, ymax, zmin, zmax
        spacing : (x, y, z), optional
            The header's, where the step assumes none.
        """
        sizes = self.spacing or spacing
        assert sizes is not None
        x, y, z = (
            max(1, round((box[2 * axis + 1] - box[2 * axis]) * (sizes[axis] / self.to[axis]))) for axis in range(3)
        )
        return x, y, z


@dataclass(frozen=True)
class Box:
    """A box of a volume, its voxels as they are."""

    name: ClassVar[str] = "box"
    flow: ClassVar[dict[str, str]] = {_VOLUME: _HU_GRID, _TURNED: _HU_GRID}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {}


@dataclass(frozen=True)
class Percentiles:
    """Measured values to grey levels, by two percentiles of an image, or of a box of a volume.

    Attributes
    ----------
    low, high : float
        The percentiles, 0 to 100, that become black and white.
    """

    name: ClassVar[str] = "percentiles"
    flow: ClassVar[dict[str, str]] = {_VALUES: _GREY, _HU_GRID: _GREY_GRID}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {}
    low: float
    high: float


@dataclass(frozen=True)
class HuWindow:
    """Hounsfield units, or other measured values, to grey levels; see `mmtk.imaging.hu_window`."""

    name: ClassVar[str] = "hu_window"
    flow: ClassVar[dict[str, str]] = {_HU_GRID: _GREY_GRID, _HU_SLICE: _GREY, _VALUES: _GREY}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"rounding": ("nearest", "down")}
    level: float = 50.0
    width: float = 400.0
    rounding: str = "nearest"


@dataclass(frozen=True)
class Slice:
    """One slice of a grid: rows along the lower of the two other axes, columns along the higher one.

    Attributes
    ----------
    plane : {"axial", "coronal", "sagittal"}
        Across z, y or x.
    every : int
        The slices that are images are multiples of it.
    """

    name: ClassVar[str] = "slice"
    flow: ClassVar[dict[str, str]] = {_HU_GRID: _HU_SLICE, _GREY_GRID: _GREY}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"plane": tuple(PLANES)}
    plane: str
    every: int


@dataclass(frozen=True)
class Upright:
    """A slice of a turned volume as radiologists see it: the patient's right at the left, front or head at the top.

    Attributes
    ----------
    plane : {"axial", "coronal", "sagittal"}
        The slice's. A sagittal one has the front at the left.
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
class Pipeline:
    """What the steps of a recipe, or of those of several sizes, ask of a source's files and make of them."""

    steps: Collection[Step]

    @property
    def takes_volumes(self) -> bool:
        """Whether images are cut from CT volumes, several from one file; else each is a file of its own."""
        return any(_VOLUME in step.flow for step in self.steps)

    @property
    def turns(self) -> bool:
        """Whether volumes are turned by the axes that their headers name."""
        return any(isinstance(step, Turn) for step in self.steps)

    @property
    def measures(self) -> bool:
        """Whether volumes are resampled by the size of a voxel that their headers name."""
        return any(isinstance(step, Zoom) and step.spacing is None for step in self.steps)

    @property
    def zooms(self) -> bool:
        """Whether volumes are resampled, along boxes that count voxels of the patient's axes."""
        return any(isinstance(step, Zoom) for step in self.steps)

    @property
    def slices(self) -> tuple[Slice, ...]:
        """Which slices of a grid are images."""
        return tuple(step for step in self.steps if isinstance(step, Slice))

    @property
    def kinds(self) -> tuple[Any, ...]:
        """What an image file is decoded to: as `mmtk.imaging.read_kinds` names it, "values" or "dicom_window"."""
        first = (step for step in self.steps if _FILE in step.flow)
        return tuple(dict.fromkeys(s.luma if isinstance(s, Grey) else s.name for s in first))

    @property
    def measured(self) -> bool:
        """Whether image files may have more than 256 values."""
        return any(isinstance(step, Values | DicomWindow) for step in self.steps)

    @property
    def crops(self) -> bool:
        """Whether an image shows the centre square of its file alone."""
        return any(isinstance(step, CenterCrop) for step in self.steps)

    @property
    def round_trips(self) -> bool:
        """Whether the small image was saved as JPEG."""
        return any(isinstance(step, RoundTrip) for step in self.steps)


@dataclass(frozen=True)
class BySize:
    """Recipes of a dataset whose official images of 28 px were made in another way than the larger ones."""

    at_28: Recipe
    larger: Recipe


def as_released(*steps: Step) -> BySize:
    """The recipes of a dataset of image files, from the one of 28 px.

    The larger files of January 2024 were made anew from the originals: with rounded luma, and never saved as JPEG.
    """
    larger = (Grey("rounded") if isinstance(step, Grey) else step for step in steps if not isinstance(step, RoundTrip))
    return BySize(steps, tuple(larger))


def without_flaws(recipe: Recipe) -> Recipe:
    """A recipe without what the official one does to its images by mistake.

    No JPEG round trip; volumes turned by their headers, true voxel sizes, and no 0 HU in the last row of a grid.
    """
    kept = (replace(s, spacing=None, border="edge") if isinstance(s, Zoom) else s
            for s in recipe if not isinstance(s, RoundTrip | Turn))
    turned = (Turn(),) if Pipeline(recipe).takes_volumes else ()
    return (*turned, *kept)


def check_recipe(what: str, recipe: Recipe, channels: int) -> None:
    """Refuse a recipe that cannot be run as it stands.

    Parameters
    ----------
    what : str
        Whose recipe it is, for the error.
    recipe : Recipe
    channels : int
        1 for grey images, 3 for colour.

    Raises
    ------
    ArgumentError
        If a step cannot take what the one before it gives, a value of a step is unknown, or the last step does not give
        images of the store's size and channels.
    """
    flowing = _VOLUME if Pipeline(recipe[:1]).takes_volumes else _FILE
    for step in recipe:
        if flowing not in step.flow:
            takes = " or ".join(step.flow)
            raise ArgumentError(f"recipe of {what}", expected=f"{takes} before {step.name}", found=flowing)
        flowing = step.flow[flowing]
        for field, known in step.choices.items():
            if getattr(step, field) not in known:
                found = repr(getattr(step, field))
                raise ArgumentError(f"recipe of {what}", expected=f"{step.name} {', '.join(known)}", found=found)
        _check_numbers(what, step)
    wanted = _GREY_ROW if channels == 1 else _COLOUR_ROW
    if flowing != wanted:
        raise ArgumentError(f"recipe of {what}", expected=f"{wanted} at its end", found=flowing)


def _check_numbers(what: str, step: Step) -> None:
    expected = ""
    match step:
        case RoundTrip(quality=quality) if not (isinstance(quality, int) and 1 <= quality <= 100):
            expected = "a JPEG quality of 1 to 100"
        case HuWindow(width=width) if not width > 0:
            expected = "a window wider than 0"
        case Percentiles(low=low, high=high) if not 0 <= low < high <= 100:
            expected = "two percentiles from 0 to 100, the lower one first"
        case Slice(every=every) if not (isinstance(every, int) and every >= 1):
            expected = "a whole number of slices from 1"
        case Zoom(spacing=spacing, to=to) if not all(size > 0 for size in (*(spacing or ()), *to)):
            expected = "sizes above 0 mm"
        case _:
            pass
    if expected:
        raise ArgumentError(f"recipe of {what}", expected=expected, found=str(step))


def recipe_to_json(recipe: Recipe) -> str:
    """Write a recipe as canonical JSON, the form its hash is taken from."""
    return _canonical([{"step": step.name, **_unsigned_zeros(asdict(step))} for step in recipe])


def _unsigned_zeros(values: dict[str, Any]) -> dict[str, Any]:
    """Values that are equal in one form: -0.0, which equals 0.0, is written otherwise."""
    return {name: value + 0.0 if isinstance(value, float) else value for name, value in values.items()}


def recipe_from_json(text: str) -> Recipe:
    """Read a recipe back.

    Raises
    ------
    ArgumentError
        If the text is no JSON of a recipe, or a step or one of its values is unknown.
    """
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        entries = None
    if not isinstance(entries, list):
        raise ArgumentError("recipe", expected=_known_steps(), found=text[:80])
    return recipe_from_values(entries)


def recipe_from_values(entries: Sequence[Any]) -> Recipe:
    """The recipe of JSON values, a table a step: its name as ``step``, and its values.

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
        raise ArgumentError("recipe", expected=_known_steps(), found=json.dumps(entry)[:80]) from None


def _known_steps() -> str:
    return f"steps of {', '.join(_STEPS)}"


def recipe_hash(recipe: Recipe) -> str:
    """SHA-256 of the recipe's JSON, as hex."""
    return hashlib.sha256(recipe_to_json(recipe).encode()).hexdigest()


def facts_hash(facts: Any) -> str:
    """SHA-256 of JSON values, however their keys are ordered, as hex."""
    return hashlib.sha256(_canonical(facts).encode()).hexdigest()


def _canonical(facts: Any) -> str:
    return json.dumps(facts, sort_keys=True, separators=(",", ":"))
