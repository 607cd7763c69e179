"""What a notebook shows: tables that escape, small pictures, and a bar that updates in place."""

from __future__ import annotations

import os
import re
import sys
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import mmtk
from mmtk import display, store
from mmtk.builder import BuildResult
from mmtk.runs import read_result
from mmtk.scoring import compare_files
from mmtk.training import get_protocol
from tests.commands import run_python
from tests.small_runs import write_small_run
from tests.small_stores import MULTILABEL, write_small_store

LARGEST = 60_000  # characters that a store may take in a page


class Balanced(HTMLParser):
    """Collects text, and refuses elements that are not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def pictures_of(page: str) -> list[np.ndarray]:
    found = re.findall(r"data:image/\w+;base64,([^\"]+)", page)
    return [cv2.imdecode(np.frombuffer(b64decode(data), np.uint8), cv2.IMREAD_UNCHANGED) for data in found]


def test_what_is_no_html_is_escaped() -> None:
    page = display.facts_table("<b>", {"a&b": "<script>", "empty": "", "list": ["x<", 1]})
    assert "<script>" not in page
    assert Balanced(page).text == ["<b>", "a&b", "<script>", "list", "x<", "1"]
    table = display.rows_table(("n",), [(12345,), ("<i>",)])
    assert "12,345" in table
    assert "&lt;i&gt;" in display.facts_table("t", {"rows": table})


@pytest.mark.parametrize("kind", [
    {"size": 28}, {"size": 28, "channels": 3, "classes": 9, "task": "multi-class"}, {"size": 8, "ndim": 3},
    {"size": 224, "channels": 3}, {"size": 64, "classes": 14, "task": MULTILABEL},
    {"size": 28, "channels": 3, "classes": 60, "task": "multi-class"},
])
def test_a_store_and_its_splits_show_their_classes_in_a_small_page(kind: dict, tmp_path: Path) -> None:
    opened = store.open(write_small_store(tmp_path / "a.h5", (200, 80, 80), **kind))
    for shown in (opened, *opened):
        page = shown._repr_html_()
        assert len(page) < LARGEST
        assert "cannot be shown" not in page
        assert "breastmnist" in " ".join(Balanced(page).text)
        strips = pictures_of(page)
        assert len(strips) == min(kind.get("classes", 2), 20)
        assert all(len(strip) == min(kind["size"], 48) for strip in strips)


def test_pictures_are_the_images_of_the_class(tmp_path: Path) -> None:
    opened = store.open(write_small_store(tmp_path / "a.h5", size=8, channels=3))
    first = pictures_of(opened.train._repr_html_())[1][:, :8, ::-1]
    member = next(image for image, label in opened.train if label[0] == 1)
    assert np.array_equal(first, member)


def test_a_file_that_is_gone_or_damaged_is_said_on_the_page(tmp_path: Path) -> None:
    path = write_small_store(tmp_path / "a.h5", (900, 20, 20), size=28)
    packed = store.compress(store.open(path), tmp_path / "packed")
    mapped, chunked = store.open(path), store.open(packed)
    os.truncate(packed, 5000)
    assert "cannot be shown" in chunked._repr_html_()
    os.truncate(path, 5000)
    assert "cannot be shown" in mapped._repr_html_()
    assert "cannot be shown" in mapped.train._repr_html_()
    path.unlink()
    assert "Traceback" not in Balanced(mapped._repr_html_()).text


def test_a_store_that_was_deleted_still_shows_its_images(tmp_path: Path) -> None:
    opened = store.open(write_small_store(tmp_path / "a.h5"))
    opened.path.unlink()
    page = opened._repr_html_()
    assert "no longer there" in page
    assert pictures_of(page)


def test_empty_splits_and_hidden_labels_are_left_out(tmp_path: Path) -> None:
    opened = store.open(write_small_store(tmp_path / "a.h5", (0, 9, 0)))
    assert pictures_of(opened._repr_html_())
    hidden = store.without_labels(opened)
    assert "val" in Balanced(hidden._repr_html_()).text
    assert not pictures_of(hidden.test._repr_html_())


def test_datasets_protocols_and_results_show_tables(tmp_path: Path) -> None:
    path = write_small_store(tmp_path / "breastmnist_28.h5", (60, 20, 40), size=28)
    runs = [write_small_run(path, tmp_path / name, skill=skill) for name, skill in (("a", 1.0), ("b", 2.0))]
    results = [read_result(run) for run in runs]
    files = [run / result.files["test"] for run, result in zip(runs, results, strict=True)]
    built = BuildResult(path, "breastmnist", 28, {"train": 60}, (), False, True, False, {})
    for shown, words in (
        (mmtk.get_dataset("pathmnist"), ["PathMNIST", "89,996"]), (get_protocol("quick"), ["quick", "adam"]),
        (results[0], ["AUC", "val", f"{results[0].metrics['val'].auc:.3f}"]), (results[0].metrics["test"], ["ACC"]),
        (built, ["SYNTHETIC", str(path)]), (replace(built, reused=True), ["reused"]),
        (compare_files(*files, tmp_path), ["DeLong"]),
    ):
        text = " ".join(Balanced(shown._repr_html_()).text)
        assert all(word in text for word in words), (words, text)


class Handle:
    """In the place of IPython's: what was shown first, and what took its place."""

    def __init__(self) -> None:
        self.shown: list[dict[str, str]] = []

    def update(self, content: dict[str, str], raw: bool) -> None:
        self.shown.append(content)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> list[Handle]:
    handles: list[Handle] = []

    def show(content: dict[str, str], raw: bool, display_id: bool) -> Handle:
        handles.append(Handle())
        handles[-1].update(content, raw)
        return handles[-1]

    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=show))
    return handles


def test_a_bar_shows_in_one_place_and_seldom(notebook: list[Handle]) -> None:
    bar = display.notebook_bar("a < b")
    for done in range(10_000):
        bar(done + 1, 10_000)
    bar.say("done")
    (handle,) = notebook
    assert len(handle.shown) < 50
    assert "10,000 of 10,000" in handle.shown[-1]["text/plain"]
    assert "done" in handle.shown[-1]["text/plain"]


def test_outside_a_notebook_there_is_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert display.notebook_bar("x") is None
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert display.notebook_bar("x") is None
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace()))
    assert display.notebook_bar("x") is None  # a terminal's


def test_a_build_and_a_fit_show_bars_in_a_notebook(notebook: list[Handle], tmp_path: Path) -> None:
    from mmtk.phantom import write_phantom

    write_phantom("breastmnist", tmp_path / "sources", 0.01)
    (built,) = mmtk.build("breastmnist", sources=tmp_path / "sources", out=tmp_path, allow_partial=True, workers=1)
    assert "breastmnist" in notebook[0].shown[-1]["text/plain"]
    mmtk.build("breastmnist", sources=tmp_path / "sources", out=tmp_path, allow_partial=True, force=True,
               progress=lambda flag: lambda done, total: None)
    assert len(notebook) == 1
    pytest.importorskip("torch")
    mmtk.training.fit(mmtk.open(built.path), "quick", "resnet18", tmp_path / "run", epochs=1, device="cpu")
    assert "epoch 1: validation AUC" in notebook[1].shown[-1]["text/plain"]


def test_importing_for_display_loads_nothing_heavy() -> None:
    code = "import sys, mmtk.display\nprint([m for m in ('IPython', 'rich', 'jinja2', 'numpy') if m in sys.modules])"
    assert run_python("-c", code, code=0).stdout.strip() == "[]"
