"""The method tflite:FOLDER: models that a service exports give the scores that their own numbers say."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from mmtk import store
from mmtk.errors import ArgumentError, MmtkError
from mmtk.scoring import read_predictions
from mmtk.training import tflite
from mmtk.training.methods import Job, get_method
from tests.commands import invoke
from tests.small_stores import MULTILABEL, write_small_store
from tests.tflites import SCALE, pixel_of, write_model

pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")
Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")

KINDS = {
    "grey": {"flag": "breastmnist", "classes": 2},
    "rgb": {"flag": "retinamnist", "task": "multi-class", "classes": 5, "channels": 3},
    "labels": {"flag": "chestmnist", "task": MULTILABEL, "classes": 4},
}


def opened_store(tmp_path, kind="grey", **more):
    facts = KINDS[kind] | more
    return store.open(write_small_store(tmp_path / "stores" / f"{facts['flag']}_8.h5", (12, 6, 6), **facts))


def write_names(folder, opened, names=None):
    (folder / "dict.txt").write_text("".join(f"{name}\n" for name in names or opened.info.classes))


def scores_of(opened, folder, out):
    """The scores that a run leaves, by split."""
    result = get_method(f"tflite:{folder}").run(Job(opened, out, 60))
    return {name: read_predictions(out / file).scores for name, file in result.files.items()}


def bytes_of(split, order, size=(5, 6)):
    """What the outputs are, as Pillow resizes the images: a row an image, 0 to 255."""
    rows = [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC).convert("RGB")).reshape(-1)
            for image in split.images]
    return np.stack(rows)[:, [pixel_of(output) for output in order]].astype(float)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("taken", "told"), [
    ("uint8", "uint8"), ("int8", "int8"), ("float32", "float32"), ("uint8", "float32"), ("int8", "float32"),
])
def test_scores_are_those_of_the_models_numbers(tmp_path, kind, taken, told):
    opened, folder = opened_store(tmp_path, kind), tmp_path / "models"
    classes = len(opened.info.classes)
    write_model(folder / "model.tflite", classes, taken, told=told)
    write_names(folder, opened, opened.info.classes[::-1])
    unit = 1 / 255 if taken == "float32" else SCALE
    found = scores_of(opened, folder, tmp_path / "run")
    for split in opened.splits:
        expected = bytes_of(split, range(classes)[::-1]) * unit
        assert np.allclose(found[split.name], expected, rtol=0, atol=1e-6)


def test_a_folder_for_each_dataset_comes_before_the_folder_itself(tmp_path):
    opened, folder = opened_store(tmp_path), tmp_path / "models"
    for name, scale in (("breastmnist_8", 1 / 256), ("other", 1 / 512)):
        write_model(folder / name / "a.tflite", 2, scale=scale)
        write_names(folder / name, opened)
    assert np.allclose(scores_of(opened, folder, tmp_path / "run")["test"], bytes_of(opened.test, (0, 1)) / 256)
    assert np.allclose(scores_of(opened, folder / "other", tmp_path / "2")["test"], bytes_of(opened.test, (0, 1)) / 512)


def test_names_are_found_in_any_case_and_one_may_stand_for_none(tmp_path):
    opened, folder = opened_store(tmp_path, "labels"), tmp_path / "models"
    write_model(folder / "model.tflite", 5)
    (folder / "dict.txt").write_bytes(b"\xef\xbb\xbfNone_Of_The_Above\r\n3\r\n 2\r\n1\r\n0\r\n\r\n")
    found = scores_of(opened, folder, tmp_path / "run")["test"]
    assert np.allclose(found, bytes_of(opened.test, (4, 3, 2, 1)) * SCALE)


def test_scaling_repeats_the_paper_and_tells_what_floats_stand_for(tmp_path):
    opened, folder = opened_store(tmp_path, "labels"), tmp_path / "models"
    write_model(folder / "model.tflite", 4)
    write_names(folder, opened)
    (folder / "scaling.json").write_text('{"divisor": 255}')
    every = bytes_of(opened.test, range(4))
    found = scores_of(opened, folder, tmp_path / "run")["test"]
    assert np.allclose(found, every / 255, rtol=0, atol=1e-9)
    write_model(folder / "model.tflite", 4, "float32")
    (folder / "scaling.json").write_text('{"mean": 127.5, "std": 127.5}')
    assert np.allclose(scores_of(opened, folder, tmp_path / "2")["test"], every / 127.5 - 1, rtol=0, atol=1e-6)


def test_a_byte_of_128_is_positive_in_the_paper_alone(tmp_path):
    opened, folder = opened_store(tmp_path, "labels"), tmp_path / "models"
    write_model(folder / "model.tflite", 4)
    write_names(folder, opened)
    for divisor, positive in ((0, False), (255, True)):
        (folder / "scaling.json").write_text(json.dumps({"divisor": divisor}))
        model = tflite._Model(folder / "model.tflite", opened.info)
        assert bool((model.scores(np.full((8, 8), 128, np.uint8)) > 0.5).all()) is positive


def test_integers_without_a_scale_go_from_0_to_1(tmp_path):
    opened, folder = opened_store(tmp_path), tmp_path / "models"
    write_model(folder / "model.tflite", 2, "int8")
    write_names(folder, opened)
    model = tflite._Model(folder / "model.tflite", opened.info)
    model.output["quantization"] = (0.0, 0)
    assert model.scores(np.full((8, 8), 51, np.uint8)).tolist() == pytest.approx([0.2, 0.2])


def test_grey_images_go_into_a_model_of_one_channel(tmp_path):
    opened, folder = opened_store(tmp_path), tmp_path / "models"
    write_model(folder / "model.tflite", 2, shape=(1, 6, 5, 1))
    write_names(folder, opened)
    grey = [np.asarray(Image.fromarray(image).resize((5, 6), Image.Resampling.BICUBIC)).reshape(-1)[[0, 7]]
            for image in opened.test.images]
    assert np.allclose(scores_of(opened, folder, tmp_path / "run")["test"], np.stack(grey) * SCALE)


# -------------------------------------------------------------------------------------------------- what goes wrong


def broken(tmp_path, break_it, kind="grey", **more):
    """The one line of a model that something was done to."""
    opened, folder = opened_store(tmp_path, kind, **more), tmp_path / "models"
    path = write_model(folder / "model.tflite", len(opened.info.classes))
    write_names(folder, opened)
    break_it(path)
    with pytest.raises(MmtkError) as caught:
        get_method(f"tflite:{folder}").run(Job(opened, tmp_path / "run", 60))
    assert not (tmp_path / "run" / "result.json").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write_text(name, text):
    return lambda path: path.with_name(name).write_text(text)


@pytest.mark.parametrize(("break_it", "told"), [
    (lambda path: path.unlink(), "contains no .tflite file, nor has it a folder breastmnist"),
    (lambda path: write_model(path.with_name("b.tflite"), 2), "found b.tflite, model.tflite"),
    (lambda path: path.with_name("dict.txt").unlink(), "dict.txt: does not exist"),
    (lambda path: path.with_name("dict.txt").write_bytes(b"\xff0\n1\n"), "dict.txt: is not encoded as UTF-8"),
    (write_text("dict.txt", "0\n2\n"), "dict.txt: the class 1 of breastmnist is missing"),
    (write_text("dict.txt", "0\n1\nbackground\n"), "background is not a class of breastmnist"),
    (write_text("dict.txt", "0\n1\n0\n"), "dict.txt: the name 0 is repeated"),
    (write_text("scaling.json", '{"std": 0}'), "scaling.json"),
    (write_text("scaling.json", '{"divide": 255}'), "did you mean divisor?"),
    (lambda path: path.write_bytes(b""), "the model cannot be run"),
    (lambda path: path.write_bytes(b"no model"), "The model is not a valid Flatbuffer buffer"),
    (lambda path: path.write_bytes(path.read_bytes()[:-40]), "the model cannot be run"),
    (lambda path: write_model(path, 2, without="subgraphs"), "crashes when it is run (SIGSEGV)"),
    (lambda path: write_model(path, 3), "an output of shape (1, 3), expected 2 outputs"),
    (lambda path: write_model(path, 2, shape=(1, 90)), "shape (1, 90), expected (1, height, width, 1 or 3)"),
    (lambda path: write_model(path, 2, shape=(1, 6, 5, 4)), "an input of shape (1, 6, 5, 4)"),
])
def test_what_cannot_be_scored_is_said_in_one_line(tmp_path, break_it, told):
    assert told in broken(tmp_path, break_it)


def test_a_model_of_one_channel_is_not_for_rgb(tmp_path):
    told = broken(tmp_path, lambda path: write_model(path, 5, shape=(1, 6, 7, 1)), "rgb")
    assert "expected (1, height, width, 3)" in told


def test_volumes_are_refused(tmp_path):
    told = broken(tmp_path, lambda path: None, ndim=3)
    assert "volumes" in told


def test_a_model_that_does_not_end_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(tflite, "_TRIAL", "import time; time.sleep(60)")
    monkeypatch.setattr(tflite, "_TRIAL_SECONDS", 0.5)
    assert "gave no scores within 0.5 s" in broken(tmp_path, lambda path: None)


def test_without_the_extra_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    assert "pip install 'mmtk[tflite]'" in broken(tmp_path, lambda path: None)


def test_a_folder_that_is_not_there_is_no_method(tmp_path):
    with pytest.raises(ArgumentError, match="method tflite: the folder /no/such does not exist"):
        invoke("decathlon", "--stores", tmp_path, "--out", tmp_path / "out", "--method", "tflite:/no/such")


# ------------------------------------------------------------------------------------------------- as a run of many


def test_the_decathlon_scores_it_and_notices_another_model(tmp_path):
    opened = opened_store(tmp_path)
    opened_store(tmp_path, "labels")
    for flag, outputs in (("breastmnist", 2), ("chestmnist", 4)):
        write_model(tmp_path / "edge v1" / flag / "model.tflite", outputs)
        (tmp_path / "edge v1" / flag / "dict.txt").write_text("".join(f"{one}\n" for one in range(outputs)))
    command = (
        "decathlon", "--stores", tmp_path / "stores", "--out", tmp_path / "out", "--size", 8, "--budget", 60,
        "--method", f"tflite:{tmp_path / 'edge v1'}",
    )
    printed = invoke(*command).output
    assert "tflite edge v1" in printed
    runs = sorted((tmp_path / "out").rglob("result.json"))
    assert [path.parent.name for path in runs] == ["tflite-edge-v1_seed0"] * 2
    assert " s of 60 s" not in printed, "it goes by no budget"
    results = [json.loads(path.read_text()) for path in runs]
    assert all("seconds" in result and "budget" not in result for result in results)
    before = [path.stat().st_mtime_ns for path in runs]
    invoke(*command)
    assert [path.stat().st_mtime_ns for path in runs] == before
    kept = json.loads(runs[0].with_name("model.json").read_text())
    assert set(kept) == {"model", "model.tflite", "dict.txt"}
    write_names(tmp_path / "edge v1" / "breastmnist", opened, ("1", "0"))
    told = invoke(*command, code=1).output
    assert "another model, names or scaling" in " ".join(told.split())
