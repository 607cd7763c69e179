"""What image headers tell a plan: sizes, crops inside their volumes, and axes and voxel sizes where a recipe asks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mmtk.datasets.base import Dataset, Finding, Record
from mmtk.datasets.listing import Listing
from mmtk.datasets.steps import Pipeline
from mmtk.errors import ArgumentError, ImageError
from mmtk.imaging import Header, ImageFile, VolumeHeader, probe, probe_page, probe_values, probe_volume
from mmtk.matching import reversed_axes

_T = TypeVar("_T")
_U = TypeVar("_U")

_BLOCK = 64  # headers that are read at a time
_QUICK = 3e-4  # seconds in which a header is read where the file is in memory already
_THREADS = 8  # for files that are not


def expect_slices(dataset: Dataset, records: list[Record], pipeline: Pipeline) -> None:
    """Refuse records that are other slices than the recipe takes."""
    for step in pipeline.slices:
        for cut in (record.cut for record in records):
            if cut is None or (cut.plane, cut.slice % step.every) != (step.plane, 0):
                found = f"{cut.plane} {cut.slice}" if cut else "an image of its own file"
                expected = f"{step.plane} slices, every {step.every} of the grid"
                raise ArgumentError(f"recipe of {dataset.flag}", expected=expected, found=found)


def read_headers(
    records: list[Record], listing: Listing, pipeline: Pipeline, bad: dict[str, str] | None, own: bool
) -> dict[str, Header]:
    """The header of each record's image file, of the kind that the recipes take."""
    look = probe_values if pipeline.measured else _probe_grey_levels if own else probe

    def read(block: list[Record]) -> list[Header | ImageError]:
        answers: list[Header | ImageError] = []
        for record in block:
            try:
                answers.append(look(listing.path(record.file)))
            except ImageError as error:
                answers.append(error)
                if bad is None:
                    break
        return answers

    headers: dict[str, Header] = {}
    for block, answers in _mapped(read, [records[at : at + _BLOCK] for at in range(0, len(records), _BLOCK)]):
        for record, answer in zip(block, answers, strict=False):
            if isinstance(answer, Header):
                headers[record.source] = answer
            elif bad is None:
                raise answer
            else:
                bad[record.source] = str(answer)
    return headers


def _probe_grey_levels(path: ImageFile) -> Header:
    """As `probe_page`; where a file would be an image if it were known what becomes black and white, that is said."""
    try:
        return probe_page(path)
    except ImageError as error:
        try:
            header = probe_values(path)
        except ImageError:
            raise error from None
        kind = {"png16": "a 16-bit PNG", "tiff16": "a 16-bit TIFF", "dicom": "a DICOM"}.get(header.format, "another")
        remedy = 'add [window] to the dataset file: level and width, from = "dicom", or percentiles'
        raise ImageError(path, expected="8-bit pixels, or a window", found=kind, remedy=remedy) from None


def _mapped(work: Callable[[list[_T]], _U], blocks: list[list[_T]]) -> Iterator[tuple[list[_T], _U]]:
    """Each block with its answer, by threads if the first shows that files are slow to open; else they only wait for
    each other."""
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
    """The crop of each slice, and volumes that run against their boxes where the recipe leaves them so.

    Every volume's header is read once, and must have what the recipe asks of it.
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
        answer = volumes[record.file]
        if not isinstance(answer, ImageError) and any(
            cut.box[2 * i + 1] > voxels for i, voxels in enumerate(_voxels(answer, pipeline))
        ):
            size = " x ".join(map(str, _voxels(answer, pipeline)))
            box = ", ".join(f"{axis} {cut.box[2 * i]} to {cut.box[2 * i + 1]}" for i, axis in enumerate("xyz"))
            organ = dataset.classes[record.labels[0]]
            answer = ImageError(
                listing.path(record.file), expected=f"the box of {organ} inside its {size} voxels", found=box,
                remedy="get volume and boxes of one release",
            )
        if not isinstance(answer, ImageError):
            headers[record.source] = Header("nifti", *cut.region[2:], 1)
        elif bad is None:
            raise answer
        else:
            bad[record.source] = str(answer)
    by_boxes = pipeline.zooms and not pipeline.turns  # which count along the patient's axes
    doubts = [
        Finding("doubt", name, f"its {' and '.join(axes)} runs against the boxes, so its images show another place")
        for name, header in volumes.items()
        if by_boxes and isinstance(header, VolumeHeader) and (axes := reversed_axes(header.signs))
    ]
    return headers, doubts


def _voxels(header: VolumeHeader, pipeline: Pipeline) -> tuple[int, int, int]:
    """Voxels along x, y and z as the boxes count them."""
    return header.turned_shape if pipeline.turns and not pipeline.zooms else header.shape


def _expect_header(path: ImageFile, header: VolumeHeader, pipeline: Pipeline, own: bool) -> None:
    """Refuse a volume whose header does not say what a recipe goes by."""
    remedy = "mend its header" + ("" if own else ", or build with official pixels, which do not ask for it")
    if pipeline.turns and (0 in header.signs if pipeline.zooms else not header.axes):
        raise ImageError(path, expected="a header that tells its axes", found="one that does not", remedy=remedy)
    if pipeline.measures and 0 in header.spacing:
        raise ImageError(path, expected="the size of a voxel in its header", found="none", remedy=remedy)
