"""Patterns of paths: ``*`` within a folder, ``**`` across folders, ``{class}``, ``{subject}`` and ``{split}``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from mmtk.datasets.collecting import is_junk
from mmtk.errors import ArgumentError

PLACES = ("class", "subject", "split")
_PARTS = re.compile(r"\{([^{}]*)\}|(\*\*/)|(\*)|(\?)")


class Match(NamedTuple):
    """A file, or a folder, that a template names, and what stands at its places."""

    name: str
    values: dict[str, str]


def check_template(what: str, template: str) -> None:
    """Refuse a template that names no path inside a folder.

    Raises
    ------
    ArgumentError
        If it starts at the root, leaves the folder, or has an unknown place.
    """
    if template.startswith("/") or ".." in template.split("/") or "\\" in template or ":" in template:
        expected = "a pattern of paths inside the source, with / between folders"
        raise ArgumentError(what, expected=expected, found=repr(template))
    for place in re.findall(r"\{([^{}]*)\}", template):
        if place not in PLACES:
            expected = " or ".join(f"{{{known}}}" for known in PLACES)
            raise ArgumentError(what, expected=expected, found=f"{{{place}}}")


def places_of(template: str) -> set[str]:
    """The places that a template has."""
    return set(re.findall(r"\{([^{}]*)\}", template))


def matches(template: str, names: Iterable[str], values: Mapping[str, str] | None = None) -> Iterator[Match]:
    """The names that fit a template, but for junk, in their order.

    Parameters
    ----------
    template : str
        One that ends in ``/`` fits folders that hold files.
    names : iterable of str
    values : mapping of str to str, optional
        What must stand at some of its places.
    """
    pattern = re.compile(_regex(template.removesuffix("/"), values or {}), re.IGNORECASE)
    plain = [name for name in names if not is_junk(name)]
    if template.endswith("/"):
        plain = sorted({name.rpartition("/")[0] for name in plain} - {""})
    for name in plain:
        if match := pattern.fullmatch(name):
            yield Match(name, match.groupdict())


def _regex(template: str, values: Mapping[str, str]) -> str:
    text, at, seen = "", 0, set[str]()
    for part in _PARTS.finditer(template):
        text += re.escape(template[at : part.start()])
        at = part.end()
        place, across, star, _ = part.groups()
        if place in values:
            text += re.escape(values[place])
        elif place in seen:
            text += f"(?P={place})"
        elif place is not None:
            text += f"(?P<{place}>[^/]+?)"
            seen.add(place)
        else:
            text += "(?:.*/)?" if across else "[^/]*" if star else "[^/]"
    return text + re.escape(template[at:])
