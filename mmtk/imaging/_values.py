"""Single images as measured values instead of grey levels: DICOM, and 8- or 16-bit grey PNG, JPEG and TIFF."""

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

_TO_GREY = "build it as a colour image, or convert it to grey"
_SET_WINDOW = "give a level and a width"


@dataclass(frozen=True, eq=False)
class Values:
    """The measured values of an image; larger values are brighter.

    Attributes
    ----------
    pixels : ndarray of int16 or float32, shape (h, w)
        In the units of the modality: for DICOM after rescale slope and intercept, or the modality look-up table. The
        dtype is int16 if all values that the file's bits can represent are integers and fit, so that similar files give
        the same dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from mmtk.imaging import Values
    >>> Values(np.array([[0, 900]], np.int16)).pixels.dtype
    dtype('int16')
    """

    pixels: NDArray[np.int16] | NDArray[np.float32]
    _file: str = field(default="values", repr=False)
    _voi: _Voi | None = field(default=None, repr=False)

    def grey_by_voi(self) -> NDArray[np.uint8]:
        """Convert to grey levels with the file's own VOI look-up table or, failing that, its window.

        If there are several, the first is used. The result is that of pydicom's ``apply_voi_lut``, mapped from its
        range to 0 to 255 with halves rounded up; MONOCHROME1 is inverted before rounding.

        Returns
        -------
        ndarray of uint8, shape (h, w)

        Raises
        ------
        ImageError
            If the file has neither, or its window cannot be used.
        """
        if self._voi is None:
            raise ImageError(self._file, "has no window of its own: it is not a DICOM file", remedy=_SET_WINDOW)
        return self._voi.greys(self._file)


@dataclass(frozen=True, eq=False)
class _Voi:
    """What is needed to apply a window or VOI look-up table: the pixel codes, and the units of each code."""

    header: Dicom
    codes: NDArray[np.uint16] | NDArray[np.uint8]
    units: NDArray[np.float64]  # by code
    table: Table | None

    def greys(self, file: str) -> NDArray[np.uint8]:
        shares = self._shares(file)
        if self.header.inverted:
            shares = 1 - shares
        levels = np.floor(np.round(shares * 255, 9) + 0.5).astype(np.uint8)  # round(9): inverted halves stay halves
        return look_up(levels, self.codes)

    def _shares(self, file: str) -> NDArray[np.float64]:
        """Brightness of each code, from 0 for black to 1 for white."""
        if self.table is not None:
            places = np.clip(np.floor(self.units - self.table.first), 0, len(self.table.entries) - 1)
            entries: NDArray[np.float64] = self.table.entries[places.astype(np.int64)] / ((1 << self.table.bits) - 1.0)
            return entries
        if not isinstance(self.header.window, tuple):
            reason = f": {self.header.window}" if self.header.window else ""
            raise ImageError(file, f"has no usable window or look-up table{reason}", remedy=_SET_WINDOW)
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
    """Read the header of a greyscale DICOM, PNG, JPEG or TIFF file without decoding its pixels.

    Parameters
    ----------
    path : path-like
        The file, on disk or in an archive.

    Returns
    -------
    Header
        Its format is "dicom", "png16", "tiff16", "png", "jpeg" or "tiff".

    Raises
    ------
    ImageError
        As for `mmtk.imaging.probe`, except that 16-bit grey PNG and TIFF are accepted, while colour and TIFFs with
        several pages are not. For a DICOM file: if it has several frames, colour, no pixels or an unsupported transfer
        syntax, or is a DICOMDIR; if an element is out of order, has an unknown VR or extends beyond the file; or if the
        length of its pixels does not match its header.
    SourceError
        If the system is short of memory or open files.

    Examples
    --------
    >>> import cv2
    >>> import numpy as np
    >>> import mmtk
    >>> cv2.imwrite("xray.png", np.full((60, 80), 3000, np.uint16))
    True
    >>> mmtk.imaging.probe_values("xray.png")
    Header(format='png16', height=60, width=80, channels=1)
    """
    file = as_file(path)
    if _is_dicom(file):
        header = probe_dicom_file(file)
        return Header("dicom", header.height, header.width, 1)
    with open_checked(file, "image") as stream:
        image_header, _, tags = read_header(stream, file, deep=True)
        expect_one_page(stream, file, tags)
    _expect_grey(image_header, file)
    return image_header


