"""RetinaMNIST: fundus photographs from DeepDRiD (2020). JPEGs by patient, graded 0 to 4 for diabetic retinopathy."""

from __future__ import annotations

import re

from mmtk.datasets import register
from mmtk.datasets.base import LIKE_BREAST, Counts, Dataset, Finding, Record, Scan, Source, Task
from mmtk.datasets.collecting import collect, matching
from mmtk.datasets.listing import Listing
from mmtk.datasets.splits import SubjectCut
from mmtk.datasets.steps import CenterCrop, Colour, Resize, RoundTrip, as_released
from mmtk.datasets.tables import find_file, read_table
from mmtk.errors import SourceError

_PARTS = {"training": "train", "validation": "test"}
_PHOTOGRAPHS = {"training": 1200, "validation": 400}
_IMAGE = re.compile(
    r"(?:.*/)?regular-fundus-(?P<part>training|validation)/(?:Images/)?(?P<patient>[0-9]+)/"
    r"(?P<image>(?P=patient)_[lr][0-9]+)\.jpg"
)
_PATH = re.compile(
    r"\\?regular-fundus-(training|validation)\\(?P<patient>[0-9]+)\\(?P<image>(?P=patient)_[lr][0-9]+)\.jpg"
)
_EYES = {"l": "left_eye_DR_Level", "r": "right_eye_DR_Level"}


def scan(listing: Listing) -> Scan:
    """Scan the regular fundus photographs; the label is the grade of the eye shown, the subject the patient."""
    grades: dict[str, tuple[str, str, int]] = {}
    doubts: list[Finding] = []
    for part in _PARTS:
        _read_grades(listing, part, grades, doubts)
    files = {_source(m["part"], m["patient"], m["image"]): m[0] for m in matching(listing, _IMAGE)}
    records = [
        Record(source, files[source], (grade,), patient, _PARTS[part])
        for source, (part, patient, grade) in grades.items() if source in files
    ]
    absent = [source for source in grades if source not in files]
    if listing.phantom is None:
        for part, wanted in _PHOTOGRAPHS.items():
            listed = sum(held == part for held, _, _ in grades.values())
            absent += [f"{wanted - listed:,} of the {wanted:,} rows of its {part} table"] if listed < wanted else []
    return collect(RETINA, listing, records, absent=absent, doubts=doubts)


def _source(part: str, patient: str, image: str) -> str:
    return f"regular-fundus-{part}/{patient}/{image}.jpg"


def _read_grades(
    listing: Listing, part: str, grades: dict[str, tuple[str, str, int]], doubts: list[Finding]
) -> None:
    """Add part, patient and grade of each image in a part's table, where only the column of the eye shown is filled."""
    name = find_file(
        listing, RETINA, rf"regular-fundus-{part}(\.[a-z]+)?\.csv", f"regular-fundus-{part}.csv"
    )
    for where, (path, *levels) in read_table(listing, name, ("image_path", *_EYES.values())):
        match = _PATH.fullmatch(path.replace("/", "\\"))
        if match is None or match[1] != part:
            expected = rf"a path such as \regular-fundus-{part}\1\1_l1.jpg"
            raise SourceError(where, found=f"image_path {path!r}", expected=expected)
        source = _source(part, match["patient"], match["image"])
        if source in grades:
            raise SourceError(where, f"lists {source} a second time")
        filled = {eye: level for eye, level in zip(_EYES, levels, strict=True) if level}
        letter = match["image"].split("_")[1][0]
        eye = letter if letter in filled else next(iter(filled), "")
        if filled.get(eye) not in RETINA.classes:
            filled_in = f"grades {levels[0]!r} and {levels[1]!r}"
            raise SourceError(where, found=filled_in, expected="a grade from 0 to 4 for one eye")
        if eye != letter:
            detail = f"its name says {letter}, but it is graded under {_EYES[eye]}; that grade is used"
            doubts.append(Finding("doubt", source, detail))
        grades[source] = (part, match["patient"], int(filled[eye]))


RETINA = register(Dataset(
    flag="retinamnist", title="RetinaMNIST", modality="fundus camera",
    task=Task.ORDINAL, classes=("0", "1", "2", "3", "4"), channels=3,
    counts={"2020": Counts(1080, 120, 400), "2024": Counts(1080, 120, 400)},
    source=Source(
        "DeepDRiD", licence="CC BY-SA 4.0", page="https://github.com/deepdrdoc/DeepDRiD",
        layout="regular_fundus_images/regular-fundus-{training,validation}/Images/<patient>/<patient>_<eye><n>.jpg",
        citation="Liu et al., DeepDRiD: Diabetic retinopathy, grading and image quality estimation challenge, "
        "Patterns 3(6), 100512, 2022",
        marks=("regular_fundus_images", "regular-fundus-training", "regular-fundus-validation"),
    ),
    recipe=as_released(Colour(), CenterCrop(), Resize("bilinear"), RoundTrip("jpeg", 75)),
    split=SubjectCut(0.9, within="train"), scan=scan, unchecked_larger=(LIKE_BREAST,),
    md5={
        "2020:28": "bd4c0672f1bba3e3a89f0e4e876791e4",
        "2024:28": "bd4c0672f1bba3e3a89f0e4e876791e4",
        "2024:64": "afda852cc34dcda56f86ad2b2457dbcc",
        "2024:128": "e48e916a24454daf90583d4e6efb1a18",
        "2024:224": "eae7e3b6f3fcbda4ae613ebdcbe35348",
    },
    unchecked=("crop and resize on the provider's own files: the evidence is one edited original",),
    notes=(
        "The training part is split 9:1 into train and val, by eye or by patient; the validation part is test.",
        "Always predicting the most frequent grade gives ACC 0.435.",
    ),
))
