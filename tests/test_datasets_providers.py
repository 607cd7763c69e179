"""Scans of Path, Chest, OCT and Retina: whole made-up sources, real lists and samples, and the providers' traps."""

from __future__ import annotations

from collections import Counter
from dataclasses import astuple, replace
from pathlib import Path

import pytest

from mmtk.datasets import get_dataset
from mmtk.datasets.base import SPLITS, Scan
from mmtk.datasets.listing import Listing, open_listing
from mmtk.datasets.maps import official_map
from mmtk.errors import SourceError

PATH = {"ADI": (10407, 1338), "BACK": (10566, 847), "DEB": (11512, 339), "LYM": (11557, 634), "MUC": (8896, 1035),
        "MUS": (13536, 592), "NORM": (8763, 741), "STR": (10446, 421), "TUM": (14317, 1233)}
OCT = {"CNV": 37205, "DME": 11348, "DRUSEN": 8616, "NORMAL": 51140}


def scan(flag: str, names: list[str], root: Path = Path("/nowhere")) -> Scan:
    return get_dataset(flag).scan(Listing(root, tuple(sorted(names))))


def counts(flag: str, found: Scan) -> tuple[int, ...]:
    by_rule = Counter(get_dataset(flag).split.assign(found.records))
    return tuple(by_rule[split] for split in SPLITS)


def found(result: Scan, kind: str) -> list[str]:
    return [finding.name for finding in result.findings if finding.kind == kind]


# ---------------------------------------------------------------- NCT-CRC


def whole_path() -> list[str]:
    sets = ("NCT-CRC-HE-100K", "CRC-VAL-HE-7K")
    return [f"{name}/{kind}/{kind}-{'TCGA-' * i}{letters(n)}.tif"
            for kind, both in PATH.items() for i, name in enumerate(sets) for n in range(both[i])]


