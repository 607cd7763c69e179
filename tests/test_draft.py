"""Folders of every form, drafted, read and built as the draft stands; and what it says of them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

import mmtk
from mmtk.errors import ArgumentError, ImageError, SourceError
from tests.commands import invoke, run_mmtk
from tests.pictures import picture

CLASSES = ("normal", "sick")


def write_image(path: Path, seed: int, colour: bool = False, deep: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels: np.ndarray = picture((24 + seed % 5, 30, 3) if colour else (24 + seed % 5, 30), seed=seed)
    plain = [cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_NONE] if path.suffix == ".tif" else []
    assert cv2.imwrite(str(path), pixels.astype(np.uint16) * 16 if deep else pixels, plain)


def write_text(path: Path, *rows: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n")


def write_dicom(path: Path, seed: int, place: float | None = None, window: bool = True, series: str = "") -> None:
    """An X-ray, or where it has a place a slice of a CT."""
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation if place is None else CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    file = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    file.PatientName, file.PatientID = "Secret^Name", f"hidden{seed // 2}"
    file.Modality = "DX" if place is None else "CT"
    file.SeriesInstanceUID = series or generate_uid()
    pixels = picture((24, 30), seed=seed).astype(np.uint16) * 16
    file.Rows, file.Columns, file.SamplesPerPixel = *pixels.shape, 1
    file.PhotometricInterpretation = "MONOCHROME1" if seed % 2 and place is None else "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 12, 11, 0
    file.RescaleSlope, file.RescaleIntercept = 1, 0 if place is None else -1024
    if window:
        file.WindowCenter, file.WindowWidth = 2000, 3000
    if place is not None:
        file.ImagePositionPatient, file.ImageOrientationPatient = [0, 0, place], [1, 0, 0, 0, 1, 0]
        file.PixelSpacing = [1, 1]
    file.PixelData = pixels.tobytes()
    file.save_as(path, enforce_file_format=True)


def write_series(folder: Path, seed: int) -> None:
    series = generate_uid()
    for place in range(4):
        write_dicom(folder / f"I{place}", seed, place=2.0 * place, series=series)


def voxels(seed: int, low: int = -1000) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, 1000, (20, 22, 8)).astype(np.int16)


def organs(*rare: int) -> np.ndarray:
    mask = np.zeros((20, 22, 8), np.uint8)
    mask[2:9, 3:9, 1:7], mask[11:18, 10:18, 1:7] = 1, 5
    mask[0, 0, :2] = 7  # too small to show anything
    for value in rare:
        mask[2:9, 12:19, 1:7] = value
    return mask


def write_nifti(path: Path, values: np.ndarray, height: float = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-1.5, -1.5, 3, 1])
    affine[2, 3] = height
    nibabel.save(nibabel.Nifti1Image(values, affine), path)


def build(folder: Path, table: str = "") -> tuple[str, dict, dict[str, int]]:
    """A folder's draft, what it says as TOML, and the images of each split that are built from it unedited."""
    text = mmtk.draft_dataset(folder, table)
    assert mmtk.draft_dataset(folder, table) == text
    file = folder.parent / "draft.toml"
    file.write_text(text)
    (result,) = mmtk.build(mmtk.read_dataset(file), sources=folder, out=folder.parent / "stores", force=True)
    return text, tomllib.loads(text), result.counts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "My Lungs 2").mkdir()
    return tmp_path / "My Lungs 2"


def test_folders_of_classes(folder: Path) -> None:
    for number in range(40):
        write_image(folder / CLASSES[number % 2] / f"image{number}.{'png' if number % 4 else 'jpg'}", number)
    (folder / "normal" / ".DS_Store").write_bytes(b"junk")
    text, draft, counts = build(folder)
    assert (draft["flag"], draft["title"]) == ("my_lungs_2", "My Lungs 2")
    assert (draft["task"], draft["classes"], draft["images"]) == ("binary-class", [*CLASSES], {"files": "{class}/*"})
    assert draft["licence"] == ""
    assert "# TODO: to share it" in text
    assert "window" not in draft
    assert counts == {"train": 28, "val": 4, "test": 8}
    assert "# 40 images:\n#   10 JPEG: 8-bit grey, 30 x 24 to 30 x 28 pixels\n#   30 PNG: 8-bit grey" in text
    assert "# classes" not in text
    assert "# No subjects are known" in text


