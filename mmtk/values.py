"""Values from a file, as a dataclass: complete and of the right types, or one line that says what is wrong."""

from __future__ import annotations

import json
import re
import tomllib
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec

from mmtk.errors import ArgumentError, MmtkError, did_you_mean, reason_of

_T = TypeVar("_T")
_KINDS = {
    "int": "a whole number", "float": "a number", "str": "text", "bool": "true or false", "object": "a table",
    "array": "a list", "null": "null",
}


def typed(what: str | PathLike[str], values: Any, kind: type[_T], remedy: str = "") -> _T:
    """Convert values from JSON or TOML to a type: a whole number counts as a number, text never does.

    Parameters
    ----------
    what : path or str
        Where the values are from, for the error.
    values : JSON or TOML values
    kind : type
    remedy : str
        What to do about a wrong value, for the error.

    Raises
    ------
    ArgumentError
        If a value is missing, unknown or of another type; the error names the field.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from mmtk.values import typed
    >>> @dataclass
    ... class Crop:
    ...     side: int
    >>> typed("crop.toml", {"side": 64}, Crop)
    Crop(side=64)
    >>> typed("crop.toml", {"side": "wide"}, Crop)
    Traceback (most recent call last):
    mmtk.errors.ArgumentError: crop.toml: side: found text, expected a whole number
    """
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$")
        place, cause = place.strip(".`"), error.__cause__
    problem = expected = found = ""
    if isinstance(cause, MmtkError):  # raised by the dataclass itself
        what, problem = f"{what}: {place} {cause.what}".replace(":  ", ": "), cause.problem
        expected, found = cause.expected, cause.found
    else:
        what = f"{fspath(what)}: {place}" if place else what
        if missing := re.fullmatch("Object missing required field `(.*)`", reason):
            problem = f"the field {missing[1]} is missing"
        elif unknown := re.fullmatch("Object contains unknown field `(.*)`", reason):
            keys = [field.encode_name for field in msgspec.structs.fields(_type_at(kind, place))]
            hint = did_you_mean(unknown[1], keys)
            problem, remedy = f"unknown key {unknown[1]}", hint or remedy
            expected = "" if hint else f"one of {', '.join(keys)}"
        elif unknown := re.fullmatch("Invalid enum value '(.*)'", reason):
            options = [str(option) for option in get_args(_type_at(kind, place)) if option]
            expected, found = f"one of {', '.join(options)}", unknown[1]
            remedy = did_you_mean(found, options) or remedy
        elif reason == "Number out of range":
            problem = "the number is out of range"
        else:
            named = re.sub(r"\b(int|float|str|bool|object|array|null)\b", lambda name: _KINDS[name[0]], reason)
            expected, _, found = named.replace("`", "").replace(" | ", " or ").partition(", got ")
            expected = expected.removeprefix("Expected ")
    raise ArgumentError(what, problem, expected=expected, found=found, remedy=remedy)


def _type_at(kind: Any, place: str) -> Any:
    """The type of the value at a place inside a struct: a key, or keys joined by dots."""
    for name in filter(None, place.split(".")):
        kind = next(field.type for field in msgspec.structs.fields(kind) if field.encode_name == name)
        options = (kind, *get_args(kind))
        kind = next((o for o in options if isinstance(o, type) and issubclass(o, msgspec.Struct)), kind)
    return kind


def read_toml_or_json(path: Path, expected: str) -> dict[str, Any]:
    """Read the table in a TOML file, or in a JSON file if the name does not end in ``.toml``.

    Parameters
    ----------
    path : Path
    expected : str
        What the file should be, for errors: "a protocol as TOML or JSON".

    Raises
    ------
    ArgumentError
        If the file does not exist, or holds anything else.
    OSError
        If the file exists but the system cannot read it.
    """
    wrong = f"is not {expected}"
    try:
        text = path.read_text(encoding="utf-8-sig")
        given = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ArgumentError(path, f"cannot be read: {reason_of(error)}") from None
    except UnicodeDecodeError:
        raise ArgumentError(path, f"{wrong}: it is not encoded as UTF-8") from None
    except ValueError as error:
        raise ArgumentError(path, f"{wrong}: {error}") from None
    except RecursionError:
        raise ArgumentError(path, f"{wrong}: its values are nested too deeply") from None
    if not isinstance(given, dict):
        raise ArgumentError(path, f"{wrong}: it holds a {type(given).__name__}, not a table of fields")
    return given
