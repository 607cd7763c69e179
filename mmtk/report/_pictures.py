"""Images for the page: a sample of each dataset, and a run's most confident mistakes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk.datasets.base import Task
from mmtk.display import data_uri
from mmtk.errors import StoreError
from mmtk.runs import Run
from mmtk.scoring import decide
from mmtk.store import Store

_SIDE = 5  # images along a sample
_LARGEST = 56  # pixels of an image on the page; larger ones are reduced


@dataclass(frozen=True)
class Mistake:
    """A test image that a run got wrong."""

    row: int
    truth: str
    predicted: str
    score: float
    source: str


def sample(store: Store) -> str:
    """Training images as one picture, alternating between classes or labels."""
    split = next((split for split in store.splits if len(split)), store.train)
    multilabel = store.info.task == Task.MULTILABEL
    columns = split.labels if multilabel else split.labels == np.arange(len(store.info.classes))
    queues = [np.flatnonzero(column).tolist() for column in columns.T]
    chosen: dict[int, None] = {}
    while len(chosen) < _SIDE**2 and any(queues):
        for queue in queues:
            if queue:
                chosen[queue.pop(0)] = None
    rows = list(chosen or range(len(split)))[: _SIDE**2]  # the first images if no label is set
    tiles = [_small(split.images[row], store.info.ndim) for row in rows]
    blank = np.zeros_like(tiles[0]) if tiles else _small(np.zeros(store.info.row_shape, np.uint8), store.info.ndim)
    tiles += [blank] * (_SIDE**2 - len(tiles))
    lines = [np.concatenate(tiles[at : at + _SIDE], axis=1) for at in range(0, _SIDE**2, _SIDE)]
    return _source(np.concatenate(lines, axis=0))


def mistakes(run: Run, most: int = 8) -> list[Mistake]:
    """A run's most confident mistakes on test images, the most confident first, each image at most once."""
    test = run.predictions
    if test is None or test.images is None:
        return []
    names, y = test.classes, test.labels.astype(int)
    s, chosen = decide(test.scores, test.task)
    if test.task == Task.MULTILABEL:
        predicted = chosen == 1
        sure = np.where(predicted, s, 1 - s)
        sure[predicted == (y == 1)] = -np.inf
        label = sure.argmax(axis=1)
        every = np.arange(len(s))
        sure, said, truths = sure[every, label], predicted[every, label], y[every, label]
        words = [
            (names[i] if truth else f"no {names[i]}", names[i] if yes else f"no {names[i]}")
            for i, yes, truth in zip(label, said, truths, strict=True)
        ]
    else:
        sure = np.where(chosen == y[:, 0], -np.inf, s[np.arange(len(s)), chosen])
        words = [(names[truth], names[taken]) for truth, taken in zip(y[:, 0], chosen, strict=True)]
    order = [int(row) for row in np.argsort(-sure, kind="stable")[:most] if np.isfinite(sure[row])]
    pictures = [_source(_small(test.images[row], test.ndim)) for row in order]
    return [Mistake(row, *words[row], float(sure[row]), picture) for row, picture in zip(order, pictures, strict=True)]


def _small(image: NDArray[np.uint8], ndim: int) -> NDArray[np.uint8]:
    """An image in the page's size; for a volume its middle slice."""
    import cv2

    image = np.ascontiguousarray(image[len(image) // 2] if ndim == 3 else image)
    if len(image) <= _LARGEST:
        return image
    small: Any = cv2.resize(image, (_LARGEST, _LARGEST), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def _source(image: NDArray[np.uint8]) -> str:
    """A picture as the ``src`` of an HTML image."""
    import cv2

    ok, data = cv2.imencode(".png", image if image.ndim == 2 else np.ascontiguousarray(image[..., ::-1]))
    if not ok:
        raise StoreError("picture", "cannot be encoded as PNG", found=f"shape {image.shape}")
    return data_uri(data.tobytes(), "png")
