"""Plugins: datasets and methods from a Python file or an installed package.

A file, given by ``--plugin`` or ``MMTK_PLUGINS``, is imported under its own name without ``.py``, and its folder is
appended to the module path. So one of its methods can be named ``module:function``, and the processes that a method
starts, which inherit the path, can unpickle its objects. A package lists what it has in its metadata, as entry points
of the groups ``mmtk.datasets`` and ``mmtk.methods``: a value, a module that registers values when it is imported, or a
callable that registers or returns a value.
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
_LONGEST = 300  # characters of a message in a line
_loaded: dict[str, Path] = {}  # by module name, including those being loaded


def announce(paths: Iterable[str | Path]) -> None:
    """Load plugin files here and in all processes that this one starts.

    Raises
    ------
    ArgumentError
        If a file cannot be loaded; see `load_file`.
    """
    files = [Path(path).absolute() for path in paths]
    for file in files:
        if os.pathsep in str(file):
            raise ArgumentError(f"plugin {file}", f"its path contains {os.pathsep}", remedy="move it")
        load_file(file)
    if files:
        os.environ[VARIABLE] = os.pathsep.join(map(str, files))


def load_file(path: str | Path) -> None:
    """Import a plugin file, once, so that it registers its datasets and methods.

    Parameters
    ----------
    path : path
        A Python file, ``.py``, whose name is a valid module name that no other module has.

    Raises
    ------
    ArgumentError
        If the file does not exist, has an unsuitable name, or raises an error.

    Examples
    --------
    >>> from pathlib import Path
    >>> from mmtk.plugins import load_file
    >>> from mmtk.training import get_method
    >>> lines = [
    ...     "import mmtk, numpy",
    ...     "@mmtk.method('example_prior', 'Class frequencies')",
    ...     "class Prior:",
    ...     "    def fit(self, images, labels):",
    ...     "        self.share = numpy.bincount(labels, minlength=2) / len(labels)",
    ...     "    def predict_proba(self, images):",
    ...     "        return numpy.tile(self.share, (len(images), 1))",
    ... ]
    >>> _ = Path("example_prior.py").write_text("\\n".join(lines))
    >>> load_file("example_prior.py")
    >>> get_method("example_prior").title
    'Class frequencies'
    """
    file = Path(path).absolute()
    what, name = f"plugin {path}", file.stem
    if not file.exists():
        raise ArgumentError(what, "does not exist")
    if file.suffix != ".py" or not file.is_file():
        raise ArgumentError(what, f"is not a Python file (.py) but {'a folder' if file.is_dir() else 'another file'}")
    if not name.isidentifier():
        problem = "cannot be imported: its name may contain letters, digits and _ only"
        raise ArgumentError(what, problem, remedy="rename it")
    if name in _loaded and _loaded[name].samefile(file):
        return
    if other := _module_of(name, file):
        raise ArgumentError(what, f"has the name of another module, {other}", remedy="rename it")
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
        problem = f"failed to load: {error_line(error, name)}"
        raise ArgumentError(what, problem, remedy="fix it, or leave it out") from None


def _module_of(name: str, file: Path) -> str:
    """The other module that has this name; empty if there is none."""
    known = sys.modules.get(name)
    origin = getattr(known, "__file__", None) if known else getattr(util.find_spec(name), "origin", None)
    if known is None and origin is None and name not in sys.builtin_module_names:
        return ""
    return "" if origin and Path(origin).exists() and Path(origin).samefile(file) else str(origin or f"built-in {name}")


def load(group: str, accept: Callable[[Any], bool]) -> None:
    """Load the plugin files named in the environment, and the entry points of a group.

    An entry point that fails is reported in one line and left out: a broken package must not stop commands that do not
    use it.

    Parameters
    ----------
    group : str
    accept : callable
        Called with the value of an entry point, or with what that returns if it is a callable; returns whether it is a
        valid value.

    Raises
    ------
    ArgumentError
        If a file cannot be loaded; see `load_file`.
    """
    from importlib import metadata  # slow to import

    for path in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        load_file(path)
    for point in sorted(metadata.entry_points(group=group), key=lambda point: (point.name, point.value)):
        package = point.dist.name if point.dist else point.module
        try:
            _take(point.load(), group, accept)
        except (Exception, SystemExit) as error:
            logging.getLogger("mmtk").warning(
                "mmtk: warning: plugin %s of %s was not loaded: %s; fix or uninstall %s",
                point.name, package, error_line(error, point.module), package,
            )


def _take(value: Any, group: str, accept: Callable[[Any], bool]) -> None:
    if accept(value) or isinstance(value, ModuleType):
        return
    registers = callable(value) and not isinstance(value, type)
    given = value() if registers else value
    if not ((registers and given is None) or accept(given)):
        expected = f"a value of {group}, a module, or a function that registers values"
        raise ArgumentError("its entry point", found=type(given).__name__, expected=expected)


def error_line(error: BaseException, module: str) -> str:
    """An error in one line: its type, its message, and the last line of a module's own code that it came through.

    The type is left out of mmtk's own errors. Other modules of the same package count as the module's own.
    """
    message = str(error)
    if isinstance(error, SyntaxError):
        message = f"{error.msg} ({Path(error.filename or '?').name} line {error.lineno})"
    elif isinstance(error, KeyError) and not isinstance(error, MmtkError):
        message = f"no {message}"
    kind = "" if isinstance(error, MmtkError) else type(error).__name__
    text = ": ".join(filter(None, (kind, one_line(message, _LONGEST))))
    place = place_of(error, module)
    return f"{text} ({place})" if place else text


def place_of(error: BaseException, module: str) -> str:
    """File and line of a module's own code, or its package's, that an error came through last; empty if none."""
    package = module.partition(".")[0]
    places = [
        f"{Path(frame.f_code.co_filename).name} line {line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).partition(".")[0] == package
    ]
    return places[-1] if places else ""


def is_outside(module: str) -> bool:
    """Whether a module is not part of mmtk."""
    return module.partition(".")[0] != "mmtk"
