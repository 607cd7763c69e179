"""A store described as Croissant 1.0, the JSON-LD vocabulary of MLCommons for datasets.

Without mlcroissant, which brings pandas and rdflib to make one JSON object: see docs/decisions.md.
"""

from __future__ import annotations

import re
from typing import Any

from mmtk import __version__
from mmtk.base import sha256_of
from mmtk.datasets import find_dataset
from mmtk.store import Store

_CONTEXT: dict[str, Any] = {
    "@language": "en", "@vocab": "https://schema.org/", "citeAs": "cr:citeAs", "column": "cr:column",
    "conformsTo": "dct:conformsTo", "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/", "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"}, "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"}, "extract": "cr:extract", "field": "cr:field",
    "fileProperty": "cr:fileProperty", "fileObject": "cr:fileObject", "fileSet": "cr:fileSet", "format": "cr:format",
    "includes": "cr:includes", "isLiveDataset": "cr:isLiveDataset", "jsonPath": "cr:jsonPath", "key": "cr:key",
    "md5": "cr:md5", "parentField": "cr:parentField", "path": "cr:path", "recordSet": "cr:recordSet",
    "references": "cr:references", "regex": "cr:regex", "repeated": "cr:repeated", "replace": "cr:replace",
    "sc": "https://schema.org/", "separator": "cr:separator", "source": "cr:source", "subField": "cr:subField",
    "transform": "cr:transform",
}
_LICENCES = {
    "CC BY 4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC BY-SA 4.0": "https://creativecommons.org/licenses/by-sa/4.0/",
    "CC BY-NC 4.0": "https://creativecommons.org/licenses/by-nc/4.0/",
}


def to_croissant(store: Store) -> dict[str, Any]:
    """A store as Croissant: its file with its SHA-256, its classes, and for each split its columns.

    Croissant names no way into HDF5, so a field's ``column`` is the path of the HDF5 dataset whose rows it is.

    Parameters
    ----------
    store : Store
        Its file is read once, for the checksum.

    Returns
    -------
    dict
        To be written as JSON.
    """
    info, path = store.info, store.path
    known = find_dataset(info.flag)
    kinds = {"image": "sc:ImageObject", "label": "sc:Integer", "source": "sc:Text", "subject": "sc:Text"}
    columns = {"image": "images", "label": "labels", "source": "records/source", "subject": "records/subject"}

    classes = {"references": {"field": {"@id": "classes/number"}}} if info.labels == 1 else {}

    def fields(split: str) -> list[dict[str, Any]]:
        return [
            {
                "@type": "cr:Field", "@id": f"{split}/{name}", "name": f"{split}/{name}", "dataType": kind,
                "description": f"Rows of the HDF5 dataset {split}/{columns[name]}",
                "source": {"fileObject": {"@id": path.name}, "extract": {"column": f"{split}/{columns[name]}"}},
                **(classes if name == "label" else {}),
            }
            for name, kind in kinds.items()
        ]

    marks = f" {info.marks}" if info.marks else ""
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": re.sub(r"\W+", "-", f"{info.flag}-{info.size}"),
        "description": f"{info.title}: {info.modality}, {info.size} x {info.size} px, {info.task}.{marks}",
        "license": _LICENCES.get(info.licence, info.licence),
        "url": info.page or (known.source.page if known else ""),
        "citeAs": info.citation,
        "creator": {"@type": "Organization", "name": info.source},
        **({"version": f"{info.edition}.0.0"} if info.edition.isdecimal() else {}),
        "keywords": [info.modality, info.task, *info.marks.lower().split()],
        "isBasedOn": info.recipe_hash,
        "distribution": [{
            "@type": "cr:FileObject", "@id": path.name, "name": path.name, "contentUrl": path.name,
            "contentSize": f"{path.stat().st_size} B", "encodingFormat": "application/x-hdf5",
            "sha256": sha256_of(path),
            "description": f"A store of mmtk {__version__}; see its FORMAT.md",
        }],
        "recordSet": [
            {
                "@type": "cr:RecordSet", "@id": "classes", "name": "classes", "key": {"@id": "classes/number"},
                "field": [
                    {"@type": "cr:Field", "@id": "classes/number", "name": "classes/number", "dataType": "sc:Integer"},
                    {"@type": "cr:Field", "@id": "classes/name", "name": "classes/name", "dataType": "sc:Text"},
                ],
                "data": [{"classes/number": n, "classes/name": name} for n, name in enumerate(info.classes)],
            },
            *(
                {
                    "@type": "cr:RecordSet", "@id": split.name, "name": split.name,
                    "description": f"{len(split)} images", "field": fields(split.name),
                }
                for split in store.splits
            ),
        ],
    }
