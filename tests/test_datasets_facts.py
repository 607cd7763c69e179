"""The facts of the ten datasets, the registry they stand in, and the recipes as JSON."""

from __future__ import annotations

import json
from dataclasses import astuple, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmtk.datasets import get_dataset, list_datasets, register
from mmtk.datasets.base import (
    CenterCrop,
    Colour,
    Counts,
    Grey,
    Resize,
    RoundTrip,
    Task,
    recipe_from_json,
    recipe_hash,
    recipe_to_json,
)
from mmtk.errors import ArgumentError

# the paper's Table 1: classes or labels, then train, val, test
TABLE_1 = {
    "pathmnist": (9, 89996, 10004, 7180),
    "chestmnist": (14, 78468, 11219, 22433),
    "dermamnist": (7, 7007, 1003, 2005),
    "octmnist": (4, 97477, 10832, 1000),
    "pneumoniamnist": (2, 4708, 524, 624),
    "retinamnist": (5, 1080, 120, 400),
    "breastmnist": (2, 546, 78, 156),
    "organamnist": (11, 34581, 6491, 17778),
    "organcmnist": (11, 13000, 2392, 8268),
    "organsmnist": (11, 13940, 2452, 8829),
}


def test_the_ten_stand_in_the_papers_order_with_its_counts() -> None:
    found = {d.flag: (len(d.classes), *astuple(d.counts["2020"])) for d in list_datasets()}
    assert list(found.items()) == list(TABLE_1.items())


def test_only_the_organ_sets_changed_in_2024() -> None:
    changed = {d.flag: astuple(d.counts["2024"]) for d in list_datasets() if d.counts["2024"] != d.counts["2020"]}
    assert changed == {
        "organamnist": (34561, 6491, 17778), "organcmnist": (12975, 2392, 8216), "organsmnist": (13932, 2452, 8827),
    }
    for dataset in list_datasets():
        assert set(dataset.md5) == {"2020:28", "2024:28", "2024:64", "2024:128", "2024:224"}
        assert (dataset.md5["2020:28"] != dataset.md5["2024:28"]) == (dataset.flag in changed)
        assert all(len(bytes.fromhex(md5)) == 16 for md5 in dataset.md5.values())


def test_md5s_are_those_published(real_data) -> None:
    published = {(f, kind, md5) for f, kind, md5, *_ in json.loads((real_data / "official-md5s.json").read_text())}
    for dataset in list_datasets():
        for key, md5 in dataset.md5.items():
            edition, size = key.split(":")
            names = (dataset.flag, *dataset.aliases)
            kind = "MD5" if size == "28" else f"MD5_{size}"
            assert any((name, kind, md5) in published for name in names), (dataset.flag, edition, size)


def test_tasks_classes_and_channels_are_those_of_medmnist() -> None:
    medmnist = pytest.importorskip("medmnist", exc_type=ImportError)
    for dataset in list_datasets():
        info = medmnist.INFO[dataset.flag]
        names = tuple(name.replace("pleural", "pleural thickening") for name in info["label"].values())
        assert (dataset.task.value, dataset.classes, dataset.channels) == (info["task"], names, info["n_channels"])
        assert astuple(dataset.counts["2024"]) == tuple(info["n_samples"].values())


def test_facts_are_json() -> None:
    facts = json.loads(json.dumps([d.facts() for d in list_datasets()]))
    for one in facts:
        assert one["notes"]
        assert all(one["source"].values())
    chest = get_dataset("chestmnist")
    assert (chest.task, chest.labels, get_dataset("organamnist").labels) == (Task.MULTILABEL, 14, 1)


def test_aliases_lead_to_the_same_dataset_in_any_case() -> None:
    for name in ("organmnist_axial", "organmnist_a", "OrganAMNIST"):
        assert get_dataset(name) is get_dataset("organamnist")


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ArgumentError, match="did you mean breastmnist") as caught:
        get_dataset("brestmnist")
    assert "organsmnist" in str(caught.value)
    with pytest.raises(ArgumentError, match=r"^dataset zzz: expected one of [a-z, ]*$"):
        get_dataset("zzz")


@pytest.mark.parametrize(
    ("flag", "aliases"),
    [("breastmnist", ()), ("other", ("breastmnist",)), ("organmnist_axial", ()), ("same", ("same",))],
)
def test_taken_names_are_refused_and_change_nothing(flag: str, aliases: tuple[str, ...]) -> None:
    before = list_datasets()
    with pytest.raises(ArgumentError, match="names not yet taken"):
        register(replace(get_dataset("pathmnist"), flag=flag, aliases=aliases))
    assert list_datasets() == before
    with pytest.raises(ArgumentError):
        get_dataset("other")


steps = st.one_of(
    st.builds(Grey), st.builds(Colour), st.builds(CenterCrop), st.builds(Resize, st.sampled_from(["bilinear", "box"])),
    st.builds(RoundTrip, st.just("jpeg"), st.integers(1, 100)),
)


@given(st.lists(steps).map(tuple), st.lists(steps).map(tuple))
def test_recipes_come_back_from_json_and_their_hash_tells_them_apart(one, other) -> None:
    assert recipe_from_json(recipe_to_json(one)) == one
    assert (recipe_hash(one) == recipe_hash(other)) == (one == other)


@pytest.mark.parametrize("text", ['[{"step": "sharpen"}]', '[{"step": "resize", "size": 3}]', "[{}]"])
def test_unknown_steps_are_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match="steps of"):
        recipe_from_json(text)


def test_clean_pixels_leave_out_only_the_round_trip() -> None:
    pneumonia = get_dataset("pneumoniamnist")
    assert pneumonia.recipe_for("official") == (*pneumonia.recipe_for("clean"), RoundTrip("jpeg", 75))
    with pytest.raises(ArgumentError):
        pneumonia.recipe_for("pretty")
    assert Counts(1, 2, 3).total == 6
