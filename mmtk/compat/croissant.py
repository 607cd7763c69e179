"""Describe a store in Croissant 1.0, the JSON-LD vocabulary of MLCommons for datasets.

This does not use mlcroissant, which needs pandas and rdflib just to make a JSON object: see docs/decisions.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmtk import __version__
from mmtk.base import sha256_of
from mmtk.compat._card import licence_of
from mmtk.datasets import find_dataset
from mmtk.datasets.official import SPLIT_WORDS
from mmtk.store import Store

_CONTEXT: dict[str, Any] = {
    "@language": "en", "@vocab": "https://schema.org/", "citeAs": "cr:citeAs", "column": "cr:column",
    "conformsTo": "dct:conformsTo", "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/", "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"}, "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"}, "extract": "cr:extract", "field": "cr:field",
    "fileProperty": "cr:fileProperty", "fileObject": "cr:fileObject", "fileSet": "cr:fileSet", "format": "cr:format",
    "includes": "cr:includes", "isLiveDataset": "cr:isLiveDataset", "jsonPath": "cr:jsonPath", "key": "cr:key",
    "md5": "cr:md5", "parentField": "cr:parentField", "path": "cr:path", "recordSet": "cr:recordSet",
    "references": "cr:references", "regex": "cr:regex", "repeated": "cr:repeated", "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/", "separator": "cr:separator", "source": "cr:source", "subField": "cr:subField",
    "transform": "cr:transform",
}


def to_croissant(store: Store) -> dict[str, Any]:
    """Describe a store in Croissant: its file with its SHA-256, and its classes.

    Croissant has no notation for HDF5, so there are no record sets of its rows; `export_hub` writes a folder with such
    record sets, which mlcroissant can load.

    Parameters
    ----------
    store : Store
        Its file is read once, for the checksum.

    Returns
    -------
    dict
        A JSON-LD object.

    Examples
    --------
    >>> import mmtk
    >>> described = mmtk.compat.to_croissant(mmtk.open("stores/breastmnist_28.h5"))
    >>> described["name"], described["distribution"][0]["contentUrl"]
    ('breastmnist-28', 'breastmnist_28.h5')
    """
    path = store.path
    file = _file(path, path.name, "application/x-hdf5", f"A store of mmtk {__version__}; see its FORMAT.md")
    return {**_head(store), "distribution": [file], "recordSet": [_classes(store)]}


def shared_croissant(store: Store, folder: Path, form: str, columns: Mapping[str, str]) -> dict[str, Any]:
    """Describe a shared folder in Croissant: its files, and the rows of each split as a record set.

    Parameters
    ----------
    store : Store
    folder : path
        The folder written by `export_hub`.
    form : {"imagefolder", "parquet"}
    columns : mapping of str to str
        The columns of a row besides its image, and the kind of each: label, source or subject.
    """
    distribution: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    for split in store.splits:
        if not len(split):
            continue
        word = SPLIT_WORDS[split.name].lower()
        if form == "parquet":
            table = f"data/{word}.parquet"
            distribution.append(_file(folder / table, table, "application/x-parquet", f"{len(split)} rows"))
            content = {"fileObject": {"@id": table}, "extract": {"column": "image"}, "transform": {"jsonPath": "bytes"}}
            fields = [_field(f"{word}/image", "sc:ImageObject", content)]
        else:
            table, images = f"data/{word}/metadata.csv", f"{word}-images"
            distribution.append(_file(folder / table, table, "text/csv", f"{len(split)} rows"))
            distribution.append({
                "@type": "cr:FileSet", "@id": images, "name": images, "encodingFormat": "image/png",
                "includes": f"data/{word}/*.png", "description": f"{len(split)} images",
            })
            name = _field(f"{word}/file_name", "sc:Text", _column(table, "file_name"))
            name["references"] = {"fileSet": {"@id": images}, "extract": {"fileProperty": "filename"}}
            content = {"fileSet": {"@id": images}, "extract": {"fileProperty": "content"}}
            fields = [name, _field(f"{word}/image", "sc:ImageObject", content)]
        fields += [
            _field(f"{word}/{name}", "sc:Integer" if kind == "label" else "sc:Text", _column(table, name))
            for name, kind in columns.items()
        ]
        records.append({
            "@type": "cr:RecordSet", "@id": word, "name": word, "description": f"{len(split)} images", "field": fields,
        })
    return {**_head(store), "distribution": distribution, "recordSet": [_classes(store), *records]}


def _head(store: Store) -> dict[str, Any]:
    """The description of the dataset, independent of its files."""
    info = store.info
    known = find_dataset(info.flag)
    _, licence = licence_of(info.licence)
    counts = ", ".join(f"{split} {count}" for split, count in store.counts.items())
    marks = f" {info.marks}" if info.marks else ""
    edges = " x ".join([str(info.size)] * info.ndim)
    about = f"{info.title}: {info.modality}, {edges} px, {info.task}; {counts}.{marks}"
    url = info.page or (known.source.page if known else "")
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": re.sub(r"\W+", "-", f"{info.flag}-{info.size}"),
        "description": about,
        "license": licence or info.licence,
        "url": url,
        "citeAs": info.citation,
        "creator": {"@type": "Organization", "name": info.source},
        **({"version": f"{info.edition}.0.0"} if info.edition.isdecimal() else {}),
        "keywords": [info.modality, info.task, *info.marks.lower().split()],
        "isBasedOn": info.recipe_hash,
    }


def _file(path: Path, name: str, kind: str, about: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject", "@id": name, "name": name, "contentUrl": name,
        "contentSize": f"{path.stat().st_size} B", "encodingFormat": kind, "sha256": sha256_of(path),
        "description": about,
    }


def _classes(store: Store) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet", "@id": "classes", "name": "classes", "key": {"@id": "classes/number"},
        "field": [
            {"@type": "cr:Field", "@id": "classes/number", "name": "classes/number", "dataType": "sc:Integer"},
            {"@type": "cr:Field", "@id": "classes/name", "name": "classes/name", "dataType": "sc:Text"},
        ],
        "data": [{"classes/number": n, "classes/name": name} for n, name in enumerate(store.info.classes)],
    }


def _column(table: str, name: str) -> dict[str, Any]:
    return {"fileObject": {"@id": table}, "extract": {"column": name}}


def _field(name: str, kind: str, source: dict[str, Any]) -> dict[str, Any]:
    return {"@type": "cr:Field", "@id": name, "name": name, "dataType": kind, "source": source}
