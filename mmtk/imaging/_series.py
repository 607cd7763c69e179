"""DICOM series: the slices of a CT volume, a file each, put in order by where they lie in the patient."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import ImageError
from mmtk.imaging._axes import Steps, Vector, Volume, VolumeHeader, lie, place_of
from mmtk.imaging._dicom import START, Dicom, Table, is_dicom, probe_dicom_file, read_dicom
from mmtk.imaging._files import reading
from mmtk.imaging._lookup import look_up
from mmtk.imaging._values import as_values, modality_units
from mmtk.imaging._volume import widened
from mmtk.imaging.foreign import MOST_BYTES, describe

_GAP = 0.1  # of the usual distance of two slices, by which theirs may differ: a missing one makes a whole
_DOUBLE = 0.01  # of a slice's spacing in its plane: less than this apart they lie in one place
_ASIDE = 0.5  # pixels by which a slice may lie beside the first along the normal
_UNIT = 1e-3  # by which directions may miss their length and right angle
_SAME = 1e-4  # by which directions and spacings of slices may differ
_BESIDE = {".csv", ".db", ".gz", ".htm", ".html", ".ini", ".jpeg", ".jpg", ".json", ".log", ".md", ".nii", ".pdf",
           ".png", ".toml", ".tsv", ".txt", ".xlsx", ".xml", ".yaml", ".yml", ".zip"}
_OWN_FOLDER = "give each series a folder of its own"
_TO_RAS = ((-1,), (-1,), (1,))  # from DICOM's axes, which run to the left and the back


class _Slice(NamedTuple):
    path: Path
    header: Dicom


class _Geometry(NamedTuple):
    """Slices in order, and how their array lies."""

    slices: list[_Slice]
    spacing: tuple[float, float, float]
    signs: tuple[int, int, int]
    axes: str
    origin: Vector | None
    steps: Steps | None


def probe_series(folder: str | os.PathLike[str]) -> VolumeHeader:
    """Read the headers of a folder that holds one DICOM series, and nothing more of its files.

    Parameters
    ----------
    folder : path-like
        Folders in it are not looked into. Files that are no DICOM are passed over if they are hidden, text, a DICOMDIR
        or named as what lies beside data (.csv, .json, .png and so on).

    Returns
    -------
    VolumeHeader
        Slope and intercept are those of the first slice; the slices' order is that of their positions along the normal
        of their planes, not that of file names or instance numbers, and the spacing is that of the positions.

    Raises
    ------
    ImageError
        For the reasons of `mmtk.imaging.probe_values`; or if the folder holds no slices or those of several series, if
        slices are MONOCHROME1 or not of one size, orientation and pixel spacing or name none, or if they are not
        evenly spaced along the normal of their planes: one is missing, two lie in one place, or the gantry was tilted.
        A slice that is missing at either end cannot be told.
    """
    geometry = _ordered(Path(folder))
    first = geometry.slices[0].header
    shape = (first.width, first.height, len(geometry.slices))
    kind = ("i" if first.signed else "u") + str(first.allocated // 8)
    dtype: np.dtype[Any] = np.dtype(first.coding.order + kind)
    _, spacing, signs, axes, origin, steps = geometry
    return VolumeHeader(shape, dtype, *first.rescale, 0, signs, spacing, axes, origin, steps)


def read_series(folder: str | os.PathLike[str], exact: bool = False) -> Volume:
    """Read a CT volume from a folder that holds one DICOM series.

    Each slice's own slope and intercept count.

    Parameters
    ----------
    folder : path-like
        See `probe_series`.
    exact : bool
        Whether to keep values as they are: int16 where all are whole and fit, else float32. Otherwise they are rounded
        to whole numbers, halves up, and cut at the ends of int16.

    Returns
    -------
    Volume
        Its axes run along rows, along columns, and along the normal of the two, by the right hand: "LPS" of an axial
        series.

    Raises
    ------
    ImageError
        For the reasons of `probe_series`, and if a file is cut off or damaged.
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
            expected, found = "the header that it had a moment before", "another"
            remedy = "do not change sources while they are read"
            raise ImageError(item.path, expected=expected, found=found, remedy=remedy)
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
    """A folder's slices in their order, if they make a volume."""
    slices = [_Slice(path, probe_dicom_file(path)) for path in _files(folder)]
    if not slices:
        remedy = "give the folder that the slices lie in"
        raise ImageError(folder, expected="the slices of a DICOM series", found="none", remedy=remedy)
    if (count := len({item.header.series for item in slices})) > 1:
        raise ImageError(folder, expected="one DICOM series", found=str(count), remedy=_OWN_FOLDER)
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
        found = f"a shift of {np.abs(aside).max():.1f} pixels, as of a tilted gantry"
        remedy = "resample it to straight axes, with `dcm2niix` say"
        raise ImageError(folder, expected="slices straight above each other", found=found, remedy=remedy)
    signs, axes = lie(np.stack([rows, columns, normal], axis=1) * _TO_RAS)
    first_voxel, last = positions[order[0]], positions[order[-1]]
    up = (last - first_voxel) / (len(slices) - 1)  # not quite along the normal, if slices drift aside
    steps = np.stack([rows * across, columns * down, up], axis=1)
    place = place_of(steps * _TO_RAS, first_voxel * np.ravel(_TO_RAS))
    return _Geometry(slices, (across, down, apart), signs, axes, *place)