def letters(n: int) -> str:
    return "".join(chr(65 + n // 26**place % 26) for place in range(8))


def test_whole_path_gives_the_published_counts() -> None:
    result = scan("pathmnist", whole_path())
    assert result.findings == ()
    assert counts("pathmnist", result) == astuple(get_dataset("pathmnist").counts["2020"])
    assert {r.part for r in result.records if "-TCGA-" in r.file} == {"test"}


def test_path_says_how_many_tiles_are_missing_and_leaves_the_other_set_out() -> None:
    names = [name for name in whole_path() if not name.endswith("MUCUS.tif")][:-3]
    result = scan("pathmnist", [*names, "NCT-CRC-HE-100K-NONORM/ADI/ADI-AAAAAAAA.tif", "CRC-VAL-HE-7K/TUM/x.tif"])
    assert found(result, "missing") == ["3 of the 1,233 images of CRC-VAL-HE-7K/TUM"]
    assert found(result, "surplus") == ["CRC-VAL-HE-7K/TUM/x.tif"]
    assert not any("NONORM" in record.file for record in result.records)


# -------------------------------------------------------------------- OCT


def whole_oct() -> list[str]:
    names = [f"{kind}/{kind}-{1000 + n // 5}-{1 + n % 5}.jpeg" for kind, count in OCT.items() for n in range(count)]
    return [f"OCT2017/train/{name}" for name in names] + [
        f"OCT2017/test/{kind}/{kind}-{n}-1.jpeg" for kind in OCT for n in range(250)
    ]


def test_whole_oct_gives_the_published_counts_and_its_patients() -> None:
    result = scan("octmnist", [*whole_oct(), "OCT2017/test/DME/.DS_Store"])
    assert [f.kind for f in result.findings] == ["junk"]
    assert counts("octmnist", result) == astuple(get_dataset("octmnist").counts["2020"])
    first = result.records[0]
    assert (first.source, first.subject, first.part) == ("train/CNV/CNV-1000-1.jpeg", "1000", "train")


def test_kaggles_cut_of_oct_is_refused_with_the_reason() -> None:
    names = [name.replace("OCT2017/", "OCT2017 /") for name in whole_oct()]
    with pytest.raises(SourceError, match=r"Kaggle's copy, .*get .*OCT2017.tar.gz, from https://data"):
        scan("octmnist", [*names, "OCT2017 /val/CNV/CNV-6294785-1.jpeg"])


def test_real_oct_samples(real_data: Path) -> None:
    result = get_dataset("octmnist").scan(open_listing(real_data / "sources/kermany-oct"))
    assert len(result.records) == 12
    assert {record.part for record in result.records} == {"test"}
    assert "51,140 of the 51,140 images of train/NORMAL" in found(result, "missing")


# ------------------------------------------------------------------ Chest


def whole_chest() -> list[str]:
    return [f"images_001/images/{source}" for source in official_map("chestmnist").labels]


def test_whole_chest_needs_no_lists() -> None:
    result = scan("chestmnist", [*whole_chest(), "Data_Entry_2017_v2020.csv", "images_001/images/99999999_000.png"])
    assert [(f.kind, f.name) for f in result.findings] == [("surplus", "images_001/images/99999999_000.png")]
    assert len(result.records) == 112120
    assert {r.subject for r in result.records if r.source.startswith("00000003")} == {"00000003"}


def test_chests_map_is_that_of_the_lists(real_data: Path) -> None:
    known = official_map("chestmnist")
    for split in SPLITS:
        text = (real_data / f"sources/chestxray14/chexnet_lists/{split}_list.txt").read_text()
        listed = {words[0]: tuple(map(int, words[1:])) for words in map(str.split, text.splitlines())}
        assert {row.source: row.labels for row in known.rows[split]} == listed
    assert not known.ordered


def lists(tmp_path: Path, text: str) -> Listing:
    (tmp_path / "chexnet_lists").mkdir()
    (tmp_path / "chexnet_lists/train_list.txt").write_text(text)
    return open_listing(tmp_path)


GOOD = "00000001_000.png 0 1 0 0 0 0 0 0 0 0 0 0 0 0\r\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + GOOD, "line 2: lists 00000001_000.png a second time"),
        ("00000001_000.png 0 1\n", "line 1: found .* expected an image and 14 labels"),
        (GOOD + "00000002_000.png 2 1 0 0 0 0 0 0 0 0 0 0 0 0\n", "line 2: found .* expected an image and 14 labels"),
        ("images/00000001_000.png\n", "line 1"),
    ],
)
def test_bad_lists_are_named_with_their_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        get_dataset("chestmnist").scan(lists(tmp_path, text))


def test_lists_that_contradict_the_official_labels_are_refused(tmp_path: Path) -> None:
    (tmp_path / "00000001_000.png").write_bytes(b"")
    assert len(get_dataset("chestmnist").scan(lists(tmp_path, GOOD)).records) == 1
    path = tmp_path / "chexnet_lists/train_list.txt"
    path.write_text(GOOD.replace(" 0 1", " 1 1"))
    with pytest.raises(SourceError, match="official class; found atelectasis and cardiomegaly, expected cardiomegaly"):
        get_dataset("chestmnist").scan(open_listing(tmp_path))


# ----------------------------------------------------------------- Retina

HEAD = "patient_id,image_id,image_path,Overall quality,left_eye_DR_Level,right_eye_DR_Level,patient_DR_Level\n"


def deepdrid(tmp_path: Path, rows: str, validation: str = "") -> Listing:
    """A source of one patient, as a phantom, so that no other is missing."""
    for part, text in (("training", rows), ("validation", validation)):
        folder = tmp_path / "regular_fundus_images" / f"regular-fundus-{part}"
        (folder / "Images/1").mkdir(parents=True)
        (folder / f"regular-fundus-{part}.csv").write_text(HEAD + text, newline="")
    for image in ("1_l1", "1_r1"):
        (tmp_path / f"regular_fundus_images/regular-fundus-training/Images/1/{image}.jpg").write_bytes(b"")
    return replace(open_listing(tmp_path), phantom={"flag": "retinamnist", "images": 2})


