"""Scans of the three families: on made-up listings, on real files and lists, and on what can be wrong with them."""

from __future__ import annotations

from collections import Counter
from dataclasses import astuple
from pathlib import Path

import pytest

from mmtk.datasets import get_dataset
from mmtk.datasets.base import SPLITS, Scan
from mmtk.datasets.collecting import natural_key
from mmtk.datasets.listing import Listing, find_source, open_listing
from mmtk.datasets.maps import official_map
from mmtk.errors import SourceError

HEAD = "lesion_id,image_id,dx,dx_type,age,sex,localization\n"


def scan(flag: str, *names: str, root: Path = Path("/nowhere/source"), phantom: int | None = None) -> Scan:
    facts = None if phantom is None else {"flag": flag, "images": phantom}
    return get_dataset(flag).scan(Listing(root, tuple(sorted(names)), phantom=facts))


def found(scan: Scan, kind: str) -> list[str]:
    return [finding.name for finding in scan.findings if finding.kind == kind]


def whole_busi() -> list[str]:
    names = [f"Dataset_BUSI_with_GT/{source}" for source in official_map("breastmnist").labels]
    return names + [name.replace(".png", "_mask.png") for name in names]


def test_whole_busi_has_780_images_and_no_findings() -> None:
    result = scan("breastmnist", *whole_busi(), "Dataset_BUSI_with_GT/benign/benign (4)_mask_1.png")
    assert (len(result.records), result.findings) == (780, ())
    assert Counter(r.labels for r in result.records) == {(0,): 210, (1,): 570}
    assert [r.source for r in result.records[:10]] == [f"benign/benign ({n}).png" for n in range(1, 11)]


def test_busi_findings_name_what_is_missing_too_much_and_junk() -> None:
    names = whole_busi()
    names.remove("Dataset_BUSI_with_GT/normal/normal (7).png")
    more = ["benign/benign (999).png", "benign/copy of benign (1).png", "benign/.DS_Store", "benign/._benign (1).png"]
    result = scan("breastmnist", *names, *(f"Dataset_BUSI_with_GT/{name}" for name in more), "notes.png")
    assert found(result, "missing") == ["normal/normal (7).png"]
    assert found(result, "surplus") == [f"Dataset_BUSI_with_GT/{name}" for name in more[:2]]
    assert found(result, "junk") == [f"Dataset_BUSI_with_GT/{name}" for name in sorted(more[2:])]
    assert len(result.records) == 779


def test_an_image_in_two_folders_is_refused() -> None:
    with pytest.raises(SourceError, match=r"normal \(7\)\.png twice.*old/normal"):
        scan("breastmnist", *whole_busi(), "old/normal/normal (7).png")


@pytest.mark.parametrize("flag", ["breastmnist", "pneumoniamnist"])
def test_a_folder_with_nothing_of_the_dataset_says_where_to_get_it(flag: str) -> None:
    with pytest.raises(SourceError, match=r"contains no images of .*; get them from https.*CC BY 4\.0"):
        scan(flag, "readme.txt")
    other = {"breastmnist": "benign/benign (9001).png", "pneumoniamnist": "train/NORMAL/NORMAL-1003233-0001.jpeg"}
    with pytest.raises(SourceError, match="only 1 image files with other names"):
        scan(flag, other[flag])


def test_kaggles_list_of_chest_xrays_is_whole(real_data) -> None:
    listing = open_listing(real_data / "sources/kermany-cxr/filelist_kaggle.txt")
    pneumonia = get_dataset("pneumoniamnist")
    result = pneumonia.scan(listing)
    assert (len(result.records), result.findings, listing.readable) == (5856, (), False)
    assert Counter(r.part for r in result.records) == {"train": 5232, "test": 624}
    counts = Counter(pneumonia.split.assign(result.records))
    assert tuple(counts[name] for name in SPLITS) == astuple(pneumonia.counts["2020"])
    order = [(r.part != "train", natural_key(r.source)) for r in result.records]
    assert order == sorted(order)
    moved = [r for r in result.records if "/val/" in r.file]
    assert len(moved) == 16
    assert all(r.part == "train" and r.source.startswith("train/") for r in moved)


