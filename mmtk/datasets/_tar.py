"""Read the members of a tar once, from start to end, without trusting sizes that its headers declare.

Python's tarfile reads a long name or a pax header of any declared size into memory, recurses for each header that
follows another, and does not check the gzip checksum of a tar that it reads as a stream. Its data filter only looks at
names and links: see docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

_BLOCK = 512
_CHUNK = 1 << 20
_LONGEST = 1 << 20  # bytes of a long name or a pax header
_MOST_HEADERS = 8  # extended headers before one member
_FILES, _FOLDER = (b"0", b"\0", b"7"), b"5"


class TarDamage(Exception):
    """The stream is not a tar, is cut off or damaged, or unpacks to too much."""


@dataclass(frozen=True)
class TarMember:
    """A member: ``kind`` is "file", "folder", "sparse" or "link or device"; ``content`` yields a file's bytes once."""

    name: str
    kind: str
    size: int
    content: Iterator[bytes]


def read_members(stream: IO[bytes]) -> Iterator[TarMember]:
    """Yield the members of an uncompressed tar.

    Raises
    ------
    TarDamage
        When damage is reached; the members before it have been yielded.
    """
    shared: dict[str, bytes] = {}
    own: dict[str, bytes] = {}
    headers = members = 0
    while (block := _take(stream, _BLOCK)).strip(b"\0"):
        size, kind = _checked_size(block), block[156:157]
        if kind in (b"L", b"K", b"x", b"X", b"g"):
            headers += 1
            if size > _LONGEST or headers > _MOST_HEADERS:
                raise TarDamage(f"an extended header is too long ({size} bytes, number {headers} of one file)")
            body = _take(stream, -(-size // _BLOCK) * _BLOCK)[:size]
            if kind == b"L":
                own["path"] = body.partition(b"\0")[0]
            elif kind != b"K":  # the target of a link; links are refused anyway
                (shared if kind == b"g" else own).update(_pax(body))
            continue
        facts = {**shared, **own}
        name = facts.get("path", _name(block))
        if "size" in facts:
            size = _number(facts["size"], 10)
        if any(key.startswith("GNU.sparse.") for key in facts):
            kind = b"S"
        content = _content(stream, size if kind in _FILES else 0)
        folder = kind == _FOLDER or (kind == b"\0" and name.endswith(b"/"))
        what = "folder" if folder else "file" if kind in _FILES else "sparse" if kind == b"S" else "link or device"
        yield TarMember(name.decode("utf-8", "surrogateescape"), what, size, content)
        for _ in content:  # skip what the caller did not read
            pass
        own, headers, members = {}, 0, members + 1
    if not members:
        raise TarDamage("it contains no files")
    while rest := stream.read(_CHUNK):
        if rest.strip(b"\0"):
            raise TarDamage("surplus data after its end marker")


def _take(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    while len(data) < count and (more := stream.read(count - len(data))):
        data += more
    if len(data) < count:
        raise TarDamage("it is cut off before its end marker")
    return data


def _content(stream: IO[bytes], size: int) -> Iterator[bytes]:
    for start in range(0, size, _CHUNK):
        yield _take(stream, min(_CHUNK, size - start))
    _take(stream, -size % _BLOCK)


def _checked_size(block: bytes) -> int:
    stated = _number(block[148:156], 8)
    blank = block[:148] + b" " * 8 + block[156:]
    if stated not in (sum(blank), sum(byte - 256 if byte > 127 else byte for byte in blank)):
        raise TarDamage("a header has a wrong checksum")
    return _number(block[124:136], 8)


def _number(field: bytes, base: int) -> int:
    if base == 8 and field[:1] == b"\x80":  # GNU's encoding of large numbers
        return int.from_bytes(field[1:])
    text = field.partition(b"\0")[0].strip()
    if len(text) > 20 or text.strip(b"01234567" if base == 8 else b"0123456789"):
        raise TarDamage("a header has an invalid number")
    return int(text or b"0", base)


def _name(block: bytes) -> bytes:
    name, prefix = block[:100].partition(b"\0")[0], block[345:500].partition(b"\0")[0]
    return prefix + b"/" + name if block[257:263] == b"ustar\0" and prefix else name


def _pax(body: bytes) -> Iterator[tuple[str, bytes]]:
    """Records ``length key=value\\n``."""
    at = 0
    while at < len(body) and body[at]:
        digits, _, _ = body[at : at + 8].partition(b" ")
        record = body[at : at + (int(digits) if digits.isdigit() else 0)]
        key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if not equals or not record.endswith(b"\n"):
            raise TarDamage("a pax header is malformed")
        yield key.decode("utf-8", "replace"), value
        at += len(record)