ROWS = ("1,1_l1,\\regular-fundus-training\\1\\1_l1.jpg,1,3,,\r\n"
        "1,1_r1,\\regular-fundus-training\\1\\1_r1.jpg,1,,4,\r\n")


def test_retina_takes_the_grade_of_the_eye_through_backslashes(tmp_path: Path) -> None:
    rows = ROWS + "1,1_l2,\\regular-fundus-training\\1\\1_l2.jpg,1,2,,\r\n"
    result = get_dataset("retinamnist").scan(deepdrid(tmp_path, rows))
    assert [(r.source, r.labels, r.subject, r.part) for r in result.records] == [
        ("regular-fundus-training/1/1_l1.jpg", (3,), "1", "train"),
        ("regular-fundus-training/1/1_r1.jpg", (4,), "1", "train"),
    ]
    assert found(result, "missing") == ["regular-fundus-training/1/1_l2.jpg"]
    result = get_dataset("retinamnist").scan(replace(deepdrid(tmp_path / "short", ROWS), phantom=None))
    assert found(result, "missing") == [
        "400 of the 400 rows of its validation table", "1,198 of the 1,200 rows of its training table",
    ][::-1]


def test_retinas_letter_and_column_may_disagree(tmp_path: Path) -> None:
    result = get_dataset("retinamnist").scan(deepdrid(tmp_path, ROWS.replace(",1,3,,", ",1,,3,")))
    assert result.records[0].labels == (3,)
    assert [(f.kind, f.name) for f in result.findings] == [("doubt", "regular-fundus-training/1/1_l1.jpg")]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (ROWS.replace(",1,3,,", ",1,5,,"), "line 2: found grades '5' and '', expected a grade from 0 to 4"),
        (ROWS.replace(",1,3,,", ",1,,,"), "a grade from 0 to 4"),
        (ROWS + ROWS, "line 4: lists "),
        (ROWS.replace("\\1_l1.jpg", "\\..\\x.jpg"), "found image_path"),
        (ROWS.replace("fundus-training\\1\\1_l1", "fundus-validation\\1\\1_l1"), "found image_path"),
    ],
)
def test_bad_grades_are_named_with_their_line(tmp_path: Path, rows: str, said: str) -> None:
    with pytest.raises(SourceError) as caught:
        get_dataset("retinamnist").scan(deepdrid(tmp_path, rows))
    assert said in str(caught.value)


def test_retina_without_its_tables_says_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"does not contain regular-fundus-training\.csv; get it from https://github"):
        scan("retinamnist", ["regular_fundus_images/regular-fundus-training/Images/1/1_l1.jpg"])


def test_real_grades_of_deepdrid(real_data: Path) -> None:
    folder = real_data / "sources/deepdrid"
    names = [str(path.relative_to(folder)) for path in folder.rglob("*.csv")]
    images = [
        f"regular_fundus_images/regular-fundus-{part}/Images/{line.split(',')[0]}/{line.split(',')[1]}.jpg"
        for part in ("training", "validation")
        for line in next(folder.rglob(f"regular-fundus-{part}*.csv")).read_text().splitlines()[1:]
    ]
    retina = get_dataset("retinamnist")
    result = retina.scan(Listing(folder, tuple(sorted(names + images)), readable=False))
    assert counts("retinamnist", result) == astuple(retina.counts["2020"])
    assert [f.kind for f in result.findings] == ["doubt", "doubt"]  # patient 56
    splits = retina.split.assign(result.records)
    subjects = [{r.subject for r, s in zip(result.records, splits, strict=True) if s == split} for split in SPLITS]
    assert not subjects[0] & subjects[1]
    # the official file's grades, train and val together and test
    grades = [Counter(r.labels[0] for r in result.records if r.part == part) for part in ("train", "test")]
    assert [grades[0][g] for g in range(5)] == [540, 140, 234, 214, 72]
    assert [grades[1][g] for g in range(5)] == [174, 46, 92, 68, 20]
