"""The report's tables: the paper's two with ours beside them, and further ones."""

from __future__ import annotations

import platform
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import mean

import numpy as np

from mmtk import __version__
from mmtk.base import versions
from mmtk.datasets import EIGHT, EIGHTEEN, TEN, family_of, get_dataset
from mmtk.datasets.base import SPLITS, Dataset, Task
from mmtk.errors import ScoreError
from mmtk.matching import Audit
from mmtk.report._tables import NONE, Cell, Column, Table
from mmtk.runs import (
    LATER_SETS,
    TABLE_2,
    LabelledPredictions,
    Run,
    Setup,
    average_seeds,
    best_run,
    by_flag,
    by_setup,
    deviation,
    setups_of,
)
from mmtk.scoring import Assessment, Estimate, assess, decide, format_figure, mean_intervals
from mmtk.store import Store, StoreInfo

_SPLIT_TITLES = {"train": "Training", "val": "Validation", "test": "Test"}
_PACKAGES = (
    "torch", "numpy", "scikit-learn", "h5py", "opencv-python", "opencv-python-headless", "matplotlib", "jinja2",
)


def score(test: LabelledPredictions) -> Assessment:
    """Score test predictions in detail."""
    return assess(test.labels, test.scores, test.task, test.classes, test.subjects)


def _figure(value: float | None) -> str:
    """Format a figure for a table, an undefined one as a dash."""
    return NONE if value is None or np.isnan(value) else f"{value:.3f}"


def counts_table(stores: Mapping[str, Store]) -> Table:
    """Table 1: images of each split as built, beside the paper's counts."""
    rows = []
    for dataset in map(get_dataset, TEN):
        paper, built = dataset.counts["2020"], stores.get(dataset.flag)
        rows.append((
            _built_name(dataset.title, built), Cell(dataset.source.name), Cell(dataset.modality), _task(dataset),
            *(_built(built, split, getattr(paper, split)) for split in SPLITS),
            *(Cell(f"{getattr(paper, split):,}") for split in SPLITS),
            Cell(dataset.source.licence),
        ))
    columns = (
        Column("Dataset", number=False), Column("Source", number=False), Column("Modality", number=False),
        Column("Task", number=False), *(Column(_SPLIT_TITLES[split], "As built") for split in SPLITS),
        *(Column(_SPLIT_TITLES[split], "Paper") for split in SPLITS), Column("Licence", number=False),
    )
    note = "As built: images in this report's stores. Paper: its Table 1, the 2020 edition."
    title = "Table 1. The ten datasets, as built and in the paper"
    return Table("table1", title, columns, tuple(rows), note)


def later_counts_table(stores: Mapping[str, Store]) -> Table:
    """Images of each split of the datasets that MedMNIST added to the paper's ten."""
    built = [built for flag, built in stores.items() if flag in EIGHT]
    return _counts_table("later_counts", f"{LATER_SETS}, as built", built)


def other_counts_table(stores: Mapping[str, Store]) -> Table:
    """Images of each split of datasets that MedMNIST does not have."""
    built = [built for flag, built in stores.items() if flag not in EIGHTEEN]
    return _counts_table("other_counts", "Other datasets, as built", built)


def _counts_table(name: str, title: str, stores: Iterable[Store]) -> Table:
    rows = [
        (_built_name(built.info.title, built), Cell(built.info.modality), _task(built.info),
         *(Cell(f"{built.counts[split]:,}") for split in SPLITS), Cell(built.info.licence))
        for built in stores
    ]
    columns = (
        Column("Dataset", number=False), Column("Modality", number=False), Column("Task", number=False),
        *(Column(_SPLIT_TITLES[split]) for split in SPLITS), Column("Licence", number=False),
    )
    return Table(name, title, columns, tuple(rows))


def _built_name(title: str, built: Store | None) -> Cell:
    """The title of a dataset with the marks of its store; size, edition, pixels and split as a tip."""
    if built is None:
        return Cell(title)
    info = built.info
    edition = [] if info.own else [f"edition {info.edition}"]
    volumes = ["volumes"] if info.ndim == 3 else []
    tip = ", ".join([f"{info.size} px", *volumes, *edition, f"pixels {info.pixels}", f"split {info.split}"])
    return Cell(title, marks=tuple(info.marks.lower().split()), tip=tip)


