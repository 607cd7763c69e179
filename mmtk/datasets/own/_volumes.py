"""Slices of volumes: where an organ of a mask lies, or across a whole volume, in the voxels that a header measures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmtk.datasets.base import Box, Cut, Finding, Record, Scan
from mmtk.datasets.listing import Listing
from mmtk.datasets.own._files import subject_and_part
from mmtk.datasets.own._schema import Volumes
from mmtk.datasets.own._templates import matches
from mmtk.errors import ImageError, SourceError
from mmtk.imaging import (
    PLANES,
    Grid,
    ImageFile,
    VolumeHeader,
    boxes_of,
    probe_volume,
    read_mask,
    turn_box,
    voxels_apart,
)

_LEAST = 4  # voxels of an organ along each axis of a plane: what is smaller shows nothing
_SAME = 1e-3  # of a voxel, by which a mask's may differ from its image's
# Voxels by which a mask may lie beside its image. Of 512 x 512 x 400 voxels, positions rounded to 0.1 mm and directions
# to four digits come to 0.12, NIfTI's float32 to 0.001; half a voxel is a corner taken for the centre.
_BESIDE = 0.25
_TILTED = 0.5  # voxels between their corners, from which on the nearest voxel is another one
_RESAMPLE = "resample one to the other"


class _Source(NamedTuple):
    """A volume: its file, the subject, the split that the source gives, and the labels of all of its slices."""

    file: str
    subject: str
    part: str
    values: dict[str, str]
    labels: tuple[int, ...] | None


@dataclass(frozen=True)
class VolumeScan:
    """The slices of volumes, which a table, their paths or ``volumes.image`` name.

    Attributes
    ----------
    volumes : Volumes
    organs : tuple of tuple of int
        The values of each class in a mask; empty where the volumes have classes themselves.
    files : callable or None
        Scans a listing for the volumes, where that is not said by ``volumes.image``.
    """

    volumes: Volumes
    organs: tuple[tuple[int, ...], ...]
    files: Callable[[Listing], Scan] | None

    def __call__(self, listing: Listing) -> Scan:
        """Records volume by volume, class by class, slice by slice. Every volume's header and mask is read.

        Volumes that cannot be read, lack in their header what is asked of it or do not fit their mask, are bad.

        Raises
        ------
        SourceError
            If there are no volumes, or one has no mask.
        """
        sources, findings = self._sources(listing)
        mask = self.volumes.mask
        end = "/" if mask.endswith("/") else ""  # of folders
        masks = [f"{match.name}{end}" for match in matches(mask, listing.names)] if self.organs else []
        records: list[Record] = []
        bad: list[tuple[str, ImageError]] = []
        for source in sources:
            try:
                slices, small = self._records(listing, masks, source)
            except ImageError as error:
                bad.append((source.file, error))
            else:
                records += slices
                findings += small
        return Scan(tuple(records), tuple(findings), tuple(bad))

    def _records(
        self, listing: Listing, masks: list[str], source: _Source
    ) -> tuple[list[Record], list[Finding]]:
        """The slices of a volume, and what is too small in it."""
        records, findings = list[Record](), list[Finding]()
        path = listing.path(source.file)
        header = probe_volume(path)
        grid = self._grid(path, header)
        shape, spacing = grid.shape, grid.spacing
        for labels, name, box in self._boxes(listing, masks, source, grid):
            sides = [box[2 * i + 1] - box[2 * i] for i in range(3) if i != self._across]
            if min(sides) < _LEAST:
                shown = f"{name or source.file}: {sides[0]} x {sides[1]} voxels"
                findings.append(Finding("left out", f"{source.file} {shown}", "too small to show anything"))
                continue
            region = self._region(path, box, shape, spacing)
            for index in self._slices(path, box, spacing):
                cut = Cut(self.volumes.plane, index - region[2 * self._across], region, _extents(region))
                place = "-".join(filter(None, (_stem(source.file), name, self.volumes.plane, f"{index:04d}")))
                records.append(Record(place, source.file, labels, source.subject, source.part, cut))
        return records, findings

    @property
    def _across(self) -> int:
        return PLANES[self.volumes.plane]

    def _sources(self, listing: Listing) -> tuple[list[_Source], list[Finding]]:
        if self.files is not None:
            scan = self.files(listing)
            found = [_Source(r.file, r.subject or r.file, r.part, {}, r.labels) for r in scan.records]
            return found, list(scan.findings)
        found = []
        for match in matches(self.volumes.image, listing.names):
            subject, part = subject_and_part(listing, match, self.volumes.subject)
            found.append(_Source(match.name, subject or match.name, part, match.values, None))
        if not found:
            expected = f"volumes that fit {self.volumes.image}"
            raise SourceError(listing.root, expected=expected, found="none", remedy="mend volumes.image")
        return found, []

    def _grid(self, path: ImageFile, header: VolumeHeader) -> Grid:
        """Along the axes that boxes count."""
        if self.volumes.orientation == "file":
            return header.grid
        if not header.axes:
            remedy = 'mend it, or set volumes.orientation = "file"'
            raise ImageError(path, expected="a header that tells its axes", found="one that does not", remedy=remedy)
        return header.turned_grid

    def _boxes(
        self, listing: Listing, masks: list[str], source: _Source, grid: Grid
    ) -> Iterator[tuple[tuple[int, ...], str, Box]]:
        """Labels, name and box of what is cut from a volume."""
        if not self.organs:
            assert source.labels is not None
            yield source.labels, "", (0, grid.shape[0], 0, grid.shape[1], 0, grid.shape[2])
            return
        path = listing.path(self._mask(listing, masks, source))
        turned = self.volumes.orientation == "patient"
        stamp = (path.stat().st_mtime_ns, path.stat().st_size) if isinstance(path, Path) else (0, 0)
        boxes, axes, own = _organ_boxes(path, stamp, self.organs, turned)
        same = all(abs(a - b) <= _SAME * max(a, b) for a, b in zip(own.spacing, grid.spacing, strict=True))
        if own.shape != grid.shape or not same or (turned and not axes):
            expected = f"the grid of {source.file}, {_voxels(grid)}"
            raise ImageError(path, expected=expected, found=_voxels(own), remedy=_RESAMPLE)
        _expect_place(path, own, source.file, grid)
        for number, (name, box) in enumerate(zip(self.volumes.organs, boxes, strict=True)):
            if box is not None:
                yield (number,), name, box

    def _mask(self, listing: Listing, names: list[str], source: _Source) -> str:
        masks = [match.name for match in matches(self.volumes.mask, names, source.values)]
        beside = [name for name in masks if name.rpartition("/")[0] == source.file.rpartition("/")[0]]
        masks = beside if len(masks) > 1 else masks
        if len(masks) != 1:
            found = ", ".join(masks[:3]) or "none"
            remedy = "mend volumes.mask; {subject} in image and mask joins them"
            expected = f"one mask of {source.file} that fits {self.volumes.mask}"
            raise SourceError(listing.root, expected=expected, found=found, remedy=remedy)
        return masks[0]

    def _region(self, path: ImageFile, box: Box, shape: tuple[int, int, int], spacing: tuple[float, ...]) -> Box:
        """The box that a slice shows: an organ's, a square in mm around it, or all of the plane."""
        crop = self.volumes.crop or ("box" if self.organs else "centre")
        if crop == "box":
            return box
        bounds = list(box)
        plane = [axis for axis in range(3) if axis != self._across]
        if crop == "none":
            for axis in plane:
                bounds[2 * axis : 2 * axis + 2] = 0, shape[axis]
            return _box(bounds)
        if not all(spacing):
            remedy = 'mend its header, or set volumes.crop = "none"'
            raise ImageError(path, expected="the size of a voxel in its header", found="none", remedy=remedy)
        lengths = [(bounds[2 * axis + 1] - bounds[2 * axis]) * spacing[axis] for axis in plane]
        side = max(lengths) if crop == "square" else min(shape[axis] * spacing[axis] for axis in plane)
        for axis in plane:
            voxels = min(shape[axis], max(1, round(side / spacing[axis])))
            middle = bounds[2 * axis] + bounds[2 * axis + 1] if crop == "square" else shape[axis]
            start = min(max(0, (middle - voxels) // 2), shape[axis] - voxels)
            bounds[2 * axis : 2 * axis + 2] = start, start + voxels
        return _box(bounds)

    def _slices(self, path: ImageFile, box: Box, spacing: tuple[float, ...]) -> Iterator[int]:
        """The slices that are images: of the middle part of an organ, each a slice of the volume, none twice."""
        low, high = self.volumes.keep or ((0.2, 0.8) if self.organs else (0.0, 1.0))
        start, last = box[2 * self._across], box[2 * self._across + 1] - 1
        step = 1.0
        if self.volumes.spacing:
            if not spacing[self._across]:
                remedy = "mend its header, or leave volumes.spacing out"
                raise ImageError(path, expected="the size of a voxel in its header", found="none", remedy=remedy)
            step = max(1.0, self.volumes.spacing / spacing[self._across])
        first, end = start + low * (last - start), start + high * (last - start)
        places = np.arange(math.ceil(first - _SAME), end + _SAME, step)
        return iter(np.floor(places + 0.5).astype(int).tolist())


@lru_cache(maxsize=4096)
def _organ_boxes(
    path: ImageFile, stamp: tuple[int, int], organs: tuple[tuple[int, ...], ...], turned: bool
) -> tuple[list[Box | None], str, Grid]:
    """The box of each organ in a mask, and the mask's axes and grid; `stamp` tells a changed file."""
    mask = read_mask(path)
    boxes = boxes_of(mask.voxels, organs)
    if not (turned and mask.axes):
        return boxes, mask.axes, mask.grid
    return [box and turn_box(mask, box) for box in boxes], mask.axes, mask.turned_grid


def _expect_place(path: ImageFile, grid: Grid, image: str, wanted: Grid) -> None:
    """A mask must lie where its image does, as far as both say."""
    beside, tilted = voxels_apart(grid, wanted)
    if beside > _BESIDE:
        expected = f"the place of {image}, first voxel at {_point(wanted)}"
        raise ImageError(path, expected=expected, found=_point(grid), remedy=_RESAMPLE)
    if tilted > _TILTED:
        expected = f"axes that run as those of {image}"
        raise ImageError(path, expected=expected, found=f"{tilted:.1f} voxels between corners", remedy=_RESAMPLE)


def _box(bounds: list[int]) -> Box:
    xmin, xmax, ymin, ymax, zmin, zmax = bounds
    return xmin, xmax, ymin, ymax, zmin, zmax


def _extents(box: Box) -> tuple[int, int, int]:
    return box[1] - box[0], box[3] - box[2], box[5] - box[4]


def _voxels(grid: Grid) -> str:
    sizes = " x ".join(f"{size:g}" for size in grid.spacing)
    return f"{' x '.join(map(str, grid.shape))} voxels of {sizes} mm"


def _point(grid: Grid) -> str:
    return f"({', '.join(f'{round(at, 3):g}' for at in grid.origin or ())}) mm"


def _stem(file: str) -> str:
    """A file's path without the ending of its format."""
    name = file.removesuffix(".gz")
    stem, dot, ending = name.rpartition(".")
    return stem if dot and ending.lower() in ("nii", "nrrd", "nhdr", "mha", "mhd", "dcm") else file
