"""The facts of the ten datasets, the registry they stand in, and the recipes as JSON."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import astuple, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import mmtk
from mmtk.datasets import TEN, get_dataset, list_datasets, register
from mmtk.datasets.base import OFFICIAL_ALONE, Counts, Task
from mmtk.datasets.official import RECORDS
from mmtk.datasets.pipelines import Pipeline
from mmtk.datasets.steps import (
    BySize,
    CenterCrop,
    Colour,
    Grey,
    HuWindow,
    Resize,
    RoundTrip,
    Slice,
    Step,
    Turn,
    Zoom,
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


# the sets that version 2 added in 2021, none of them in the paper: classes, train, val, test
ADDED = {
    "bloodmnist": (8, 11959, 1712, 3421),
    "tissuemnist": (8, 165466, 23640, 47280),
    "organmnist3d": (11, 972, 161, 610),
    "nodulemnist3d": (2, 1158, 165, 526),
    "adrenalmnist3d": (2, 1188, 98, 298),
    "fracturemnist3d": (3, 1027, 103, 240),
    "vesselmnist3d": (2, 1335, 192, 382),
    "synapsemnist3d": (2, 1230, 177, 352),
}


def test_the_ten_stand_in_the_papers_order_with_its_counts_and_then_the_others() -> None:
    found = {d.flag: (len(d.classes), *astuple(d.counts[d.first_edition])) for d in list_datasets()}
    assert list(found.items()) == list({**TABLE_1, **ADDED}.items())
    assert tuple(TABLE_1) == TEN


def test_the_others_are_known_by_their_official_files_alone() -> None:
    for dataset in list_datasets():
        assert dataset.has_raw_pipeline == (dataset.flag in TEN)
        assert (OFFICIAL_ALONE in dataset.notes) == (dataset.flag in ADDED)
        assert dataset.ndim == (3 if dataset.flag.endswith("3d") else 2)
        assert dataset.sizes == ((28, 64) if dataset.ndim == 3 else (28, 64, 128, 224))
    assert replace(get_dataset("breastmnist"), md5={}).sizes == ()


def test_the_editions_that_changed_a_set_are_those_of_the_organs_the_nodules_and_the_vessels() -> None:
    changed = {
        dataset.flag: [astuple(counts) for counts in dict.fromkeys(dataset.counts.values())][1:]
        for dataset in list_datasets() if len(set(dataset.counts.values())) > 1
    }
    assert changed == {
        "organamnist": [(34561, 6491, 17778)], "organcmnist": [(12975, 2392, 8216)],
        "organsmnist": [(13932, 2452, 8827)], "organmnist3d": [(971, 161, 610)],
        "nodulemnist3d": [(1158, 165, 310)], "vesselmnist3d": [(1335, 191, 382)],
    }
    for dataset in list_datasets():
        first = "2020" if dataset.flag in TEN else "2021"
        editions = [first, *(["2022"] if dataset.flag == "nodulemnist3d" else []), "2024"]
        assert list(dataset.counts) == editions
        assert list(dataset.md5) == [*(f"{e}:28" for e in editions), *(f"2024:{s}" for s in dataset.sizes[1:])]
        assert set(editions) <= set(RECORDS)
        assert (dataset.md5[f"{first}:28"] != dataset.md5["2024:28"]) == (dataset.flag in changed)
        assert all(len(bytes.fromhex(md5)) == 16 for md5 in dataset.md5.values())


def test_md5s_are_those_published(real_data) -> None:
    rows = json.loads((real_data / "official-md5s.json").read_text())
    dated = {(flag, kind, md5): date for flag, kind, md5, date, *_ in rows}
    published = set(dated)
    for dataset in map(get_dataset, ADDED):
        years = {edition: dated[dataset.flag, "MD5", dataset.md5[f"{edition}:28"]][:4] for edition in dataset.counts}
        assert all(year <= edition for edition, year in years.items())
        assert set(years.values()) == {dataset.container(edition, 28) for edition in dataset.counts}
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
        assert dataset.licence == info["license"] or dataset.flag in TEN
        files = {"MD5" if size == 28 else f"MD5_{size}": dataset.md5[f"2024:{size}"] for size in dataset.sizes}
        assert files == {key: value for key, value in info.items() if key.startswith("MD5")}


def test_facts_are_json() -> None:
    facts = json.loads(json.dumps([d.facts() for d in list_datasets()]))
    for one in facts:
        assert one["notes"]
        assert all(value for key, value in one["source"].items() if key != "layout" or one["flag"] in TEN)
    chest = get_dataset("chestmnist")
    assert (chest.task, chest.labels, get_dataset("organamnist").labels) == (Task.MULTILABEL, 14, 1)


def test_aliases_lead_to_the_same_dataset_in_any_case() -> None:
    for name in ("organmnist_axial", "organmnist_a", "OrganAMNIST"):
        assert get_dataset(name) is get_dataset("organamnist")


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ArgumentError, match="did you mean breastmnist"):
        get_dataset("brestmnist")
    with pytest.raises(ArgumentError, match=r"^dataset zzz: .*one of [a-z3, ]*organsmnist"):
        get_dataset("zzz")


@pytest.mark.parametrize(
    ("flag", "aliases"),
    [("breastmnist", ()), ("other", ("breastmnist",)), ("organmnist_axial", ()), ("same", ("same",))],
)
def test_taken_names_are_refused_and_change_nothing(flag: str, aliases: tuple[str, ...]) -> None:
    before = list_datasets()
    with pytest.raises(ArgumentError, match="is already taken"):
        register(replace(get_dataset("pathmnist"), flag=flag, aliases=aliases))
    assert list_datasets() == before
    with pytest.raises(ArgumentError):
        get_dataset("other")


planes = st.sampled_from(["axial", "coronal", "sagittal"])
sizes = st.tuples(*[st.floats(0.1, 9)] * 3)
steps = st.one_of(
    st.builds(Grey, st.sampled_from(["truncated", "rounded"])), st.builds(Colour), st.builds(CenterCrop),
    st.builds(Resize, st.sampled_from(["bilinear", "box", "nearest"])),
    st.builds(RoundTrip, st.just("jpeg"), st.integers(1, 100)), st.builds(Turn),
    st.builds(Zoom, st.none() | sizes, sizes, st.sampled_from(["zero", "edge"])),
    st.builds(HuWindow, st.floats(-500, 500), st.floats(1, 4000), st.sampled_from(["nearest", "down"])),
    st.builds(Slice, planes, st.integers(1, 9)),
)


@given(st.lists(steps).map(tuple), st.lists(steps).map(tuple))
@example((HuWindow(0.0),), (HuWindow(-0.0),))
def test_recipes_come_back_from_json_and_their_hash_tells_them_apart(one, other) -> None:
    assert recipe_from_json(recipe_to_json(one)) == one
    assert (recipe_hash(one) == recipe_hash(other)) == (one == other)


@pytest.mark.parametrize(
    "text", ['[{"step": "sharpen"}]', '[{"step": "resize", "size": 3}]', "[{}]", "[3]", "{}", "no JSON", "[null"]
)
def test_unknown_steps_are_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match=r"expected a JSON list of steps|invalid step"):
        recipe_from_json(text)


def test_the_format_tells_what_every_step_does() -> None:
    table = files("mmtk.store").joinpath("FORMAT.md").read_text().partition("### Recipes")[2].partition("###")[0]
    told = {line.split("`")[1]: line for line in table.splitlines() if line.startswith("| `")}
    assert set(told) == {step.name for step in get_args(Step)}
    for step in get_args(Step):
        assert all(f"`{field.name}`" in told[step.name] for field in fields(step))


def test_what_is_official_depends_on_the_size() -> None:
    pneumonia, path = get_dataset("pneumoniamnist"), get_dataset("pathmnist")
    start = (Grey(), CenterCrop(), Resize("bilinear"))
    assert pneumonia.recipe_for("official", 28) == (*start, RoundTrip("jpeg", 75))
    assert pneumonia.recipe_for("clean", 28) == start
    for size in (29, 64, 128, 224):
        assert pneumonia.recipe_for("official", size) == (Grey("rounded"), *start[1:])
        assert pneumonia.recipe_for("clean", size) == pneumonia.recipe_for("official", size)
        assert path.recipe_for("official", size) == path.recipe_for("official", 28)
    with pytest.raises(ArgumentError):
        pneumonia.recipe_for("pretty", 28)
    assert Counts(1, 2, 3).total == 6


def test_clean_organs_are_turned_and_of_true_size() -> None:
    for size, filter in ((28, "nearest"), (224, "bilinear")):
        official, clean = (get_dataset("organcmnist").recipe_for(pixels, size) for pixels in ("official", "clean"))
        assert official == (
            Zoom((0.7031, 0.7031, 2.5)), HuWindow(25.0, 450.0, "down"), Slice("coronal", 2), Resize(filter)
        )
        assert clean == (Turn(), Zoom(None, border="edge"), *official[1:])


ZOOM, WINDOW, AXIAL = Zoom((0.7, 0.7, 2.5)), HuWindow(), Slice("axial", 4)


@pytest.mark.parametrize(
    ("recipe", "channels", "said"),
    [
        ((), 1, "ends with an image file instead of a grey image of the store's size"),
        ((Grey(),), 1, "ends with a grey image instead of a grey image of the store's size"),
        ((Grey(), Resize()), 3, "instead of a colour image of the store's size"),
        ((Colour(), Resize()), 1, "instead of a grey image of the store's size"),
        ((Resize(), Grey()), 1, "step resize gets an image file"),
        ((Grey(), Resize(), CenterCrop()), 1, "step center_crop gets a grey image of the store's size"),
        ((Grey(), Resize(), Resize()), 1, "step resize gets a grey image of the store's size"),
        ((Grey(), RoundTrip(), Resize()), 1, "step round_trip gets a grey image"),
        ((Grey(), HuWindow(), Resize()), 1, "step hu_window gets a grey image"),
        ((ZOOM, AXIAL, Resize()), 1, "step resize gets a slice in Hounsfield units"),
        ((ZOOM, WINDOW, Resize()), 1, "step resize gets a grid in grey levels"),
        ((WINDOW, AXIAL, Resize()), 1, "step hu_window gets an image file"),
        ((ZOOM, Turn(), WINDOW, AXIAL, Resize()), 1, "step turn gets a grid in Hounsfield units"),
        ((Turn(), Turn(), ZOOM, WINDOW, AXIAL, Resize()), 1, "step turn gets a turned CT volume"),
        ((Grey("mean"), Resize()), 1, "found luma 'mean' in step grey"),
        ((Grey(), Resize("cubic")), 1, "found filter 'cubic' in step resize, expected one of nearest"),
        ((Grey(), Resize(), RoundTrip("webp")), 1, "found format 'webp' in step round_trip"),
        ((Grey(), Resize(), RoundTrip("jpeg", 0)), 1, "a JPEG quality of 1 to 100"),
        ((ZOOM, HuWindow(40, 0), AXIAL, Resize()), 1, "a window wider than 0"),
        ((ZOOM, WINDOW, Slice("oblique", 4), Resize()), 1, "found plane 'oblique' in step slice"),
        ((ZOOM, WINDOW, Slice("axial", 0), Resize()), 1, "an integer of at least 1 for every"),
        ((Zoom((0.7, 0.0, 2.5)), WINDOW, AXIAL, Resize()), 1, "spacings above 0 mm"),
        ((Zoom(None, border="wrap"), WINDOW, AXIAL, Resize()), 1, "found border 'wrap' in step zoom"),
    ],
)
def test_a_recipe_that_cannot_run_as_it_stands_is_refused(recipe, channels: int, said: str) -> None:
    breast = get_dataset("breastmnist")
    with pytest.raises(ArgumentError, match=re.escape(said)):
        replace(breast, recipe=recipe, channels=channels)
    with pytest.raises(ArgumentError, match=re.escape(said)):
        replace(breast, recipe=BySize((Grey(), Resize()) if channels == 1 else (Colour(), Resize()), recipe),
                channels=channels)


@pytest.mark.parametrize(("flag", "facts", "said"), [
    ("organmnist3d", {"channels": 3}, "found 3 axes and 3 channels, expected"),
    ("breastmnist", {"ndim": 4}, "found 4 axes and 1 channels, expected"),
    ("breastmnist", {"md5": {"28": "0" * 32}}, r"md5: found '28', expected an edition and a size"),
    ("breastmnist", {"md5": {"2024:": "0" * 32}}, r"md5: found '2024:', expected an edition and a size"),
    ("breastmnist", {"ndim": 3}, "has volumes and a scan"),
])
def test_volumes_that_no_store_could_hold_or_nobody_could_build_are_refused(flag: str, facts, said: str) -> None:
    with pytest.raises(ArgumentError, match=f"dataset {flag}: {said}"):
        replace(get_dataset(flag), **facts)


def test_recipes_that_can_run_are_taken() -> None:
    breast = get_dataset("breastmnist")
    for recipe in (
        (Grey(), Resize()), (Grey(), CenterCrop(), CenterCrop(), Resize("lanczos"), RoundTrip(), RoundTrip()),
        (ZOOM, WINDOW, AXIAL, Resize()), (ZOOM, AXIAL, WINDOW, CenterCrop(), Resize("nearest"), RoundTrip()),
        (Turn(), Zoom(None), WINDOW, AXIAL, Resize()),
    ):
        assert replace(breast, recipe=recipe).recipe_for("official", 28) == recipe


def test_the_published_files_and_their_containers() -> None:
    breast, organ = get_dataset("breastmnist"), get_dataset("organamnist")
    assert breast.published("2020", 28) == breast.published("2024", 28) == breast.md5["2020:28"]
    assert breast.published("2020", 64) == breast.md5["2024:64"]  # the edition of 2024 did not change it
    assert organ.published("2020", 64) is None
    assert organ.published("2024", 64) == organ.md5["2024:64"]
    assert [breast.container(*key) for key in (("2020", 28), ("2024", 28), ("2020", 64), ("2024", 224))] == [
        "2020", "2020", "2024", "2024",
    ]
    assert [organ.container(*key) for key in (("2020", 28), ("2024", 28), ("2020", 64))] == ["2020", "2024", "2024"]
    assert breast.published("2024", 100) is None
    blood, nodule, vessel = map(get_dataset, ("bloodmnist", "nodulemnist3d", "vesselmnist3d"))
    assert [blood.container("2021", size) for size in blood.sizes] == ["2021", "2024", "2024", "2024"]
    assert [nodule.container(*key) for key in (("2021", 28), ("2022", 28), ("2024", 28), ("2024", 64))] == [
        "2021", "2022", "2022", "2024",
    ]
    assert [vessel.container(*key) for key in (("2021", 28), ("2024", 28), ("2024", 64))] == ["2021", "2024", "2024"]
    assert (nodule.published("2021", 64), vessel.published("2021", 64)) == (None, None)
    assert nodule.published("2022", 64) == nodule.md5["2024:64"]
    assert organ.unchecked_at(224, "2020")[-1] == "there are no official images of 224 px in edition 2020"
    assert organ.unchecked_at(224, "2024") == organ.unchecked_larger
    assert breast.unchecked_at(28) == breast.unchecked_at(224) == ()
    assert breast.unchecked_at(100) == ("there are no official images of 100 px in edition 2024",)


@pytest.mark.parametrize("pixels", ["official", "clean"])
@pytest.mark.parametrize("flag", list(TABLE_1))
def test_a_recipe_says_what_it_asks_of_its_files(flag: str, pixels: str) -> None:
    dataset = get_dataset(flag)
    asked = dataset.pipeline(pixels)
    organ, clean = flag.startswith("organ"), pixels == "clean"
    assert dataset.volumetric == asked.takes_volumes == organ
    assert (asked.turns, asked.measures) == (organ and clean,) * 2
    planes = {"organamnist": ("axial", 4), "organcmnist": ("coronal", 2), "organsmnist": ("sagittal", 2)}
    assert [(step.plane, step.every) for step in asked.slices] == ([planes[flag]] if organ else [])
    colour = flag in ("pathmnist", "dermamnist", "retinamnist")
    assert asked.kinds == (() if organ else ("colour",) if colour else ("truncated", "rounded"))
    assert asked.crops == (not organ and flag not in ("pathmnist", "chestmnist"))
    jpeg = flag in ("dermamnist", "octmnist", "pneumoniamnist", "retinamnist")
    assert asked.round_trips == (jpeg and not clean)
    assert not Pipeline(dataset.recipe_for(pixels, 29)).round_trips


def test_both_recipes_of_a_dataset_take_the_same_files() -> None:
    volumes = (ZOOM, WINDOW, AXIAL, Resize())
    for recipes in (((Grey(), Resize()), volumes), (volumes, (Grey(), Resize()))):
        with pytest.raises(ArgumentError, match="for image files at one size and for CT volumes at another"):
            replace(get_dataset("breastmnist"), recipe=BySize(*recipes))


def test_what_is_unchecked_of_a_plain_recipe_is_so_at_every_size() -> None:
    own = replace(get_dataset("pathmnist"), recipe=(Colour(), Resize()), unchecked=("all of it",), md5={})
    assert own.unchecked_at(28) == own.unchecked_at(64) == ("all of it",)


def test_the_first_edition_is_the_one_that_is_meant_where_none_is_named() -> None:
    assert {dataset.first_edition for dataset in map(get_dataset, TEN)} == {"2020"}
    assert {dataset.first_edition for dataset in map(get_dataset, ADDED)} == {"2021"}
    assert {dataset.last_edition for dataset in list_datasets()} == {"2024"}
    assert replace(get_dataset("pathmnist"), counts={"2026": Counts(1, 2, 3)}).first_edition == "2026"


def test_no_room_knows_a_dataset_by_its_module() -> None:
    modules = {getattr(dataset.scan, "func", dataset.scan).__module__ for dataset in map(get_dataset, TEN)}
    modules |= {f"mmtk.datasets.{name}" for name in ("blood", "tissue", "volumes")}
    knowing = {
        path.parent.name
        for path in Path(mmtk.__file__).parent.glob("*/*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if {node.module, f"{node.module}.{alias.name}"} & modules
    }
    assert len(modules) == 11
    assert not knowing
