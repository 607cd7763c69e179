"""What an image file says of itself, read from its first bytes: format, size, channels, orientation."""

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
from mmtk.imaging._files import AGAIN, CONVERT, MAX_SIDE, MIN_SIDE, ImageFile, damaged, take
from mmtk.imaging.foreign import MOST_BYTES, describe_any

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_COLOURS = {0: ("grey", 1), 2: ("RGB", 3), 3: ("palette", 1), 4: ("grey with alpha", 2), 6: ("RGB with alpha", 4)}
_JPEG_SIGNATURE = b"\xff\xd8\xff"
_JPEG_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended and progressive, all Huffman
_JPEG_OTHER_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_JPEG_BARE = {0x01, *range(0xD0, 0xD8)}  # markers without a segment
_HEAD = 4096  # bytes that hold most headers
_TAIL = 1 << 14  # bytes that hold what stands behind a PNG's pixels; what lies further ahead, decoding will see
_MOST_AT_END = 100  # chunks behind a PNG's pixels
_MOST_SEGMENTS = 10_000  # of a JPEG header, fill bytes counted: ends the walk through a file made of them
MOST_CHUNKS = 1 << 17  # of a PNG: 2 KB of pixels in each of the largest image
_LARGEST_EXIF = 1 << 16


class Header(NamedTuple):
    """What a file's header says.

    ``format`` is "png", "jpeg" or "tiff", from `mmtk.imaging.probe_values` also "png16", "tiff16" or "dicom"; for a
    slice of a CT volume it is "nifti", and the rest speaks of its crop. ``height`` and ``width`` are in pixels, as
    decoded, that is after the EXIF orientation; ``channels`` as stored: 1 grey, 2 grey with alpha, 3 colour, 4 colour
    with alpha.
    """

    format: str
    height: int
    width: int
    channels: int


class FullHeader(NamedTuple):
    """A header with its EXIF orientation, 1 to 8, and the whole numbers of a TIFF's first directory by tag."""

    header: Header
    orientation: int
    tags: dict[int, tuple[int, ...]]


def probe(path: str | os.PathLike[str]) -> Header:
    """Read the header of a PNG, JPEG or TIFF file, and nothing more of it.

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
        If the file cannot be read, is empty, no PNG, JPEG or TIFF by its first bytes, cut off inside its header, of a
        kind the recipes do not cover (PNG: palette, 1, 2, 4 or 16 bits; JPEG: CMYK, 12 bits, lossless, arithmetic;
        TIFF: other than 8-bit grey or RGB, uncompressed or PackBits, in strips), if decoders read its orientation
        differently, if its short side is below 16 pixels or a side above 10,000, or if it is larger than 1 GiB.
    SourceError
        If the system is short of memory or open files, which is no fault of the file.
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
            found = _in_head(head, file, tail, whole=len(head) == size)
            if found is None:
                with open(handle, "rb", buffering=0, closefd=False) as stream:  # no more than is asked for
                    stream.seek(0)
                    found = read_header(stream, file, tail).header
        finally:
            os.close(handle)
    return found


def _in_head(head: bytes, path: Path, tail: bytes | None, whole: bool) -> Header | None:
    """The header of a file by its first bytes; None where these may not be all that it takes."""
    stream = io.BytesIO(head)
    try:
        found = read_header(stream, path, tail).header
    except ImageError:
        if whole:
            raise
        return None
    return found if whole or stream.tell() < len(head) else None


def read_file(path: ImageFile, deep: bool = False) -> bytes:
    """All of an image file, if it is not much larger than its image can be."""
    with _files.reading(path, "image"):
        if not isinstance(path, Path):
            with path.open("rb") as stream:
                data = stream.read(_files.PLENTY + 1)
                if len(data) > _files.PLENTY:
                    data += stream.read(_most_bytes(path, deep) + 1 - len(data))
        else:  # bare calls: each gives the interpreter away, and to get it back from another thread takes long
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
    """Bytes that a file of such an image may have: twice its pixels, beside what any file may have."""
    if deep:
        with path.open("rb") as stream:
            header = read_header(stream, path, deep=True).header
    else:
        header = probe(path)
    return min(_files.MAX_BYTES, _files.PLENTY + 2 * header.height * header.width * header.channels * (1 + deep))


def read_header(
    stream: IO[bytes], path: ImageFile, tail: bytes | None = None, deep: bool = False
) -> FullHeader:
    """What decoders need to know, of an open file that stands at its start.

    Of a PNG whose last bytes are given as `tail`, nothing between the first pixels and these is read. If `deep`, grey
    of 16 bits is taken too, as the format "png16" or "tiff16".
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
        found, remedy = describe_any(start + stream.read(MOST_BYTES - 8), CONVERT)
        found = "a file cut off" if cut else found
        raise ImageError(path, expected="a PNG, JPEG or TIFF image", found=found, remedy=remedy)
    height, width = header.height, header.width
    if min(height, width) < MIN_SIDE or max(height, width) > MAX_SIDE:
        raise ImageError(path, expected=f"{MIN_SIDE} to {MAX_SIDE} pixels a side", found=f"{width} x {height} pixels")
    if orientation == UNCLEAR:
        raise ImageError(
            path, expected="an EXIF orientation that all decoders read alike", found="one that they do not",
            remedy="write it again as one whole number of 16 bits, or without",
        )
    if orientation >= 5:
        header = header._replace(height=width, width=height)
    return FullHeader(header, orientation, tags)


