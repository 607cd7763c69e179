"""Convert a store for Hugging Face's package ``datasets``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk import store
from mmtk.datasets.base import Task
from mmtk.datasets.official import SPLIT_WORDS
from mmtk.errors import MmtkError


def to_huggingface(opened: store.Store, cache_dir: str | Path | None = None) -> Any:
    """Convert a store to a ``datasets.DatasetDict``: images as PNG, labels with class names.

    Parameters
    ----------
    opened : Store
    cache_dir : path, optional
        Where ``datasets`` keeps its Arrow files; by default its own cache.

    Returns
    -------
    datasets.DatasetDict
        Splits "train", "validation" and "test" without empty ones; columns ``image`` (``Array3D`` for volumes),
        ``label`` (a ``ClassLabel``), ``source`` and ``subject``, unchanged (use `export_hub` to share hashes instead).
        Multi-label tasks have ``labels`` instead of ``label``: a float32 of 0 or 1 per label, in the store's order, as
        needed by ``transformers`` for ``problem_type="multi_label_classification"``. The ``info`` of each split holds
        licence, citation, the source's page and a description with marks and label names.

    Raises
    ------
    MmtkError
        If the package ``datasets`` is not installed.

    Examples
    --------
    >>> import mmtk
    >>> store = mmtk.open("stores/breastmnist_28.h5")
    >>> mmtk.compat.to_huggingface(store, "cache")["train"].features["label"].names  # doctest: +SKIP
    ['malignant', 'normal, benign']
    """
    try:
        import datasets
    except ImportError:
        raise MmtkError.not_installed("to_huggingface", "datasets", "huggingface") from None
    info = opened.info
    label = datasets.ClassLabel(names=list(info.classes))
    several = datasets.Sequence(datasets.Value("float32"), length=info.labels)
    features = datasets.Features({
        "image": datasets.Array3D(info.row_shape, "uint8") if info.ndim == 3 else datasets.Image(),
        **({"labels": several} if info.task == Task.MULTILABEL else {"label": label}),
        "source": datasets.Value("string"),
        "subject": datasets.Value("string"),
    })
    names_of_labels = f"Labels: {', '.join(info.classes)}. " if info.task == Task.MULTILABEL else ""
    about = {
        "description": f"{info.title}, {info.size} px. {names_of_labels}{info.marks}".strip(), "license": info.licence,
        "citation": info.citation, "homepage": info.page,
    }
    names = {split: getattr(datasets.Split, word) for split, word in SPLIT_WORDS.items()}
    converted = datasets.DatasetDict({
        str(names[split.name]): datasets.Dataset.from_generator(
            _rows, features=features, cache_dir=None if cache_dir is None else str(cache_dir), split=names[split.name],
            gen_kwargs={"split": split},  # the cache key: the split's path, digest and changes
        )
        for split in opened.splits
        if len(split)
    })
    for rows in converted.values():
        for name, text in about.items():
            setattr(rows.info, name, text)  # from_generator does not take them, and its cache may hold older ones
    return converted


def _png(image: NDArray[np.uint8]) -> bytes:
    import cv2

    return cv2.imencode(".png", image[..., ::-1] if image.ndim == 3 else image)[1].tobytes()


def _rows(split: store.Split) -> Iterator[dict[str, Any]]:
    volumes, several = split.info.ndim == 3, split.info.task == Task.MULTILABEL
    for image, label, record in zip(split.images, split.labels, split.records, strict=True):
        yield {
            "image": image if volumes else {"bytes": _png(image), "path": None},
            **({"labels": label.astype(np.float32)} if several else {"label": int(label[0])}),
            "source": record["source"].decode(),
            "subject": record["subject"].decode(),
        }
