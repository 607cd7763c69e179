"""The records of a source: images to be built, and what a user should know about the source."""

from __future__ import annotations

from dataclasses import dataclass

from mmtk.errors import ImageError
from mmtk.imaging import PLANES

Box = tuple[int, int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Cut:
    """The position of an image in a CT volume.

    Attributes
    ----------
    plane : {"axial", "coronal", "sagittal"}
    slice : int
        Slice of the resampled grid, counted from the box's lower edge.
    box : (xmin, xmax, ymin, ymax, zmin, zmax)
        In voxels, upper ends exclusive.
    extents : (x, y, z)
        Number of points of the grid that the box is resampled to.
    mask : str
        A volume in the same listing that is above 0 in the box's organ; empty if there is none.

    Examples
    --------
    >>> from mmtk.datasets.base import Cut
    >>> cut = Cut("axial", 20, (100, 300, 50, 250, 10, 60), (70, 70, 125))
    >>> cut.region
    (100, 50, 200, 200)
    """

    plane: str
    slice: int
    box: Box
    extents: tuple[int, int, int]
    mask: str = ""

    @property
    def across(self) -> int:
        """The axis perpendicular to the plane."""
        return PLANES[self.plane]

    @property
    def region(self) -> tuple[int, int, int, int]:
        """Top, left, height and width of the box in the plane, in voxels; rows run along the first of its axes."""
        rows, columns = (2 * axis for axis in range(3) if axis != self.across)
        top, left = self.box[rows], self.box[columns]
        return top, left, self.box[rows + 1] - top, self.box[columns + 1] - left


@dataclass(frozen=True, slots=True)
class Record:
    """An image to be built.

    Attributes
    ----------
    source : str
        Its canonical name, as used by official maps.
    file : str
        Its file in the listing.
    labels : tuple of int
        The class, or 0 or 1 per class in a multi-label task.
    subject : str
        The patient, lesion or eye, which must not be in two splits; empty if the provider does not say.
    part : {"train", "val", "test", ""}
        The provider's own split.
    cut : Cut or None
        Its position in a CT volume.

    Examples
    --------
    >>> from mmtk.datasets.base import Record
    >>> Record("benign/benign (1).png", "BUSI/benign/benign (1).png", labels=(1,)).subject
    ''
    """

    source: str
    file: str
    labels: tuple[int, ...]
    subject: str = ""
    part: str = ""
    cut: Cut | None = None


@dataclass(frozen=True)
class Finding:
    """Something a user should know about a source.

    Attributes
    ----------
    kind : str
        "missing", "surplus", "junk", "doubt", "left out" or "bad".
    name : str
        The file or image.
    detail : str

    Examples
    --------
    >>> from mmtk.datasets.base import Finding
    >>> Finding("missing", "benign/benign (7).png").kind
    'missing'
    """

    kind: str
    name: str
    detail: str = ""


@dataclass(frozen=True)
class Scan:
    """The result of scanning a source.

    Attributes
    ----------
    records : tuple of Record
        In a fixed order.
    findings : tuple of Finding
    bad : tuple of (str, ImageError)
        Files that had to be read during the scan and cannot be used.

    Examples
    --------
    >>> import mmtk
    >>> from mmtk.datasets.listing import find_source
    >>> dataset = mmtk.get_dataset("breastmnist")
    >>> scan = dataset.scan(find_source("sources", dataset))
    >>> scan.bad
    ()
    """

    records: tuple[Record, ...]
    findings: tuple[Finding, ...] = ()
    bad: tuple[tuple[str, ImageError], ...] = ()
