"""Memberships that are given or recovered: rows in the map's order, and what a map can have wrong."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import mmtk
from mmtk import matching
from mmtk.errors import ArgumentError, SourceError
from mmtk.phantom import write_phantom
from tests.commands import run_mmtk

FLAG = "dermamnist"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom(FLAG, tmp_path_factory.mktemp("raw"), scale=0.001)


@pytest.fixture(scope="module")
def built(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> mmtk.Store:
    (result,) = mmtk.build(FLAG, sources=raw, out=tmp_path_factory.mktemp("built"))
    return mmtk.open(result.path)


def rows_of(store: mmtk.Store) -> list[tuple[str, int, str]]:
    return [
        (split.name, row, source.decode())
        for split in store.splits for row, source in enumerate(split.records["source"].tolist())
    ]


def write(path: Path, rows, columns=("split", "index", "image_id")) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def test_rows_follow_the_map_of_the_authors(raw: Path, built: mmtk.Store, tmp_path: Path) -> None:
    """``split,index,image_id`` in any order of lines; here train and test change places, and each is turned round."""
    swap = {"train": "test", "val": "val", "test": "train"}
    counts = built.counts
    rows = [(swap[split], counts[split] - 1 - row, source) for split, row, source in rows_of(built)]
    given = write(tmp_path / "authors.csv", rows)
    (result,) = mmtk.build(FLAG, sources=raw, out=tmp_path / "out", map_csv=given)
    found = mmtk.open(result.path)
    assert not result.partial
    assert np.array_equal(found.test.images, built.train.images[::-1])
    assert np.array_equal(found.train.labels, built.test.labels[::-1])
    assert found.info.membership == "the official rows, in their order, by the map authors.csv"


def test_a_map_of_fewer_rows_makes_a_partial_store(raw: Path, built: mmtk.Store, tmp_path: Path) -> None:
    lost = [("train", built.counts["train"], "ISIC_9999999")]
    given = write(tmp_path / "more.csv", [*rows_of(built), *lost])
    with pytest.raises(SourceError) as caught:
        mmtk.build(FLAG, sources=raw, out=tmp_path, map_csv=given)
    said = "more.csv: lists 1 images that are not in the source, first ISIC_9999999"
    assert said in str(caught.value)
    (result,) = mmtk.build(FLAG, sources=raw, out=tmp_path / "out", map_csv=given, allow_partial=True)
    assert result.partial
    assert [f.name for f in result.findings if f.kind == "unmatched"] == [f"official row train[{lost[0][1]}]"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: [*rows, rows[0]], "train[0]"),
        (lambda rows: [*rows[:-1], (*rows[-1][:2], rows[0][2])], "train[0] and test["),
        (lambda rows: [("valid", *rows[0][1:]), *rows[1:]], "'valid'"),
        (lambda rows: [(rows[0][0], -1, rows[0][2]), *rows[1:]], "'-1'"),
        (lambda rows: rows[1:], "first train[0]"),
        (lambda rows: [], "has no rows"),
    ],
)
def test_a_wrong_map_is_one_clear_line(raw: Path, built: mmtk.Store, tmp_path: Path, change, said: str) -> None:
    given = write(tmp_path / "wrong.csv", change(rows_of(built)))
    done = run_mmtk("build", FLAG, "--sources", raw, "--out", tmp_path / "out", "--map", given, code=2)
    (line,) = done.stderr.splitlines()
    assert line.startswith("mmtk: error: ")
    assert said in line
    assert "wrong.csv" in line
    assert not list(tmp_path.glob("out/*.h5"))


def test_a_map_is_of_one_dataset_and_instead_of_a_match(raw: Path, tmp_path: Path) -> None:
    given = write(tmp_path / "m.csv", [])
    with pytest.raises(ArgumentError, match="map: names the rows of a single dataset"):
        mmtk.build([FLAG, "breastmnist"], sources=raw, out=tmp_path, map_csv=given)
    with pytest.raises(ArgumentError, match="together with match_npz"):
        mmtk.build(FLAG, sources=raw, out=tmp_path, map_csv=given, match_npz=tmp_path)


def test_official_rows_that_no_image_is_make_the_store_partial(raw: Path, built: mmtk.Store, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for split in built.splits:
        noise = rng.integers(0, 256, (3, 28, 28, 3)).astype(np.uint8) if split.name == "train" else split.images[:0]
        arrays[f"{split.name}_images"] = np.concatenate([noise, split.images])
        arrays[f"{split.name}_labels"] = np.concatenate([split.labels[: len(noise)], split.labels])
    (tmp_path / "npz").mkdir()
    np.savez_compressed(tmp_path / f"npz/{FLAG}.npz", **arrays)
    (result,) = mmtk.build(FLAG, sources=raw, out=tmp_path / "out", match_npz=tmp_path / "npz")
    assert result.partial
    assert result.counts == built.counts
    unmatched = [f for f in result.findings if f.kind == "unmatched"]
    assert [f.name for f in unmatched] == [f"official row train[{row}]" for row in range(3)]
    opened = mmtk.open(result.path)
    assert opened.info.marks == "SYNTHETIC PARTIAL"
    assert "3 none" in opened.info.membership
    assert np.array_equal(opened.train.images, built.train.images)
    kept = matching.read_match(tmp_path / f"out/{FLAG}_map.csv")
    assert sum(row.source is None for row in kept.everything) == 3
    (again,) = mmtk.build(FLAG, sources=raw, out=tmp_path / "b", map_csv=tmp_path / f"out/{FLAG}_map.csv")
    assert again.partial
    assert np.array_equal(mmtk.open(again.path).train.images, built.train.images)
