"""DICOM series: the slices of a CT volume, one per file, sorted by their position in the patient."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import ImageError
from mmtk.imaging._axes import Steps, Vector, Volume, VolumeHeader, orientation_of, place_of
from mmtk.imaging._dicom import START, Dicom, Table, is_dicom, probe_dicom_file, read_dicom
from mmtk.imaging._files import reading
from mmtk.imaging._lookup import look_up
from mmtk.imaging._values import as_values, modality_units
from mmtk.imaging._volume import widened
from mmtk.imaging.filetypes import MOST_BYTES, identify

_GAP = 0.1  # tolerated deviation from the median slice distance, relative to it; a missing slice gives 1
_DOUBLE = 0.01  # slices closer than this fraction of the pixel spacing are at the same position
_ASIDE = 0.5  # tolerated in-plane shift between slices, in pixels
_UNIT = 1e-3  # tolerated deviation of direction vectors from unit length and right angle
_SAME = 1e-4  # tolerated difference in direction and spacing between slices
_BESIDE = {".csv", ".db", ".gz", ".htm", ".html", ".ini", ".jpeg", ".jpg", ".json", ".log", ".md", ".nii", ".pdf",
           ".png", ".toml", ".tsv", ".txt", ".xlsx", ".xml", ".yaml", ".yml", ".zip"}
SEVERAL_SERIES = "holds several DICOM series"
_OWN_FOLDER = "give each series its own folder"
_TO_RAS = ((-1,), (-1,), (1,))  # from DICOM's axes, which run to the left and the back


class _Slice(NamedTuple):
    path: Path
    header: Dicom


class _Geometry(NamedTuple):
    """Sorted slices, and the geometry of their array."""

    slices: list[_Slice]
    spacing: tuple[float, float, float]
    signs: tuple[int, int, int]
    axes: str
    origin: Vector | None
    steps: Steps | None


def probe_series(folder: str | os.PathLike[str]) -> VolumeHeader:
    """Read the headers of a DICOM series without reading its pixels.

    Parameters
    ----------
    folder : path-like
        Folder with the files of one series; its subfolders are ignored. So are files other than DICOM if they are
        hidden, text, a DICOMDIR, or have the suffix of typical companion files (.csv, .json, .png and so on).

    Returns
    -------
    VolumeHeader
        Slope and intercept are those of the first slice. Slices are sorted by their positions along the normal of
        their planes, not by file names or instance numbers, and the spacing is computed from these positions.

    Raises
    ------
    ImageError
        As for `mmtk.imaging.probe_values`; if the folder holds no slices or several series; if slices are MONOCHROME1,
        lack a position, orientation or pixel spacing, or differ in size, orientation or pixel spacing; or if they are
        not evenly spaced along their normal, because a slice is missing, two are at the same position, or the gantry
        was tilted. A slice missing at either end cannot be detected.

    Examples
    --------
    >>> import mmtk
    >>> try:
    ...     mmtk.imaging.probe_series("stores")
    ... except mmtk.MmtkError as error:
    ...     print(error)
    stores/breastmnist_28.h5: is an HDF5 file, not a DICOM file; save it as DICOM
    """
    geometry = _ordered(Path(folder))
    first = geometry.slices[0].header
    shape = (first.width, first.height, len(geometry.slices))
    kind = ("i" if first.signed else "u") + str(first.allocated // 8)
    dtype: np.dtype[Any] = np.dtype(first.encoding.order + kind)
    _, spacing, signs, axes, origin, steps = geometry
    return VolumeHeader(shape, dtype, *first.rescale, 0, signs, spacing, axes, origin, steps)


def read_series(folder: str | os.PathLike[str], exact: bool = False) -> Volume:
    """Read a CT volume from a DICOM series. Each slice's own slope and intercept are applied.

    Parameters
    ----------
    folder : path-like
        See `probe_series`.
    exact : bool
        Keep values unrounded: int16 if all are integers and fit, else float32. By default they are rounded to integers,
        halves up, and clipped to int16.

    Returns
    -------
    Volume
        Its axes run along rows, along columns, and along their normal (right-handed): "LPS" for an axial series.

    Raises
    ------
    ImageError
        As for `probe_series`, and if a file is cut off or damaged.

    Examples
    --------
    >>> import mmtk
    >>> try:
    ...     mmtk.imaging.read_series("stores")
    ... except mmtk.MmtkError as error:
    ...     print(error)
    stores/breastmnist_28.h5: is an HDF5 file, not a DICOM file; save it as DICOM
    """
    geometry = _ordered(Path(folder))
    first = geometry.slices[0].header
    shape, size = (len(geometry.slices), first.height, first.width), first.height * first.width
    voxels: NDArray[Any] = np.empty(len(geometry.slices) * size, np.int16)
    known: tuple[Any, ...] = ()
    table: NDArray[Any] = np.empty(0, np.int16)
    for start, item in zip(range(0, len(voxels), size), geometry.slices, strict=True):
        with reading(item.path, "DICOM"):
            header, codes, tables = read_dicom(item.path)
        if header != item.header:
            raise ImageError(item.path, "changed while it was being read", remedy="leave sources alone during a build")
        modality = tables.get("modality")
        if modality or known != (header.stored, header.signed, header.rescale):
            table = _units(header, modality, exact)
            known = () if modality else (header.stored, header.signed, header.rescale)
        place = voxels[start : start + size].reshape(codes.shape)
        if table.dtype == voxels.dtype:
            look_up(table, codes, place)
            continue
        plane = look_up(table, codes)
        if voxels.dtype == np.int16 and not _fits(plane):
            del place
            voxels = widened(voxels, start)
        voxels[start : start + size] = plane.reshape(-1)
    _, spacing, signs, axes, origin, steps = geometry
    return Volume(voxels.reshape(shape), signs, spacing, axes, origin, steps)


def _units(header: Dicom, modality: Table | None, exact: bool) -> NDArray[np.int16] | NDArray[np.float32]:
    units = modality_units(header, modality)
    return as_values(units if exact else np.clip(np.floor(units + 0.5), -32768, 32767))


def _fits(plane: NDArray[Any]) -> bool:
    return bool((plane == np.floor(plane)).all() and plane.min() >= -32768 and plane.max() <= 32767)


def _ordered(folder: Path) -> _Geometry:
    """The slices of a folder in order, if they form a volume."""
    slices = [_Slice(path, probe_dicom_file(path)) for path in _files(folder)]
    if not slices:
        raise ImageError(folder, "holds no DICOM slices", remedy="give the folder that contains the slices")
    if len({item.header.series for item in slices}) > 1:
        raise ImageError(folder, SEVERAL_SERIES, remedy=_OWN_FOLDER)
    first = slices[0]
    for item in slices:
        _expect_like(item, first)
    rows, columns = np.array(first.header.orientation).reshape(2, 3)
    normal = np.cross(rows, columns)
    positions = np.array([item.header.position for item in slices])
    heights = positions @ normal
    order = np.argsort(heights, kind="stable")
    slices = [slices[place] for place in order]
    down, across = first.header.spacing
    apart = _distance(heights[order], min(down, across), slices, folder)
    aside = (positions - positions[order[0]]) @ np.stack([rows / across, columns / down], axis=1)
    if np.abs(aside).max() > _ASIDE:
        problem = f"has slices shifted by {np.abs(aside).max():.1f} pixels, as from a tilted gantry"
        raise ImageError(folder, problem, remedy="resample it to orthogonal axes, for example with `dcm2niix`")
    signs, axes = orientation_of(np.stack([rows, columns, normal], axis=1) * _TO_RAS)
    first_voxel, last = positions[order[0]], positions[order[-1]]
    up = (last - first_voxel) / (len(slices) - 1)  # not quite along the normal, if slices drift aside
    steps = np.stack([rows * across, columns * down, up], axis=1)
    place = place_of(steps * _TO_RAS, first_voxel * np.ravel(_TO_RAS))
    return _Geometry(slices, (across, down, apart), signs, axes, *place)


def _files(folder: Path) -> Iterable[Path]:
    """The DICOM files of a folder; files that are neither DICOM nor typical companion files are yielded, to be refused.
    """
    with reading(folder, "folder"):
        paths = sorted(path for path in folder.iterdir() if not path.is_dir())
    for path in paths:
        with reading(path, "DICOM"), path.open("rb") as stream:
            head = stream.read(MOST_BYTES)
        name = path.name
        if name.upper() == "DICOMDIR" or (not is_dicom(head[:START]) and _is_beside(name, head)):
            continue
        yield path


def _is_beside(name: str, head: bytes) -> bool:
    if name.startswith(".") or Path(name).suffix.lower() in _BESIDE or name == "Thumbs.db":
        return True
    return bool(head) and identify(head, "") is None and head.isascii() and head.decode().replace("\t", " ").replace(
        "\n", " "
    ).replace("\r", " ").isprintable()


def _expect_like(item: _Slice, first: _Slice) -> None:
    """A slice must be MONOCHROME2, state its position, and match the first one's size, orientation and spacing."""
    header, like = item.header, first.header
    if header.inverted:
        problem = "is a MONOCHROME1 slice, which some readers invert and some do not"
        raise ImageError(item.path, problem, remedy="save its Hounsfield units as NIfTI")
    if not (header.position and header.orientation and header.spacing):
        values = {"position": header.position, "orientation": header.orientation, "pixel spacing": header.spacing}
        missing = " and no ".join(name for name, value in values.items() if not value)
        raise ImageError(item.path, f"is not a slice of a volume: it has no {missing}", remedy="remove it")
    rows, columns = np.array(header.orientation).reshape(2, 3)
    lengths = (rows @ rows - 1, columns @ columns - 1, rows @ columns)
    if max(map(abs, lengths)) > _UNIT or min(header.spacing) <= 0:
        values_text = "\\".join(f"{number:g}" for number in (*header.orientation, *header.spacing))
        raise ImageError(item.path, f"has an invalid orientation or pixel spacing ({values_text})")
    if (header.height, header.width) != (like.height, like.width):
        _differ(item, "size", f"{header.width} x {header.height} pixels", f"{like.width} x {like.height}")
    if np.abs(np.subtract(header.orientation, like.orientation)).max() > _SAME:
        problem = "has another orientation than the other slices, as a scout view has"
        raise ImageError(item.path, problem, remedy=_OWN_FOLDER)
    if np.abs(np.divide(header.spacing, like.spacing) - 1).max() > _SAME:
        spacings = [f"{down:g} x {across:g}" for down, across in (header.spacing, like.spacing)]
        _differ(item, "pixel spacing", f"{spacings[0]} mm", spacings[1])


