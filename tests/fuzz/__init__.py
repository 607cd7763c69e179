"""Fuzz targets: ``make fuzz`` runs each for ten minutes. Whatever bytes come, a decoder of ours answers with an
`ImageError` of one line or with the very pixels that a peer decodes."""

from __future__ import annotations

import io

from mmtk.errors import ImageError

TARGETS = ("header", "png", "deep", "tiff", "dicom", "series", "nifti", "volume")


class InMemory:
    """A file as `mmtk.imaging` takes it, without a disk."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def open(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self.data)

    def __fspath__(self) -> str:
        return "fuzzed"


def once(target, data: bytes) -> bool:
    """Give a target one input; whether it was read."""
    refusal = ""
    try:
        target.check(data)
    except ImageError as error:
        refusal = str(error)
    assert "\n" not in refusal, "an error is one line"
    return not refusal
