"""JSON files of a run: reading them with one-line errors, and writing them atomically."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmtk.errors import MmtkError, reason_of
from mmtk.files import write_text

REMOVE_FOLDER = "remove the run's folder"  # a remedy


def parse(text: str) -> Any:
    """Return the value of a JSON text.

    Raises
    ------
    ValueError
        If it is not valid JSON, contains NaN or infinity, or is nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("values are nested too deeply") from None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not allowed in JSON")


@contextmanager
def expect_file(path: Path) -> Iterator[None]:
    """Turn the error that a file of a run does not exist into an `MmtkError`; other system errors pass.

    Raises
    ------
    MmtkError
        If the file does not exist.
    """
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise MmtkError(path, f"cannot be read: {reason_of(error)}", remedy=REMOVE_FOLDER) from None


def read_text(path: Path) -> str:
    """Read the text of a file of a run.

    Raises
    ------
    MmtkError
        If the file does not exist or is not encoded as UTF-8.
    OSError
        If the file exists but the system cannot read it.
    """
    try:
        with expect_file(path):
            return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        found = f"a bad byte at offset {error.start}"
        raise MmtkError(path, "is not encoded as UTF-8", found=found, remedy=REMOVE_FOLDER) from None


def write_object(path: Path, values: Mapping[str, Any]) -> None:
    """Replace a JSON file atomically."""
    write_text(path, json.dumps(values, indent=2) + "\n")


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file of a run that holds an object.

    Raises
    ------
    MmtkError
        If the file does not exist or is damaged.
    OSError
        If the file exists but the system cannot read it.
    """
    text = read_text(path)
    try:
        value = parse(text)
    except ValueError as error:
        raise MmtkError(path, f"is not valid JSON: {error}", remedy=REMOVE_FOLDER) from None
    if not isinstance(value, dict):
        raise MmtkError(path, found=f"JSON of type {type(value).__name__}", expected="an object", remedy=REMOVE_FOLDER)
    return value