def _task(dataset: Dataset | StoreInfo) -> Cell:
    task = Task(dataset.task)
    return Cell(f"{task.value}, {len(dataset.classes)} {'labels' if task is Task.MULTILABEL else 'classes'}")


def _built(built: Store | None, split: str, paper: int) -> Cell:
    if built is None:
        return Cell(NONE)
    count = built.counts[split]
    return Cell(f"{count:,}", marks=() if count == paper else ("differs",))


def scores_table(runs: Sequence[Run], scored: Mapping[Run, Assessment]) -> Table:
    """Table 2: test AUC and ACC of the paper's seven methods and of our set-ups, the best of each column marked."""
    datasets = [get_dataset(flag) for flag in TEN]
    ours = by_setup(runs)
    rows = [
        [Cell("Paper"), Cell(method), *(Cell(f"{value:.3f}") for d in datasets for value in row[d.flag]),
         *(Cell(f"{mean(pair[i] for pair in row.values()):.3f}") for i in (0, 1))]
        for method, row in TABLE_2.items()
    ]
    for setup in setups_of(runs):
        of_flag = {flag: some for flag, some in by_flag(ours[setup]).items() if flag in TEN}
        if not of_flag:
            continue
        pairs = [_pair(of_flag.get(dataset.flag, []), scored) for dataset in datasets]
        rows.append([
            Cell("These runs"), _method(setup), *(cell for pair in pairs for cell in pair),
            *_mean_pair(of_flag, len(datasets), scored),
        ])
    _mark_best(rows, first=2)
    columns = (
        Column("From", number=False), Column("Method", number=False),
        *(Column(figure, d.title) for d in datasets for figure in ("AUC", "ACC")),
        *(Column(figure, "Mean of the ten") for figure in ("AUC", "ACC")),
    )
    note = "Our figures are means over seeds. Bold: the best of its column on the same test images."
    title = "Table 2. Test AUC and ACC, alongside the paper's"
    return Table("table2", title, columns, tuple(map(tuple, rows)), note, grouped=True)


def later_scores_table(runs: Sequence[Run], scored: Mapping[Run, Assessment]) -> Table:
    """Test AUC and ACC of our set-ups on the datasets that MedMNIST added to the paper's ten."""
    title = f"Test AUC and ACC on {LATER_SETS}"
    return _scores_table("later_scores", title, [run for run in runs if run.dataset.flag in EIGHT], scored)


def other_scores_table(runs: Sequence[Run], scored: Mapping[Run, Assessment]) -> Table:
    """Test AUC and ACC of our set-ups on datasets that MedMNIST does not have."""
    others = [run for run in runs if run.dataset.flag not in EIGHTEEN]
    return _scores_table("other_scores", "Test AUC and ACC on other datasets", others, scored)


def _scores_table(name: str, title: str, runs: Sequence[Run], scored: Mapping[Run, Assessment]) -> Table:
    """One row per set-up, the best of each column marked."""
    titles = {flag: some[0].dataset.title for flag, some in by_flag(runs).items()}
    rows = []
    for setup in setups_of(runs):
        of_flag = by_flag(by_setup(runs)[setup])
        rows.append([_method(setup), *(cell for flag in titles for cell in _pair(of_flag.get(flag, []), scored))])
    _mark_best(rows, first=1)
    columns = (
        Column("Method", number=False),
        *(Column(figure, of_set) for of_set in titles.values() for figure in ("AUC", "ACC")),
    )
    note = "Means over seeds. Bold: the best of its column on the same test images."
    return Table(name, title, columns, tuple(map(tuple, rows)), note)


def _method(setup: Setup) -> Cell:
    return Cell(setup.title, marks=("fewer epochs",) if setup.shortened else (), tip=setup.shortened)


