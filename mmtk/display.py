"""What a notebook shows: tables and pictures as HTML, and a progress bar that updates in place.

No template engine and no widgets: the core works without the extras, and a notebook that was saved shows the same.
"""

from __future__ import annotations

import base64
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import import_module
from typing import Any

_EVERY = 0.25  # seconds between two updates of a bar


class Html(str):
    """Text that is HTML already; anything else is escaped."""

    __slots__ = ()


def html_of(value: object) -> str:
    """A value in a cell: text is escaped, a sequence becomes a line per item."""
    if isinstance(value, Html):
        return value
    if isinstance(value, (list, tuple)):
        return "<br>".join(map(html_of, value))
    return escape(str(value))


def facts_table(title: str, facts: Mapping[str, object], *more: str) -> str:
    """A table with a row per fact; empty ones are left out.

    Parameters
    ----------
    title : str
    facts : mapping of str to object
        Shown by `html_of`.
    *more : str
        HTML that follows the table.

    Examples
    --------
    >>> from mmtk.display import facts_table
    >>> facts_table("Scan", {"size": "28 px", "note": "a < b"})  # doctest: +ELLIPSIS
    '<div><b>Scan</b><table>...<td...>a &lt; b</td></tr></table></div>'
    """
    shown = {name: value for name, value in facts.items() if value not in ("", None, (), [])}
    rows = "".join(f"<tr><th{_LEFT}>{escape(name)}</th><td{_LEFT}>{html_of(v)}</td></tr>" for name, v in shown.items())
    return f"<div><b>{escape(title)}</b><table>{rows}</table>{''.join(more)}</div>"


def rows_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Html:
    """A table with a row of heads; numbers are aligned to the right."""
    head = "".join(f"<th{_LEFT}>{escape(name)}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return Html(f"<table><tr>{head}</tr>{body}</table>")


_LEFT = ' style="text-align:left;vertical-align:top"'


def _cell(value: object) -> str:
    side = ' style="text-align:right"' if isinstance(value, (int, float)) else _LEFT
    return f"<td{side}>{f'{value:,}' if isinstance(value, int) else html_of(value)}</td>"


def data_uri(data: bytes, kind: str) -> str:
    """An encoded picture, "png" or "jpeg", as the ``src`` of an HTML image."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def picture(data: bytes, kind: str, height: int) -> Html:
    """An encoded picture, "png" or "jpeg", as part of the page, drawn so many CSS pixels high."""
    style = f"height:{height}px;max-width:none;image-rendering:pixelated"
    return Html(f'<img src="{data_uri(data, kind)}" style="{style}">')


def note(text: str) -> Html:
    """A remark below a table."""
    return Html(f"<p>{escape(text)}</p>")


class NotebookBar:
    """A progress bar in a notebook, updated in place a few times per second.

    It is what `mmtk.build` and `mmtk.training.fit` show in a notebook unless they are given a `progress` of their own.

    Parameters
    ----------
    title : str
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self._handle: Any = None
        self._done, self._total, self._remark = 0, 0, ""
        self._start = self._shown = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        self._done, self._total = done, total
        if self._handle is None or done >= total or time.monotonic() - self._shown >= _EVERY:
            self._show()

    def say(self, remark: str) -> None:
        """Show a remark behind the counts."""
        self._remark = remark
        self._show()

    def _show(self) -> None:
        self._shown = time.monotonic()
        content = self._content(self._shown - self._start)
        if self._handle is None:
            self._handle = import_module("IPython.display").display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)

    def _content(self, seconds: float) -> dict[str, str]:
        done, total = self._done, self._total
        left = seconds * (total - done) / done if done else 0.0
        times = f"{seconds:.0f} s" + (f", about {left:.0f} s left" if done < total and left >= 1 else "")
        text = ", ".join(filter(None, (f"{done:,} of {total:,}", times, self._remark)))
        bar = f'<progress value="{done}" max="{max(total, 1)}"></progress>'
        return {
            "text/plain": f"{self.title}: {text}",
            "text/html": f"<div>{escape(self.title)} {bar} {escape(text)}</div>",
        }


def notebook_bar(title: str) -> NotebookBar | None:
    """A progress bar if this process is the kernel of a notebook, else None."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return NotebookBar(title) if hasattr(shell, "kernel") else None
