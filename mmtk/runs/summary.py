"""``results.json``: what came of many runs, beside their folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmtk.errors import MmtkError
from mmtk.runs import jsonfiles
from mmtk.runs.entries import Outcome
from mmtk.scoring import as_facts

RESULTS = "results.json"


def write_results(outcomes: Iterable[Outcome], out: str | Path) -> Path:
    """Put what came of runs into ``results.json``, beside what it tells of others that are there; see `outcome_facts`.

    Raises
    ------
    OSError
        If the system cannot read it, though it is there.
    StoreError
        If it cannot be written.
    """
    path = Path(out) / RESULTS
    runs = {run["out"]: run for run in _known(path) if (Path(out) / run["out"]).is_dir()}
    runs.update({run["out"]: run for run in outcome_facts(outcomes, out)})
    jsonfiles.write_object(path, {"runs": list(runs.values())})
    return path


def _known(path: Path) -> list[dict[str, Any]]:
    try:
        runs = jsonfiles.read_object(path).get("runs")
    except MmtkError:  # what it tells can be told again
        return []
    listed = runs if isinstance(runs, list) else []
    return [run for run in listed if isinstance(run, dict) and isinstance(run.get("out"), str)]


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
