"""What a run folder holds, written so that a run killed at any moment can go on.

``config.json`` says what the run is, ``last.pt`` where it stands (every epoch, replaced atomically), ``best.pt`` the
weights of the best epoch so far, ``metrics.jsonl`` a line an epoch, ``result.json`` the outcome, written last.
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmtk.errors import MmtkError
from mmtk.files import clear_leftovers, holding, write_atomically
from mmtk.training.jsonfiles import AGAIN, present, read_object

CONFIG, LAST, BEST, LOG, RESULT = "config.json", "last.pt", "best.pt", "metrics.jsonl", "result.json"
_LONGEST = 160  # letters of torch's reasons that an error shows
_MAGIC = b"PK\x03\x04"  # checkpoints are zip files


def write_text(path: Path, text: str) -> None:
    """Replace a small text file atomically."""
    write_atomically(path, lambda file: file.write(text.encode()), force=True)


def save(path: Path, state: dict[str, Any]) -> None:
    """Replace a checkpoint atomically."""
    import torch

    content = io.BytesIO()  # torch hides what the system says of a file
    torch.save(state, content)
    write_atomically(path, lambda file: file.write(content.getbuffer()), force=True)


def load(path: Path) -> Any:
    """Read a checkpoint, on the CPU and without running code from it; what it holds is the caller's to check.

    Raises
    ------
    MmtkError
        If it is not there or is damaged.
    OSError
        If the system cannot read it, though it is there.
    """
    import torch

    with present(path, "a checkpoint"):
        raw = path.read_bytes()
    try:
        if not raw.startswith(_MAGIC):
            raise ValueError("another kind of file" if raw else "an empty file")
        return torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except Exception as error:  # an unpickler meets any of them in bytes that are not its own
        found, remedy = _reason(error)
    raise MmtkError(path, expected="a checkpoint", found=found, remedy=remedy)


def _reason(error: Exception) -> tuple[str, str]:
    """Why a checkpoint cannot be read, without torch's advice to run code from it, and the remedy."""
    if isinstance(error, pickle.UnpicklingError):
        return "objects that are no numbers and tensors", AGAIN
    if isinstance(error, MemoryError) or "allocate memory" in str(error):
        return "tensors larger than the memory left", f"free memory, or if there is enough, {AGAIN}"
    sentence = str(error).partition("\n")[0].partition(". ")[0]
    return sentence[:_LONGEST] or type(error).__name__, AGAIN


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
    known = read_object(path)
    for name in sorted(set(known) | set(config)):
        if name != "made_with" and known.get(name) != config.get(name):
            field, mine, theirs = name, config.get(name), known.get(name)
            if isinstance(mine, dict) and isinstance(theirs, dict):
                key = next(k for k in (*mine, *theirs) if mine.get(k) != theirs.get(k))
                field, mine, theirs = f"{name} {key}", mine.get(key), theirs.get(key)
            found = f"{theirs} in the run that lies there"
            raise MmtkError(path, expected=f"{field} {mine}", found=found, remedy="choose another --out")
