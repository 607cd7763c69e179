"""Image headers, read from the first bytes of a file: format, size, channels, orientation."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import IO, NamedTuple

from mmtk import files
from mmtk.errors import ImageError
from mmtk.imaging import _files, _tags
from mmtk.imaging._exif import UNCLEAR, common_orientation
from mmtk.imaging._files import CONVERT, MAX_SIDE, MIN_SIDE, ImageFile, damaged, take
from mmtk.imaging.filetypes import MOST_BYTES, identify_any

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_COLOURS = {0: ("grey", 1), 2: ("RGB", 3), 3: ("palette", 1), 4: ("grey with alpha", 2), 6: ("RGB with alpha", 4)}
_JPEG_SIGNATURE = b"\xff\xd8\xff"
_JPEG_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended and progressive, all Huffman
_JPEG_OTHER_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_JPEG_BARE = {0x01, *range(0xD0, 0xD8)}  # markers without a segment
_HEAD = 4096  # bytes that hold most headers
_TAIL = 1 << 14  # bytes at the end of a PNG that are searched for chunks after the pixels; decoding sees the rest
_MOST_AT_END = 100  # chunks after a PNG's pixels
_MOST_SEGMENTS = 10_000  # of a JPEG header, fill bytes included: bounds the walk through a hostile file
MOST_CHUNKS = 1 << 17  # of a PNG: 2 KB of pixels per chunk for the largest image
_LARGEST_EXIF = 1 << 16


class Header(NamedTuple):
    """Format, size and channels of an image file.

    Attributes
    ----------
    format : str
        "png", "jpeg" or "tiff"; from `mmtk.imaging.probe_values` also "png16", "tiff16" or "dicom". For a slice of a
        CT volume it is "nifti", and the size is that of the crop.
    height, width : int
        In pixels, as decoded, that is with the EXIF orientation applied.
    channels : int
        As stored: 1 grey, 2 grey with alpha, 3 colour, 4 colour with alpha.

    Examples
    --------
    >>> from mmtk.imaging import Header
    >>> Header("png", height=562, width=471, channels=3).channels
    3
    """

    format: str
    height: int
    width: int
    channels: int


class FullHeader(NamedTuple):
    """A header with its EXIF orientation, 1 to 8, and the integer tags of a TIFF's first directory."""

    header: Header
    orientation: int
    tags: dict[int, tuple[int, ...]]


def probe(path: str | os.PathLike[str]) -> Header:
    """Read the header of a PNG, JPEG or TIFF file without decoding its pixels.

    Parameters
    ----------
    path : path-like
        The file, on disk or in an archive.

    Returns
    -------
    Header
        Format, size and channels.

    Raises
    ------
    ImageError
        If the file cannot be read, is empty, is not a PNG, JPEG or TIFF by its first bytes, is cut off inside its
        header, is of an unsupported kind (PNG: palette, 1, 2, 4 or 16 bits; JPEG: CMYK, 12 bits, lossless, arithmetic;
        TIFF: anything but 8-bit grey or RGB, uncompressed or PackBits, in strips), has an orientation that decoders
        read differently, has a short side below 16 pixels or a side above 10,000, or is larger than 1 GiB.
    SourceError
        If the system is short of memory or open files, which is not the file's fault.

    Examples
    --------
    >>> import mmtk
    >>> from pathlib import Path
    >>> file = min(Path("sources").rglob("benign*.png"))
    >>> header = mmtk.imaging.probe(file)
    >>> header.format, header.channels
    ('png', 3)
    """
    file = _files.as_file(path)
    if not isinstance(file, Path):
        with _files.open_checked(file, "image") as stream:
            return read_header(stream, file).header
    with _files.reading(file, "image"):
        handle = os.open(file, os.O_RDONLY | files.BINARY)
        try:
            size = os.fstat(handle).st_size
            _files.expect_size(file, size, _files.MAX_BYTES)
            head = os.read(handle, _HEAD)
            tail = None
            if size > len(head) and head.startswith(PNG_SIGNATURE):
                tail = files.read_at(handle, _TAIL, max(len(head), size - _TAIL))
            header = _in_head(head, file, tail, whole=len(head) == size)
            if header is None:
                with open(handle, "rb", buffering=0, closefd=False) as stream:  # without reading ahead
                    stream.seek(0)
                    header = read_header(stream, file, tail).header
        finally:
            os.close(handle)
    return header