def _pair(runs: list[Run], scored: Mapping[Run, Assessment]) -> list[Cell]:
    if not runs:
        return [Cell(NONE), Cell(NONE)]
    cells = []
    for i, figure in enumerate(("AUC", "ACC")):
        values = [run.test[i] for run in runs]
        estimates = [scored[run].estimate(i) if run in scored else None for run in runs]
        seeds = [
            f"seed {run.seed}: {estimate or format_figure(value)}"
            for run, value, estimate in zip(runs, values, estimates, strict=True)
        ]
        spread = [f"sd over seeds {format_figure(deviation(values))}"] if len(values) > 1 else []
        tip = "\n".join([f"{figure} with 95 % interval", *seeds, *spread])
        cells.append(Cell(_figure(mean(values)), marks=_marks(runs), tip=tip))
    return cells


def _mean_pair(of_flag: Mapping[str, list[Run]], wanted: int, scored: Mapping[Run, Assessment]) -> list[Cell]:
    few = ("fewer datasets",) if len(of_flag) < wanted else ()
    marks = (*_marks(run for some in of_flag.values() for run in some), *few)
    cells = []
    estimates = _mean_estimates(of_flag, scored)
    for i in (0, 1):
        value, spread = _mean_over(of_flag, "test", i)
        interval = f" with 95 % interval: {estimates[i]}" if estimates else ""
        tip = f"mean over {len(of_flag)} dataset{'s' if len(of_flag) > 1 else ''}{interval}"
        tip += "" if spread is None else f"\nsd over seeds {format_figure(spread)}"
        cells.append(Cell(_figure(value), marks=marks, tip=tip))
    return cells


def _mean_estimates(
    of_flag: Mapping[str, list[Run]], scored: Mapping[Run, Assessment]
) -> tuple[Estimate, Estimate] | None:
    """Mean AUC and ACC over datasets; None if predictions are missing, or those of a dataset cannot be paired."""
    if not all(run in scored for some in of_flag.values() for run in some):
        return None
    try:
        parts = [average_seeds([scored[run].resampled for run in some]) for some in of_flag.values()]
    except ScoreError:  # a run's rows are in another order
        return None
    return mean_intervals(parts, [family_of(flag) for flag in of_flag])


def _mean_over(of_flag: Mapping[str, list[Run]], split: str, figure: int) -> tuple[float, float | None]:
    """Mean over datasets of the means over seeds; spread of the means of the seeds that all datasets have."""
    values = [{run.seed: run.result.metrics[split][figure] for run in some} for some in of_flag.values()]
    seeds = sorted(set.intersection(*map(set, values)))
    by_seed = [mean(value[seed] for value in values) for seed in seeds]
    return mean(mean(value.values()) for value in values), deviation(by_seed) if len(by_seed) > 1 else None


def _marks(runs: Iterable[Run]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(mark for run in runs for mark in run.marks))


def _mark_best(rows: list[list[Cell]], first: int) -> None:
    """Mark the highest of each column among the figures on the same images, if there are several."""
    for column in range(first, len(rows[0]) if rows else 0):
        groups: dict[bool, list[list[Cell]]] = defaultdict(list)
        for row in rows:
            if row[column].text != NONE and "fewer datasets" not in row[column].marks:
                groups[bool(row[column].marks)].append(row)
        for group in groups.values():
            top = max(row[column].text for row in group)
            for row in group if len(group) > 1 else ():
                row[column] = replace(row[column], best=row[column].text == top)


def splits_table(runs: Sequence[Run]) -> Table:
    """Figures of every split, averaged over seeds, with their spread, as drawn in Figure 2."""
    rows = []
    for flag, some in by_flag(runs).items():
        for setup, same in by_setup(some).items():
            head = Cell(some[0].dataset.title, marks=_marks(same))
            rows.append(_split_row(head, setup, len(same), {flag: same}))
    for setup, some in by_setup(run for run in runs if run.dataset.flag in TEN).items():
        many = by_flag(some)
        if len(many) > 1:
            seeds = len({run.seed for run in some})
            rows.append(_split_row(Cell(f"Mean over {len(many)}", marks=_marks(some)), setup, seeds, many))
    columns = (
        Column("Dataset", number=False), Column("Method", number=False), Column("Seeds"),
        *(Column(figure, _SPLIT_TITLES[split]) for split in SPLITS for figure in ("AUC", "ACC")),
        *(Column(figure, "Test, sd over seeds") for figure in ("AUC", "ACC")),
    )
    title = "Table 3. AUC and ACC on training, validation and test images"
    return Table("splits", title, columns, tuple(rows), grouped=True)


