"""What a run folder holds, written so that a run killed at any moment can go on.

``config.json`` says what the run is, ``last.pt`` where it stands (every epoch, replaced atomically), ``best.pt`` the
weights of the best epoch so far, ``metrics.jsonl`` a line an epoch, ``result.json`` the outcome, written last.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmtk.errors import MmtkError
from mmtk.files import clear_leftovers, holding, write_atomically

CONFIG, LAST, BEST, LOG, RESULT = "config.json", "last.pt", "best.pt", "metrics.jsonl", "result.json"


def write_text(path: Path, text: str) -> None:
    """Replace a small text file atomically."""
    write_atomically(path, lambda file: file.write(text.encode()), force=True)


def save(path: Path, state: dict[str, Any]) -> None:
    """Replace a checkpoint atomically."""
    import torch

    write_atomically(path, lambda file: torch.save(state, file), force=True)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint, on the CPU and without running code from it.

    Raises
    ------
    MmtkError
        If it is damaged.
    """
    import torch

    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        found = str(error).partition("\n")[0]
        raise MmtkError(path, expected="a checkpoint", found=found, remedy="remove the run's folder") from None
    return state


def read_json(path: Path) -> Any:
    """Read a JSON file of a run.

    Raises
    ------
    MmtkError
        If it is damaged.
    """
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise MmtkError(path, expected="JSON", found=str(error), remedy="remove the run's folder") from None


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a run's folder, made if need be, against other trainings; remove what a killed one left half written.

    Raises
    ------
    MmtkError
        If another process trains in it.
    """
    with holding(folder):
        for name in (CONFIG, LAST, BEST, LOG, RESULT):
            clear_leftovers(folder / name)
        yield


def claim(folder: Path, config: dict[str, Any]) -> None:
    """Write `config` into an empty run folder, or check that the run there is the same one.

    The entry ``made_with`` (versions) is kept from the first start and not compared.

    Raises
    ------
    MmtkError
        If the folder holds another run; the first field that differs is named.
    """
    path, config = folder / CONFIG, json.loads(json.dumps(config))
    if not path.exists():
        write_text(path, json.dumps(config, indent=2) + "\n")
        return
    known = read_json(path)
    for name in sorted(set(known) | set(config)):
        if name != "made_with" and known.get(name) != config.get(name):
            field, mine, theirs = name, config.get(name), known.get(name)
            if isinstance(mine, dict) and isinstance(theirs, dict):
                key = next(k for k in (*mine, *theirs) if mine.get(k) != theirs.get(k))
                field, mine, theirs = f"{name} {key}", mine.get(key), theirs.get(key)
            found = f"{theirs} in the run that lies there"
            raise MmtkError(path, expected=f"{field} {mine}", found=found, remedy="choose another --out")
