"""Collect the report's content, render the page, and write it with its tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from mmtk import store
from mmtk.base import Progress
from mmtk.datasets import EIGHT, TEN, get_dataset
from mmtk.datasets.base import SPLITS, Dataset
from mmtk.datasets.maps import official_map
from mmtk.errors import MmtkError, StoreError
from mmtk.files import write_text
from mmtk.matching import Audit, audit
from mmtk.report import _contents as contents
from mmtk.report import _figures as figures
from mmtk.report import _pictures as pictures
from mmtk.report._tables import Table, spans
from mmtk.runs import LATER_SETS, Run, best_run, by_flag, find_runs, setups_of

_MANY = 4  # datasets from which on the page's title has only their number


@dataclass(frozen=True)
class _Section:
    """The page's section on one dataset."""

    dataset: Dataset | store.StoreInfo
    marks: str
    first: Run
    bars: str
    curves: str | None
    roc: str | None
    confusion: Table | None
    classes: Table | None
    mistakes: list[pictures.Mistake]


def write(
    runs: str | Path, out: str | Path, *, stores: str | Path | None, force: bool,
    progress: Progress | None, refused: Callable[[MmtkError], None] | None = None,
) -> tuple[list[Path], list[str]]:
    """See `mmtk.report.write_report`."""
    page = Path(out)
    if page.suffix.lower() not in (".html", ".htm"):
        raise StoreError(page, "the name of the page does not end in .html")
    bad: list[MmtkError] = []
    finished, unfinished = find_runs(runs, stores, bad.append)
    if refused:
        for error in bad:
            refused(error)
    opened = _open_stores(stores, by_flag(finished))
    scored = {}
    for done, run in enumerate(finished, 1):
        if run.predictions is not None:
            scored[run] = contents.score(run.predictions)
        if progress:
            progress(done, len(finished))
    notes = _notes(finished, unfinished, stores is not None)
    notes += [f"Skipped: {str(error).replace(f'{Path(runs)}/', '')}." for error in bad]
    audits = _audits(opened, finished)
    titles = {
        **{flag: get_dataset(flag).title for flag in TEN},
        **{flag: built.info.title for flag, built in opened.items() if flag not in TEN},
        **{run.dataset.flag: run.dataset.title for run in finished},
    }
    tables = {table.name: table for table in (
        contents.counts_table(opened), contents.later_counts_table(opened), contents.other_counts_table(opened),
        contents.scores_table(finished, scored), contents.later_scores_table(finished, scored),
        contents.other_scores_table(finished, scored), contents.splits_table(finished),
        contents.intervals_table(finished, scored), contents.classes_table(finished, scored),
        contents.audit_table(audits, titles), contents.environment_table(finished),
    )}
    of_paper = any(run.dataset.flag in TEN for run in finished)
    if not of_paper:  # its tables cover no other datasets
        for name in ("table1", "table2"):
            tables[name] = replace(tables[name], rows=())
        tables |= _numbered(tables, 1, "counts", "Datasets, as built")
        tables |= _numbered(tables, 2, "scores", "Test AUC and ACC")
    setups = setups_of(finished)
    sections = []
    for some in by_flag(finished).values():
        first = best_run(some)
        mine = scored.get(first)
        sections.append(_Section(
            first.dataset, _marks(some), first, figures.bars(some), figures.curves(some, setups),
            figures.roc(some, setups), contents.confusion_table(first, mine) if mine else None,
            _of_dataset(tables["classes"], first.dataset.title) if mine else None, pictures.mistakes(first),
        ))
    looks = [figures.style_of(place) for place in range(len(setups))]
    text = _render(
        title=_title(of_paper, [titles[flag] for flag in by_flag(finished)]), of_paper=of_paper,
        runs=finished, setups=list(zip(setups, looks, strict=True)), notes=notes, tables=tables, sections=sections,
        samples=[(built.info, pictures.sample(built)) for built in opened.values()],
        marks=sorted({mark for run in finished for mark in run.marks}), spans=spans, about=_about(by_flag(finished)),
    )
    files = {page: text}
    for table in tables.values():
        for ending, form in (("csv", table.to_csv), ("md", table.to_markdown), ("tex", table.to_latex)):
            if table.rows:
                files[page.with_name(f"{page.stem}.{table.name}.{ending}")] = form()
    _write_all(files, force)
    return list(files), notes


def _numbered(tables: Mapping[str, Table], number: int, kind: str, default_title: str) -> dict[str, Table]:
    """The first table of a kind without any of the ten datasets, with the number of theirs."""
    later, other = tables[f"later_{kind}"], tables[f"other_{kind}"]
    first = later if later.rows else replace(other, title=default_title)
    return {first.name: replace(first, title=f"Table {number}. {first.title}")}