def _split_row(head: Cell, setup: Setup, seeds: int, runs: Mapping[str, list[Run]]) -> tuple[Cell, ...]:
    figures = [_mean_over(runs, split, i) for split in SPLITS for i in (0, 1)]
    return (
        head, _method(setup), Cell(str(seeds)), *(Cell(_figure(value)) for value, _ in figures),
        *(Cell(_figure(spread)) for _, spread in figures[-2:]),
    )


def intervals_table(runs: Sequence[Run], scored: Mapping[Run, Assessment]) -> Table:
    """Each run's test figures with 95 % intervals, and figures beyond AUC and ACC."""
    timed = any(run.result.seconds is not None for run in runs)
    columns = (
        Column("Dataset", number=False), Column("Method", number=False), Column("Seed"), Column("Epoch"),
        Column("Images"), Column("AUC", "AUC, bootstrap"), Column("low", "AUC, bootstrap"),
        Column("high", "AUC, bootstrap"), Column("low", "AUC, DeLong"), Column("high", "AUC, DeLong"),
        Column("ACC", "ACC, bootstrap"), Column("low", "ACC, bootstrap"), Column("high", "ACC, bootstrap"),
        Column("Balanced ACC"), Column("Kappa"), Column("Calibration error"), Column("Resampled", number=False),
        *((Column("spent", "Seconds"), Column("budget", "Seconds")) if timed else ()),
    )
    rows = []
    for run in runs:
        assessment = scored.get(run)
        epoch = f"{run.result.best_epoch} of {run.result.epochs}" if run.result.epochs else NONE
        auc, acc = (assessment.estimate(i) if assessment else None for i in (0, 1))
        delong = assessment.delong if assessment else None
        line = [_figure(run.test.auc), *_bounds(auc), *_bounds(delong), _figure(run.test.acc), *_bounds(acc)]
        details = assessment.details if assessment else None
        further = [details.balanced_accuracy, details.kappa, details.calibration_error] if details else [None] * 3
        rows.append((
            Cell(run.dataset.title, marks=run.marks), _method(run.setup),
            Cell(str(run.seed)), Cell(epoch), Cell(f"{run.result.images['test']:,}"), *map(Cell, line),
            *(Cell(_figure(value)) for value in further),
            Cell(assessment.intervals.resampled if assessment else NONE),
            *(map(_seconds, (run.result.seconds, run.result.budget)) if timed else ()),
        ))
    note = (
        "95 % intervals: percentiles of 2,000 bootstrap resamples of the test images or subjects (column Resampled), "
        "and DeLong's for two classes with at least two images each. Kappa: Cohen's with quadratic weights, for "
        "ordinal tasks. Calibration error: expected calibration error in 15 bins."
    )
    title = "Table 4. Test figures of every run with 95 % intervals"
    return Table("intervals", title, columns, tuple(rows), note, grouped=True)


def _seconds(value: float | None) -> Cell:
    return Cell(NONE if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.1f}")


def _bounds(estimate: Estimate | None) -> list[str]:
    if estimate is None or np.isnan(estimate.low):
        return [NONE, NONE]
    return [f"{estimate.low:.3f}", f"{estimate.high:.3f}"]


def classes_table(runs: Sequence[Run], scored: Mapping[Run, Assessment]) -> Table:
    """Figures of each class or label, for each dataset's best run."""
    rows = []
    for some in by_flag(runs).values():
        run = best_run(some)
        for scores in scored[run].details.classes if run in scored else ():
            figures = (scores.auc, scores.recall, scores.f1)
            head, name = Cell(run.dataset.title, marks=run.marks), Cell(scores.name)
            rows.append((head, name, Cell(f"{scores.images:,}"), *(Cell(_figure(value)) for value in figures)))
    columns = (
        Column("Dataset", number=False), Column("Class", number=False), Column("Images"), Column("AUC"),
        Column("Recall"), Column("F1"),
    )
    note = "Each class against the rest, for each dataset's run with the best validation AUC."
    title = "Table 5. Test figures of each class"
    return Table("classes", title, columns, tuple(rows), note, grouped=True)


