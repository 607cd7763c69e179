"""Phantoms: layout, formats, minima, the same pixels each time, whole or not at all."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtk.datasets import get_dataset
from mmtk.datasets.base import SPLITS, Record
from mmtk.datasets.listing import Listing, find_source
from mmtk.errors import ArgumentError, MmtkError, SourceError
from mmtk.imaging import probe, read_image
from mmtk.phantom import _breast, _derma, _pneumonia, write_phantom
from mmtk.phantom._drawing import Draw

FAMILIES = {"breastmnist": _breast, "pneumoniamnist": _pneumonia, "dermamnist": _derma}


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantoms")
    for flag in FAMILIES:
        write_phantom(flag, out, 0.003, seed=7)
    return out


def scanned(flag: str, out: Path) -> tuple[Listing, tuple[Record, ...]]:
    dataset = get_dataset(flag)
    listing = find_source(out, dataset)
    scan = dataset.scan(listing)
    assert {finding.kind for finding in scan.findings} <= {"junk"}
    return listing, scan.records


@pytest.mark.parametrize("flag", FAMILIES)
def test_a_phantom_scans_whole_and_says_that_it_is_one(flag: str, phantoms: Path) -> None:
    listing, records = scanned(flag, phantoms)
    assert listing.root == phantoms / flag
    assert listing.phantom == {"flag": flag, "scale": 0.003, "seed": 7, "images": len(records)}
    assert not list(phantoms.glob(".*"))


@pytest.mark.parametrize("flag", FAMILIES)
def test_without_its_mark_a_phantom_does_not_pass_for_real_data(flag: str, phantoms: Path) -> None:
    listing, _ = scanned(flag, phantoms)
    with pytest.raises(SourceError, match="with other names"):
        get_dataset(flag).scan(Listing(listing.root, listing.names))


def test_formats_sizes_and_quirks_are_the_providers(phantoms: Path) -> None:
    headers = {}
    for flag in FAMILIES:
        listing, records = scanned(flag, phantoms)
        headers[flag] = [probe(listing.path(record.file)) for record in records]
    assert {h.format for h in headers["breastmnist"]} == {"png"}
    assert {h.channels for h in headers["breastmnist"]} == {3}
    assert len({(h.height, h.width) for h in headers["breastmnist"]}) > 20
    assert set(headers["dermamnist"]) == {("jpeg", 450, 600, 3)}
    chests = headers["pneumoniamnist"]
    assert {h.channels for h in chests} == {1, 3}
    assert len({(h.height, h.width) for h in chests}) > 20

    listing, records = scanned("breastmnist", phantoms)
    colourful = 0
    for record in records:
        pixels = read_image(listing.path(record.file), colour=True)
        colourful += int((pixels[..., 0] != pixels[..., 2]).any())
        mask = listing.path(record.file.replace(".png", "_mask.png")).read_bytes()
        assert mask[24:26] == b"\x01\x00"  # 1 bit, grey, as BUSI's
    assert 1 <= colourful < len(records) / 4
    assert any("_mask_1" in name for name in listing.names)

    names = scanned("pneumoniamnist", phantoms)[0].names
    assert {"train", "test", "val"} == {n.split("/")[1] for n in names if n.endswith(".jpeg") and n[0] == "c"}
    assert any("__MACOSX" in name for name in names)
    listing, records = scanned("dermamnist", phantoms)
    assert {record.file.split("/")[0][-1] for record in records} == {"1", "2"}
    assert len({record.subject for record in records}) < len(records)


def test_large_and_small_chests_stay_inside_the_providers_bounds() -> None:
    sizes = [_pneumonia._draw(Draw(0, "x"), "IM", index).shape for index in (11, 23)]
    assert sizes == [(2700, 2900), (127, 384)]


@pytest.mark.parametrize("flag", FAMILIES)
@settings(max_examples=40)
@given(scale=st.floats(1e-9, 0.1), seed=st.integers(0, 3))
def test_at_any_scale_each_class_has_two_images_a_split(flag: str, scale: float, seed: int) -> None:
    """Counted on the names alone, which is what the scan and the rule see."""
    split = get_dataset(flag).split
    counts = FAMILIES[flag].counts(scale, split)
    records = []
    for key, count in counts.items():
        part = key.split("/")[0] if "/" in key else ""
        label = {"malignant": 0, "benign": 1, "normal": 1}.get(key, key)
        label = label.split("/")[-1] if isinstance(label, str) else label
        records += [Record(f"{key} {i}", "", (label,), part=part) for i in range(count)]
    splits = split.assign(tuple(records))
    for label in {record.labels for record in records}:
        found = Counter(s for r, s in zip(records, splits, strict=True) if r.labels == label)
        assert min(found[name] for name in SPLITS) >= 2


@pytest.mark.parametrize("flag", FAMILIES)
def test_at_full_scale_the_counts_are_the_published_ones(flag: str) -> None:
    dataset = get_dataset(flag)
    assert sum(FAMILIES[flag].counts(1, dataset.split).values()) == dataset.counts["2020"].total


def test_ids_of_derma_are_unique_at_every_total() -> None:
    for count in (98, 7919, 10015):
        views = list(_derma._views({"nv": count}))
        assert len({view.name for view in views}) == count
        assert {view.part for view in views} == {1, 2}


def digest(flag: str, out: Path) -> str:
    listing, records = scanned(flag, out)
    found = hashlib.sha256()
    for record in records:
        pixels = read_image(listing.path(record.file), colour=True)
        found.update(f"{record.source} {record.labels} {record.subject} {pixels.shape}".encode())
        found.update(pixels.tobytes())
    return found.hexdigest()


GOLDEN = {
    "breastmnist": "61313b37b74b51c5c507926c8af9ef4ee6ad0aec2b8eb12d6b11c264b3c5e4de",
    "pneumoniamnist": "e453abc79362895864c61b6e319707ebe9c936322d6e1adbafbc32b10a5d9df0",
    "dermamnist": "a2f185b22c24869ec11288b2cb70b602e75002446f12bd30f6c466a110cdac3b",
}


@pytest.mark.parametrize("flag", FAMILIES)
def test_pixels_are_the_same_on_every_machine(flag: str, phantoms: Path) -> None:
    assert digest(flag, phantoms) == GOLDEN[flag]


def test_another_seed_gives_other_pixels_and_a_larger_scale_keeps_them(phantoms: Path, tmp_path: Path) -> None:
    write_phantom("breastmnist", tmp_path / "seed", 0.003, seed=8)
    assert digest("breastmnist", tmp_path / "seed") != GOLDEN["breastmnist"]
    larger = write_phantom("breastmnist", tmp_path / "scale", 0.03, seed=7)
    for path in (phantoms / "breastmnist").rglob("*.png"):
        assert (larger / path.relative_to(phantoms / "breastmnist")).read_bytes() == path.read_bytes()


def test_random_words_are_philoxs_own() -> None:
    """The first words of a stream, fixed: what phantoms and their goldens rest on."""
    draw = Draw(0, "a name")
    assert [draw.between(0, 999) for _ in range(4)] == [817, 754, 106, 702]
    assert draw.grain(2, 3).shape == (2, 3)
    assert draw.grain(5).dtype == np.uint8


def test_the_same_phantom_is_left_alone_and_another_is_refused(tmp_path: Path) -> None:
    path = write_phantom("breastmnist", tmp_path, 0.001)
    before = {p: p.stat().st_mtime_ns for p in path.rglob("*")}
    assert write_phantom("breastmnist", tmp_path, 0.001) == path
    assert {p: p.stat().st_mtime_ns for p in path.rglob("*")} == before
    with pytest.raises(SourceError, match="remove it or choose another folder"):
        write_phantom("breastmnist", tmp_path, 0.001, seed=1)
    (tmp_path / "dermamnist").mkdir()
    with pytest.raises(SourceError, match="not a phantom"):
        write_phantom("dermamnist", tmp_path, 0.001)


def test_a_stopped_phantom_leaves_nothing_under_its_name(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        assert find_nothing(tmp_path)
        if done == 3:
            raise KeyboardInterrupt

    def find_nothing(out: Path) -> bool:
        with pytest.raises(SourceError):
            find_source(out, get_dataset("breastmnist"))
        return True

    with pytest.raises(KeyboardInterrupt):
        write_phantom("breastmnist", tmp_path, 0.001, progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flag", "scale", "seed"),
    [("nosuch", 0.1, 0), ("breastmnist", 0, 0), ("breastmnist", -1, 0),
     ("breastmnist", float("nan"), 0), ("breastmnist", 1.5, 0), ("breastmnist", 0.1, -1)],
)
def test_bad_arguments_are_refused_and_write_nothing(flag: str, scale: float, seed: int, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError):
        write_phantom(flag, tmp_path / "out", scale, seed)
    assert not (tmp_path / "out").exists()


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MmtkError, match=r"file.breastmnist: cannot be written: file exists"):
        write_phantom("breastmnist", tmp_path / "file", 0.001)


def test_the_mark_is_json(phantoms: Path) -> None:
    for flag in FAMILIES:
        assert set(json.loads((phantoms / flag / "PHANTOM.json").read_text())) == {"flag", "scale", "seed", "images"}


def test_some_pictures_stand_twice() -> None:
    """As in BUSI, with opposite labels, and as in Kermany's X-rays, with one."""
    rule = get_dataset("breastmnist").split
    pictures: dict[bytes, list[str]] = {}
    for files in itertools.islice(_breast.images(_breast.counts(0.1, rule), 0), 65):
        name = next(iter(files))
        pictures.setdefault(files[name], []).append(name.split("/")[1])
    assert [kinds for kinds in pictures.values() if len(kinds) > 1] == [["benign", "malignant"]]
    pictures = {}
    for files in itertools.islice(_pneumonia.images({"train/NORMAL": 60}, 0), 44, 50):
        pictures.setdefault(*files.values(), []).append(*files)
    assert [len(names) for names in pictures.values()] == [1, 1, 2, 1, 1]
