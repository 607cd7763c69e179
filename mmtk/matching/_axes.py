"""Whether CT volumes lie as their organ boxes count: by their headers, an organ's mask, and the spine at the back."""

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

_BODY, _BONE = -300, 200  # Hounsfield units that are reached
_EVERY = 4  # voxels: of a volume enough are looked at
_SURE = 0.05  # of the body's depth, by which the spine lies behind or before its middle
_LEAST = 50  # voxels of bone that make a spine


@dataclass(frozen=True)
class VolumeAxes:
    """How a volume lies against its boxes.

    Attributes
    ----------
    file : str
        The volume's name in its listing.
    images : dict of str to int
        Images that the dataset cuts from it, by the provider's part, which is their split.
    reversed : tuple of str
        The axes that its header says run against the boxes; empty where they agree or the header does not tell.
    told : bool
        Whether the header tells the axes.
    spine : float
        How far the spine lies behind the body's middle, as a part of the body's depth, with the array as it lies;
        negative where it lies before it, 0 where no bone was found.
    mask : float or None
        How much more of an organ's box its mask covers along y with the array as it lies than with y reversed, as a
        part of the box; None where there is no mask beside the volume.
    organ : str
        Whose mask that is.
    """

    file: str
    images: dict[str, int]
    reversed: tuple[str, ...]
    told: bool
    spine: float
    mask: float | None = None
    organ: str = ""

    @property
    def count(self) -> int:
        """Images that are cut from it in all."""
        return sum(self.images.values())

    def facts(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "file": self.file, "images": self.images, "reversed": self.reversed, "told": self.told,
            "spine": round(self.spine, 4), "mask": self.mask, "elsewhere": self.elsewhere,
            "contradiction": self.contradiction,
        }

    @property
    def fits(self) -> float:
        """Above 0 where mask or body fit the array as it lies, below 0 where they fit it with y reversed, else 0."""
        return next((value for value in (self.mask or 0.0, self.spine) if abs(value) >= _SURE), 0.0)

    @property
    def elsewhere(self) -> bool:
        """Whether crops of the array as it lies show another place than their label: by mask or body, else header."""
        return self.fits < 0 or (self.fits == 0 and bool(self.reversed))

    @property
    def contradiction(self) -> bool:
        """Whether mask or body say other than the header."""
        return self.told and self.fits != 0 and (self.fits < 0) != ("y" in self.reversed)

    def __str__(self) -> str:
        header = f"{' and '.join(self.reversed)} reversed" if self.reversed else "as the boxes" if self.told else "none"
        seen = []
        if self.mask is not None and abs(self.mask) >= _SURE:
            better = "as it lies" if self.mask > 0 else "with y reversed"
            seen.append(f"mask covers {abs(self.mask):.2f} more of the {self.organ}'s box {better}")
        if abs(self.spine) >= _SURE:
            side = "behind" if self.spine > 0 else "before"
            seen.append(f"spine {abs(self.spine):.2f} of the body's depth {side} its middle")
        if self.fits:
            seen.append(f"so the array fits {'as it lies' if self.fits > 0 else 'with y reversed'}")
        return f"axes of its header: {header}; {', '.join(seen) or 'no spine to tell by'}"


def reversed_axes(signs: tuple[int, int, int]) -> tuple[str, ...]:
    """The axes that run against the boxes, by a volume's signs: these run to the left, to the back and upwards."""
    return tuple(axis for axis, sign, wanted in zip("xyz", signs, (-1, -1, 1), strict=True) if sign == -wanted)


def spine_offset(voxels: NDArray[Any]) -> float:
    """How far bone in the middle third of a body lies behind its middle, as a part of its depth.

    Parameters
    ----------
    voxels : ndarray of int16, shape (x, y, z)
        Hounsfield units; read with y running to the back.

    Returns
    -------
    float
        0 where there is no body or hardly any bone.
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
    """Where a body begins and ends, but for the last hundredth at either side: tables and tubes."""
    part = np.cumsum(counts) / counts.sum()
    return int(np.searchsorted(part, 0.01)), int(np.searchsorted(part, 0.99))


def expect_axes(volume: Volume, path: ImageFile) -> None:
    """Refuse to turn a volume by a header that the body contradicts.

    Raises
    ------
    ImageError
        If the spine lies at the front once the volume is turned.
    """
    spine = spine_offset(turn_volume(volume))
    if spine <= -_SURE:
        lies = spine_offset(volume.voxels.transpose(2, 1, 0))
        better = "as it lies" if lies > 0 else "with y reversed"
        found = f"the spine at the front once it is turned; its array fits {better}"
        remedy = "mend its header, or build with official pixels, which do not ask for it"
        raise ImageError(path, expected="axes in its header that fit the body", found=found, remedy=remedy)


def audit_axes(dataset: Dataset, listing: Listing, progress: Progress | None = None) -> tuple[VolumeAxes, ...]:
    """How each volume of a source lies against its boxes.

    Parameters
    ----------
    dataset : Dataset
        One that is cut from CT volumes.
    listing : Listing
    progress : callable, optional
        Told the volumes looked at and their number.

    Raises
    ------
    SourceError
        If the listing holds no volume, or one that cannot be read.
    """
    images: dict[str, Counter[str]] = {}
    masked: dict[str, tuple[str, Cut]] = {}
    for record in dataset.scan(listing).records:
        images.setdefault(record.file, Counter())[record.part] += 1
        if record.cut is not None and record.cut.mask:
            masked[record.file] = dataset.classes[record.labels[0]], record.cut
    found = []
    for done, (file, counts) in enumerate(images.items(), 1):
        volume = read_volume(listing.path(file))
        spine = spine_offset(volume.voxels.transpose(2, 1, 0))
        organ, cut = masked.get(file, ("", None))
        fit = mask_fit(read_volume(listing.path(cut.mask)), cut.box) if cut else None
        told, axes = 0 not in volume.signs, reversed_axes(volume.signs)
        found.append(VolumeAxes(file, dict(counts), axes, told, spine, fit, organ))
        if progress is not None:
            progress(done, len(images))
    return tuple(found)


def mask_fit(mask: Volume, box: Box) -> float:
    """How much more of a box along y an organ's mask covers with the array as it lies than with y reversed.

    Parameters
    ----------
    mask : Volume
        Above 0 where the organ is.
    box : xmin, xmax, ymin, ymax, zmin, zmax

    Returns
    -------
    float
        As a part of the box, from -1 to 1.
    """
    rows: NDArray[np.bool_] = np.asarray((mask.voxels > 0).any(axis=(0, 2)))
    low, high = box[2:4]
    return float((np.count_nonzero(rows[low:high]) - np.count_nonzero(rows[::-1][low:high])) / (high - low))
