"""mmtk export --to vertex: PNG files, and the files by which Google's services import them."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace

import pytest
from jsonschema import ValidationError, validate

from mmtk import store
from mmtk.errors import ArgumentError, StoreError
from tests.commands import invoke
from tests.small_stores import MULTILABEL, digests, write_small_store

PLACE = "gs://my-bucket/mmtk"
TEXT = {"type": "string"}
LABELS = {"type": "object", "additionalProperties": TEXT}
ANNOTATION = {
    "type": "object", "properties": {"displayName": TEXT, "annotationResourceLabels": LABELS},
    "additionalProperties": False,
}
ITEM = {"imageGcsUri": TEXT, "dataItemResourceLabels": LABELS}
# what image_classification_single_label_io_format_1.0.0 and that of multi_label ask for, as JSON schema; Google's leave
# other properties open, and ours allow none, so that a misspelt name is found
SINGLE = {
    "type": "object", "required": ["imageGcsUri"], "properties": ITEM | {"classificationAnnotation": ANNOTATION},
    "additionalProperties": False,
}
MULTI = {
    "type": "object", "required": ["imageGcsUri"],
    "properties": ITEM | {"classificationAnnotations": {"type": "array", "items": ANNOTATION}},
    "additionalProperties": False,
}


def open_with(tmp_path, names, counts=(7, 3, 4), **kind):
    """A store whose classes have these names."""
    path = write_small_store(tmp_path / f"{kind.get('flag', 'breastmnist')}_28.h5", counts, size=28, **kind)
    opened = store.open(path)
    arrays = {split.name: (split.images[:], split.labels, split.records) for split in opened.splits}
    return store.open(store.write_store(path, replace(opened.info, classes=tuple(names)), arrays))


def lines_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_schema_refuses_what_google_refuses():
    for wrong in ({}, {"imageGcsUri": 1}, {"imageGcsUri": "a", "classificationAnnotations": []},
                  {"imageGcsUri": "a", "dataItemResourceLabels": {"ml_use": 1}}):
        with pytest.raises(ValidationError):
            validate(wrong, SINGLE)


def test_images_of_one_label(tmp_path):
    names = ("malignant", "normal, benign", "Größe \"1\"")
    opened = open_with(tmp_path, names, task="multi-class", classes=3, channels=3)
    out = tmp_path / "out"
    listing = store.export_vertex(opened, out, f"{PLACE}/")
    assert listing == out / "breastmnist_vertex.jsonl"
    lines = lines_of(listing)
    rows = [(split, row) for split in opened.splits for row in range(len(split))]
    for line, (split, row) in zip(lines, rows, strict=True):
        validate(line, SINGLE)
        assert line["classificationAnnotation"] == {"displayName": names[split.labels[row, 0]]}
        use = {"train": "training", "val": "validation", "test": "test"}[split.name]
        assert line["dataItemResourceLabels"] == {"aiplatform.googleapis.com/ml_use": use}
    files = {f"{PLACE}/{path.relative_to(out)}" for path in (out / "breastmnist").iterdir()}
    assert {line["imageGcsUri"] for line in lines} == files
    with (out / "breastmnist_automl.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.reader(file))
    words = ["TRAIN"] * 7 + ["VALIDATION"] * 3 + ["TEST"] * 4
    assert table == [
        [word, line["imageGcsUri"], line["classificationAnnotation"]["displayName"]]
        for word, line in zip(words, lines, strict=True)
    ]


def test_the_images_are_those_of_the_png_export(tmp_path):
    opened = open_with(tmp_path, ("a", "b"))
    store.export_vertex(opened, tmp_path / "one", PLACE)
    store.export_png(opened, tmp_path / "other")
    assert digests(tmp_path / "one" / "breastmnist") == digests(tmp_path / "other" / "breastmnist")
    assert (tmp_path / "one/breastmnist.csv").read_bytes() == (tmp_path / "other/breastmnist.csv").read_bytes()


def test_images_of_several_labels_or_none(tmp_path):
    opened = open_with(tmp_path, ("mass", "hernia"), (20, 6, 9), flag="chestmnist", task=MULTILABEL)
    labels = [row for split in opened.splits for row in split.labels.tolist()]
    assert {tuple(row) for row in labels} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    listing = store.export_vertex(opened, tmp_path, PLACE)
    table = (tmp_path / "chestmnist_automl.csv").read_text().splitlines()
    for line, row, record in zip(lines_of(listing), labels, table, strict=True):
        validate(line, MULTI)
        told = [one["displayName"] for one in line["classificationAnnotations"]]
        assert told == ([name for name, value in zip(("mass", "hernia"), row, strict=True) if value]
                        or ["None_of_the_above"])
        assert record.split(",")[1:] == [line["imageGcsUri"], *told]


@pytest.mark.parametrize("prefix", [
    "", "my-bucket", "s3://my-bucket/a", "gs:/my-bucket/a", "gs://", "gs://a/b", "gs://My-Bucket/a", "gs://my bucket",
    "gs://my-bucket//a", "gs://my-bucket/a//", "gs://my-bucket/../a", "gs://my-bucket/a*", "gs://my-bucket/a\nb",
    "gs://my-bucket/a#1",
])
def test_a_prefix_that_is_no_place_in_a_bucket(tmp_path, prefix):
    opened = open_with(tmp_path, ("a", "b"))
    with pytest.raises(ArgumentError, match=r"prefix: .*gs://bucket or gs://bucket/path"):
        store.export_vertex(opened, tmp_path / "out", prefix)
    assert not (tmp_path / "out").exists()


def test_a_bucket_alone_and_a_path_with_spaces(tmp_path):
    opened = open_with(tmp_path, ("a", "b"))
    for number, place in enumerate(("gs://my-bucket", "gs://my.bucket-1/my folder/ä")):
        line = lines_of(store.export_vertex(opened, tmp_path / str(number), place))[0]
        assert re.fullmatch(rf"{place}/breastmnist/train0_[01]\.png", line["imageGcsUri"])


@pytest.mark.parametrize(("names", "kind", "told"), [
    (("a", "b" * 129), {}, "longer than 128 characters"),
    (("a", "A"), {}, "class name a occurs twice"),
    (("a", "none_of_the_above"), {"task": MULTILABEL}, "reserved for images without a label"),
    (("a", "b"), {"ndim": 3}, "holds volumes"),
])
def test_what_the_service_could_not_import(tmp_path, names, kind, told):
    opened = open_with(tmp_path, names, **kind)
    with pytest.raises(StoreError, match=told):
        store.export_vertex(opened, tmp_path / "out", PLACE)
    assert not (tmp_path / "out").exists()


def test_a_class_may_be_none_of_the_above_where_each_image_has_one(tmp_path):
    store.export_vertex(open_with(tmp_path, ("a", "none_of_the_above")), tmp_path / "out", PLACE)


def test_equal_files_stay_and_others_are_replaced_only_by_force(tmp_path):
    path, out = open_with(tmp_path, ("a", "b")).path, tmp_path / "out"
    command = ("export", path, "--to", "vertex", "--out", out, "--prefix")
    assert "train 7, val 3, test 4" in invoke(*command, PLACE).output
    before = {one: one.stat().st_ino for one in (out / "breastmnist").iterdir()}
    invoke(*command, PLACE)
    with pytest.raises(StoreError, match="exists with other content; use --force"):
        invoke(*command, "gs://another")
    assert PLACE in (out / "breastmnist_vertex.jsonl").read_text()
    invoke(*command, "gs://another", "--force")
    assert {one: one.stat().st_ino for one in (out / "breastmnist").iterdir()} == before
    assert PLACE not in (out / "breastmnist_vertex.jsonl").read_text() + (out / "breastmnist_automl.csv").read_text()
    assert sorted(one.name for one in out.iterdir()) == [
        "breastmnist", "breastmnist.csv", "breastmnist_automl.csv", "breastmnist_vertex.jsonl",
    ]


def test_the_prefix_has_to_be_given(tmp_path):
    path = open_with(tmp_path, ("a", "b")).path
    with pytest.raises(ArgumentError, match=r"--to vertex: .*--prefix gs://bucket/path"):
        invoke("export", path, "--to", "vertex", "--out", tmp_path / "out")
