"""Protocol files and schedules: what they say, and one line for what they may not say."""

from __future__ import annotations

import errno
import json
import math
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from mmtk.errors import ArgumentError
from mmtk.loader import Augmentation
from mmtk.training import get_protocol

TUNED = get_protocol("tuned-v1")


def test_a_file_takes_what_it_leaves_out_from_its_base(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text('base = "tuned-v1"\nname = "own"\nlearning_rate = 1\n[augmentation]\nrotation = 10\n')
    found = get_protocol(str(path))
    given = {"name": "own", "title": "own.toml, after tuned-v1", "augmentation": Augmentation(0.0, rotation=10)}
    assert found == replace(TUNED, learning_rate=1.0, **given)


def test_a_file_can_say_it_all(tmp_path):
    path = tmp_path / "all.json"
    path.write_text(json.dumps(asdict(TUNED) | {"name": "all"}))
    assert get_protocol(str(path)) == replace(TUNED, name="all")
    path.write_text(json.dumps({
        "name": "few", "optimiser": "adam", "learning_rate": 0.1, "momentum": 0.9, "batch_size": 4, "epochs": 2,
        "milestones": [0.5],
    }))
    assert get_protocol(str(path)).milestones == (0.5,)
    path.write_text(json.dumps({"base": "v2", "name": "cubes", "input": "from 0 to 1", "as_rgb": False}))
    cubes = get_protocol(str(path))
    assert (cubes.input, cubes.facts()["input"], cubes.for_ndim(3)) == ("from 0 to 1", "from 0 to 1", cubes)


@pytest.mark.parametrize(
    ("text", r"message"),
    [
        ('base = "isbi21"\nname = "a"\nlearning_rat = 1\n', "learning_rat; did you mean learning_rate"),
        ('base = "isbi21"\nname = "a"\n[augmentation]\nblur = 1\n', "unknown key augmentation.blur"),
        ('base = "isbi21"\nname = "a"\n[augmentation]\nrotation = 181\n', r"rotation: .*expected 0 to 180"),
        ('base = "isbi21"\nname = "a"\n[augmentation]\npadding = 1.5\n', r"padding: .*expected a whole number"),
        ('base = "isbi21"\nname = "a"\naugmentation = 3\n', r"augmentation: found a whole number, expected a table"),
        ('base = "isbi21"\nname = "a"\nepochs = true\n', r"epochs: found true or false, expected a whole number"),
        ('base = "isbi21"\nname = "a"\nmilestones = [1.5]\n', r"milestones: .*expected fractions between 0 and 1"),
        ('base = "isbi21"\nname = "a"\nmilestones = "half"\n', r"milestones: found text, expected a list"),
        ('base = "isbi21"\nname = "a"\noptimiser = "lion"\n', r"found 'lion', expected one of sgd, adam, adamw"),
        ('base = "v2"\nname = "a"\ninput = "0 to 1"\n', r"found '0 to 1', expected one of centred, from 0 to 1"),
        ('base = "isbi21"\nname = "a"\nlabel_smoothing = 1.0\n', r"found 1.0, expected at least 0.0 and below 1.0"),
        ('base = "isbi21"\nname = "a"\nlearning_rate = nan\n', r"learning_rate: found nan, expected at least 0.0"),
        ('base = "v2"\nname = "a"\nnesterov = true\n', r"nesterov: .*expected sgd with momentum"),
        ('base = "isbi21"\nname = "a b"\n', r"protocol name: .*expected letters, digits"),
        ('base = "isbi21"\nname = "v2"\n', r"v2 is the name of a built-in protocol"),
        ('base = "isbi21"\n', r"the field name is missing"),
        ('name = "a"\n', r"the field optimiser is missing"),
        ('base = "isbi22"\nname = "a"\n', r"protocol isbi22: unknown"),
        ("name = \n", r"p.toml: is not a protocol as TOML or JSON"),
        ("x = " + "[" * 5000, r"p.toml: is not a protocol as TOML or JSON: its values are nested too deeply"),
        ('{"a": ' * 200_000, r"p.json: is not a protocol as TOML or JSON: its values are nested too deeply"),
        ("[]", r"p.json: is not a protocol as TOML or JSON: it holds a list"),
        ("{", r"p.json: is not a protocol as TOML or JSON"),
        (b"name = '\xff'", r"p.toml: .* not encoded as UTF-8"),
        ('base = 5\nname = "a"\n', r"protocol: found 5, expected a name"),
        ('base = ["isbi21"]\nname = "a"\n', r"protocol: found \['isbi21'\], expected a name"),
        ('{"base": "isbi21", "name": "a", "learning_rate": 1' + "0" * 400 + "}", r"learning_rate: .*number"),
        ('{"base": "isbi21", "name": "a", "milestones": [1' + "0" * 400 + "]}", r"\[0\]: .*number"),
        ('{"base": "isbi21", "name": "a", "batch_size": 1' + "0" * 20 + "}", r"batch_size: .*at least 1 and"),
        ('{"base": "isbi21", "name": "a", "learning_rate": NaN}', r"learning_rate: found nan, expected at least 0.0"),
        ('{"base": "isbi21", "name": "a", "epochs": "10"}', r"epochs: found text, expected a whole number"),
        ('{"base": "isbi21", "name": null}', r"name: found null, expected text"),
    ],
)
def test_a_file_that_is_no_protocol_is_one_line(tmp_path, text, message):
    path = tmp_path / ("p.json" if text[:1] in ("{", "[") else "p.toml")
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ArgumentError, match=message) as error:
        get_protocol(str(path))
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ArgumentError, match=r"none\.toml: .*no such file"):
        get_protocol(str(tmp_path / "none.toml"))


