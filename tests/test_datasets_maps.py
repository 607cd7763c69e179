"""Known rows of the official sets, and maps that a user gives."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmtk.datasets import get_dataset
from mmtk.datasets.base import SPLITS, Record
from mmtk.datasets.maps import EVIDENCE, known_rows, official_map, read_map, resolve_map
from mmtk.errors import SourceError

BREAST, DERMA, CHEST = map(get_dataset, ("breastmnist", "dermamnist", "chestmnist"))

# ------------------------------------------------------------------ known rows


def test_some_rows_are_no_membership() -> None:
    assert official_map("organamnist") is None
    assert known_rows("organamnist", "2020") == {}
    assert known_rows("pathmnist", "2024") == {}
    assert known_rows("chestmnist", "2020") == {}  # its rows are known, not their order


@pytest.mark.parametrize("edition", ["2020", "2024"])
def test_a_whole_map_knows_the_rows_of_every_edition_that_is_equal(edition: str) -> None:
    known, rows = known_rows("pneumoniamnist", edition), official_map("pneumoniamnist").rows
    for split in SPLITS:
        assert tuple(known[split].values()) == rows[split]
        assert list(known[split]) == list(range(len(rows[split])))
    assert known_rows("pneumoniamnist", "unknown") == {}


def test_the_rows_of_volume_44_are_the_recovered_ones(real_data: Path) -> None:
    import csv

    known = known_rows("organamnist", "2024")
    assert set(known) == {"train"}
    with (real_data / "csv" / "organamnist_volume44_rows.csv").open(newline="") as stream:
        facts = {int(line["train_row"]): line for line in csv.DictReader(stream)}
    assert list(known["train"]) == sorted(facts)
    for number, row in known["train"].items():
        label = int(facts[number]["label"])
        assert row.labels == (label,)
        assert row.source == f"train-44-{label + 1}-axial-{int(facts[number]['j_1mm']):03d}"
        assert (row.subject, EVIDENCE[row.evidence].split(":")[0]) == ("train-44", "exact")


# ------------------------------------------------------------------ given maps

RECORDS = (
    Record("normal/normal (1).png", "D/normal/normal (1).png", (1,)),
    Record("benign/benign (1).png", "D/benign/benign (1).png", (1,)),
    Record("malignant/malignant (1).png", "D/malignant/malignant (1).png", (0,)),
    Record("malignant/malignant (2).png", "D/malignant/malignant (2).png", (0,), "p2"),
)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "map.csv"
    path.write_text(text)
    return path


def resolved(path: Path, records=RECORDS, dataset=BREAST, **choices):
    return resolve_map(read_map(path, dataset), records, path, **choices)


FORMS = {
    "the authors'": "split,index,image_id\nTRAIN,1,benign (1)\nTrain,0,malignant (2)\nTEST,0,normal (1)\n",
    "match": "split,index,label,source,evidence,distance,rivals\n"
    "train,0,0,malignant/malignant (2).png,exact,0,\ntrain,1,1,benign/benign (1).png,tie,0,a|b\n"
    "test,0,1,normal/normal (1).png,nearest,2.5,\n",
    "source_file": "split,index,label,source_file,maxabsdiff\n"
    "test,0,1,normal/normal (1).png,0\ntrain,0,0,malignant/malignant (2).png,0\ntrain,1,1,benign/benign (1).png,3\n",
    "file names": "\ufeffsplit,index,image_id\r\ntrain,0,malignant (2).png\r\ntrain,1,benign (1).png\r\n"
    "test,0,normal (1).png\r\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_names_the_same_rows(tmp_path: Path, form: str) -> None:
    found = resolved(write(tmp_path, FORMS[form]))
    assert [row.source for row in found.rows["train"]] == ["malignant/malignant (2).png", "benign/benign (1).png"]
    assert [(row.source, row.labels) for row in found.rows["test"]] == [("normal/normal (1).png", (1,))]
    assert found.rows["val"] == ()
    assert [row.labels for row in found.rows["train"]] == [(0,), (1,)]
    assert [row.subject for row in found.rows["train"]] == ["p2", ""]
    assert [row.source for row in found.unplaced] == ["malignant/malignant (1).png"]
    assert (found.origin, found.ordered) == ("by the map map.csv", True)
    evidence = [row.evidence for row in (*found.rows["train"], *found.rows["test"])]
    assert evidence == (["e", "t", "n"] if form == "match" else ["", "", ""])


def test_a_row_without_a_file_keeps_its_label(tmp_path: Path) -> None:
    path = write(tmp_path, "split,index,label,source,evidence\ntrain,0,1,,none\ntrain,1,0,malignant (1),exact\n")
    found = resolved(path)
    assert [(row.source, row.labels) for row in found.rows["train"]] == [
        (None, (1,)), ("malignant/malignant (1).png", (0,)),
    ]
    assert len(found.unplaced) == 3


def test_several_labels_are_a_word_of_digits(tmp_path: Path) -> None:
    record = Record("00000001_000.png", "images/00000001_000.png", (1,) + (0,) * 13, "00000001")
    path = write(tmp_path, f"split,index,label,image_id\nval,0,1{'0' * 13},00000001_000\n")
    assert resolved(path, [record], CHEST).rows["val"][0].labels == record.labels
    for word in ("1", "2" + "0" * 13, "1" + "0" * 12, "x" * 14, "²" * 14):
        with pytest.raises(SourceError, match=r"map.csv line 2: found label .*, expected 14 digits 0 or 1"):
            read_map(write(tmp_path, f"split,index,label,image_id\nval,0,{word},a\n"), CHEST)


def test_the_authors_file_is_read(real_data: Path) -> None:
    path = real_data / "csv" / "dermamnist_split_info.head.csv"
    given_rows = read_map(path, DERMA).rows["train"]
    assert [row.source for row in given_rows] == [row.source for row in official_map("dermamnist").rows["train"][:26]]
    records = [
        Record(row.source, f"HAM/{row.source}.jpg", row.labels, row.subject)
        for row in official_map("dermamnist").rows["train"]
    ]
    found = resolved(path, records, DERMA)
    assert [(r.source, r.labels, r.subject) for r in found.rows["train"]] == [
        (r.source, r.labels, r.subject) for r in records[:26]
    ]


def test_the_recovered_map_of_breast_is_the_installed_one(real_data: Path) -> None:
    path, known = real_data / "csv" / "breastmnist_to_BUSI_map.csv", official_map("breastmnist")
    found = resolved(path, [Record(source, source, labels) for source, labels in known.labels.items()])
    for split in SPLITS:
        assert [(r.source, r.labels) for r in found.rows[split]] == [(r.source, r.labels) for r in known.rows[split]]


@given(st.permutations(range(6)))
def test_lines_stand_in_any_order(tmp_path_factory: pytest.TempPathFactory, order: list[int]) -> None:
    lines = [f"{split},{index},{split}{index}" for split in ("train", "val") for index in range(3)]
    text = "\n".join(["split,index,image_id", *(lines[number] for number in order)])
    found = read_map(write(tmp_path_factory.mktemp("m"), text), BREAST)
    assert [row.source for row in found.rows["val"]] == ["val0", "val1", "val2"]


HEAD = "split,index,image_id\n"
LABELS = "split,index,label,image_id\n"
BAD = {
    "nothing": ("", r"map.csv: found no columns, expected split, index, one of "),
    "no rows": (HEAD, r"map.csv: has no rows$"),
    "unknown columns": ("split,index,image_id,note\n", r"found columns split,index,image_id,note, expected"),
    "no ids": ("split,index,label\n", r"found columns split,index,label, expected .*source, source_file"),
    "two ids": ("split,index,source,image_id\n", r"found columns split,index,source,image_id, "),
    "a column twice": ("split,index,split,image_id\n", r"found columns split,index,split,image_id, "),
    "no index": ("split,image_id\n", r"found columns split,image_id, "),
    "a short line": (HEAD + "train,0\n", r"map.csv line 2: found 2 fields, expected 3$"),
    "an open quote": (HEAD + 'train,0,"a\n', r"map.csv line 2: is not valid CSV: "),
    "another split": (HEAD + "dev,0,a\n", r"map.csv line 2: found split 'dev', expected one of train, val, test$"),
    "an index below 0": (HEAD + "train,-1,a\n", r"map.csv line 2: found index '-1', expected an integer from 0$"),
    "an index that is none": (HEAD + "train,1.0,a\n", r"line 2: found index '1.0', expected"),
    "an index without end": (HEAD + f"train,{'9' * 5000},a\n", r"line 2: found index '99"),
    "an index twice": (HEAD + "train,0,a\nTRAIN,0,b\n", r"line 3: lists train\[0\] a second"),
    "a gap": (HEAD + "train,0,a\ntrain,2,b\n", r"map.csv: lacks 1 train row, first train\[1\]; if"),
    "a wide gap": (HEAD + "val,999999999,b\n", r"lacks 999999999 val rows, first val\[0\];"),
    "an id twice": (HEAD + "train,0,a\ntrain,1,a\n", r"line 3: lists a as both train\[0\] and train\[1\]$"),
    "an id in two splits": (HEAD + "train,0,a\nval,0,a\n", r"line 3: lists a as both train\[0\] and val\[0\]$"),
    "neither id nor label": (HEAD + "train,0,\n", r"line 2: has neither an id nor a label for train\[0\]$"),
    "a label that is none": (LABELS + "train,0,2,a\n", r"line 2: found label '2', expected an integer from 0 to 1$"),
    "a label in words": (LABELS + "train,0,malignant,a\n", r"found label 'malignant', expected"),
    "an id of no image": (
        HEAD + "train,0,benign (1)\nval,0,x\ntest,0,y\n",
        r"map.csv: lists 2 images that are not in the source, first x \(val\[0\]\); .*",
    ),
    "an image by two ids": (
        HEAD + "train,0,benign (1)\nval,0,benign (1).png\n",
        r"map.csv: lists benign/benign \(1\).png as both train\[0\] and val\[0\]$",
    ),
    "another label": (
        LABELS + "train,0,0,benign (1)\n",
        r"map.csv: train\[0\] benign \(1\): does not have the label of its image; found 0, expected 1$",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_map_is_one_line(tmp_path: Path, kind: str) -> None:
    text, told = BAD[kind]
    path = write(tmp_path, text)
    with pytest.raises(SourceError, match=told) as caught:
        resolved(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none.csv: cannot be read: no such file"):
        read_map(tmp_path / "none.csv", BREAST)
    (tmp_path / "map.csv").write_bytes(b"\xff\xfe\0")
    with pytest.raises(SourceError, match=r"map.csv: cannot be read: it is not UTF-8"):
        read_map(tmp_path / "map.csv", BREAST)


def test_an_id_that_several_images_bear_is_refused_unless_a_source_is_it(tmp_path: Path) -> None:
    twins = (Record("a/1.png", "a/1.png", (0,)), Record("b/1.png", "b/1.png", (1,)), Record("1.jpg", "1.jpg", (1,)))
    line = r"map.csv: train\[0\] 1.png: matches 2 images, such as a/1.png and b/1.png$"
    with pytest.raises(SourceError, match=line):
        resolved(write(tmp_path, HEAD + "train,0,1.png\n"), twins)
    with pytest.raises(SourceError, match=r"train\[0\] 1: matches 3 images, "):
        resolved(write(tmp_path, HEAD + "train,0,1\n"), twins)
    found = resolved(write(tmp_path, HEAD + "train,0,b/1.png\ntrain,1,1.jpg\n"), twins)
    assert [row.source for row in found.rows["train"]] == ["b/1.png", "1.jpg"]


def test_a_part_of_the_source_may_lack_ids(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + "train,0,benign (1)\nval,0,x\n")
    found = resolved(path, allow_partial=True)
    assert [row.source for row in (*found.rows["train"], *found.rows["val"])] == ["benign/benign (1).png", "x"]
