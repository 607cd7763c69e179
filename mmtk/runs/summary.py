"""``results.json``: what came of many runs, beside their folders, gathered from what each of them keeps."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmtk.errors import MmtkError
from mmtk.runs import jsonfiles
from mmtk.runs.entries import Outcome
from mmtk.runs.folder import OUTCOME
from mmtk.scoring import as_facts

RESULTS = "results.json"
_TURNS = 10  # in which others may add to it while it is written


def keep_outcome(outcome: Outcome) -> None:
    """Put what came of a run, also an error, into ``outcome.json`` of its folder, where there is room.

    What is there already is left alone.
    """
    (told,) = outcome_facts([outcome], outcome.entry.out)
    facts = json.loads(json.dumps({name: value for name, value in told.items() if name != "out"}))
    path = outcome.entry.out / OUTCOME
    with suppress(MmtkError, OSError):  # the run is as good without
        if _read(path) != facts:
            jsonfiles.write_object(path, facts)


def write_results(outcomes: Sequence[Outcome], out: str | Path) -> Path:
    """Put what came of runs into ``results.json``, and of all others below `out`; see `outcome_facts`.

    What is told are the outcomes that runs keep in their folders, then these, then what is there already. However many
    processes write it at the same time, it has them all in the end: who finds afterwards that others have added to it
    writes it again.

    Raises
    ------
    OSError
        If the system cannot read it, or an outcome, though it is there.
    StoreError
        If it cannot be written.
    """
    path = Path(out) / RESULTS
    runs = _merged(outcomes, path)
    for _ in range(_TURNS):
        jsonfiles.write_object(path, {"runs": list(runs.values())})
        before, runs = runs, _merged(outcomes, path)
        if runs == before:
            break
    return path


def _merged(outcomes: Sequence[Outcome], path: Path) -> dict[str, dict[str, Any]]:
    """What is told of each run, by its folder."""
    out = path.parent
    listed = _read(path).get("runs")
    known = [run for run in listed if isinstance(run, dict)] if isinstance(listed, list) else []
    runs = {run["out"]: run for run in known if isinstance(run.get("out"), str) and (out / run["out"]).is_dir()}
    runs.update({run["out"]: run for run in outcome_facts(outcomes, out)})
    for kept in sorted(out.glob(f"*/*/{OUTCOME}")):
        name = kept.parent.relative_to(out).as_posix()
        if facts := _read(kept):
            runs[name] = {**facts, "out": name}
    return runs


def _read(path: Path) -> dict[str, Any]:
    """An object of JSON; an empty one where it is not there or damaged, for it can be told again."""
    try:
        return jsonfiles.read_object(path)
    except MmtkError:
        return {}


def outcome_facts(outcomes: Iterable[Outcome], out: str | Path) -> list[dict[str, Any]]:
    """Each run with its folder below `out`, store, method, marks, and figures of each split or its error."""
    return [
        {
            "flag": o.entry.flag, "size": o.entry.size, **o.entry.method.facts,
            **({"budget": o.entry.budget} if o.entry.method.timed else {}), "seed": o.entry.seed,
            "out": o.entry.out.relative_to(out).as_posix(),
            **({"synthetic": o.entry.info.synthetic, "partial": o.entry.info.partial} if o.entry.info else {}),
            **({"error": o.error} if o.result is None else {
                "best_epoch": o.result.best_epoch,
                **({} if o.result.seconds is None else {"seconds": o.result.seconds}),
                "splits": {
                    name: {"images": o.result.images[name], **as_facts(metrics._asdict())}
                    for name, metrics in o.result.metrics.items()
                },
                **({"intervals": o.evaluation.facts["intervals"]} if o.evaluation else {}),
            }),
        }
        for o in outcomes
    ]
