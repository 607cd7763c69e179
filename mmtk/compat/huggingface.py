"""A store for the package ``datasets`` of Hugging Face."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmtk import store
from mmtk.datasets.official import SPLIT_WORDS
from mmtk.errors import MmtkError


def to_huggingface(opened: store.Store, cache_dir: str | Path | None = None) -> Any:
    """A store as a ``datasets.DatasetDict``: images as PNG, labels with the names of their classes.

    Parameters
    ----------
    opened : Store
    cache_dir : path, optional
        Where ``datasets`` keeps the Arrow files it makes; by default its own cache.

    Returns
    -------
    datasets.DatasetDict
        Splits "train", "validation" and "test", empty ones left out; columns ``image``, ``label`` (a ``ClassLabel``, or
        for multi-label tasks a list of the labels that are set), ``source`` and ``subject``, as the store has them: to
        share them as hashes alone, see `export_hub`. The ``info`` of each has
        the licence, the citation, the source's page and a description with the marks.

    Raises
    ------
    MmtkError
        If the package datasets is not installed.
    """
    try:
        import datasets
    except ImportError:
        remedy = "pip install 'mmtk[huggingface]'"
        raise MmtkError("to_huggingface", expected="the package datasets", found="none", remedy=remedy) from None
    info = opened.info
    label = datasets.ClassLabel(names=list(info.classes))
    features = datasets.Features({
        "image": datasets.Image(),
        "label": datasets.Sequence(label) if info.labels > 1 else label,
        "source": datasets.Value("string"),
        "subject": datasets.Value("string"),
    })
    about = {
        "description": f"{info.title}, {info.size} px. {info.marks}".strip(), "license": info.licence,
        "citation": info.citation, "homepage": info.page,
    }
    names = {split: getattr(datasets.Split, word) for split, word in SPLIT_WORDS.items()}
    found = datasets.DatasetDict({
        str(names[split.name]): datasets.Dataset.from_generator(
            _rows, features=features, cache_dir=None if cache_dir is None else str(cache_dir), split=names[split.name],
            # what the cache tells contents apart by
            gen_kwargs={"path": str(opened.path.absolute()), "name": split.name, "digest": opened.digest},
        )
        for split in opened.splits
        if len(split)
    })
    for rows in found.values():
        for name, text in about.items():
            setattr(rows.info, name, text)  # from_generator takes none of them, and its cache is older than they may be
    return found


def _rows(path: str, name: str, digest: str) -> Iterator[dict[str, Any]]:
    import cv2

    opened = store.open(path, digest)
    split: store.Split = getattr(opened, name)
    for image, label, record in zip(split.images, split.labels, split.records, strict=True):
        data = cv2.imencode(".png", image[..., ::-1] if image.ndim == 3 else image)[1].tobytes()
        yield {
            "image": {"bytes": data, "path": None},
            "label": [i for i, on in enumerate(label) if on] if opened.info.labels > 1 else int(label[0]),
            "source": record["source"].decode(),
            "subject": record["subject"].decode(),
        }
