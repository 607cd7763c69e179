"""TIFF: every strip must decompress to its exact length. OpenCV decodes only what needs a colour conversion.

tifffile and imagecodecs silently read damaged strips: see docs/decisions.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmtk.imaging import _tags
from mmtk.imaging._files import ImageFile, damaged
from mmtk.imaging._headers import Header
from mmtk.imaging._png import PixelKinds, decode_with_cv2, of_colour

_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))  # each byte with its bits reversed


def decode_tiff(
    data: bytes, path: ImageFile, kinds: PixelKinds, header: Header, tags: _tags.Tags
) -> list[NDArray[np.uint8]]:
    """Decode a TIFF whose header was accepted; see `mmtk.imaging.read_kinds`."""
    pixels = _unpacked_strips(data, path, tags, header)
    if header.channels == 3:
        if "truncated" in kinds:
            return decode_with_cv2(data, path, kinds, True)
        return [of_colour(pixels, kind) for kind in kinds]
    grey = pixels[:, :, 0]
    if _tags.first(tags, _tags.PHOTOMETRIC, 1) == _tags.WHITE_IS_ZERO:
        grey = ~grey
    return [np.repeat(grey[:, :, None], 3, axis=2) if kind == "colour" else grey for kind in kinds]


def decode_tiff16(data: bytes, path: ImageFile, header: Header, tags: _tags.Tags) -> NDArray[np.uint16]:
    """Decode a 16-bit grey TIFF whose header was accepted."""
    pairs = _unpacked_strips(data, path, tags, header._replace(channels=2))
    grey = pairs.view("<u2" if data[:2] == b"II" else ">u2")[:, :, 0].astype(np.uint16)
    return ~grey if _tags.first(tags, _tags.PHOTOMETRIC, 1) == _tags.WHITE_IS_ZERO else grey


def _unpacked_strips(data: bytes, path: ImageFile, tags: _tags.Tags, header: Header) -> NDArray[np.uint8]:
    """The image from all strips, with as many bytes per pixel as the header has channels.

    Strips that are outside the file, or do not give exactly their rows, are refused.
    """
    height, width, channels = header.height, header.width, header.channels
    rows = min(*tags.get(_tags.ROWS, (height,)), height)
    offsets = tags[_tags.OFFSETS]
    lengths = tags.get(_tags.LENGTHS, (height * width * channels,))
    if len(offsets) != len(lengths) or len(offsets) != -(-height // rows):
        raise damaged(path, "TIFF", f"{len(offsets)} strips do not cover {height} rows")
    if any(offset + length > len(data) for offset, length in zip(offsets, lengths, strict=True)):
        raise damaged(path, "TIFF", f"it is cut off after {len(data)} bytes")
    if _tags.first(tags, _tags.FILL_ORDER, 1) == 2:
        data = data.translate(_MIRRORED)
    pixels = np.empty((height, width, channels), np.uint8)
    flat, step = pixels.reshape(-1), rows * width * channels
    if _tags.first(tags, _tags.PACKING, _tags.PLAIN) == _tags.PACKBITS:
        strip, length = unpack_runs(data, np.array([offsets, lengths], np.int64).T.copy(), step, flat)
    else:
        strip, length = _copy_strips(data, offsets, lengths, step, flat)
    if length < 0:
        raise damaged(path, "TIFF", f"strip {strip} ends inside a run")
    if strip < len(offsets):
        raise damaged(path, "TIFF", f"strip {strip} has {length} bytes, not {len(flat[strip * step :][:step])}")
    return pixels


# Both return the number and length of the first strip whose length is wrong, or the number of strips and 0.


def _copy_strips(
    data: bytes, offsets: tuple[int, ...], lengths: tuple[int, ...], step: int, flat: NDArray[np.uint8]
) -> tuple[int, int]:
    for strip, (offset, length) in enumerate(zip(offsets, lengths, strict=True)):
        target = flat[strip * step :][:step]
        if length != len(target):
            return strip, length
        target[:] = np.frombuffer(data, np.uint8, length, offset)
    return len(offsets), 0


def unpack_runs(data: bytes, spans: NDArray[np.int64], step: int, flat: NDArray[np.uint8]) -> tuple[int, int]:
    try:
        from mmtk._native import unpack_strips
    except ImportError:
        from mmtk.imaging import _numba_kernels

        strip, length = _numba_kernels.unpack_strips(np.frombuffer(data, np.uint8), spans, step, flat)
        return int(strip), int(length)
    return unpack_strips(data, spans, step, flat)
