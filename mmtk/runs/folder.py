"""A run's folder: the files in it, its lock, and the check that it holds the expected run.

``config.json`` is the run's configuration, ``last.pt`` the state after the last epoch (replaced atomically),
``best.pt`` the weights of the best epoch so far, ``metrics.jsonl`` the log with one line per epoch, ``result.json`` the
result, written last. A run that is killed at any moment can therefore resume. ``traceback.txt`` is the traceback of a
method that failed, until there is a result; ``outcome.json`` is the run's outcome in a Decathlon, figures or an error.
A command works in ``work`` until there is a result; ``command.json`` says how it ended, ``output.txt`` is what it
printed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmtk.errors import MmtkError
from mmtk.files import clear_leftovers, holding, write_text
from mmtk.runs.config import RunConfig
from mmtk.runs.jsonfiles import read_object

CONFIG, LAST, BEST, LOG, RESULT = "config.json", "last.pt", "best.pt", "metrics.jsonl", "result.json"
TRACEBACK, OUTCOME = "traceback.txt", "outcome.json"
WORK, COMMAND, OUTPUT = "work", "command.json", "output.txt"


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock a run's folder, created if needed, against other processes; remove partial files of a killed one.

    Raises
    ------
    BusyError
        If another process is using it.
    """
    with holding(folder):
        for name in (CONFIG, LAST, BEST, LOG, RESULT, TRACEBACK, OUTCOME, COMMAND):
            clear_leftovers(folder / name)
        yield


def ensure_config(folder: Path, config: RunConfig) -> None:
    """Write `config` to a new run's folder, or check that an existing folder holds the same run.

    Raises
    ------
    MmtkError
        If the folder holds another run; the error names the first field that differs.
    """
    path = folder / CONFIG
    if not path.exists():
        write_text(path, config.to_json())
        return
    if difference := config.difference(read_object(path)):
        field, mine, theirs = difference
        found, remedy = f"{field} {theirs}", "choose another --out"
        raise MmtkError(path, "belongs to another run", found=found, expected=str(mine), remedy=remedy)
