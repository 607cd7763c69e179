"""Single images as numbers, not as grey levels: DICOM, and grey PNG, JPEG and TIFF of 8 or 16 bits."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import ImageError
from mmtk.imaging._dicom import START, Dicom, Table, is_dicom, probe_dicom_file, read_dicom
from mmtk.imaging._files import ImageFile, as_file, open_checked, open_file, reading
from mmtk.imaging._headers import Header, probe, read_file, read_header
from mmtk.imaging._lookup import look_up
from mmtk.imaging._png import check_chunks, decode_png16
from mmtk.imaging._reader import decode
from mmtk.imaging._tags import expect_one_page
from mmtk.imaging._tiff import decode_tiff16

_GREY = "grey values"
_TO_GREY = "build it as a colour image, or convert it to grey"


@dataclass(frozen=True, eq=False)
class Values:
    """The values of an image, larger ones brighter.

    Attributes
    ----------
    pixels : ndarray of int16 or float32, shape (h, w)
        In the units of the modality: of DICOM after rescale slope and intercept, or its modality look-up table. It is
        int16 where all values that the file's bits can give are whole and fit, so that files of a kind give a type.
    """

    pixels: NDArray[np.int16] | NDArray[np.float32]
    _file: str = field(default="values", repr=False)
    _voi: _Voi | None = field(default=None, repr=False)

    def grey_by_voi(self) -> NDArray[np.uint8]:
        """Grey levels by the window or look-up table that the file itself names, which a table goes before.

        Of several the first counts. What pydicom's ``apply_voi_lut`` gives, mapped from its range to 0 to 255, halves
        rounded up; a MONOCHROME1 file is inverted before rounding.

        Returns
        -------
        ndarray of uint8, shape (h, w)

        Raises
        ------
        ImageError
            If the file names neither, or a window that cannot be used.
        """
        if self._voi is None:
            remedy = "give a level and a width"
            raise ImageError(self._file, expected="a DICOM file with a window", found="none", remedy=remedy)
        return self._voi.greys(self._file)


@dataclass(frozen=True, eq=False)
class _Voi:
    """What an image is shown by: the codes of its pixels, and what each of them comes to."""

    header: Dicom
    codes: NDArray[np.uint16] | NDArray[np.uint8]
    units: NDArray[np.float64]  # by code
    table: Table | None

    def greys(self, file: str) -> NDArray[np.uint8]:
        shares = self._shares(file)
        if self.header.inverted:
            shares = 1 - shares
        levels = np.floor(np.round(shares * 255, 9) + 0.5).astype(np.uint8)  # a half is one in either direction
        return look_up(levels, self.codes)

    def _shares(self, file: str) -> NDArray[np.float64]:
        """For each code the share of the range from black to white."""
        if self.table is not None:
            places = np.clip(np.floor(self.units - self.table.first), 0, len(self.table.entries) - 1)
            entries: NDArray[np.float64] = self.table.entries[places.astype(np.int64)] / ((1 << self.table.bits) - 1.0)
            return entries
        if not isinstance(self.header.window, tuple):
            found, remedy = self.header.window or "none", "give a level and a width"
            raise ImageError(file, expected="a window or look-up table of its own", found=found, remedy=remedy)
        center, width, function = self.header.window
        if function == "SIGMOID":
            with np.errstate(over="ignore"):
                shares: NDArray[np.float64] = 1 / (1 + np.exp(-4 * (self.units - center) / width))
            return shares
        if function == "LINEAR":
            center, width = center - 0.5, width - 1
        below, above = self.units <= center - width / 2, self.units > center + width / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = (self.units - center) / width + 0.5
        return np.where(below, 0.0, np.where(above, 1.0, shares))


def probe_values(path: str | os.PathLike[str]) -> Header:
    """Read the header of a DICOM, PNG, JPEG or TIFF file of grey values, and nothing more of it.

    Parameters
    ----------
    path : path-like
        The file, on disk or in an archive.

    Returns
    -------
    Header
        Of the format "dicom", "png16", "tiff16", "png", "jpeg" or "tiff".

    Raises
    ------
    ImageError
        As `mmtk.imaging.probe`, but for grey of 16 bits in a PNG or TIFF, which is taken, and colour and several pages
        of a TIFF, which are not.
        Of a DICOM file: if it holds several frames, colour, no pixels, a DICOMDIR or packed pixels of which it cannot
        be proved that they are whole; if an element is out of order, of an unknown kind or reaches beyond the file; or
        if its pixels are not as many as its header says.
    SourceError
        If the system is short of memory or open files.
    """
    file = as_file(path)
    if _is_dicom(file):
        header = probe_dicom_file(file)
        return Header("dicom", header.height, header.width, 1)
    with open_checked(file, "image") as stream:
        found, _, tags = read_header(stream, file, deep=True)
        expect_one_page(stream, file, tags)
    _expect_grey(found, file)
    return found


def probe_page(path: str | os.PathLike[str]) -> Header:
    """As `mmtk.imaging.probe`, which takes the first page of a TIFF in the official sets; here it must be the only one.

    A second page that is smaller, or marked as a smaller copy or a mask, does not count.
    """
    header = probe(path)
    if header.format == "tiff":
        file = as_file(path)
        with open_file(file, "image") as stream:
            expect_one_page(stream, file, read_header(stream, file).tags)
    return header


def read_values(path: str | os.PathLike[str]) -> Values:
    """Read the values of a grey image.

    A DICOM file is uncompressed, RLE, JPEG baseline or JPEG 2000 lossless; overlays are passed over, and of MONOCHROME1
    the stored range is turned round before the rescale. Bits above those that count are cleared. DICOM and TIFF have no
    checksum, so what leaves a file well-formed is not seen on disk, in a zip it is: a changed byte inside the pixels,
    a changed digit of a rescale or window, or the tag of a table or window function, which may be missing. Alpha is
    dropped, an EXIF orientation applied.

    Parameters
    ----------
    path : path-like
        The file, on disk or in an archive; its name does not matter, its first bytes do.

    Returns
    -------
    Values

    Raises
    ------
    ImageError, SourceError
        For the reasons of `probe_values`, and if the file is cut off or damaged.
    """
    file = as_file(path)
    if _is_dicom(file):
        with reading(file, "DICOM"):
            return _of_dicom(file)
    data = read_file(file, deep=True)
    with reading(file, "image"):
        return _of_image(data, file)


def modality_units(header: Dicom, table: Table | None) -> NDArray[np.float64]:
    """The units of each code: the rescale or the modality table of its number."""
    numbers = header.units
    if table is None:
        slope, intercept = header.rescale
        return np.asarray(numbers * slope + intercept, np.float64)
    places = np.clip(numbers - table.first, 0, len(table.entries) - 1)
    units: NDArray[np.float64] = table.entries[places].astype(np.float64)
    return units


def as_values(units: NDArray[np.float64]) -> NDArray[np.int16] | NDArray[np.float32]:
    """Numbers as int16 where all are whole and fit, else as float32."""
    whole = bool((units == np.floor(units)).all()) and units.min() >= -32768 and units.max() <= 32767
    return units.astype(np.int16) if whole else units.astype(np.float32)


def _of_dicom(file: ImageFile) -> Values:
    header, codes, tables = read_dicom(file)
    units = modality_units(header, tables.get("modality"))
    voi = _Voi(header, codes, units, tables.get("voi"))
    values = as_values(units)
    if header.inverted:  # the largest number of the stored range for the smallest, signed or not
        values = values[np.arange(len(values)) ^ (len(values) - 1)]
    return Values(look_up(values, codes), os.fspath(file), voi)


def _of_image(data: bytes, file: ImageFile) -> Values:
    stream = io.BytesIO(data)
    header, orientation, tags = read_header(stream, file, deep=True)
    expect_one_page(stream, file, tags)
    _expect_grey(header, file)
    pixels: NDArray[np.int16] | NDArray[np.float32]
    if header.format == "png16":
        chunks, parts = check_chunks(data, file)
        pixels = decode_png16(data, file, header, orientation, chunks, parts).astype(np.float32)
    elif header.format == "tiff16":
        pixels = decode_tiff16(data, file, header, tags).astype(np.float32)
    else:
        pixels = decode(data, file, ("truncated",))[0].astype(np.int16)
    return Values(pixels, os.fspath(file))


def _is_dicom(file: ImageFile) -> bool:
    with open_file(file, "image") as stream:
        return is_dicom(stream.read(START))


def _expect_grey(header: Header, file: ImageFile) -> None:
    if header.channels > 2:
        raise ImageError(file, expected=_GREY, found=f"{header.format.upper()} in colour", remedy=_TO_GREY)
