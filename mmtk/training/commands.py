"""A method that is a command of any tool: it is given a folder and leaves its scores there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import msgspec

from mmtk.errors import ArgumentError
from mmtk.runs import Method
from mmtk.training.methods import NAME, list_methods
from mmtk.values import read_toml_or_json, typed


def method_of(text: str) -> Method:
    """The method that ``NAME=WORDS`` tells.

    Raises
    ------
    ArgumentError
        If it has no name of its own or no words.
    """
    name, sign, words = text.partition("=")
    if not sign:
        raise ArgumentError(f"method cmd:{text}", expected="cmd:NAME=WORDS", found="no =")
    return _method(f"method cmd:{name}", name, name, words, [Path()])


class _Told(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    command: str | list[str]
    title: str = ""


def read_method(path: str | Path) -> Method:
    """The method that a TOML file tells: ``name``, ``command`` as one text or a list of words, and maybe ``title``.

    Raises
    ------
    ArgumentError
        If it is not there or no TOML, a key is unknown or missing, or it has no name of its own or no words.
    OSError
        If the system cannot read it, though it is there.
    """
    path = Path(path)
    told = typed(path, read_toml_or_json(path, "a method as TOML"), _Told)
    return _method(str(path), told.name, told.title or told.name, told.command, [path.parent, Path()])


def _method(what: str, name: str, title: str, command: str | list[str], places: list[Path]) -> Method:
    if not re.fullmatch(NAME, name):
        raise ArgumentError(what, expected="a name of letters, digits, ., _ and -", found=repr(name))
    if name in {method.name for method in list_methods()}:
        raise ArgumentError(what, expected="a name of its own", found=f"that of a method that is registered, {name}")
    if not (title.strip() and title.isprintable()):
        raise ArgumentError(what, expected="a title in one line", found=repr(title))
    try:
        given = shlex.split(command) if isinstance(command, str) else command
    except ValueError as error:
        raise ArgumentError(what, expected="words as a shell takes them", found=str(error)) from None
    if not (given and given[0]) or any("\0" in word for word in given):
        raise ArgumentError(what, expected="a command", found=repr(command))
    words = [_absolute(word, places, program=number == 0) for number, word in enumerate(given)]
    settings = {"name": name, "command": given, "words": words}
    return Method(name, title, f"{__name__}:run", settings=settings, facts={"method": name, "command": given})


def _absolute(word: str, places: list[Path], *, program: bool) -> str:
    """A word that names a file, as a path that is right in any folder; a program without a / is left to the PATH."""
    if program and "/" not in word:
        return word
    for place in places:
        path = place / word
        if path.is_file() or ("/" in word and path.exists()):
            return str(path.absolute())
    return word
