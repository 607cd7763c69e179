"""Kinds of command line values: names that a shell completes, choices that suggest a similar one, folders."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from mmtk.errors import did_you_mean

if TYPE_CHECKING:  # click before 8.2 has no generic types
    _Name = click.ParamType[str, str]
    _Choice = click.Choice[str]
    _Path = click.Path[Path]
else:
    _Name, _Choice, _Path = click.ParamType, click.Choice, click.Path


class Name(_Name):
    """A name that the library looks up; the command line only completes it.

    Parameters
    ----------
    names : callable
        Gives pairs of a name and a line about it.
    files : bool
        Whether a file may be given instead of a name.
    """

    name = "name"

    def __init__(self, names: Callable[[], Iterable[tuple[str, str]]], files: bool = False) -> None:
        self.names, self.files = names, files

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        items = []
        with suppress(Exception):  # a plugin that fails must not break the user's shell
            items = [CompletionItem(name, help=line) for name, line in self.names() if name.startswith(incomplete)]
        return items or ([CompletionItem(incomplete, type="file")] if self.files else [])


class Choice(_Choice):
    """One of a few values; a mistyped one gets a suggestion."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            if hint := did_you_mean(str(value), self.choices):
                self.fail(f"{error.message} D{hint[1:]}", param, ctx)
            raise


class Folder(_Path):
    """A folder, which need not exist; a shell completes folders only."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)
        self.name = "dir"  # shown in help

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type="dir")]


def _datasets() -> Iterable[tuple[str, str]]:
    from mmtk.datasets import list_datasets

    return [(dataset.flag, dataset.title) for dataset in list_datasets()]


def _raw_datasets() -> Iterable[tuple[str, str]]:
    from mmtk.datasets.sources import choose

    return [(dataset.flag, dataset.title) for dataset in choose(())]


def _editions() -> Iterable[tuple[str, str]]:
    from mmtk.datasets.base import EDITIONS

    return [(edition, "") for edition in EDITIONS]


def _protocols() -> Iterable[tuple[str, str]]:
    from mmtk.training import PROTOCOLS

    return [(protocol.name, protocol.title) for protocol in PROTOCOLS]


def _methods() -> Iterable[tuple[str, str]]:
    from mmtk.training import list_methods

    return [(method.name, method.title) for method in list_methods()]


FLAG, FLAG_OR_FILE = Name(_datasets), Name(_datasets, files=True)
RAW_FLAG, RAW_FLAG_OR_FILE = Name(_raw_datasets), Name(_raw_datasets, files=True)
EDITION = Name(_editions)
PROTOCOL, METHOD = Name(_protocols, files=True), Name(_methods, files=True)
