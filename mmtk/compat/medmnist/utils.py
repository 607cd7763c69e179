"""``medmnist.utils``: save images and volumes as files and as montages."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk.datasets.official import SPLIT_WORDS
from mmtk.errors import MmtkError

SPLIT_DICT = dict(SPLIT_WORDS)
# other names that scripts import from this module of medmnist
_ELSEWHERE = {
    "Image": ("PIL.Image", ""), "skimage": ("skimage", ""), "skimage_montage": ("skimage.util", "montage"),
    "trange": ("tqdm", "trange"),
}
__all__ = [
    "SPLIT_DICT", "load_frames", "montage2d", "montage3d", "os", "save2d", "save3d", "save_fn", "save_frames_as_gif",
    *_ELSEWHERE,
]


def __getattr__(name: str) -> Any:
    return from_elsewhere(__name__, name, _ELSEWHERE)


def __dir__() -> list[str]:
    return sorted(__all__)


def from_elsewhere(module: str, name: str, places: dict[str, tuple[str, str]]) -> Any:
    """A name that a module of medmnist imports from another package, which is imported on first use."""
    if name not in places:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    place, inside = places[name]
    there = import_module(place)
    return getattr(there, inside) if inside else there


@cache  # an import statement per item would be noticeable
def image_module() -> Any:
    """Pillow's ``Image``.

    Raises
    ------
    MmtkError
        If it is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise MmtkError.not_installed("mmtk.compat.medmnist", "pillow", "medmnist") from None
    return Image


def save2d(imgs: Any, labels: Any, img_folder: str, split: str, postfix: str, csv_path: str | None) -> None:
    """Write images as files, see `save_fn`."""
    pictures = image_module()
    print(f"Saving {split} set to {img_folder}, csv_path={csv_path}...")
    save_fn(imgs, labels, img_folder, split, postfix, csv_path, pictures.fromarray, lambda img, path: img.save(path))


def save3d(imgs: Any, labels: Any, img_folder: str, split: str, postfix: str, csv_path: str | None) -> None:
    """Write volumes as animations, see `save_fn`."""
    image_module()
    print(f"Saving {split} set to {img_folder}, csv_path={csv_path}...")
    save_fn(imgs, labels, img_folder, split, postfix, csv_path, load_frames, save_frames_as_gif)


def save_fn(
    imgs: Any, labels: Any, img_folder: str, split: str, postfix: str, csv_path: str | None,
    load_fn: Callable[[Any], Any], save_fn: Callable[[Any, str], object],
) -> None:
    """Write each row as a file ``{split}{row}_{labels}.{postfix}``; if a CSV is given, add a line for each to it."""
    if len(imgs) != len(labels):
        raise AssertionError(f"labels: found {len(labels)}, expected {len(imgs)}, the number of images")
    os.makedirs(img_folder, exist_ok=True)
    lines = []
    for row, (image, label) in enumerate(zip(imgs, labels, strict=True)):
        name = f"{split}{row}_{'_'.join(map(str, label))}.{postfix}"
        save_fn(load_fn(image), os.path.join(img_folder, name))
        lines.append(f"{SPLIT_DICT[split]},{name},{','.join(map(str, label))}\n")
    if csv_path is not None:
        with open(csv_path, "a") as csv:
            csv.writelines(lines)


def montage2d(imgs: Any, n_channels: int, sel: Any) -> Any:
    """Selected images in a square, with free places in their mean colour, as a PIL image."""
    pictures = image_module()
    chosen = np.asarray(imgs[sel])
    page = chosen if n_channels == 3 else chosen[..., None]
    edge = math.ceil(math.sqrt(len(page)))
    count, height, width, channels = page.shape
    if count < edge * edge:
        mean = page.mean(axis=(0, 1, 2)).astype(page.dtype)
        rest: NDArray[Any] = np.broadcast_to(mean, (edge * edge - count, height, width, channels))
        page = np.concatenate([page, rest])
    rows = page.reshape(edge, edge, height, width, channels).swapaxes(1, 2)
    whole = rows.reshape(edge * height, edge * width, channels)
    return pictures.fromarray(whole if n_channels == 3 else whole[:, :, 0])


def montage3d(imgs: Any, n_channels: int, sel: Any) -> list[Any]:
    """Selected volumes in a square, as a PIL image per slice."""
    return [montage2d(imgs[:, number], n_channels, sel) for number in range(imgs.shape[1])]


def load_frames(arr: Any) -> list[Any]:
    """The slices of a volume as PIL images."""
    return list(map(image_module().fromarray, arr))


def save_frames_as_gif(frames: Sequence[Any], path: str, duration: int = 200) -> None:
    """Write images as a looping animation, each shown for `duration` milliseconds."""
    if not str(path).endswith(".gif"):
        raise AssertionError(f"{path}: does not end in .gif")
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=duration, loop=0)
