"""PathMNIST: colorectal cancer histology from NCT-CRC-HE (Kather et al. 2019). TIFF tiles in class folders."""

from __future__ import annotations

import re

from mmtk.datasets import register
from mmtk.datasets.base import LIKE_BREAST, Counts, Dataset, Record, Scan, Source, Task
from mmtk.datasets.collecting import collect, matching
from mmtk.datasets.listing import Listing
from mmtk.datasets.splits import FloorCut
from mmtk.datasets.steps import Colour, Resize, as_released

# number of tiles of each class in the two sets, in the order of the labels
_TILES = {
    "ADI": (10407, 1338), "BACK": (10566, 847), "DEB": (11512, 339), "LYM": (11557, 634), "MUC": (8896, 1035),
    "MUS": (13536, 592), "NORM": (8763, 741), "STR": (10446, 421), "TUM": (14317, 1233),
}
_CLASSES = tuple(_TILES)
_SETS = {"NCT-CRC-HE-100K": "train", "CRC-VAL-HE-7K": "test"}
_EXPECTED = {f"{name}/{kind}": n[part != "train"] for name, part in _SETS.items() for kind, n in _TILES.items()}
_IMAGE = re.compile(
    r"(?:.*/)?(?P<source>(?P<set>NCT-CRC-HE-100K|CRC-VAL-HE-7K)/(?P<kind>[A-Z]{3,4})/(?P=kind)-(?:TCGA-)?(?P<id>[A-Z0-9]{8})\.tif)"
)


def scan(listing: Listing) -> Scan:
    """Scan the tiles of both sets, whose names do not identify patients. Ids of phantoms contain digits."""
    records = (
        Record(m["source"], m[0], (_CLASSES.index(m["kind"]),), "", _SETS[m["set"]])
        for m in matching(listing, _IMAGE) if m["kind"] in _TILES and (m["id"].isalpha() or listing.phantom)
    )
    return collect(PATH, listing, records, expected=_EXPECTED)


PATH = register(Dataset(
    flag="pathmnist", title="PathMNIST", modality="colon pathology",
    task=Task.MULTICLASS,
    classes=(
        "adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa",
        "cancer-associated stroma", "colorectal adenocarcinoma epithelium",
    ),
    channels=3,
    counts={"2020": Counts(89996, 10004, 7180), "2024": Counts(89996, 10004, 7180)},
    source=Source(
        "NCT-CRC-HE-100K and CRC-VAL-HE-7K", licence="CC BY 4.0", page="https://doi.org/10.5281/zenodo.1214456",
        layout="{NCT-CRC-HE-100K,CRC-VAL-HE-7K}/<class>/<class>-<id>.tif",
        citation="Kather et al., Predicting survival from colorectal cancer histology slides using deep learning, "
        "PLOS Medicine 16(1), e1002730, 2019",
        marks=("NCT-CRC-HE-100K", "CRC-VAL-HE-7K"), archives=("NCT-CRC-HE-100K.zip", "CRC-VAL-HE-7K.zip"),
    ),
    recipe=as_released(Colour(), Resize("bilinear")),
    split=FloorCut(0.9, within="train"), scan=scan, unchecked_larger=(LIKE_BREAST,),
    md5={
        "2020:28": "a8b06965200029087d5bd730944a56c1",
        "2024:28": "a8b06965200029087d5bd730944a56c1",
        "2024:64": "55aa9c1e0525abe5a6b9d8343a507616",
        "2024:128": "ac42d08fb904d92c244187169d1fd1d9",
        "2024:224": "2c51a510bcdc9cf8ddb2af93af1eadec",
    },
    unchecked=("the resize on the provider's own files: the evidence is a JPEG copy of one tile",),
    notes=(
        "The 100K set is split 9:1 per class into train and val, the 7K set is test; 100K does not name patients.",
    ),
))
