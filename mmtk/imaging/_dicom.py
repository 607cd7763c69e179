"""DICOM: what the header of a single grey image says, what is refused and why, and the whole numbers stored."""

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
from mmtk.imaging._elements import EXPAND, LONG, META, PIXELS, UNDEFINED, Coding, Element, Elements, name
from mmtk.imaging._files import AGAIN, MAX_BYTES, MAX_SIDE, MIN_SIDE, ImageFile, as_file, open_checked, open_file
from mmtk.imaging.foreign import MOST_BYTES, describe_any

START = 132  # bytes before the first element: a preamble of 128, and the mark
_MARK = b"DICM"
_WRITE = "write it again with `gdcmconv IN OUT`"
_CODINGS = {
    "1.2.840.10008.1.2": Coding(False, "<"),
    "1.2.840.10008.1.2.1": Coding(True, "<"),
    "1.2.840.10008.1.2.2": Coding(True, ">"),
}
_PACKINGS = {  # transfer syntaxes, with the word whether they are read
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
_OTHER_PIXELS = {0x7FE00001: "extended offsets", 0x7FE00008: "floating pixels", 0x7FE00009: "double floating pixels"}
_KINDS = {
    MODALITY: "CS", CHARSET: "CS", SUBJECT: "LO", SERIES: "UI", POSITION: "DS", ORIENTATION: "DS", _META_LENGTH: "UL",
    _STORED_AS: "UI", _SYNTAX: "UI", _SAMPLES: "US", _PHOTOMETRIC: "CS", _FRAMES: "IS", _ROWS: "US", _COLUMNS: "US",
    _SPACING: "DS", _ALLOCATED: "US", _STORED: "US", _HIGH: "US", _SIGNED: "US", _CENTER: "DS", _WIDTH: "DS",
    _INTERCEPT: "DS", _SLOPE: "DS", _FUNCTION: "CS", _MODALITY_LUT: "SQ", _VOI_LUT: "SQ",
}
_READ = frozenset(_KINDS) - {CHARSET, SUBJECT, _MODALITY_LUT, _VOI_LUT}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class Table(NamedTuple):
    """A look-up table: the value that its first entry is for, the bits of its entries, and these."""

    first: int
    bits: int
    entries: NDArray[np.uint16]


class Dicom(NamedTuple):
    """What a file says of its image.

    ``rescale`` is slope and intercept, ``window`` center, width and function, each None where the file names none, or
    the reason why it cannot be used; ``position``, ``orientation`` and ``spacing`` are empty where it names none.
    """

    height: int
    width: int
    allocated: int
    stored: int
    signed: bool
    inverted: bool
    packing: str
    coding: Coding
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
        """The number that each code of the stored bits stands for."""
        codes = np.arange(1 << self.stored)
        return np.where(codes >> self.stored - 1, codes - (1 << self.stored), codes) if self.signed else codes


def is_dicom(head: bytes) -> bool:
    return head[START - 4 : START] == _MARK


def _refuse(head: bytes, path: ImageFile) -> NoReturn:
    """Refuse what does not start as a DICOM file does, with what it is."""
    found, remedy = describe_any(head, "save it as DICOM")
    if head[:4] == b"\2\0\0\0" or (head[:2] == b"\x08\0" and head[4:6] in (b"UI", b"CS", b"UL", b"DA", b"TM")):
        found, remedy = "one without its first 132 bytes", _WRITE
    raise ImageError(path, expected="a DICOM file", found=found, remedy=remedy)


def dicom_subject(path: str | os.PathLike[str]) -> str:
    """The patient's id in a DICOM file, which no other function here reads; nothing else of the patient is read.

    Parameters
    ----------
    path : path-like
        The file, on disk or in an archive.

    Returns
    -------
    str
        Empty where the file names none.

    Raises
    ------
    ImageError
        If the file cannot be read or is no DICOM file, or the id is in an unknown character set.
    """
    file = as_file(path)
    with open_file(file, "DICOM") as stream:
        elements, coding, _ = _start(stream, file)
        charset = ""
        for element in elements.walk(coding):
            if element.tag > SUBJECT:
                break
            if element.tag == CHARSET:
                charset = (_texts(elements, element) or [""])[0]
            if element.tag == SUBJECT:
                _expect_kind(elements, element)
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
        expected = "a patient's id in the character set that the file names"
        found = f"other bytes than {charset or 'ASCII'} has"
        raise ImageError(path, expected=expected, found=found, remedy="write it in UTF-8 (ISO_IR 192)") from None


def probe_dicom(stream: IO[bytes], path: ImageFile) -> Dicom:
    """The header of a single grey image, of an open file that stands at its start."""
    return _read_header(*_start(stream, path))


def read_dicom(path: ImageFile) -> tuple[Dicom, NDArray[np.uint16] | NDArray[np.uint8], dict[str, Table]]:
    """A file's header, the codes of its pixels, bits above those that count cleared, and its look-up tables."""
    with open_file(path, "DICOM") as stream:
        if isinstance(path, Path):
            return _read(stream, path)
        data = stream.read(MAX_BYTES + 1)  # to its end, where the checksum is compared
    return _read(io.BytesIO(data), path, len(data))


def probe_dicom_file(path: ImageFile) -> Dicom:
    with open_checked(path, "DICOM") as stream:
        return probe_dicom(stream, path)


def _read(
    stream: IO[bytes], path: ImageFile, size: int | None = None
) -> tuple[Dicom, NDArray[np.uint16] | NDArray[np.uint8], dict[str, Table]]:
    elements, coding, packing = _start(stream, path, size)
    header = _read_header(elements, coding, packing)
    dtype = np.dtype(np.uint8) if header.allocated == 8 else np.dtype(coding.order + "u2")
    stream.seek(header.pixels.at)
    if packing:
        fragments = _fragments(elements, header)
        codes = _encapsulated.DECODERS[packing](fragments, path, header)
        _expect_end(elements, coding)
    else:
        raw = elements.take(header.pixels.length)
        codes = np.frombuffer(raw, dtype, header.height * header.width)
        _expect_end(elements, coding)
    codes = codes.reshape(header.height, header.width).astype(dtype.newbyteorder("="), copy=False)
    if int(codes.max()) >> header.stored:  # else they need no copy
        codes = codes & dtype.type((1 << header.stored) - 1)
    tables = {key: _read_table(elements, element, header) for key, element in header.tables.items()}
    return header, codes, tables


def _fragments(elements: Elements, header: Dicom) -> list[bytes]:
    """The bytes of a single frame's fragments, behind the table of their places, which may be empty."""
    items = [
        elements.take(item.length) if item.length < MAX_BYTES else b"" for item in elements.items(header.pixels, META)
    ]
    if len(items) < 2 or items[0] not in (b"", b"\0\0\0\0") or not all(items[1:]):
        raise elements.damage("packed pixels in no order that one image has")
    return items[1:]


def _expect_end(elements: Elements, coding: Coding) -> None:
    """Walk over what stands behind the pixels: nothing, padding or signatures, whole."""
    for element in elements.walk(coding):
        if element.tag <= PIXELS:
            raise elements.damage(f"the element {name(element.tag)} behind the pixels")


def _start(stream: IO[bytes], path: ImageFile, size: int | None = None) -> tuple[Elements, Coding, str]:
    """The walk of an open file at its first element behind the meta information, how it is coded, and its packing."""
    head = stream.read(START)
    if not is_dicom(head):
        _refuse(head + stream.read(MOST_BYTES - START), path)
    elements = Elements(stream, path, os.fstat(stream.fileno()).st_size if isinstance(path, Path) else size)
    meta: dict[int, list[str]] = {}
    length, first = -1, START + 12
    for element in elements.walk(META):
        if element.tag >> 16 != 2:
            stream.seek(element.at - (12 if element.kind in LONG else 8))
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
        found, remedy = "a DICOMDIR, the index of a medium", "give the images that it lists"
        raise ImageError(path, expected="an image", found=found, remedy=remedy)
    syntax = "".join(meta.get(_SYNTAX, []))
    packing, proved = _PACKINGS.get(syntax, (f"transfer syntax {syntax or 'not named'}", syntax in _CODINGS))
    if not proved:
        expected = "pixels uncompressed, or packed as RLE, JPEG baseline or JPEG 2000 lossless"
        raise ImageError(path, expected=expected, found=f"{packing} ({syntax})", remedy=EXPAND)
    return elements, _CODINGS.get(syntax, META), packing if syntax in _PACKINGS else ""


def _expect_whole_meta(found: int, told: int, path: ImageFile) -> None:
    if found != told:
        expected = f"{told} bytes of file meta information, as it says"
        raise ImageError(path, expected=expected, found=f"{found} bytes", remedy=AGAIN)


def _read_header(elements: Elements, coding: Coding, packing: str) -> Dicom:
    path = elements.path
    values: dict[int, list[str]] = {}
    whole: dict[int, int] = {}
    tables: dict[str, Element] = {}
    pixels = None
    other = "none"
    for element in elements.walk(coding):
        _expect_kind(elements, element)
        if element.tag == PIXELS:
            pixels = element
            break
        other = _OTHER_PIXELS.get(element.tag, other)
        if element.tag in (_MODALITY_LUT, _VOI_LUT) and element.length:
            tables["modality" if element.tag == _MODALITY_LUT else "voi"] = element
        elif element.tag in _READ and _KINDS[element.tag] == "US":
            if element.length != 2:
                raise elements.damage(f"{element.length} bytes in the element {name(element.tag)}")
            whole[element.tag] = struct.unpack(coding.order + "H", elements.value(element))[0]
        elif element.tag in _READ:
            values[element.tag] = _texts(elements, element)
    if pixels is None:
        remedy = "leave it out" if other == "none" else "save whole numbers of 16 bits"
        raise ImageError(path, expected="a DICOM file with pixels", found=other, remedy=remedy)
    inverted = _expect_grey(values, whole, path)
    height, width = whole.get(_ROWS, 0), whole.get(_COLUMNS, 0)
    if min(height, width) < MIN_SIDE or max(height, width) > MAX_SIDE:
        raise ImageError(path, expected=f"{MIN_SIDE} to {MAX_SIDE} pixels a side", found=f"{width} x {height} pixels")
    allocated, stored, signed = (whole.get(tag, -1) for tag in (_ALLOCATED, _STORED, _SIGNED))
    if allocated not in (8, 16) or not 1 <= stored <= allocated or signed not in (0, 1):
        found = f"{stored} bits in {allocated}, sign {signed}"
        raise ImageError(path, expected="whole numbers of 8 or 16 bits", found=found, remedy="save them as such")
    if whole.get(_HIGH) != stored - 1:
        expected, found = f"bit {stored - 1} as the highest", f"bit {whole.get(_HIGH, 'none')}"
        raise ImageError(path, expected=expected, found=found, remedy=_WRITE)
    rescale = _rescale(values, tables, path)
    header = Dicom(
        height, width, allocated, stored, bool(signed), inverted, packing, coding, pixels, rescale or (1.0, 0.0),
        rescale is not None, _window(values), tables, "".join(values.get(SERIES, [])),
        "".join(values.get(MODALITY, [])),
        *(_numbers(values, tag, count, path) for tag, count in ((POSITION, 3), (ORIENTATION, 6), (_SPACING, 2))),
    )
    _expect_length(header, elements)
    return header


def _expect_kind(elements: Elements, element: Element) -> None:
    if element.kind and element.kind != _KINDS.get(element.tag, element.kind):
        raise elements.damage(f"the kind {element.kind} of the element {name(element.tag)}")


def _texts(elements: Elements, element: Element) -> list[str]:
    """The texts of a value, none where it is empty."""
    text = elements.value(element).decode("latin-1").rstrip(" \0")
    return [part.strip(" ") for part in text.split("\\")] if text else []


def _expect_grey(values: dict[int, list[str]], whole: dict[int, int], path: ImageFile) -> bool:
    """Whether the smallest number is white; several frames or channels are refused."""
    frames = values.get(_FRAMES, ["1"])
    if frames != ["1"]:
        remedy = "write each frame to a file of its own"
        raise ImageError(path, expected="one frame a file", found=f"{' '.join(frames) or 'none'}", remedy=remedy)
    photometric = "".join(values.get(_PHOTOMETRIC, []))
    samples = whole.get(_SAMPLES)
    if photometric not in ("MONOCHROME1", "MONOCHROME2") or samples != 1:
        expected = "one grey value a pixel (MONOCHROME1 or MONOCHROME2)"
        found = f"{photometric or 'nothing'} of {samples or 'no'} values"
        raise ImageError(path, expected=expected, found=found, remedy="save a colour image as PNG")
    return photometric == "MONOCHROME1"


def _expect_length(header: Dicom, elements: Elements) -> None:
    path, pixels, wanted = elements.path, header.pixels, header.bytes
    if header.packing:
        if pixels.length != UNDEFINED:
            raise elements.damage("packed pixels that are not in fragments")
        if pixels.kind not in ("OB", "OW"):
            raise elements.damage(f"pixels of the kind {pixels.kind}")
        return
    if header.coding.order == ">" and header.allocated == 8 and pixels.kind != "OB":
        raise ImageError(path, expected="pixels of 8 bits one by one", found="words of two", remedy=EXPAND)
    if pixels.kind not in ("OB", "OW", "") or (pixels.kind == "OB" and header.allocated == 16):
        raise elements.damage(f"pixels of the kind {pixels.kind}")
    if pixels.length not in (wanted, wanted + wanted % 2):
        found = "none told" if pixels.length == UNDEFINED else str(pixels.length)
        expected = f"{wanted} bytes of pixels, {header.width} x {header.height} of {header.allocated} bits"
        raise ImageError(path, expected=expected, found=found, remedy=AGAIN)


def _number(text: str) -> float:
    """A decimal number, NaN for anything else."""
    return float(text) if _NUMBER.fullmatch(text) and math.isfinite(float(text)) else math.nan


def _numbers(values: dict[int, list[str]], tag: int, count: int, path: ImageFile) -> tuple[float, ...]:
    numbers = tuple(map(_number, values.get(tag, [])))
    if numbers and (len(numbers) != count or not all(map(math.isfinite, numbers))):
        found = "\\".join(values[tag])
        raise ImageError(path, expected=f"{count} numbers in the element {name(tag)}", found=found, remedy=AGAIN)
    return numbers


def _rescale(
    values: dict[int, list[str]], tables: dict[str, Element], path: ImageFile
) -> tuple[float, float] | None:
    slope, intercept = (_numbers(values, tag, 1, path) for tag in (_SLOPE, _INTERCEPT))
    if not slope and not intercept:
        return None
    if not (slope and intercept) or slope[0] == 0 or "modality" in tables:
        found = "a table as well" if slope and intercept and slope[0] else "one alone, or a slope of 0"
        raise ImageError(path, expected="a rescale slope with its intercept", found=found, remedy=_WRITE)
    return slope[0], intercept[0]


def _window(values: dict[int, list[str]]) -> tuple[float, float, str] | str | None:
    """The first window, why it cannot be used, or None."""
    centers, widths = values.get(_CENTER, []), values.get(_WIDTH, [])
    if not centers and not widths:
        return None
    function = "".join(values.get(_FUNCTION, [])).upper() or "LINEAR"
    if len(centers) != len(widths):
        return f"{len(centers)} centers and {len(widths)} widths of its windows"
    center, width = _number(centers[0]), _number(widths[0])
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        return f"the unknown window function {function}"
    if not (math.isfinite(center) and (width >= 1 if function == "LINEAR" else width > 0)):
        return f"a window of center {centers[0]} and width {widths[0]}"
    return center, width, function


def _read_table(elements: Elements, sequence: Element, header: Dicom) -> Table:
    """The look-up table of a sequence's first item."""
    order = header.coding.order
    shape, data = b"", b""
    for item in elements.items(sequence, header.coding):
        end = None if item.length == UNDEFINED else item.at + item.length
        for element in elements.walk(header.coding, end, depth=1):
            if element.tag == _LUT_SHAPE:
                shape = elements.value(element)
            if element.tag == _LUT_DATA:
                data = elements.value(element)
        break
    count, first, bits = struct.unpack(order + "HHH", shape) if len(shape) == 6 else (0, 0, 0)
    count = count or 1 << 16
    if not 8 <= bits <= 16 or len(data) != 2 * count:
        found = f"{len(data)} bytes for {count} entries of {bits} bits"
        raise ImageError(elements.path, expected="a look-up table of words of 8 to 16 bits", found=found, remedy=_WRITE)
    entries = np.frombuffer(data, order + "u2").astype(np.uint16)
    if int(entries.max()) >> bits:
        raise elements.damage(f"an entry of {entries.max()} in a look-up table of {bits} bits")
    signed = first >= 1 << 15 and (header.signed or header.rescale[1] < 0)
    return Table(first - (1 << 16) if signed else first, bits, entries)
