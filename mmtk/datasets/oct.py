"""OCTMNIST: retinal optical coherence tomography from Kermany et al. 2018. JPEGs in part and class folders."""

from __future__ import annotations

import re

from mmtk.datasets import register
from mmtk.datasets.base import LIKE_BREAST, Counts, Dataset, Record, Scan, Source, Task
from mmtk.datasets.collecting import collect, matching
from mmtk.datasets.listing import Listing
from mmtk.datasets.splits import FloorCut
from mmtk.datasets.steps import CenterCrop, Grey, Resize, RoundTrip, as_released
from mmtk.errors import SourceError

_SCANS = {"CNV": (37205, 250), "DME": (11348, 250), "DRUSEN": (8616, 250), "NORMAL": (51140, 250)}  # train, test
_CLASSES = tuple(_SCANS)
_EXPECTED = {f"{part}/{kind}": n[part == "test"] for part in ("train", "test") for kind, n in _SCANS.items()}
_IMAGE = re.compile(
    r"(?:.*/)?(?P<source>(?P<part>train|val|test)/(?P<kind>CNV|DME|DRUSEN|NORMAL)/"
    r"(?P=kind)-(?P<patient>[0-9]+)-[0-9]+\.jpeg)"
)


def scan(listing: Listing) -> Scan:
    """Scan the OCT images; the subject is the patient number in the file name. Phantoms use eight-digit numbers.

    Raises
    ------
    SourceError
        If the files are Kaggle's copy, which is split differently and has a ``val`` part.
    """
    matches = list(matching(listing, _IMAGE))
    kaggle = next((m[0] for m in matches if m["part"] == "val"), None)
    if kaggle is not None:
        raise SourceError(
            listing.path(kaggle), "belongs to Kaggle's copy, whose split (it has a part val) is not the published one",
            remedy=f"get version 2 or 3, OCT2017.tar.gz, from {OCT.source.page}",
        )
    records = (
        Record(m["source"], m[0], (_CLASSES.index(m["kind"]),), m["patient"], m["part"])
        for m in matches if len(m["patient"]) < 8 or listing.phantom
    )
    return collect(OCT, listing, records, expected=_EXPECTED)


OCT = register(Dataset(
    flag="octmnist", title="OCTMNIST", modality="retinal OCT",
    task=Task.MULTICLASS, classes=("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    channels=1,
    counts={"2020": Counts(97477, 10832, 1000), "2024": Counts(97477, 10832, 1000)},
    source=Source(
        "Kermany OCT", licence="CC BY 4.0", page="https://data.mendeley.com/datasets/rscbjbr9sj/3",
        layout="OCT2017/{train,test}/{CNV,DME,DRUSEN,NORMAL}/<class>-<patient>-<number>.jpeg",
        citation="Kermany et al., Identifying medical diagnoses and treatable diseases by image-based deep learning, "
        "Cell 172(5), 1122-1131, 2018",
        marks=("OCT2017", "OCT2017 ", "train/DRUSEN", "test/DRUSEN"), archives=("OCT2017.tar.gz", "ZhangLabData.zip"),
    ),
    recipe=as_released(Grey(), CenterCrop(), Resize("bilinear"), RoundTrip("jpeg", 75)),
    split=FloorCut(0.9, within="train"), scan=scan, unchecked_larger=(LIKE_BREAST,),
    md5={
        "2020:28": "c68d92d5b585d8d81f7112f81e2d0842",
        "2024:28": "c68d92d5b585d8d81f7112f81e2d0842",
        "2024:64": "e229e9440236b774d9f0dfef9d07bdaf",
        "2024:128": "0a97e76651ace45c5d943ee3f65b63ae",
        "2024:224": "abc493b6d529d5de7569faaef2773ba3",
    },
    unchecked=("the crop to a square, inferred from the other sets", "the JPEG round trip, inferred likewise"),
    notes=(
        "Only Mendeley's versions 2 and 3 give the published counts; Kaggle's copy is split differently.",
        "The provider's train part is split 9:1 per class into train and val, not by patient; its test part is test.",
    ),
))
