"""Somebody's own data by a dataset file: built as it says, by subject, and refused in one line where it is wrong."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import mmtk
from mmtk import imaging, store
from mmtk.builder import build
from mmtk.datasets.base import SPLITS, Dataset, Record, Scan, Task
from mmtk.datasets.own import read_dataset
from mmtk.datasets.own._templates import matches
from mmtk.datasets.splits import Shares
from mmtk.datasets.steps import CenterCrop, Colour, Grey, Resize
from mmtk.errors import ArgumentError, MmtkError, SourceError, StoreError
from tests.commands import invoke, run_mmtk
from tests.own_data import TABLE, draw_table, drawing, rows, toml, write


def built(file: Path, source: Path, out: Path, **options) -> store.Store:
    (result,) = build(read_dataset(file), sources=source, out=out, **options)
    return store.open(result.path)


def sources(split: store.Split) -> list[str]:
    return [name.decode() for name in split.records["source"]]


# ------------------------------------------------------------------ what is built


def test_a_table_becomes_a_store_by_one_command_and_every_fact_is_in_it(tmp_path):
    file = toml(tmp_path / "lung.toml", table=TABLE, citation="Doe 2026", page="https://example.org/lung")
    invoke("build", file, "--sources", draw_table(tmp_path / "raw"), "--out", tmp_path, "--size", 28, "--size", 64)
    opened = store.open(tmp_path / "lungclinic_64.h5")
    info = opened.info
    assert (info.edition, info.pixels, info.split, info.own) == ("", "own", "own", True)
    assert (info.title, info.licence, info.citation, info.source) == (
        "Lung clinic", "CC BY 4.0", "Doe 2026", "Lung clinic"
    )
    assert (info.classes, info.task, info.page) == (("normal", "sick"), "binary-class", "https://example.org/lung")
    assert opened.counts == {"train": 16, "val": 4, "test": 4}
    kinds = {f"images/{name}": kind for name, _, kind in rows()}
    people = {f"images/{name}": person for name, person, _ in rows()}
    for split in opened.splits:
        assert set(split.labels[:, 0].tolist()) == {0, 1}
        for name, label, record in zip(sources(split), split.labels, split.records, strict=True):
            assert info.classes[label[0]] == kinds[name]
            assert record["subject"].decode() == people[name]
    invoke("audit", tmp_path / "lungclinic_28.h5", "--near", 0)
    assert "0 subjects in several splits" in invoke("audit", tmp_path / "lungclinic_28.h5", "--near", 0).output
    assert "official" not in invoke("info", tmp_path / "lungclinic_28.h5").output


def test_pixels_are_those_of_the_recipe(tmp_path):
    raw = draw_table(tmp_path / "raw")
    for recipe, prepared in (
        ({}, lambda picture: imaging.center_crop(picture)),
        ({"crop": "none", "filter": "bicubic"}, lambda picture: picture),
        ({"steps": [{"step": "grey"}, {"step": "resize", "filter": "nearest"}]}, lambda picture: picture),
    ):
        opened = built(toml(tmp_path / "a.toml", table=TABLE, recipe=recipe), raw, tmp_path / "out", force=True)
        steps = recipe.get("steps", [recipe])
        for name, image in zip(sources(opened.test), opened.test.images, strict=True):
            picture = prepared(cv2.imread(str(raw / name), cv2.IMREAD_GRAYSCALE))
            wanted = imaging.resize(picture, (28, 28), filter=steps[-1].get("filter", "bilinear"))
            np.testing.assert_array_equal(image, wanted)


def test_colour_is_one_line(tmp_path):
    for number, (name, _, kind) in enumerate(rows()):
        grey = drawing(number, kind == "sick")
        write(tmp_path / "raw" / kind / name, np.dstack([grey, grey // 2, grey // 4]))
    file = toml(tmp_path / "a.toml", images={"files": "{class}/*.png"}, recipe={"colour": "rgb"})
    opened = built(file, tmp_path / "raw", tmp_path)
    assert opened.info.channels == 3
    assert (opened.train.images[..., 0] < opened.train.images[..., 2]).mean() > 0.9  # red is the last of OpenCV's


@pytest.mark.parametrize("val", [0, 25])
def test_folders_name_split_class_and_subject(tmp_path, val):
    for number, (name, person, kind) in enumerate(rows(patients=24)):
        part = "test" if number % 8 > 3 else "Training" if val or number % 16 else "valid"
        write(tmp_path / "raw" / part / f"{kind}_x" / f"{person}-{name}", drawing(number, kind == "sick"))
    (tmp_path / "raw" / ".DS_Store").write_bytes(b"x")
    images = {
        "files": "{split}/{class}/{subject}-*", "names": {"normal_x": "normal", "sick_x": "sick"},
    }
    split = {"val": val} if val else {}
    if not val:  # every class in val
        for kind in ("normal", "sick"):
            write(tmp_path / "raw" / "valid" / f"{kind}_x" / f"V{kind}-1.png", drawing(99, kind == "sick"))
    for path in (tmp_path / "raw").rglob("P*"):  # the eighth image of a patient's pair would stand in another part
        person = path.name[:3]
        first = sorted((tmp_path / "raw").rglob(f"{person}-*"))[0]
        path.rename(first.parent / path.name)
    opened = built(toml(tmp_path / "a.toml", images=images, split=split), tmp_path / "raw", tmp_path)
    for part in opened.splits:
        for name, record in zip(sources(part), part.records, strict=True):
            folder, _, file = name.split("/")
            given = {"Training": "train", "valid": "val", "test": "test"}[folder]
            assert part.name == given or (val and given == "train" and part.name == "val")
            assert record["subject"].decode() == file.partition("-")[0]
    people = [set(part.records["subject"]) for part in opened.splits]
    assert sum(map(len, people)) == len(set().union(*people))


def test_a_subject_by_a_pattern_of_the_path(tmp_path):
    for number, (name, person, kind) in enumerate(rows()):
        write(tmp_path / "raw" / kind / f"{person}_{name}", drawing(number, kind == "sick"))
    images = {"files": ["{class}/*.png", "{class}/*.jpg"], "subject": "/(P[0-9]+)_"}
    opened = built(toml(tmp_path / "a.toml", images=images), tmp_path / "raw", tmp_path)
    assert {p.decode() for part in opened.splits for p in part.records["subject"]} == {p for _, p, _ in rows()}


def test_several_labels_are_columns_of_0_and_1(tmp_path):
    lines = [(name, person, str(int(kind == "sick")), str(n % 2)) for n, (name, person, kind) in enumerate(rows())]
    raw = draw_table(tmp_path / "raw", lines, "file,patient,sick,odd")
    table = {**TABLE, "label": None, "labels": ["sick", "odd"]}
    opened = built(toml(tmp_path / "a.toml", task="multi-label", classes=None, table=table), raw, tmp_path)
    assert (opened.info.task, opened.info.classes) == (Task.MULTILABEL, ("sick", "odd"))
    wanted = {f"images/{name}": [int(a), int(b)] for name, _, a, b in lines}
    for part in opened.splits:
        assert part.labels.tolist() == [wanted[name] for name in sources(part)]


def test_names_of_the_source_stand_for_classes(tmp_path):
    lines = [(name, person, {"normal": "0", "sick": "1"}[kind]) for name, person, kind in rows()]
    raw = draw_table(tmp_path / "raw", lines)
    table = {**TABLE, "names": {"0": "normal", "1": "sick"}, "prefix": "images/", "suffix": ""}
    opened = built(toml(tmp_path / "a.toml", table=table), raw, tmp_path)
    kinds = {f"images/{name}": kind for name, _, kind in rows()}
    assert [opened.info.classes[n] for n in opened.train.labels[:, 0]] == [kinds[s] for s in sources(opened.train)]


def test_a_cell_may_hold_several_labels(tmp_path):
    cells = ["A", "A|B", "none", " B | A ", "B", "none"]
    lines = [(name, person, cells[n % 6]) for n, (name, person, _) in enumerate(rows())]
    table = {**TABLE, "subject": None, "separator": "|", "names": {"none": ""}}
    file = toml(tmp_path / "a.toml", task="multi-label", classes=["A", "B"], table=table)
    raw = draw_table(tmp_path / "raw", lines)
    opened = built(file, raw, tmp_path)
    wanted = {f"images/{name}": ["A" in cell, "B" in cell] for name, _, cell in lines}
    for part in opened.splits:
        assert part.labels.tolist() == [wanted[name] for name in sources(part)]
    for cell, message in (
        ("A|C", "'C' is not a class; expected one of A, B"), ("", "has no class"), ("A|", "has no class"),
        ("none|A", "column label: 'none.A' contains classes beside 'none'"),
    ):
        draw_table(raw, [*lines[:-1], (*lines[-1][:2], cell)])
        with pytest.raises(SourceError, match=message):
            built(file, raw, tmp_path / "out")


@pytest.mark.parametrize(("exclude", "surplus"), [("*_mask*", 0), (["**/*_mask.png", "*_mask_1.png"], 0), ([], 2)])
def test_what_lies_among_the_images_can_be_excluded(tmp_path, exclude, surplus):
    for number, (name, _, kind) in enumerate(rows()):
        write(tmp_path / "raw" / kind / name, drawing(number, kind == "sick"))
    for name in ("im00_0_mask.png", "im00_0_mask_1.png"):
        write(tmp_path / "raw" / "normal" / name, drawing(99, False))
    images = {"files": "{class}/im??_?.png", "exclude": exclude}
    (result,) = build(read_dataset(toml(tmp_path / "a.toml", images=images)), sources=tmp_path / "raw", out=tmp_path)
    assert sum(result.counts.values()) == 24
    assert sum(finding.kind == "surplus" for finding in result.findings) == surplus
    if exclude:
        file = toml(tmp_path / "b.toml", images={**images, "files": "{class}/*"})
        assert sum(built(file, tmp_path / "raw", tmp_path / "b").counts.values()) == 24


@pytest.mark.parametrize(("start", "strip"), [
    ("C:\\data\\images\\", "C:\\data\\"), ("/home/x/images/", "/home/x/"),
    ("https://x.org/images/", "https://x.org/"), (".\\images\\", ""),
])
def test_paths_of_another_machine_start_with_what_can_be_left_out(tmp_path, start, strip):
    raw = draw_table(tmp_path / "raw", [(start + name, person, kind) for name, person, kind in rows()])
    table = {**TABLE, "prefix": ""}
    if strip:
        for prefix in ("", "images/"):
            with pytest.raises(SourceError, match=r"is not a path inside the source; set table\.strip"):
                built(toml(tmp_path / "a.toml", table={**table, "prefix": prefix}), raw, tmp_path)
        with pytest.raises(SourceError, match=r"line 2, column file: .* does not start with table\.strip, D:/"):
            built(toml(tmp_path / "a.toml", table={**table, "strip": "D:\\"}), raw, tmp_path)
    assert built(toml(tmp_path / "a.toml", table={**table, "strip": strip}), raw, tmp_path).counts["train"] == 16


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_more_than_256_values_by_a_window(tmp_path, bits, ending):
    pictures, scale = {}, 1 if bits == 8 else 16
    for number, (name, _, kind) in enumerate(rows()):
        picture = drawing(number, kind == "sick").astype(f"uint{bits}") * np.array(scale, f"uint{bits}")
        path = f"{kind}/{Path(name).stem}.{ending}"
        flags = [cv2.IMWRITE_TIFF_COMPRESSION, 1] if ending == "tif" else []
        (tmp_path / "raw" / kind).mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(tmp_path / "raw" / path), picture, flags)
        pictures[path] = picture
    for window in ({"level": 100 * scale, "width": 120 * scale}, {"percentiles": [1, 99]}):
        file = toml(tmp_path / "a.toml", images={"files": "{class}/*"}, window=window)
        opened = built(file, tmp_path / "raw", tmp_path / "out", force=True)
        for name, image in zip(sources(opened.train), opened.train.images, strict=True):
            values = pictures[name].astype(np.float64)
            low, high = (40 * scale, 160 * scale) if "level" in window else np.percentile(values, [1, 99])
            grey = np.floor(np.clip((values - low) / (high - low), 0, 1) * 255 + 0.5).astype(np.uint8)
            np.testing.assert_array_equal(image, imaging.resize(imaging.center_crop(grey), (28, 28)))


def test_the_same_file_gives_the_same_bytes_and_is_left_alone(tmp_path):
    raw, file = draw_table(tmp_path / "raw"), toml(tmp_path / "a.toml", table=TABLE)
    first, second = (built(file, raw, tmp_path / name).path.read_bytes() for name in "ab")
    assert first == second
    assert build(read_dataset(file), sources=raw, out=tmp_path / "a")[0].reused
    changes = {"split": {"seed": 1}}, {"licence": "CC0"}, {"title": "Lungs"}, {"classes": ["sick", "normal"]}
    for change in changes:
        other = toml(tmp_path / "b.toml", **{"table": TABLE, **change})
        with pytest.raises(MmtkError, match="another plan"):
            build(read_dataset(other), sources=raw, out=tmp_path / "a")
    write(raw / "images" / "im00_0.png", drawing(99, True))
    with pytest.raises(MmtkError, match="another plan"):
        build(read_dataset(file), sources=raw, out=tmp_path / "a")


@pytest.mark.parametrize(("key", "value"), [
    ("licence", "CC0"), ("title", "Other"), ("modality", "CT"), ("citation", "Roe"), ("page", "https://x.org"),
    ("provider", "Us"), ("task", "ordinal-regression"), ("classes", ["healthy", "sick"]),
])
def test_a_fact_that_is_mended_comes_into_the_store(tmp_path, key, value):
    raw, out = draw_table(tmp_path / "raw"), tmp_path / "out"
    table = {**TABLE, "names": {"normal": "healthy"}} if key == "classes" else TABLE
    built(toml(tmp_path / "a.toml", table=TABLE), raw, out)
    other = toml(tmp_path / "b.toml", **{"table": table, key: value})
    with pytest.raises(MmtkError, match="another plan; use --force"):
        built(other, raw, out)
    info = built(other, raw, out, force=True).info
    assert getattr(info, {"provider": "source"}.get(key, key)) == (tuple(value) if key == "classes" else value)


def draw_stored(raw, seed):
    """Images that are as long whatever they show."""
    for number, (name, _, kind) in enumerate(rows()):
        path = raw / kind / f"{Path(name).stem}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), drawing(number + seed, kind == "sick"), [cv2.IMWRITE_TIFF_COMPRESSION, 1])
    return raw


@pytest.mark.parametrize("how", ["written", "moved", "packed"])
def test_a_store_of_files_that_have_changed_is_never_left_alone(tmp_path, how):
    file, raw = toml(tmp_path / "a.toml", images={"files": "{class}/*"}), draw_stored(tmp_path / "raw", 0)
    source = raw
    if how == "packed":
        source = Path(shutil.make_archive(str(tmp_path / "raw"), "zip", raw))
    before = built(file, source, tmp_path).train.images[:]
    assert "unchanged" in invoke("build", file, "--sources", source, "--out", tmp_path).output
    if how == "moved":  # files that say they are old
        other = draw_stored(tmp_path / "other", 100)
        for path in other.rglob("*.tif"):
            os.utime(path, (0, 0))
            path.replace(raw / path.relative_to(other))
    else:
        draw_stored(raw, 100)
        if how == "packed":
            shutil.make_archive(str(tmp_path / "raw"), "zip", raw)
    with pytest.raises(StoreError, match=r"28.h5: is out of date: \S*tif changed after .*--force"):
        built(file, source, tmp_path)
    assert not np.array_equal(built(file, source, tmp_path, force=True).train.images[:], before)
    built(file, source, tmp_path)


def test_what_a_killed_build_read_before_files_changed_is_not_gone_on_with(tmp_path, monkeypatch):
    file, raw = toml(tmp_path / "a.toml", images={"files": "{class}/*"}), draw_stored(tmp_path / "raw", 0)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mmtk.builder._build._finish", killed)
        with pytest.raises(KeyboardInterrupt):
            built(file, raw, tmp_path / "out")
    draw_stored(raw, 100)
    images = built(file, raw, tmp_path / "out").train.images[:]
    np.testing.assert_array_equal(images, built(file, raw, tmp_path / "anew").train.images[:])


def test_missing_images_stop_the_build_or_mark_the_store(tmp_path):
    raw, file = draw_table(tmp_path / "raw"), toml(tmp_path / "a.toml", table=TABLE)
    (raw / "images" / "im03_0.png").unlink()
    with pytest.raises(SourceError, match=r"images/im03_0.png is missing; .*--allow-partial"):
        built(file, raw, tmp_path)
    assert "1 missing" not in invoke("sources", file, "--sources", raw, code=1).output
    opened = built(file, raw, tmp_path, allow_partial=True)
    assert opened.info.partial
    assert sum(opened.counts.values()) == 23


def test_commands_that_know_a_flag_know_a_dataset_file(tmp_path):
    raw, file = draw_table(tmp_path / "raw"), toml(tmp_path / "a.toml", table=TABLE)
    assert json.loads(invoke("info", file, "--json").output)["flag"] == "lungclinic"
    assert "24 of 24, complete" in invoke("sources", file, "--sources", raw).output
    assert "train 16, val 4, test 4" in invoke("build", file, "--sources", raw, "--plan-only").output
    assert mmtk.build(mmtk.read_dataset(file), sources=raw, out=tmp_path)[0].counts["train"] == 16


# ------------------------------------------------------------------ what is refused

_KEYS = {
    "unknown key": ({"colour": "rgb"}, r"a\.toml: unknown key colour; expected one of flag"),
    "unknown key of a table": ({"table": {**TABLE, "lable": "x"}}, r"table: .*key lable; did you mean label\?"),
    "taken flag": ({"flag": "breastmnist"}, "flag: breastmnist is taken by BreastMN"),
    "taken alias": ({"flag": "organmnist_axial"}, "flag: organmnist_axial is taken by"),
    "malformed flag": ({"flag": "my-lung"}, "flag 'my-lung': is not a letter followed by"),
    "flag with a path": ({"flag": "../lung"}, "is not a letter followed by"),
    "no title": ({"title": None}, "field title is missing"),
    "text of two lines": ({"title": "a\\nb"}, None),
    "unknown task": ({"task": "regression"}, "task: found .regression., expected one of multi-label, binary-class"),
    "doubled class": ({"classes": ["a", "a"]}, "classes: contains a twice"),
    "three classes of two": ({"classes": ["a", "b", "c"]}, "found 3, expected 2 for a binary-class task"),
    "blank class": ({"classes": ["a", " "]}, "classes: found ' ', expected names on a single line"),
    "no images": ({"table": None}, r"\[images\]: is missing"),
    "table and images": ({"images": {"files": "*"}}, r"images: cannot be combined with \[table\]"),
    "label and labels": ({"table": {**TABLE, "labels": ["a"]}}, "task"),
    "labels of one class": ({"table": {**TABLE, "label": None, "labels": ["a", "b"]}}, "use table.label"),
    "no label": ({"table": {**TABLE, "label": None}}, "table.label: is missing, as is table.labels"),
    "name of no class": ({"table": {**TABLE, "names": {"0": "ill"}}}, "table.names.0: ill is not a class"),
    "shares of 90": ({"split": {"shares": [70, 10, 10]}}, "split.shares: .* percentages above 0 that add up to 100"),
    "shares without val": ({"split": {"shares": [80, 0, 20]}}, "split.shares: .* expected three percentages above 0"),
    "two shares": ({"split": {"shares": [80, 20]}}, r"split\.shares: .*list of length 3"),
    "val without a split": ({"split": {"val": 10}}, "split.val: needs a source"),
    "half a window": ({"window": {"level": 40}}, "window: needs both level and width"),
    "empty window": ({"window": {}}, "window: has no settings"),
    "two windows": ({"window": {"level": 1, "width": 2, "percentiles": [1, 99]}}, "window: has several settings"),
    "width of 0": ({"window": {"level": 1, "width": 0}}, "window.width: found 0 at level 1, expected a width above 0"),
    "percentiles reversed": ({"window": {"percentiles": [99, 1]}}, "window.percentiles: .* expected two from 0 to 100"),
    "window in colour": ({"window": {"level": 1, "width": 2}, "recipe": {"colour": "rgb"}}, "recipe.colour"),
    "unknown filter": ({"recipe": {"filter": "cubic"}}, "recipe.filter: found cubic, expected one of .*bilinear"),
    "unknown step": ({"recipe": {"steps": [{"step": "sharpen"}]}}, "recipe.steps: has the invalid step"),
    "steps in no order": (
        {"recipe": {"steps": [{"step": "grey"}, {"step": "resize"}, {"step": "center_crop"}]}},
        "step center_crop gets a grey image of the store's size",
    ),
    "separator of one class": ({"table": {**TABLE, "separator": "|"}}, 'table.separator is for "multi-label"'),
    "separator beside labels": (
        {"task": "multi-label", "table": {**TABLE, "label": None, "labels": ["normal", "sick"], "separator": "|"}},
        "table.separator: goes with table.label",
    ),
    "separator without label": (
        {"task": "multi-label", "table": {**TABLE, "label": None, "separator": "|"}}, "table.label: is missing"
    ),
    "none of the classes": ({"table": {**TABLE, "names": {"0": ""}}}, "table.names.0: is empty"),
    "exclude of a place": ({"table": None, "images": {"exclude": "{class}/*"}}, r"images.exclude: contains \{class\}"),
    "exclude outside": ({"table": None, "images": {"exclude": "../*"}}, "images.exclude: .* is not a pattern of paths"),
    "steps and a line": ({"recipe": {"steps": [{"step": "grey"}], "crop": "none"}}, "recipe.steps: cannot be combined"),
    "text for a number": ({"split": {"seed": "a"}}, r"split\.seed: found text, expected a whole number"),
}


@pytest.mark.parametrize("name", _KEYS)
def test_a_wrong_key_is_one_line_with_file_and_key(tmp_path, name):
    values, message = _KEYS[name]
    file = toml(tmp_path / "a.toml", **{"table": TABLE, **values})
    if message is None:
        file.write_text(file.read_text().replace("\\\\n", "\\n"))
        message = "title: .* expected a single line of text"
    with pytest.raises(ArgumentError, match=message) as caught:
        read_dataset(file)
    assert str(caught.value).startswith(str(file))


def test_the_command_says_it_in_one_line_and_ends_with_2(tmp_path):
    file = toml(tmp_path / "a.toml", table={**TABLE, "lable": "x"})
    done = run_mmtk("build", file, "--sources", tmp_path, "--out", tmp_path, code=2)
    assert done.stderr.startswith(f"mmtk: error: {file}: table: unknown key lable; did you mean label?")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("text", "message"), [
    ("flag = ", "is not a dataset file as TOML"), ("\xff", None), ("a" * 0, "field flag is missing"),
])
def test_a_file_that_is_no_toml(tmp_path, text, message):
    file = tmp_path / "a.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ArgumentError, match=message or "not encoded as UTF-8"):
        read_dataset(file)
    with pytest.raises(ArgumentError, match="no such file"):
        read_dataset(tmp_path / "b.toml")


_FIRST = rows()[0]
_LINES = {
    "label not in classes": ((_FIRST[0], "P00", "ill"), "column label: 'ill' is not a class"),
    "blank label": ((_FIRST[0], "P00", ""), "has no class; .*; fill it in, or leave the row out"),
    "blank subject": ((_FIRST[0], " ", "normal"), "column patient: has no subject; fill it in"),
    "a file twice": ((rows()[1][0], "P00", "normal"), "lists images/im00_1.png again, first on"),
    "a file with two labels": ((rows()[1][0], "P00", "sick"), "again with another label, first on .*line"),
    "a path outside": (("../../a.png", "P00", "normal"), "column file: .* is not a path inside the source"),
    "no path": (("", "P00", "normal"), "column file: has no path"),
}


@pytest.mark.parametrize("name", _LINES)
def test_a_wrong_row_is_one_line_with_file_and_row(tmp_path, name):
    line, message = _LINES[name]
    raw = draw_table(tmp_path / "raw", [line, *rows()[1:]])
    with pytest.raises(SourceError, match=message):
        built(toml(tmp_path / "a.toml", table=TABLE), raw, tmp_path)
    assert not list(tmp_path.glob("*.h5"))


_TEXTS = {
    "a column twice": (lambda text: text.replace("patient,label", "label,label"), "several columns label"),
    "too many cells": (lambda text: text.replace("sick", "sick,very", 1), "line 4: found 4 cells, expected 3;"),
    "capital letters": (lambda text: text.replace("im", "IM"), "the file is named images/im00_0.png"),
    "other files": (lambda text: text.replace("im", "x"), "column file: lists only files that do not exist"),
    "a spreadsheet": (lambda text: "PK\3\4" + text, "is a spreadsheet or a zip, not a text file; save it as CSV"),
}


@pytest.mark.parametrize("name", _TEXTS)
def test_a_wrong_table_is_one_line_with_its_file(tmp_path, name):
    change, message = _TEXTS[name]
    raw = draw_table(tmp_path / "raw")
    (raw / "labels.csv").write_text(change((raw / "labels.csv").read_text()))
    with pytest.raises(SourceError, match=message) as caught:
        built(toml(tmp_path / "a.toml", table={**TABLE, "subject": None}), raw, tmp_path, allow_partial=True)
    assert str(caught.value).startswith(str(raw / "labels.csv"))


def test_a_table_that_is_not_there_or_a_spreadsheet(tmp_path):
    raw = draw_table(tmp_path / "raw")
    (raw / "labels.csv").rename(raw / "labels.xlsx")
    for file, found in (
        ("labels.csv", "does not contain the table labels.csv, only labels.xlsx"), ("labels.xlsx", "as a spreadsheet"),
    ):
        with pytest.raises(SourceError, match=f"{found}; save it as CSV"):
            built(toml(tmp_path / "a.toml", table={**TABLE, "file": file}), raw, tmp_path)


def test_a_table_as_spreadsheets_write_it(tmp_path):
    raw = draw_table(tmp_path / "raw")
    text = (raw / "labels.csv").read_text().replace("file,patient", " file , patient").replace(",", ";")
    (raw / "labels.csv").write_bytes((text + ";;\n\n;;\n").replace("\n", "\r\n").encode("utf-16"))
    assert built(toml(tmp_path / "a.toml", table=TABLE), raw, tmp_path).counts["train"] == 16


@pytest.mark.parametrize("value", ["", "-1", "2", "0.5", "nan", "u"])
def test_a_label_of_several_is_0_or_1(tmp_path, value):
    lines = [(name, person, "1", value if n == 3 else str(n % 2)) for n, (name, person, _) in enumerate(rows())]
    raw = draw_table(tmp_path / "raw", lines, "file,patient,sick,odd")
    table = {**TABLE, "label": None, "labels": ["sick", "odd"]}
    with pytest.raises(SourceError, match=r"line 5, column odd: found '.*', expected 0 or 1; replace it"):
        built(toml(tmp_path / "a.toml", task="multi-label", classes=None, table=table), raw, tmp_path)


def test_a_subject_in_two_given_splits(tmp_path):
    parts = ["train", "val", "test"]
    lines = [(name, person, kind, parts[n % 3]) for n, (name, person, kind) in enumerate(rows())]
    raw = draw_table(tmp_path / "raw", lines, "file,patient,label,set")
    file = toml(tmp_path / "a.toml", table={**TABLE, "split": "set"})
    with pytest.raises(SourceError, match=r"has subject P00 in two splits: images/im00_0\.png in train"):
        built(file, raw, tmp_path)
    lines = [(*line[:3], "holdout") for line in lines]
    with pytest.raises(SourceError, match="column set: 'holdout' is not a split"):
        built(file, draw_table(raw, lines, "file,patient,label,set"), tmp_path)


def test_a_class_with_no_test_image(tmp_path):
    lines = [(name, person, kind if person == "P01" else "normal") for name, person, kind in rows()]
    raw, file = draw_table(tmp_path / "raw", lines), toml(tmp_path / "a.toml", table=TABLE)
    with pytest.raises(SourceError, match=r"has no .* image of class sick; change the shares"):
        built(file, raw, tmp_path)
    assert built(file, raw, tmp_path, allow_partial=True).info.partial


def test_a_window_that_is_lacking_or_fits_nothing(tmp_path):
    for number, (name, _, kind) in enumerate(rows()):
        write(tmp_path / "raw" / kind / name, drawing(number, kind == "sick").astype(np.uint16) * 16)
    images = {"files": "{class}/*"}
    with pytest.raises(MmtkError, match=r"is a 16-bit PNG, which needs a window .*; add \[window\]"):
        built(toml(tmp_path / "a.toml", images=images), tmp_path / "raw", tmp_path)
    file = toml(tmp_path / "a.toml", images=images, window={"level": 50_000, "width": 400})
    with pytest.raises(MmtkError, match="has a single grey level after windowing"):
        built(file, tmp_path / "raw", tmp_path)


@pytest.mark.parametrize("window", [None, {"level": 100, "width": 200}])
def test_a_tiff_of_several_pages_is_not_its_first_page(tmp_path, window):
    for number, (name, _, kind) in enumerate(rows()):
        path = tmp_path / "raw" / kind / f"{name}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawing(number, kind == "sick")).save(path)
    Image.open(path).save(path, save_all=True, append_images=[Image.fromarray(drawing(99, True))])
    file = toml(tmp_path / "a.toml", images={"files": "{class}/*"}, **({"window": window} if window else {}))
    with pytest.raises(MmtkError, match="is a TIFF with several pages; save the page"):
        built(file, tmp_path / "raw", tmp_path)


@pytest.mark.parametrize("command", ["build", "build --plan-only", "sources"])
def test_two_files_of_one_flag_are_refused_and_one_file_twice_is_one(tmp_path, command):
    raw = draw_table(tmp_path / "raw")
    file, other = toml(tmp_path / "a.toml", table=TABLE), toml(tmp_path / "b.toml", table=TABLE, title="Other")
    name, *options = command.split()
    out = ["--out", tmp_path] if name == "build" else []
    error = invoke(name, file, other, "--sources", raw, *out, *options, code=1).exception
    assert str(error) == "flag lungclinic: is used by two datasets; give one of them another flag"
    invoke(name, file, file, "--sources", raw, *out, *options)


def test_own_data_cannot_be_built_under_a_flag_that_is_known(tmp_path):
    raw, dataset = draw_table(tmp_path / "raw"), read_dataset(toml(tmp_path / "a.toml", table=TABLE))
    with pytest.raises(ArgumentError, match="flag breastmnist: is taken by BreastMNIST"):
        build(replace(dataset, flag="breastmnist"), sources=raw, out=tmp_path)


def test_several_files_in_one_command(tmp_path):
    raw = draw_table(tmp_path / "raw")
    files = [toml(tmp_path / f"{flag}.toml", table=TABLE, flag=flag) for flag in ("one", "two")]
    invoke("build", *files, "--sources", raw, "--out", tmp_path)
    assert all((tmp_path / f"{flag}_28.h5").is_file() for flag in ("one", "two"))


def test_a_name_that_is_no_dataset_tells_of_dataset_files(tmp_path):
    for name, message in (
        (tmp_path, f"write a dataset file for it with mmtk draft {tmp_path}"),
        ("skinlesions", "synapsemnist3d, or a dataset file (.toml) as written by mmtk draft DIR"),
    ):
        done = run_mmtk("build", name, "--sources", tmp_path, "--out", tmp_path, code=2)
        assert done.stderr.endswith(f"{message}\n")
        assert done.stderr.count("\n") == 1


def test_own_data_has_no_editions_and_no_choices(tmp_path):
    raw, dataset = draw_table(tmp_path / "raw"), read_dataset(toml(tmp_path / "a.toml", table=TABLE))
    for choice, message in (
        ({"edition": "2020"}, "edition: lungclinic was never published"),
        ({"pixels": "official"}, "pixels: found .?official.?, expected own"),
        ({"split": "grouped"}, "split: found grouped, expected own"),
    ):
        with pytest.raises(ArgumentError, match=message):
            build(dataset, sources=raw, out=tmp_path, **choice)


@pytest.mark.parametrize("option", ["--map", "--match-npz"])
def test_own_data_has_no_published_rows(tmp_path, option):
    raw, file = draw_table(tmp_path / "raw"), toml(tmp_path / "a.toml", table=TABLE)
    invoke("build", file, "--sources", raw, "--out", tmp_path)
    invoke("export", tmp_path / "lungclinic_28.h5", "--to", "npz", "--out", tmp_path)
    rows_of = tmp_path
    if option == "--map":
        rows_of = tmp_path / "map.csv"
        rows_of.write_text("split,index,image_id\ntrain,0,images/im00_0.png\n")
    done = run_mmtk("build", file, "--sources", raw, "--out", tmp_path / "again", option, rows_of, code=2)
    name = option.strip("-").replace("-", "_")
    assert done.stderr == (
        f"mmtk: error: {name}: is only for published datasets, which lungclinic is not; "
        "give its split by a column or by paths in the dataset file\n"
    )


def test_own_data_has_no_phantom(tmp_path):
    done = run_mmtk("phantom", toml(tmp_path / "a.toml", table=TABLE), "--out", tmp_path / "raw", code=2)
    assert done.stderr.startswith("mmtk: error: dataset lungclinic: has no phantom; expected one of pathmnist, ")
    assert "dataset file" not in done.stderr


# ------------------------------------------------------------------ one check of every dataset


LUNG = Dataset(
    flag="lung", title="Lung", modality="X-ray", task=Task.BINARY, classes=("a", "b"), channels=1, counts={},
    source=mmtk.get_dataset("breastmnist").source, recipe=(Grey(), CenterCrop(), Resize()),
    split=Shares(70, 10, 20), scan=lambda listing: Scan(()),
)


def own(**changes) -> Dataset:
    return replace(LUNG, **changes)


@pytest.mark.parametrize(("changes", "message"), [
    ({"flag": "my-lung"}, "flag 'my-lung'"), ({"flag": "Lung"}, "flag 'Lung'"), ({"aliases": ("x y",)}, "flag 'x y'"),
    ({"channels": 3}, "instead of a colour image of the store's size"),
    ({"recipe": (Colour(), CenterCrop(), Resize())}, "instead of a grey image of the store's size"),
    ({"channels": 4}, r"channels: found 4, expected 1 \(grey\) or 3 \(colour\)"),
    ({"recipe": (Grey(), Resize(), CenterCrop())}, "step center_crop gets"),
    ({"classes": ()}, "classes"), ({"classes": ("a",)}, "classes"), ({"classes": ("a", "a")}, "contains a twice"),
    ({"task": Task.MULTICLASS, "classes": tuple(map(str, range(257)))}, "found 257, expected 2 to 256"),
    ({"title": "a\nb"}, "title: .* expected a single line of text"),
])
def test_a_dataset_that_could_not_be_read_again_is_none(changes, message):
    with pytest.raises(ArgumentError, match=message):
        own(**changes)


@pytest.mark.parametrize(("changes", "message"), [
    ({"labels": (0.5,)}, "found label 0.5, expected an integer from 0 to 1"), ({"labels": (300,)}, "found label 300"),
    ({"labels": (-1,)}, "found label -1"), ({"labels": (True,)}, "found label True"),
    ({"labels": (0, 1)}, "found 2 labels, expected 1"),
    ({"part": "valid"}, "found part 'valid', expected train, val, test or none"),
    ({"source": ""}, "has no name"), ({"source": "im01_0.png"}, "occurs twice"),
])
def test_records_that_no_store_could_keep(tmp_path, changes, message):
    raw = draw_table(tmp_path / "raw")
    records = [Record(name, f"images/{name}", (int(kind == "sick"),), person) for name, person, kind in rows()]
    records[0] = replace(records[0], **changes)
    with pytest.raises(SourceError, match=message):
        build(own(scan=lambda listing: Scan(tuple(records)), source=read_dataset(
            toml(tmp_path / "a.toml", table=TABLE)).source), sources=raw, out=tmp_path)
    assert not list(tmp_path.glob("lung_*"))


# ------------------------------------------------------------------ shares


@given(
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 2)), min_size=3, max_size=120),
    st.tuples(*[st.integers(1, 80)] * 3), st.integers(0, 3),
)
def test_no_subject_crosses_and_every_class_is_everywhere_it_can_be(images, shares, seed):
    records = tuple(Record(f"{n}", f"{n}", (kind,), f"S{person}") for n, (person, kind) in enumerate(images))
    splits = Shares(*shares, seed=seed).assign(records)
    assert splits == Shares(*shares, seed=seed).assign(records)
    assert set(splits) <= set(SPLITS)
    held: dict[str, set[str]] = {}
    for record, split in zip(records, splits, strict=True):
        held.setdefault(record.subject, set()).add(split)
    assert all(len(some) == 1 for some in held.values())


@given(st.lists(st.integers(3, 40), min_size=2, max_size=4), st.integers(0, 5))
def test_subjects_of_one_image_are_cut_exactly(sizes, seed):
    kinds = [kind for kind, size in enumerate(sizes) for _ in range(size)]
    records = tuple(Record(f"{n}", f"{n}", (kind,)) for n, kind in enumerate(kinds))
    splits = Shares(70, 10, 20, seed=seed).assign(records)
    for kind, size in enumerate(sizes):
        counts = [sum(s == split and k == kind for s, k in zip(splits, kinds, strict=True)) for split in SPLITS]
        assert all(counts)
        assert all(abs(n - share * size) < 2 for n, share in zip(counts, (0.7, 0.1, 0.2), strict=True))


@given(st.integers(0, 20))
def test_every_label_of_several_gets_its_shares(seed):
    rng = np.random.default_rng(seed)
    labels = rng.random((400, 3)) < (0.5, 0.2, 0.05)
    records = tuple(Record(f"{n}", f"{n}", tuple(map(int, row)), f"S{n // 2}") for n, row in enumerate(labels))
    splits = np.array(Shares(70, 10, 20, seed=seed).assign(records))
    for column in labels.T:
        part = [np.mean(splits[column] == split) for split in SPLITS]
        np.testing.assert_allclose(part, (0.7, 0.1, 0.2), atol=0.12)
        assert all(part)


def test_paths_fit_templates():
    names = ["a/x.png", "a/b/x.png", "a/b/.DS_Store", "train/a/P1_2.PNG", "c/s/1", "c/s/2"]
    assert [m.name for m in matches("*/*.png", names)] == ["a/x.png"]
    assert [m.name for m in matches("**/x.png", names)] == ["a/x.png", "a/b/x.png"]
    (match,) = matches("{split}/{class}/{subject}_?.png", names)
    assert match.values == {"split": "train", "class": "a", "subject": "P1"}
    assert [m.name for m in matches("c/*/", names)] == ["c/s"]
    assert [m.name for m in matches("{class}/{class}/*", ["a/a/1", "a/b/1"])] == ["a/a/1"]
