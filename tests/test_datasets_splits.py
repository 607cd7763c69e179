"""The floor cut and the official maps, held against the published counts and each other."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import astuple, dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmtk.datasets import get_dataset
from mmtk.datasets.base import SPLITS, Counts, Record, SplitRule
from mmtk.datasets.maps import EVIDENCE, official_map
from mmtk.datasets.pneumonia import scan as scan_pneumonia
from mmtk.datasets.splits import ByPart, FloorCut, GroupedCut, SubjectCut, _deal, _draw, _targets

MAPPED = ("breastmnist", "pneumoniamnist", "dermamnist")


def all_records(flag: str) -> tuple[Record, ...]:
    labels = official_map(flag).labels
    return tuple(Record(source, source, label, part=source.split("/")[0]) for source, label in labels.items())


@pytest.mark.parametrize("flag", MAPPED)
def test_the_rule_gives_the_published_counts_on_the_whole_source(flag: str) -> None:
    dataset = get_dataset(flag)
    records = all_records(flag)
    assigned = dataset.split.assign(records)
    assert tuple(Counter(assigned)[name] for name in SPLITS) == astuple(dataset.counts["2020"])
    rows = official_map(flag).rows
    for name in SPLITS:  # class by class too
        ours = Counter(record.labels[0] for record, split in zip(records, assigned, strict=True) if split == name)
        assert ours == Counter(row.labels[0] for row in rows[name])


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["train", "test"])), max_size=60),
    st.floats(0.05, 0.9), st.floats(0, 1), st.sampled_from(["", "train"]), st.integers(0, 5),
)
def test_each_class_is_cut_by_the_floors_whatever_the_seed(images, first, further, within, seed) -> None:
    second = first + further * (1 - first)
    records = tuple(Record(f"{i}", f"{i}", (label,), part=part) for i, (label, part) in enumerate(images))
    assigned = FloorCut(first, second, within, seed).assign(records)
    for label in range(4):
        pairs = [pair for pair in zip(records, assigned, strict=True) if pair[0].labels == (label,)]
        inside = [split for record, split in pairs if record.part.startswith(within)]
        n = len(inside)
        expected = {"train": int(first * n), "val": int(second * n) - int(first * n), "test": n - int(second * n)}
        assert Counter(inside) == {name: count for name, count in expected.items() if count}
    outside = {s for r, s in zip(records, assigned, strict=True) if not r.part.startswith(within)}
    assert outside <= {"test"}


def test_the_draw_mixes_follows_the_seed_and_not_the_order() -> None:
    records = all_records("breastmnist")
    assigned = dict(zip(records, FloorCut(0.7, 0.8).assign(records), strict=True))
    again = dict(zip(records[::-1], FloorCut(0.7, 0.8).assign(records[::-1]), strict=True))
    assert assigned == again
    assert FloorCut(0.7, 0.8, seed=1).assign(records) != FloorCut(0.7, 0.8).assign(records)
    normal = Counter(split for record, split in assigned.items() if record.source.startswith("normal"))
    assert all(normal[name] > 5 for name in SPLITS)  # the second of two merged classes is in every split


@pytest.mark.parametrize(("rule", "places"), [
    (FloorCut(0.7, 0.8), (SPLITS, SPLITS, SPLITS)), (GroupedCut(Counts(1, 1, 1)), (SPLITS, SPLITS, SPLITS)),
    (FloorCut(0.9, within="train"), (("train", "val"), ("train", "val"), ("test",))),
    (SubjectCut(0.9, "train"), (("train", "val"), ("train", "val"), ("test",))),
    (ByPart(), (("train",), ("val",), ("test",))),
], ids=str)
def test_a_rule_tells_where_official_rows_may_stand(rule: SplitRule, places) -> None:
    assert tuple(map(rule.may_be, SPLITS)) == places


@pytest.mark.parametrize("flag", MAPPED)
def test_maps_have_every_file_once_and_known_evidence(flag: str) -> None:
    found = official_map(flag)
    rows = [row for name in SPLITS for row in found.rows[name]]
    assert {row.evidence for row in rows} <= set(EVIDENCE)
    assert len(found.labels) == {"breastmnist": 780, "pneumoniamnist": 5856, "dermamnist": 10015}[flag]
    unknown = [row for row in rows if row.source is None]
    assert len(unknown) == len(found.unplaced) == (67 if flag == "pneumoniamnist" else 0)
    assert all(row.evidence == "" and row.labels == (0,) for row in unknown)


def test_what_has_no_map_has_none() -> None:
    assert official_map("pathmnist") is None


@pytest.mark.parametrize("flag", ["breastmnist", "pneumoniamnist"])
def test_map_labels_are_those_of_the_official_rows(flag: str, real_data) -> None:
    with np.load(real_data / "npz" / f"{flag}.npz") as official:
        for name in SPLITS:
            rows = [row.labels[0] for row in official_map(flag).rows[name]]
            assert rows == official[f"{name}_labels"].ravel().tolist()


def test_maps_are_the_recovered_ones(real_data) -> None:
    import csv

    for flag, name, column in (
        ("breastmnist", "breastmnist_to_BUSI_map", "source_file"),
        ("pneumoniamnist", "pneumoniamnist_to_kermany_map", "source_file"),
        ("dermamnist", "dermamnist_to_HAM10000_map", "image_id"),
    ):
        with (real_data / "csv" / f"{name}.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        ours = official_map(flag).rows
        for row in rows:
            assert ours[row["split"]][int(row["index"])].source == row[column]
        assert sum(row.source is not None for name in SPLITS for row in ours[name]) == len(rows)


def test_pneumonia_subjects_cross_train_and_val_as_reported() -> None:
    """289 of the 468 subjects of val stand in train too."""
    from mmtk.datasets.listing import Listing

    found = official_map("pneumoniamnist")
    names = tuple(sorted(f"chest_xray/{source}" for source in found.labels))
    scan = scan_pneumonia(Listing(None, names))  # type: ignore[arg-type]
    subject = {record.source: record.subject for record in scan.records}
    train, val = ({subject[row.source] for row in found.rows[name]} for name in ("train", "val"))
    assert (len(val), len(val & train)) == (468, 289)


def test_derma_lesions_cross_the_official_split_as_the_notes_say(real_data) -> None:
    from mmtk.datasets.listing import find_source

    derma = get_dataset("dermamnist")
    from mmtk.datasets.derma import _read_metadata

    lesion = {name: row[1] for name, row in _read_metadata(find_source(real_data / "sources", derma)).items()}
    rows = official_map("dermamnist").rows
    train = {lesion[row.source] for row in rows["train"]}
    assert sum(lesion[row.source] in train for row in rows["test"]) == 693


# ------------------------------------------------------------------ by subject


@given(st.data())
def test_grouped_never_lets_a_subject_cross_and_keeps_the_counts(data) -> None:
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=40))
    records = tuple(
        Record(f"{subject}-{i}", "", (data.draw(st.integers(0, 2)),), f"s{subject}")
        for subject, size in enumerate(sizes) for i in range(size)
    ) + tuple(Record(f"single-{i}", "", (i % 3,)) for i in range(200))
    counts = Counts(70, 10, 20)
    splits = GroupedCut(counts, seed=data.draw(st.integers(0, 3))).assign(records)
    where: dict[str, set[str]] = {}
    for record, split in zip(records, splits, strict=True):
        if record.subject:
            where.setdefault(record.subject, set()).add(split)
    assert all(len(found) == 1 for found in where.values())
    for split in SPLITS:
        wanted = getattr(counts, split) / 100 * len(records)
        assert abs(splits.count(split) - wanted) <= 1


def test_grouped_keeps_the_classes_too_and_depends_on_its_seed() -> None:
    records = tuple(Record(f"{i}", "", (int(i % 10 == 0),), f"s{i // 3}") for i in range(3000))
    splits = GroupedCut(Counts(7, 1, 2)).assign(records)
    share = [split for record, split in zip(records, splits, strict=True) if record.labels == (1,)]
    assert [share.count(split) for split in SPLITS] == [210, 30, 60]
    assert [splits.count(split) for split in SPLITS] == [2100, 300, 600]
    assert GroupedCut(Counts(7, 1, 2), seed=1).assign(records) != splits
    assert GroupedCut(Counts(7, 1, 2)).assign(records) == splits


def test_several_labels_a_row_are_grouped_by_totals_alone() -> None:
    records = tuple(Record(f"{i}", "", (i % 2, i % 3 // 2), f"s{i // 2}") for i in range(200))
    splits = GroupedCut(Counts(7, 1, 2)).assign(records)
    assert [splits.count(split) for split in SPLITS] == [140, 20, 40]


def test_subjects_are_cut_within_a_part() -> None:
    records = tuple(Record(f"{i}", "", (0,), f"s{i // 4}", "train" if i < 80 else "test") for i in range(120))
    splits = SubjectCut(0.9, within="train").assign(records)
    assert [splits.count(split) for split in SPLITS] == [72, 8, 40]
    assert len({record.subject for record, split in zip(records, splits, strict=True) if split == "val"}) == 2
    assert ByPart().assign(records) == ["train"] * 80 + ["test"] * 40


# ------------------------------------------------------------ rules as facts


@pytest.mark.parametrize(
    ("rule", "facts", "words"),
    [
        (FloorCut(0.7, 0.8), {"rule": "floor_cut", "first": 0.7, "second": 0.8},
         "floor cut (first 0.7, second 0.8, seed 0)"),
        (FloorCut(0.9, within="train", seed=3), {"rule": "floor_cut", "first": 0.9, "within": "train", "seed": 3},
         "floor cut (first 0.9, second 1.0, within train, seed 3)"),
        (SubjectCut(0.9, "train"), {"rule": "subject_cut", "first": 0.9, "within": "train"},
         "subject cut (first 0.9, within train, seed 0)"),
        (ByPart(), {"rule": "provider_parts"}, "provider parts"),
        (GroupedCut(Counts(7007, 1, 2)),
         {"rule": "grouped_cut", "counts": {"train": 7007, "val": 1, "test": 2}},
         "grouped cut (counts train 7,007, val 1, test 2, seed 0)"),
    ],
)
def test_a_rule_says_its_facts_in_json_and_in_words(rule: SplitRule, facts: dict[str, object], words: str) -> None:
    assert rule.facts() == json.loads(json.dumps(rule.facts())) == facts
    assert str(rule) == words


def test_a_field_that_a_rule_gets_later_does_not_change_its_facts() -> None:
    @dataclass(frozen=True)
    class Later(FloorCut):
        shuffled: bool = True

    assert Later(0.7, 0.8).facts() == FloorCut(0.7, 0.8).facts()
    assert Later(0.7, 0.8, shuffled=False).facts() == {**FloorCut(0.7, 0.8).facts(), "shuffled": False}


@given(
    st.lists(st.lists(st.lists(st.integers(0, 4), max_size=4, unique=True), min_size=1, max_size=4), max_size=25),
    st.sampled_from([(70, 10, 20), (0.6, 0.2, 0.2), (1, 1, 1), (99, 1, 0)]),
)
def test_whole_numbers_deal_as_fractions_do(subjects, parts) -> None:
    """The shares of what a split lacks, over one common number, stand in the order of the fractions."""
    rows = [labels for some in subjects for labels in some]
    kinds = [[(), *((label,) for label in labels)] for labels in rows]
    groups: dict[str, list[int]] = {}
    for number, some in enumerate(subjects):
        start = sum(map(len, subjects[:number]))
        groups[f"s{number}"] = list(range(start, start + len(some)))
    shares = {split: Fraction(part) / sum(map(Fraction, parts)) for split, part in zip(SPLITS, parts, strict=True)}
    lacking = _targets(kinds, shares)
    wanted = {key: max(count, 1) for key, count in lacking.items()}
    left, expected = dict(lacking), {}
    for name in sorted(groups, key=lambda name: (-len(groups[name]), _draw(3, name))):
        held = Counter(kind for row in groups[name] for kind in kinds[row])
        fits = {
            split: (-sum(max(0, n - left[split, kind]) for kind, n in held.items()),
                    sum((Fraction(n * left[split, kind], wanted[split, kind]) for kind, n in held.items()), Fraction()))
            for split in SPLITS
        }
        expected[name] = max(SPLITS, key=lambda split: fits[split])
        for kind, n in held.items():
            left[expected[name], kind] -= n
    assert _deal(groups, kinds, dict(lacking), 3) == expected