def _title(of_paper: bool, titles: list[str]) -> str:
    if of_paper:
        return "MedMNIST Classification Decathlon"
    return ", ".join(titles) if len(titles) < _MANY else f"{len(titles)} datasets"


def _about(flags: Iterable[str]) -> str:
    """The number of datasets: of the ten, of those that MedMNIST added, and others."""
    every = set(flags)
    ten, later = len(every & set(TEN)), len(every & set(EIGHT))
    others = len(every) - ten - later
    parts = [f"{ten} of the ten datasets"] * (ten > 0) + [f"{later} of {LATER_SETS}"] * (later > 0)
    parts += [f"{others}{' other' if parts else ''} dataset{'s' if others > 1 else ''}"] * (others > 0)
    return ", ".join(parts[:-1]) + " and " * (len(parts) > 1) + parts[-1]


def _open_stores(stores: str | Path | None, shown: Iterable[str]) -> dict[str, store.Store]:
    """The smallest store of each of the ten datasets, in the paper's order, then of the others on the page."""
    paths = {flag: path for flag, _, path in reversed(store.stores_in(stores))} if stores is not None else {}
    return {flag: store.open(paths[flag]) for flag in _flags(shown) if flag in paths}


def _flags(others: Iterable[str]) -> list[str]:
    return list(dict.fromkeys([*TEN, *others]))


def _audits(opened: Mapping[str, store.Store], runs: list[Run]) -> dict[str, Audit]:
    """Audit each store for identical images and shared subjects; without a store audit the official map."""
    audits = {}
    real = {run.dataset.flag for run in runs if not run.synthetic}
    for flag in _flags(opened):
        if flag in opened:
            audits[flag] = audit(opened[flag], near=0)
        elif flag in TEN and flag in real and official_map(flag) is not None:
            audits[flag] = audit(flag)
    return audits


def _notes(runs: list[Run], unfinished: list[str], stores: bool) -> list[str]:
    notes = []
    missing = [some[0].dataset.title for some in by_flag(runs).values() if any(not run.predictions for run in some)]
    if missing:
        why = "their stores were not found" if stores else "no stores were given"
        notes.append(f"No intervals, ROC curves and confusion matrices of {', '.join(missing)}: {why}.")
    blind = [
        some[0].dataset.title for some in by_flag(runs).values()
        if (test := best_run(some).predictions) is None or test.images is None
    ]
    if blind:
        notes.append(f"No pictures of mistakes of {', '.join(blind)}: their images are not available.")
    undefined = [
        f"{some[0].dataset.title} ({', '.join(lost)})" for some in by_flag(runs).values()
        if (lost := [name for name in SPLITS if any(_undefined(run, name) for run in some)])
    ]
    if undefined:
        notes.append(f"The AUC is undefined because a class has no images: {', '.join(undefined)}.")
    if unfinished:
        notes.append(f"Unfinished, so not included: {', '.join(unfinished)}.")
    bare = [
        f"{run.dataset.title} ({run.setup.title}, seed {run.seed})" for run in runs
        if any(run.result.images[name] == 0 for name in SPLITS)
    ]
    if bare:
        notes.append(f"Without predictions of some splits: {', '.join(bare)}.")
    absent = [get_dataset(flag).title for flag in TEN if flag not in by_flag(runs)]
    if 0 < len(absent) < len(TEN):
        notes.append(f"No run of {', '.join(absent)}.")
    return notes


def _undefined(run: Run, split: str) -> bool:
    """Whether there are predictions of a split, but no AUC."""
    return run.result.images[split] > 0 and bool(np.isnan(run.result.metrics[split].auc))


def _marks(runs: Iterable[Run]) -> str:
    return ", ".join(dict.fromkeys(mark for run in runs for mark in run.marks))


def _of_dataset(table: Table, title: str) -> Table:
    rows = tuple(row[1:] for row in table.rows if row[0].text == title)
    heading, columns = f"{title}, class by class", table.columns[1:]
    return replace(table, title=heading, columns=columns, rows=rows, note="", grouped=False)


def _render(**values: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mmtk.report", "."), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )
    return environment.get_template("page.html").render(**values)


def _write_all(files: Mapping[Path, str], force: bool) -> None:
    """Write all files or none: check first that no other files are in the way."""
    for path, text in files.items():
        if path.exists() and not force and not (path.is_file() and path.read_bytes() == text.encode()):
            raise StoreError(path, "already exists with other content", remedy="use --force to overwrite it")
    for path, text in reversed(list(files.items())):  # the page last
        write_text(path, text)
