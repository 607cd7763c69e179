"""Run recipes: their steps in the order they stand, on one image or one organ's box, for all sizes at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from mmtk.builder.clock import Clock
from mmtk.datasets.base import Cut
from mmtk.datasets.steps import (
    Box,
    CenterCrop,
    DicomWindow,
    HuWindow,
    Percentiles,
    Pipeline,
    Recipe,
    Resize,
    RoundTrip,
    Slice,
    Step,
    Turn,
    Upright,
    Values,
    Zoom,
)
from mmtk.errors import ImageError
from mmtk.imaging import (
    Header,
    ImageFile,
    Volume,
    center_crop,
    cut_plane,
    hu_window,
    percentile_window,
    read_kinds,
    read_values,
    read_volume,
    resize_each,
    round_trip_stack,
    turn_volume,
    zoom,
)
from mmtk.matching import expect_axes

Array = np.ndarray[Any, Any]
_MEASURED = frozenset({Values.name, DicomWindow.name})  # kinds of pixels that are no decoder's grey or colour
Memory = dict[tuple[object, ...], Array]  # what several slices of one box share, by the steps that made it


@dataclass(frozen=True)
class Branch:
    """Sizes whose recipes differ in nothing but the size.

    Attributes
    ----------
    kind : what an image file is decoded to; none of a volume
    head : the steps before the resize
    filter : of the resize
    tail : the steps after it
    sizes : edge lengths in pixels
    """

    kind: Any
    head: Recipe
    filter: str
    tail: Recipe
    sizes: tuple[int, ...]


def branches(recipes: Mapping[int, Recipe]) -> tuple[Branch, ...]:
    """Sort sizes by their recipes."""
    sizes: dict[Recipe, list[int]] = {}
    for size, recipe in recipes.items():
        sizes.setdefault(recipe, []).append(size)
    return tuple(_branch(recipe, tuple(edges)) for recipe, edges in sizes.items())


def _branch(recipe: Recipe, sizes: tuple[int, ...]) -> Branch:
    at = next(number for number, step in enumerate(recipe) if isinstance(step, Resize))
    kind = next(iter(Pipeline(recipe).kinds), None)
    return Branch(kind, recipe[:at], cast(Resize, recipe[at]).filter, recipe[at + 1 :], sizes)


def open_volume(path: ImageFile, pipeline: Pipeline) -> Volume:
    """Read a CT volume, and hold its header against the body where it is to be turned by it.

    Raises
    ------
    ImageError
        If it cannot be read, or the two contradict each other.
    """
    volume = read_volume(path, exact=not pipeline.zooms)
    if pipeline.turns and pipeline.zooms:
        expect_axes(volume, path)
    return volume


def expect_readable(path: ImageFile, pipeline: Pipeline) -> None:
    """Read a file as the recipes have it, for nothing but the error."""
    if pipeline.takes_volumes:
        open_volume(path, pipeline)
    else:
        _decode(path, pipeline.kinds)


def _decode(path: ImageFile, kinds: tuple[Any, ...]) -> list[Array]:
    """An image file as each of some kinds of pixels, which are all grey levels or all measured values."""
    if not _MEASURED.intersection(kinds):
        return read_kinds(path, kinds)
    values = read_values(path)
    return [values.pixels if kind == Values.name else values.grey_by_voi() for kind in kinds]


def make_image(path: ImageFile, planned: Header, ways: Sequence[Branch], clock: Clock) -> dict[int, Array]:
    """An image at every size, up to the resize, from one decode.

    Raises
    ------
    ImageError
        If the file cannot be decoded, or is no longer the one that was planned.
    """
    kinds = tuple(dict.fromkeys(way.kind for way in ways))
    with clock("decode"):
        decoded = dict(zip(kinds, _decode(path, kinds), strict=True))
    height, width = decoded[kinds[0]].shape[:2]
    if (height, width) != (planned.height, planned.width):
        expected = f"{planned.width} x {planned.height} pixels, as planned"
        remedy = "do not change sources while they are built"
        raise ImageError(path, expected=expected, found=f"{width} x {height}", remedy=remedy)
    small: dict[int, Array] = {}
    for way in ways:
        picture = decoded[way.kind]
        for step in way.head[1:]:
            picture = _apply(picture, step)
        if way.kind in _MEASURED and picture.min() == picture.max():
            remedy = "see whether the window fits its values"
            raise ImageError(path, expected="grey levels that differ", found="a single one", remedy=remedy)
        small.update(_resized(picture, way, clock))
    return small


def make_slice(
    volume: Volume, cut: Cut, ways: Sequence[Branch], memory: Memory, clock: Clock, *, keep_blank: bool
) -> dict[int, Array]:
    """A slice of an organ's grid at every size, up to the resize.

    Parameters
    ----------
    volume : Volume
    cut : Cut
    ways : sequence of Branch
    memory : dict
        Of the same box, and of no other; the grids that were made for one slice serve the others.
    clock : Clock
    keep_blank : bool
        Whether a slice of one grey level is an image; else there are no images of it.
    """
    pictures = {head: _slice(volume, cut, head, memory, clock) for head in dict.fromkeys(way.head for way in ways)}
    if not keep_blank and any(picture.min() == picture.max() for picture in pictures.values()):
        return {}
    small: dict[int, Array] = {}
    for way in ways:
        small.update(_resized(pictures[way.head], way, clock))
    return small


def finish(stack: Array, tail: Recipe, clock: Clock) -> None:
    """Run the steps after the resize, in place, on images ``(n, size, size[, 3])``."""
    for step in tail:
        assert isinstance(step, RoundTrip)
        with clock("round trip"):
            round_trip_stack(stack, step.format, step.quality)


def _resized(picture: Array, way: Branch, clock: Clock) -> dict[int, Array]:
    with clock("resize"):
        return dict(zip(way.sizes, resize_each(picture, [(s, s) for s in way.sizes], way.filter), strict=True))


def _slice(volume: Volume, cut: Cut, head: Recipe, memory: Memory, clock: Clock) -> Array:
    at = next(number for number, step in enumerate(head) if isinstance(step, Slice))
    key = (*head[:at], cut.plane if Pipeline(head).measures else None)
    grid = memory.get(key)
    if grid is None:
        grid = volume.voxels.transpose(2, 1, 0)
        for step in head[:at]:
            match step:
                case Turn():
                    grid = turn_volume(volume)
                case Box():
                    grid = _box(grid, cut)
                case Zoom():
                    with clock("zoom"):
                        grid = zoom(_box(grid, cut), _extents(step, cut, volume), step.border)
                case _:
                    with clock("window"):
                        grid = _apply(grid, step)
        memory[key] = grid
    picture = cut_plane(grid, cut.plane, cut.slice)
    for step in head[at + 1 :]:
        picture = _apply(picture, step)
    return picture


def _apply(picture: Array, step: Step) -> Array:
    match step:
        case Percentiles(low, high):
            return percentile_window(picture, low, high)
        case CenterCrop():
            return center_crop(picture)
        case Upright(plane):
            return picture.T if plane == "axial" else picture.T[::-1]
        case HuWindow(level, width, rounding):
            return hu_window(picture, level, width, rounding)
        case _:
            raise AssertionError(step)  # a checked recipe has none here


def _box(volume: Array, cut: Cut) -> Array:
    x, y, z = (slice(cut.box[2 * axis], cut.box[2 * axis + 1]) for axis in range(3))
    return volume[x, y, z]


def _extents(step: Zoom, cut: Cut, volume: Volume) -> tuple[int, int, int]:
    """The grid's; by the header's voxel size the plane's alone, since the slices of a dataset do not depend on it."""
    if step.spacing is not None:
        return step.extents(cut.box)
    x, y, z = (
        assumed if axis == cut.across else true
        for axis, (assumed, true) in enumerate(zip(cut.extents, step.extents(cut.box, volume.spacing), strict=True))
    )
    return x, y, z
