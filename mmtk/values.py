"""Values that a file gave, as a dataclass: all there, each of its kind, or one line that says what is not."""

from __future__ import annotations

import re
from os import PathLike, fspath
from typing import Any, TypeVar

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
        elif reason == "Number out of range":
            expected, found = "a number in range", "another"
        else:
            told = re.sub(r"\b(int|float|str|bool|object|array|null)\b", lambda name: _KINDS[name[0]], reason)
            expected, _, found = told.replace("`", "").replace(" | ", " or ").partition(", got ")
            expected = expected.removeprefix("Expected ")
    raise ArgumentError(what, expected=expected, found=found or "another", remedy=remedy)
