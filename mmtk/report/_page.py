"""Put together what runs tell, render the page, and write it with its tables."""

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
from mmtk.runs import LATER_SETS, Run, by_flag, find_runs, foremost, setups_of

_FEW = 4  # datasets whose titles do not all stand in that of the page


@dataclass(frozen=True)
class _Section:
    """What the page shows of one dataset."""

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
        raise StoreError(page, expected="a name that ends in .html", found=page.name)
    bad: list[MmtkError] = []
    found, unfinished = find_runs(runs, stores, bad.append)
    if refused:
        for error in bad:
            refused(error)
    opened = _open_stores(stores, by_flag(found))
    scored = {}
    for done, run in enumerate(found, 1):
        if run.tested is not None:
            scored[run] = contents.score(run.tested)
        if progress:
            progress(done, len(found))
    notes = _notes(found, unfinished, stores is not None)
    notes += [f"Left out: {str(error).replace(f'{Path(runs)}/', '')}." for error in bad]
    audits = _audits(opened, found)
    titles = {
        **{flag: get_dataset(flag).title for flag in TEN},
        **{flag: one.info.title for flag, one in opened.items() if flag not in TEN},
        **{run.dataset.flag: run.dataset.title for run in found},
    }
    tables = {table.name: table for table in (
        contents.counts_table(opened), contents.later_counts_table(opened), contents.other_counts_table(opened),
        contents.scores_table(found, scored), contents.later_scores_table(found, scored),
        contents.other_scores_table(found, scored), contents.splits_table(found),
        contents.intervals_table(found, scored), contents.classes_table(found, scored),
        contents.audit_table(audits, titles), contents.environment_table(found),
    )}
    of_paper = any(run.dataset.flag in TEN for run in found)
    if not of_paper:  # its tables say nothing of other datasets
        for name in ("table1", "table2"):
            tables[name] = replace(tables[name], rows=())
        tables |= _numbered(tables, 1, "counts", "Datasets, as built")
        tables |= _numbered(tables, 2, "scores", "Test AUC and ACC")
    setups = setups_of(found)
    sections = []
    for some in by_flag(found).values():
        first = foremost(some)
        mine = scored.get(first)
        sections.append(_Section(
            first.dataset, _marks(some), first, figures.bars(some), figures.curves(some, setups),
            figures.roc(some, setups), contents.confusion_table(first, mine) if mine else None,
            _of_dataset(tables["classes"], first.dataset.title) if mine else None, pictures.mistakes(first),
        ))
    looks = [figures.style_of(place) for place in range(len(setups))]
    text = _render(
        title=_title(of_paper, [titles[flag] for flag in by_flag(found)]), of_paper=of_paper,
        runs=found, setups=list(zip(setups, looks, strict=True)), notes=notes, tables=tables, sections=sections,
        samples=[(one.info, pictures.sample(one)) for one in opened.values()],
        marks=sorted({mark for run in found for mark in run.marks}), spans=spans, about=_about(by_flag(found)),
    )
    files = {page: text}
    for table in tables.values():
        for ending, form in (("csv", table.to_csv), ("md", table.to_markdown), ("tex", table.to_latex)):
            if table.rows:
                files[page.with_name(f"{page.stem}.{table.name}.{ending}")] = form()
    _write_all(files, force)
    return list(files), notes


def _numbered(tables: Mapping[str, Table], number: int, kind: str, alone: str) -> dict[str, Table]:
    """The tables of a kind where there is none of the ten: the first one takes the number of theirs."""
    later, other = tables[f"later_{kind}"], tables[f"other_{kind}"]
    first = later if later.rows else replace(other, title=alone)
    return {first.name: replace(first, title=f"Table {number}. {first.title}")}


def _title(of_paper: bool, titles: list[str]) -> str:
    if of_paper:
        return "MedMNIST Classification Decathlon"
    return ", ".join(titles) if len(titles) < _FEW else f"{len(titles)} datasets"


def _about(flags: Iterable[str]) -> str:
    """How many datasets there are: of the ten, of what MedMNIST added, and others."""
    every = set(flags)
    ten, later = len(every & set(TEN)), len(every & set(EIGHT))
    others = len(every) - ten - later
    parts = [f"{ten} of the ten datasets"] * (ten > 0) + [f"{later} of {LATER_SETS}"] * (later > 0)
    parts += [f"{others}{' other' if parts else ''} dataset{'s' if others > 1 else ''}"] * (others > 0)
    return ", ".join(parts[:-1]) + " and " * (len(parts) > 1) + parts[-1]


def _open_stores(stores: str | Path | None, shown: Iterable[str]) -> dict[str, store.Store]:
    """The smallest store of each dataset, in the paper's order, and then of the others that are shown."""
    paths = {flag: path for flag, _, path in reversed(store.stores_in(stores))} if stores is not None else {}
    return {flag: store.open(paths[flag]) for flag in _flags(shown) if flag in paths}


def _flags(others: Iterable[str]) -> list[str]:
    return list(dict.fromkeys([*TEN, *others]))


def _audits(opened: Mapping[str, store.Store], runs: list[Run]) -> dict[str, Audit]:
    """Equal pictures and shared subjects of each store; of real runs without one what the official map tells."""
    found = {}
    real = {run.dataset.flag for run in runs if not run.synthetic}
    for flag in _flags(opened):
        if flag in opened:
            found[flag] = audit(opened[flag], near=0)
        elif flag in TEN and flag in real and official_map(flag) is not None:
            found[flag] = audit(flag)
    return found


def _notes(runs: list[Run], unfinished: list[str], stores: bool) -> list[str]:
    notes = []
    missing = [some[0].dataset.title for some in by_flag(runs).values() if any(run.tested is None for run in some)]
    if missing:
        why = "no store of these runs is there" if stores else "no stores were given"
        notes.append(f"No intervals, ROC curves and confusion of {', '.join(missing)}: {why}.")
    blind = [
        some[0].dataset.title for some in by_flag(runs).values()
        if (tested := foremost(some).tested) is None or tested.images is None
    ]
    if blind:
        notes.append(f"No pictures of mistakes of {', '.join(blind)}: no images to show them by.")
    undefined = [
        f"{some[0].dataset.title} ({', '.join(lost)})" for some in by_flag(runs).values()
        if (lost := [name for name in SPLITS if any(_undefined(run, name) for run in some)])
    ]
    if undefined:
        notes.append(f"The AUC is undefined, for a class has no image there: {', '.join(undefined)}.")
    if unfinished:
        notes.append(f"Left out, for they are not finished: {', '.join(unfinished)}.")
    bare = [
        f"{run.dataset.title} ({run.setup.title}, seed {run.seed})" for run in runs
        if any(run.result.images[name] == 0 for name in SPLITS)
    ]
    if bare:
        notes.append(f"Predictions of test images alone, or not of every split: {', '.join(bare)}.")
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
    """Write all or none: see first that nothing else is in the way."""
    for path, text in files.items():
        if path.exists() and not force and not (path.is_file() and path.read_bytes() == text.encode()):
            raise StoreError(path, expected="an equal file or none", found="another", remedy="add --force")
    for path, text in reversed(list(files.items())):  # the page last
        write_text(path, text)
