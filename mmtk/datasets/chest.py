"""ChestMNIST: chest X-rays from NIH's ChestX-ray14 (Wang et al. 2017). PNGs, 14 findings a patient may have at once."""

from __future__ import annotations

import re

from mmtk.datasets import register
from mmtk.datasets.base import LIKE_BREAST, SPLITS, Counts, Dataset, Record, Scan, Source, Task
from mmtk.datasets.collecting import collect, matching
from mmtk.datasets.listing import Listing
from mmtk.datasets.maps import official_map
from mmtk.datasets.splits import ByPart
from mmtk.datasets.steps import Grey, Resize, as_released
from mmtk.errors import SourceError

_IMAGE = re.compile(r"(?:.*/)?(?P<source>(?P<patient>[0-9]{8})_[0-9]{3}\.png)")
_LINE = re.compile(r"([0-9]{8}_[0-9]{3}\.png)((?: [01]){14})")


def scan(listing: Listing) -> Scan:
    """Scan the X-rays; the subject is the patient number in the file name.

    Labels and splits are those of the CheXNet lists, from the folder ``chexnet_lists`` if the source has it, else from
    mmtk's map. NIH's own table and lists are not used, since the official labels and splits differ from them.
    """
    listed = _read_lists(listing)
    known = official_map("chestmnist")
    if not listed and listing.phantom is None and known is not None:
        listed = {row.source: (split, row.labels) for split in SPLITS for row in known.rows[split] if row.source}
    records = [
        Record(m["source"], m[0], listed[m["source"]][1], m["patient"], listed[m["source"]][0])
        for m in matching(listing, _IMAGE) if m["source"] in listed
    ]
    absent = listed.keys() - {record.source for record in records} if listing.phantom else ()
    return collect(CHEST, listing, records, absent=sorted(absent))


def _read_lists(listing: Listing) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Split and labels of each image from the lists of the source; empty if it has none."""
    listed: dict[str, tuple[str, tuple[int, ...]]] = {}
    for split in SPLITS:
        named = [n for n in listing.names if f"/{n}".endswith(f"/chexnet_lists/{split}_list.txt")]
        for name in named[:1]:
            path = listing.path(name)
            for number, line in enumerate(listing.read_lines(name), 1):
                match = _LINE.fullmatch(line.strip())
                if match is None:
                    expected = "an image and 14 labels, as in 00011997_000.png 0 0 1 0 0 0 0 0 0 0 0 0 0 0"
                    raise SourceError(f"{path} line {number}", found=repr(line[:60]), expected=expected)
                if match[1] in listed:
                    raise SourceError(f"{path} line {number}", f"lists {match[1]} a second time")
                listed[match[1]] = (split, tuple(map(int, match[2].split())))
    return listed


CHEST = register(Dataset(
    flag="chestmnist", title="ChestMNIST", modality="chest X-ray",
    task=Task.MULTILABEL,
    classes=(
        "atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia", "pneumothorax",
        "consolidation", "edema", "emphysema", "fibrosis", "pleural thickening", "hernia",
    ),
    channels=1,
    counts={"2020": Counts(78468, 11219, 22433), "2024": Counts(78468, 11219, 22433)},
    source=Source(
        "NIH ChestX-ray14", licence="free with acknowledgement of NIH and the citation",
        page="https://nihcc.app.box.com/v/ChestXray-NIHCC",
        layout="images/<patient>_<number>.png and the CheXNet lists",
        citation="Wang et al., ChestX-ray8: Hospital-scale chest X-ray database and benchmarks, CVPR 2017, 3462-3471",
        marks=("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv", "images/00000001_000.png", "chexnet_lists"),
        archives=("images_*.tar.gz", "images_*.zip"),
    ),
    recipe=as_released(Grey(), Resize("bilinear")),
    split=ByPart(), scan=scan, unchecked_larger=(LIKE_BREAST,),
    md5={
        "2020:28": "02c8a6516a18b556561a56cbdd36c4a8",
        "2024:28": "02c8a6516a18b556561a56cbdd36c4a8",
        "2024:64": "9de6cd0b934ebb5b7426cfba5efbae16",
        "2024:128": "db107e5590b27930b62dbaf558aebee3",
        "2024:224": "45bd33e6f06c3e8cdb481c74a89152aa",
    },
    unchecked=("all of the recipe, inferred from Breast's", "that alpha is dropped in the 519 RGBA files"),
    notes=(
        "Split and labels are those of CheXNet's patient-disjoint 70/10/20 lists, not NIH's own; NIH's table of 2020 "
        "differs in 181 images.",
        "Always predicting 'no finding' gives ACC 0.947.",
    ),
))