def confusion_table(run: Run, assessment: Assessment) -> Table:
    """The confusion matrix of a run; for multi-label tasks true and false positives and negatives of each label."""
    from sklearn.metrics import multilabel_confusion_matrix

    test = run.predictions
    assert test is not None
    name, title = f"confusion_{run.dataset.flag}", f"Confusion matrix of {run.dataset.title}, test images"
    if assessment.details.confusion is None:
        kinds = multilabel_confusion_matrix(test.labels, decide(test.scores, test.task)[1])
        outcomes = ("true positive", "false negative", "false positive", "true negative")
        columns = (Column("Label", number=False), *map(Column, outcomes))
        rows = [
            (Cell(label), *(Cell(f"{n:,}", shade=n / max(of, 1)) for n, of in (
                (yes[1], yes.sum()), (yes[0], yes.sum()), (no[1], no.sum()), (no[0], np.inf),
            )))
            for label, (no, yes) in zip(test.classes, kinds, strict=True)
        ]
        return Table(name, title, columns, tuple(rows), "A label is positive if its score is above 0.5.")
    matrix = assessment.details.confusion
    columns = (
        Column("True class", number=False), *(Column(str(i), "Predicted class") for i in range(len(test.classes))),
    )
    rows = [
        (Cell(label if label == str(i) else f"{i} {label}"), *(Cell(str(n), shade=n / max(row.sum(), 1)) for n in row))
        for i, (label, row) in enumerate(zip(test.classes, matrix, strict=True))
    ]
    return Table(name, title, columns, tuple(rows), "Rows: true classes; shading: share of the row.")


def audit_table(audits: Mapping[str, Audit], titles: Mapping[str, str]) -> Table:
    """What inflates scores: identical images and subjects shared between splits, for each audited dataset."""
    rows = []
    for name, result in audits.items():
        across = sum(group.across for group in result.exact)
        of_store = result.near_limit is not None
        figures = (len(result.exact), across, len([group for group in result.exact if group.conflict]))
        subjects = f"{len(result.crossing):,}" if result.known_subjects else NONE
        overlaps = "; ".join(map(str, result.overlaps)) if result.known_subjects else "subjects are unknown"
        rows.append((
            Cell(titles[name]), Cell("the store" if of_store else "the official map"),
            *(Cell(f"{n:,}" if of_store else NONE) for n in figures), Cell(subjects), Cell(overlaps or "none shared"),
        ))
    columns = (
        Column("Dataset", number=False), Column("Examined", number=False), Column("groups", "Identical images"),
        Column("across splits", "Identical images"), Column("with different labels", "Identical images"),
        Column("Subjects in several splits"), Column("Which splits", number=False),
    )
    note = "Near-duplicates are not searched for here; use mmtk audit."
    return Table("audit", "Table 6. What inflates scores", columns, tuple(rows), note)


def environment_table(runs: Sequence[Run]) -> Table:
    """Versions that made the runs, one column per different set, and those that made this report."""
    groups: dict[tuple[str, tuple[tuple[str, str], ...]], list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.config.device, run.made_with].append(run)
    here = {
        "mmtk": __version__, "python": platform.python_version(), "platform": f"{sys.platform} {platform.machine()}",
        **versions(_PACKAGES),
    }
    sides = [here]
    sides += [{"runs": str(len(some)), "device": device, **dict(made)} for (device, made), some in groups.items()]
    names = dict.fromkeys(name for side in sides[1:] + sides[:1] for name in side)
    columns = (
        Column("", number=False), Column("This report", number=False),
        *(Column(f"Runs {i}" if len(groups) > 1 else "Runs", number=False) for i in range(1, len(groups) + 1)),
    )
    rows = tuple((Cell(name), *(Cell(side.get(name, "") or NONE) for side in sides)) for name in names)
    return Table("environment", "Table 7. Software and hardware of the runs and of this report", columns, rows)
