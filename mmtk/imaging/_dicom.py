"""DICOM: the header and the stored integers of a single greyscale image, and what is refused."""

from __future__ import annotations

import io
import math
import os
import re
import struct
from pathlib import Path
from typing import IO, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import ImageError
from mmtk.imaging import _encapsulated
from mmtk.imaging._elements import EXPAND, LONG, META, PIXELS, UNDEFINED, Element, Elements, Encoding, name
from mmtk.imaging._files import MAX_BYTES, MAX_SIDE, MIN_SIDE, ImageFile, as_file, damaged, open_checked, open_file
from mmtk.imaging.filetypes import MOST_BYTES, identify_any

START = 132  # bytes before the first element: a 128-byte preamble and the prefix
_MARK = b"DICM"
_WRITE = "rewrite it with `gdcmconv IN OUT`"
_ENCODINGS = {
    "1.2.840.10008.1.2": Encoding(False, "<"),
    "1.2.840.10008.1.2.1": Encoding(True, "<"),
    "1.2.840.10008.1.2.2": Encoding(True, ">"),
}
_PACKINGS = {  # compressed transfer syntaxes, and whether they are supported
    "1.2.840.10008.1.2.1.99": ("deflate", False),
    "1.2.840.10008.1.2.4.50": ("JPEG baseline", True),
    "1.2.840.10008.1.2.4.51": ("JPEG extended", False),
    "1.2.840.10008.1.2.4.57": ("JPEG lossless", False),
    "1.2.840.10008.1.2.4.70": ("JPEG lossless", False),
    "1.2.840.10008.1.2.4.80": ("JPEG-LS", False),
    "1.2.840.10008.1.2.4.81": ("JPEG-LS", False),
    "1.2.840.10008.1.2.4.90": ("JPEG 2000 lossless", True),
    "1.2.840.10008.1.2.4.91": ("JPEG 2000", False),
    "1.2.840.10008.1.2.4.201": ("HTJ2K", False),
    "1.2.840.10008.1.2.4.202": ("HTJ2K", False),
    "1.2.840.10008.1.2.4.203": ("HTJ2K", False),
    "1.2.840.10008.1.2.5": ("RLE", True),
}
_DIRECTORY = "1.2.840.10008.1.3.10"
CHARSET, SUBJECT, SERIES, POSITION, ORIENTATION = 0x00080005, 0x00100020, 0x0020000E, 0x00200032, 0x00200037
MODALITY = 0x00080060
_META_LENGTH, _STORED_AS, _SYNTAX = 0x00020000, 0x00020002, 0x00020010
_SAMPLES, _PHOTOMETRIC, _FRAMES, _ROWS, _COLUMNS, _SPACING = (
    0x00280002, 0x00280004, 0x00280008, 0x00280010, 0x00280011, 0x00280030,
)
_ALLOCATED, _STORED, _HIGH, _SIGNED = 0x00280100, 0x00280101, 0x00280102, 0x00280103
_CENTER, _WIDTH, _INTERCEPT, _SLOPE, _FUNCTION = 0x00281050, 0x00281051, 0x00281052, 0x00281053, 0x00281056
_MODALITY_LUT, _VOI_LUT = 0x00283000, 0x00283010
_LUT_SHAPE, _LUT_DATA = 0x00283002, 0x00283006
_OTHER_PIXELS = {
    0x7FE00001: "an extended offset table", 0x7FE00008: "float pixels", 0x7FE00009: "double float pixels",
}
_VRS = {
    MODALITY: "CS", CHARSET: "CS", SUBJECT: "LO", SERIES: "UI", POSITION: "DS", ORIENTATION: "DS", _META_LENGTH: "UL",
    _STORED_AS: "UI", _SYNTAX: "UI", _SAMPLES: "US", _PHOTOMETRIC: "CS", _FRAMES: "IS", _ROWS: "US", _COLUMNS: "US",
    _SPACING: "DS", _ALLOCATED: "US", _STORED: "US", _HIGH: "US", _SIGNED: "US", _CENTER: "DS", _WIDTH: "DS",
    _INTERCEPT: "DS", _SLOPE: "DS", _FUNCTION: "CS", _MODALITY_LUT: "SQ", _VOI_LUT: "SQ",
}
_READ = frozenset(_VRS) - {CHARSET, SUBJECT, _MODALITY_LUT, _VOI_LUT}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class Table(NamedTuple):
    """A look-up table: the first input value that it maps, the bits per entry, and the entries."""

    first: int
    bits: int
    entries: NDArray[np.uint16]


