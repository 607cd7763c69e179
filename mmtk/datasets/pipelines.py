"""Recipes as pipelines: what they require of a source's files, and whether they can be run."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from typing import Any

from mmtk.datasets.steps import (
    COLOUR_ROW,
    FILE,
    GREY_ROW,
    VOLUME,
    CenterCrop,
    DicomWindow,
    Grey,
    HuWindow,
    Percentiles,
    Recipe,
    RoundTrip,
    Slice,
    Step,
    Turn,
    Values,
    Zoom,
)
from mmtk.errors import ArgumentError


@dataclass(frozen=True)
class Pipeline:
    """What the steps of one or more recipes require of a source's files, and what they produce."""

    steps: Collection[Step]

    @property
    def takes_volumes(self) -> bool:
        """Whether images are slices of CT volumes; otherwise each image is a file."""
        return any(VOLUME in step.flow for step in self.steps)

    @property
    def turns(self) -> bool:
        """Whether volumes are reoriented by the axes in their headers."""
        return any(isinstance(step, Turn) for step in self.steps)

    @property
    def measures(self) -> bool:
        """Whether volumes are resampled by the voxel size in their headers."""
        return any(isinstance(step, Zoom) and step.spacing is None for step in self.steps)

    @property
    def zooms(self) -> bool:
        """Whether volumes are resampled, with boxes that refer to the patient's axes."""
        return any(isinstance(step, Zoom) for step in self.steps)

    @property
    def slices(self) -> tuple[Slice, ...]:
        """The steps that say which slices of a grid become images."""
        return tuple(step for step in self.steps if isinstance(step, Slice))

    @property
    def kinds(self) -> tuple[Any, ...]:
        """What image files are decoded to: a kind of `mmtk.imaging.read_kinds`, "values" or "dicom_window"."""
        first = (step for step in self.steps if FILE in step.flow)
        return tuple(dict.fromkeys(s.luma if isinstance(s, Grey) else s.name for s in first))

    @property
    def measured(self) -> bool:
        """Whether image files may have more than 256 values."""
        return any(isinstance(step, Values | DicomWindow) for step in self.steps)

    @property
    def crops(self) -> bool:
        """Whether images show only the centre square of their files."""
        return any(isinstance(step, CenterCrop) for step in self.steps)

    @property
    def round_trips(self) -> bool:
        """Whether resized images go through JPEG."""
        return any(isinstance(step, RoundTrip) for step in self.steps)


def without_flaws(recipe: Recipe) -> Recipe:
    """Remove the mistakes of an official recipe.

    There is no JPEG round trip, volumes are reoriented by their headers and resampled with their true voxel sizes, and
    the last row of a grid is never 0 HU.

    Examples
    --------
    >>> from mmtk.datasets.pipelines import without_flaws
    >>> from mmtk.datasets.steps import Grey, Resize, RoundTrip
    >>> [step.name for step in without_flaws((Grey(), Resize(), RoundTrip()))]
    ['grey', 'resize']
    """
    kept = (replace(s, spacing=None, border="edge") if isinstance(s, Zoom) else s
            for s in recipe if not isinstance(s, RoundTrip | Turn))
    turned = (Turn(),) if Pipeline(recipe).takes_volumes else ()
    return (*turned, *kept)


def check_recipe(what: str, recipe: Recipe, channels: int) -> None:
    """Refuse a recipe that cannot be run.

    Parameters
    ----------
    what : str
        The dataset, for the error message.
    recipe : Recipe
    channels : int
        1 for grey images, 3 for colour.

    Raises
    ------
    ArgumentError
        If a step cannot use the output of the one before it, a step has an invalid value, or the last step does not
        produce images with the store's size and channels.
    """
    flowing = VOLUME if Pipeline(recipe[:1]).takes_volumes else FILE
    for step in recipe:
        if flowing not in step.flow:
            problem = f"step {step.name} gets {flowing}, but needs {' or '.join(step.flow)}"
            raise ArgumentError(f"recipe of {what}", problem)
        flowing = step.flow[flowing]
        for field, known in step.choices.items():
            if (value := getattr(step, field)) not in known:
                actual = f"{field} {value!r} in step {step.name}"
                raise ArgumentError(f"recipe of {what}", found=actual, expected=f"one of {', '.join(known)}")
        _check_numbers(what, step)
    wanted = GREY_ROW if channels == 1 else COLOUR_ROW
    if flowing != wanted:
        raise ArgumentError(f"recipe of {what}", f"ends with {flowing} instead of {wanted}")


def _check_numbers(what: str, step: Step) -> None:
    expected = ""
    match step:
        case RoundTrip(quality=quality) if not (isinstance(quality, int) and 1 <= quality <= 100):
            expected = "a JPEG quality of 1 to 100"
        case HuWindow(width=width) if not width > 0:
            expected = "a window wider than 0"
        case Percentiles(low=low, high=high) if not 0 <= low < high <= 100:
            expected = "two percentiles from 0 to 100, the lower first"
        case Slice(every=every) if not (isinstance(every, int) and every >= 1):
            expected = "an integer of at least 1 for every"
        case Zoom(spacing=spacing, to=to) if not all(size > 0 for size in (*(spacing or ()), *to)):
            expected = "spacings above 0 mm"
        case _:
            pass
    if expected:
        values = ", ".join(f"{name} {value}" for name, value in asdict(step).items())
        raise ArgumentError(f"recipe of {what}", found=f"{values} in step {step.name}", expected=expected)