def probe_page(path: str | os.PathLike[str]) -> Header:
    """Read a header like `mmtk.imaging.probe`, but refuse a TIFF with several pages.

    For the official datasets, `probe` takes the first page. A second page that is smaller, or marked as a smaller copy
    or a mask, is allowed.

    Parameters
    ----------
    path : path-like
        The file, on disk or in an archive.

    Returns
    -------
    Header

    Raises
    ------
    ImageError, SourceError
        As for `mmtk.imaging.probe`, and if a TIFF has several pages.

    Examples
    --------
    >>> import mmtk
    >>> from pathlib import Path
    >>> file = min(Path("sources").rglob("benign*.png"))
    >>> mmtk.imaging.probe_page(file) == mmtk.imaging.probe(file)
    True
    """
    header = probe(path)
    if header.format == "tiff":
        file = as_file(path)
        with open_file(file, "image") as stream:
            expect_one_page(stream, file, read_header(stream, file).tags)
    return header


def read_values(path: str | os.PathLike[str]) -> Values:
    """Read the measured values of a greyscale image.

    DICOM may be uncompressed, RLE, JPEG baseline or JPEG 2000 lossless. Overlays are ignored, the stored range of
    MONOCHROME1 is inverted before the rescale, and bits above the stored ones are cleared. DICOM and TIFF have no
    checksum, so damage that leaves a file well-formed is noticed in a zip but not on disk: a changed byte inside the
    pixels, a changed digit of a rescale or window, a changed tag of an optional element. Alpha is dropped, and an EXIF
    orientation is applied.

    Parameters
    ----------
    path : path-like
        The file, on disk or in an archive. Its format is recognised by its first bytes, not by its name.

    Returns
    -------
    Values

    Raises
    ------
    ImageError, SourceError
        As for `probe_values`, and if the file is cut off or damaged.

    Examples
    --------
    >>> import cv2
    >>> import numpy as np
    >>> import mmtk
    >>> cv2.imwrite("xray.png", np.full((60, 80), 3000, np.uint16))
    True
    >>> float(mmtk.imaging.read_values("xray.png").pixels.max())
    3000.0
    """
    file = as_file(path)
    if _is_dicom(file):
        with reading(file, "DICOM"):
            return _of_dicom(file)
    data = read_file(file, deep=True)
    with reading(file, "image"):
        return _of_image(data, file)


def modality_units(header: Dicom, table: Table | None) -> NDArray[np.float64]:
    """The value of each code after the rescale or modality look-up table."""
    numbers = header.units
    if table is None:
        slope, intercept = header.rescale
        return np.asarray(numbers * slope + intercept, np.float64)
    places = np.clip(numbers - table.first, 0, len(table.entries) - 1)
    units: NDArray[np.float64] = table.entries[places].astype(np.float64)
    return units


def as_values(units: NDArray[np.float64]) -> NDArray[np.int16] | NDArray[np.float32]:
    """Values as int16 if all are integers and fit, else as float32."""
    whole = bool((units == np.floor(units)).all()) and units.min() >= -32768 and units.max() <= 32767
    return units.astype(np.int16) if whole else units.astype(np.float32)


def _of_dicom(file: ImageFile) -> Values:
    header, codes, tables = read_dicom(file)
    units = modality_units(header, tables.get("modality"))
    voi = _Voi(header, codes, units, tables.get("voi"))
    values = as_values(units)
    if header.inverted:  # reverses the stored range, signed or not
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
        raise ImageError(file, f"is a colour {header.format.upper()}, not greyscale", remedy=_TO_GREY)
