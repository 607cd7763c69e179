"""Animated GIFs of volumes, slice by slice, as Pillow writes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import IO

from mmtk.errors import StoreError
from mmtk.store._format import Array

_MILLISECONDS = 200  # per slice


def write_gif(what: str | Path, slices: Iterable[Array], file: IO[bytes]) -> None:
    """Write grey slices, ``(h, w)`` uint8, as a looping animation; the bytes are those of ``medmnist save``.

    Parameters
    ----------
    what : path
        The file, for the error message.
    slices : iterable of array
        At least one slice.
    file : binary file
        Empty.

    Raises
    ------
    StoreError
        If Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise StoreError.not_installed(what, "pillow", "medmnist") from None
    first, *others = [Image.fromarray(image) for image in slices]
    first.save(file, "GIF", save_all=True, append_images=others, duration=_MILLISECONDS, loop=0)
