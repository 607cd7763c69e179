"""A store as Google's Vertex AI imports it: PNG files as of `export_png`, and beside them what names and labels them.

``{flag}_vertex.jsonl`` is the import file of Vertex AI's image classification, by Google's schemas
``image_classification_single_label_io_format_1.0.0`` and ``..._multi_label_...``; ``{flag}_automl.csv`` is that of
AutoML Vision, its closed predecessor, with which the paper's figures were made. Both name the images where they will be
once the folder lies in a bucket.
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

NONE_OF_THE_ABOVE = "None_of_the_above"  # Google's word; one without any label counts as not yet labelled
_USES = dict(zip(SPLITS, ("training", "validation", "test"), strict=True))
_LONGEST = 128  # letters of a display name
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_PATTERNS = "*?[]#"  # which Google's own commands take for patterns and versions


def export_vertex(store: Store, out: str | Path, prefix: str, force: bool = False) -> Path:
    """Write the images as `export_png` does, and the import files of Vertex AI and AutoML Vision.

    Parameters
    ----------
    store : Store
        Of images. Names of classes are the labels; of several labels, an image that has none is labelled
        "None_of_the_above", since to the service one without any is not labelled yet.
    out : path
        Folder of all of them, whose content is to be copied to `prefix`.
    prefix : str
        ``gs://bucket`` or ``gs://bucket/path``.
    force : bool
        Replace what is there; equal files are left alone.

    Returns
    -------
    Path
        The import file of Vertex AI, which appears last.

    Raises
    ------
    ArgumentError
        If `prefix` is no place in Cloud Storage.
    StoreError
        If the store is of volumes, a class has a name that cannot be a label, or for what `export_png` raises.
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
            raise StoreError(path, expected="an equal file or none", found="another", remedy="add --force")
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
    told = [{"displayName": label} for label in labels]
    return {
        "imageGcsUri": uri,
        **({"classificationAnnotations": told} if several else {"classificationAnnotation": told[0]}),
        "dataItemResourceLabels": {"aiplatform.googleapis.com/ml_use": _USES[split]},
    }


def _checked_place(prefix: str) -> str:
    """The prefix without a slash at its end."""
    expected = "gs://bucket or gs://bucket/path"
    scheme, _, rest = prefix.partition("://")
    bucket, *path = rest.removesuffix("/").split("/")
    if scheme != "gs" or not _BUCKET.fullmatch(bucket):
        raise ArgumentError("prefix", expected=expected, found=repr(prefix))
    if set(path) & {"", ".", ".."} or not prefix.isprintable() or set(prefix) & set(_PATTERNS):
        found = f"{prefix!r}, with an empty part, . or .., or a character of {' '.join(_PATTERNS)}"
        raise ArgumentError("prefix", expected=expected, found=found)
    return "/".join(["gs:/", bucket, *path])


def _checked_names(store: Store) -> tuple[str, ...]:
    """The names of classes, which have to be labels that differ whatever their case: their order is lost."""
    info: StoreInfo = store.info
    if info.ndim != 2:
        raise StoreError(store.path, expected="a store of images for Vertex AI", found="volumes")
    if long := next((name for name in info.classes if len(name) > _LONGEST), None):
        raise StoreError(store.path, expected=f"names of classes of at most {_LONGEST} letters", found=repr(long))
    reserved = (NONE_OF_THE_ABOVE,) if info.task == Task.MULTILABEL else ()
    known = [name.strip().lower() for name in (*info.classes, *reserved)]
    if twice := next((name for name in known if known.count(name) > 1), None):
        also = ", also the label of images without any" if reserved and twice == reserved[0].lower() else ""
        expected = "names of classes that differ in more than case"
        raise StoreError(store.path, expected=expected, found=f"{twice} twice{also}")
    return info.classes
