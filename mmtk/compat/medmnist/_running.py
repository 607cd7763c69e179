"""Make ``import medmnist`` mean `mmtk.compat.medmnist`, in this process and in processes started from it."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import NoReturn

import mmtk
from mmtk.compat.medmnist import _MODULES

PACKAGE = "mmtk.compat.medmnist"
_STAND_IN = str(Path(__file__).parents[1] / "_medmnist")  # folder of a package medmnist that stands in for this one
_USAGE = f"""usage: python -m {PACKAGE} SCRIPT [ARGUMENT...]
       python -m {PACKAGE} -m MODULE [ARGUMENT...]

Run a Python program in which medmnist is {PACKAGE}."""


def register() -> None:
    """Register this package and its modules under medmnist's names as well."""
    package = sys.modules["medmnist"] = importlib.import_module(PACKAGE)
    for name in _MODULES:
        sys.modules[f"medmnist.{name}"] = importlib.import_module(f"{PACKAGE}.{name}")
    for name in package.__all__:  # scripts also look them up in vars(medmnist)
        vars(package).setdefault(name, getattr(package, name))


def install() -> None:
    """Make ``import medmnist`` mean this package, in this process and in processes it starts, e.g. in a notebook.

    Objects of a medmnist that was imported before are not affected.

    Examples
    --------
    >>> from mmtk.compat.medmnist import install
    >>> install()  # doctest: +SKIP
    >>> from medmnist import BreastMNIST  # doctest: +SKIP
    >>> BreastMNIST.__module__  # doctest: +SKIP
    'mmtk.compat.medmnist.dataset'
    """
    register()
    if _STAND_IN not in sys.path:
        sys.path.insert(0, _STAND_IN)
    os.environ["PYTHONPATH"] = _python_path()


def run(flags: list[str], arguments: list[str]) -> NoReturn:
    """Replace this process by an interpreter that runs a program with this package instead of medmnist.

    Parameters
    ----------
    flags : list of str
        Options of the interpreter.
    arguments : list of str
        Arguments after ``python``.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_USAGE)
        sys.exit(0 if arguments else 2)
    if sys.flags.ignore_environment:
        sys.exit(f"{PACKAGE}: does not work with Python's options -E and -I, which ignore PYTHONPATH")
    changes, beside = {"PYTHONPATH": _python_path()}, _folder_of(arguments)
    if beside is not None and _has_medmnist(beside):  # Python would find that one first
        changes = {"PYTHONPATH": _python_path(beside), "PYTHONSAFEPATH": "1"}
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *flags, *arguments], {**os.environ, **changes})


def flags_before(arguments: list[str]) -> list[str]:
    """Options of the interpreter that runs this package by ``-m`` with these arguments."""
    *flags, last = sys.orig_argv[1 : len(sys.orig_argv) - len(arguments)]
    options = flags.pop() if last == PACKAGE else last.removesuffix(PACKAGE)  # -m, or several options ending with m
    return [*flags, *({options.removesuffix("m")} - {"-"})]


def _python_path(*more: str) -> str:
    given = os.environ.get("PYTHONPATH", "")
    entries = given.split(os.pathsep) if given else []  # an empty entry is the current folder
    return os.pathsep.join(dict.fromkeys([_STAND_IN, *more, *entries, *filter(None, [_own_root()])]))


def _own_root() -> str:
    """The folder of this mmtk if other processes would not find it, as it came from the current folder; else empty."""
    first = [] if sys.flags.safe_path else sys.path[:1]
    try:
        del sys.path[: len(first)]
        specs = (finder.find_spec("mmtk", None) for finder in sys.meta_path)
        spec = next(filter(None, specs), None)
    finally:
        sys.path[:0] = first
    return "" if spec and spec.origin == mmtk.__file__ else str(Path(mmtk.__file__).parents[1])


def _folder_of(arguments: list[str]) -> str | None:
    """The folder that Python puts first on a program's module path."""
    if arguments[0] in ("-m", "-c"):
        return os.getcwd()
    if arguments[0].startswith("-"):
        return None
    place = os.path.realpath(arguments[0])
    return place if os.path.isdir(place) else os.path.dirname(place)


def _has_medmnist(folder: str) -> bool:
    return any(os.path.exists(os.path.join(folder, name)) for name in ("medmnist.py", "medmnist/__init__.py"))