class Dicom(NamedTuple):
    """The header of a DICOM image.

    ``rescale`` is slope and intercept. ``window`` is center, width and function, None if the file has none, or the
    reason why it cannot be used. ``position``, ``orientation`` and ``spacing`` are empty if the file has none.
    """

    height: int
    width: int
    allocated: int
    stored: int
    signed: bool
    inverted: bool
    packing: str
    encoding: Encoding
    pixels: Element
    rescale: tuple[float, float]
    rescaled: bool
    window: tuple[float, float, str] | str | None
    tables: dict[str, Element]
    series: str
    modality: str
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]

    @property
    def bytes(self) -> int:
        return self.height * self.width * self.allocated // 8

    @property
    def units(self) -> NDArray[np.int64]:
        """The number that each stored code represents."""
        codes = np.arange(1 << self.stored)
        return np.where(codes >> self.stored - 1, codes - (1 << self.stored), codes) if self.signed else codes


def is_dicom(head: bytes) -> bool:
    return head[START - 4 : START] == _MARK


def _refuse(head: bytes, path: ImageFile) -> NoReturn:
    """Refuse a file that does not start like a DICOM file, and say what it is."""
    if head[:4] == b"\2\0\0\0" or (head[:2] == b"\x08\0" and head[4:6] in (b"UI", b"CS", b"UL", b"DA", b"TM")):
        raise ImageError(path, "is a DICOM file without its first 132 bytes (preamble and prefix)", remedy=_WRITE)
    file_type, remedy = identify_any(head, "save it as DICOM")
    raise ImageError(path, f"is {file_type}, not a DICOM file", remedy=remedy)


def dicom_subject(path: str | os.PathLike[str]) -> str:
    """Read the patient ID of a DICOM file. No other function reads it, and nothing else about the patient is read.

    Parameters
    ----------
    path : path-like
        The file, on disk or in an archive.

    Returns
    -------
    str
        The patient ID; empty if the file has none.

    Raises
    ------
    ImageError
        If the file cannot be read or is not DICOM, or the patient ID cannot be decoded.

    Examples
    --------
    >>> import mmtk
    >>> try:
    ...     mmtk.imaging.dicom_subject("breastmnist.npz")
    ... except mmtk.MmtkError as error:
    ...     print(error)
    breastmnist.npz: is a zip archive, not a DICOM file; unpack it
    """
    file = as_file(path)
    with open_file(file, "DICOM") as stream:
        elements, encoding, _ = _start(stream, file)
        charset = ""
        for element in elements.walk(encoding):
            if element.tag > SUBJECT:
                break
            if element.tag == CHARSET:
                charset = (_texts(elements, element) or [""])[0]
            if element.tag == SUBJECT:
                _expect_vr(elements, element)
                return _decoded(elements.value(element), charset, file)
    return ""


_CHARSETS = {
    "": "ascii", "ISO_IR 6": "ascii", "ISO_IR 100": "latin-1", "ISO_IR 101": "iso8859-2", "ISO_IR 109": "iso8859-3",
    "ISO_IR 110": "iso8859-4", "ISO_IR 144": "iso8859-5", "ISO_IR 127": "iso8859-6", "ISO_IR 126": "iso8859-7",
    "ISO_IR 138": "iso8859-8", "ISO_IR 148": "iso8859-9", "ISO_IR 166": "tis-620", "ISO_IR 192": "utf-8",
    "GB18030": "gb18030", "GBK": "gbk",
}


def _decoded(raw: bytes, charset: str, path: ImageFile) -> str:
    raw = raw.strip(b" \0")
    try:
        return raw.decode("ascii" if raw.isascii() else _CHARSETS[charset]).strip()
    except (KeyError, UnicodeDecodeError):
        problem = f"has a patient ID that cannot be decoded as {charset or 'ASCII'}"
        raise ImageError(path, problem, remedy="rewrite it in UTF-8 (ISO_IR 192)") from None


def probe_dicom(stream: IO[bytes], path: ImageFile) -> Dicom:
    """Read the header of a single greyscale image from an open file positioned at its start."""
    return _read_header(*_start(stream, path))