def test_ids_that_names_of_files_share_are_subjects(folder: Path) -> None:
    for number in range(60):
        side = ("left", "right")[number % 2]
        write_image(folder / CLASSES[number // 2 % 2] / f"P{number // 2:03d}_{side}.png", number)
    text, draft, counts = build(folder)
    assert draft["images"]["files"] == "{class}/{subject}_*"
    assert "ids: 30 subjects" in text
    assert "No subjects" not in text
    assert sum(counts.values()) == 60
    assert all(count % 2 == 0 for count in counts.values())


@pytest.mark.parametrize(("names", "pattern", "subjects"), [
    ("{kind}/p{person}/{image}.png", "{class}/{subject}/*", 20),
    ("p{person}/{kind}/{image}.png", "{subject}/{class}/*", 20),
    ("all/images/{kind}/IM_{image}.png", "all/images/{class}/*", 0),
    ("odd[*]/{kind}/{image}.png", "odd[?]/{class}/*", 0),
])
def test_folders_at_other_places(folder: Path, names: str, pattern: str, subjects: int) -> None:
    for number in range(60):
        person = number // 3
        kind = CLASSES[person % 2 if names.startswith("{kind}") else number % 2]
        write_image(folder / names.format(kind=kind, person=person, image=number), number)
    text, draft, counts = build(folder)
    assert draft["images"]["files"] == pattern
    assert draft["classes"] == [*CLASSES]
    assert (f"{subjects} subjects" in text) == bool(subjects)
    assert sum(counts.values()) == 60


@pytest.mark.parametrize(("words", "pattern", "split", "counts"), [
    (("train", "valid", "test"), "{split}/{class}/*", {"seed": 0}, {"train": 20, "val": 20, "test": 20}),
    (("Training", "Testing"), "{split}/{class}/*", {"val": 10, "seed": 0}, {"train": 27, "val": 3, "test": 30}),
    (("train", "val"), "*/{class}/*", {"shares": [70, 10, 20], "seed": 0}, {"train": 42, "val": 6, "test": 12}),
])
def test_folders_of_splits(folder: Path, words, pattern: str, split, counts) -> None:
    for number in range(60):
        write_image(folder / words[number % len(words)] / CLASSES[number // 6 % 2] / f"{number}.png", number)
    text, draft, built = build(folder)
    assert (draft["images"]["files"], draft["split"], built) == (pattern, split, counts)
    assert ("only gives train and val; not used" in text) == (words[-1] == "val")


def test_ids_that_stand_in_several_given_splits_are_none(folder: Path) -> None:
    for number in range(60):
        part = ("train", "val", "test")[number % 3]
        write_image(folder / part / CLASSES[number // 6 % 2] / f"a{number // 5}_{number}.png", number)
    text, draft, _ = build(folder)
    assert draft["images"]["files"] == "{split}/{class}/*"
    assert "12 ids in paths are in several splits" in text


def test_other_files_among_images_are_passed_by_their_endings(folder: Path) -> None:
    for number in range(40):
        write_image(folder / CLASSES[number % 2] / f"{number}.{'png' if number % 4 else 'jpg'}", number)
        (folder / CLASSES[number % 2] / f"{number}.json").write_text("{}")
    _, draft, counts = build(folder)
    assert draft["images"]["files"] == ["{class}/*.jpg", "{class}/*.png"]
    assert sum(counts.values()) == 40


def test_colour_and_what_cannot_be_read(folder: Path) -> None:
    for number in range(40):
        write_image(folder / CLASSES[number % 2] / f"{number}.png", number, colour=number % 4 != 0)
    _, draft, _ = build(folder)
    assert draft["recipe"]["colour"] == "rgb"
    (folder / "sick" / "99.png").write_bytes(b"<html>")
    text = mmtk.draft_dataset(folder)
    assert "#   41 PNG, of which 40 were read:\n#     30 8-bit colour, 30 x 24 to 30 x 28 pixels\n" in text
    assert "\n#     10 8-bit grey" in text
    assert '"grey"; 10 of those examined are grey' in text
    assert "# TODO: 1 of the 41 cannot be read. mmtk build stops" in text
    assert re.search(r"^#   sick/99\.png: .*web page", text, re.MULTILINE)


def test_headers_of_two_hundred_of_a_kind_are_read(folder: Path) -> None:
    for number in range(230):
        write_image(folder / CLASSES[number % 2] / f"{number}.png", number)
    write_image(folder / "sick" / "500.jpg", 1)
    text = mmtk.draft_dataset(folder)
    assert "# 231 images, of which 201 were examined (at most 200 per kind):" in text
    assert "#   230 PNG, of which 200 were read: 8-bit grey" in text


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_images_of_16_bits(folder: Path, ending: str) -> None:
    for number in range(40):
        write_image(folder / CLASSES[number % 2] / f"{number}.{ending}", number, deep=True)
    text, draft, counts = build(folder)
    assert draft["window"] == {"percentiles": [0.5, 99.5]}
    assert "16-bit grey" in text
    assert sum(counts.values()) == 40


# ------------------------------------------------------------- tables


def write_table(folder: Path, name: str, heads: str, row, mark: str = ",") -> None:
    """A table of 60 rows; `row` gives the cells of a number as text with commas."""
    lines = [heads, *(row(number) for number in range(60))]
    write_text(folder / name, *(line.replace(",", mark) for line in lines))


def write_images(folder: Path, ending: str = "png") -> None:
    for number in range(60):
        write_image(folder / f"IM{number:03d}.{ending}", number)


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_table_tells_files_labels_subjects_and_asides(folder: Path, mark: str) -> None:
    write_images(folder / "images")
    write_table(folder, "meta.csv", "Patient Name,Patient ID,image,sex,age,Diagnosis", lambda n: (
        f"Ann{n // 2},{n // 2},IM{n:03d},{'fm'[n % 2]},{40 + n % 3},{('normal', 'flu', 'tb')[n // 2 % 3]}"
    ), mark)
    text, draft, counts = build(folder)
    assert draft["table"] == {
        "file": "meta.csv", "column": "image", "prefix": "images/", "suffix": ".png", "label": "Diagnosis",
        "subject": "Patient ID",
    }
    assert (draft["task"], draft["classes"]) == ("multi-class", ["flu", "normal", "tb"])
    assert "20, 20, 20 images" in text
    assert "30 subjects, each in a single split" in text
    assert "could be labels" not in text
    assert not re.search("Ann|Name", text)
    assert sum(counts.values()) == 60


@pytest.mark.parametrize("mark", [";", "|"])
def test_a_table_for_excel_names_its_mark(folder: Path, mark: str) -> None:
    write_images(folder)
    write_table(folder, "labels.csv", "file,label,patient", lambda n: f"IM{n:03d}.png,{CLASSES[n % 2]},p{n // 2}", mark)
    plain = (folder / "labels.csv").read_text()
    (folder / "labels.csv").write_text(f"sep={mark}\n{plain}")
    _, keys, counts = build(folder)
    assert keys["table"]["column"] == "file"
    assert keys["table"]["label"] == "label"
    assert sum(counts.values()) == plain.count("\n") - 1


def test_of_several_tables_the_best_is_taken_and_the_others_named(folder: Path) -> None:
    write_images(folder / "images")
    write_table(folder, "labels.csv", "file,patient,label", lambda n: f"IM{n:03d}.png,p{n},{CLASSES[n % 2]}")
    write_table(folder, "findings.csv", "file,patient,opacity,bright", lambda n: (
        f"images/IM{n:03d}.png,p{n},{n % 2},{n // 2 % 2}"
    ))
    write_text(folder / "notes.txt", "nothing of this, is a table", "at all")
    text, draft, _ = build(folder)
    assert (draft["table"]["file"], draft["flag"]) == ("labels.csv", "my_lungs_2")
    assert "Other tables list the files, too: findings.csv. Use one with mmtk draft DIR --table FILE" in text
    text, draft, counts = build(folder, "findings.csv")
    assert draft["table"] == {"file": "findings.csv", "column": "file", "labels": ["opacity", "bright"],
                              "subject": "patient"}
    assert (draft["task"], draft["classes"]) == ("multi-label, binary-class", ["opacity", "bright"])
    assert draft["flag"] == "my_lungs_2_findings"
    assert "30, 30 of 60 rows are 1" in text
    assert sum(counts.values()) == 60
    with pytest.raises(ArgumentError, match=r"--table notes.txt: does not list any .* .labels.csv, findings.csv"):
        mmtk.draft_dataset(folder, "notes.txt")
    with pytest.raises(ArgumentError, match="does not exist"):
        mmtk.draft_dataset(folder, "no.csv")


def test_several_labels_in_a_cell(folder: Path) -> None:
    cells = ["No Finding", "Mass", "Mass|Edema", "Edema", "Edema|Mass"]
    for number in range(60):
        write_image(folder / "images" / f"{number:03d}.png", number)
    rows = [f"{n:03d}.png,{cells[n % 5]},{n // 2},0.14{n % 3}" for n in range(60)]
    write_text(folder / "entry.csv", "Image,Finding Labels,Patient ID,Spacing[x,y]".replace("[x,y]", " y]"), *rows)
    text, draft, counts = build(folder)
    assert (draft["task"], draft["classes"]) == ("multi-label, binary-class", ["Edema", "Mass"])
    assert "36, 36 of 60 rows" in text
    table = draft["table"]
    assert (table["label"], table["separator"], table["names"]) == ("Finding Labels", "|", {"No Finding": ""})
    assert sum(counts.values()) == 60


@pytest.mark.parametrize(("start", "strip"), [
    ("C:\\data\\images\\", "C:/data/images/"), ("/home/x/images/", "/home/x/images/"), (".\\images\\", None),
])
def test_paths_of_another_machine(folder: Path, start: str, strip: str | None) -> None:
    for number in range(12):
        write_image(folder / "images" / f"{number}.png", number)
    write_text(folder / "a.csv", "file,label", *[f"{start}{n}.png,{CLASSES[n % 2]}" for n in range(12)])
    _, draft, counts = build(folder)
    assert draft["table"].get("strip") == strip
    assert sum(counts.values()) == 12


_UNUSED = {
    "letters": ("file,label", "IM00{n}.PNG,{kind}", "column file differs from the file names in upper and lower case"),
    "zeros": ("file,label", "{n},{kind}", "column file differs from the file names in leading zeros"),
    "head": ("1{n:03d}.png,normal", "{n:03d}.png,{kind}", "its first line is a row of data"),
    "twice": ("file,label,label", "{n:03d}.png,{kind},1", "several of its columns are named label: rename them"),
    "cells": ("file,label", "{n:03d}.png,{kind}, sure", "line 2 has more cells than there are columns"),
    "others": ("file,label", "x{n}.png,{kind}", "none of its columns lists the files: file, label"),
    "rows": ("file,label", "000.png,{kind}", "none of its columns lists the files"),
    "boxes": ("file,label", "{m:03d}.png,{kind}", "column file lists some files several times"),
}


@pytest.mark.parametrize("name", _UNUSED)
def test_why_a_table_is_not_taken(folder: Path, name: str) -> None:
    head, row, reason = _UNUSED[name]
    for number in range(12):
        write_image(folder / "images" / f"{'im' * (name == 'letters')}{number:03d}.png", number)
    if name == "head":
        write_image(folder / "images" / "1{n:03d}.png", 50)
    write_text(folder / "a.csv", head, *[row.format(n=n, m=n // 2, kind=CLASSES[n % 2]) for n in range(12)])
    text = " ".join(mmtk.draft_dataset(folder).replace("\n#", "").split())
    assert f"TODO: a.csv is not used: {reason}" in text


def test_a_spreadsheet_is_to_be_saved_as_csv(folder: Path) -> None:
    write_image(folder / "images" / "1.png", 1)
    (folder / "labels.xlsx").write_bytes(b"PK\3\4")
    (folder / "labels.csv").write_bytes(b"PK\3\4")
    text = mmtk.draft_dataset(folder)
    assert "labels.xlsx is not used: save it as CSV." in text
    assert "labels.csv is not used: it is a spreadsheet or a zip, not a text file; save it as CSV." in text


def test_classes_spelled_in_several_ways_are_one(folder: Path) -> None:
    for number in range(18):
        write_image(folder / "images" / f"{number}.png", number)
    words = ["normal", "sick", "normal", "sick", "Normal", "SICK"]
    write_text(folder / "a.csv", "file,label", *[f"{n}.png,{words[n % 6]}" for n in range(18)])
    text, draft, counts = build(folder)
    assert draft["classes"] == ["normal", "sick"]
    assert "9, 9 images" in text
    assert draft["table"]["names"] == {"Normal": "normal", "SICK": "sick"}
    assert sum(counts.values()) == 18


@pytest.mark.parametrize(("name", "exclude"), [
    ("{kind}/{n}_mask.png", "*_mask*"), ("{kind}/{n} (1)-Seg_2.png", "*-Seg*"),
    ("masks/{kind}/{n}.png", "**/masks/**/*"), ("{kind}/masks/{n}.png", "**/masks/**/*"),
])
def test_masks_among_images_are_excluded(folder: Path, name: str, exclude: str) -> None:
    for number in range(16):
        kind = CLASSES[number % 2]
        write_image(folder / kind / f"{number}.png", number)
        write_image(folder / name.format(kind=kind, n=number), number + 50)
    text, draft, counts = build(folder)
    assert draft["classes"] == list(CLASSES)
    assert (draft["images"]["exclude"], sum(counts.values())) == (exclude, 16)
    assert "16 that look like masks" in text


def test_files_of_a_table_may_lie_in_several_folders(folder: Path) -> None:
    for number in range(60):
        write_image(folder / f"images_{number // 30 + 1:03d}" / f"IM{number}.png", number)
    write_table(folder, "t.csv", "lesion_id,image_id,dx", lambda n: f"L{n // 2},IM{n},{CLASSES[n // 2 % 2]}")
    text, draft, counts = build(folder)
    assert draft["table"] == {"file": "t.csv", "column": "image_id", "prefix": "**/", "suffix": ".png", "label": "dx",
                              "subject": "lesion_id"}
    assert sum(counts.values()) == 60
    file = folder.parent / "draft.toml"
    file.write_text(text)
    write_image(folder / "images_003" / "IM7.png", 7)
    expected = "line 9, column image_id: IM7.png matches several files: images_001/IM7.png and images_003/IM7.png"
    with pytest.raises(SourceError, match=expected):
        mmtk.build(mmtk.read_dataset(file), sources=folder, out=folder.parent)
    (folder / "t.csv").unlink()
    assert tomllib.loads(mmtk.draft_dataset(folder))["images"]["files"] == "*/*"


def test_one_column_of_0_and_1_names_two_classes(folder: Path) -> None:
    write_images(folder)
    write_table(folder, "t.csv", "name,edema", lambda n: f"IM{n:03d},{n % 2}")
    _, draft, _ = build(folder)
    assert draft["classes"] == ["no edema", "edema"]
    assert draft["table"]["names"] == {"0": "no edema", "1": "edema"}
    write_table(folder, "t.csv", "name,target", lambda n: f"IM{n:03d},{n % 2}")
    text, draft, _ = build(folder)
    assert draft["classes"] == ["0", "1"]
    assert "# TODO: say what the values mean" in text


def test_a_column_of_splits(folder: Path) -> None:
    write_images(folder)
    write_table(folder, "t.csv", "file,label,split", lambda n: (
        f"IM{n:03d}.png,{CLASSES[n // 3 % 2]},{('train', 'train', 'test')[n % 3]}"
    ))
    _, draft, counts = build(folder)
    assert (draft["table"]["split"], draft["split"]) == ("split", {"val": 10, "seed": 0})
    assert counts == {"train": 36, "val": 4, "test": 20}
    write_table(folder, "t.csv", "file,label,patient,split", lambda n: (
        f"IM{n:03d}.png,{CLASSES[n // 3 % 2]},{n // 6},{('train', 'train', 'test')[n % 3]}"
    ))
    assert "# TODO: 10 subjects are in several splits" in mmtk.draft_dataset(folder)


def test_a_table_says_what_is_to_be_mended(folder: Path) -> None:
    write_images(folder)
    write_table(folder, "t.csv", "file,grade,patient", lambda n: (
        f"{'lost' if n == 3 else f'IM{n:03d}'}.png,{'' if n < 2 else n % 3},{'' if n == 4 else n}"
    ))
    text = mmtk.draft_dataset(folder)
    assert '59 of the 60 images; TODO: 1 row' in text
    assert "# TODO: 2 rows have no label" in text
    assert "# TODO: 1 row has no subject" in text
    assert '"ordinal-regression" if the classes are grades' in text
    write_table(folder, "t.csv", "file,edema,mass", lambda n: f"IM{n:03d}.png,{n % 2},{-1 if n == 5 else n // 2 % 2}")
    text = mmtk.draft_dataset(folder)
    assert "# TODO: 1 row has labels other than 0 or 1" in text
    assert "1-regression" not in text


def test_a_table_without_labels_is_named_beside_folders(folder: Path) -> None:
    for number in range(40):
        write_image(folder / CLASSES[number % 2] / f"{number}.png", number)
    write_text(folder / "who.csv", "file,patient", *(f"{CLASSES[n % 2]}/{n}.png,{n}" for n in range(40)))
    text, draft, _ = build(folder)
    assert draft["images"] == {"files": "{class}/*"}
    assert "Tables that list the files, but have no labels: who.csv." in text


# ------------------------------------------------------------- DICOM and volumes


def test_dicom_images(folder: Path) -> None:
    for number in range(40):
        write_dicom(folder / CLASSES[number // 2 % 2] / f"{number}.dcm", number)
    text, draft, counts = build(folder)
    assert (draft["window"], draft["modality"]) == ({"from": "dicom"}, "X-ray")
    assert "#   40 DICOM: DX, 20 MONOCHROME1 and 20 MONOCHROME2, 12 bits, all have a window, 30 x 24 pixels" in text
    assert "# subject = \"dicom\"" in text
    assert not re.search("Secret|hidden", text)
    assert sum(counts.values()) == 40
    write_dicom(folder / "sick" / "x.dcm", 1, window=False)
    text, draft, _ = build(folder)
    assert draft["window"] == {"percentiles": [0.5, 99.5]}
    assert "40 of them have a window" in text


def test_dicom_without_a_window_is_refused(folder: Path) -> None:
    for number in range(16):
        write_dicom(folder / CLASSES[number // 2 % 2] / f"{number}.dcm", number)
    text = mmtk.draft_dataset(folder)
    file = folder.parent / "a.toml"
    file.write_text(re.sub(r"\[window\]\n.*\n", "", text))
    reason = r"is a DICOM, which needs a window .*; add \[window\] to the dataset file"
    with pytest.raises(ImageError, match=reason):
        mmtk.build(mmtk.read_dataset(file), sources=folder, out=folder.parent)
    with pytest.raises(SourceError, match=f"has no usable image: .*{reason}"):
        mmtk.build(mmtk.read_dataset(file), sources=folder, out=folder.parent, on_error="skip")


def test_the_suggested_subject_of_dicom_can_be_taken(folder: Path) -> None:
    for number in range(40):
        write_dicom(folder / CLASSES[number // 2 % 2] / f"{number}.dcm", number)
    file = folder.parent / "draft.toml"
    file.write_text(mmtk.draft_dataset(folder).replace('# subject = "dicom"', 'subject = "dicom"'))
    (result,) = mmtk.build(mmtk.read_dataset(file), sources=folder, out=folder.parent)
    assert all(count % 2 == 0 for count in result.counts.values())


def test_dicom_series_by_folders_and_by_a_table(folder: Path) -> None:
    for number in range(20):
        write_series(folder / CLASSES[number % 2] / f"scan{number}", number)
    text, draft, counts = build(folder)
    assert draft["images"] == {"files": "{class}/*/"}
    assert (draft["volumes"], draft["window"]) == ({"plane": "axial"}, {"level": 50, "width": 400})
    assert draft["modality"] == "CT"
    assert "#   20 DICOM series: 30 x 24 x 4 voxels of 1 x 1 x 2 mm, axes LPS" in text
    assert not re.search("Secret|hidden", text)
    assert sum(counts.values()) == 80
    write_text(folder / "t.csv", "scan,finding", *(f"scan{n},{CLASSES[n % 2]}" for n in range(0, 20, 2)),
               *(f"scan{n},{CLASSES[n % 2]}" for n in range(1, 20, 2)))
    _, draft, counts = build(folder)
    assert draft["table"] == {"file": "t.csv", "column": "scan", "prefix": "**/", "label": "finding"}
    assert sum(counts.values()) == 80


def test_several_series_in_a_folder_are_to_be_moved_apart(folder: Path) -> None:
    for kind in CLASSES:
        for number in range(3):
            for place in range(4):
                write_dicom(folder / kind / f"{number}_{place}.dcm", number, 2.0 * place, series=f"1.2.{number}")
    text = " ".join(mmtk.draft_dataset(folder).replace("\n#", "").split())
    assert "TODO: some folders contain several DICOM series, such as normal: move each series" in text


def test_dicom_series_in_a_table(folder: Path) -> None:
    for number in range(20):
        write_series(folder / "data" / f"scan{number}" / "thin", number)
    write_text(folder / "t.csv", "patient,finding", *(f"scan{n},{CLASSES[n % 2]}" for n in range(20)))
    _, draft, counts = build(folder)
    assert draft["table"] == {"file": "t.csv", "column": "patient", "prefix": "data/", "suffix": "/thin",
                              "label": "finding", "subject": "patient"}
    assert sum(counts.values()) == 80


def test_what_has_no_classes_is_refused_until_they_are_named(folder: Path) -> None:
    write_series(folder / "patient01", 0)
    text = mmtk.draft_dataset(folder)
    assert tomllib.loads(text)["images"]["files"] == "*/"
    assert "classes = []  # TODO: neither folders nor a table give the classes" in text
    file = folder.parent / "draft.toml"
    file.write_text(text)
    told = invoke("build", file, "--sources", folder, "--out", folder.parent, code=None)
    assert "draft.toml: classes: is missing or empty" in str(told.exception)


@pytest.mark.parametrize(("image", "mask", "image_pattern", "mask_pattern"), [
    ("p{n}/ct.nii.gz", "p{n}/seg.nii.gz", "{subject}/ct.nii.gz", "{subject}/seg.nii.gz"),
    ("a/p{n}/ct.nii", "a/p{n}/mask.nii", "**/{subject}/ct.nii", "**/{subject}/mask.nii"),
    ("imagesTr/p{n}_0000.nii", "labelsTr/p{n}.nii", "imagesTr/{subject}_0000.nii", "labelsTr/{subject}.nii"),
    ("vol-{n}.nii", "segmentation-{n}.nii", "vol-{subject}.nii", "segmentation-{subject}.nii"),
    ("p{n}_ct.nii", "p{n}_seg.nii", "{subject}_ct.nii", "{subject}_seg.nii"),
    ("p{n}/p{n}_flair.nii", "p{n}/p{n}_seg.nii", "{subject}/{subject}_flair.nii", "{subject}/{subject}_seg.nii"),
])
def test_volumes_with_masks(folder: Path, image: str, mask: str, image_pattern: str, mask_pattern: str) -> None:
    for number in range(8, 18):
        write_nifti(folder / image.format(n=number), voxels(number))
        write_nifti(folder / mask.format(n=number), organs(*[9] * (number == 8)))
    text, draft, counts = build(folder)
    volumes = draft["volumes"]
    assert (volumes["image"], volumes["mask"]) == (image_pattern, mask_pattern)
    assert volumes["organs"] == {"organ_1": 1, "organ_5": 5}
    assert "# Left out, since rare or too small in the 10 masks examined: 7, 9." in text
    assert (draft["task"], draft["window"], draft["modality"]) == ("binary-class", {"level": 50, "width": 400}, "CT")
    assert "20 NIfTI: 20 x 22 x 8 voxels of 1.5 x 1.5 x 3 mm, axes LPS" in text
    assert counts == {split: 8 * share for split, share in (("train", 7), ("val", 1), ("test", 2))}


def test_a_mask_belongs_to_the_image_of_its_grid(folder: Path) -> None:
    for number in range(4):
        write_nifti(folder / f"p{number}_ct.nii", np.repeat(voxels(number), 2, axis=2))
        write_nifti(folder / f"p{number}_ct_small.nii", voxels(number))
        write_nifti(folder / f"p{number}_seg.nii", organs())
    text, draft, counts = build(folder)
    assert draft["volumes"]["image"] == "{subject}_ct_small.nii"
    assert "Left out: 4 other volumes, such as p0_ct.nii." in text
    assert sum(counts.values())


def test_a_mask_belongs_to_the_image_of_its_place(folder: Path) -> None:
    for number in range(4):
        for name, values, shift in (("ct", voxels(number), 30), ("ct_late", voxels(number), 0), ("seg", organs(), 0)):
            write_nifti(folder / f"p{number}_{name}.nii", values, shift)
    _, draft, counts = build(folder)
    assert draft["volumes"]["image"] == "{subject}_ct_late.nii"
    assert sum(counts.values())


def test_mr_volumes_by_folders_of_classes(folder: Path) -> None:
    for number in range(20):
        write_nifti(folder / CLASSES[number % 2] / f"{number}.nii.gz", voxels(number, low=0))
    text, draft, counts = build(folder)
    assert draft["images"] == {"files": "{class}/*"}
    assert draft["window"] == {"percentiles": [0.5, 99.5]}
    assert "Each volume is assumed to be a different patient." in text
    assert sum(counts.values()) == 160


def test_volumes_whose_headers_tell_little(folder: Path) -> None:
    for number in range(20):
        path = folder / CLASSES[number % 2] / f"{number}.nii"
        write_nifti(path, voxels(number))
        volume = nibabel.load(path)
        volume.header.set_qform(None, 0)
        volume.header.set_sform(None, 0)
        bare = nibabel.Nifti1Image(voxels(number), None, volume.header)
        bare.header["qform_code"] = bare.header["sform_code"] = 0
        nibabel.save(bare, path)
    _, draft, counts = build(folder)
    assert draft["volumes"]["orientation"] == "file"
    assert sum(counts.values()) == 160


def test_one_organ_is_nothing_to_tell_apart(folder: Path) -> None:
    for number in range(4):
        write_nifti(folder / f"p{number}" / "ct.nii.gz", voxels(number))
        write_nifti(folder / f"p{number}" / "seg.nii.gz", np.where(organs() == 1, 1, 0).astype(np.uint8))
    assert "# TODO: at least two classes" in mmtk.draft_dataset(folder)


# ------------------------------------------------------------- the file itself


def test_names_are_escaped(tmp_path: Path) -> None:
    folder = tmp_path / "it's \"ours\" \\ é\t2"
    for number in range(40):
        write_image(folder / "a \"quoted\" one" / CLASSES[number % 2] / f"{number}.png", number)
    text, draft, counts = build(folder)
    assert draft["flag"] == "it_s_ours_2"
    assert draft["title"] == "It's \"ours\" \\ é 2"
    assert draft["images"]["files"] == "a \"quoted\" one/{class}/*"
    assert all(line.isprintable() for line in text.splitlines())
    assert sum(counts.values()) == 40


def test_names_that_are_no_text_are_to_be_changed(folder: Path) -> None:
    for number in range(40):
        write_image(folder / CLASSES[number % 2] / f"{number}.png", number)
    try:
        (folder / "sick" / "1.png").rename(folder / "sick" / "1\udcff.png")
    except OSError:
        pytest.skip("this file system takes no name that is not UTF-8")
    assert "# TODO: 1 file names are not UTF-8" in mmtk.draft_dataset(folder)
    with pytest.raises(SourceError, match="name that is not UTF-8"):
        build(folder)


@pytest.mark.parametrize(("name", "flag"), [("2024 study", "data_2024_study"), ("PathMNIST", "pathmnist_own"),
                                            ("---", "data"), ("x" * 80, "x" * 60)])
def test_flags_are_valid_and_not_taken(tmp_path: Path, name: str, flag: str) -> None:
    for number in range(40):
        write_image(tmp_path / name / CLASSES[number % 2] / f"{number}.png", number)
    _, draft, _ = build(tmp_path / name)
    assert draft["flag"] == flag


def test_long_lists_stand_in_several_lines(folder: Path) -> None:
    kinds = [f"{letter}, a class of a rather long name" for letter in "abcdefghijkl"]
    for number in range(120):
        write_image(folder / kinds[number % 12] / f"{number}.png", number)
    text, draft, _ = build(folder)
    assert draft["classes"] == kinds
    assert max(map(len, text.splitlines())) <= 120


def test_the_command_prints_the_draft_alone(folder: Path) -> None:
    for number in range(10):
        write_image(folder / CLASSES[number % 2] / f"{number}.png", number)
    done = run_mmtk("draft", folder, code=0)
    assert (done.stdout, done.stderr) == (mmtk.draft_dataset(folder), "")


@pytest.mark.parametrize("beside", [False, True])
def test_pairs_of_header_and_voxels_are_to_be_saved_as_one(folder: Path, beside: bool) -> None:
    for number in range(3):
        nibabel.save(nibabel.Nifti1Pair(voxels(number), np.eye(4)), folder / f"mri{number}.hdr")
    told = "3 volumes as .hdr/.img pairs; save them as .nii.gz"
    if not beside:
        assert f"only {told}" in run_mmtk("draft", folder, code=2).stderr
        return
    for number in range(4):
        write_nifti(folder / CLASSES[number % 2] / f"{number}.nii.gz", voxels(number))
    assert f"# TODO: left out: {told}." in mmtk.draft_dataset(folder)


@pytest.mark.parametrize("what", ["empty", "missing", "text"])
def test_nothing_to_draft_from_is_one_line(tmp_path: Path, what: str) -> None:
    folder = tmp_path / what
    if what == "empty":
        folder.mkdir()
    if what == "text":
        write_text(folder / "labels.csv", "file,label", "a.png,1")
    with pytest.raises(SourceError):
        mmtk.draft_dataset(folder)
    done = run_mmtk("draft", folder, code=2)
    assert done.stdout == ""
    assert done.stderr.startswith(f"mmtk: error: {folder}: ")
    assert done.stderr.count("\n") == 1
