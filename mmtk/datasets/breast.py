"""BreastMNIST: breast ultrasound from BUSI (Al-Dhabyani et al. 2020). PNGs in class folders, next to their masks."""

from __future__ import annotations

import re

from mmtk.datasets import register
from mmtk.datasets.base import Counts, Dataset, Record, Scan, Source, Task
from mmtk.datasets.collecting import collect, matching
from mmtk.datasets.listing import Listing
from mmtk.datasets.splits import FloorCut
from mmtk.datasets.steps import CenterCrop, Grey, Resize, as_released

_IMAGE = re.compile(r"(?:.*/)?(?P<source>(?P<kind>benign|malignant|normal)/(?P=kind) \([0-9]+\)\.png)")
_MASK = re.compile(r"(?:.*/)?(benign|malignant|normal) \([0-9]+\)_mask(_[0-9]+)?\.png")


def scan(listing: Listing) -> Scan:
    """The ultrasound images, without their masks; benign and normal are one class. BUSI names no patients."""
    records = (Record(m["source"], m[0], (int(m["kind"] != "malignant"),)) for m in matching(listing, _IMAGE))
    return collect(BREAST, listing, records, belongs=lambda name: _MASK.fullmatch(name) is not None)


BREAST = register(Dataset(
    flag="breastmnist", title="BreastMNIST", modality="breast ultrasound",
    task=Task.BINARY, classes=("malignant", "normal, benign"), channels=1,
    counts={"2020": Counts(546, 78, 156), "2024": Counts(546, 78, 156)},
    source=Source(
        "BUSI", licence="CC BY 4.0", page="https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
        layout="Dataset_BUSI_with_GT/<class>/<class> (<n>).png",
        citation="Al-Dhabyani et al., Dataset of breast ultrasound images, Data in Brief 28, 104863, 2020",
        marks=("Dataset_BUSI_with_GT", "malignant"),
    ),
    recipe=as_released(Grey(), CenterCrop(), Resize("bilinear")),
    split=FloorCut(0.7, 0.8), scan=scan,
    md5={
        "2020:28": "750601b1f35ba3300ea97c75c52ff8f6",
        "2024:28": "750601b1f35ba3300ea97c75c52ff8f6",
        "2024:64": "742edef2a1fd1524b2efff4bd7ba9364",
        "2024:128": "363e4b3f8d712e9b5de15470a2aaadf1",
        "2024:224": "b56378a6eefa9fed602bb16d192d4c8b",
    },
    notes=(
        "The official recipe is verified at 28, 64, 128 and 224 px: the rebuilt files have the published MD5s.",
        "Benign (433) and malignant (145) are the same image with opposite labels (official train 115 and test 76).",
        "235 near-duplicates are known; patients are not named, so they may be in several splits.",
    ),
))
