"""Write zip archives byte for byte like the official ``.npz`` files, on any version of Python.

Those were written by the ``zipfile`` of Python before 3.11.4, which NumPy told to expect large members: every local
header has a zip64 field with the true sizes, but refers to it only if a size exceeds the limit.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO

from mmtk.datasets.base import SPLITS

ZIP64_LIMIT = (1 << 31) - 1  # the largest size and offset that zipfile keeps in 32 bits
_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s4B4HL2L5H2L")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_END = struct.Struct("<4s4H2LH")
_SIZES = struct.Struct("<2H2Q")  # the zip64 field of a local header
_MIDNIGHT_1980 = 0x21  # NumPy's date for its members
_PK20, _PK45, _DEFLATED, _LEVEL, _MODE = 20, 45, 8, 6, 0o600 << 16
_ELSEWHERE = 0xFFFFFFFF  # marks a number given in a zip64 field
_UNIX, _WINDOWS = 3, 0


@dataclass(frozen=True)
class Container:
    """A kind of official ``.npz``: its arrays in order, and the system named in its central directory."""

    arrays: tuple[str, ...]
    system: int


_IMAGES_FIRST = tuple(f"{split}_{kind}" for kind in ("images", "labels") for split in SPLITS)
_SPLIT_BY_SPLIT = tuple(f"{split}_{kind}" for split in SPLITS for kind in ("images", "labels"))

# the kind of the files that were new in each edition
CONTAINERS = {
    "2020": Container(_IMAGES_FIRST, _UNIX),
    "2021": Container(_SPLIT_BY_SPLIT, _UNIX),
    "2022": Container(_SPLIT_BY_SPLIT, _UNIX),  # NoduleMNIST3D only; inferred from its date, without an official file
    "2024": Container(_SPLIT_BY_SPLIT, _WINDOWS),
}


@dataclass(frozen=True)
class _Member:
    name: bytes
    crc: int
    packed: int
    size: int
    start: int


def write_zip(
    file: IO[bytes], members: Iterable[tuple[str, Iterable[bytes]]], system: int, comment: bytes = b"",
    limit: int = ZIP64_LIMIT,
) -> None:
    """Write an archive of deflated members.

    The deflate stream is that of the official files if Python is built with classic zlib.

    Parameters
    ----------
    file : binary file
        Empty and seekable.
    members : iterable of (str, iterable of bytes)
        Names, and the content of each in blocks.
    system : int
        The number of the system named as its creator.
    comment : bytes
        Comment of the archive.
    limit : int
        The largest size and offset kept in 32 bits.
    """
    written = [_write_member(file, name.encode(), content, limit) for name, content in members]
    start = file.tell()
    for member in written:
        file.write(_central(member, system, limit))
    length, count = file.tell() - start, len(written)
    if max(start, length) > limit:
        file.write(_END64.pack(b"PK\6\6", _END64.size - 12, _PK45, _PK45, 0, 0, count, count, length, start))
        file.write(_LOCATOR.pack(b"PK\6\7", 0, start + length, 1))
    ending = (0, 0, count, count, min(length, _ELSEWHERE), min(start, _ELSEWHERE), len(comment))
    file.write(_END.pack(b"PK\5\6", *ending) + comment)


def _write_member(file: IO[bytes], name: bytes, content: Iterable[bytes], limit: int) -> _Member:
    start = file.tell()
    body = file.seek(start + _LOCAL.size + len(name) + _SIZES.size)
    deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -15)
    crc = size = 0
    for block in content:
        crc, size = zlib.crc32(block, crc), size + len(block)
        file.write(deflate.compress(block))
    file.write(deflate.flush())
    end = file.tell()
    member = _Member(name, crc, end - body, size, start)
    file.seek(start)
    file.write(_local(member, limit))
    file.seek(end)
    return member


def _local(member: _Member, limit: int) -> bytes:
    large = max(member.size, member.packed) > limit
    sizes = (_ELSEWHERE, _ELSEWHERE) if large else (member.packed, member.size)
    zip64 = _SIZES.pack(1, 16, member.size, member.packed)
    facts = (_PK45 if large else _PK20, 0, _DEFLATED, 0, _MIDNIGHT_1980, member.crc, *sizes)
    return _LOCAL.pack(b"PK\3\4", *facts, len(member.name), len(zip64)) + member.name + zip64


def _central(member: _Member, system: int, limit: int) -> bytes:
    large, far = max(member.size, member.packed) > limit, member.start > limit
    sizes = (_ELSEWHERE, _ELSEWHERE) if large else (member.packed, member.size)
    values = [*((member.size, member.packed) if large else ()), *((member.start,) if far else ())]
    zip64 = struct.pack(f"<2H{len(values)}Q", 1, 8 * len(values), *values) if values else b""
    version = _PK45 if values else _PK20
    facts = (version, system, version, 0, 0, _DEFLATED, 0, _MIDNIGHT_1980, member.crc, *sizes)
    lengths = (len(member.name), len(zip64), 0, 0, 0)
    place = _ELSEWHERE if far else member.start
    return _CENTRAL.pack(b"PK\1\2", *facts, *lengths, _MODE, place) + member.name + zip64
