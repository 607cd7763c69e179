"""What others add to mmtk: datasets and methods in a file, or in a package that is installed.

A file, of ``--plugin`` or ``MMTK_PLUGINS``, is imported under its own name without ``.py``, as if its folder were the
last on the module path, and stays there: so a method of it can be named ``module:function``, and what is pickled can be
read by the processes a method starts, which inherit the path. A package says in its metadata what it has, as entry
points of the groups ``mmtk.datasets`` and ``mmtk.methods``: a value that is taken as it is, a module that registers on
import, or a callable that registers or gives such a value.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

from mmtk.base import one_line
from mmtk.errors import ArgumentError, MmtkError

VARIABLE = "MMTK_PLUGINS"
_LONGEST = 300  # letters of a message that is told in a line
_loaded: dict[str, Path] = {}  # by module name, also those being loaded


def announce(paths: Iterable[str | Path]) -> None:
    """Load files, and let processes that this one starts load them too.

    Raises
    ------
    ArgumentError
        If one cannot be loaded; see `load_file`.
    """
    files = [Path(path).absolute() for path in paths]
    for file in files:
        if os.pathsep in str(file):
            raise ArgumentError(f"plugin {file}", expected=f"a path without {os.pathsep}", remedy="move it")
        load_file(file)
    if files:
        os.environ[VARIABLE] = os.pathsep.join(map(str, files))


def load_file(path: str | Path) -> None:
    """Import a file, unless it has been, so that it registers what it has.

    Raises
    ------
    ArgumentError
        If it is not there, its name is no module's or that of another, or it fails.
    """
    file = Path(path).absolute()
    what, name = f"plugin {path}", file.stem
    if file.suffix != ".py" or not file.is_file():
        found = "none" if not file.exists() else "a folder" if file.is_dir() else f"the ending {file.suffix!r}"
        raise ArgumentError(what, expected="a file of Python, .py", found=found)
    if not name.isidentifier():
        raise ArgumentError(what, expected="a name of letters, digits and _", found=name, remedy="rename it")
    if name in _loaded and _loaded[name].samefile(file):
        return
    if other := _module_of(name, file):
        raise ArgumentError(what, expected="a name no other module has", found=other, remedy="rename it")
    spec = util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    module = sys.modules[name] = util.module_from_spec(spec)
    _loaded[name] = file
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name], _loaded[name]
        remedy = "mend it, or leave it out"
        raise ArgumentError(what, expected="one that loads", found=told(error, name), remedy=remedy) from None


def _module_of(name: str, file: Path) -> str:
    """Which other module has a name; empty if none."""
    known = sys.modules.get(name)
    origin = getattr(known, "__file__", None) if known else getattr(util.find_spec(name), "origin", None)
    if known is None and origin is None and name not in sys.builtin_module_names:
        return ""
    return "" if origin and Path(origin).exists() and Path(origin).samefile(file) else str(origin or f"built-in {name}")


def load(group: str, accept: Callable[[Any], bool]) -> None:
    """Load the files that the environment names, and the entry points of a group.

    An entry point that fails is told in one line, and the others are loaded all the same: what is broken in one package
    should not stop what does without it.

    Parameters
    ----------
    group : str
    accept : callable
        Told the value of an entry point, and what it gives where it is a callable; says whether it is what is wanted.

    Raises
    ------
    ArgumentError
        If a file cannot be loaded; see `load_file`.
    """
    from importlib import metadata  # which is slow to import

    for path in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        load_file(path)
    for point in sorted(metadata.entry_points(group=group), key=lambda point: (point.name, point.value)):
        package = point.dist.name if point.dist else point.module
        try:
            _take(point.load(), group, accept)
        except (Exception, SystemExit) as error:
            logging.getLogger("mmtk").warning(
                "mmtk: warning: plugin %s of %s left out: %s; mend or uninstall %s",
                point.name, package, told(error, point.module), package,
            )


def _take(value: Any, group: str, accept: Callable[[Any], bool]) -> None:
    if accept(value) or isinstance(value, ModuleType):
        return
    registers = callable(value) and not isinstance(value, type)
    given = value() if registers else value
    if not ((registers and given is None) or accept(given)):
        expected = f"a value of {group}, a module, or a function that registers some"
        raise ArgumentError("its entry point", expected=expected, found=type(given).__name__)


def told(error: BaseException, module: str) -> str:
    """An error in one line: kind, message, and the last line of a module's own code that led there.

    What mmtk says on purpose needs no kind. Other modules of the same package count as its own.
    """
    message = str(error)
    if isinstance(error, SyntaxError):
        message = f"{error.msg} ({Path(error.filename or '?').name} line {error.lineno})"
    elif isinstance(error, KeyError):
        message = f"no {message}"
    kind = "" if isinstance(error, MmtkError) else type(error).__name__
    text = ": ".join(filter(None, (kind, one_line(message, _LONGEST))))
    place = place_of(error, module)
    return f"{text} ({place})" if place else text


def place_of(error: BaseException, module: str) -> str:
    """File and line of a module's own code, or of its package's, that an error came through last; empty if none."""
    package = module.partition(".")[0]
    places = [
        f"{Path(frame.f_code.co_filename).name} line {line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).partition(".")[0] == package
    ]
    return places[-1] if places else ""


def is_outside(module: str) -> bool:
    """Whether a module is not mmtk's own."""
    return module.partition(".")[0] != "mmtk"