def test_kaggles_nested_copy_and_desktop_files_are_junk() -> None:
    name = "chest_xray/train/PNEUMONIA/person1_bacteria_1.jpeg"
    for root, inner in ((Path("/d"), "chest_xray/"), (Path("/d/chest_xray"), "")):
        outer = inner + name.removeprefix("chest_xray/")
        apple = "__MACOSX/chest_xray/train/PNEUMONIA/._person1_bacteria_1.jpeg"
        junk = [apple, inner + ".DS_Store", "chest_xray/" + outer]
        result = scan("pneumoniamnist", outer, *junk, root=root)
        assert [r.file for r in result.records] == [outer]
        assert found(result, "junk") == sorted(junk)
    nested_only = scan("pneumoniamnist", "chest_xray/" + name)
    assert [r.source for r in nested_only.records] == ["train/PNEUMONIA/person1_bacteria_1.jpeg"]


def test_mendeleys_layout_without_val_gives_the_same_records() -> None:
    sources = official_map("pneumoniamnist").labels
    result = scan("pneumoniamnist", *(f"ChestXRay2017/chest_xray/{source}" for source in sources))
    assert (len(result.records), result.findings) == (5856, ())


@pytest.mark.parametrize(
    ("name", "subject"),
    [("PNEUMONIA/person1000_bacteria_2931.jpeg", "person1000"), ("NORMAL/IM-0115-0001.jpeg", "IM-0115"),
     ("NORMAL/NORMAL2-IM-1427-0001.jpeg", "NORMAL2-IM-1427"), ("NORMAL/IM-0551-0001-0002.jpeg", "IM-0551")],
)
def test_subjects_come_from_the_names(name: str, subject: str) -> None:
    assert scan("pneumoniamnist", f"train/{name}").records[0].subject == subject


@pytest.mark.parametrize(
    ("flag", "images", "labels"),
    [("breastmnist", 46, {1: 32, 0: 14}), ("pneumoniamnist", 14, {0: 7, 1: 7}), ("dermamnist", 75, None)],
)
def test_real_samples_are_found_and_the_rest_is_named(flag: str, images: int, labels, real_data) -> None:
    dataset = get_dataset(flag)
    listing = find_source(real_data / "sources", dataset)
    result = dataset.scan(listing)
    assert len(result.records) == images
    assert Counter(f.kind for f in result.findings) == {"missing": dataset.counts["2020"].total - images}
    assert all(listing.path(r.file).is_file() for r in result.records)
    if labels is not None:
        assert Counter(r.labels[0] for r in result.records) == labels
    else:
        assert {r.labels[0] for r in result.records} == set(range(7))
        assert all(r.subject.startswith("HAM_") for r in result.records)


def ham(tmp_path: Path, rows: str, *images: str) -> Listing:
    (tmp_path / "HAM10000_metadata.csv").write_text(rows, encoding="utf-8-sig")
    for name in images:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return open_listing(tmp_path)


GOOD = HEAD + "HAM_0000118,ISIC_0027419,bkl,histo,80.0,male,scalp\nHAM_0000118,ISIC_0025030,bkl,histo,,,scalp\n"


def test_whole_ham_is_read_from_its_metadata(real_data, tmp_path: Path) -> None:
    text = (real_data / "sources/ham10000/HAM10000_metadata.csv").read_text()
    (tmp_path / "HAM10000_metadata.csv").write_text(text)
    ids = official_map("dermamnist").labels
    names = [f"HAM10000_images_part_{1 + (name > 'ISIC_0029305')}/{name}.jpg" for name in ids]
    listing = Listing(tmp_path, tuple(sorted(["HAM10000_metadata.csv", *names])))
    derma = get_dataset("dermamnist")
    result = derma.scan(listing)
    assert (len(result.records), result.findings) == (10015, ())
    assert len({r.subject for r in result.records}) == 7470
    counts = Counter(derma.split.assign(result.records))
    assert tuple(counts[name] for name in SPLITS) == astuple(derma.counts["2020"])


