"""Check CT volumes against their organ boxes, using the axes in headers, an organ's mask, and the spine at the back."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk.base import Progress
from mmtk.datasets.base import Box, Cut, Dataset
from mmtk.datasets.listing import Listing
from mmtk.errors import ImageError
from mmtk.imaging import ImageFile, Volume, read_volume, turn_volume

_BODY, _BONE = -300, 200  # lower limits in Hounsfield units
_EVERY = 4  # voxels: subsampling of a volume
_SURE = 0.05  # smallest significant offset of the spine, as a fraction of the body's depth
_LEAST = 50  # smallest number of voxels of bone


@dataclass(frozen=True)
class VolumeAxes:
    """The orientation of a volume relative to its boxes.

    Attributes
    ----------
    file : str
        The volume's name in its listing.
    images : dict of str to int
        Number of images cut from it, by split.
    reversed : tuple of str
        Axes that are reversed relative to the boxes according to the header; empty if none, or if unknown.
    has_axes : bool
        Whether the header gives the axes.
    spine : float
        Distance of the spine behind the middle of the body, as a fraction of the body's depth, in the stored array;
        negative if it is in front of the middle, 0 if there is no bone.
    mask : float or None
        Fraction of an organ's box along y that its mask covers in the stored array, minus the fraction with y reversed;
        None if there is no mask.
    organ : str
        The organ of the mask.

    Examples
    --------
    >>> from mmtk.matching import VolumeAxes
    >>> volume = VolumeAxes("volume-44.nii", {"train": 127}, ("y",), has_axes=True, spine=-0.21)
    >>> volume.misplaced
    True
    """

    file: str
    images: dict[str, int]
    reversed: tuple[str, ...]
    has_axes: bool
    spine: float
    mask: float | None = None
    organ: str = ""

    @property
    def count(self) -> int:
        """Total number of images cut from it."""
        return sum(self.images.values())

    def facts(self) -> dict[str, Any]:
        """All facts as JSON values."""
        return {
            "file": self.file, "images": self.images, "reversed": self.reversed, "told": self.has_axes,
            "spine": round(self.spine, 4), "mask": self.mask, "elsewhere": self.misplaced,
            "contradiction": self.contradiction,
        }

    @property
    def fits(self) -> float:
        """Above 0 if mask or spine match the stored array, below 0 if they match it with y reversed, 0 if undecided."""
        return next((value for value in (self.mask or 0.0, self.spine) if abs(value) >= _SURE), 0.0)

    @property
    def misplaced(self) -> bool:
        """Whether crops of the stored array show a region other than their label, by mask or spine, else by header."""
        return self.fits < 0 or (self.fits == 0 and bool(self.reversed))

    @property
    def contradiction(self) -> bool:
        """Whether mask or spine contradict the header."""
        return self.has_axes and self.fits != 0 and (self.fits < 0) != ("y" in self.reversed)

    def __str__(self) -> str:
        axes = f"{' and '.join(self.reversed)} reversed" if self.reversed else "same" if self.has_axes else "unknown"
        evidence = []
        if self.mask is not None and abs(self.mask) >= _SURE:
            better = "as stored" if self.mask > 0 else "with y reversed"
            evidence.append(f"the mask covers {abs(self.mask):.2f} more of the {self.organ}'s box {better}")
        if abs(self.spine) >= _SURE:
            side = "behind" if self.spine > 0 else "in front of"
            evidence.append(f"the spine is {abs(self.spine):.2f} of the body's depth {side} its middle")
        if self.fits:
            evidence.append(f"so the array matches {'as stored' if self.fits > 0 else 'with y reversed'}")
        return f"header axes relative to the boxes: {axes}; {', '.join(evidence) or 'no spine to decide by'}"


def reversed_axes(signs: tuple[int, int, int]) -> tuple[str, ...]:
    """Return the axes that are reversed relative to the boxes, which run to the left, to the back and to the head.

    Parameters
    ----------
    signs : (sx, sy, sz)
        See `mmtk.imaging.VolumeHeader`.

    Returns
    -------
    tuple of {"x", "y", "z"}

    Examples
    --------
    >>> from mmtk.matching import reversed_axes
    >>> reversed_axes((-1, 1, 1))
    ('y',)
    """
    return tuple(axis for axis, sign, wanted in zip("xyz", signs, (-1, -1, 1), strict=True) if sign == -wanted)


def spine_offset(voxels: NDArray[Any]) -> float:
    """Distance of bone in the middle third of the body behind its middle, as a fraction of its depth.

    Parameters
    ----------
    voxels : ndarray of int16, shape (x, y, z)
        Hounsfield units; y is assumed to run to the back.

    Returns
    -------
    float
        0 if there is no body or hardly any bone.
    """
    few = voxels[::_EVERY, ::_EVERY, ::_EVERY]
    body = few > _BODY
    if body.sum() < _LEAST:
        return 0.0
    (left, right), (front, back) = (_ends(body.sum(axis=axes)) for axes in ((1, 2), (0, 2)))
    third = (right - left) // 3
    bone = (few[left + third : right - third] > _BONE).sum(axis=(0, 2))
    if bone.sum() < _LEAST or front == back:
        return 0.0
    return float((np.average(np.arange(len(bone)), weights=bone) - (front + back) / 2) / (back - front))


def _ends(counts: NDArray[np.int64]) -> tuple[int, int]:
    """The extent of a body without the outer 1 % at either side, which may be the table or tubes."""
    part = np.cumsum(counts) / counts.sum()
    return int(np.searchsorted(part, 0.01)), int(np.searchsorted(part, 0.99))


def expect_axes(volume: Volume, path: ImageFile) -> None:
    """Refuse a volume whose header contradicts the position of the spine.

    Raises
    ------
    ImageError
        If the spine is at the front once the volume is reoriented.
    """
    spine = spine_offset(turn_volume(volume))
    if spine <= -_SURE:
        stored = spine_offset(volume.voxels.transpose(2, 1, 0))
        better = "as stored" if stored > 0 else "with y reversed"
        problem = f"has wrong axes in its header: they put the spine at the front; its array matches {better}"
        raise ImageError(path, problem, remedy="correct its header, or build with official pixels, which ignore it")


def audit_axes(dataset: Dataset, listing: Listing, progress: Progress | None = None) -> tuple[VolumeAxes, ...]:
    """Compare the orientation of each volume of a source with its boxes.

    Parameters
    ----------
    dataset : Dataset
        A dataset cut from CT volumes.
    listing : Listing
    progress : callable, optional
        Called with the number of volumes examined and their total.

    Returns
    -------
    tuple of VolumeAxes

    Raises
    ------
    SourceError
        If the listing contains no volumes, or a volume cannot be read.

    Examples
    --------
    >>> import mmtk
    >>> from mmtk.datasets.listing import open_listing
    >>> from mmtk.matching import audit_axes
    >>> try:
    ...     audit_axes(mmtk.get_dataset("organamnist"), open_listing("stores"))
    ... except mmtk.MmtkError as error:
    ...     print(type(error).__name__)
    SourceError
    """
    images: dict[str, Counter[str]] = {}
    masked: dict[str, tuple[str, Cut]] = {}
    for record in dataset.scan(listing).records:
        images.setdefault(record.file, Counter())[record.part] += 1
        if record.cut is not None and record.cut.mask:
            masked[record.file] = dataset.classes[record.labels[0]], record.cut
    results = []
    for done, (file, counts) in enumerate(images.items(), 1):
        volume = read_volume(listing.path(file))
        spine = spine_offset(volume.voxels.transpose(2, 1, 0))
        organ, cut = masked.get(file, ("", None))
        fit = mask_fit(read_volume(listing.path(cut.mask)), cut.box) if cut else None
        has_axes, axes = 0 not in volume.signs, reversed_axes(volume.signs)
        results.append(VolumeAxes(file, dict(counts), axes, has_axes, spine, fit, organ))
        if progress is not None:
            progress(done, len(images))
    return tuple(results)


def mask_fit(mask: Volume, box: Box) -> float:
    """Fraction of a box along y that an organ's mask covers in the stored array, minus the fraction with y reversed.

    Parameters
    ----------
    mask : Volume
        Above 0 inside the organ.
    box : (xmin, xmax, ymin, ymax, zmin, zmax)
        In voxels, upper ends exclusive.

    Returns
    -------
    float
        From -1 to 1.
    """
    rows: NDArray[np.bool_] = np.asarray((mask.voxels > 0).any(axis=(0, 2)))
    low, high = box[2:4]
    return float((np.count_nonzero(rows[low:high]) - np.count_nonzero(rows[::-1][low:high])) / (high - low))
