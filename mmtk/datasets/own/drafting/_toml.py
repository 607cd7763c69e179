"""Write TOML like a person would: keys, values and comments, one per line."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping, Sequence

_BARE = re.compile("[A-Za-z0-9_-]+")
_WIDTH = 116
TODO = "TODO: "

Value = str | int | float | Sequence["Value"] | Mapping[str, "Value"]


def as_toml(value: Value) -> str:
    """A value in TOML; tables are inline."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{as_key(key)} = {as_toml(item)}' for key, item in value.items())} }}"
    if isinstance(value, Sequence):
        return f"[{', '.join(map(as_toml, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def as_key(key: str) -> str:
    """A key in TOML, quoted if necessary."""
    return key if _BARE.fullmatch(key) else as_toml(key)


class Page:
    """Lines of a TOML file."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def __str__(self) -> str:
        return "\n".join(self._lines) + "\n"

    def say(self, text: str = "", indent: str = "") -> None:
        """Add a wrapped comment; control characters are escaped."""
        plain = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
        lines = textwrap.wrap(plain, _WIDTH - len(indent), break_long_words=False, break_on_hyphens=False) or [""]
        self._lines += [f"# {indent}{line}".rstrip() for line in lines]

    def gap(self) -> None:
        if self._lines and self._lines[-1]:
            self._lines.append("")

    def table(self, name: str) -> None:
        self.gap()
        self._lines.append(f"[{name}]")

    def put(self, key: str, value: Value, comment: str = "") -> None:
        """Add a key; a long list is wrapped, with its comment above it."""
        line, tail = f"{as_key(key)} = {as_toml(value)}", f"  # {comment}" if comment else ""
        if len(line + tail) <= _WIDTH:
            self._lines.append(line + tail)
            return
        if comment:
            self.say(comment)
        if len(line) > _WIDTH and isinstance(value, Sequence) and not isinstance(value, str):
            texts = [f"{as_toml(item)}," for item in value]
            self._lines.append(f"{as_key(key)} = [")
            filled = [""]
            for text in texts:
                if len(filled[-1]) + len(text) > _WIDTH - 5:
                    filled.append("")
                filled[-1] += f" {text}"
            self._lines += [f"   {row}" for row in filled]
            self._lines.append("]")
        else:
            self._lines.append(line)
