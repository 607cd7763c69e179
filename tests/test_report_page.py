"""The page: what it says is what the runs scored, it is whole in itself, and equal runs give equal bytes."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from statistics import mean

import cv2
import numpy as np
import pytest

from mmtk import store
from mmtk.datasets import get_dataset
from mmtk.errors import MmtkError
from mmtk.report import write_report
from mmtk.runs import TABLE_2, average_seeds, write_result
from mmtk.scoring import delong, evaluate, intervals, mean_intervals
from tests.commands import invoke
from tests.small_runs import write_small_run
from tests.small_stores import MULTILABEL, write_lacking_store, write_small_store

pytest.importorskip("matplotlib", reason="matplotlib is not installed")
pytest.importorskip("jinja2", reason="jinja2 is not installed")

from mmtk.report import _contents as contents
from mmtk.report import _figures as figures
from mmtk.report._pictures import mistakes, sample
from mmtk.runs import find_runs, setups_of

KINDS = {
    "breastmnist": {"task": "binary-class", "classes": 2},
    "pathmnist": {"task": "multi-class", "classes": 4, "channels": 3, "synthetic": True},
    "chestmnist": {"task": MULTILABEL, "classes": 3, "partial": True},
    "retinamnist": {"task": "ordinal-regression", "classes": 3},
}


def write_runs(base: Path) -> Path:
    for flag, kind in KINDS.items():
        path = write_small_store(base / "stores" / f"{flag}_8.h5", (40, 20, 30), flag=flag, **kind)
        for seed in range(2):
            write_small_run(path, base / "runs" / flag / f"a{seed}", seed=seed, skill=0.7)
        write_small_run(path, base / "runs" / flag / "b", model="resnet50", protocol="v2", epochs=3)
        write_small_run(path, base / "runs" / flag / "c", method="sklearn", skill=0.5)
    return base


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    base = write_runs(tmp_path_factory.mktemp("made"))
    write_report(base / "runs", base / "page.html", stores=base / "stores")
    return base


@pytest.fixture(scope="module")
def page(made):
    return (made / "page.html").read_text()


@pytest.fixture(scope="module")
def runs(made):
    return find_runs(made / "runs", made / "stores")[0]


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


# ----------------------------------------------------------------------------- what it says


def test_table_2_has_the_papers_rows_and_the_means_of_ours(made, runs):
    rows = read(made / "page.table2.csv")
    assert [row["Method"] for row in rows] == [
        *TABLE_2, "ResNet-18 (8), isbi21", "ResNet-50 (8), v2", "sklearn, 60 s",
    ]
    for row in rows[:7]:
        for flag, pair in TABLE_2[row["Method"]].items():
            title = get_dataset(flag).title
            assert [row[f"{title} AUC"], row[f"{title} ACC"]] == [f"{value:.3f}" for value in pair]
    for row in rows[7:]:
        for flag in KINDS:
            title = get_dataset(flag).title
            scored = [
                evaluate(run.predictions.labels, run.predictions.scores, KINDS[flag]["task"])
                for run in runs if (run.dataset.flag, run.setup.title) == (flag, row["Method"])
            ]
            assert row[f"{title} AUC"] == f"{mean(one.auc for one in scored):.3f}"
            assert row[f"{title} ACC"] == f"{mean(one.acc for one in scored):.3f}"
        assert row["OCTMNIST AUC"] == ""
        assert "fewer datasets" in row["Mean of the ten marks"]
        assert row["PathMNIST marks"].startswith("synthetic")
        assert row["ChestMNIST marks"].startswith("partial")
        assert row["BreastMNIST marks"].startswith("other test images")
        assert row["Method marks"] == ("fewer epochs" if "v2" in row["Method"] else "")


def test_synthetic_figures_are_never_the_best_beside_the_papers(runs):
    table = contents.scores_table(runs, {})
    for column in range(2, len(table.columns)):
        cells = [row[column] for row in table.rows]
        paper, ours = cells[:7], cells[7:]
        assert {c.text for c in paper if c.best} == {max(c.text for c in paper)}
        best = {c.text for c in ours if c.best}
        assert best == ({max(c.text for c in ours)} - {"–"} if column < 22 else set()), table.columns[column]


def test_figures_on_the_papers_own_test_images_compete_with_it(tmp_path):
    path = write_small_store(tmp_path / "breastmnist_8.h5", (40, 20, 156))
    write_small_run(path, tmp_path / "runs", skill=9.0)
    table = contents.scores_table(find_runs(tmp_path)[0], {})
    column = [c.group for c in table.columns].index("BreastMNIST")
    assert [row[1].text for row in table.rows if row[column].best] == ["ResNet-18 (8), isbi21"]
    assert table.rows[-1][column].text == "1.000"
    assert not table.rows[-1][column].marks


def test_intervals_are_those_of_scoring(made, runs):
    rows = read(made / "page.intervals.csv")
    assert len(rows) == len(runs) == 16
    for row, run in zip(rows, runs, strict=True):
        tested = run.predictions
        found = intervals(tested.labels, tested.scores, tested.task, tested.subjects)
        for figure in ("AUC", "ACC"):
            one = getattr(found, figure.lower())
            names = [f"{figure}, bootstrap {end}" for end in (figure, "low", "high")]
            assert [row[name] for name in names] == [f"{v:.3f}" for v in (one.value, one.low, one.high)]
        by_delong = [row["AUC, DeLong low"], row["AUC, DeLong high"]]
        if tested.task == "binary-class":
            one = delong(tested.labels, tested.scores)
            assert by_delong == [f"{one.low:.3f}", f"{one.high:.3f}"]
        else:
            assert by_delong == ["", ""]
        assert (row["Kappa"] != "") == (tested.task == "ordinal-regression")


def test_the_mean_has_the_interval_of_means_of_resamples(runs):
    scored = {run: contents.score(run.predictions) for run in runs}
    row = contents.scores_table(runs, scored).rows[7]
    figures = []
    for flag in KINDS:
        some = [run for run in runs if (run.dataset.flag, run.setup.title) == (flag, row[1].text)]
        figures.append(average_seeds([scored[run].resampled for run in some]))
    expected = mean_intervals(figures, list(KINDS))
    for cell, one in zip(row[-2:], expected, strict=True):
        told = f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"
        assert cell.tip.startswith(f"mean over 4 datasets with 95 % interval: {told}")
        assert "sd over seeds" in cell.tip


def test_a_single_subject_gives_no_interval_without_width(runs):
    tested = runs[0].predictions
    alone = type(tested)(
        tested.labels, tested.scores, np.array([b"one"] * len(tested.labels)), tested.task, tested.classes, None
    )
    found = contents.score(alone).estimate(0)
    assert found.low < found.value < found.high
    assert contents.score(tested).estimate(0) is not None


def test_counts_stand_beside_the_papers_and_differences_are_marked(made):
    rows = {row["Dataset"]: row for row in read(made / "page.table1.csv")}
    assert len(rows) == 10
    breast = rows["BreastMNIST"]
    assert [breast[f"As built {split}"] for split in ("Training", "Validation", "Test")] == ["40", "20", "30"]
    assert [breast[f"Paper {split}"] for split in ("Training", "Validation", "Test")] == ["546", "78", "156"]
    assert breast["As built marks"] == "differs"
    assert rows["OCTMNIST"]["As built Test"] == ""
    assert rows["OCTMNIST"]["As built marks"] == ""
    assert rows["PathMNIST"]["Dataset marks"] == "synthetic"


def test_spread_is_over_the_seeds(made, runs):
    row = read(made / "page.splits.csv")[-3]
    assert (row["Dataset"], row["Method"], row["Seeds"]) == ("Mean over 4", "ResNet-18 (8), isbi21", "2")
    means = [mean(r.test.auc for r in runs if r.seed == seed and r.setup.title == row["Method"]) for seed in (0, 1)]
    assert row["Test AUC"] == f"{mean(means):.3f}"
    assert row["Test, sd over seeds AUC"] == f"{abs(means[0] - means[1]) / 2**0.5:.3f}"


def test_confusion_counts_every_test_image(runs):
    for run in runs:
        table = contents.confusion_table(run, contents.score(run.predictions))
        counts = np.array([[int(cell.text) for cell in row[1:]] for row in table.rows])
        if run.predictions.task == MULTILABEL:
            y, seen = run.predictions.labels == 1, run.predictions.scores > 0.5
            assert ([(y & seen).sum(0), (y & ~seen).sum(0), (~y & seen).sum(0), (~y & ~seen).sum(0)] == counts.T).all()
        else:
            assert counts.sum() == len(run.predictions.labels)
            assert np.trace(counts) == round(run.test.acc * counts.sum())


def test_roc_curves_have_the_area_that_is_reported(runs):
    for run in runs:
        areas = [np.trapezoid(y, x) for x, y in figures._curves_of(run.predictions)]
        assert np.mean(areas) == pytest.approx(run.test.auc)


def test_the_gallery_shows_the_surest_mistakes(made, runs):
    for run in runs:
        tested = run.predictions
        found = mistakes(run, most=1000)
        if tested.task == MULTILABEL:
            wrong = (tested.scores > 0.5) != (tested.labels == 1)
            sure = np.where(wrong, np.maximum(tested.scores, 1 - tested.scores), 0).max(axis=1)
        else:
            chosen = tested.scores.argmax(axis=1)
            sure = np.where(chosen != tested.labels[:, 0], tested.scores.max(axis=1), 0)
        assert {one.row for one in found} == set(np.flatnonzero(sure).tolist())
        assert [one.score for one in found] == pytest.approx(sorted(sure[sure > 0], reverse=True), abs=1e-6)
        for one in found:
            assert one.truth != one.predicted
            assert one.score == pytest.approx(sure[one.row], abs=1e-6)
            image = cv2.imdecode(np.frombuffer(base64.b64decode(one.source.partition(",")[2]), np.uint8), -1)
            assert (image == (tested.images[one.row] if image.ndim == 2 else tested.images[one.row][..., ::-1])).all()


def test_a_sample_takes_the_classes_in_turn(made):
    opened = store.open(made / "stores" / "retinamnist_8.h5")
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(sample(opened).partition(",")[2]), np.uint8), -1)
    assert picture.shape == (40, 40)
    firsts = [int(np.flatnonzero(opened.train.labels[:, 0] == value)[0]) for value in range(3)]
    for place, row in enumerate(firsts):
        assert (picture[:8, 8 * place : 8 * place + 8] == opened.train.images[row]).all()


# ------------------------------------------------------------------------------- its form


class Checker(HTMLParser):
    """Sees that tags are balanced, ids distinct, links lead somewhere and pictures have a text."""

    EMPTY = ("meta", "link", "img", "br")

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.texts = [], [], [], []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag not in self.EMPTY:
            self.open.append(tag)
        self.ids += [values["id"]] if "id" in values else []
        for name in ("href", "src", "xlink:href"):
            if name in values:
                self.links.append(values[name])
        if tag == "img":
            assert values["alt"]
        if values.get("role") in ("img", "region"):
            assert values["aria-label"]
        if tag == "table":
            self.texts.append("")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "caption" in self.open:
            self.texts[-1] += data


def test_the_page_is_whole_in_itself(page):
    checker = Checker()
    checker.feed(page)
    assert not checker.open
    assert len(checker.ids) == len(set(checker.ids))
    assert all(text.strip() for text in checker.texts)
    assert len(checker.texts) > 12
    for link in checker.links:
        assert link.startswith(("data:", "#"))
    inner = {link[1:] for link in checker.links if link.startswith("#")}
    assert inner
    assert inner <= set(checker.ids)
    for used in re.findall(r"url\(#([^)]+)\)|aria-labelledby=\"([^\"]+)\"", page):
        assert "".join(used) in checker.ids
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_every_colour_of_a_figure_is_the_pages(page):
    drawn = re.findall(r"(?s)<svg.*?</svg>", page)
    assert len(drawn) > 12
    for svg in drawn:
        for text in re.findall(r"<text\b[^>]*>", svg):
            assert "fill: var(--" in text
        colours = re.findall(r"(?:fill|stroke)(?::|=\") ?([^;\"]+)", svg)
        assert {colour.partition("(")[0] for colour in colours} <= {"var", "none", "url"}


def test_names_from_outside_are_escaped(made, tmp_path):
    shutil.copytree(made / "runs" / "breastmnist" / "c", tmp_path / "runs" / "<b>&")
    config = tmp_path / "runs" / "<b>&" / "config.json"
    config.write_text(config.read_text().replace('"sklearn"', '"<script>alert(1)</script>"'))
    write_report(tmp_path / "runs", tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_equal_runs_give_equal_bytes_wherever_they_lie(made, tmp_path):
    for place in ("one", "two"):
        shutil.copytree(made / "runs", tmp_path / place / "r")
        shutil.copytree(made / "stores", tmp_path / place / "s")
        write_report(tmp_path / place / "r", tmp_path / place / "page.html", stores=tmp_path / place / "s")
    names = sorted(path.name for path in made.glob("page*"))
    assert len(names) == 22
    for name in names:
        text = (made / name).read_bytes()
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() == text
        assert str(tmp_path).encode() not in text
        assert str(made).encode() not in text


def test_without_stores_the_page_says_what_is_left_out(made, tmp_path):
    _, notes = write_report(made / "runs", tmp_path / "page.html")
    assert notes[0].startswith("No intervals, ROC curves and confusion matrices of PathMNIST, ChestMNIST, Retina")
    text = (tmp_path / "page.html").read_text()
    assert all(note in text for note in notes)
    assert "ROC on test images" not in text
    assert "Learning curves" in text
    both = [read(folder / "page.table2.csv") for folder in (made, tmp_path)]
    assert [row["BreastMNIST AUC"] for row in both[0]] == [row["BreastMNIST AUC"] for row in both[1]]
    shutil.copytree(made / "stores", tmp_path / "stores")
    (tmp_path / "stores" / "pathmnist_8.h5").unlink()
    _, notes = write_report(made / "runs", tmp_path / "some.html", stores=tmp_path / "stores")
    assert notes[:2] == [
        "No intervals, ROC curves and confusion matrices of PathMNIST: their stores were not found.",
        "No pictures of mistakes of PathMNIST: their images are not available.",
    ]


def test_many_set_ups_have_looks_of_their_own(runs):
    looks = [figures.style_of(place) for place in range(32)]
    assert len(set(looks)) == 32
    setups = setups_of(runs)
    svg = figures.bars([run for run in runs if run.dataset.flag == "breastmnist"])
    assert all(setup.title in svg for setup in setups)


# ----------------------------------------------------------------------------- the command


def test_the_command_writes_once_and_replaces_only_when_told(made, tmp_path):
    out = tmp_path / "page.html"
    done = invoke("report", made / "runs" / "breastmnist", "--out", out, "--stores", made / "stores")
    assert done.stdout.splitlines() == [
        "No run of PathMNIST, ChestMNIST, DermaMNIST, OCTMNIST, PneumoniaMNIST, RetinaMNIST, OrganMNIST_Axial, "
        "OrganMNIST_Coronal, OrganMNIST_Sagittal.",
        f"{out}: written, with 21 files of tables beside it",
    ]
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    (tmp_path / "page.table2.tex").write_text("mine")
    refused = invoke("report", made / "runs", "--out", out, "--stores", made / "stores", code=1)
    assert isinstance(refused.exception, MmtkError)
    assert "page.html: already exists with other content; use --force" in str(refused.exception)
    (tmp_path / "page.html").unlink()
    refused = invoke("report", made / "runs" / "breastmnist", "--out", out, "--stores", made / "stores", code=1)
    assert "page.table2.tex: already exists" in str(refused.exception)
    assert {path.name for path in tmp_path.iterdir()} == set(before) - {"page.html"}
    assert (tmp_path / "page.table2.tex").read_text() == "mine"
    invoke("report", made / "runs" / "breastmnist", "--out", out, "--stores", made / "stores", "--force")
    assert {path.name for path in tmp_path.iterdir()} == set(before)


@pytest.mark.parametrize(
    ("out", "message"),
    [("page.pdf", "page.pdf: the name of the page does not end in .html"),
     ("file/page.html", "cannot be written"), ("folder.html", "already exists")],
)
def test_a_page_that_cannot_be_written_is_one_line(made, tmp_path, out, message):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.html").mkdir()
    done = invoke("report", made / "runs" / "breastmnist" / "c", "--out", tmp_path / out, code=1)
    assert isinstance(done.exception, MmtkError)
    assert message in str(done.exception)
    assert "\n" not in str(done.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.html"]


def test_absent_packages_are_named(made, tmp_path, monkeypatch):
    for package in ("jinja2", "matplotlib"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            with pytest.raises(MmtkError, match=rf"needs the package {package}, .* pip install"):
                write_report(made / "runs", tmp_path / "page.html")


def test_real_runs_without_a_store_are_audited_by_the_official_map(tmp_path):
    kind = {"flag": "dermamnist", "task": "multi-class", "classes": 3}
    path = write_small_store(tmp_path / "dermamnist_8.h5", (40, 20, 30), **kind)
    write_small_run(path, tmp_path / "runs")
    write_report(tmp_path / "runs", tmp_path / "page.html")
    (row,) = read(tmp_path / "page.audit.csv")
    assert (row["Examined"], row["Subjects in several splits"]) == ("the official map", "1006")
    assert "641 of 1868 test subjects are also in train" in row["Which splits"]
    config = tmp_path / "runs" / "config.json"
    assert json.loads(config.read_text())["store"]["synthetic"] is False


@pytest.mark.parametrize("splits", [("val",), ("test",), ("train", "val", "test")])
def test_runs_whose_auc_is_undefined_are_shown_without_it(tmp_path, splits):
    kinds = {
        "breastmnist": {"classes": 2}, "dermamnist": {"task": "multi-class", "classes": 4, "channels": 3},
        "chestmnist": {"task": MULTILABEL, "classes": 3}, "retinamnist": {"task": "ordinal-regression", "classes": 3},
    }
    for flag, kind in kinds.items():
        path = write_lacking_store(tmp_path / "stores" / f"{flag}_8.h5", splits, flag=flag, **kind)
        for seed in (0, 1):
            run = write_small_run(path, tmp_path / "runs" / f"{flag}{seed}", seed=seed, epochs=2)
            if "val" in splits:
                log = run / "metrics.jsonl"
                log.write_text(re.sub(r'"val_auc": [0-9.]+', '"val_auc": null', log.read_text()))
    files, notes = write_report(tmp_path / "runs", tmp_path / "page.html", stores=tmp_path / "stores")
    texts = {file.name: file.read_text() for file in files}
    assert not [name for name, text in texts.items() if re.search(r"\bnan\b", text)]
    names = ", ".join(
        f"{get_dataset(flag).title} ({', '.join(splits)})" for flag in
        ("chestmnist", "dermamnist", "retinamnist", "breastmnist")
    )
    assert f"The AUC is undefined because a class has no images: {names}." in notes
    rows = list(csv.DictReader(texts["page.intervals.csv"].splitlines()))
    assert len(rows) == 8
    auc, low = ([row[f"AUC, bootstrap {name}"] for row in rows] for name in ("AUC", "low"))
    assert [not value for value in auc] == [not value for value in low] == ["test" in splits] * 8
    assert all(row["ACC, bootstrap low"] for row in rows)
    means = [row for row in csv.DictReader(texts["page.splits.csv"].splitlines()) if row["Dataset"] == "Mean over 4"]
    assert [bool(means[0][f"{title} AUC"]) for title in ("Training", "Validation", "Test")] == [
        name not in splits for name in ("train", "val", "test")
    ]
    assert all(means[0][f"{title} ACC"] for title in ("Training", "Validation", "Test"))


def test_runs_of_one_dataset_that_cannot_be_paired_have_a_mean_without_interval(tmp_path):
    path = write_small_store(tmp_path / "stores" / "breastmnist_8.h5")
    for seed in (0, 1):
        write_small_run(path, tmp_path / "runs" / str(seed), seed=seed)
    file = next((tmp_path / "runs" / "1").glob("*_test_*.csv"))
    labels = store.open(path).test.labels[:, 0]
    scores = [line.split(",", 1)[1] for line in file.read_text().splitlines()]
    rows = sorted(zip(labels, scores, strict=True))
    lines = [f"{row},{label},{score}" for row, (label, score) in enumerate(rows)]
    file.write_text("\n".join(["id,true_0,score_0,score_1", *lines]))
    runs, _ = find_runs(tmp_path / "runs", tmp_path / "stores")
    (row,) = contents.scores_table(runs, {run: contents.score(run.predictions) for run in runs}).rows[7:]
    assert all(cell.tip == f"mean over 1 dataset\nsd over seeds {cell.tip[-5:]}" for cell in row[-2:])


def test_other_sets_stand_in_tables_of_their_own_and_are_called_official_nowhere(tmp_path):
    paths = {
        flag: write_small_store(tmp_path / "stores" / f"{flag}_8.h5", (40, 20, 30), flag=flag, synthetic=True)
        for flag in ("breastmnist", "lung")
    }
    opened = store.open(paths["lung"])
    info = replace(opened.info, edition="", pixels="own", split="own", title="Lung clinic")
    arrays = {split.name: (split.images, split.labels, split.records) for split in opened.splits}
    store.write_store(paths["lung"], info, arrays)
    for flag, path in paths.items():
        write_small_run(path, tmp_path / "runs" / flag, epochs=2, skill=2 if flag == "lung" else 0.1)
    files, notes = write_report(tmp_path / "runs", tmp_path / "page.html", stores=tmp_path / "stores")
    texts = {path.name: path.read_text() for path in files}
    assert "on 1 of the ten datasets and 1 other dataset, compared with" in texts["page.html"]
    with (tmp_path / "page.table2.csv").open() as file:
        (ours,) = [row for row in csv.DictReader(file) if row["From"] == "These runs"]
    assert ours["Mean of the ten AUC"] == ours["BreastMNIST AUC"]
    assert not [name for name in ours if "Lung" in name]
    (lung,) = csv.DictReader(io.StringIO(texts["page.other_scores.csv"]))
    assert float(lung["Lung clinic AUC"]) > 0.9
    (counts,) = csv.DictReader(io.StringIO(texts["page.other_counts.csv"]))
    assert (counts["Dataset"], counts["Training"], counts["Test"]) == ("Lung clinic", "40", "30")
    assert "Lung" not in texts["page.table1.csv"]
    splits = list(csv.DictReader(io.StringIO(texts["page.splits.csv"])))
    assert [row["Dataset"] for row in splits] == ["BreastMNIST", "Lung clinic"]
    page = texts["page.html"]
    about = page[page.index("Other datasets, as built") :]
    about = about[: about.index("</table>")]
    assert "8 px, pixels own, split own" in about
    assert not re.search("edition|official", about)
    assert any(note.startswith("No run of PathMNIST") for note in notes)

    shutil.rmtree(tmp_path / "runs" / "breastmnist")
    _, notes = write_report(tmp_path / "runs", tmp_path / "alone.html", stores=tmp_path / "stores")
    assert "on 1 dataset.</p>" in (tmp_path / "alone.html").read_text()
    assert not any(note.startswith("No run of") for note in notes)


def test_seconds_stand_beside_the_budget(tmp_path):
    path = write_small_store(tmp_path / "stores" / "breastmnist_8.h5", (40, 20, 30))
    write_small_run(path, tmp_path / "runs" / "network", epochs=2)
    timed = write_small_run(path, tmp_path / "runs" / "timed", method="sklearn")
    opened = store.open(path)
    scores = {split.name: np.full((len(split), 2), 0.5) for split in opened.splits}
    write_result(timed, opened, "timed", scores, seconds=75.25, budget=60.0)
    write_report(tmp_path / "runs", tmp_path / "page.html", stores=tmp_path / "stores")
    with (tmp_path / "page.intervals.csv").open() as file:
        rows = {row["Method"]: (row["Seconds spent"], row["Seconds budget"]) for row in csv.DictReader(file)}
    assert rows == {"ResNet-18 (8), isbi21": ("2.0", ""), "sklearn, 60 s": ("75", "60")}, "the former by its log"


LATER = {"bloodmnist": {"channels": 3}, "organmnist3d": {"ndim": 3}, "vesselmnist3d": {"ndim": 3, "size": 64}}


def write_later(base: Path, flags) -> None:
    """Runs of stores of the sets that MedMNIST added, and of others."""
    for flag in flags:
        kind = {"size": 8, **LATER.get(flag, {})}
        path = write_small_store(base / "stores" / f"{flag}_{kind['size']}.h5", (9, 5, 8), flag=flag, **kind)
        info = replace(store.open(path).info, title=f"The {flag}")
        arrays = {split.name: (split.images[:], split.labels, split.records) for split in store.open(path).splits}
        store.write_store(path, info, arrays)
        write_small_run(path, base / "runs" / path.stem / "a", epochs=2, protocol="v2", skill=0.2)


def test_what_medmnist_added_stands_in_tables_of_its_own(tmp_path):
    write_later(tmp_path, ["lung", *LATER, "breastmnist"])
    files, _ = write_report(tmp_path / "runs", tmp_path / "page.html", stores=tmp_path / "stores")
    texts = {path.name: path.read_text() for path in files}
    page = texts["page.html"]
    assert "on 1 of the ten datasets, 3 of MedMNIST v2&#39;s other sets and 1 other dataset, compared with" in page
    titles = ["The bloodmnist", "The organmnist3d", "The vesselmnist3d"]
    assert [row["Dataset"] for row in csv.DictReader(io.StringIO(texts["page.later_counts.csv"]))] == titles
    assert [row["Dataset"] for row in csv.DictReader(io.StringIO(texts["page.other_counts.csv"]))] == ["The lung"]
    scores = {row["Method"]: row for row in csv.DictReader(io.StringIO(texts["page.later_scores.csv"]))}
    assert list(scores) == ["ResNet-18 (8), v2", "ResNet-18 3D (64), v2", "ResNet-18 3D (8), v2"]
    assert [name for name, text in scores["ResNet-18 3D (8), v2"].items() if "0." in text or "1." in text] == [
        "The organmnist3d AUC", "The organmnist3d ACC",
    ]
    (lung,) = csv.DictReader(io.StringIO(texts["page.other_scores.csv"]))
    assert [name for name in lung if "AUC" in name and "marks" not in name] == ["The lung AUC"]
    for name in ("table1", "table2"):
        assert not re.search("The |3D", texts[f"page.{name}.csv"])
    assert page.count("px, middle slices") == 2


def test_a_page_of_volumes_alone_is_whole_and_pictures_their_middle_slices(tmp_path):
    write_later(tmp_path, ["organmnist3d", "vesselmnist3d"])
    files, notes = write_report(tmp_path / "runs", tmp_path / "page.html", stores=tmp_path / "stores")
    page = (tmp_path / "page.html").read_text()
    assert "Table 1. MedMNIST v2&#39;s other sets, as built" in page
    assert "Table 2. Test AUC and ACC on MedMNIST v2&#39;s other sets" in page
    assert "on 2 of MedMNIST v2&#39;s other sets.</p>" in page
    assert not notes
    assert not [path for path in files if "table1" in path.name or "other" in path.name]
    opened = store.open(tmp_path / "stores" / "organmnist3d_8.h5")
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(sample(opened).partition(",")[2]), np.uint8), -1)
    assert picture.shape == (40, 40)
    first = int(np.flatnonzero(opened.train.labels[:, 0] == 0)[0])
    assert (picture[:8, :8] == opened.train.images[first][4]).all()
    (run, large), _ = find_runs(tmp_path / "runs", tmp_path / "stores")
    for shown in mistakes(run):
        data = base64.b64decode(shown.source.partition(",")[2])
        assert (cv2.imdecode(np.frombuffer(data, np.uint8), -1) == opened.test.images[shown.row][4]).all()
    assert mistakes(large)