def read_dicom(path: ImageFile) -> tuple[Dicom, NDArray[np.uint16] | NDArray[np.uint8], dict[str, Table]]:
    """Read a file's header, the codes of its pixels (bits above the stored ones cleared), and its look-up tables."""
    with open_file(path, "DICOM") as stream:
        if isinstance(path, Path):
            return _read(stream, path)
        data = stream.read(MAX_BYTES + 1)  # to the end, where the archive's checksum is compared
    return _read(io.BytesIO(data), path, len(data))


def probe_dicom_file(path: ImageFile) -> Dicom:
    with open_checked(path, "DICOM") as stream:
        return probe_dicom(stream, path)


def _read(
    stream: IO[bytes], path: ImageFile, size: int | None = None
) -> tuple[Dicom, NDArray[np.uint16] | NDArray[np.uint8], dict[str, Table]]:
    elements, encoding, packing = _start(stream, path, size)
    header = _read_header(elements, encoding, packing)
    dtype = np.dtype(np.uint8) if header.allocated == 8 else np.dtype(encoding.order + "u2")
    stream.seek(header.pixels.at)
    if packing:
        fragments = _fragments(elements, header)
        codes = _encapsulated.DECODERS[packing](fragments, path, header)
        _expect_end(elements, encoding)
    else:
        raw = elements.take(header.pixels.length)
        codes = np.frombuffer(raw, dtype, header.height * header.width)
        _expect_end(elements, encoding)
    codes = codes.reshape(header.height, header.width).astype(dtype.newbyteorder("="), copy=False)
    if int(codes.max()) >> header.stored:  # otherwise avoid the copy
        codes = codes & dtype.type((1 << header.stored) - 1)
    tables = {key: _read_table(elements, element, header) for key, element in header.tables.items()}
    return header, codes, tables


def _fragments(elements: Elements, header: Dicom) -> list[bytes]:
    """The fragments of a single frame, after the basic offset table, which may be empty."""
    items = [
        elements.take(item.length) if item.length < MAX_BYTES else b"" for item in elements.items(header.pixels, META)
    ]
    if len(items) < 2 or items[0] not in (b"", b"\0\0\0\0") or not all(items[1:]):
        raise elements.damage("its pixel fragments do not form a single image")
    return items[1:]


def _expect_end(elements: Elements, encoding: Encoding) -> None:
    """Check the elements after the pixels, such as padding or signatures."""
    for element in elements.walk(encoding):
        if element.tag <= PIXELS:
            raise elements.damage(f"element {name(element.tag)} follows the pixels")


def _start(stream: IO[bytes], path: ImageFile, size: int | None = None) -> tuple[Elements, Encoding, str]:
    """Read the file meta information; return the elements after it, their encoding, and the pixels' compression."""
    head = stream.read(START)
    if not is_dicom(head):
        _refuse(head + stream.read(MOST_BYTES - START), path)
    elements = Elements(stream, path, os.fstat(stream.fileno()).st_size if isinstance(path, Path) else size)
    meta: dict[int, list[str]] = {}
    length, first = -1, START + 12
    for element in elements.walk(META):
        if element.tag >> 16 != 2:
            stream.seek(element.at - (12 if element.vr in LONG else 8))
            break
        if element.tag == _META_LENGTH and element.length == 4:
            length = struct.unpack("<I", elements.value(element))[0]
        if element.tag in (_STORED_AS, _SYNTAX):
            meta[element.tag] = _texts(elements, element)
        if length >= 0 and element.at + element.length == first + length:
            stream.seek(first + length)
            break
    if length >= 0:
        _expect_whole_meta(stream.tell() - first, length, path)
    if meta.get(_STORED_AS) == [_DIRECTORY]:
        raise ImageError(path, "is a DICOMDIR index, not an image", remedy="give the images that it lists")
    syntax = "".join(meta.get(_SYNTAX, []))
    packing, supported = _PACKINGS.get(syntax, ("unknown", syntax in _ENCODINGS))
    if not supported:
        actual = f"{packing} ({syntax})" if syntax else "none"
        expected = "uncompressed, RLE, JPEG baseline or JPEG 2000 lossless"
        raise ImageError(path, "has an unsupported transfer syntax", found=actual, expected=expected, remedy=EXPAND)
    return elements, _ENCODINGS.get(syntax, META), packing if syntax in _PACKINGS else ""


def _expect_whole_meta(actual: int, stated: int, path: ImageFile) -> None:
    if actual != stated:
        raise damaged(path, "DICOM file", f"its file meta information has {actual} bytes, not {stated}")


