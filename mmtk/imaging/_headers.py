"""What an image file says of itself, read from its first bytes: format, size, channels, orientation."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal, NamedTuple, Protocol, cast

from mmtk.errors import ImageError

MIN_SIDE = 16  # px, short side: anything smaller is a broken download or an icon
MAX_SIDE = 10_000  # px, either side: what one image may cost in memory is thereby 300 MB
MAX_BYTES = 1 << 30  # of a file, which is read whole: more than the largest image takes uncompressed

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_COLOURS = {0: ("grey", 1), 2: ("RGB", 3), 3: ("palette", 1), 4: ("grey with alpha", 2), 6: ("RGB with alpha", 4)}
TIFF_SIGNATURES = (b"II*\0", b"MM\0*")
_TIFF_TYPES = {1: ("B", 1), 3: ("H", 2), 4: ("I", 4)}  # the number types of the tags read here, and their bytes
_TIFF_TILES = {322, 323, 324, 325}  # tags of files in tiles
_MOST_STRIPS = 1 << 16
_JPEG_SIGNATURE = b"\xff\xd8\xff"
_JPEG_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended and progressive, all Huffman
_JPEG_OTHER_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_JPEG_BARE = {0x01, *range(0xD0, 0xD8)}  # markers without a segment
_HEAD = 4096  # bytes that hold most headers
_MOST_SEGMENTS = 10_000  # of a JPEG header, fill bytes counted: ends the walk through a file made of them

_CONVERT = "convert it to an 8-bit grey or RGB image"
_AGAIN = "fetch the file again"


class ImageFile(Protocol):
    """A file on disk (a ``Path``) or in an archive."""

    def open(self, mode: Literal["rb"]) -> IO[bytes]: ...

    def __fspath__(self) -> str: ...


class Header(NamedTuple):
    """What a file's header says.

    ``format`` is "png", "jpeg" or "tiff"; for a slice of a CT volume it is "nifti", and the rest speaks of its crop.
    ``height`` and ``width`` are in pixels, as decoded, that is after the EXIF
    orientation; ``channels`` as stored: 1 grey, 2 grey with alpha, 3 colour, 4 colour with alpha.
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
        TIFF: other than 8-bit grey or RGB, uncompressed or PackBits, in strips), if its short side is below 16 pixels
        or a side above 10,000, or if it is larger than 1 GiB.
    """
    file = as_file(path)
    if not isinstance(file, Path):
        with open_file(file, "image") as stream:
            return read_header(stream, file).header
    with _reading(file, "image"):
        handle = os.open(file, os.O_RDONLY)
        try:
            size = os.fstat(handle).st_size
            _expect_size(file, size, MAX_BYTES)
            head = os.read(handle, _HEAD)
            found = _in_head(head, file, whole=len(head) == size)
            if found is None:
                with os.fdopen(handle, "rb", closefd=False) as stream:
                    stream.seek(0)
                    found = read_header(stream, file).header
        finally:
            os.close(handle)
    return found


def _in_head(head: bytes, path: Path, whole: bool) -> Header | None:
    """The header of a file by its first bytes; None where these may not be all that it takes."""
    stream = io.BytesIO(head)
    try:
        found = read_header(stream, path).header
    except ImageError:
        if whole:
            raise
        return None
    return found if whole or stream.tell() < len(head) else None


def as_file(path: str | os.PathLike[str]) -> ImageFile:
    """A path as something to open; what opens itself already, such as a file in a zip, is left as it is."""
    return cast(ImageFile, path) if hasattr(path, "open") else Path(path)


@contextmanager
def open_file(path: ImageFile, kind: str, most: int = MAX_BYTES) -> Iterator[IO[bytes]]:
    """Open a file of at most so many bytes; whatever fails while it is read becomes an ImageError."""
    with _reading(path, kind), path.open("rb") as stream:
        _expect_size(path, os.fstat(stream.fileno()).st_size if isinstance(path, Path) else 0, most)
        yield stream


def read_file(path: ImageFile) -> bytes:
    """All of an image file of at most `MAX_BYTES`."""
    with _reading(path, "image"):
        if not isinstance(path, Path):
            with path.open("rb") as stream:
                data = stream.read(MAX_BYTES + 1)
        else:  # bare calls: each gives the interpreter away, and to get it back from another thread takes long
            handle = os.open(path, os.O_RDONLY)
            try:
                size = os.fstat(handle).st_size
                _expect_size(path, size, MAX_BYTES)
                data = os.read(handle, size)
                while len(data) < size and (more := os.read(handle, size - len(data))):
                    data += more
            finally:
                os.close(handle)
        _expect_size(path, len(data), MAX_BYTES)
    return data


@contextmanager
def _reading(path: ImageFile, kind: str) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(path, expected=f"a readable {kind} file", found=reason, remedy=_AGAIN) from None


def _expect_size(path: ImageFile, size: int, most: int) -> None:
    if size > most:
        raise ImageError(path, expected=f"at most {most} bytes", found=f"{size} bytes")


def read_header(stream: IO[bytes], path: ImageFile) -> FullHeader:
    """What decoders need to know, of an open file that stands at its start."""
    start = stream.read(8)
    orientation, tags = 1, {}
    if start == PNG_SIGNATURE:
        header, orientation = _png(stream, path)
    elif start.startswith(_JPEG_SIGNATURE):
        stream.seek(2)
        header, orientation = _jpeg(stream, path)
    elif len(start) == 8 and start.startswith(TIFF_SIGNATURES):
        tags = _tiff_tags(stream, path, start)
        header = _tiff(tags, path)
    else:
        known = (PNG_SIGNATURE, _JPEG_SIGNATURE, *TIFF_SIGNATURES)
        cut = any(signature.startswith(start[: len(signature)]) for signature in known)
        found = ("a file cut off" if start else "an empty file") if cut else f"bytes that start with {start!r}"
        raise ImageError(path, expected="a PNG, JPEG or TIFF image", found=found, remedy=_AGAIN)
    height, width = header.height, header.width
    if min(height, width) < MIN_SIDE or max(height, width) > MAX_SIDE:
        raise ImageError(path, expected=f"{MIN_SIDE} to {MAX_SIDE} pixels a side", found=f"{width} x {height} pixels")
    if orientation >= 5:
        header = header._replace(height=width, width=height)
    return FullHeader(header, orientation, tags)


def _take(stream: IO[bytes], count: int, path: ImageFile) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise ImageError(path, expected="a whole image header", found="a file cut off inside it", remedy=_AGAIN)
    return data


def _png(stream: IO[bytes], path: ImageFile) -> tuple[Header, int]:
    length, kind, body, crc = struct.unpack(">I4s13sI", _take(stream, 25, path))
    if length != 13 or kind != b"IHDR" or zlib.crc32(kind + body) != crc:
        raise ImageError(path, expected="a PNG that starts with its header", found="a damaged header", remedy=_AGAIN)
    width, height, depth, colour, compression, filters, interlace = struct.unpack(">IIBBBBB", body)
    name, channels = _PNG_COLOURS.get(colour, ("unknown colour type", 0))
    if depth != 8 or channels == 0 or colour == 3 or compression or filters or interlace > 1:
        raise ImageError(path, expected="an 8-bit grey or RGB PNG", found=f"{depth}-bit {name}", remedy=_CONVERT)
    orientation = 1
    while True:  # the chunks before the pixels, a handful, in search of an orientation
        chunk = stream.read(8)
        if len(chunk) < 8 or chunk[4:] in (b"IDAT", b"IEND"):
            return Header("png", height, width, channels), orientation
        length = int.from_bytes(chunk[:4])
        if chunk[4:] == b"eXIf":
            orientation = exif_orientation(stream.read(min(length, 1 << 16)))
            return Header("png", height, width, channels), orientation
        stream.seek(length + 4, os.SEEK_CUR)


def _jpeg(stream: IO[bytes], path: ImageFile) -> tuple[Header, int]:
    header = None
    orientation = 1
    for _ in range(_MOST_SEGMENTS):
        lead, marker, high, low = _take(stream, 4, path)
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
            return header, orientation
        if marker in _JPEG_OTHER_FRAMES:
            found = "a lossless, hierarchical or arithmetic one"
            raise ImageError(path, expected="a baseline or progressive JPEG", found=found, remedy=_CONVERT)
        if marker in _JPEG_FRAMES:
            if length < 6:
                break
            frame = _take(stream, length, path)
            precision, height, width, channels = struct.unpack(">BHHB", frame[:6])
            if precision != 8 or channels not in (1, 3):
                found = f"{precision} bits and {channels} channels" + (" (CMYK)" if channels == 4 else "")
                raise ImageError(path, expected="an 8-bit grey or colour JPEG", found=found, remedy=_CONVERT)
            header = Header("jpeg", height, width, channels)
        elif marker == 0xE1 and orientation == 1:
            segment = _take(stream, length, path)
            if segment.startswith(b"Exif\0\0"):
                orientation = exif_orientation(segment[6:])
        else:
            stream.seek(length, os.SEEK_CUR)
    raise ImageError(path, expected="a whole JPEG header", found="a damaged one", remedy=_AGAIN)


def _tiff_tags(stream: IO[bytes], path: ImageFile, start: bytes) -> dict[int, tuple[int, ...]]:
    """The whole numbers of a TIFF's first directory, by tag; none for a tag of another type, or of too many."""
    order = "<" if start[:2] == b"II" else ">"
    stream.seek(struct.unpack(order + "I", start[4:8])[0])
    (count,) = struct.unpack(order + "H", _take(stream, 2, path))
    tags: dict[int, tuple[int, ...]] = {}
    for tag, kind, number, value in struct.iter_unpack(order + "HHI4s", _take(stream, 12 * count, path)):
        if tag in tags:  # which one counts, decoders disagree about
            raise ImageError(path, expected="each tag of a TIFF once", found=f"tag {tag} twice", remedy=_AGAIN)
        if kind not in _TIFF_TYPES or number > _MOST_STRIPS:
            tags[tag] = ()
            continue
        letter, width = _TIFF_TYPES[kind]
        size = number * width
        if size > 4:
            stream.seek(struct.unpack(order + "I", value)[0])
            value = _take(stream, size, path)
        tags[tag] = struct.unpack(f"{order}{number}{letter}", value[:size])
    return tags


