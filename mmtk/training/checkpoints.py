"""Checkpoints: torch's files, replaced atomically and read without running code from them."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

from mmtk.errors import MmtkError
from mmtk.files import write_atomically
from mmtk.runs import AGAIN, present

_LONGEST = 160  # letters of torch's reasons that an error shows
_MAGIC = b"PK\x03\x04"  # checkpoints are zip files


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
