"""Read image headers for a plan: sizes, crops inside volumes, and the axes and voxel sizes that a recipe uses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mmtk.datasets.base import Dataset, Finding, Record
from mmtk.datasets.listing import Listing
from mmtk.datasets.pipelines import Pipeline
from mmtk.errors import ArgumentError, ImageError
from mmtk.imaging import Header, ImageFile, VolumeHeader, probe, probe_page, probe_values, probe_volume
from mmtk.matching import reversed_axes

_T = TypeVar("_T")
_U = TypeVar("_U")

_BLOCK = 64  # headers read at a time
_QUICK = 3e-4  # seconds to read a header if the file is in the page cache
_THREADS = 8  # for files that are not


def expect_slices(dataset: Dataset, records: list[Record], pipeline: Pipeline) -> None:
    """Refuse records of slices that the recipe does not take."""
    for step in pipeline.slices:
        for cut in (record.cut for record in records):
            if cut is None or (cut.plane, cut.slice % step.every) != (step.plane, 0):
                actual = f"{cut.plane} slice {cut.slice}" if cut else "an image file"
                expected = f"{step.plane} slices, each a multiple of {step.every}"
                problem = "does not match the records"
                raise ArgumentError(f"recipe of {dataset.flag}", problem, expected=expected, found=actual)


def read_headers(
    records: list[Record], listing: Listing, pipeline: Pipeline, bad: dict[str, str] | None, own: bool
) -> dict[str, Header]:
    """The header of each record's image file, read in the way the recipes need."""
    read_header = probe_values if pipeline.measured else _probe_grey_levels if own else probe

    def read(block: list[Record]) -> list[Header | ImageError]:
        outcomes: list[Header | ImageError] = []
        for record in block:
            try:
                outcomes.append(read_header(listing.path(record.file)))
            except ImageError as error:
                outcomes.append(error)
                if bad is None:
                    break
        return outcomes

    headers: dict[str, Header] = {}
    for block, outcomes in _mapped(read, [records[at : at + _BLOCK] for at in range(0, len(records), _BLOCK)]):
        for record, outcome in zip(block, outcomes, strict=False):
            if isinstance(outcome, Header):
                headers[record.source] = outcome
            elif bad is None:
                raise outcome
            else:
                bad[record.source] = str(outcome)
    return headers


def _probe_grey_levels(path: ImageFile) -> Header:
    """Like `probe_page`, but says if a file could be used with a window that maps its values to grey levels."""
    try:
        return probe_page(path)
    except ImageError as error:
        try:
            header = probe_values(path)
        except ImageError:
            raise error from None
        kinds = {"png16": "a 16-bit PNG", "tiff16": "a 16-bit TIFF", "dicom": "a DICOM"}
        kind = kinds.get(header.format, "not an 8-bit image")
        remedy = 'add [window] to the dataset file: level and width, from = "dicom", or percentiles'
        raise ImageError(path, f"is {kind}, which needs a window to become 8-bit grey", remedy=remedy) from None


def _mapped(work: Callable[[list[_T]], _U], blocks: list[list[_T]]) -> Iterator[tuple[list[_T], _U]]:
    """Each block with its result; uses threads only if the first block shows that files are slow to open."""
    start = time.perf_counter()
    first = [work(block) for block in blocks[:1]]
    if time.perf_counter() - start < _QUICK * _BLOCK:
        yield from zip(blocks, (*first, *map(work, blocks[1:])), strict=True)
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        yield from zip(blocks, (*first, *pool.map(work, blocks[1:])), strict=True)


def slice_headers(
    records: list[Record], listing: Listing, dataset: Dataset, pipeline: Pipeline, bad: dict[str, str] | None
) -> tuple[dict[str, Header], list[Finding]]:
    """The crop of each slice, and findings on volumes whose axes run opposite to their boxes.

    Every volume's header is read once, and must have what the recipe needs.
    """
    volumes: dict[str, VolumeHeader | ImageError] = {}
    headers: dict[str, Header] = {}
    for record in records:
        cut = record.cut
        assert cut is not None
        if record.file not in volumes:
            path = listing.path(record.file)
            try:
                volumes[record.file] = header = probe_volume(path)
                _expect_header(path, header, pipeline, dataset.own)
            except ImageError as error:
                volumes[record.file] = error
        outcome = volumes[record.file]
        if not isinstance(outcome, ImageError) and any(
            cut.box[2 * i + 1] > voxels for i, voxels in enumerate(_voxels(outcome, pipeline))
        ):
            size = " x ".join(map(str, _voxels(outcome, pipeline)))
            box = ", ".join(f"{axis} {cut.box[2 * i]} to {cut.box[2 * i + 1]}" for i, axis in enumerate("xyz"))
            organ = dataset.classes[record.labels[0]]
            outcome = ImageError(
                listing.path(record.file), f"the box of {organ} ({box}) exceeds the volume of {size} voxels",
                remedy="use volumes and boxes of the same release",
            )
        if not isinstance(outcome, ImageError):
            headers[record.source] = Header("nifti", *cut.region[2:], 1)
        elif bad is None:
            raise outcome
        else:
            bad[record.source] = str(outcome)
    by_boxes = pipeline.zooms and not pipeline.turns  # boxes count along the patient's axes
    doubts = [
        Finding("doubt", name, f"its {' and '.join(axes)} axis runs opposite to the boxes, so its crops are misplaced")
        for name, header in volumes.items()
        if by_boxes and isinstance(header, VolumeHeader) and (axes := reversed_axes(header.signs))
    ]
    return headers, doubts


def _voxels(header: VolumeHeader, pipeline: Pipeline) -> tuple[int, int, int]:
    """Voxels along x, y and z, counted as for the boxes."""
    return header.turned_shape if pipeline.turns and not pipeline.zooms else header.shape


def _expect_header(path: ImageFile, header: VolumeHeader, pipeline: Pipeline, own: bool) -> None:
    """Refuse a volume whose header lacks what a recipe needs."""
    remedy = "fix its header" + ("" if own else ", or build with official pixels, which do not need it")
    if pipeline.turns and (0 in header.signs if pipeline.zooms else not header.axes):
        raise ImageError(path, "its header does not give the orientation of its axes", remedy=remedy)
    if pipeline.measures and 0 in header.spacing:
        raise ImageError(path, "its header does not give the voxel size", remedy=remedy)
