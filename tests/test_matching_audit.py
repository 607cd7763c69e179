"""Duplicates, contradicting labels and subjects in several splits: against brute force, and in the official files."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtk import store
from mmtk.datasets import get_dataset
from mmtk.datasets.listing import Listing
from mmtk.datasets.maps import official_map
from mmtk.errors import ArgumentError, MmtkError
from mmtk.matching import VolumeAxes, _neighbours, audit
from tests.commands import invoke
from tests.small_stores import store_of


@pytest.fixture
def opened(tmp_path) -> store.Store:
    """Rows 0, 2 and 5 are equal, row 2 of another label; row 4 is 2 levels from them, row 3 is 3 levels from row 1."""
    images = np.repeat(np.array([10, 100, 10, 103, 12, 10, 200], np.uint8), 64).reshape(7, 8, 8)
    subjects = ["a", "b", "a", "c", "", "b", "c"]
    return store_of(tmp_path, images, [0, 1, 1, 1, 0, 0, 1], subjects=subjects, cuts=[3, 5])


def test_each_kind_of_finding(opened):
    found = audit(opened)
    (group_of_three,) = found.exact
    assert [str(place) for place in group_of_three.places] == ["train[0] s0", "train[2] s2", "test[0] s5"]
    assert group_of_three.across
    assert group_of_three.conflict
    near = [([str(place) for place in pair.places], pair.distance, pair.across, pair.conflict) for pair in found.near]
    assert near == [
        (["train[0] s0", "val[1] s4"], 2, True, False),
        (["train[2] s2", "val[1] s4"], 2, True, True),
        (["val[1] s4", "test[0] s5"], 2, True, False),
        (["train[1] s1", "val[0] s3"], 3, True, False),
    ]
    assert found.conflicts == (group_of_three, found.near[1])
    assert [(o.splits, o.shared, o.subjects, o.images, o.totals) for o in found.overlaps] == [
        (("train", "test"), 1, (2, 2), (1, 1), (3, 2)), (("val", "test"), 1, (1, 2), (1, 1), (2, 2))
    ]
    crossing = [(name, [str(place) for place in places]) for name, places in found.crossing]
    assert crossing == [("b", ["train[1] s1", "test[0] s5"]), ("c", ["val[0] s3", "test[1] s6"])]
    assert found.known_subjects == 6
    assert len(audit(opened, 2.5).near) == 3
    assert audit(opened, 0).near == ()
    assert found.findings


@settings(max_examples=40)
@given(seed=st.integers(0, 999), rows=st.integers(0, 40), near=st.sampled_from([0, 0.4, 1, 1.5, 255]))
def test_duplicates_are_those_of_brute_force(tmp_path_factory, seed, rows, near):
    folder, rng = tmp_path_factory.mktemp("a"), np.random.default_rng(seed)
    images = rng.integers(0, 3, (rows, 2, 2), np.uint8)
    cuts = sorted(rng.integers(0, rows + 1, 2).tolist())
    subjects = [str(number or "") for number in rng.integers(0, 9, rows)]
    found = audit(store_of(folder, images, rng.integers(0, 2, rows), subjects=subjects, cuts=cuts), near)
    wide = images.reshape(rows, 4).astype(int)
    number = {f"s{i}": i for i in range(rows)}
    squared = {
        (i, j): int(np.square(wide[i] - wide[j]).sum()) for i in range(rows) for j in range(i + 1, rows)
    }
    pairs = [tuple(number[place.source] for place in pair.places) for pair in found.near]
    assert sorted(pairs) == [pair for pair, d in squared.items() if 0 < d <= near * near * 4]
    assert [pair.distance for pair in found.near] == sorted(round((squared[pair] / 4) ** 0.5, 4) for pair in pairs)
    equal = {(number[a.source], number[b.source]) for one in found.exact for a in one.places for b in one.places}
    assert {(i, j) for i, j in equal if i < j} == {pair for pair, d in squared.items() if not d}
    split = np.repeat(store.SPLITS, np.diff([0, *cuts, rows]))
    for overlap in found.overlaps:
        mine = [{s for s, own in zip(subjects, split, strict=True) if s and own == name} for name in overlap.splits]
        assert overlap.shared == len(mine[0] & mine[1])
        assert overlap.subjects == (len(mine[0]), len(mine[1]))
        both = [s for s, own in zip(subjects, split, strict=True) if s in mine[0] & mine[1] and own in overlap.splits]
        assert sum(overlap.images) == len(both)
    known = [{s for s, own in zip(subjects, split, strict=True) if s and own == name} for name in store.SPLITS]
    assert len(found.overlaps) == sum(bool(known[a] & known[b]) for a, b in ((0, 1), (0, 2), (1, 2)))


def test_the_command_prints_ten_and_writes_all(opened, tmp_path):
    told = invoke("audit", opened.path, code=1).stdout.splitlines()
    assert told[0] == f"{opened.path}: 1 groups of identical images, 1 across splits"
    assert told[1] == "  0: train[0] s0 (0) = train[2] s2 (1) = test[0] s5 (0)"
    assert told[2] == f"{opened.path}: 4 pairs of near duplicates (within RMS 4), 4 across splits"
    assert told[3] == "  2: train[0] s0 (0) ~ val[1] s4 (0)"
    assert f"{opened.path}: 2 of these with conflicting labels" in told
    assert told[-2:] == [
        "  1 of 2 test subjects are also in train (1 of 2 test images, 1 of 3 train images)",
        "  1 of 2 test subjects are also in val (1 of 2 test images, 1 of 2 val images)",
    ]
    facts = json.loads(invoke("audit", opened.path, "--json", "--near", 2.5, code=1).stdout)
    assert [(one["exact"]["groups"], one["near"]["pairs"], one["conflicts"]) for one in facts] == [(1, 3, 2)]
    assert facts[0]["subjects"]["overlaps"][0]["shared"] == 1
    invoke("audit", opened.path, "--csv", tmp_path / "new" / "all.csv", code=1)
    with (tmp_path / "new" / "all.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] for row in rows] == ["exact"] * 3 + ["near"] * 8 + ["subject"] * 4
    assert rows[3] == {
        "store": str(opened.path), "kind": "near", "group": "1", "split": "train", "index": "0", "source": "s0",
        "subject": "a", "label": "0", "distance": "2.0",
    }
    many = store_of(tmp_path / "many", np.zeros((90, 4, 4), np.uint8), np.zeros(90), cuts=[30, 60])
    told = invoke("audit", many.path, code=1).stdout.splitlines()
    assert told[1].count("train[") == 10
    assert told[1].endswith(" and 80 more")
    assert told[-1] == f"{many.path}: subjects unknown"


def test_what_has_no_findings_is_exit_0(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (9, 8, 8), np.uint8)
    clean = store_of(tmp_path, images, np.zeros(9), subjects="012345678", cuts=[3, 6])
    told = invoke("audit", clean.path).stdout.splitlines()
    assert told[-1] == f"{clean.path}: 0 subjects in several splits"
    assert not audit(store_of(tmp_path / "none", images[:0], [])).findings


def test_what_cannot_be_audited_is_one_line(opened, monkeypatch):
    with pytest.raises(ArgumentError, match="pathmnist: has no known official map"):
        audit("pathmnist")
    with pytest.raises(ArgumentError, match="0 to 255"):
        audit(opened, -1)
    monkeypatch.setattr(_neighbours, "MOST_PAIRS", 3)
    with pytest.raises(MmtkError, match="exceed 3 pairs"):
        audit(opened)


# ---------------------------------------------------------- official memberships


def overlaps(found) -> dict[str, tuple[int, int, int]]:
    return {" ".join(o.splits): (o.shared, o.images[1], o.totals[1]) for o in found.overlaps}


def test_lesions_and_patients_cross_the_official_splits_as_reported():
    derma = audit("dermamnist")
    assert overlaps(derma)["train test"] == (641, 693, 2005)
    assert overlaps(derma)["train val"][0] == 332
    told = invoke("audit", "dermamnist", code=1).stdout
    assert "641 of 1868 test subjects are also in train (693 of 2005 test images" in told
    assert invoke("audit", "breastmnist").stdout == "breastmnist: subjects unknown\n"


@pytest.mark.parametrize("flag", ["pneumoniamnist"])
def test_subjects_of_the_map_are_those_of_the_scan(flag):
    known = official_map(flag)
    rows = [row for split in store.SPLITS for row in known.rows[split] if row.source] + list(known.unplaced)
    scan = get_dataset(flag).scan(Listing(None, tuple(sorted(f"chest_xray/{row.source}" for row in rows))))
    assert {row.source: row.subject for row in rows} == {record.source: record.subject for record in scan.records}


def test_subjects_of_the_derma_map_are_the_lesions(real_data):
    with (real_data / "sources" / "ham10000" / "HAM10000_metadata.csv").open(newline="") as file:
        lesions = {row["image_id"]: row["lesion_id"] for row in csv.DictReader(file)}
    rows = [row for split in store.SPLITS for row in official_map("dermamnist").rows[split]]
    assert {row.source: row.subject for row in rows} == lesions


def test_the_official_breast_file(real_data, tmp_path):
    found = audit(store.open(store.import_npz(real_data / "npz" / "breastmnist.npz", tmp_path)))
    (pair,) = found.exact
    assert [str(place) for place in pair.places] == [
        "train[115] malignant/malignant (145).png", "test[76] benign/benign (433).png"
    ]
    assert [place.label for place in pair.places] == [(0,), (1,)]
    assert pair.conflict
    assert pair.across
    assert len(found.near) == 94
    assert len(found.conflicts) == 4


def test_the_official_pneumonia_file(real_data, tmp_path):
    found = audit(store.open(store.import_npz(real_data / "npz" / "pneumoniamnist.npz", tmp_path)))
    assert len(found.exact) == 27
    across = [one for one in found.exact if one.across]
    assert [{place.split for place in one.places} for one in across] == [{"train", "val"}] * 8
    between = next(o for o in found.overlaps if o.splits == ("train", "val"))
    shared = {row.subject for row in official_map("pneumoniamnist").rows["train"]} & {
        row.subject for row in official_map("pneumoniamnist").rows["val"]
    }
    assert between.shared == len(shared)
    assert overlaps(audit("pneumoniamnist")) == overlaps(found)


def test_a_volume_is_told_to_programs_in_the_same_words_as_ever():
    facts = VolumeAxes("volume-0.nii", {"train": 3}, ("y",), True, 0.123456, 0.5, "liver").facts()
    assert list(facts) == ["file", "images", "reversed", "told", "spine", "mask", "elsewhere", "contradiction"]
    assert facts["spine"] == 0.1235