def _read_header(elements: Elements, encoding: Encoding, packing: str) -> Dicom:
    path = elements.path
    values: dict[int, list[str]] = {}
    whole: dict[int, int] = {}
    tables: dict[str, Element] = {}
    pixels = None
    other = ""
    for element in elements.walk(encoding):
        _expect_vr(elements, element)
        if element.tag == PIXELS:
            pixels = element
            break
        other = _OTHER_PIXELS.get(element.tag, other)
        if element.tag in (_MODALITY_LUT, _VOI_LUT) and element.length:
            tables["modality" if element.tag == _MODALITY_LUT else "voi"] = element
        elif element.tag in _READ and _VRS[element.tag] == "US":
            if element.length != 2:
                raise elements.damage(f"element {name(element.tag)} has {element.length} bytes, not 2")
            whole[element.tag] = struct.unpack(encoding.order + "H", elements.value(element))[0]
        elif element.tag in _READ:
            values[element.tag] = _texts(elements, element)
    if pixels is None:
        if other:
            raise ImageError(path, f"has {other}, which are not supported", remedy="save it with 16-bit integer pixels")
        raise ImageError(path, "has no pixel data", remedy="remove it")
    inverted = _expect_grey(values, whole, path)
    height, width = whole.get(_ROWS, 0), whole.get(_COLUMNS, 0)
    if min(height, width) < MIN_SIDE or max(height, width) > MAX_SIDE:
        raise ImageError(path, found=f"{width} x {height} pixels", expected=f"{MIN_SIDE} to {MAX_SIDE} pixels per side")
    allocated, stored, signed = (whole.get(tag, -1) for tag in (_ALLOCATED, _STORED, _SIGNED))
    if allocated not in (8, 16) or not 1 <= stored <= allocated or signed not in (0, 1):
        layout = f"bits stored {stored}, bits allocated {allocated}, pixel representation {signed}"
        problem = f"has pixels of an unsupported type ({layout})"
        raise ImageError(path, problem, remedy="save it with 8- or 16-bit integer pixels")
    if whole.get(_HIGH) != stored - 1:
        raise ImageError(path, found=f"high bit {whole.get(_HIGH, 'none')}", expected=str(stored - 1), remedy=_WRITE)
    rescale = _rescale(values, tables, path)
    header = Dicom(
        height, width, allocated, stored, bool(signed), inverted, packing, encoding, pixels, rescale or (1.0, 0.0),
        rescale is not None, _window(values), tables, "".join(values.get(SERIES, [])),
        "".join(values.get(MODALITY, [])),
        *(_numbers(values, tag, count, path) for tag, count in ((POSITION, 3), (ORIENTATION, 6), (_SPACING, 2))),
    )
    _expect_length(header, elements)
    return header


def _expect_vr(elements: Elements, element: Element) -> None:
    if element.vr and element.vr != _VRS.get(element.tag, element.vr):
        raise elements.damage(f"element {name(element.tag)} has the VR {element.vr}, not {_VRS[element.tag]}")


def _texts(elements: Elements, element: Element) -> list[str]:
    """The parts of a text value; none if it is empty."""
    text = elements.value(element).decode("latin-1").rstrip(" \0")
    return [part.strip(" ") for part in text.split("\\")] if text else []


def _expect_grey(values: dict[int, list[str]], whole: dict[int, int], path: ImageFile) -> bool:
    """Whether the smallest number is white (MONOCHROME1); several frames or channels are refused."""
    frames = values.get(_FRAMES, ["1"])
    if frames != ["1"]:
        remedy = "save each frame as a separate file"
        raise ImageError(path, found=f"{' '.join(frames) or 'no'} frames", expected="1", remedy=remedy)
    photometric = "".join(values.get(_PHOTOMETRIC, []))
    samples = whole.get(_SAMPLES)
    if photometric not in ("MONOCHROME1", "MONOCHROME2") or samples != 1:
        actual = f"{photometric or 'no photometric interpretation'} with {samples or 'no'} samples per pixel"
        expected = "MONOCHROME1 or MONOCHROME2 with 1"
        raise ImageError(path, "is not greyscale", found=actual, expected=expected, remedy="save colour images as PNG")
    return photometric == "MONOCHROME1"


