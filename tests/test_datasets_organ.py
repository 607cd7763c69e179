"""The Organ sets: the slice rule against the published counts, and what can be wrong with volumes and boxes."""

from __future__ import annotations

import zipfile
from collections import Counter
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmtk.datasets import edition_flag, get_dataset
from mmtk.datasets.base import Cut, Record
from mmtk.datasets.listing import Listing, open_listing
from mmtk.datasets.organ import GRID, chosen_slices
from mmtk.errors import SourceError

# images a class, in class order; of axial train only the total is known
CLASSES = {
    ("axial", "val"): (321, 233, 225, 392, 568, 637, 1033, 1033, 1009, 529, 511),
    ("axial", "test"): (1036, 784, 793, 785, 2064, 1965, 3285, 1747, 1813, 1622, 1884),
    ("coronal", "train"): (1153, 626, 608, 600, 1088, 1170, 2986, 1002, 1022, 1173, 1572),
    ("coronal", "val"): (191, 102, 96, 202, 132, 157, 429, 347, 352, 179, 205),
    ("coronal", "test"): (833, 442, 441, 421, 732, 737, 1836, 550, 558, 750, 968),
    ("sagittal", "train"): (1148, 637, 615, 721, 1132, 1119, 3464, 741, 803, 2004, 1556),
    ("sagittal", "val"): (188, 104, 95, 246, 140, 159, 491, 261, 275, 280, 213),
    ("sagittal", "test"): (811, 439, 447, 510, 704, 693, 2078, 397, 439, 1343, 968),
}
FLAGS = {"axial": "organamnist", "coronal": "organcmnist", "sagittal": "organsmnist"}


def rule(real_data: Path, tmp_path: Path, flag: str) -> list[tuple[str, Record]]:
    """Every record that the boxes of all volumes give, with its split."""
    names = [f"volume-{n}.nii" for n in range(131)] + [f"test-volume-{n}.nii" for n in range(70)]
    boxes = real_data / "sources/lits/annotations_on_LiTS"
    (tmp_path / "annotations_on_LiTS").symlink_to(boxes)
    names += [f"annotations_on_LiTS/{path.name}" for path in boxes.iterdir()]
    (tmp_path / "names.txt").write_text("\n".join(names))
    dataset = get_dataset(flag)
    scan = dataset.scan(open_listing(tmp_path / "names.txt"))
    assert [(f.kind, f.name) for f in scan.findings] == [("left out", "test-volume-59.nii")]
    return list(zip(dataset.split.assign(scan.records), scan.records, strict=True))


@pytest.mark.parametrize("plane", FLAGS)
def test_the_slice_rule_gives_all_published_counts(real_data: Path, tmp_path: Path, plane: str) -> None:
    dataset = get_dataset(FLAGS[plane])
    rows = rule(real_data, tmp_path, FLAGS[plane])
    counts = Counter(split for split, _ in rows)
    assert (counts["train"], counts["val"], counts["test"]) == astuple(dataset.counts["2020"])
    by_class = Counter((split, record.labels[0]) for split, record in rows)
    for (known, split), wanted in CLASSES.items():
        if known == plane:
            assert tuple(by_class[split, label] for label in range(11)) == wanted
    assert len({record.source for _, record in rows}) == len(rows)


@given(st.integers(1, 2000), st.sampled_from([2, 4]))
def test_slices_are_those_of_the_middle_three_fifths(extent: int, every: int) -> None:
    wanted = [j for j in range(0, extent + 1, every) if 2 * extent <= 10 * j <= 8 * extent]
    assert list(chosen_slices(extent, every)) == wanted


@given(st.integers(1, 600), st.integers(1, 600), st.integers(1, 1000))
def test_grids_have_the_extents_that_scipy_gives_them(x: int, y: int, z: int) -> None:
    wanted = tuple(round(n * factor) for n, factor in zip((x, y, z), (0.7031 / 2, 0.7031 / 2, 2.5), strict=True))
    assert GRID.extents((3, 3 + x, 0, y, 9, 9 + z)) == tuple(max(1, extent) for extent in wanted)


def test_a_slice_of_one_organ_in_one_plane() -> None:
    box = (10, 20, 30, 50, 70, 73)
    for plane, across, region in (
        ("axial", 2, (10, 30, 10, 20)), ("coronal", 1, (10, 70, 10, 3)), ("sagittal", 0, (30, 70, 20, 3)),
    ):
        cut = Cut(plane, 0, box, GRID.extents(box))
        assert (cut.across, cut.region) == (across, region)


def test_a_released_sample_id_is_inside_the_rule(real_data: Path, tmp_path: Path) -> None:
    """``train-112-8-sagittal-028`` is named in the wild: the eighth class, slice 28, counted in rescaled slices."""
    archive = real_data / "sources/lits/annotations_on_LiTS/annotations_of_training_set.zip"
    (tmp_path / "boxes.zip").symlink_to(archive)
    (tmp_path / "names.txt").write_text("volume-112.nii\nboxes.zip")
    scan = get_dataset("organsmnist").scan(open_listing(tmp_path / "names.txt"))
    assert "train-112-8-sagittal-028" in {record.source for record in scan.records}


def made(tmp_path: Path, boxes: str, *volumes: str, file: str = "segmentation-0.txt") -> Listing:
    (tmp_path / file).write_text(boxes, newline="")
    return Listing(tmp_path, (file, *volumes), phantom={"flag": "organmnist", "images": 1})


LIVER = "liver 1 10 60 10 60 10 60\n"


