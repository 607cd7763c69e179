"""DermaMNIST: dermatoscopic images from HAM10000 (Tschandl et al. 2018). A metadata CSV and two image folders."""

from __future__ import annotations

import re

from mmtk.datasets import register
from mmtk.datasets.base import LIKE_BREAST, Counts, Dataset, Record, Scan, Source, Task
from mmtk.datasets.collecting import collect, matching
from mmtk.datasets.listing import Listing
from mmtk.datasets.splits import FloorCut
from mmtk.datasets.steps import CenterCrop, Colour, Resize, RoundTrip, as_released
from mmtk.datasets.tables import find_file, read_table
from mmtk.errors import SourceError

_DX = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")  # diagnoses in the metadata, in the order of the classes
_IMAGE = re.compile(r"(?:.*/)?(?P<id>ISIC_[0-9]{7})\.jpg")


def scan(listing: Listing) -> Scan:
    """Scan the images listed in the metadata; the subject is the lesion."""
    rows = _read_metadata(listing)
    files = [(match["id"], match[0]) for match in matching(listing, _IMAGE)]
    records = [Record(i, file, rows[i][0], rows[i][1]) for i, file in files if i in rows]
    return collect(DERMA, listing, records, absent=sorted(rows.keys() - {i for i, _ in files}))


def _read_metadata(listing: Listing) -> dict[str, tuple[tuple[int], str]]:
    """Label and lesion of each image id."""
    name = find_file(listing, DERMA, r"ham10000_metadata(\.csv|\.tab)?", "HAM10000_metadata.csv")
    rows: dict[str, tuple[tuple[int], str]] = {}
    for where, (lesion, image, dx) in read_table(listing, name, ("lesion_id", "image_id", "dx")):
        if dx not in _DX:
            raise SourceError(where, found=f"dx {dx!r}", expected=f"one of {', '.join(_DX)}")
        if not re.fullmatch("ISIC_[0-9]{7}", image):
            raise SourceError(where, found=f"image_id {image!r}", expected="an id such as ISIC_0027419")
        if image in rows:
            raise SourceError(where, f"lists {image} a second time")
        rows[image] = ((_DX.index(dx),), lesion)
    return rows


DERMA = register(Dataset(
    flag="dermamnist", title="DermaMNIST", modality="dermatoscope",
    task=Task.MULTICLASS,
    classes=(
        "actinic keratoses and intraepithelial carcinoma", "basal cell carcinoma", "benign keratosis-like lesions",
        "dermatofibroma", "melanoma", "melanocytic nevi", "vascular lesions",
    ),
    channels=3,
    counts={"2020": Counts(7007, 1003, 2005), "2024": Counts(7007, 1003, 2005)},
    source=Source(
        "HAM10000", licence="CC BY-NC 4.0", page="https://doi.org/10.7910/DVN/DBW86T",
        layout="HAM10000_metadata.csv and HAM10000_images_part_{1,2}/<image_id>.jpg",
        citation="Tschandl, Rosendahl and Kittler, The HAM10000 dataset, Scientific Data 5, 180161, 2018",
        marks=("HAM10000_metadata.csv", "HAM10000_metadata.tab", "HAM10000_metadata"),
        archives=("HAM10000_images_part_*.zip",),
    ),
    recipe=as_released(Colour(), CenterCrop(), Resize("bilinear"), RoundTrip("jpeg", 75)),
    split=FloorCut(0.7, 0.8), scan=scan, unchecked_larger=(LIKE_BREAST,),
    md5={
        "2020:28": "0744692d530f8e62ec473284d019b0c7",
        "2024:28": "0744692d530f8e62ec473284d019b0c7",
        "2024:64": "b70a2f5635c6199aeaa28c31d7202e1f",
        "2024:128": "2defd784463fa5243564e855ed717de1",
        "2024:224": "8974907d8e169bef5f5b96bc506ae45d",
    },
    unchecked=("the crop to a square, inferred from the other sets", "the JPEG round trip, inferred likewise"),
    notes=(
        "Lesions cross the official split: 693 of 2,005 test images show a lesion of train, so test figures flatter.",
        "10,015 images of 7,470 lesions; the licence excludes commercial use.",
    ),
))
