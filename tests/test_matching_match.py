"""Which source is which official row: exact, nearest, ties, none, and the table they are kept in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mmtk
from benchmarks.match_100k import recovered, write_pair
from mmtk import imaging, store
from mmtk.datasets import get_dataset
from mmtk.datasets.maps import official_map
from mmtk.errors import ArgumentError, StoreError
from mmtk.matching import match, read_match, write_match
from mmtk.matching._neighbours import MOST_RIVALS
from tests.commands import invoke, run_python
from tests.small_stores import store_of


def write_npz(path: Path, images: np.ndarray, labels, cuts=None) -> Path:
    labels = np.asarray(labels, np.uint8)
    labels = labels[:, None] if labels.ndim == 1 else labels
    cut = cuts or [len(images), len(images)]
    names = [f"{split}_{kind}" for kind in ("images", "labels") for split in store.SPLITS]
    np.savez(path, **dict(zip(names, np.split(images, cut) + np.split(labels, cut), strict=True)))
    return path


def reference(sources, source_labels, rows, row_labels, limit):
    """All pairs in their order, the nearest given first; what each row gets, its distance and its rivals."""
    flat = [array.reshape(len(array), -1).astype(np.int64) for array in (rows, sources)]
    squared = np.array([[np.square(a - b).sum() for b in flat[1]] for a in flat[0]])
    bound = int(limit * limit * flat[0].shape[1])
    pairs = sorted(
        (int(squared[r, s]), bool(source_labels[s] != row_labels[r]), r, s)
        for r in range(len(rows)) for s in range(len(sources)) if squared[r, s] <= bound
    )
    given: dict[int, int] = {}
    for _, _, r, s in pairs:
        if r not in given and s not in given.values():
            given[r] = s
    found = []
    for r in range(len(rows)):
        got = given.get(r)
        distance = int(squared[r].min() if got is None else squared[r, got])
        reach = distance * 121 // 100 if distance <= bound else distance
        rivals = {s for s in range(len(sources)) if s != got and squared[r, s] <= reach}
        found.append((got, distance, rivals, any(squared[r, s] == distance for s in rivals)))
    return found


@settings(max_examples=150)
@given(
    seed=st.integers(0, 9999), sources=st.integers(1, 14), rows=st.integers(1, 14), levels=st.sampled_from([2, 3, 60]),
    size=st.sampled_from([1, 2, 3]), limit=st.sampled_from([0, 0.5, 1, 8, 255]),
)
def test_the_nearest_pair_of_all_is_given_first(tmp_path_factory, seed, sources, rows, levels, size, limit):
    folder, rng = tmp_path_factory.mktemp("m"), np.random.default_rng(seed)
    images = rng.integers(0, levels, (sources, size, size), np.uint8)
    official = rng.integers(0, levels, (rows, size, size), np.uint8)
    labels = [rng.integers(0, 2, n) for n in (sources, rows)]
    cuts = [sorted(rng.integers(0, n + 1, 2).tolist()) for n in (sources, rows)]
    opened = store_of(folder, images, labels[0], cuts=cuts[0])
    found = match(opened, write_npz(folder / "breastmnist.npz", official, labels[1], cuts[1]), limit)
    expected = reference(images, labels[0], official, labels[1], limit)
    assert [len(found.rows[split]) for split in store.SPLITS] == np.diff([0, *cuts[1], rows]).tolist()
    for row, label, (got, squared, rivals, equal) in zip(found.everything, labels[1], expected, strict=True):
        assert row.label == (label,)
        assert row.source == (None if got is None else f"s{got}")
        assert row.distance == round((squared / size**2) ** 0.5, 4)
        word = "none" if got is None else "tie" if equal else "nearest" if squared else "exact"
        assert row.evidence == word
        assert {int(name[1:]) for name in row.rivals} == rivals


def test_rivals_of_a_row_that_yields_its_nearest_are_told(tmp_path):
    images = np.zeros((3, 4, 4), np.uint8)
    images[1] += 10
    images[2] += 40
    official = np.stack([images[0] + 1, images[0] + 2])
    found = match(store_of(tmp_path, images, [0, 0, 0]), write_npz(tmp_path / "x.npz", official, [0, 0]), 20)
    first, second = found.rows["train"]
    assert (first.source, first.evidence, first.distance, first.rivals) == ("s0", "nearest", 1, ())
    assert (second.source, second.evidence, second.distance, second.rivals) == ("s1", "nearest", 8, ("s0",))
    assert not first.ambiguous
    assert second.ambiguous
    assert not found.sure
    assert found.summary()["ambiguous"] == 1


def test_equal_pictures_of_opposite_labels_go_to_their_labels(tmp_path):
    picture = np.arange(16, dtype=np.uint8).reshape(1, 4, 4)
    images = np.concatenate([picture, picture, picture + 100])
    opened = store_of(tmp_path, images, [1, 0, 0], names=["benign (433)", "malignant (145)", "other"])
    found = match(opened, write_npz(tmp_path / "x.npz", images, [0, 1, 0])).rows["train"]
    assert [row.source for row in found] == ["malignant (145)", "benign (433)", "other"]
    assert [row.evidence for row in found] == ["tie", "tie", "exact"]
    assert [row.rivals for row in found] == [("benign (433)",), ("malignant (145)",), ()]
    assert not any(row.ambiguous for row in found)


def test_more_equal_rows_than_sources_leave_some_without(tmp_path):
    images = np.full((1, 4, 4), 7, np.uint8)
    found = match(store_of(tmp_path, images, [0]), write_npz(tmp_path / "x.npz", np.repeat(images, 3, 0), [1, 0, 1]))
    assert [(row.source, row.evidence, row.distance) for row in found.rows["train"]] == [
        (None, "none", 0), ("s0", "exact", 0), (None, "none", 0)
    ]
    assert found.rows["train"][0].rivals == ("s0",)


def test_many_equal_pictures_take_no_time_and_name_some_rivals(tmp_path):
    images = np.full((3000, 4, 4), 7, np.uint8)
    found = match(store_of(tmp_path, images, np.zeros(3000)), write_npz(tmp_path / "x.npz", images, np.zeros(3000)))
    assert [row.source for row in found.rows["train"]] == [f"s{i}" for i in range(3000)]
    assert {len(row.rivals) for row in found.rows["train"]} == {MOST_RIVALS}
    assert all(row.source not in row.rivals for row in found.rows["train"])


def test_an_empty_store_and_an_empty_file(tmp_path):
    images = np.zeros((2, 4, 4), np.uint8)
    found = match(store_of(tmp_path, images[:0], []), write_npz(tmp_path / "x.npz", images, [0, 1]))
    assert [(row.source, row.distance) for row in found.rows["train"]] == [(None, float("inf"))] * 2
    assert read_match(write_match(found, tmp_path / "map.csv")) == found
    text = (tmp_path / "map.csv").read_text()
    for mark in ";\t":  # as a spreadsheet may save it again
        (tmp_path / "again.csv").write_text("\ufeff" + text.replace(",", mark))
        assert read_match(tmp_path / "again.csv") == found
    assert match(store_of(tmp_path, images, [0, 1]), write_npz(tmp_path / "x.npz", images[:0], [])).sure


@pytest.mark.parametrize("colour", [False, True])
def test_shuffled_images_saved_as_jpeg_are_all_recovered(tmp_path, colour):
    path, npz, given = write_pair(tmp_path, 2000, colour)
    found = match(store.open(path), npz)
    assert recovered(found, given) == 1
    assert found.summary()["nearest"] == 2000
    assert found.sure


# ------------------------------------------------------------------ real files


def test_the_real_busi_images_are_found_and_the_others_told_apart(real_data, tmp_path):
    (built,) = mmtk.build("breastmnist", sources=real_data / "sources" / "busi", out=tmp_path, allow_partial=True)
    opened = store.open(built.path)
    sources = {name.decode() for split in opened.splits for name in split.records["source"]}
    found = match(opened, real_data / "npz" / "breastmnist.npz")
    for split in store.SPLITS:
        for row, known in zip(found.rows[split], official_map("breastmnist").rows[split], strict=True):
            assert row.source == (known.source if known.source in sources else None), known
    facts = found.summary()
    assert (facts["exact"], facts["tie"], facts["none"], facts["ambiguous"]) == (44, 2, 734, 0)
    assert facts["nearest_none"] > 0.9
    assert found.rows["train"][115].rivals == ("benign/benign (433).png",)


def test_clean_pixels_of_real_x_rays_are_found_through_the_jpeg(real_data, tmp_path):
    (built,) = mmtk.build(
        "pneumoniamnist", sources=real_data / "sources" / "kermany-cxr", out=tmp_path, allow_partial=True,
        pixels="clean",
    )
    found = match(store.open(built.path), real_data / "npz" / "pneumoniamnist.npz")
    facts = found.summary()
    assert (facts["nearest"], facts["exact"], facts["none"], facts["ambiguous"]) == (14, 0, 5842, 0)
    assert facts["farthest"] < 5.3
    assert facts["nearest_none"] > 12
    for split in store.SPLITS:
        for row, known in zip(found.rows[split], official_map("pneumoniamnist").rows[split], strict=True):
            assert row.source in (None, known.source)


def test_noise_of_jpeg_stays_under_the_limit(real_data):
    from mmtk.matching import LIMIT

    files = [*(real_data / "sources").rglob("*.jpeg"), *(real_data / "sources").rglob("ISIC_*.jpg")]
    noise = []
    for file in files:
        image = imaging.read_image(file, colour=file.suffix == ".jpg")
        small = imaging.resize(imaging.center_crop(image), (28, 28)).astype(np.uint8)
        noise.append(np.sqrt(np.square(small.astype(float) - imaging.round_trip(small)).mean()))
    assert len(noise) > 90
    assert 7 < max(noise) < LIMIT


# -------------------------------------------------------------- table, refusals


@given(data=st.data())
@settings(max_examples=20)
def test_a_table_comes_back(tmp_path_factory, data):
    folder, rng = tmp_path_factory.mktemp("t"), np.random.default_rng(data.draw(st.integers(0, 99)))
    flag = data.draw(st.sampled_from(["breastmnist", "chestmnist", "organamnist"]))
    dataset, n = get_dataset(flag), data.draw(st.integers(0, 12))
    images = rng.integers(0, 9, (n, 3, 3), np.uint8)
    top = 2 if dataset.labels > 1 else len(dataset.classes)
    labels = rng.integers(0, top, (n, dataset.labels))
    text = st.text(st.characters(codec="utf-8", exclude_characters="|\0\r\n"), min_size=1, max_size=8)
    names = data.draw(st.lists(text, min_size=n, max_size=n, unique=True))
    official = np.concatenate([images[::2], images[::3] + 1, rng.integers(0, 255, (2, 3, 3), np.uint8)])
    theirs = np.concatenate([labels[::2], labels[::3], np.zeros((2, dataset.labels), int)])
    opened = store_of(folder, images, labels, names=names, flag=flag)
    found = match(opened, write_npz(folder / "x.npz", official, theirs, [1, 2]), 3)
    path = write_match(found, folder / "new" / "map.csv")
    assert read_match(path) == found
    assert write_match(found, path) == path
    with pytest.raises(StoreError, match="--force"):
        write_match(replace(found, rows=dict.fromkeys(store.SPLITS, ())), path)
    assert read_match(path) == found


HEAD = "split,index,label,source,evidence,distance,rivals\n"
BAD_TABLES = {
    "nothing": ("", "line 0"),
    "other columns": ("split,label,source,evidence\n", "line 1.*columns"),
    "a row twice": (HEAD + "train,0,1,a,exact,0,\ntrain,0,1,b,exact,0,\n", "line 3.*out of order"),
    "another split": (HEAD + "dev,0,1,a,exact,0,\n", "line 2.*out of order"),
    "a source twice": (HEAD + "train,0,1,a,exact,0,\nval,0,1,a,exact,0,\n", "line 3.*second time"),
    "other evidence": (HEAD + "train,0,1,a,sure,0,\n", "line 2.*evidence"),
    "none with a source": (HEAD + "train,0,1,a,none,0,\n", "line 2.*evidence"),
    "exact without": (HEAD + "train,0,1,,exact,0,\n", "line 2.*evidence"),
    "no label": (HEAD + "train,0,x,a,exact,0,\n", "line 2"),
    "no distance": (HEAD + "train,0,1,a,exact,far,\n", "line 2"),
    "a short line": (HEAD + "train,0,1\n", "line 2"),
    "an open quote": (HEAD + 'train,0,1,"a,exact,0,\n', "line 2"),
}


@pytest.mark.parametrize("kind", BAD_TABLES)
def test_a_bad_table_is_one_line(tmp_path, kind):
    text, told = BAD_TABLES[kind]
    (tmp_path / "map.csv").write_text(text)
    with pytest.raises(StoreError, match=told) as caught:
        read_match(tmp_path / "map.csv")
    assert str(caught.value).startswith(str(tmp_path / "map.csv"))
    assert "\n" not in str(caught.value)


def test_a_missing_or_binary_table_is_one_line(tmp_path):
    with pytest.raises(StoreError, match="no such file"):
        read_match(tmp_path / "none.csv")
    (tmp_path / "map.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StoreError, match="not UTF-8 text"):
        read_match(tmp_path / "map.csv")


def test_what_does_not_fit_is_refused_in_one_line(tmp_path):
    images, labels = np.zeros((4, 8, 8), np.uint8), [0, 1, 0, 1]
    opened = store_of(tmp_path, images, labels)
    good = write_npz(tmp_path / "any-name.npz", images, labels)
    match(opened, good)
    with pytest.raises(StoreError, match=r"file of pneumoniamnist.*store of breastmnist"):
        match(opened, write_npz(tmp_path / "pneumoniamnist.npz", images, labels))
    with pytest.raises(StoreError, match=r"16 px.*8 px"):
        match(opened, write_npz(tmp_path / "breastmnist.npz", np.zeros((4, 16, 16), np.uint8), labels))
    with pytest.raises(StoreError, match=r"train_images.*\(4, 8, 8, 3\)"):
        match(opened, write_npz(tmp_path / "breastmnist.npz", np.zeros((4, 8, 8, 3), np.uint8), labels))
    with pytest.raises(StoreError, match="no such file"):
        match(opened, tmp_path / "none.npz")
    content = good.read_bytes()
    good.write_bytes(content[: len(content) // 2])
    with pytest.raises(StoreError, match="corrupt"):
        match(opened, good)
    good.write_bytes(content)
    with pytest.raises(StoreError, match=r"several records of source 'same'"):
        match(store_of(tmp_path, images, labels, names=["a", "same", "b", "same"]), good)
    with pytest.raises(StoreError, match=r"source name 'a\|b'"):
        match(store_of(tmp_path, images, labels, names=["a", "a|b", "b", "c"]), good)
    for limit in (-1, 256, float("nan")):
        with pytest.raises(ArgumentError, match="0 to 255"):
            match(opened, good, limit)


def test_official_images_are_mapped_not_read(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (9, 8, 8), np.uint8)
    for array in (images, np.asfortranarray(images)):
        found = store.read_npz(write_npz(tmp_path / "x.npz", array, np.zeros(9), [4, 4]), get_dataset("breastmnist"))
        assert isinstance(found["train"][0], np.memmap)
        assert np.array_equal(np.concatenate([found[split][0] for split in store.SPLITS]), images)
        assert [found[split][1].shape for split in store.SPLITS] == [(4, 1), (0, 1), (5, 1)]


FULL = """
import resource, signal
from mmtk.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400))
main()
"""


def test_a_full_temporary_folder_is_one_line(tmp_path):
    images = np.zeros((9, 28, 28), np.uint8)
    opened = store_of(tmp_path, images, np.zeros(9))
    (tmp_path / "temporary").mkdir()
    npz = write_npz(tmp_path / "x.npz", images, np.zeros(9))
    done = run_python("-c", FULL, "match", opened.path, npz, env={"TMPDIR": tmp_path / "temporary"}, code=2)
    assert done.stderr.startswith(f"mmtk: error: {tmp_path / 'temporary'}: cannot write a temporary file of 7056 bytes")
    assert len(done.stderr.splitlines()) == 1


def test_the_command_writes_the_table_and_says_what_it_found(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8), np.uint8)
    opened = store_of(tmp_path, images, np.zeros(6))
    npz, table = write_npz(tmp_path / "breastmnist.npz", images[::-1], np.zeros(6), [3, 4]), tmp_path / "map.csv"
    told = invoke("match", opened.path, npz, "--out", table).stdout
    assert told.startswith(f"{npz}: 6 rows: 6 exact, 0 nearest, 0 ties, 0 unmatched; 0 ambiguous; ")
    assert told.endswith(f" s\n{table}: written\n")
    assert table.read_text().splitlines()[:3] == [HEAD.strip(), "train,0,0,s5,exact,0,", "train,1,0,s4,exact,0,"]
    write_npz(npz, np.concatenate([images[:2], 255 - images[:1]]), np.zeros(3))
    result = invoke("match", opened.path, npz, "--out", table, code=1)
    assert isinstance(result.exception, StoreError)
    assert "--force" in str(result.exception)
    assert len(read_match(table).everything) == 6
    told = invoke("match", opened.path, npz, "--out", table, "--force", code=1).stdout.splitlines()
    assert "2 exact, 0 nearest, 0 ties, 1 unmatched; 0 ambiguous" in told[0]
    assert told[1].startswith("closest candidate for an unmatched row: RMS ")
    assert len(read_match(table).everything) == 3
    facts = json.loads(invoke("match", opened.path, npz, "--json", "--limit", 255, code=1).stdout)
    assert (facts["rows"], facts["exact"], facts["nearest"], facts["none"]) == (3, 2, 1, 0)
    assert facts["ambiguous"] == 1
    assert not facts["sure"]