def _expect_length(header: Dicom, elements: Elements) -> None:
    path, pixels, wanted = elements.path, header.pixels, header.bytes
    if header.packing:
        if pixels.length != UNDEFINED:
            raise elements.damage("its compressed pixels are not in fragments")
        if pixels.vr not in ("OB", "OW"):
            raise elements.damage(f"its pixels have the VR {pixels.vr}")
        return
    if header.encoding.order == ">" and header.allocated == 8 and pixels.vr != "OB":
        problem = "stores 8-bit pixels in 16-bit big-endian words, which is not supported"
        raise ImageError(path, problem, remedy=EXPAND)
    if pixels.vr not in ("OB", "OW", "") or (pixels.vr == "OB" and header.allocated == 16):
        raise elements.damage(f"its pixels have the VR {pixels.vr}")
    if pixels.length not in (wanted, wanted + wanted % 2):
        actual = "no stated length" if pixels.length == UNDEFINED else f"{pixels.length} bytes"
        size = f"{header.width} x {header.height} of {header.allocated} bits"
        raise elements.damage(f"its pixels have {actual}, not {wanted} bytes ({size})")


def _number(text: str) -> float:
    """A decimal number; NaN for anything else."""
    return float(text) if _NUMBER.fullmatch(text) and math.isfinite(float(text)) else math.nan


def _numbers(values: dict[int, list[str]], tag: int, count: int, path: ImageFile) -> tuple[float, ...]:
    numbers = tuple(map(_number, values.get(tag, [])))
    if numbers and (len(numbers) != count or not all(map(math.isfinite, numbers))):
        text = "\\".join(values[tag])
        plural = "number" if count == 1 else "numbers"
        raise damaged(path, "DICOM file", f"element {name(tag)} is {text!r}, not {count} {plural}")
    return numbers


def _rescale(
    values: dict[int, list[str]], tables: dict[str, Element], path: ImageFile
) -> tuple[float, float] | None:
    slope, intercept = (_numbers(values, tag, 1, path) for tag in (_SLOPE, _INTERCEPT))
    if not slope and not intercept:
        return None
    if not (slope and intercept) or slope[0] == 0 or "modality" in tables:
        problem = "has a rescale slope of 0, or only one of rescale slope and intercept"
        if slope and intercept and slope[0]:
            problem = "has both a modality look-up table and a rescale slope and intercept"
        raise ImageError(path, problem, remedy=_WRITE)
    return slope[0], intercept[0]


def _window(values: dict[int, list[str]]) -> tuple[float, float, str] | str | None:
    """The first window, the reason why it cannot be used, or None if there is none."""
    centers, widths = values.get(_CENTER, []), values.get(_WIDTH, [])
    if not centers and not widths:
        return None
    function = "".join(values.get(_FUNCTION, [])).upper() or "LINEAR"
    if len(centers) != len(widths):
        return f"its windows have {len(centers)} centers and {len(widths)} widths"
    center, width = _number(centers[0]), _number(widths[0])
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        return f"its window function {function} is unknown"
    if not (math.isfinite(center) and (width >= 1 if function == "LINEAR" else width > 0)):
        return f"its window has center {centers[0]} and width {widths[0]}"
    return center, width, function


def _read_table(elements: Elements, sequence: Element, header: Dicom) -> Table:
    """The look-up table of a sequence's first item."""
    order = header.encoding.order
    shape, data = b"", b""
    for item in elements.items(sequence, header.encoding):
        end = None if item.length == UNDEFINED else item.at + item.length
        for element in elements.walk(header.encoding, end, depth=1):
            if element.tag == _LUT_SHAPE:
                shape = elements.value(element)
            if element.tag == _LUT_DATA:
                data = elements.value(element)
        break
    count, first, bits = struct.unpack(order + "HHH", shape) if len(shape) == 6 else (0, 0, 0)
    count = count or 1 << 16
    if not 8 <= bits <= 16 or len(data) != 2 * count:
        problem = f"has an invalid look-up table: {len(data)} bytes for {count} entries of {bits} bits"
        raise ImageError(elements.path, problem, remedy=_WRITE)
    entries = np.frombuffer(data, order + "u2").astype(np.uint16)
    if int(entries.max()) >> bits:
        raise elements.damage(f"a look-up table of {bits} bits has the entry {entries.max()}")
    signed = first >= 1 << 15 and (header.signed or header.rescale[1] < 0)
    return Table(first - (1 << 16) if signed else first, bits, entries)
