"""Volumes: their stores, what a stranger's may claim, MedMNIST's files of them, GIFs and montages."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace

import cv2
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mmtk.datasets
from mmtk import proof, store
from mmtk.base import md5_of
from mmtk.datasets import get_dataset, list_datasets
from mmtk.datasets.base import Counts
from mmtk.errors import StoreError
from mmtk.matching import _neighbours, audit, match
from mmtk.registry import Registry
from mmtk.store import _fetch, _montage
from mmtk.store._zip import CONTAINERS
from tests.commands import invoke, run_python
from tests.small_stores import make_arrays, mark_npz, small_info, write_small_store

SMALL = (3, 1, 2)
CUBE = {"flag": "organmnist3d", "task": "multi-class", "classes": 11, "ndim": 3}


@pytest.fixture
def cubes(tmp_path) -> store.Store:
    return store.open(write_small_store(tmp_path / "organmnist3d_6.h5", (20, 3, 4), size=6, **CUBE))


@pytest.fixture
def publish(monkeypatch):
    """Have a small file known as the official one of a dataset, edition and size until the test ends."""

    def know(flag: str, edition: str, size: int, md5: str) -> None:
        known, changed = Registry("dataset", mmtk.datasets.TEN), get_dataset(flag)
        counts = {**changed.counts, edition: Counts(*SMALL)}
        changed = replace(changed, counts=counts, md5={**changed.md5, f"{edition}:{size}": md5})
        for dataset in list_datasets():
            one = changed if dataset.flag == flag else dataset
            known.add(one, one.flag, *one.aliases)
        monkeypatch.setattr(mmtk.datasets, "_DATASETS", known)

    return know


# ------------------------------------------------------------------ stores


def test_a_store_of_volumes_is_of_version_4_and_comes_back(cubes):
    assert cubes.train.images.shape == (20, 6, 6, 6)
    assert (cubes.info.ndim, cubes.info.row_shape, cubes.info.version) == (3, (6, 6, 6), 4)
    assert store.verify(cubes.path) == []
    assert cubes.digest == cubes.content_digest()
    with h5py.File(cubes.path) as file:
        assert (file.attrs["version"], file.attrs["ndim"]) == (4, 3)
        assert json.loads(file.attrs["info"])["ndim"] == 3
    arrays = {split.name: (split.images, split.labels, split.records) for split in cubes.splits}
    again = store.open(store.write_store(cubes.path.with_name("b.h5"), cubes.info, arrays))
    assert again.path.read_bytes() == cubes.path.read_bytes()
    named = replace(cubes.info, page="https://lung.example", family="lung")
    assert store.open(store.write_store(cubes.path.with_name("c.h5"), named, arrays)).info == named


@pytest.mark.parametrize(("kind", "second", "third"), [
    ({}, "73e0851534a2420e7c2f266eb9ee700e8de5db9db498805cf7c020b6c514f391",
     "62f8fea3ceff5de1d1c6faa27482b716b88446f0c53372863e5331c24c4925b8"),
    ({"channels": 3, "size": 9}, "d02a22d671b9e667dd21949902f9ea4c227487d6ffd5ffa0c45ca1ac1ba5288c",
     "04418b16af445faf5c778d784213a7fe8a1f92b98724dc5d45742e68592fb7f6"),
])
def test_stores_of_images_have_the_digests_they_had_before_there_were_volumes(tmp_path, kind, second, third):
    opened = store.open(write_small_store(tmp_path / "a.h5", **kind))
    assert (opened.info.version, opened.digest) == (2, second)
    arrays = {split.name: (split.images, split.labels, split.records) for split in opened.splits}
    named = replace(opened.info, page="https://lung.example", family="lung")
    newer = store.open(store.write_store(tmp_path / "b.h5", named, arrays))
    assert (newer.info.version, newer.digest) == (3, third)


def test_large_volumes_lie_in_chunks_of_whole_ones(tmp_path):
    opened = store.open(write_small_store(tmp_path / "a.h5", (5, 0, 1), size=64, **CUBE))
    assert opened.train.chunk_rows == 2
    with h5py.File(opened.path) as file:
        assert file["train/images"].chunks == (2, 64, 64, 64)
        assert file["checksums/train/images"].shape == (3, 32)
    assert store.verify(opened.path) == []


def _fact(**facts: object) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        told = {**json.loads(file.attrs["info"]), **facts}
        told = {name: value for name, value in told.items() if value is not None}
        file.attrs["info"] = np.bytes_(json.dumps(told, sort_keys=True, separators=(",", ":")))

    return edit


def _both(*edits: Callable[[h5py.File], object]) -> Callable[[h5py.File], None]:
    return lambda file: [edit(file) for edit in edits] and None


def _attribute(**values: int) -> Callable[[h5py.File], None]:
    return lambda file: file.attrs.update(values)


HOSTILE = {
    "axes of the attribute": (_attribute(ndim=2), "not uint8 arrays with 3 axes"),
    "axes that there are none of": (_both(_fact(ndim=4), _attribute(ndim=4)), "neither grey nor RGB"),
    "colours": (_fact(channels=3), "volumes with more than one channel"),
    "an older version": (_attribute(version=3), "version 3, but its facts are those of version 4"),
    "a newer version": (_attribute(version=5), "upgrade mmtk"),
    "facts of images": (_both(_fact(ndim=None), _attribute(version=2)), "with 2 axes"),
    "facts and attributes of images": (
        _both(_fact(ndim=None), _attribute(version=2, ndim=2)), r"found \(20, 6, 6, 6\), expected \(n, 6, 6\)",
    ),
    "axes that need not be told": (_both(_fact(ndim=2), _attribute(version=2, ndim=2)), "not serialised as"),
    "another size": (_fact(size=5), r"expected \(n, 5, 5, 5\)"),
    "another split": (_fact(split="own"), "match its digest"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_a_stranger_claims_of_volumes_is_refused_in_one_line(cubes, tmp_path, kind):
    edit, told = HOSTILE[kind]
    copy = tmp_path / "edited.h5"
    shutil.copy(cubes.path, copy)
    with h5py.File(copy, "r+") as file:
        edit(file)
    for read in (store.open, store.verify):
        with pytest.raises(StoreError, match=told) as caught:
            read(copy)
        assert "\n" not in str(caught.value)


def test_volumes_of_unequal_edges_or_of_colour_are_not_written(tmp_path):
    info = small_info(size=6, ndim=3)
    labels, records = np.zeros((2, 1), np.uint8), np.zeros(2, store.record_dtype(1, 1))
    for shape in ((2, 6, 6), (2, 5, 6, 6), (2, 6, 6, 5), (2, 6, 6, 6, 3)):
        arrays = dict.fromkeys(store.SPLITS, (np.zeros(shape, np.uint8), labels, records))
        with pytest.raises(StoreError, match=r"expected \(n, 6, 6, 6\)"):
            store.write_store(tmp_path / "a.h5", info, arrays)
    with pytest.raises(StoreError, match="volumes with more than one channel"):
        store.write_store(tmp_path / "a.h5", replace(info, channels=3), arrays)
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------ MedMNIST's files


@pytest.mark.parametrize(("flag", "size"), [(d.flag, size) for d in list_datasets() for size in d.sizes])
def test_files_of_every_set_and_size_are_imported_and_come_back(tmp_path, flag, size):
    made, name = make_arrays(flag, SMALL, size), flag if size == 28 else f"{flag}_{size}"
    np.savez(tmp_path / f"{name}.npz", **made)
    opened = store.open(store.import_npz(tmp_path / f"{name}.npz", tmp_path / "stores"))
    assert opened.path.name == f"{flag}_{size}.h5"
    assert (opened.info.marks, opened.info.ndim) == ("PARTIAL UNPUBLISHED", 3 if flag.endswith("3d") else 2)
    for split in opened.splits:
        assert np.array_equal(split.images, made[f"{split.name}_images"])
        assert np.array_equal(split.labels, made[f"{split.name}_labels"])
        assert [*split.records["source"]] == [f"{split.name}/{row}".encode() for row in range(len(split))]
        assert {*split.records["side"].tolist()} == {size}
    exported = store.export_npz(opened, tmp_path / "out")
    assert exported.name == f"{name}.npz"
    with np.load(exported) as archive:
        assert archive.files == [f"{split}_{kind}" for split in store.SPLITS for kind in ("images", "labels")]
        assert all(np.array_equal(archive[key], made[key]) for key in made)
    assert store.verify(store.import_npz(exported, tmp_path / "again")) == []


@pytest.mark.parametrize(("flag", "size", "edition", "kind"), [
    ("bloodmnist", 28, "2021", "2021"), ("bloodmnist", 64, "2024", "2024"), ("tissuemnist", 224, "2024", "2024"),
    ("nodulemnist3d", 28, "2021", "2021"), ("nodulemnist3d", 28, "2022", "2022"), ("vesselmnist3d", 28, "2024", "2024"),
    ("synapsemnist3d", 64, "2024", "2024"),
])
def test_an_official_file_comes_back_as_such_and_can_be_proved(tmp_path, publish, flag, size, edition, kind):
    """Made files stand in for published ones: in the container of their edition they come back to the byte."""
    name = flag if size == 28 else f"{flag}_{size}"
    (tmp_path / "made").mkdir()
    np.savez(tmp_path / "made" / f"{name}.npz", **make_arrays(flag, SMALL, size))
    made = store.open(store.import_npz(tmp_path / "made" / f"{name}.npz", tmp_path / "made"))
    arrays = {split.name: (split.images, split.labels, split.records) for split in made.splits}
    info = replace(made.info, edition=edition, partial=False)
    npz = store.export_npz(store.open(store.write_store(tmp_path / "made" / "b.h5", info, arrays)), tmp_path)
    assert npz.read_bytes()[-22:].startswith(b"PK")  # no comment
    publish(flag, edition, size, md5_of(npz))
    opened = store.open(store.import_npz(npz, tmp_path))
    assert (opened.info.pixels, opened.info.edition, opened.info.recipe) == ("official", edition, "[]")
    assert (opened.info.unchecked, opened.info.marks) == ((), "")
    assert opened.info.citation == get_dataset(flag).citation
    exported = store.export_npz(opened, tmp_path / "out")
    assert exported.read_bytes() == npz.read_bytes()
    assert {member[1] for member in exported.read_bytes().split(b"PK\1\2")[1:]} == {CONTAINERS[kind].system}
    compared = store.compare_official(opened, tmp_path)
    assert (compared.differs, compared.npz, compared.md5) == (False, npz, compared.published)
    assert all(split.in_place == split.rows for split in compared.splits.values())
    (cell,) = proof.prove(flag, npz=tmp_path, sizes=[size]).cells
    assert [one.kind for one in cell.evidence] == ["container"]
    assert (cell.edition, cell.differences, cell.needs) == (edition, (), ())


def test_beside_another_editions_file_the_remedy_is_to_import_it_where_nothing_is_built(tmp_path, publish):
    stores = {}
    for seed, edition in enumerate(("2021", "2024")):
        folder = tmp_path / edition
        folder.mkdir()
        np.savez(folder / "organmnist3d.npz", **make_arrays("organmnist3d", SMALL, 28, seed))
        publish("organmnist3d", edition, 28, md5_of(folder / "organmnist3d.npz"))
        stores[edition] = store.open(store.import_npz(folder / "organmnist3d.npz", folder))
    assert [opened.info.edition for opened in stores.values()] == ["2021", "2024"]
    with pytest.raises(StoreError, match=r"mmtk fetch organmnist3d --edition 2021, or import that file$"):
        store.compare_official(stores["2021"], tmp_path / "2024")
    with pytest.raises(StoreError, match=r"; import that file, or match with .* mmtk fetch organmnist3d --edition"):
        match(stores["2021"], tmp_path / "2024" / "organmnist3d.npz")


def test_of_sets_without_raw_images_only_official_files_are_asked_for():
    found = proof.prove(["organmnist3d", "bloodmnist"])
    assert [(cell.flag, cell.size) for cell in found.cells] == [
        ("organmnist3d", 28), ("organmnist3d", 64), *(("bloodmnist", size) for size in (28, 64, 128, 224)),
    ]
    assert {need.kind for need in found.needs} == {"official"}
    assert {cell.text for cell in found.cells} == {"nothing"}
    _, rows = proof.table(found)
    assert rows[0] == ("OrganMNIST3D", "nothing", "nothing", "no official file", "no official file")
    refused = invoke("prove", "organmnist3d", "--size", 128, code=1).exception
    assert str(refused) == "sizes of organmnist3d: found 128, expected 28 or 64"


@pytest.mark.parametrize(("flag", "edition", "size"), [
    (dataset.flag, *key.split(":")) for dataset in list_datasets() for key in dataset.md5 if ":28" in key or "3d" in key
])
def test_every_edition_is_fetched_from_its_record(tmp_path, monkeypatch, flag, edition, size):
    asked = []
    monkeypatch.setattr(_fetch, "_retrieve", lambda url, md5, final, _: asked.append((url, md5, final.name)) or final)
    invoke("fetch", flag, "--edition", edition, "--size", size, "--out", tmp_path)
    records = {"2020": 4269852, "2021": 5208230, "2022": 6496656, "2024": 10519652}
    dataset = get_dataset(flag)
    name = f"{dataset.alias_of(edition)}{'' if size == '28' else f'_{size}'}.npz"
    url = f"https://zenodo.org/records/{records[edition]}/files/{name}"
    assert asked == [(url, dataset.md5[f"{edition}:{size}"], name)]


def test_own_volumes_come_back_from_their_npz(cubes, tmp_path):
    facts = {"flag": "lungclinic", "edition": "", "pixels": "own", "split": "own", "membership": "by rule: hash"}
    arrays = {split.name: (split.images, split.labels, split.records) for split in cubes.splits}
    own = store.open(store.write_store(tmp_path / "lungclinic_6.h5", replace(cubes.info, **facts), arrays))
    npz = store.export_npz(own, tmp_path).rename(tmp_path / "anything.npz")
    again = store.open(store.import_npz(npz, tmp_path / "again"))
    assert (again.info.flag, again.info.ndim, again.info.version) == ("lungclinic", 3, 4)
    for one, other in zip(own.splits, again.splits, strict=True):
        assert np.array_equal(one.images, other.images)
    with np.load(npz) as archive:
        made = dict(archive)
    claimed = {**json.loads(made["facts"].tobytes()), "channels": 3}
    made["facts"] = np.frombuffer(json.dumps(claimed, sort_keys=True, separators=(",", ":")).encode(), np.uint8)
    np.savez(npz, **made)
    with pytest.raises(StoreError, match="volumes with more than one channel"):
        store.import_npz(npz, tmp_path / "forged")


BAD = {
    "slices": (np.zeros((3, 8, 8), "u1"), "train_images"),
    "unequal edges": (np.zeros((3, 8, 8, 7), "u1"), "train_images"),
    "colour": (np.zeros((3, 8, 8, 3), "u1"), "train_images"),
    "coloured volumes": (np.zeros((3, 8, 8, 8, 3), "u1"), "train_images"),
    "channels first": (np.zeros((3, 1, 8, 8, 8), "u1"), "train_images"),
    "floats": (np.zeros((3, 8, 8, 8), "f4"), "train_images"),
    "another size": (np.zeros((3, 9, 9, 9), "u1"), r"val_images.*\(1, 9, 9, 9\)"),
    "no volume": (np.zeros(3, "u1"), "train_images"),
}


@pytest.mark.parametrize("kind", BAD)
def test_arrays_that_are_no_volumes_are_named_and_nothing_is_written(tmp_path, kind):
    array, told = BAD[kind]
    np.savez(tmp_path / "organmnist3d.npz", **{**make_arrays("organmnist3d", SMALL), "train_images": array})
    with pytest.raises(StoreError, match=told) as caught:
        store.import_npz(tmp_path / "organmnist3d.npz", tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("flag", "size"), [("organmnist3d", 257), ("breastmnist", 4097)])
def test_images_beyond_any_real_one_are_refused_before_they_are_read(tmp_path, flag, size):
    made = make_arrays(flag, (0, 0, 0), 1)
    row = (size,) * get_dataset(flag).ndim
    made |= {f"{split}_images": np.zeros((0, *row), np.uint8) for split in store.SPLITS}
    np.savez(tmp_path / f"{flag}.npz", **made)
    with pytest.raises(StoreError, match=f"train_images: .*found {size} px"):
        store.import_npz(tmp_path / f"{flag}.npz", tmp_path / "out")


# ------------------------------------------------------------------ pictures


def test_volumes_are_exported_as_the_gifs_that_medmnist_saves(cubes, tmp_path):
    utils = pytest.importorskip("medmnist.utils", exc_type=ImportError)
    listing = store.export_png(cubes, tmp_path)
    assert listing.name == "organmnist3d_6.csv"
    theirs = tmp_path / "medmnist"
    for split in cubes.splits:
        utils.save3d(split.images, split.labels, str(theirs), split.name, "gif", str(tmp_path / "theirs.csv"))
    assert listing.read_bytes() == (tmp_path / "theirs.csv").read_bytes()
    ours = {path.name: path.read_bytes() for path in (tmp_path / "organmnist3d_6").iterdir()}
    assert ours == {path.name: path.read_bytes() for path in theirs.iterdir()}
    assert len(ours) == 27
    assert store.export_png(cubes, tmp_path) == listing  # a folder of GIFs is one of ours, and an equal one stays
    other = store.open(write_small_store(tmp_path / "o.h5", (2, 1, 1), size=6, seed=1, **CUBE))
    with pytest.raises(StoreError, match="exists with other content"):
        store.export_png(other, tmp_path)
    store.export_png(other, tmp_path, force=True)
    assert len(list((tmp_path / "organmnist3d_6").iterdir())) == 4


def test_a_montage_of_volumes_shows_the_middle_or_in_a_gif_all_slices(cubes, tmp_path, monkeypatch):
    from PIL import Image

    titles, write = [], _montage._write
    monkeypatch.setattr(_montage, "_write", lambda page, text, *where: (titles.append(text), write(page, text, *where)))
    page = cv2.imread(str(store.draw_montage(cubes, tmp_path / "a.png")), cv2.IMREAD_GRAYSCALE)
    invoke("show", cubes.path, "--out", tmp_path / "a.gif", "--split", "train")
    with Image.open(tmp_path / "a.gif") as animation:
        assert (animation.n_frames, animation.info["loop"], animation.info["duration"]) == (6, 0, 200)
        frames = []
        for at in range(6):
            animation.seek(at)
            frames.append(np.asarray(animation.convert("L")))
    assert np.array_equal(frames[3], page)
    titles = [title.split("px, ")[1].strip() for title in titles if "px, " in title]
    assert titles == [f"slice {number} of 6" for number in (4, 1, 2, 3, 4, 5, 6)]
    row = int(np.flatnonzero(cubes.train.labels[:, 0] == 2)[0])
    tile = 22 + 2 * 82 + 22  # below the title and two classes, each with its name
    for at, frame in enumerate(frames):
        shown = frame[tile : tile + 56, 4:60]
        assert np.array_equal(shown, cv2.resize(cubes.train.images[row, at], (56, 56), interpolation=cv2.INTER_NEAREST))
    with pytest.raises(StoreError, match=r"a\.jpg: does not end in \.png or \.gif"):
        store.draw_montage(cubes, tmp_path / "a.jpg")
    flat = store.open(write_small_store(tmp_path / "flat.h5"))
    with pytest.raises(StoreError, match=r"a\.gif: does not end in \.png$"):
        store.draw_montage(flat, tmp_path / "a.gif")


def test_without_pillow_it_says_what_to_install(cubes, tmp_path):
    code = (
        "import sys; sys.modules['PIL'] = None\n"
        "from mmtk import store\n"
        "opened = store.open(sys.argv[1])\n"
        "for write, name in ((store.export_png, 'out'), (store.draw_montage, 'a.gif')):\n"
        "    try:\n"
        "        write(opened, sys.argv[2] + '/' + name)\n"
        "    except store._gif.StoreError as error:\n"
        "        print(error)\n"
    )
    (tmp_path / "new").mkdir()
    told = run_python("-c", code, cubes.path, tmp_path / "new", code=0).stdout.splitlines()
    assert len(told) == 2
    assert all(line.endswith("which is not installed; pip install 'mmtk[medmnist]'") for line in told)
    assert [path.name for path in (tmp_path / "new").iterdir() if path.name != "out"] == []


# ------------------------------------------------------------------ what their pixels tell


@settings(max_examples=15)
@given(seed=st.integers(0, 999), size=st.sampled_from([2, 3, 9, 19]), near=st.sampled_from([0.4, 1.2, 255]))
def test_volumes_that_are_alike_are_those_of_brute_force(tmp_path_factory, seed, size, near):
    folder, rng = tmp_path_factory.mktemp("a"), np.random.default_rng(seed)
    images = rng.integers(0, 2, (12, size, size, size), np.uint8)
    images[7], images[9] = images[1], images[2]
    images[9, 0, 0, 0] ^= 1
    info = small_info(size=size, **CUBE)
    records = np.zeros(12, store.record_dtype(4, 1))
    records["source"] = [f"s{row}".encode() for row in range(12)]
    labels = np.zeros((12, 1), np.uint8)
    arrays = {
        split: (images[rows], labels[rows], records[rows])
        for split, rows in zip(store.SPLITS, (slice(0, 6), slice(6, 8), slice(8, 12)), strict=True)
    }
    opened = store.open(store.write_store(folder / "organmnist3d.h5", info, arrays))
    found = audit(opened, near)
    wide = images.reshape(12, -1).astype(int)
    squared = {(i, j): int(np.square(wide[i] - wide[j]).sum()) for i in range(12) for j in range(i + 1, 12)}
    pairs = {tuple(int(place.source[1:]) for place in pair.places) for pair in found.near}
    assert pairs == {pair for pair, one in squared.items() if 0 < one <= near * near * size**3}
    assert (1, 7) in {
        (int(a.source[1:]), int(b.source[1:])) for one in found.exact for a in one.places for b in one.places
    }
    rows = match(opened, mark_npz(store.export_npz(opened, folder))).everything
    assert all(row.source is not None for row in rows)


def test_volumes_are_pooled_to_about_as_many_numbers_as_images():
    rng = np.random.default_rng(0)
    for shape in ((28, 28), (64, 64), (224, 224, 3), (28, 28, 28), (64, 64, 64), (3, 3, 3)):
        images = rng.integers(0, 256, (4, *shape), np.uint8)
        (pooled,) = _neighbours._pooled(_neighbours.Pictures([images]), np.arange(4))
        assert pooled.shape[1] <= 4 * 28 * 28
        apart = np.square(pooled[:, None] - pooled).sum(axis=2)
        assert (apart <= np.square(images[:, None].astype(float) - images).reshape(4, 4, -1).sum(axis=2) + 1e-6).all()


def test_the_commands_take_volumes(cubes, tmp_path):
    shown = invoke("info", cubes.path).stdout
    assert "size         6 x 6 x 6, grey volumes" in shown
    assert repr(cubes.train) == "Split(organmnist3d train, 20 volumes of 6 px)"
    assert json.loads(invoke("info", cubes.path, "--json").stdout)["ndim"] == 3
    for kind in ("npz", "png", "h5"):
        assert "train 20" in invoke("export", cubes.path, "--to", kind, "--out", tmp_path / kind).stdout
    assert "intact" in invoke("verify", tmp_path / "h5" / cubes.path.name).stdout
    assert store.open(tmp_path / "h5" / cubes.path.name).digest == cubes.digest
    assert invoke("audit", cubes.path, code=None).exit_code in (0, 1)


@pytest.mark.parametrize("flag", ["bloodmnist", "organmnist3d"])
def test_what_is_built_from_raw_images_alone_says_so_in_one_line(tmp_path, flag):
    said = re.compile(rf"{flag}: .*mmtk fetch {flag} --out DIR.*mmtk import")
    folders = ("--sources", tmp_path, "--out", tmp_path / "out")
    (tmp_path / "names.txt").write_text("a.png\n")
    for command in (
        ("build", flag, *folders), ("build", "breastmnist", flag, *folders[:2], "--plan-only"),
        ("build", flag, "--plan-only", "--listing", tmp_path / "names.txt"),
    ):
        error = invoke(*command, code=1).exception
        assert said.match(str(error)) or command[1] == "breastmnist"
    report = json.loads(invoke("sources", flag, "--sources", tmp_path, "--json", code=1).stdout)
    assert said.match(report[0]["problem"])
    assert [(source["folder"], source["complete"]) for source in report] == [(None, False)]
    assert "get it" not in invoke("sources", flag, "--sources", tmp_path, code=1).stdout
    assert not (tmp_path / "out").exists()
    assert "one of pathmnist, " in str(invoke("phantom", flag, "--out", tmp_path, code=1).exception)
    assert "known official" in str(invoke("audit", flag, code=1).exception)
