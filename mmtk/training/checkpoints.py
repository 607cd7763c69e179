"""Checkpoints: torch files, replaced atomically and read without running code from them."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

from mmtk.errors import MmtkError
from mmtk.files import write_atomically
from mmtk.runs import REMOVE_FOLDER, expect_file

_LONGEST = 160  # characters of torch's message shown in an error
_MAGIC = b"PK\x03\x04"  # checkpoints are zip files


def save(path: Path, state: dict[str, Any]) -> None:
    """Replace a checkpoint atomically."""
    import torch

    content = io.BytesIO()  # torch hides system errors about a file
    torch.save(state, content)
    write_atomically(path, lambda file: file.write(content.getbuffer()), force=True)


def load(path: Path) -> Any:
    """Read a checkpoint onto the CPU without running code from it; the caller must check its content.

    Raises
    ------
    MmtkError
        If the file does not exist or is damaged.
    OSError
        If the file exists but the system cannot read it.
    """
    import torch

    with expect_file(path):
        raw = path.read_bytes()
    try:
        if not raw.startswith(_MAGIC):
            raise ValueError("it is another kind of file" if raw else "it is empty")
        return torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes can make an unpickler raise anything
        reason, remedy = _reason(error)
    raise MmtkError(path, f"cannot be read as a checkpoint: {reason}", remedy=remedy)


def _reason(error: Exception) -> tuple[str, str]:
    """Why a checkpoint cannot be read, without torch's advice to run code from it, and the remedy."""
    if isinstance(error, pickle.UnpicklingError):
        return "it contains objects other than numbers and tensors", REMOVE_FOLDER
    if isinstance(error, MemoryError) or "allocate memory" in str(error):
        return "its tensors do not fit into memory", f"free memory, or if there is enough, {REMOVE_FOLDER}"
    sentence = str(error).partition("\n")[0].partition(". ")[0]
    return sentence[:_LONGEST] or type(error).__name__, REMOVE_FOLDER
