"""JSON files of a run, and the fields of one: read as they were written, or refused in one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmtk.errors import MmtkError

AGAIN = "remove the run's folder"
_LONGEST = 40  # letters of a wrong value that an error shows
_LARGEST = sys.float_info.max
_KINDS: dict[str, tuple[type, ...]] = {
    "text": (str,), "a whole number": (int,), "a number": (int, float), "a table": (dict,), "true or false": (bool,),
}


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


def field(values: Mapping[str, Any], name: str, kind: str) -> Any:
    """A field of an object.

    Parameters
    ----------
    values : mapping
    name : str
    kind : {"text", "a whole number", "a number", "a table", "true or false"}

    Raises
    ------
    ValueError
        If it is missing or of another kind.
    """
    if name not in values:
        raise ValueError(f"no {name!r}")
    value = values[name]
    if not isinstance(value, _KINDS[kind]) or (isinstance(value, bool) and kind != "true or false"):
        told = repr(value)
        told = told if len(told) <= _LONGEST else f"{told[:_LONGEST]}..."
        raise ValueError(f"{name} {told}, which is not {kind}")
    number: Any = value
    if kind == "a number" and abs(number) > _LARGEST:
        raise ValueError(f"a number too large in {name}")
    return value


def figure(values: Mapping[str, Any], name: str) -> float:
    """A field that is a figure from 0 to 1, or null where it is undefined, which gives NaN.

    Raises
    ------
    ValueError
        If it is missing or another value.
    """
    if values.get(name, 0) is None:
        return float("nan")
    value = field(values, name, "a number")
    if not 0 <= value <= 1:
        raise ValueError("figures outside 0 to 1")
    return float(value)