def test_ham_findings(tmp_path: Path) -> None:
    images = ["ham10000_images_part_1/ISIC_0027419.jpg", "HAM10000_images_part_1/ISIC_0027419.jpg"]
    listing = ham(tmp_path, GOOD, *images, "ham10000_images_part_1/ISIC_0099999.jpg")
    result = get_dataset("dermamnist").scan(listing)
    assert [(r.file, r.labels, r.subject) for r in result.records] == [(images[1], (2,), "HAM_0000118")]
    assert found(result, "junk") == [images[0]]
    assert found(result, "surplus") == ["ham10000_images_part_1/ISIC_0099999.jpg"]
    assert "ISIC_0025030" in found(result, "missing")
    assert len(found(result, "missing")) == 10014


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("", "no column lesion_id or image_id or dx; its columns are none"),
        (GOOD.replace("dx,", "diagnosis,"), "no column dx"),
        (GOOD + "HAM_1,ISIC_0024306,wart,,,,\n", "line 4: found dx 'wart', expected one of akiec"),
        (GOOD + "HAM_1,ISIC_0027419,bkl,,,,\n", "ISIC_0027419 a second time"),
        (GOOD + "HAM_1\n", "found dx"),
        (GOOD + "HAM_1,../../x,nv,,,,\n", "found image_id"),
        (GOOD + 'HAM_1,"ISIC_0024306,nv,,,,\n', "is not valid CSV"),
        (GOOD.replace("bkl", "nv"), "found melanocytic nevi, expected benign keratosis-like lesions"),
    ],
)
def test_bad_metadata_is_said_with_its_line(tmp_path: Path, rows: str, said: str) -> None:
    listing = ham(tmp_path, rows, "HAM10000_images_part_1/ISIC_0027419.jpg")
    with pytest.raises(SourceError) as caught:
        get_dataset("dermamnist").scan(listing)
    assert said in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_ham_without_metadata_or_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"does not contain HAM10000_metadata\.csv"):
        scan("dermamnist", "HAM10000_images_part_1/ISIC_0027419.jpg", root=tmp_path)
    with pytest.raises(SourceError, match="images of HAM10000"):
        get_dataset("dermamnist").scan(ham(tmp_path, GOOD))


def test_the_same_image_in_both_ham_folders_is_refused(tmp_path: Path) -> None:
    listing = ham(tmp_path, GOOD, *(f"HAM10000_images_part_{part}/ISIC_0027419.jpg" for part in (1, 2)))
    with pytest.raises(SourceError, match="contains ISIC_0027419 twice"):
        get_dataset("dermamnist").scan(listing)


def test_a_phantoms_own_count_says_what_it_lacks() -> None:
    names = [f"benign/benign ({n}).png" for n in (5001, 5002)]
    assert scan("breastmnist", *names, phantom=2).findings == ()
    assert found(scan("breastmnist", *names, phantom=5), "missing") == ["3 of the phantom's 5 images"]


def test_names_that_are_no_utf8_can_be_shown() -> None:
    name = "Dataset_BUSI_with_GT/benign/caf\udce9.png"
    assert found(scan("breastmnist", *whole_busi(), name), "surplus")[0].encode()


@pytest.mark.parametrize("name", ["HAM10000_metadata.tab", "HAM10000_metadata"])
def test_metadata_as_dataverse_names_it(tmp_path: Path, name: str) -> None:
    """Tabs between columns, Windows line ends, texts in quotes."""
    rows = [HEAD.strip(), "HAM_0000118,ISIC_0027419,bkl,histo,80.0,male,scalp"]
    (tmp_path / name).write_text("\r\n".join('"' + row.replace(",", '"\t"') + '"' for row in rows), newline="")
    image = "HAM10000_images_part_1/ISIC_0027419.jpg"
    scanned = get_dataset("dermamnist").scan(Listing(tmp_path, (image, name)))
    assert [(r.labels, r.subject) for r in scanned.records] == [((2,), "HAM_0000118")]
