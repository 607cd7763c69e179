"""Damage to any file: bits, runs of bytes, blocks and ends."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

Damage = Callable[[bytearray, Generator], str]


def _place(data: bytearray, rng: Generator) -> int:
    """Anywhere; one time in three near the start, where headers are."""
    return int(rng.integers(min(len(data), 512) if rng.random() < 1 / 3 else len(data)))


def _bit(data: bytearray, rng: Generator) -> str:
    at = _place(data, rng)
    data[at] ^= 1 << int(rng.integers(8))
    return f"bit of byte {at}"


def _bits(data: bytearray, rng: Generator) -> str:
    return ", ".join(_bit(data, rng) for _ in range(int(rng.integers(2, 9))))


def _byte(data: bytearray, rng: Generator) -> str:
    at = _place(data, rng)
    data[at] = (0, 1, 0x7F, 0x80, 0xFE, 0xFF, int(rng.integers(256)))[int(rng.integers(7))]
    return f"byte {at} is {data[at]}"


def _run(data: bytearray, rng: Generator) -> str:
    at, length = _place(data, rng), int(rng.integers(2, 65))
    data[at : at + length] = rng.bytes(len(data[at : at + length]))
    return f"random bytes from {at} on, {length}"


def _same(data: bytearray, rng: Generator) -> str:
    at, length, value = _place(data, rng), int(rng.integers(2, 257)), (0, 32, 255)[int(rng.integers(3))]
    data[at : at + length] = bytes([value]) * len(data[at : at + length])
    return f"bytes from {at} on are {value}, {length}"


def _cut(data: bytearray, rng: Generator) -> str:
    length = int(rng.integers(len(data))) if rng.random() < 0.7 else max(0, len(data) - int(rng.integers(1, 17)))
    del data[length:]
    return f"cut to {length} bytes"


def _longer(data: bytearray, rng: Generator) -> str:
    length = int(rng.integers(1, 5000))
    data += (bytes(length), rng.bytes(length), bytes(data[-length:]), bytes(data))[int(rng.integers(4))]
    return f"longer, {len(data)} bytes"


def _blocks(data: bytearray, rng: Generator) -> str:
    length = int(rng.choice(np.array([1, 8, 64, 512, 4096])))
    length = max(1, min(length, len(data) // 2))
    one, other = sorted(rng.integers(0, len(data) - length + 1, 2).tolist())
    if one + length <= other:
        data[one : one + length], data[other : other + length] = data[other : other + length], data[one : one + length]
    return f"blocks of {length} at {one} and {other} change places"


def _page(data: bytearray, rng: Generator) -> str:
    length = int(rng.choice([512, 4096]))
    at = length * int(rng.integers(-(-len(data) // length)))
    data[at : at + length] = bytes(len(data[at : at + length]))
    return f"page of zeros at {at}, {length}"


def _drop(data: bytearray, rng: Generator) -> str:
    at, length = _place(data, rng), int(rng.integers(1, 65))
    del data[at : at + length]
    return f"without {length} bytes at {at}"


def _twice(data: bytearray, rng: Generator) -> str:
    at, length = _place(data, rng), int(rng.integers(1, 65))
    data[at:at] = data[at : at + length]
    return f"{length} bytes at {at} stand twice"


def _number(data: bytearray, rng: Generator) -> str:
    at, width = _place(data, rng), int(rng.choice([2, 4, 8]))
    value = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF)[int(rng.integers(6))] << int(rng.integers(0, 8 * width))
    data[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, "little")[: len(data[at : at + width])]
    return f"number of {width} bytes at {at} is {value}"


_DAMAGES: tuple[Damage, ...] = (
    _bit, _bit, _bit, _bits, _byte, _byte, _run, _same, _cut, _longer, _blocks, _page, _drop, _twice, _number,
)


def damaged(content: bytes, rng: Generator) -> tuple[bytes, str]:
    """A damaged copy, and what was done to it."""
    data = bytearray(content)
    told = _DAMAGES[int(rng.integers(len(_DAMAGES)))](data, rng)
    return bytes(data), told
