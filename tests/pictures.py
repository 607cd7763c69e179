"""Pictures that come from a seed, and PNG files made by hand, so that every part of them can be wrong."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def picture(shape: tuple[int, ...], kind: str = "noise", seed: int = 0) -> NDArray[np.uint8]:
    """Noise, noise of two values, soft blots, flat patches with noise between them, or nothing but white."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, shape, dtype=np.uint8)
    if kind == "extremes":
        return np.where(noise > 127, np.uint8(255), np.uint8(0))
    if kind == "soft":
        coarse = noise[: max(1, shape[0] // 5), : max(1, shape[1] // 5)]
        return np.asarray(cv2.resize(coarse, shape[1::-1], interpolation=cv2.INTER_CUBIC), np.uint8).reshape(shape)
    if kind == "patches":
        return np.where(rng.random(shape) < 0.7, np.uint8(seed % 256), noise)
    return np.full(shape, 255, np.uint8) if kind == "white" else noise


def guess(filter: int, left: int, up: int, corner: int) -> int:
    """PNG's predictors as its specification words them."""
    if filter < 3:
        return (0, left, up)[filter]
    if filter == 3:
        return (left + up) // 2
    p = left + up - corner
    return min((left, up, corner), key=lambda value: abs(p - value))


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


END = chunk(b"IEND")


def png(width: int, height: int, colour: int, *parts: bytes, depth: int = 8, interlace: int = 0) -> bytes:
    """A header, and what follows it."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))
    return b"".join((SIGNATURE, head, *parts))


def checked(file: bytes) -> bytes:
    """The same chunks with right checksums, as far as their lengths hold."""
    out, at = bytearray(file[:8]), 8
    while at + 12 <= len(file):
        length = int.from_bytes(file[at : at + 4])
        if at + 12 + length > len(file):
            break
        out += chunk(file[at + 4 : at + 8], file[at + 8 : at + 8 + length])
        at += 12 + length
    return bytes(out + file[at:])
