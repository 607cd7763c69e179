"""What a notebook shows of a store or a split: its facts, and images of each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmtk.display import Html, facts_table, note, picture, rows_table
from mmtk.errors import reason_of
from mmtk.store._format import Array
from mmtk.store._montage import class_rows
from mmtk.store._reader import Split, Store

_MOST_BYTES = 40_000  # of all pictures; as text in a page they take a third more
_MOST_CLASSES = 20
_LARGEST, _GAP = 48, 2  # of a picture's edge, and between two, in pixels
_TRIES = (("png", 8), ("jpeg", 8), ("jpeg", 5), ("jpeg", 3), ("jpeg", 1))  # how a row is encoded, and its pictures


def store_html(store: Store) -> str:
    """A store as a table of facts and of classes, with images of the first split that has any."""
    info = store.info
    labelled = [split for split in store if "labels" in split.arrays]
    facts = {
        "dataset": info.flag, "images": [f"{name} {count:,}" for name, count in store.counts.items()],
        "size": " x ".join([str(info.size)] * info.ndim) + f" px, {'grey' if info.channels == 1 else 'colour'}",
        "task": info.task, "marks": info.marks, "membership": info.membership, "licence": info.licence,
        "file": store.path, "digest": store.digest[:16] + "...",
    }
    return _page(f"{info.title} ({info.modality})", facts, labelled, store)


def split_html(split: Split) -> str:
    """A split as a table of facts and of classes, with images."""
    info = split.info
    facts = {
        "dataset": info.flag, "images": f"{len(split):,} of {info.size} px", "task": info.task, "marks": info.marks,
        "file": split.store_path,
    }
    return _page(f"{info.title}, {split.name}", facts, [split] if "labels" in split.arrays else [], split)


def _page(title: str, facts: dict[str, object], labelled: Sequence[Split], what: Store | Split) -> str:
    path = what.path if isinstance(what, Store) else what.store_path
    try:
        notes = [] if path.exists() else [note("The file is no longer there; this is what was opened.")]
        return facts_table(title, facts, _classes(labelled), *notes)
    except Exception as error:  # a page that fails to show says why; an exception here would be a wall of traceback
        return facts_table(title, facts, note(f"The images cannot be shown: {reason_of(error)}"))


def _classes(labelled: Sequence[Split]) -> Html:
    """A table with a row per class or label: how many images each split has of it, and some of them."""
    if not labelled:
        return Html("")
    names = labelled[0].info.classes[:_MOST_CLASSES]
    members = [[class_rows(split, number) for number in range(len(names))] for split in labelled]
    shown = next((number for number, split in enumerate(labelled) if len(split)), None)
    pictures = [Html("")] * len(names) if shown is None else _pictures(labelled[shown], members[shown])
    rows = [
        (str(number), name, *(len(rows[number]) for rows in members), strip)
        for number, (name, strip) in enumerate(zip(names, pictures, strict=True))
    ]
    strips = "" if shown is None else f"images of {labelled[shown].name}"
    heads = ("class", "name", *(split.name for split in labelled), strips)
    more = len(labelled[0].info.classes) - len(names)
    return Html(rows_table(heads, rows) + (note(f"and {more} more classes") if more else ""))


def _pictures(split: Split, members: Sequence[Array]) -> list[Html]:
    """A row of pictures of each class, as many as a small page has room for."""
    split.check_whole()
    most = max(columns for _, columns in _TRIES)
    picked = [split.images[rows[_spread(len(rows), most)]] for rows in members]
    for kind, columns in _TRIES:
        strips = [_strip(images[_spread(len(images), columns)]) if len(images) else None for images in picked]
        encoded = [b"" if strip is None else _encoded(strip, kind) for strip in strips]
        if sum(map(len, encoded)) <= _MOST_BYTES:
            height = 2 * min(split.info.size, _LARGEST) if split.info.size <= 32 else _LARGEST
            return [picture(data, kind, height) if data else Html("") for data in encoded]
    return [Html("")] * len(members)


def _encoded(strip: Array, kind: str) -> bytes:
    import cv2

    options = [cv2.IMWRITE_JPEG_QUALITY, 80] if kind == "jpeg" else []
    data: bytes = cv2.imencode(f".{kind}", strip, options)[1].tobytes()
    return data


def _spread(count: int, most: int) -> Array:
    return np.linspace(0, count - 1, min(most, count)).astype(int)


def _strip(images: Array) -> Array:
    """Images ``(n, h, w[, 3])``, or the middle slices of volumes, side by side as one of OpenCV's pictures."""
    import cv2

    if images.ndim == 4 and images.shape[3] != 3:
        images = images[:, images.shape[1] // 2]
    edge = min(images.shape[1], _LARGEST)
    tiles = [cv2.resize(np.ascontiguousarray(image), (edge, edge), interpolation=cv2.INTER_AREA) for image in images]
    gap = np.full((edge, _GAP, *tiles[0].shape[2:]), 255, np.uint8)
    strip: Array = np.concatenate([part for tile in tiles for part in (tile, gap)][:-1], axis=1)
    return strip[..., ::-1] if strip.ndim == 3 else strip
