"""Download official ``.npz`` files: interrupted downloads resume, and only a file with the published MD5 is kept."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any

from mmtk.base import Progress, md5_of
from mmtk.datasets import get_dataset
from mmtk.datasets.official import RECORDS, SIZES, sized_name
from mmtk.errors import ArgumentError, StoreError, reason_of, system_remedy
from mmtk.files import expect_locks, is_named, lock, publish

_TRIES = 5  # in a row without receiving a byte
_PAUSE = 0.5  # seconds before the second try, doubled before each further one
_LONGEST_PAUSE = 300  # seconds, whatever the server asks for
_REPORTED_PAUSE = 5  # seconds; shorter pauses are not reported
_TIMEOUT = (10, 60)  # seconds to connect and to wait for bytes
_BLOCK = 1 << 16
_AGAIN = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
_RETRY = "retry later"
_KEPT = "the partial download is kept and resumed"


def fetch_npz(
    flag: str, out: str | Path, *, size: int = SIZES[0], edition: str | None = None, base_url: str | None = None,
    force: bool = False, progress: Progress | None = None,
) -> Path:
    """Download an official file. An interrupted download is kept beside it and resumed.

    Parameters
    ----------
    flag : str
        The dataset.
    out : path
        Folder of the file, created if needed.
    size : int
        28, 64, 128 or 224 px; for volumes 28 or 64.
    edition : {"2020", "2021", "2022", "2024"}, optional
        By default the dataset's latest. Editions before 2024 exist only at 28 px; ``mmtk info FLAG`` shows which ones
        a dataset has.
    base_url : str, optional
        Download from here instead of Zenodo.
    force : bool
        Overwrite another file of that name; one with the published MD5 is kept.
    progress : callable, optional
        Called with the bytes received so far and in total.

    Returns
    -------
    Path
        ``out/{flag}.npz`` or ``out/{flag}_{size}.npz``, with the flag used by that edition.

    Raises
    ------
    ArgumentError
        If no official file of that edition and size is known.
    StoreError
        If another file of that name exists, or the server cannot be reached, lacks the file or sends a different one.

    Examples
    --------
    >>> from mmtk.store import fetch_npz
    >>> fetch_npz("breastmnist", "official", size=64).as_posix()  # doctest: +SKIP
    'official/breastmnist_64.npz'
    >>> fetch_npz("breastmnist", "official", size=64, edition="2020")
    Traceback (most recent call last):
        ...
    mmtk.errors.ArgumentError: breastmnist: no official file of 64 px, edition 2020; published are ...
    """
    dataset = get_dataset(flag)
    edition = dataset.last_edition if edition is None else edition
    md5 = dataset.md5.get(f"{edition}:{size}")
    if md5 is None or edition not in RECORDS:
        keys = (key.split(":") for key in dataset.md5)
        known = ", ".join(f"{edge} px of {year}" for year, edge in keys if year in RECORDS)
        problem = f"no official file of {size} px, edition {edition}" if known else "has no official files"
        raise ArgumentError(dataset.flag, problem, remedy=f"published are {known}" if known else "")
    name = f"{sized_name(dataset.alias_of(edition), size)}.npz"
    final = Path(out) / name
    try:
        if final.exists():
            actual = md5_of(final)
            if actual == md5:
                return final
            if not force:
                remedy = "use --force to overwrite it"
                raise StoreError(final, "is not the official file", found=f"MD5 {actual}", expected=md5, remedy=remedy)
    except OSError as error:
        raise _unwritable(final, error) from None
    return fetch_file(f"{(base_url or RECORDS[edition]).rstrip('/')}/{name}", md5, final, progress)


def fetch_file(url: str, md5: str, final: Path, progress: Progress | None = None) -> Path:
    """Download a file with a known MD5, as `fetch_npz` does; an existing file is overwritten.

    Raises
    ------
    StoreError
        If the server cannot be reached, lacks the file or sends a different one.
    """
    try:
        return _retrieve(url, md5, final, progress)
    except OSError as error:
        raise _unwritable(final, error) from None


def _unwritable(final: Path, error: OSError) -> StoreError:
    remedy = "; ".join(filter(None, (system_remedy(error.errno), _KEPT)))
    return StoreError(final, f"cannot be written: {reason_of(error)}", remedy=remedy)


def _retrieve(url: str, md5: str, final: Path, progress: Progress | None) -> Path:
    expect_locks()
    final.parent.mkdir(parents=True, exist_ok=True)
    part = final.with_name(f".{final.name}.{md5[:8]}.part")
    _clear_others(part, final)
    with _held(part) as file:
        if final.exists() and md5_of(final) == md5:  # another process has downloaded it meanwhile
            part.unlink()
            return final
        while True:
            kept = os.fstat(file.fileno()).st_size > 0
            _fetch(url, file, progress)
            os.fsync(file.fileno())
            try:
                actual = md5_of(part)
                if actual == md5:
                    publish(part, final)
                    return final
            except FileNotFoundError:  # without file locks another process may have published it first
                if final.exists() and md5_of(final) == md5:
                    return final
                raise
            file.truncate(0)
            if not kept:  # else the bytes of an earlier run may have been wrong: download it all once more
                part.unlink()
                remedy = "retry later or from another mirror"
                problem = "the downloaded file is not the official one"
                raise StoreError(url, problem, found=f"MD5 {actual}", expected=md5, remedy=remedy)


@contextmanager
def _held(part: Path) -> Iterator[IO[bytes]]:
    """Open the partial file under a lock, so that one process writes it at a time; it is kept unless it is empty."""
    while True:
        with open(os.open(part, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0) as file:
            if lock(file.fileno()) is False:
                _note("%s: waiting for another process to download it", part.with_name(part.name[1:-14]))
                lock(file.fileno(), wait=True)
            if not is_named(file.fileno(), part):  # the other process has finished with it
                continue
            try:
                yield file
            finally:
                if not os.fstat(file.fileno()).st_size and is_named(file.fileno(), part):
                    part.unlink()
            return


def _clear_others(part: Path, final: Path) -> None:
    """Remove partial downloads of other editions' files of this name, unless they are in progress."""
    other = re.compile(rf"\.{re.escape(final.name)}\.[0-9a-f]{{8}}\.part")
    for path in final.parent.iterdir():
        if path != part and other.fullmatch(path.name):
            with suppress(OSError), path.open("rb") as file:
                if lock(file.fileno()):
                    path.unlink()