def _in_head(head: bytes, path: Path, tail: bytes | None, whole: bool) -> Header | None:
    """The header of a file from its first bytes; None if more bytes may be needed."""
    stream = io.BytesIO(head)
    try:
        header = read_header(stream, path, tail).header
    except ImageError:
        if whole:
            raise
        return None
    return header if whole or stream.tell() < len(head) else None


def read_file(path: ImageFile, deep: bool = False) -> bytes:
    """Read an image file whole, unless it is much larger than its image can be."""
    with _files.reading(path, "image"):
        if not isinstance(path, Path):
            with path.open("rb") as stream:
                data = stream.read(_files.PLENTY + 1)
                if len(data) > _files.PLENTY:
                    data += stream.read(_most_bytes(path, deep) + 1 - len(data))
        else:  # bare system calls: each releases the GIL, and getting it back from another thread is slow
            handle = os.open(path, os.O_RDONLY | files.BINARY)
            try:
                size = os.fstat(handle).st_size
                if size > _files.PLENTY:
                    _files.expect_size(path, size, _most_bytes(path, deep))
                data = os.read(handle, size)
                while len(data) < size and (more := os.read(handle, size - len(data))):
                    data += more
            finally:
                os.close(handle)
        if len(data) > _files.PLENTY:
            _files.expect_size(path, len(data), _most_bytes(path, deep))
    return data


def _most_bytes(path: ImageFile, deep: bool) -> int:
    """The largest plausible size of a file with this header: twice its pixels, plus what any file may have."""
    if deep:
        with path.open("rb") as stream:
            header = read_header(stream, path, deep=True).header
    else:
        header = probe(path)
    return min(_files.MAX_BYTES, _files.PLENTY + 2 * header.height * header.width * header.channels * (1 + deep))


def read_header(
    stream: IO[bytes], path: ImageFile, tail: bytes | None = None, deep: bool = False
) -> FullHeader:
    """Read what decoders need to know from an open file positioned at its start.

    If the last bytes of a PNG are given as `tail`, nothing between the first pixels and those is read. If `deep`,
    16-bit grey is accepted too, as format "png16" or "tiff16".
    """
    start = stream.read(8)
    orientation, tags = 1, {}
    if start == PNG_SIGNATURE:
        header, orientation = _png(stream, path, tail, deep)
    elif start.startswith(_JPEG_SIGNATURE):
        stream.seek(2)
        header, orientation = _jpeg(stream, path)
    elif len(start) == 8 and start.startswith(_tags.SIGNATURES):
        tags = _tags.read_tags(stream, path, start)
        deep = deep and set(tags.get(_tags.BITS, ())) == {16}
        header = Header("tiff16" if deep else "tiff", *_tags.expect_plain(tags, path, deep))
    else:
        known = (PNG_SIGNATURE, _JPEG_SIGNATURE, *_tags.SIGNATURES)
        cut = bool(start) and any(signature.startswith(start[: len(signature)]) for signature in known)
        if cut:
            raise damaged(path, "image", "cut off inside its header")
        name, remedy = identify_any(start + stream.read(MOST_BYTES - 8), CONVERT)
        raise ImageError(path, f"is {name}, not a PNG, JPEG or TIFF image", remedy=remedy)
    height, width = header.height, header.width
    if min(height, width) < MIN_SIDE or max(height, width) > MAX_SIDE:
        raise ImageError(path, found=f"{width} x {height} pixels", expected=f"{MIN_SIDE} to {MAX_SIDE} pixels per side")
    if orientation == UNCLEAR:
        raise ImageError(
            path, "has an ambiguous EXIF orientation, which decoders read differently",
            remedy="rewrite it as a single 16-bit integer, or remove it",
        )
    if orientation >= 5:
        header = header._replace(height=width, width=height)
    return FullHeader(header, orientation, tags)


