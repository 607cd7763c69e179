"""``results.json``: the outcomes of many runs, collected from their folders and kept alongside them."""

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
_ATTEMPTS = 10  # to write the file while other processes add to it


def keep_outcome(outcome: Outcome) -> None:
    """Save a run's outcome, also an error, as ``outcome.json`` in its folder, if there is space.

    An equal file is not rewritten.
    """
    (values,) = outcome_facts([outcome], outcome.entry.out)
    facts = json.loads(json.dumps({name: value for name, value in values.items() if name != "out"}))
    path = outcome.entry.out / OUTCOME
    with suppress(MmtkError, OSError):  # the run is valid without it
        if _read(path) != facts:
            jsonfiles.write_object(path, facts)


def write_results(outcomes: Sequence[Outcome], out: str | Path) -> Path:
    """Write the outcomes of these and all other runs below a folder to its ``results.json``; see `outcome_facts`.

    Outcomes saved in the runs' folders take precedence over `outcomes`, and these over what the file already has. The
    file ends up complete however many processes write it at the same time: a process that finds additions by others
    after writing writes it again.

    Parameters
    ----------
    outcomes : sequence of Outcome
    out : str or path
        Folder of the runs.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OSError
        If the file or an outcome exists but the system cannot read it.
    StoreError
        If the file cannot be written.
    """
    path = Path(out) / RESULTS
    runs = _merged(outcomes, path)
    for _ in range(_ATTEMPTS):
        jsonfiles.write_object(path, {"runs": list(runs.values())})
        before, runs = runs, _merged(outcomes, path)
        if runs == before:
            break
    return path


def _merged(outcomes: Sequence[Outcome], path: Path) -> dict[str, dict[str, Any]]:
    """The known facts of each run, by its folder."""
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
    """Read a JSON object; an empty one if the file is missing or damaged, since it can be written again."""
    try:
        return jsonfiles.read_object(path)
    except MmtkError:
        return {}


def outcome_facts(outcomes: Iterable[Outcome], out: str | Path) -> list[dict[str, Any]]:
    """Return each run's folder below `out`, store, method, marks, and figures of each split or its error."""
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