@pytest.mark.parametrize("schedule", ["cosine", r"linear"])
def test_the_rate_rises_in_a_line_and_falls_to_nearly_nothing(schedule):
    protocol = replace(TUNED, schedule=schedule, warmup=0.2, learning_rate=2.0)
    rates = [protocol.rate(step, 5, 20) for step in range(100)]
    assert rates[:20] == pytest.approx([0.1 * step for step in range(1, 21)])
    assert rates[20] == 2.0
    assert rates[60] == pytest.approx(1.0)
    assert rates[20:] == sorted(rates[20:], reverse=True)
    last = 2 / 80 if schedule == "linear" else 1 - math.cos(math.pi / 80)
    assert rates[-1] == pytest.approx(last)


def test_tuned_keeps_left_and_right_apart():
    """The Organ sets have a left and a right kidney, lung and femur."""
    assert TUNED.augmentation.horizontal == 0
    assert not TUNED.mirror
    assert TUNED.epochs * TUNED.batch_size <= get_protocol("isbi21").epochs * 128


def test_a_file_in_a_circle_of_bases_is_one_line(tmp_path):
    for name, base in (("a", "b"), ("b", "a")):
        (tmp_path / f"{name}.toml").write_text(f'base = "{tmp_path / base}.toml"\nname = "{name}"\n')
    with pytest.raises(ArgumentError, match=r"\.toml: its base .* leads back to itself"):
        get_protocol(str(tmp_path / "a.toml"))


def test_a_protocol_file_may_begin_with_a_mark(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text('\ufeffbase = "tuned-v1"\nname = "own"\n')
    assert get_protocol(str(path)).name == "own"


def test_a_protocol_file_that_is_not_there_is_one_line_and_other_errors_are_the_systems(tmp_path, monkeypatch):
    (tmp_path / "folder.toml").mkdir()
    for name, found in (("none.json", "no such file"), ("folder.toml", "is a directory")):
        with pytest.raises(ArgumentError, match=f"{name}: .*{found}"):
            get_protocol(str(tmp_path / name))

    def failing(*_, **__):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), "p.toml")

    monkeypatch.setattr(Path, "read_text", failing)
    with pytest.raises(OSError, match="Too many open files"):
        get_protocol("p.toml")