def _files(folder: Path) -> Iterable[Path]:
    """The DICOM files of a folder; what neither is one nor lies beside data by custom is refused."""
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
    return bool(head) and describe(head, "") is None and head.isascii() and head.decode().replace("\t", " ").replace(
        "\n", " "
    ).replace("\r", " ").isprintable()


def _expect_like(item: _Slice, first: _Slice) -> None:
    """A slice must be MONOCHROME2, name where it lies, and be of the first one's size, orientation and spacing."""
    header, like = item.header, first.header
    if header.inverted:
        found = "MONOCHROME1, which some readers turn round and some do not"
        remedy = "save its Hounsfield units as NIfTI"
        raise ImageError(item.path, expected="a slice of MONOCHROME2", found=found, remedy=remedy)
    if not (header.position and header.orientation and header.spacing):
        missing = {"position": header.position, "orientation": header.orientation, "pixel spacing": header.spacing}
        found = "no " + " and no ".join(name for name, value in missing.items() if not value)
        raise ImageError(item.path, expected="a slice of a volume", found=found, remedy="leave out what is none")
    rows, columns = np.array(header.orientation).reshape(2, 3)
    lengths = (rows @ rows - 1, columns @ columns - 1, rows @ columns)
    if max(map(abs, lengths)) > _UNIT or min(header.spacing) <= 0:
        found = "\\".join(f"{number:g}" for number in (*header.orientation, *header.spacing))
        raise ImageError(item.path, expected="two directions at right angles and a pixel spacing", found=found)
    if (header.height, header.width) != (like.height, like.width):
        _differ(item, f"{like.width} x {like.height} pixels", f"{header.width} x {header.height}")
    if np.abs(np.subtract(header.orientation, like.orientation)).max() > _SAME:
        _differ(item, "the orientation of the other slices", "another, as of a scout view")
    if np.abs(np.divide(header.spacing, like.spacing) - 1).max() > _SAME:
        _differ(item, f"a pixel spacing of {like.spacing[0]:g} x {like.spacing[1]:g} mm", f"{header.spacing[0]:g} x "
                f"{header.spacing[1]:g}")


def _differ(item: _Slice, expected: str, found: str) -> NoReturn:
    raise ImageError(item.path, expected=expected, found=found, remedy=_OWN_FOLDER)


def _distance(heights: NDArray[np.float64], pixel: float, slices: list[_Slice], folder: Path) -> float:
    """The distance of two slices, evenly spaced; 0 of a single one."""
    gaps = np.diff(heights)
    if not len(gaps):
        remedy = "read it as a single image"
        raise ImageError(folder, expected="two slices at least", found="one", remedy=remedy)
    if gaps.min() < _DOUBLE * pixel:
        place = int(gaps.argmin())
        names = f"{slices[place].path.name} and {slices[place + 1].path.name}"
        raise ImageError(folder, expected="one slice in a place", found=f"{names} in the same", remedy=_OWN_FOLDER)
    usual = float(np.median(gaps))
    place = int(np.abs(gaps - usual).argmax())
    if abs(gaps[place] - usual) > _GAP * usual:
        names = f"{slices[place].path.name} and {slices[place + 1].path.name}"
        found = f"{gaps[place]:g} mm between {names}"
        remedy = "look for a missing slice"
        raise ImageError(folder, expected=f"slices {usual:g} mm apart", found=found, remedy=remedy)
    return float((heights[-1] - heights[0]) / len(gaps))
