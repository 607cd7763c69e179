"""Find the slices of volumes: those of organs in a mask, or of whole volumes, with voxel sizes from the headers."""

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

_LEAST = 4  # smallest extent of an organ along each axis of a plane, in voxels
_SAME = 1e-3  # tolerated relative difference between voxel sizes of mask and image
# Tolerated distance between mask and image in voxels. For 512 x 512 x 400 voxels, positions rounded to 0.1 mm and
# directions to four digits give 0.12, NIfTI's float32 0.001; confusing corner and centre of a voxel gives a half.
_BESIDE = 0.25
_TILTED = 0.5  # tolerated distance between corners in voxels; beyond it the nearest voxel changes
_RESAMPLE = "resample one to the other"


class _Source(NamedTuple):
    """A volume: its file, subject, split if given by the source, pattern fields, and the labels of all its slices."""

    file: str
    subject: str
    part: str
    values: dict[str, str]
    labels: tuple[int, ...] | None


@dataclass(frozen=True)
class VolumeScan:
    """Scans for the slices of volumes, which are given by a table, by their paths or by ``volumes.image``.

    Attributes
    ----------
    volumes : Volumes
    organs : tuple of tuple of int
        The mask values of each class; empty if whole volumes have a class.
    files : callable or None
        Scans a listing for the volumes, if they are not given by ``volumes.image``.
    """

    volumes: Volumes
    organs: tuple[tuple[int, ...], ...]
    files: Callable[[Listing], Scan] | None

    def __call__(self, listing: Listing) -> Scan:
        """Return records sorted by volume, class and slice. The header and mask of every volume are read.

        Volumes that cannot be read, lack a required header field, or do not match their mask are returned as bad.

        Raises
        ------
        SourceError
            If there are no volumes, or a volume has no mask.
        """
        sources, findings = self._sources(listing)
        mask = self.volumes.mask
        end = "/" if mask.endswith("/") else ""  # for folders
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
        """The slices of a volume, and findings for organs that are too small."""
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
            sources = [_Source(r.file, r.subject or r.file, r.part, {}, r.labels) for r in scan.records]
            return sources, list(scan.findings)
        sources = []
        for match in matches(self.volumes.image, listing.names):
            subject, part = subject_and_part(listing, match, self.volumes.subject)
            sources.append(_Source(match.name, subject or match.name, part, match.values, None))
        if not sources:
            problem = f"contains no volumes that match {self.volumes.image}"
            raise SourceError(listing.root, problem, remedy="correct volumes.image")
        return sources, []

    def _grid(self, path: ImageFile, header: VolumeHeader) -> Grid:
        """The grid that boxes refer to."""
        if self.volumes.orientation == "file":
            return header.grid
        if not header.axes:
            remedy = 'correct its header, or set volumes.orientation = "file"'
            raise ImageError(path, "does not give the anatomical axes in its header", remedy=remedy)
        return header.turned_grid

    def _boxes(
        self, listing: Listing, masks: list[str], source: _Source, grid: Grid
    ) -> Iterator[tuple[tuple[int, ...], str, Box]]:
        """Labels, name and box of each region of a volume."""
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
            raise ImageError(
                path, f"does not have the grid of {source.file}", found=_voxels(own), expected=_voxels(grid),
                remedy=_RESAMPLE,
            )
        _expect_place(path, own, source.file, grid)
        for number, (name, box) in enumerate(zip(self.volumes.organs, boxes, strict=True)):
            if box is not None:
                yield (number,), name, box

    def _mask(self, listing: Listing, names: list[str], source: _Source) -> str:
        masks = [match.name for match in matches(self.volumes.mask, names, source.values)]
        beside = [name for name in masks if name.rpartition("/")[0] == source.file.rpartition("/")[0]]
        masks = beside if len(masks) > 1 else masks
        if len(masks) != 1:
            problem = f"contains no mask of {source.file} that matches {self.volumes.mask}"
            if masks:
                problem = f"contains several masks of {source.file}: {', '.join(masks[:3])}"
            remedy = "correct volumes.mask, and use {subject} in both image and mask"
            raise SourceError(listing.root, problem, remedy=remedy)
        return masks[0]

    def _region(self, path: ImageFile, box: Box, shape: tuple[int, int, int], spacing: tuple[float, ...]) -> Box:
        """The box that a slice shows: that of an organ, a square in mm around it, or the whole plane."""
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
            remedy = 'correct its header, or set volumes.crop = "none"'
            raise ImageError(path, "has no voxel size in its header", remedy=remedy)
        lengths = [(bounds[2 * axis + 1] - bounds[2 * axis]) * spacing[axis] for axis in plane]
        side = max(lengths) if crop == "square" else min(shape[axis] * spacing[axis] for axis in plane)
        for axis in plane:
            voxels = min(shape[axis], max(1, round(side / spacing[axis])))
            middle = bounds[2 * axis] + bounds[2 * axis + 1] if crop == "square" else shape[axis]
            start = min(max(0, (middle - voxels) // 2), shape[axis] - voxels)
            bounds[2 * axis : 2 * axis + 2] = start, start + voxels
        return _box(bounds)

    def _slices(self, path: ImageFile, box: Box, spacing: tuple[float, ...]) -> Iterator[int]:
        """The slices that become images: from the middle part of an organ, without repetition."""
        low, high = self.volumes.keep or ((0.2, 0.8) if self.organs else (0.0, 1.0))
        start, last = box[2 * self._across], box[2 * self._across + 1] - 1
        step = 1.0
        if self.volumes.spacing:
            if not spacing[self._across]:
                remedy = "correct its header, or leave volumes.spacing out"
                raise ImageError(path, "has no voxel size in its header", remedy=remedy)
            step = max(1.0, self.volumes.spacing / spacing[self._across])
        first, end = start + low * (last - start), start + high * (last - start)
        places = np.arange(math.ceil(first - _SAME), end + _SAME, step)
        return iter(np.floor(places + 0.5).astype(int).tolist())


@lru_cache(maxsize=4096)
def _organ_boxes(
    path: ImageFile, stamp: tuple[int, int], organs: tuple[tuple[int, ...], ...], turned: bool
) -> tuple[list[Box | None], str, Grid]:
    """The box of each organ in a mask, and the mask's axes and grid; `stamp` is different for a changed file."""
    mask = read_mask(path)
    boxes = boxes_of(mask.voxels, organs)
    if not (turned and mask.axes):
        return boxes, mask.axes, mask.grid
    return [box and turn_box(mask, box) for box in boxes], mask.axes, mask.turned_grid


def _expect_place(path: ImageFile, grid: Grid, image: str, wanted: Grid) -> None:
    """A mask must have the position and orientation of its image, as far as both headers give them."""
    beside, tilted = voxels_apart(grid, wanted)
    if beside > _BESIDE:
        origin, expected = f"first voxel at {_point(grid)}", _point(wanted)
        raise ImageError(path, f"is not aligned with {image}", found=origin, expected=expected, remedy=_RESAMPLE)
    if tilted > _TILTED:
        problem = f"is rotated against {image}: their corners are {tilted:.1f} voxels apart"
        raise ImageError(path, problem, remedy=_RESAMPLE)


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
    """A file's path without the suffix of its format."""
    name = file.removesuffix(".gz")
    stem, dot, ending = name.rpartition(".")
    return stem if dot and ending.lower() in ("nii", "nrrd", "nhdr", "mha", "mhd", "dcm") else file