def _png(stream: IO[bytes], path: ImageFile, tail: bytes | None, deep: bool) -> tuple[Header, int]:
    length, kind, body, crc = struct.unpack(">I4s13sI", take(stream, 25, path))
    if length != 13 or kind != b"IHDR" or zlib.crc32(kind + body) != crc:
        raise damaged(path, "PNG", "its header chunk is corrupt")
    width, height, depth, colour, compression, filters, interlace = struct.unpack(">IIBBBBB", body)
    name, channels = _PNG_COLOURS.get(colour, ("unknown colour type", 0))
    format = "png16" if deep and depth == 16 and channels in (1, 2) and colour != 3 else "png"
    if (depth != 8 and format == "png") or channels == 0 or colour == 3 or compression or filters or interlace > 1:
        raise ImageError(
            path, "is a PNG of an unsupported kind", found=f"{depth}-bit {name}", expected="8-bit grey or RGB",
            remedy=CONVERT,
        )
    blocks: list[bytes] = []
    for _ in range(MOST_CHUNKS):  # those after the pixels too: they may hold an orientation
        chunk = stream.read(8)
        if tail is not None and chunk[4:] == b"IDAT":
            blocks += _exif_at_end(tail)
            return Header(format, height, width, channels), common_orientation(blocks)
        if len(chunk) < 8 or chunk[4:] == b"IEND":
            return Header(format, height, width, channels), common_orientation(blocks)
        length = int.from_bytes(chunk[:4])
        if chunk[4:] == b"eXIf":
            block = stream.read(min(length, _LARGEST_EXIF))
            blocks.append(block)
            length -= len(block)
        stream.seek(length + 4, os.SEEK_CUR)
    raise ImageError(path, f"has more than {MOST_CHUNKS} PNG chunks", remedy=CONVERT)


def _exif_at_end(tail: bytes) -> list[bytes]:
    """EXIF blocks among a PNG's last chunks, which must form an unbroken chain up to IEND."""
    start = tail.find(b"eXIf") - 4
    while start >= 0:
        blocks: list[bytes] = []
        place = start
        for _ in range(_MOST_AT_END):
            length, kind = int.from_bytes(tail[place : place + 4]), tail[place + 4 : place + 8]
            if kind == b"IEND":
                return blocks
            if kind == b"eXIf":
                blocks.append(tail[place + 8 : place + 8 + min(length, _LARGEST_EXIF)])
            place += 12 + length
        start = tail.find(b"eXIf", start + 5) - 4
    return []


def _jpeg(stream: IO[bytes], path: ImageFile) -> tuple[Header, int]:
    header = None
    blocks: list[bytes] = []
    for _ in range(_MOST_SEGMENTS):
        lead, marker, high, low = take(stream, 4, path)
        if lead != 0xFF or marker in (0x00, 0xD8, 0xD9):
            break
        if marker == 0xFF or marker in _JPEG_BARE:
            stream.seek(-3 if marker == 0xFF else -2, os.SEEK_CUR)
            continue
        length = (high << 8 | low) - 2
        if length < 0:
            break
        if marker == 0xDA:  # start of scan: the header is over
            if header is None:
                break
            return header, common_orientation(blocks)
        if marker in _JPEG_OTHER_FRAMES:
            problem = "is a lossless, hierarchical or arithmetic-coded JPEG, which is not supported"
            raise ImageError(path, problem, remedy=CONVERT)
        if marker in _JPEG_FRAMES:
            if length < 6:
                break
            frame = take(stream, length, path)
            precision, height, width, channels = struct.unpack(">BHHB", frame[:6])
            if precision != 8 or channels not in (1, 3):
                values = f"{precision} bits and {channels} channels" + (" (CMYK)" if channels == 4 else "")
                raise ImageError(
                    path, "is a JPEG of an unsupported kind", found=values, expected="8 bits and 1 or 3 channels",
                    remedy=CONVERT,
                )
            header = Header("jpeg", height, width, channels)
        elif marker == 0xE1:
            segment = take(stream, length, path)
            if segment.startswith(b"Exif\0\0"):
                blocks.append(segment[6:])
        else:
            stream.seek(length, os.SEEK_CUR)
    raise damaged(path, "JPEG", "its header is corrupt")
