"""Values that a file gave, as a dataclass: all there, each of its kind, or one line that says what is not."""

from __future__ import annotations

import json
import re
import tomllib
from difflib import get_close_matches
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec

from mmtk.errors import ArgumentError, MmtkError

_T = TypeVar("_T")
_KINDS = {
    "int": "a whole number", "float": "a number", "str": "text", "bool": "true or false", "object": "a table",
    "array": "a list", "null": "null",
}


def typed(what: str | PathLike[str], values: Any, kind: type[_T], remedy: str = "") -> _T:
    """Values as JSON and TOML have them, as a type: a whole number is a number, and no text is.

    Parameters
    ----------
    what : path or str
        Whose values they are, for the error.
    values : JSON or TOML values
    kind : type
    remedy : str
        For the error.

    Raises
    ------
    ArgumentError
        If one is missing or of another kind; it names the field.
    """
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$")
        place, cause = place.strip(".`"), error.__cause__
    if isinstance(cause, MmtkError):  # of the dataclass itself
        what, expected, found = f"{what}: {place} {cause.what}".replace(":  ", ": "), cause.expected, cause.found
    else:
        what = f"{fspath(what)}: {place}" if place else what
        if missing := re.fullmatch("Object missing required field `(.*)`", reason):
            expected, found = f"the field {missing[1]}", "none"
        elif unknown := re.fullmatch("Object contains unknown field `(.*)`", reason):
            keys = [field.encode_name for field in msgspec.structs.fields(_type_at(kind, place))]
            expected, found = f"keys of {', '.join(keys)}", f"the unknown key {unknown[1]}"
            close = get_close_matches(unknown[1], keys, n=1)
            remedy = f"did you mean {close[0]}?" if close else remedy
        elif unknown := re.fullmatch("Invalid enum value '(.*)'", reason):
            options = [option for option in get_args(_type_at(kind, place)) if option]
            expected, found = f"one of {', '.join(map(str, options))}", unknown[1]
        elif reason == "Number out of range":
            expected, found = "a number in range", "another"
        else:
            told = re.sub(r"\b(int|float|str|bool|object|array|null)\b", lambda name: _KINDS[name[0]], reason)
            expected, _, found = told.replace("`", "").replace(" | ", " or ").partition(", got ")
            expected = expected.removeprefix("Expected ")
    raise ArgumentError(what, expected=expected, found=found or "another", remedy=remedy)


def _type_at(kind: Any, place: str) -> Any:
    """The type of what stands at a place inside a struct: a key, or keys joined by points."""
    for name in filter(None, place.split(".")):
        kind = next(field.type for field in msgspec.structs.fields(kind) if field.encode_name == name)
        options = (kind, *get_args(kind))
        kind = next((o for o in options if isinstance(o, type) and issubclass(o, msgspec.Struct)), kind)
    return kind


def read_toml_or_json(path: Path, expected: str) -> dict[str, Any]:
    """The table in a TOML file, by its name, or else in a JSON file.

    Parameters
    ----------
    path : Path
    expected : str
        What it is, for errors: "a protocol as TOML or JSON".

    Raises
    ------
    ArgumentError
        If the file is not there, or holds anything else.
    OSError
        If the system cannot read it, though it is there.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        given = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ArgumentError(path, expected=expected, found=str(error.strerror)) from None
    except UnicodeDecodeError:
        raise ArgumentError(path, expected=f"{expected} in UTF-8", found="other bytes") from None
    except ValueError as error:
        raise ArgumentError(path, expected=expected, found=str(error)) from None
    except RecursionError:
        raise ArgumentError(path, expected=expected, found="values nested too deeply") from None
    if not isinstance(given, dict):
        raise ArgumentError(path, expected="a table of fields", found=type(given).__name__)
    return given
