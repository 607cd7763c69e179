"""JSON files of a run: read as they were written, or refused in one line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmtk.errors import MmtkError
from mmtk.files import write_text

AGAIN = "remove the run's folder"


def parse(text: str) -> Any:
    """The value of a JSON text.

    Raises
    ------
    ValueError
        If it is no JSON, holds NaN or infinity, or is nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("values nested too deeply") from None


def _refuse(name: str) -> None:
    raise ValueError(f"{name}, which JSON has not")


@contextmanager
def present(path: Path, expected: str) -> Iterator[None]:
    """Say of a file of a run that is not there what it should be; other errors of the system stay as they are.

    Raises
    ------
    MmtkError
        If it is not there.
    """
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise MmtkError(path, expected=expected, found=str(error.strerror), remedy=AGAIN) from None


def read_text(path: Path, expected: str) -> str:
    """The text of a file of a run.

    Raises
    ------
    MmtkError
        If it is not there or not in UTF-8; `expected` says what it should be.
    OSError
        If the system cannot read it, though it is there.
    """
    try:
        with present(path, expected):
            return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        found = f"bytes that are not UTF-8, the first at offset {error.start}"
        raise MmtkError(path, expected=expected, found=found, remedy=AGAIN) from None


def write_object(path: Path, values: Mapping[str, Any]) -> None:
    """Replace a JSON file of a run, or of many, atomically."""
    write_text(path, json.dumps(values, indent=2) + "\n")


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file of a run that holds an object.

    Raises
    ------
    MmtkError
        If it is not there or is damaged.
    OSError
        If the system cannot read it, though it is there.
    """
    text = read_text(path, "JSON")
    try:
        value = parse(text)
    except ValueError as error:
        raise MmtkError(path, expected="JSON", found=str(error), remedy=AGAIN) from None
    if not isinstance(value, dict):
        raise MmtkError(path, expected="a JSON object", found=type(value).__name__, remedy=AGAIN)
    return value
