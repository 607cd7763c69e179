"""Stores to and from MedMNIST's .npz, the PNG folder of ``medmnist save``, and the montage."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtk import store
from mmtk.compat import export_hub
from mmtk.datasets import get_dataset
from mmtk.datasets.maps import known_rows, official_map
from mmtk.datasets.steps import recipe_to_json
from mmtk.errors import MmtkError, StoreError
from mmtk.store import _import
from tests.small_stores import MULTILABEL, make_arrays, mark_npz, write_small_store

ORDER = [f"{split}_{kind}.npy" for split in store.SPLITS for kind in ("images", "labels")]  # of 2024


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


@settings(max_examples=25)
@given(
    flag=st.sampled_from(["breastmnist", "pathmnist", "chestmnist", "organmnist3d"]), size=st.integers(1, 64),
    data=st.data(),
    counts=st.one_of(st.tuples(*[st.integers(0, 9)] * 3), st.tuples(st.integers(100, 300), st.just(0), st.just(1))),
    flat=st.booleans(), fortran=st.booleans(), kind=st.sampled_from(["u1", "i8", "<u2", ">i4"]),
)
def test_an_npz_comes_back(tmp_path_factory, flag, size, data, counts, flat, fortran, kind):
    size = min(size, 12) if flag.endswith("3d") else size
    folder, arrays = tmp_path_factory.mktemp("npz"), make_arrays(flag, counts, size)
    stored = {name: np.asfortranarray(array) if fortran else array for name, array in arrays.items()}
    for split in store.SPLITS:
        labels = stored[f"{split}_labels"].astype(kind)
        stored[f"{split}_labels"] = labels[:, 0] if flat and labels.shape[1] == 1 else labels
    order = data.draw(st.permutations(list(stored)))
    np.savez_compressed(folder / f"{flag}.npz", **{name: stored[name] for name in order})
    path = store.import_npz(mark_npz(folder / f"{flag}.npz"), folder / "stores")
    assert path.name == f"{flag}_{size}.h5"
    opened = store.open(path)
    for split in opened.splits:
        assert np.array_equal(split.images, arrays[f"{split.name}_images"])
        assert np.array_equal(split.labels, arrays[f"{split.name}_labels"])
    assert store.verify(path) == []
    exported = store.export_npz(opened, folder / "out")
    with np.load(exported) as archive:
        assert [f"{name}.npy" for name in archive.files] == ORDER
        assert all(np.array_equal(archive[name], arrays[name]) for name in arrays)
    again = store.import_npz(exported, folder / "again")
    assert md5(store.export_npz(store.open(again), folder / "more")) == md5(exported)


@pytest.mark.parametrize(("flag", "edition"), [
    ("breastmnist", "2020"), ("pneumoniamnist", "2020"), ("retinamnist", "2020"), ("organamnist", "2024"),
])
def test_official_files_come_back_to_the_byte(real_data, tmp_path, flag, edition):
    official = real_data / "npz" / f"{flag}.npz"
    published = {row[2] for row in json.loads((real_data / "official-md5s.json").read_text()) if row[0] == flag}
    opened = store.open(store.import_npz(official, tmp_path))
    assert opened.info.pixels == opened.info.split == "official"
    assert (opened.info.edition, opened.info.marks, opened.info.unchecked) == (edition, "", ())
    assert opened.info.recipe == recipe_to_json(get_dataset(flag).recipe_for("official", 28))
    assert ", as published" in opened.info.membership
    counts = get_dataset(flag).counts[edition]
    assert tuple(opened.counts.values()) == (counts.train, counts.val, counts.test)
    exported = store.export_npz(opened, tmp_path)
    with np.load(official) as expected, np.load(exported) as found:
        assert all(np.array_equal(found[name], expected[name]) for name in expected.files)
    if "ng" not in zlib.ZLIB_RUNTIME_VERSION:  # zlib-ng deflates otherwise
        assert md5(exported) in published
        assert md5(exported) == md5(official)


@pytest.mark.parametrize(("flag", "size"), [("breastmnist", 64), ("dermamnist", 224), ("organamnist", 128)])
def test_a_published_file_of_any_size_has_its_recipe(tmp_path, monkeypatch, flag, size):
    plain, path = get_dataset(flag), tmp_path / f"{flag}_{size}.npz"
    np.savez(path, **make_arrays(flag, (3, 1, 1), size))
    mark_npz(path)
    (tmp_path / "plain").mkdir()
    imported = store.open(store.import_npz(path, tmp_path / "plain"))
    assert (imported.info.pixels, imported.info.recipe) == ("imported", "[]")
    assert imported.info.marks == "PARTIAL UNPUBLISHED"
    known = replace(plain, md5={**plain.md5, f"2024:{size}": md5(path)})
    monkeypatch.setattr(_import, "get_dataset", lambda flag: known)
    opened = store.open(store.import_npz(path, tmp_path))
    assert (opened.info.pixels, opened.info.edition, opened.info.unchecked) == ("official", "2024", ())
    assert opened.info.recipe == recipe_to_json(plain.recipe_for("official", size)) != "[]"


@pytest.mark.parametrize(("flag", "counts", "size", "edition"), [
    ("breastmnist", (546, 78, 156), 8, "unknown"), ("breastmnist", (546, 78, 156), 28, "2020"),
    ("breastmnist", (546, 78, 156), 64, "2024"), ("organsmnist", (13940, 2452, 8829), 28, "2020"),
    ("organsmnist", (13932, 2452, 8827), 28, "2024"), ("organsmnist", (13940, 2452, 8829), 64, "unknown"),
    ("bloodmnist", (11959, 1712, 3421), 28, "2021"), ("tissuemnist", (165466, 23640, 47280), 28, "2021"),
    ("organmnist3d", (972, 161, 610), 28, "2021"), ("organmnist3d", (971, 161, 610), 28, "2024"),
    ("nodulemnist3d", (1158, 165, 526), 28, "2021"), ("nodulemnist3d", (1158, 165, 310), 28, "2022"),
    ("nodulemnist3d", (1158, 165, 526), 8, "unknown"), ("adrenalmnist3d", (1188, 98, 298), 28, "2021"),
    ("fracturemnist3d", (1027, 103, 240), 28, "2021"), ("vesselmnist3d", (1335, 191, 382), 28, "2024"),
    ("synapsemnist3d", (1230, 177, 352), 28, "2021"),
])
def test_what_was_never_published_is_told_by_its_counts_and_marked(tmp_path, flag, counts, size, edition):
    path, dataset = tmp_path / f"{flag}.npz", get_dataset(flag)
    arrays, colours = make_arrays(flag, counts, 1), [3] if dataset.channels == 3 else []
    for split in store.SPLITS:
        images = arrays[f"{split}_images"]
        arrays[f"{split}_images"] = np.broadcast_to(images, (len(images), *[size] * dataset.ndim, *colours))
    np.savez(path, **arrays)
    opened = store.open(store.import_npz(path, tmp_path))
    info = opened.info
    assert (info.edition, info.marks, info.pixels, info.recipe) == (edition, "UNPUBLISHED", "imported", "[]")
    assert info.membership == f"the file with MD5 {md5(path)}, which was never published"
    assert [line for line in info.unchecked if "the file has another MD5" in line]
    compared = store.compare_official(opened, tmp_path / "nothing")
    assert "imported from a file that was never published" in compared.lines(info)
    assert compared.differs == (compared.published is not None)


@pytest.mark.parametrize(("flag", "counts"), [
    ("breastmnist", (546, 78, 155)), ("breastmnist", (546, 156, 78)), ("breastmnist", (546, 78, 157)),
    ("dermamnist", (60, 20, 20)), ("organsmnist", (13932, 2452, 8829)),
])
def test_what_has_neither_the_md5_nor_the_counts_of_a_dataset_is_no_file_of_it(tmp_path, flag, counts):
    np.savez(tmp_path / "mine.npz", **make_arrays(flag, counts, 2))
    known = " or ".join(dict.fromkeys(map(str, get_dataset(flag).counts.values())))
    line = (
        rf"mine.npz: is not a file of {flag}: its MD5 \(.*\) was not published .*; found train .*, expected {known}; "
        r"for your own images .*mmtk draft.*; for your own volumes .* plugin$"
    )
    with pytest.raises(StoreError, match=line):
        store.import_npz(tmp_path / "mine.npz", tmp_path / "s", flag)
    with pytest.raises(StoreError, match=r"breastmnist\.npz.*for your own images"):
        store.import_npz(tmp_path / "mine.npz", tmp_path / "s")
    assert not (tmp_path / "s").exists()
    marks = {"PARTIAL": "PARTIAL UNPUBLISHED", "SYNTHETIC": "SYNTHETIC", "SYNTHETIC PARTIAL": "SYNTHETIC PARTIAL"}
    for comment, told in marks.items():
        path = store.import_npz(mark_npz(tmp_path / "mine.npz", comment), tmp_path / "s", flag, force=True)
        info = store.open(path).info
        assert (info.marks, info.edition) == (told, "unknown")


def test_small_files_under_a_dataset_s_name_are_none_of_its(tmp_path):
    """As tests of other programs have them: they may be read, and say for good that they are not the published ones."""
    np.savez(tmp_path / "dermamnist.npz", **make_arrays("dermamnist", (60, 20, 20), 2))
    opened = store.open(store.import_npz(tmp_path / "dermamnist.npz", tmp_path))
    info = opened.info
    assert (info.marks, info.edition, info.pixels) == ("PARTIAL UNPUBLISHED", "unknown", "imported")
    assert (info.source, info.licence, info.citation, info.page) == ("", "", "", "")
    with pytest.raises(MmtkError, match="licence"):
        export_hub(opened, tmp_path / "hub")


def test_the_same_arrays_saved_otherwise_are_imported_but_not_official(real_data, tmp_path):
    with pytest.raises(StoreError, match="--flag"):
        store.import_npz(real_data / "npz" / "breastmnist_labels-1d.npz", tmp_path)
    other = store.open(store.import_npz(real_data / "npz" / "breastmnist_labels-1d.npz", tmp_path, "breastmnist"))
    assert (other.info.pixels, other.info.recipe, other.info.edition) == ("imported", "[]", "2020")
    with np.load(real_data / "npz" / "breastmnist.npz") as expected:
        assert np.array_equal(other.test.labels, expected["test_labels"])
        assert np.array_equal(other.train.images, expected["train_images"])


# ------------------------------------------------------------------------ own datasets


def own_store(folder: Path, **change) -> store.Store:
    """A store of a dataset that nobody published, in two splits and three classes of colour."""
    opened = store.open(write_small_store(folder / "like.h5", (9, 0, 4), task="multi-class", classes=3, channels=3))
    facts = {
        "flag": "lungclinic", "title": "Lung clinic", "edition": "", "pixels": "own", "split": "own", "licence": "CC0",
        "citation": "Doe 2026", "page": "https://lung.example", "family": "lungs", "membership": "by rule: hash",
        "recipe_hash": "1" * 64,
    }
    arrays = {s.name: (s.images, s.labels, s.records) for s in opened.splits}
    info = replace(opened.info, **{**facts, **change})
    return store.open(store.write_store(folder / "lungclinic_8.h5", info, arrays))


@pytest.mark.parametrize("marks", [{}, {"synthetic": True}, {"partial": True, "synthetic": True}])
def test_an_own_dataset_comes_back_from_its_npz_with_all_its_facts(tmp_path, marks):
    opened = own_store(tmp_path, **marks)
    exported = store.export_npz(opened, tmp_path / "out")
    with np.load(exported, allow_pickle=False) as archive:
        assert [f"{name}.npy" for name in archive.files] == [*ORDER, "facts.npy"]
        assert json.loads(archive["facts"].tobytes())["title"] == "Lung clinic"
    renamed = exported.rename(tmp_path / "anything.npz")
    again = store.open(store.import_npz(renamed, tmp_path / "again"))
    told = f"by rule: hash; imported from the file with MD5 {md5(renamed)}"
    assert replace(again.info, plan_hash="0") == replace(opened.info, plan_hash="0", membership=told)
    assert again.info.marks == opened.info.marks
    for one, other in zip(opened.splits, again.splits, strict=True):
        assert np.array_equal(one.images, other.images)
        assert np.array_equal(one.labels, other.labels)
    assert md5(store.export_npz(again, tmp_path / "more")) == md5(renamed)
    assert store.import_npz(renamed, tmp_path / "again", "lungclinic") == again.path, "it is there"
    with pytest.raises(StoreError, match="found lungclinic, expected breastmnist"):
        store.import_npz(renamed, tmp_path / "again", "breastmnist")


def _claim(**facts):
    return lambda values: json.dumps(values | facts, sort_keys=True, separators=(",", ":")).encode()


FORGED = {
    "no JSON": (lambda _: b"hello", "facts: .* not JSON"),
    "not in ASCII": (lambda _: b"\xff\xfe", "its facts are not JSON"),
    "another order": (lambda values: json.dumps(values).encode(), "not serialised as in this format version"),
    "a fact too many": (_claim(more=1), "not those of this format version"),
    "an edition": (_claim(edition="2020"), r"published dataset \(lungclinic, edition 2020"),
    "official pixels": (_claim(pixels="official"), r"published dataset \(lungclinic, official pixels"),
    "one of the ten": (_claim(flag="dermamnist"), r"published dataset \(dermamnist"),
    "an alias of one": (_claim(flag="organmnist_axial"), r"published dataset \(organmnist_axial"),
    "a path": (_claim(flag="../x"), "its flag, classes"),
    "a mark that the file lacks": (_claim(partial=True), "found no marks, expected PARTIAL"),
    "another size": (_claim(size=9), "found 8 px, expected 9 px"),
    "another task": (_claim(task=MULTILABEL), "train_labels"),
    "doubled classes": (_claim(classes=["a", "a", "b"]), "facts: classes: .*a twice"),
    "a blank class": (_claim(classes=["a", "b", " "]), "facts: classes: .*' '"),
    "three of two classes": (_claim(task="binary-class"), "facts: classes: .*binary-class"),
    "fewer classes": (_claim(classes=["a", "b"]), "train_labels: .*expected 0 to 1"),
}


@pytest.mark.parametrize("kind", FORGED)
def test_forged_facts_are_refused_in_one_line(tmp_path, kind):
    change, told = FORGED[kind]
    exported = store.export_npz(own_store(tmp_path), tmp_path / "out")
    with np.load(exported) as archive:
        arrays = dict(archive)
    arrays["facts"] = np.frombuffer(change(json.loads(arrays["facts"].tobytes())), np.uint8)
    np.savez(exported, **arrays)
    with pytest.raises(StoreError, match=told) as caught:
        store.import_npz(exported, tmp_path / "s")
    assert str(caught.value).startswith(str(exported))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("facts", [np.zeros(3), np.zeros((2, 2), "u1"), np.array(["{}"]), np.array([None])])
def test_facts_that_are_no_bytes_are_refused(tmp_path, facts):
    np.savez(tmp_path / "lungclinic.npz", facts=facts, **make_arrays())
    with pytest.raises(StoreError, match=r"lungclinic\.npz: facts: .*(at most|plain numbers)"):
        store.import_npz(tmp_path / "lungclinic.npz", tmp_path / "s")


def _with(**new):
    def change(arrays):
        return {name: array for name, array in (arrays | new).items() if array is not None}

    return change


BAD = {
    "a pickle": (_with(val_labels=np.array([[object()]] * 4)), "val_labels.*a pickle"),
    "pickled images": (_with(val_images=np.array([None] * 4)), "val_images.*a pickle"),
    "a missing array": (_with(test_labels=None), "lacks the arrays test_labels"),
    "float images": (_with(val_images=np.zeros((4, 8, 8), "f4")), "val_images.*float32"),
    "colour": (_with(train_images=np.zeros((12, 8, 8, 3), "u1")), "train_images"),
    "oblong": (_with(train_images=np.zeros((12, 8, 9), "u1")), "train_images"),
    "another size": (_with(test_images=np.zeros((5, 9, 9), "u1")), "test_images"),
    "unequal lengths": (_with(test_images=np.zeros((4, 8, 8), "u1")), "test_images"),
    "a volume": (_with(test_images=np.zeros((5, 8, 8, 8), "u1")), "test_images"),
    "a number": (_with(train_images=np.uint8(3)), "train_images"),
    "a label number": (_with(train_labels=np.uint8(1)), "train_labels"),
    "a label outside the classes": (_with(val_labels=np.full((4, 1), 2, "u1")), "val_labels.*0 to 1"),
    "a negative label": (_with(val_labels=np.full((4, 1), -1, "i8")), "val_labels.*0 to 1"),
    "float labels": (_with(val_labels=np.zeros((4, 1))), "val_labels.*float64"),
    "two labels": (_with(val_labels=np.zeros((4, 2), "u1")), "val_labels"),
}


@pytest.mark.parametrize("kind", BAD)
def test_arrays_that_do_not_fit_are_named_and_nothing_is_written(tmp_path, kind):
    change, told = BAD[kind]
    path, out = tmp_path / "breastmnist.npz", tmp_path / "out"
    np.savez(path, **change(make_arrays()))
    with pytest.raises(StoreError, match=told) as caught:
        store.import_npz(path, out)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert not out.exists() or not list(out.iterdir())


def _npy(array: np.ndarray, shape: tuple[int, ...]) -> bytes:
    """An array whose header claims another shape."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": array.dtype.str, "fortran_order": False, "shape": shape})
    return head.getvalue() + array.tobytes()


