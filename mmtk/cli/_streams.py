"""Standard streams that may be closed, full, broken or in another encoding."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

_ESCAPE = "mmtk-escape"
_OUTPUT = "standard output"
_wrapped: list[TextIO] = []  # kept alive, since closing them would close their replacements


def _escape(error: UnicodeError) -> tuple[str | bytes, int]:
    """Print the bytes of a path as they are, and escape other characters that the encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    wrong = error.object[error.start : error.end]
    if all("\udc80" <= letter <= "\udcff" for letter in wrong):
        return wrong.encode("ascii", "surrogateescape"), error.end
    return wrong.encode("ascii", "backslashreplace"), error.end


codecs.register_error(_ESCAPE, _escape)


class _Output(io.TextIOWrapper):
    """Standard output that adds its name to system errors, which come without one."""

    def write(self, text: str) -> int:
        with _named():
            return super().write(text)

    def flush(self) -> None:
        with _named():
            super().flush()


@contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        error.filename = _OUTPUT
        raise


class _Messages(io.TextIOWrapper):
    """Standard error that drops what it cannot write, so that neither the work nor its exit code depends on it."""

    def write(self, text: str) -> int:
        with suppress(OSError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def prepare() -> None:
    """Reopen closed streams, make every text printable, and let errors name standard output.

    The file descriptor of a closed stream would go to the next file opened, and libraries would write warnings to it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            _occupy(number)
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115
        elif number and type(stream) is io.TextIOWrapper:
            kind, errors = (_Output, _ESCAPE) if number == 1 else (_Messages, "backslashreplace")
            _wrapped.append(stream)
            setattr(sys, name, kind(
                stream.buffer, stream.encoding, errors,
                line_buffering=stream.line_buffering, write_through=stream.write_through,
            ))


def is_broken(error: OSError) -> bool:
    """Whether an error means that the reader of standard output has closed the pipe."""
    return isinstance(error, BrokenPipeError) and error.filename == _OUTPUT


def _occupy(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        handle = os.open(os.devnull, os.O_RDWR)
        if handle != number:
            os.dup2(handle, number)
            os.close(handle)


def give_up() -> None:
    """Discard output that cannot be written, so that Python does not try again at exit."""
    with suppress(OSError, ValueError):
        handle = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                with suppress(OSError, ValueError):
                    os.dup2(handle, stream.fileno())
        os.close(handle)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream, which may be closed, is a terminal."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False
