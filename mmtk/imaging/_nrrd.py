"""NRRD headers: ``.nrrd``, and ``.nhdr`` with the voxels in a separate file."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import IO, Literal

import numpy as np

from mmtk.imaging._axes import Steps, Vector, VolumeHeader, orientation_of, place_of
from mmtk.imaging._files import ImageFile, damaged
from mmtk.imaging._voxels import CONVERT, MAX_VOXELS, Layout, TextHeader, lines_of

_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(
        ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"), "i8"
    ),
    **dict.fromkeys(
        ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), "u8"
    ),
    "float": "f4", "double": "f8",
}
_PACKINGS: dict[str, Literal["", "gzip"]] = {"raw": "", "gzip": "gzip", "gz": "gzip"}
_ORDERS = {"little": "<", "big": ">"}
_SPACES = {  # signs of their axes relative to right, anterior, superior
    **dict.fromkeys(("right-anterior-superior", "ras"), (1, 1, 1)),
    **dict.fromkeys(("left-anterior-superior", "las"), (-1, 1, 1)),
    **dict.fromkeys(("left-posterior-superior", "lps"), (-1, -1, 1)),
}
_UNITS = {"": 1.0, "mm": 1.0, "millimeter": 1.0, "cm": 10.0, "m": 1000.0, "um": 0.001, "µm": 0.001, "micron": 0.001}
_NAMES = {"datafile": "data file", "byteskip": "byte skip", "lineskip": "line skip"}


def read_nrrd(stream: IO[bytes], head: bytes, file: ImageFile) -> Layout:
    """Read a header whose first bytes are ``head``."""
    header, taken = _fields(stream, head, file)
    kind, packing = header.choice("type", _TYPES), header.choice("encoding", _PACKINGS)
    dtype = np.dtype(kind if kind.endswith("1") else header.choice("endian", _ORDERS) + kind)
    sizes, vectors = header.whole("sizes"), _vectors(header)
    if header.whole("dimension") != [len(sizes)]:
        raise header.invalid("sizes", header.fields["sizes"], f"{header.fields['dimension']} sizes")
    if not vectors:
        vectors = [[]] * min(3, len(sizes)) + [None] * (len(sizes) - 3)
    across = [at for at, vector in enumerate(vectors) if vector is not None]
    if len(vectors) != len(sizes) or len(across) != 3 or not _is_volume(sizes, across):
        raise header.invalid("size", " x ".join(map(str, sizes)), "a volume with three axes")
    x, y, z = across
    signs, axes, spacing, origin, steps = _geometry_of(header, [vectors[at] or [] for at in across], across)
    shape = (sizes[x], sizes[y], sizes[z])
    data = header.fields.get("data file", "")
    if re.match(r"LIST\b|.*%", data):
        raise header.unsupported(f"has its voxels in several files (data file: {data})")
    other = header.beside(data) if data else None
    offset = _offset(header, packing, other, math.prod(shape) * dtype.itemsize) + (0 if other else taken)
    whole = VolumeHeader(shape, dtype, 1.0, 0.0, offset, signs, spacing, axes, origin, steps)
    return Layout(whole, taken, other, packing)


def _fields(stream: IO[bytes], head: bytes, file: ImageFile) -> tuple[TextHeader, int]:
    header = TextHeader(file, "NRRD")
    lines = lines_of(stream, head, header)
    version, taken = next(lines)
    if not re.fullmatch(r"NRRD000[1-5]", version):
        raise header.invalid("version", version, "NRRD0001 to NRRD0005", CONVERT)
    for line, at in lines:
        taken = at
        if not line:
            return header, taken
        if line.startswith("#") or re.match(r"[^:]*:=", line):
            continue
        name, colon, value = line.partition(":")
        if not colon:
            raise damaged(file, "NRRD file", f"malformed header line {line[:80]!a}")
        name = name.strip().lower()
        header.add(_NAMES.get(name, name), value)
    if not header.fields.get("data file"):
        raise damaged(file, "NRRD file", "its header is cut off")
    return header, taken


def _is_volume(sizes: list[int], across: list[int]) -> bool:
    rest = [size for at, size in enumerate(sizes) if at not in across]
    return min(sizes) >= 1 and set(rest) <= {1} and math.prod(sizes) <= MAX_VOXELS


def _vectors(header: TextHeader) -> list[list[float] | None]:
    """The space direction of each axis of the array; None for a non-spatial axis."""
    text = header.fields.get("space directions", "")
    if re.sub(r"none|\([^()]*\)", "", text).strip():
        raise header.invalid("space directions", text, "vectors")
    vectors = [
        None if word == "none" else header.parse("space directions", word.strip("()").split(","))
        for word in re.findall(r"none|\([^()]*\)", text)
    ]
    if any(vector is not None and len(vector) != 3 for vector in vectors):
        raise header.invalid("space directions", text, "vectors of three numbers")
    return vectors


def _geometry_of(
    header: TextHeader, vectors: list[list[float]], across: list[int]
) -> tuple[tuple[int, int, int], str, Vector, Vector | None, Steps | None]:
    """Signs, axes, spacing, origin and steps."""
    signs, axes = (0, 0, 0), ""
    space = _SPACES.get(header.fields.get("space", "").lower())
    factors = set(_factors(header, "space units")) or {1.0}
    factor = factors.pop() if len(factors) == 1 else 0.0
    first, matrix = _origin(header), np.zeros((3, 3))
    if vectors[0]:
        if space:
            matrix = np.array(vectors).T * np.array(space)[:, None]
            signs, axes = orientation_of(matrix)
        sizes = [math.hypot(*vector) for vector in vectors]
        sizes = [size * factor for size in sizes]
    else:
        sizes, named = header.numbers("spacings"), _factors(header, "units")
        sizes = [size * (named[at] if at < len(named) else 1.0) for at, size in enumerate(sizes)]
        sizes = [sizes[at] for at in across if at < len(sizes)]
    known = len(sizes) == 3 and all(0 < size < math.inf for size in sizes)
    spacing = (sizes[0], sizes[1], sizes[2]) if known else (0.0, 0.0, 0.0)
    if not (space and factor):
        return signs, axes, spacing, None, None
    return signs, axes, spacing, *place_of(matrix, [at * sign for at, sign in zip(first, space, strict=False)], factor)


def _origin(header: TextHeader) -> list[float]:
    """Origin in the file's space; empty if the file does not say."""
    text = header.fields.get("space origin", "")
    first = header.parse("space origin", text.strip("()").split(",")) if text else []
    if first and (len(first) != 3 or (text[0], text[-1]) != ("(", ")")):
        raise header.invalid("space origin", text, "a vector of three numbers")
    return first


def _factors(header: TextHeader, name: str) -> list[float]:
    """Units in mm, 0 for an unknown one."""
    return [_UNITS.get(unit.lower(), 0.0) for unit in re.findall(r'"([^"]*)"', header.fields.get(name, ""))]


def _offset(header: TextHeader, packing: str, data: Path | None, length: int) -> int:
    """Bytes to skip before the voxels."""
    moved = {name: header.whole(name) for name in ("line skip", "byte skip") if header.fields.get(name, "0") != "0"}
    count = moved.get("byte skip", [0])
    if "line skip" in moved or (moved and packing) or len(count) > 1 or count[0] < -1 or (count[0] < 0 and not data):
        skipped = ", ".join(f"{name} {header.fields[name]}" for name in moved)
        raise header.unsupported(f"has other data before its voxels ({skipped})")
    return header.at_end(data, length) if data and count[0] < 0 else count[0]