def _zip(path: Path, compression: int = zipfile.ZIP_STORED, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, array in make_arrays().items():
            archive.writestr(f"{name}.npy", members.get(name, _npy(array, array.shape)))


FILES = {
    "missing": lambda p: None,
    "a folder": lambda p: p.mkdir(),
    "empty": lambda p: p.write_bytes(b""),
    "bzip2": lambda p: _zip(p, zipfile.ZIP_BZIP2),
    "text": lambda p: p.write_text("hello"),
    "a raw pickle": lambda p: p.write_bytes(b"\x80\x04N."),
    "a member that is no array": lambda p: _zip(p, val_images=b"hello"),
    "a header that is no header": lambda p: _zip(p, val_images=b"\x93NUMPY\x01\x00\x04\x00{[(:"),
    "a terabyte claimed": lambda p: _zip(p, val_images=_npy(np.zeros(8, "u1"), (1 << 34, 8, 8))),
    "a negative shape": lambda p: _zip(p, val_images=_npy(np.zeros(64, "u1"), (-1, -8, 8))),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_bad_npz_is_one_line(tmp_path, kind):
    path = tmp_path / "breastmnist.npz"
    FILES[kind](path)
    with pytest.raises(StoreError, match=r"breastmnist\.npz") as caught:
        store.import_npz(path, tmp_path / "out")
    assert "\n" not in str(caught.value)


@settings(max_examples=40)
@given(data=st.data())
def test_a_damaged_npz_gives_no_store_of_other_content(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("bad")
    path = folder / "breastmnist.npz"
    np.savez_compressed(path, **make_arrays())
    mark_npz(path)
    expected = store.open(store.import_npz(path, folder / "good"))
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        found = store.open(store.import_npz(path, folder / "out"))
    except StoreError:
        assert not list((folder / "out").glob("*"))
        return
    for a, b in zip(expected.splits, found.splits, strict=True):
        assert np.array_equal(a.images, b.images)
        assert np.array_equal(a.labels, b.labels)


def test_marks_survive_an_npz_that_medmnist_reads(tmp_path):
    opened = store.open(write_small_store(tmp_path / "a.h5", synthetic=True, partial=True))
    path = store.export_npz(opened, tmp_path)
    with np.load(path) as archive:
        assert np.array_equal(archive["train_images"], opened.train.images)
    assert store.open(store.import_npz(path, tmp_path)).info.marks == "SYNTHETIC PARTIAL"


def test_what_is_there_stays_unless_forced(tmp_path):
    path = tmp_path / "breastmnist.npz"
    np.savez(path, **make_arrays(size=28))
    mark_npz(path)
    imported = store.import_npz(path, tmp_path / "s")
    opened = store.open(imported)
    targets = [imported, store.export_npz(opened, tmp_path / "n"), store.export_png(opened, tmp_path / "p")]
    targets.append(tmp_path / "p" / "breastmnist" / sorted(os.listdir(tmp_path / "p" / "breastmnist"))[0])

    def everything() -> None:
        store.import_npz(path, tmp_path / "s")
        store.export_npz(store.open(imported), tmp_path / "n")
        store.export_png(store.open(imported), tmp_path / "p")

    marks = [target.stat().st_mtime_ns for target in targets]
    everything()
    assert [target.stat().st_mtime_ns for target in targets[:2]] == marks[:2]
    assert targets[3].stat().st_mtime_ns == marks[3]
    before = [target.read_bytes() for target in targets]
    other = store.open(write_small_store(tmp_path / "other.h5", size=28, seed=5))
    np.savez(path, **make_arrays(size=28, seed=5))
    mark_npz(path)
    writers = (
        lambda force: store.import_npz(path, tmp_path / "s", force=force),
        lambda force: store.export_npz(other, tmp_path / "n", force),
        lambda force: store.export_png(other, tmp_path / "p", force),
    )
    for write in writers:
        with pytest.raises(StoreError, match="--force"):
            write(False)
    assert [target.read_bytes() for target in targets] == before
    for write in writers:
        write(True)
    assert not any(target.exists() and target.read_bytes() == old for target, old in zip(targets, before, strict=True))
    assert not list(tmp_path.rglob(".*"))


def test_a_damaged_store_in_the_way_of_an_import_is_not_taken_for_it(tmp_path):
    path = tmp_path / "breastmnist.npz"
    np.savez(path, **make_arrays())
    mark_npz(path)
    (tmp_path / "breastmnist_8.h5").write_text("precious")
    with pytest.raises(StoreError, match="--force"):
        store.import_npz(path, tmp_path)
    assert (tmp_path / "breastmnist_8.h5").read_text() == "precious"
    store.open(store.import_npz(path, tmp_path, force=True))


def test_a_folder_of_other_things_is_never_replaced(tmp_path):
    opened = store.open(write_small_store(tmp_path / "a.h5", size=28))
    raw = tmp_path / "breastmnist" / "benign (1).png"
    raw.parent.mkdir()
    raw.write_text("raw data")
    for force in (False, True):
        with pytest.raises(StoreError, match="breastmnist"):
            store.export_png(opened, tmp_path, force)
    assert raw.read_text() == "raw data"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "breastmnist"]


@pytest.mark.parametrize(("channels", "task", "classes", "size"), [
    (1, "binary-class", 2, 28), (3, "multi-class", 9, 28), (1, MULTILABEL, 14, 40),
])
def test_png_folder(tmp_path, channels, task, classes, size):
    kind = {"channels": channels, "task": task, "classes": classes, "size": size}
    opened = store.open(write_small_store(tmp_path / "a.h5", (7, 0, 3), **kind))
    listing = store.export_png(opened, tmp_path)
    name = "breastmnist" if size == 28 else f"breastmnist_{size}"
    assert listing == tmp_path / f"{name}.csv"
    lines = [line.split(",") for line in listing.read_text().splitlines()]
    assert [line[0] for line in lines] == ["TRAIN"] * 7 + ["TEST"] * 3
    rows = [(split, row) for split in opened.splits for row in range(len(split))]
    for (split, row), (_, file, *labels) in zip(rows, lines, strict=True):
        assert labels == [str(value) for value in split.labels[row]]
        assert file == f"{split.name}{row}_{'_'.join(labels)}.png"
        image = cv2.imread(str(tmp_path / name / file), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(image if channels == 1 else image[..., ::-1], split.images[row])
    assert len(list((tmp_path / name).iterdir())) == 10


def test_the_csv_is_the_one_medmnist_saves(real_data, tmp_path):
    opened = store.open(store.import_npz(real_data / "npz" / "breastmnist.npz", tmp_path))
    listing = store.export_png(opened, tmp_path)
    assert listing.read_bytes() == (real_data / "csv" / "breastmnist.save-format.csv").read_bytes()


def test_montage(tmp_path):
    pages = {}
    for synthetic in (False, True):
        path = write_small_store(tmp_path / f"{synthetic}.h5", (60, 1, 0), classes=3, synthetic=synthetic, channels=3)
        pages[synthetic] = cv2.imread(str(store.draw_montage(store.open(path), tmp_path / f"new/{synthetic}.png")))
    assert pages[True].shape == pages[False].shape
    differing = np.flatnonzero((pages[True] != pages[False]).any(axis=(1, 2)))
    assert differing.size, "the title does not say SYNTHETIC"
    assert differing.max() < 25
    opened = store.open(tmp_path / "True.h5")
    with pytest.raises(StoreError, match="no images in test"):
        store.draw_montage(opened, tmp_path / "x.png", "test")
    with pytest.raises(StoreError, match=r"\.png"):
        store.draw_montage(opened, tmp_path / "True.h5")
    assert store.verify(tmp_path / "True.h5") == []


def test_an_unknown_dataset_is_named(tmp_path):
    np.savez(tmp_path / "catmnist.npz", **make_arrays())
    with pytest.raises(MmtkError, match="catmnist"):
        store.import_npz(tmp_path / "catmnist.npz", tmp_path)


@pytest.mark.parametrize("flag", ["breastmnist", "pneumoniamnist"])
def test_an_import_names_the_files_and_subjects_of_the_known_map(real_data, tmp_path, flag):
    opened = store.open(store.import_npz(real_data / "npz" / f"{flag}.npz", tmp_path / "s"))
    assert opened.info.membership.endswith("as published; source files and subjects by the known map")
    unknown = 0
    for split in opened.splits:
        for number, row in enumerate(official_map(flag).rows[split.name]):
            record = split.records[number]
            assert record["source"].decode() == (row.source or f"{split.name}/{number}")
            assert record["subject"].decode() == row.subject
            unknown += row.source is None
    assert unknown == (67 if flag == "pneumoniamnist" else 0)
    # labels are what tells, and of phantoms they tell nothing
    path = store.export_npz(opened, tmp_path)
    with np.load(path) as archive:
        arrays = dict(archive)
    np.savez_compressed(path, **{**arrays, "train_labels": arrays["train_labels"][::-1]})
    other = store.open(store.import_npz(path, tmp_path / "other"))
    np.savez_compressed(path, **arrays)
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"SYNTHETIC"
    phantom = store.open(store.import_npz(path, tmp_path / "phantom"))
    for imported in (other, phantom):
        assert imported.train.records["source"][:2].tolist() == [b"train/0", b"train/1"]
        assert not any(imported.val.records["subject"])
        assert "map" not in imported.info.membership


def test_the_rows_that_are_known_of_an_edition_alone_are_named(real_data, tmp_path):
    opened = store.open(store.import_npz(real_data / "npz" / "organamnist.npz", tmp_path / "s"))
    assert opened.info.membership.endswith("as published; source files and subjects of 127 rows by the known map")
    rows = known_rows("organamnist", "2024")["train"]
    subjects = np.flatnonzero(opened.train.records["subject"] == b"train-44")
    assert subjects.tolist() == sorted(rows)
    assert opened.train.records["source"][1040] == b"train-44-7-axial-080"
    assert opened.train.records["source"][1041] == b"train/1041"
    arrays = {f"{s.name}_{kind}": getattr(s, kind) for s in opened.splits for kind in ("images", "labels")}
    for change in ({"train_labels": (arrays["train_labels"] + 1) % 11}, {"val_images": arrays["val_images"][1:],
                                                                       "val_labels": arrays["val_labels"][1:]}):
        np.savez(tmp_path / "organamnist.npz", **(arrays | change))
        if "val_images" in change:
            mark_npz(tmp_path / "organamnist.npz")
        other = store.open(store.import_npz(tmp_path / "organamnist.npz", tmp_path / "other", force=True))
        assert not any(other.train.records["subject"])


@pytest.mark.parametrize("size", [64, 128, 224])
def test_known_rows_are_named_at_every_size(tmp_path, size):
    arrays, known = make_arrays("breastmnist", (546, 78, 156), 1), official_map("breastmnist")
    for split in store.SPLITS:
        arrays[f"{split}_labels"] = np.array([row.labels for row in known.rows[split]], np.uint8)
        images = arrays[f"{split}_images"]
        arrays[f"{split}_images"] = np.broadcast_to(images, (len(images), size, size))
    np.savez_compressed(tmp_path / f"breastmnist_{size}.npz", **arrays)
    opened = store.open(store.import_npz(tmp_path / f"breastmnist_{size}.npz", tmp_path))
    assert opened.train.records["source"].tolist() == [row.source.encode() for row in known.rows["train"]]
    assert opened.info.membership.endswith("; source files and subjects by the known map")