def _differ(item: _Slice, noun: str, value: str, expected: str) -> NoReturn:
    problem = f"has another {noun} than the other slices"
    raise ImageError(item.path, problem, found=value, expected=expected, remedy=_OWN_FOLDER)


def _distance(heights: NDArray[np.float64], pixel: float, slices: list[_Slice], folder: Path) -> float:
    """The distance between neighbouring slices, which must be evenly spaced."""
    gaps = np.diff(heights)
    if not len(gaps):
        raise ImageError(folder, "holds a single slice", remedy="read it as a single image")
    if gaps.min() < _DOUBLE * pixel:
        place = int(gaps.argmin())
        names = f"{slices[place].path.name} and {slices[place + 1].path.name}"
        raise ImageError(folder, f"has two slices at the same position, {names}", remedy=_OWN_FOLDER)
    usual = float(np.median(gaps))
    place = int(np.abs(gaps - usual).argmax())
    if abs(gaps[place] - usual) > _GAP * usual:
        gap = f"{gaps[place]:g} mm between {slices[place].path.name} and {slices[place + 1].path.name}"
        raise ImageError(
            folder, "has unevenly spaced slices", found=gap, expected=f"{usual:g} mm",
            remedy="check whether a slice is missing",
        )
    return float((heights[-1] - heights[0]) / len(gaps))
