"""PneumoniaMNIST: children's chest X-rays from Kermany et al. 2018. JPEGs in part and class folders."""

from __future__ import annotations

import re

from mmtk.datasets import register
from mmtk.datasets.base import LIKE_BREAST, Counts, Dataset, Record, Scan, Source, Task
from mmtk.datasets.collecting import collect, matching
from mmtk.datasets.listing import Listing
from mmtk.datasets.splits import FloorCut
from mmtk.datasets.steps import CenterCrop, Grey, Resize, RoundTrip, as_released

_IMAGE = re.compile(
    r"(?:.*/)?(?P<part>train|val|test)/(?P<image>(?P<kind>NORMAL|PNEUMONIA)/"
    r"(?P<subject>person[0-9]+(?=_)|(?:NORMAL2-)?IM-[0-9]+(?=-))[-_0-9a-z]+\.jpeg)"
)


def scan(listing: Listing) -> Scan:
    """Scan the X-rays. Kaggle's 16 ``val`` files belong to the provider's train part; Mendeley's layout has no ``val``.

    The subject is series and number in the file name (``person``, ``IM``, ``NORMAL2-IM``). It is not known whether two
    series share patients, or whether train and test share a numbering.
    """
    records = []
    for match in matching(listing, _IMAGE):
        part = "test" if match["part"] == "test" else "train"
        label = int(match["kind"] == "PNEUMONIA")
        records.append(Record(f"{part}/{match['image']}", match[0], (label,), match["subject"], part))
    return collect(PNEUMONIA, listing, records)


PNEUMONIA = register(Dataset(
    flag="pneumoniamnist", title="PneumoniaMNIST", modality="chest X-ray",
    task=Task.BINARY, classes=("normal", "pneumonia"), channels=1,
    counts={"2020": Counts(4708, 524, 624), "2024": Counts(4708, 524, 624)},
    source=Source(
        "Kermany chest X-ray", licence="CC BY 4.0",
        page="https://www.kaggle.com/datasets/paultimothymooney/chest-xray-pneumonia "
        "or https://data.mendeley.com/datasets/rscbjbr9sj/2",
        layout="chest_xray/{train,test,val}/{NORMAL,PNEUMONIA}/<name>.jpeg",
        citation="Kermany et al., Identifying medical diagnoses and treatable diseases by image-based deep learning, "
        "Cell 172(5), 1122-1131, 2018",
        marks=("chest_xray", "train/PNEUMONIA", "test/PNEUMONIA", "val/PNEUMONIA"),
        archives=("ChestXRay2017.zip",),
    ),
    recipe=as_released(Grey(), CenterCrop(), Resize("bilinear"), RoundTrip("jpeg", 75)),
    split=FloorCut(0.9, within="train"), scan=scan, unchecked_larger=(LIKE_BREAST,),
    md5={
        "2020:28": "28209eda62fecd6e6a2d98b1501bb15f",
        "2024:28": "28209eda62fecd6e6a2d98b1501bb15f",
        "2024:64": "8f4eceb4ccffa70c672198ea285246c6",
        "2024:128": "05b46931834c231683c68f40c47b2971",
        "2024:224": "d6a3c71de1b945ea11211b03746c1fe1",
    },
    unchecked=("the luma of the 283 files that are RGB",),
    notes=(
        "The official recipe is verified at 28 px on 29 of 29 originals, all grey.",
        "67 normal rows of test show other images than the 67 remaining files of the test folder: these rows are "
        "filled in scan order and differ from the official file.",
        "Train and val share patients: 289 of 468 in val, going by the numbers in file names.",
        "27 groups of exact duplicates, 8 of them across train and val.",
    ),
))