def test_records_bear_class_subject_and_cut(tmp_path: Path) -> None:
    scan = get_dataset("organamnist").scan(made(tmp_path, LIVER + "\r\n", "Batch 1/volume-0.nii"))
    assert not scan.findings
    first = scan.records[0]
    assert (first.source, first.file, first.labels, first.subject, first.part) == (
        "train-0-7-axial-028", "Batch 1/volume-0.nii", (6,), "train-0", "train",
    )
    assert (first.cut.plane, first.cut.slice, first.cut.box) == ("axial", 28, (10, 60, 10, 60, 10, 60))


def test_of_two_copies_the_plain_one_is_read(tmp_path: Path) -> None:
    scan = get_dataset("organamnist").scan(made(tmp_path, LIVER, "volume-0.nii", "volume-0.nii.gz", "__MACOSX/._x.nii"))
    assert {record.file for record in scan.records} == {"volume-0.nii"}
    assert [(f.kind, f.name) for f in scan.findings] == [("junk", "__MACOSX/._x.nii"), ("junk", "volume-0.nii.gz")]


@pytest.mark.parametrize(
    ("boxes", "found"),
    [
        ("liver 1 10 60 10 60 10\n", "organ id xmin"),
        ("stomach 1 10 60 10 60 10 60\n", "stomach"),
        ("liver 1 10 60 -3 60 10 60\n", "-3"),
        ("liver 1 10 60 10.5 60 10 60\n", "10.5"),
        ("liver 1 60 10 10 60 10 60\n", "has an empty box"),
        (LIVER + LIVER, "line 2: lists liver a second time"),
    ],
)
def test_bad_boxes_are_named_with_their_line(tmp_path: Path, boxes: str, found: str) -> None:
    with pytest.raises(SourceError, match=found) as caught:
        get_dataset("organcmnist").scan(made(tmp_path, boxes, "volume-0.nii"))
    assert "segmentation-0.txt line" in str(caught.value)


def test_a_volume_without_boxes_and_boxes_without_a_volume_are_missing(tmp_path: Path) -> None:
    volumes = ("volume-0.nii", "volume-1.nii", "test-volume-2.nii.gz")
    scan = get_dataset("organamnist").scan(made(tmp_path, LIVER, *volumes))
    missing = [f.name for f in scan.findings if f.kind == "missing"]
    assert missing == ["segmentation-1.txt (boxes)", "test-segmentation-2.txt (boxes)"]
    (tmp_path / "test-segmentation-3.txt").write_text(LIVER)
    names = ("segmentation-0.txt", "test-segmentation-3.txt", "volume-0.nii")
    scan = get_dataset("organamnist").scan(Listing(tmp_path, names, phantom={"flag": "organmnist", "images": 2}))
    assert [f.name for f in scan.findings] == ["test-volume-3.nii"]
    with pytest.raises(SourceError, match=r"contains no volume of .* .1 volumes and 1 box files"):
        get_dataset("organamnist").scan(made(tmp_path, LIVER, "volume-7.nii"))


def test_a_real_source_is_held_against_its_201_volumes(tmp_path: Path) -> None:
    (tmp_path / "segmentation-0.txt").write_text(LIVER)
    scan = get_dataset("organamnist").scan(Listing(tmp_path, ("segmentation-0.txt", "volume-0.nii")))
    missing = [f.name for f in scan.findings if f.kind == "missing"]
    assert len(missing) == 2 * 200 - 2  # volumes and boxes of all others, but for the swapped volume
    assert "test-volume-59.nii" not in missing


def test_boxes_in_a_zip_and_beside_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "boxes.zip", "w") as archive:
        archive.writestr("segmentation-0.txt", "liver 1 0 9 0 9 0 9\r\n")
    (tmp_path / "segmentation-0.txt").write_text(LIVER)
    (tmp_path / "volume-0.nii").write_bytes(b"")
    scan = get_dataset("organamnist").scan(open_listing(tmp_path))
    assert {record.cut.box for record in scan.records} == {(10, 60, 10, 60, 10, 60)}  # the unpacked one counts


def test_the_three_are_one_family_with_other_names_in_2020() -> None:
    for plane, flag in FLAGS.items():
        dataset = get_dataset(flag)
        assert dataset.volumetric
        assert dataset.family == "organmnist"
        assert edition_flag(flag, "2020") == f"organmnist_{plane}"
        assert edition_flag(flag, "2024") == flag
    assert edition_flag("breastmnist", "2020") == "breastmnist"
    assert edition_flag("someone_elses", "2020") == "someone_elses"


def test_what_the_edition_of_2024_left_out_of_axial_train(real_data: Path, tmp_path: Path) -> None:
    """18 images of the left femur and 2 of the right: the rule's counts of 2020 less those of the official file."""
    with np.load(real_data / "npz/organamnist.npz") as official:
        now = {split: Counter(official[f"{split}_labels"][:, 0].tolist()) for split in ("train", "val", "test")}
    before: dict[str, Counter[int]] = {split: Counter() for split in now}
    for split, record in rule(real_data, tmp_path, "organamnist"):
        before[split][record.labels[0]] += 1
    assert before["train"] - now["train"] == {1: 18, 2: 2}
    assert (before["val"], before["test"]) == (now["val"], now["test"])
    for flag in FLAGS.values():
        counts = get_dataset(flag).counts
        lost = {split: getattr(counts["2020"], split) - getattr(counts["2024"], split) for split in now}
        assert lost == {"organamnist": {"train": 20, "val": 0, "test": 0},
                        "organcmnist": {"train": 25, "val": 0, "test": 52},
                        "organsmnist": {"train": 8, "val": 0, "test": 2}}[flag]
