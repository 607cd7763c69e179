"""A run's folder: the files in it, who may write them, and whose run it is.

``config.json`` says what the run is, ``last.pt`` where it stands (every epoch, replaced atomically), ``best.pt`` the
weights of the best epoch so far, ``metrics.jsonl`` a line an epoch, ``result.json`` the outcome, written last. So a run
that is killed at any moment can go on. ``traceback.txt`` says where a method failed, as long as there is no result;
``outcome.json`` tells in a Decathlon what came of it, figures or an error. A method that is a command works in ``work``
until there is a result; ``command.json`` says how it ended, ``output.txt`` what it printed.
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
def alone(folder: Path) -> Iterator[None]:
    """Hold a run's folder, made if need be, against other trainings; remove what a killed one left half written.

    Raises
    ------
    BusyError
        If another process trains in it.
    """
    with holding(folder):
        for name in (CONFIG, LAST, BEST, LOG, RESULT, TRACEBACK, OUTCOME, COMMAND):
            clear_leftovers(folder / name)
        yield


def claim(folder: Path, config: RunConfig) -> None:
    """Write `config` into an empty run folder, or check that the run there is the same one.

    Raises
    ------
    MmtkError
        If the folder holds another run; the first field that differs is named.
    """
    path = folder / CONFIG
    if not path.exists():
        write_text(path, config.to_json())
        return
    if difference := config.difference(read_object(path)):
        field, mine, theirs = difference
        found = f"{theirs} in the run that lies there"
        raise MmtkError(path, expected=f"{field} {mine}", found=found, remedy="choose another --out")