def _tiff(tags: dict[int, tuple[int, ...]], path: ImageFile) -> Header:
    def first(tag: int, default: int) -> int:
        values = tags.get(tag, (default,))
        return values[0] if len(values) == 1 else -1

    width, height, bits, packing = first(256, 0), first(257, 0), tags.get(258, (1,)), first(259, 1)
    photometric, channels, planar = first(262, -1), first(277, 1), first(284, 1)
    plain = set(bits) == {8} and packing in (1, 32773) and (channels, photometric) in ((1, 1), (3, 2))
    strips = {273, 279} <= tags.keys() and not _TIFF_TILES & tags.keys() and first(278, 1) > 0
    if not (plain and strips and planar == 1 and first(274, 1) == 1):
        found = f"{max(bits, default=0)} bits, {channels} channels, compression {packing}, photometric {photometric}"
        raise ImageError(
            path, expected="a TIFF of 8-bit grey or RGB, uncompressed or PackBits, in strips", found=found,
            remedy=_CONVERT,
        )
    return Header("tiff", height, width, channels)


def exif_orientation(tiff: bytes) -> int:
    """Orientation (tag 0x0112) of an EXIF block, 1 where it names none or is damaged."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return 1
    (at,) = struct.unpack_from(order + "I", tiff, 4)
    if at + 2 > len(tiff):
        return 1
    (entries,) = struct.unpack_from(order + "H", tiff, at)
    for entry in range(at + 2, min(at + 2 + 12 * entries, len(tiff) - 11), 12):
        tag, _, _, value = struct.unpack_from(order + "HHIH", tiff, entry)
        if tag == 0x0112:
            return int(value) if 1 <= value <= 8 else 1
    return 1
