"""OrganMNIST, axial, coronal and sagittal: organs in abdominal CT from LiTS, with the boxes of Xu et al. 2019.

Each organ's box is resampled to a grid of 2 x 2 x 1 mm as if all volumes had the same spacing. The images are every 4th
axial slice of that grid, and every 2nd coronal and sagittal one, from 20 % to 80 % of its extent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from mmtk.datasets import register
from mmtk.datasets.base import Box, Counts, Cut, Dataset, Finding, Record, Scan, Source, Task
from mmtk.datasets.collecting import is_junk, matching, natural_key
from mmtk.datasets.listing import Listing
from mmtk.datasets.splits import ByPart
from mmtk.datasets.steps import BySize, HuWindow, Resize, Slice, Zoom
from mmtk.errors import SourceError
from mmtk.imaging import PLANES

BOX_NAMES = {  # organ names in the box files, in the order of the classes
    "bladder": "bladder", "femur-l": "femur-left", "femur-r": "femur-right", "heart": "heart",
    "kidney-l": "kidney-left", "kidney-r": "kidney-right", "liver": "liver", "lung-l": "lung-left",
    "lung-r": "lung-right", "pancreas": "pancreas", "spleen": "spleen",
}
_ORDER = tuple(BOX_NAMES)
_VOLUME = re.compile(r"(?:.*/)?(?P<test>test-)?volume-(?P<number>[0-9]{1,9})\.nii(?:\.gz)?")
_BOXES = re.compile(r"(?:.*/)?(?P<test>test-)?segmentation-(?P<number>[0-9]{1,9})\.txt")
_MASK = re.compile(r"(?:.*/)?(?P<test>test-)?segmentation-(?P<number>[0-9]{1,9})\.nii(?:\.gz)?")
_MASKED = "liver"  # the organ with masks in LiTS
_NUMBER = re.compile("[0-9]{1,9}")
_VOLUMES = {"train": 131, "test": 70}
_FIRST_VAL = 115  # training volumes from this number on are val
_SWAPPED = ("test", 59)
GRID = Zoom(spacing=(0.7031, 0.7031, 2.5))
_WINDOW = HuWindow(level=25.0, width=450.0, rounding="down")


def chosen_slices(extent: int, every: int) -> range:
    """The multiples of `every` from 20 % to 80 % of an extent, both included."""
    return range(every * -(-extent // (5 * every)), 4 * extent // 5 + 1, every)


def scan(cut: Slice, listing: Listing) -> Scan:
    """Scan the slices of every organ, volume by volume; the subject is the volume.

    Records are named like a released sample: source split, volume, class counted from 1, plane, slice of the grid.
    """
    volumes, junk = _volumes(listing)
    boxes, masks = ({_key(match): match[0] for match in _matches(p, listing)} for p in (_BOXES, _MASK))
    reason = "its axes do not match its boxes; not in the official dataset"
    left_out = [Finding("left out", volumes[_SWAPPED], reason)] if _SWAPPED in volumes else []
    records = []
    both = (volumes.keys() & boxes.keys()) - {_SWAPPED}
    for part, number in sorted(both, key=lambda key: (key[0] == "test", key[1])):
        split = "test" if part == "test" else "train" if number < _FIRST_VAL else "val"
        for label, box in _read_boxes(listing, boxes[part, number]):
            extents = GRID.extents(box)
            for j in chosen_slices(extents[PLANES[cut.plane]], cut.every):
                source = f"{part}-{number}-{label + 1}-{cut.plane}-{j:03d}"
                mask = masks.get((part, number), "") if _ORDER[label] == _MASKED else ""
                place = Cut(cut.plane, j, box, extents, mask)
                records.append(Record(source, volumes[part, number], (label,), f"{part}-{number}", split, place))
    missing = _missing(listing, set(volumes), set(boxes))
    if not records:
        problem = (
            f"contains no volume of {_SOURCE.name} with its box file ({len(volumes)} volumes and {len(boxes)} box "
            f"files in the layout {_SOURCE.layout})"
        )
        remedy = f"get them from {_SOURCE.page} (licence: {_SOURCE.licence})"
        raise SourceError(listing.root, problem, remedy=remedy)
    kinds = (("missing", missing), ("junk", sorted(junk)))
    findings = [Finding(kind, name) for kind, names in kinds for name in names]
    return Scan(tuple(records), (*findings, *left_out))


def _matches(pattern: re.Pattern[str], listing: Listing) -> Iterator[re.Match[str]]:
    """The matching names, outermost last."""
    return iter(sorted(matching(listing, pattern), key=lambda match: (match[0].count("/"), match[0]), reverse=True))


def _listed(listing: Listing) -> Iterator[str]:
    """The names of the volumes that have boxes."""
    return (f"{match['test'] or ''}volume-{match['number']}.nii" for match in matching(listing, _BOXES))


def _key(match: re.Match[str]) -> tuple[str, int]:
    return "test" if match["test"] else "train", int(match["number"])


def _volumes(listing: Listing) -> tuple[dict[tuple[str, int], str], set[str]]:
    """The file of each volume, and junk; of two copies, the uncompressed one is used."""
    volumes: dict[tuple[str, int], str] = {}
    junk = {name for name in listing.names if is_junk(name)}
    for match in sorted(_matches(_VOLUME, listing), key=lambda m: m[0].endswith(".nii")):
        if before := volumes.get(_key(match)):
            junk.add(before)
        volumes[_key(match)] = match[0]
    return volumes, junk


def _missing(listing: Listing, volumes: set[tuple[str, int]], boxes: set[tuple[str, int]]) -> list[str]:
    if listing.phantom is None:
        wanted = {(part, number) for part, count in _VOLUMES.items() for number in range(count)}
        lost = 0
    else:
        wanted = volumes | boxes
        lost = int(listing.phantom["images"]) - len(wanted)
    prefix = {"train": "", "test": "test-"}
    absent = [f"{prefix[part]}volume-{n}.nii" for part, n in wanted - volumes - {_SWAPPED}]
    absent += [f"{prefix[part]}segmentation-{n}.txt (boxes)" for part, n in (wanted | volumes) - boxes - {_SWAPPED}]
    return sorted(absent, key=natural_key) + ([f"{lost} of the phantom's volumes"] if lost > 0 else [])


def _read_boxes(listing: Listing, name: str) -> Iterator[tuple[int, Box]]:
    """Class and box of each organ of a volume, in the order of the classes."""
    boxes: dict[int, Box] = {}
    for number, line in enumerate(listing.read_lines(name), 1):
        words = line.split()
        if not words:
            continue
        where = f"{listing.path(name)} line {number}"
        if len(words) != 8 or words[0] not in BOX_NAMES or not all(_NUMBER.fullmatch(word) for word in words[1:]):
            raise SourceError(where, found=repr(line[:60]), expected="organ id xmin xmax ymin ymax zmin zmax")
        xmin, xmax, ymin, ymax, zmin, zmax = map(int, words[2:])
        if not (xmin < xmax and ymin < ymax and zmin < zmax):
            raise SourceError(where, f"has an empty box: {line[:60]!r}")
        label = _ORDER.index(words[0])
        if label in boxes:
            raise SourceError(where, f"lists {words[0]} a second time")
        boxes[label] = (xmin, xmax, ymin, ymax, zmin, zmax)
    return iter(sorted(boxes.items()))


_SOURCE = Source(
    "LiTS with organ boxes", licence="CC BY 4.0 as MedMNIST says; LiTS: see its page",
    page="https://competitions.codalab.org/competitions/17094 (volumes); the boxes come with Xu et al. 2019",
    layout="volume-<n>.nii and test-volume-<n>.nii; annotations_on_LiTS/annotations_of_{training,testing}_set.zip",
    citation="Bilic et al., The liver tumor segmentation benchmark (LiTS), arXiv:1901.04056, 2019; Xu et al., "
    "Efficient multiple organ localization in CT image using 3D region proposal network, IEEE TMI 38(8), 2019",
    marks=("annotations_on_LiTS", "volume-0.nii", "volume-0.nii.gz"),
)
_UNCHECKED = (
    "coronal and sagittal images: made by the rule that gives axial ones bit for bit; their counts are right",
    "the depth of boxes of n voxels with n = 1 mod 4, where 2.5 n is halfway between two extents",
    "whether a slice was judged blank (edition 2024) before or after the resize",
)
_REVERSED = (2, 4, 28, 37, 41, 44, 46)
_NOTES = (
    "The rule gives all published counts; 127 of 127 axial images of volume-44 equal official ones bit for bit, and "
    "each of 100 official tiles of 128 px comes from a grid that also gives an official image of 28 px.",
    "The boxes refer to the patient's axes, but the official images were cut from the array as stored in the file. If "
    f"its y axis is reversed (train volumes {', '.join(map(str, _REVERSED))}), they show the wrong region: the "
    "kidney-right of volume-44 is liver and bowel. --pixels official reproduces that, --pixels clean reorients the "
    "array first; mmtk audit FLAG --sources DIR counts the images.",
    "All volumes are resampled as if their voxels were 0.7031 x 0.7031 x 2.5 mm; --pixels clean uses the voxel size in "
    "the header.",
    "The last row or column of some crops is 0 HU (grey level 113), where rounding puts it outside the box.",
    "Since January 2024 (edition 2024) blank slices, which have a single grey level after windowing, are left out.",
    "test-volume-59 is not in the official dataset: its axes do not match its boxes.",
)


def _register(
    plane: str, every: int, flag: str, counts_2020: Counts, counts_2024: Counts, md5: dict[str, str]
) -> Dataset:
    cut = Slice(plane, every)
    grid = (GRID, _WINDOW, cut)
    return register(Dataset(
        flag=flag, title=f"OrganMNIST_{plane.capitalize()}", modality="abdominal CT",
        task=Task.MULTICLASS, classes=tuple(BOX_NAMES.values()), channels=1,
        counts={"2020": counts_2020, "2024": counts_2024}, source=_SOURCE,
        recipe=BySize((*grid, Resize("nearest")), (*grid, Resize("bilinear"))),
        split=ByPart(), scan=partial(scan, cut), family="organmnist",
        aliases=(f"organmnist_{plane}", f"organmnist_{plane[0]}"), md5=md5,
        unchecked=_UNCHECKED, unchecked_larger=_UNCHECKED, notes=_NOTES, blank_in=("2020",), listed=_listed,
    ))


ORGAN_AXIAL = _register(
    "axial", 4, "organamnist", Counts(34581, 6491, 17778), Counts(34561, 6491, 17778),
    {
        "2020:28": "866b832ed4eeba67bfb9edee1d5544e6",
        "2024:28": "68e3f8846a6bd62f0c9bf841c0d9eacc",
        "2024:64": "2dcccc29b88e6da5a01161ef20cda288",
        "2024:128": "eeae80d0a227a8d099027e1b3cfd3b60",
        "2024:224": "50747347e05c87dd3aaf92c49f9f3170",
    },
)
ORGAN_CORONAL = _register(
    "coronal", 2, "organcmnist", Counts(13000, 2392, 8268), Counts(12975, 2392, 8216),
    {
        "2020:28": "0afa5834fb105f7705a7d93372119a21",
        "2024:28": "b9ceb9546e10131b32923c5bbeaea2b1",
        "2024:64": "3ce34a8724ea6f548e6db4744d03b6a9",
        "2024:128": "773c1f009daa3fe5d9a2a201b2a7ed94",
        "2024:224": "050f5e875dc056f6768abf94ec9995d1",
    },
)
ORGAN_SAGITTAL = _register(
    "sagittal", 2, "organsmnist", Counts(13940, 2452, 8829), Counts(13932, 2452, 8827),
    {
        "2020:28": "e5c39f1af030238290b9557d9503af9d",
        "2024:28": "9ab87b696fb54e2a387ebe992d6ed5f1",
        "2024:64": "53a6d115339d874c25e309a994ff46d3",
        "2024:128": "ded0c5fa01a95dc4978b956f613e9b8e",
        "2024:224": "b354719e553fbbb2513d5533f52a4cb1",
    },
)