class _TransientError(Exception):
    """A temporary failure, such as a lost connection or a busy server, and the seconds the server asks to wait."""

    def __init__(self, reason: str, pause: float = 0) -> None:
        super().__init__(reason)
        self.pause = pause


def _fetch(url: str, file: IO[bytes], progress: Progress | None) -> None:
    """Download the rest of a file; reconnects as long as each attempt brings bytes."""
    tries = 0
    while True:
        had = os.fstat(file.fileno()).st_size
        try:
            _receive(url, file, had, progress)
            return
        except _TransientError as error:
            done = os.fstat(file.fileno()).st_size
            tries = 1 if done > had else tries + 1
            if tries == _TRIES:
                problem = f"download failed after {done} bytes ({error})"
                remedy = f"{_RETRY}: {_KEPT}" if done else _RETRY
                raise StoreError(url, problem, remedy=remedy) from None
            pause = min(max(error.pause, _PAUSE * 2 ** (tries - 1)), _LONGEST_PAUSE)
            if pause >= _REPORTED_PAUSE:
                _note("%s: %s; retrying in %.0f s", url, error, pause)
            time.sleep(pause)


def _receive(url: str, file: IO[bytes], had: int, progress: Progress | None) -> None:
    import requests
    from urllib3.exceptions import HTTPError

    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={had}-"} if had else {})}
    try:
        answer = requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT)
    except requests.RequestException as error:
        if isinstance(error, ValueError):  # not a URL
            raise StoreError(url, f"is not an http address: {error}") from None
        raise _TransientError(_reason(error)) from None
    with answer:
        if had and answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # there are no bytes past its end: it is complete, or part of another file
        start, total = _announced(url, answer, had)
        if start == 0 and had:
            file.truncate(0)
        file.seek(start)
        done = start
        while True:
            try:
                block = _available(answer.raw)
            except (requests.RequestException, HTTPError) as error:
                raise _TransientError(_reason(error)) from None
            if not block:
                break
            file.write(block)
            done += len(block)
            if progress:
                progress(done, max(total, done))
        if done < total:
            raise _TransientError(f"connection closed at {done} of {total} bytes")


def _announced(url: str, answer: Any, had: int) -> tuple[int, int]:
    """Offset at which the body of a response starts in the file, and the file's length, 0 if unknown."""
    status, heads = answer.status_code, answer.headers
    status_text = f"HTTP {status} {answer.reason or ''}".rstrip()
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _AGAIN:
        raise _TransientError(status_text, _retry_after(heads.get("Retry-After", "")))
    kind = heads.get("Content-Type", "").lower()
    if status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT) or "html" in kind:
        reason = "the server sent an HTML page" if status == HTTPStatus.OK else status_text
        raise StoreError(url, f"download failed ({reason})", remedy="look for the file on its record's page")
    length = heads.get("Content-Length", "")
    size = int(length) if length.isdecimal() and "Content-Encoding" not in heads else 0
    if status == HTTPStatus.OK:
        return 0, size
    given = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", heads.get("Content-Range", "").strip())
    if given is None or int(given[1]) > had or "Content-Encoding" in heads:
        raise _TransientError(f"wrong range of bytes: {heads.get('Content-Range', 'no Content-Range')}")
    start = int(given[1])
    return start, int(given[3]) if given[3] != "*" else start + size


def _available(raw: Any) -> bytes:
    """Received bytes, without waiting for a whole block, so that a lost connection loses none of them."""
    if hasattr(raw, "read1"):
        block: bytes = raw.read1(_BLOCK, decode_content=True)
    else:  # urllib3 before 2.1
        block = raw.read(1 << 10, decode_content=True)
    return block


def _retry_after(text: str) -> float:
    """The seconds of a Retry-After header: a number, or the time until a date."""
    if text.strip().isdecimal():
        return min(float(text), _LONGEST_PAUSE)
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return 0
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - datetime.now(UTC).timestamp()


def _reason(error: BaseException) -> str:
    """The type of a connection error, and the system's reason if there is one."""
    name, inner = type(error).__name__, error
    for _ in range(10):
        if type(inner).__module__ == "builtins" and isinstance(inner, OSError) and inner.strerror:
            return f"{name} ({inner.strerror})"
        following = [getattr(inner, "reason", None), *inner.args, inner.__cause__, inner.__context__]
        inner = next((item for item in following if isinstance(item, BaseException)), inner)
    return name


def _note(text: str, *values: object) -> None:
    logging.getLogger("mmtk").warning(f"mmtk: note: {text}", *values)