def _png(stream: IO[bytes], path: ImageFile, tail: bytes | None, deep: bool) -> tuple[Header, int]:
    length, kind, body, crc = struct.unpack(">I4s13sI", take(stream, 25, path))
    if length != 13 or kind != b"IHDR" or zlib.crc32(kind + body) != crc:
        raise ImageError(path, expected="a PNG that starts with its header", found="a damaged header", remedy=AGAIN)
    width, height, depth, colour, compression, filters, interlace = struct.unpack(">IIBBBBB", body)
    name, channels = _PNG_COLOURS.get(colour, ("unknown colour type", 0))
    format = "png16" if deep and depth == 16 and channels in (1, 2) and colour != 3 else "png"
    if (depth != 8 and format == "png") or channels == 0 or colour == 3 or compression or filters or interlace > 1:
        raise ImageError(path, expected="an 8-bit grey or RGB PNG", found=f"{depth}-bit {name}", remedy=CONVERT)
    blocks: list[bytes] = []
    for _ in range(MOST_CHUNKS):  # those behind the pixels too: an orientation may stand there
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
    raise ImageError(path, expected=f"a PNG of at most {MOST_CHUNKS} chunks", found="more", remedy=CONVERT)


def _exif_at_end(tail: bytes) -> list[bytes]:
    """EXIF blocks among a PNG's last chunks: those that lead from one to the next up to IEND."""
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
            found = "a lossless, hierarchical or arithmetic one"
            raise ImageError(path, expected="a baseline or progressive JPEG", found=found, remedy=CONVERT)
        if marker in _JPEG_FRAMES:
            if length < 6:
                break
            frame = take(stream, length, path)
            precision, height, width, channels = struct.unpack(">BHHB", frame[:6])
            if precision != 8 or channels not in (1, 3):
                found = f"{precision} bits and {channels} channels" + (" (CMYK)" if channels == 4 else "")
                raise ImageError(path, expected="an 8-bit grey or colour JPEG", found=found, remedy=CONVERT)
            header = Header("jpeg", height, width, channels)
        elif marker == 0xE1:
            segment = take(stream, length, path)
            if segment.startswith(b"Exif\0\0"):
                blocks.append(segment[6:])
        else:
            stream.seek(length, os.SEEK_CUR)
    raise damaged(path, "JPEG header", "a damaged one")
