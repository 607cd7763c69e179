"""Export a store for Google's Vertex AI: PNG files as written by `export_png`, and the import files that label them.

``{flag}_vertex.jsonl`` is the import file for Vertex AI image classification, in Google's schemas
``image_classification_single_label_io_format_1.0.0`` and ``..._multi_label_...``; ``{flag}_automl.csv`` is that of
AutoML Vision, its discontinued predecessor, which the paper used. Both refer to the images by the addresses they have
once the folder has been copied to a bucket.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

from mmtk.datasets.base import SPLITS, Task
from mmtk.datasets.official import SPLIT_WORDS
from mmtk.errors import ArgumentError, StoreError
from mmtk.files import write_text
from mmtk.store._format import StoreInfo
from mmtk.store._npz import medmnist_name
from mmtk.store._png import export_png, image_name
from mmtk.store._reader import Store

NONE_OF_THE_ABOVE = "None_of_the_above"  # Google's word; to the service an image with no label is not yet labelled
_USES = dict(zip(SPLITS, ("training", "validation", "test"), strict=True))
_LONGEST = 128  # characters of a display name
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_PATTERNS = "*?[]#"  # Google's commands interpret these as wildcards and versions


def export_vertex(store: Store, out: str | Path, prefix: str, force: bool = False) -> Path:
    """Write the images as `export_png` does, and the import files for Vertex AI and AutoML Vision.

    Parameters
    ----------
    store : Store
        A store of images. Class names become labels; in multi-label tasks an image without labels gets the label
        "None_of_the_above", because the service treats an image with no label as not yet labelled.
    out : path
        Folder of all files; copy its content to `prefix`.
    prefix : str
        ``gs://bucket`` or ``gs://bucket/path``.
    force : bool
        Overwrite existing files; equal files are kept.

    Returns
    -------
    Path
        The import file of Vertex AI, which is written last.

    Raises
    ------
    ArgumentError
        If `prefix` is not an address in Cloud Storage.
    StoreError
        If the store holds volumes, a class name cannot be a label, or `export_png` raises it.

    Examples
    --------
    >>> import mmtk
    >>> from mmtk.store import export_vertex
    >>> export_vertex(mmtk.open("stores/breastmnist_28.h5"), "vertex", "gs://my-bucket").as_posix()
    'vertex/breastmnist_vertex.jsonl'
    """
    place = _checked_place(prefix)
    names = _checked_names(store)
    images = list(_images(store, place, names))
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(
        (SPLIT_WORDS[split], uri, *labels) for split, uri, labels in images
    )
    several = store.info.task == Task.MULTILABEL
    lines = "".join(json.dumps(_line(*image, several), ensure_ascii=False) + "\n" for image in images)
    base = Path(out) / medmnist_name(store)
    texts = {
        base.with_name(f"{base.name}_automl.csv"): table.getvalue(),
        base.with_name(f"{base.name}_vertex.jsonl"): lines,
    }
    for path, text in texts.items():
        if path.exists() and not force and path.read_bytes() != text.encode():
            raise StoreError(path, "exists with other content", remedy="use --force to overwrite it")
    export_png(store, out, force)
    for path, text in texts.items():
        write_text(path, text)
    return path


def _images(store: Store, place: str, names: tuple[str, ...]) -> Iterator[tuple[str, str, list[str]]]:
    """Split, address and labels of each image."""
    several, folder = store.info.task == Task.MULTILABEL, f"{place}/{medmnist_name(store)}"
    for split in store.splits:
        for row, values in enumerate(split.labels.tolist()):
            if several:
                labels = [name for name, value in zip(names, values, strict=True) if value] or [NONE_OF_THE_ABOVE]
            else:
                labels = [names[values[0]]]
            yield split.name, f"{folder}/{image_name(split.name, row, values)}", labels


def _line(split: str, uri: str, labels: list[str], several: bool) -> dict[str, object]:
    annotations = [{"displayName": label} for label in labels]
    return {
        "imageGcsUri": uri,
        **({"classificationAnnotations": annotations} if several else {"classificationAnnotation": annotations[0]}),
        "dataItemResourceLabels": {"aiplatform.googleapis.com/ml_use": _USES[split]},
    }


def _checked_place(prefix: str) -> str:
    """The prefix without a trailing slash."""
    expected = "gs://bucket or gs://bucket/path"
    scheme, _, rest = prefix.partition("://")
    bucket, *path = rest.removesuffix("/").split("/")
    if scheme != "gs" or not _BUCKET.fullmatch(bucket):
        raise ArgumentError("prefix", "is not an address in Cloud Storage", expected=expected, found=repr(prefix))
    if set(path) & {"", ".", ".."} or not prefix.isprintable() or set(prefix) & set(_PATTERNS):
        problem = f"{prefix!r} has an empty part, . or .., or one of the characters {' '.join(_PATTERNS)}"
        raise ArgumentError("prefix", problem, expected=expected)
    return "/".join(["gs:/", bucket, *path])


def _checked_names(store: Store) -> tuple[str, ...]:
    """The class names, which must be valid labels and differ in more than case, since their order is lost."""
    info: StoreInfo = store.info
    if info.ndim != 2:
        raise StoreError(store.path, "holds volumes, which Vertex AI does not take")
    if long := next((name for name in info.classes if len(name) > _LONGEST), None):
        raise StoreError(store.path, f"class name is longer than {_LONGEST} characters: {long}")
    reserved = (NONE_OF_THE_ABOVE,) if info.task == Task.MULTILABEL else ()
    known = [name.strip().lower() for name in (*info.classes, *reserved)]
    if repeated := next((name for name in known if known.count(name) > 1), None):
        problem = f"class name {repeated} occurs twice, ignoring case"
        if reserved and repeated == reserved[0].lower():
            problem = f"class name {repeated} is reserved for images without a label"
        raise StoreError(store.path, problem)
    return info.classes
