"""Path patterns: ``*`` within a folder, ``**`` across folders, and the fields ``{class}``, ``{subject}``, ``{split}``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from mmtk.datasets.collecting import is_junk
from mmtk.errors import ArgumentError

FIELDS = ("class", "subject", "split")
_PARTS = re.compile(r"\{([^{}]*)\}|(\*\*/)|(\*)|(\?)")


class Match(NamedTuple):
    """A file or folder that matches a pattern, with the values of the pattern's fields."""

    name: str
    values: dict[str, str]


def check_template(what: str, template: str) -> None:
    """Refuse a pattern that is not a relative path.

    Raises
    ------
    ArgumentError
        If it starts at the root, leaves the folder, or has an unknown field.
    """
    if template.startswith("/") or ".." in template.split("/") or "\\" in template or ":" in template:
        problem = f"{template!r} is not a pattern of paths inside the source, with / between folders"
        raise ArgumentError(what, problem)
    for place in re.findall(r"\{([^{}]*)\}", template):
        if place not in FIELDS:
            expected = " or ".join(f"{{{known}}}" for known in FIELDS)
            raise ArgumentError(what, f"contains the unknown field {{{place}}}", expected=expected)


def fields_of(template: str) -> set[str]:
    """The fields of a pattern."""
    return set(re.findall(r"\{([^{}]*)\}", template))


def matches(template: str, names: Iterable[str], values: Mapping[str, str] | None = None) -> Iterator[Match]:
    """Yield the names that match a pattern, in order and without junk.

    Parameters
    ----------
    template : str
        The pattern; one that ends in ``/`` matches folders that contain files.
    names : iterable of str
    values : mapping of str to str, optional
        Required values of some fields.
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
