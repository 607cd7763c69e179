"""The commands of ``python -m medmnist``, with positional or named arguments as in medmnist."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import sys
from collections.abc import Callable
from glob import glob
from typing import Any

from mmtk.compat import medmnist
from mmtk.compat.medmnist.evaluator import Evaluator
from mmtk.compat.medmnist.info import DEFAULT_ROOT, HOMEPAGE, INFO
from mmtk.datasets.base import SPLITS
from mmtk.datasets.official import SIZES
from mmtk.errors import MmtkError


def _class(flag: str) -> Any:
    return getattr(medmnist, INFO[flag]["python_class"])


def available() -> None:
    """List the datasets and their sizes."""
    print(f"MedMNIST v{medmnist.__version__} @ {HOMEPAGE}")
    print("All available datasets:")
    for flag, facts in INFO.items():
        first, *others = _class(flag).available_sizes
        sizes = ", ".join([f"{first} (default)", *map(str, others)])
        print(f"\t{flag:<15} | {facts['python_class']:<15} | Size: {sizes}.")


def download(size: Any = None, root: str | None = DEFAULT_ROOT) -> None:
    """Download all datasets at one size, or at "all" sizes."""
    if size not in (None, "all", *SIZES):
        raise ValueError(f"size: found {size}, expected all, {', '.join(map(str, SIZES))}")
    for wanted in SIZES if size == "all" else [size or SIZES[0]]:
        for flag, facts in INFO.items():
            what = f"{flag:<15} | {facts['python_class']:<15}"
            if wanted not in _class(flag).available_sizes:
                print(f"Size {wanted} not avaiable for {what}")  # sic: medmnist's output
                continue
            print(f"Downloading {what} | Size: {wanted}")
            _class(flag)(SPLITS[0], download=True, root=root, size=wanted)


def clean(root: str = DEFAULT_ROOT or ".") -> None:
    """Remove the .npz files of all datasets from the root."""
    for path in glob(os.path.join(root, "*mnist*.npz")):
        os.remove(path)


def info(flag: str) -> None:
    """Print what is known of a dataset."""
    print(json.dumps(INFO[flag], indent=4))


def save(
    flag: str, folder: str, postfix: str = "png", root: str | None = DEFAULT_ROOT, download: bool = False,
    size: int | None = None,
) -> None:
    """Write all images of a dataset as files, and one CSV."""
    for split in SPLITS:
        print(f"Saving {flag} {split}...")
        _class(flag)(split, download=download, root=root, size=size).save(str(folder), postfix)


def evaluate(path: str) -> None:
    """Score a result file, described by its name."""
    Evaluator.parse_and_evaluate(path)


def test(save_folder: str = "tmp/", root: str | None = DEFAULT_ROOT) -> None:  # noqa: PT028 - no test of pytest's
    """Try everything on all datasets: they are downloaded, saved as files, scored and drawn."""
    available()
    download(root=root)
    for flag, facts in INFO.items():
        info(flag)
        for size in SIZES[:2]:
            postfix = "gif" if flag.endswith("3d") else "jpg"
            save(flag, save_folder, postfix, root, download=True, size=size)
            for split in SPLITS:
                evaluator = Evaluator(flag, split, size, root)
                print(evaluator.evaluate(evaluator.get_dummy_prediction(), save_folder))
                dataset = _class(flag)(split, root=root, size=size)
                if len(dataset) != facts["n_samples"][split]:
                    raise AssertionError(f"{flag} {split}: found {len(dataset)}, expected {facts['n_samples'][split]}")
                dataset.montage(save_folder=save_folder, replace=True)


_NAME = re.compile("--?[a-zA-Z]")
_COMMANDS: dict[str, Callable[..., None]] = {
    command.__name__: command for command in (available, download, clean, info, save, evaluate, test)
}


def main(words: list[str]) -> int:
    """Run a command and return its exit code."""
    if not words or words[0] in ("-h", "--help"):
        lines = (f"  {name:<10} {inspect.getdoc(command)}" for name, command in _COMMANDS.items())
        print("\n".join(["usage: python -m medmnist COMMAND [VALUE...] [--NAME=VALUE...]", *lines]))
        return 0
    try:
        if words[0] not in _COMMANDS:
            raise ValueError(f"unknown command {words[0]}; expected one of {', '.join(_COMMANDS)}")
        command = _COMMANDS[words[0]]
        if {"-h", "--help"} & set(words[1:]):
            names = " ".join(inspect.signature(command).parameters).upper()
            print(f"usage: python -m medmnist {words[0]} {names}\n  {inspect.getdoc(command)}")
            return 0
        given = _arguments(command, words[1:])
    except (ValueError, TypeError) as error:
        print(f"medmnist: {error}", file=sys.stderr)
        return 2
    try:
        command(*given.args, **given.kwargs)
    except KeyError as error:
        print(f"medmnist: unknown dataset {error}; expected one of {', '.join(INFO)}", file=sys.stderr)
        return 1
    except (MmtkError, RuntimeError, OSError, ValueError, AssertionError) as error:
        print(f"medmnist: {error}", file=sys.stderr)
        return 1
    return 0


def _arguments(command: Callable[..., None], words: list[str]) -> inspect.BoundArguments:
    """Positional and named arguments: ``--name=value``, ``--name value``, or ``--name`` and ``--noname`` for flags.

    A single dash works too, and so does a single letter with which no other name begins.
    """
    places: list[Any] = []
    named: dict[str, Any] = {}
    signature = inspect.signature(command)
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not _NAME.match(word):
            places.append(_value(word))
            continue
        name, equals, text = word.lstrip("-").partition("=")
        name = name.replace("-", "_")
        if len(name) == 1:
            name, *others = [known for known in signature.parameters if known.startswith(name)] or [name]
            if others:
                raise ValueError(f"{word} is ambiguous: expected --{name} or --{', --'.join(others)}")
        if not equals:
            text = "True" if not rest or _NAME.match(rest[0]) else rest.pop(0)
        if name not in signature.parameters and name.removeprefix("no") in signature.parameters:
            name, text = name.removeprefix("no"), "False"
        named[name] = _value(text)
    return signature.bind(*places, **named)


def _value(text: str) -> Any:
    """A number, True, False, None or quoted text in Python's notation; else the text itself."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value if isinstance(value, int | float | str | None) else text
