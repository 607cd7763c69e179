"""Run recipes: their steps in order, on an image or an organ's box, for all sizes at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from mmtk.builder.clock import Clock
from mmtk.datasets.base import Cut
from mmtk.datasets.pipelines import Pipeline
from mmtk.datasets.steps import (
    Box,
    CenterCrop,
    DicomWindow,
    HuWindow,
    Percentiles,
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
_MEASURED = frozenset({Values.name, DicomWindow.name})  # pixels that are not a decoder's grey or colour
GridCache = dict[tuple[object, ...], Array]  # grids shared by the slices of a box, by the steps that made them


@dataclass(frozen=True)
class Branch:
    """Sizes whose recipes are otherwise equal.

    Attributes
    ----------
    kind : pixels that an image file is decoded to; None for a volume
    head : the steps before the resize
    filter : filter of the resize
    tail : the steps after it
    sizes : edge lengths in pixels
    """

    kind: Any
    head: Recipe
    filter: str
    tail: Recipe
    sizes: tuple[int, ...]


def branches(recipes: Mapping[int, Recipe]) -> tuple[Branch, ...]:
    """Group sizes by recipe."""
    sizes: dict[Recipe, list[int]] = {}
    for size, recipe in recipes.items():
        sizes.setdefault(recipe, []).append(size)
    return tuple(_branch(recipe, tuple(edges)) for recipe, edges in sizes.items())


def _branch(recipe: Recipe, sizes: tuple[int, ...]) -> Branch:
    at = next(number for number, step in enumerate(recipe) if isinstance(step, Resize))
    kind = next(iter(Pipeline(recipe).kinds), None)
    return Branch(kind, recipe[:at], cast(Resize, recipe[at]).filter, recipe[at + 1 :], sizes)


def open_volume(path: ImageFile, pipeline: Pipeline) -> Volume:
    """Read a CT volume; if it is to be oriented by its header, check the header against the body in it.

    Raises
    ------
    ImageError
        If it cannot be read, or header and body contradict each other.
    """
    volume = read_volume(path, exact=not pipeline.zooms)
    if pipeline.turns and pipeline.zooms:
        expect_axes(volume, path)
    return volume


def expect_readable(path: ImageFile, pipeline: Pipeline) -> None:
    """Read a file as the recipes do, only to raise its error."""
    if pipeline.takes_volumes:
        open_volume(path, pipeline)
    else:
        _decode(path, pipeline.kinds)


def _decode(path: ImageFile, kinds: tuple[Any, ...]) -> list[Array]:
    """An image file decoded to several kinds of pixels, which are either all grey levels or all measured values."""
    if not _MEASURED.intersection(kinds):
        return read_kinds(path, kinds)
    values = read_values(path)
    return [values.pixels if kind == Values.name else values.grey_by_voi() for kind in kinds]


def make_image(path: ImageFile, planned: Header, branches: Sequence[Branch], clock: Clock) -> dict[int, Array]:
    """An image at every size, up to the resize, from one decode.

    Raises
    ------
    ImageError
        If the file cannot be decoded, or has changed since it was planned.
    """
    kinds = tuple(dict.fromkeys(branch.kind for branch in branches))
    with clock("decode"):
        decoded = dict(zip(kinds, _decode(path, kinds), strict=True))
    height, width = decoded[kinds[0]].shape[:2]
    if (height, width) != (planned.height, planned.width):
        expected, actual = f"{planned.width} x {planned.height} px", f"{width} x {height} px"
        remedy = "do not change sources during a build"
        raise ImageError(path, "changed since it was planned", expected=expected, found=actual, remedy=remedy)
    small: dict[int, Array] = {}
    for branch in branches:
        picture = decoded[branch.kind]
        for step in branch.head[1:]:
            picture = _apply(picture, step)
        if branch.kind in _MEASURED and picture.min() == picture.max():
            remedy = "check whether the window fits its values"
            raise ImageError(path, "has a single grey level after windowing", remedy=remedy)
        small.update(_resized(picture, branch, clock))
    return small


def make_slice(
    volume: Volume, cut: Cut, branches: Sequence[Branch], cache: GridCache, clock: Clock, *, keep_blank: bool
) -> dict[int, Array]:
    """A slice of an organ's grid at every size, up to the resize.

    Parameters
    ----------
    volume : Volume
    cut : Cut
    branches : sequence of Branch
    cache : dict
        Grids of this box; those made for one slice are reused for the others.
    clock : Clock
    keep_blank : bool
        Whether a slice with a single grey level is an image; if not, the result is empty.
    """
    heads = dict.fromkeys(branch.head for branch in branches)
    pictures = {head: _slice(volume, cut, head, cache, clock) for head in heads}
    if not keep_blank and any(picture.min() == picture.max() for picture in pictures.values()):
        return {}
    small: dict[int, Array] = {}
    for branch in branches:
        small.update(_resized(pictures[branch.head], branch, clock))
    return small


def finish(stack: Array, tail: Recipe, clock: Clock) -> None:
    """Run the steps after the resize, in place, on images ``(n, size, size[, 3])``."""
    for step in tail:
        assert isinstance(step, RoundTrip)
        with clock("round trip"):
            round_trip_stack(stack, step.format, step.quality)


def _resized(picture: Array, branch: Branch, clock: Clock) -> dict[int, Array]:
    with clock("resize"):
        return dict(zip(branch.sizes, resize_each(picture, [(s, s) for s in branch.sizes], branch.filter), strict=True))


def _slice(volume: Volume, cut: Cut, head: Recipe, cache: GridCache, clock: Clock) -> Array:
    at = next(number for number, step in enumerate(head) if isinstance(step, Slice))
    key = (*head[:at], cut.plane if Pipeline(head).measures else None)
    grid = cache.get(key)
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
        cache[key] = grid
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
            raise AssertionError(step)  # a valid recipe has no other step here


def _box(volume: Array, cut: Cut) -> Array:
    x, y, z = (slice(cut.box[2 * axis], cut.box[2 * axis + 1]) for axis in range(3))
    return volume[x, y, z]


def _extents(step: Zoom, cut: Cut, volume: Volume) -> tuple[int, int, int]:
    """Extents of the grid; the header's voxel size affects only the plane, since a dataset's slices are fixed."""
    if step.spacing is not None:
        return step.extents(cut.box)
    x, y, z = (
        assumed if axis == cut.across else true
        for axis, (assumed, true) in enumerate(zip(cut.extents, step.extents(cut.box, volume.spacing), strict=True))
    )
    return x, y, z
