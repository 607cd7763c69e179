"""The official ``.npz`` files: fetched in as many pieces as the line allows, kept only with the published MD5."""

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

_TRIES = 5  # in a row that bring nothing
_PAUSE = 0.5  # seconds before the second try, doubled before each further one
_LONGEST_PAUSE = 300  # seconds, whatever a server asks for
_TOLD_PAUSE = 5  # seconds from which a pause is told
_TIMEOUT = (10, 60)  # seconds to connect and to wait for bytes
_BLOCK = 1 << 16
_AGAIN = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
_KEPT = "fetch again: the partial download is kept and resumed"


def fetch_npz(
    flag: str, out: str | Path, *, size: int = SIZES[0], edition: str | None = None, base_url: str | None = None,
    force: bool = False, progress: Progress | None = None,
) -> Path:
    """Fetch an official file. An interrupted download is kept beside it and resumed.

    Parameters
    ----------
    flag : str
        The dataset.
    out : path
        Folder of the file, made if need be.
    size : int
        28, 64, 128 or 224 px; of volumes 28 or 64.
    edition : {"2020", "2021", "2022", "2024"}, optional
        By default the dataset's last. Those before 2024 have 28 px alone; which of them a dataset has, and whether they
        differ, its facts tell.
    base_url : str, optional
        Where the files lie, if not at Zenodo.
    force : bool
        Replace another file of that name; one with the published MD5 is left alone.
    progress : callable, optional
        Told the bytes so far and in all.

    Returns
    -------
    Path
        ``out/{flag}.npz`` or ``out/{flag}_{size}.npz``, under the flag the edition gives it.

    Raises
    ------
    ArgumentError
        If no official file of that edition and size is known.
    StoreError
        If another file is in the way, the server cannot be reached or has not got it, or it sends other bytes.
    """
    dataset = get_dataset(flag)
    edition = dataset.last_edition if edition is None else edition
    md5 = dataset.md5.get(f"{edition}:{size}")
    if md5 is None or edition not in RECORDS:
        keys = (key.split(":") for key in dataset.md5)
        known = ", ".join(f"{edge} px of {year}" for year, edge in keys if year in RECORDS)
        found = f"{size} px of {edition}" if known else "none"
        raise ArgumentError(f"the official {dataset.flag}", expected=known or "files that were published", found=found)
    name = f"{sized_name(dataset.alias_of(edition), size)}.npz"
    final = Path(out) / name
    try:
        if final.exists():
            actual = md5_of(final)
            if actual == md5:
                return final
            if not force:
                remedy = "remove it, or add --force to replace it"
                raise StoreError(final, expected=f"the official file (MD5 {md5})", found=f"MD5 {actual}", remedy=remedy)
    except OSError as error:
        raise _unwritable(final, error) from None
    return fetch_file(f"{(base_url or RECORDS[edition]).rstrip('/')}/{name}", md5, final, progress)


def fetch_file(url: str, md5: str, final: Path, progress: Progress | None = None) -> Path:
    """Fetch a file of a known MD5, as `fetch_npz` does, in the place of whatever has its name.

    Raises
    ------
    StoreError
        If the server cannot be reached or has not got it, or it sends other bytes.
    """
    try:
        return _retrieve(url, md5, final, progress)
    except OSError as error:
        raise _unwritable(final, error) from None


def _unwritable(final: Path, error: OSError) -> StoreError:
    remedy = "; ".join(filter(None, (system_remedy(error.errno), _KEPT)))
    return StoreError(final, expected="a file that can be written", found=reason_of(error), remedy=remedy)


def _retrieve(url: str, md5: str, final: Path, progress: Progress | None) -> Path:
    expect_locks()
    final.parent.mkdir(parents=True, exist_ok=True)
    part = final.with_name(f".{final.name}.{md5[:8]}.part")
    _clear_others(part, final)
    with _held(part) as file:
        if final.exists() and md5_of(final) == md5:  # another process fetched it meanwhile
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
            except FileNotFoundError:  # where files cannot be locked, another process may be first
                if final.exists() and md5_of(final) == md5:
                    return final
                raise
            file.truncate(0)
            if not kept:  # of an earlier run, whose bytes may have been the wrong ones
                part.unlink()
                remedy = "try again later or from another mirror"
                raise StoreError(url, expected=f"a file of MD5 {md5}", found=f"MD5 {actual}", remedy=remedy)


@contextmanager
def _held(part: Path) -> Iterator[IO[bytes]]:
    """The file that bytes are gathered in, which one process writes at a time; it stays unless it is empty."""
    while True:
        with open(os.open(part, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0) as file:
            if lock(file.fileno()) is False:
                _say("%s: waiting for another process that fetches it", part.with_name(part.name[1:-14]))
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
    """Remove what was fetched of another edition's file of this name, unless it is being fetched."""
    other = re.compile(rf"\.{re.escape(final.name)}\.[0-9a-f]{{8}}\.part")
    for path in final.parent.iterdir():
        if path != part and other.fullmatch(path.name):
            with suppress(OSError), path.open("rb") as file:
                if lock(file.fileno()):
                    path.unlink()


class _Trouble(Exception):
    """What may pass: a line that broke, a server that is busy; and the seconds the server asks to wait."""

    def __init__(self, reason: str, pause: float = 0) -> None:
        super().__init__(reason)
        self.pause = pause


def _fetch(url: str, file: IO[bytes], progress: Progress | None) -> None:
    """Bring the rest of a file; tries again after a cut as long as bytes come."""
    tries = 0
    while True:
        had = os.fstat(file.fileno()).st_size
        try:
            _receive(url, file, had, progress)
            return
        except _Trouble as trouble:
            done = os.fstat(file.fileno()).st_size
            tries = 1 if done > had else tries + 1
            if tries == _TRIES:
                found = f"{trouble} after {done} bytes"
                raise StoreError(url, expected="a server that sends it", found=found, remedy=_KEPT) from None
            pause = min(max(trouble.pause, _PAUSE * 2 ** (tries - 1)), _LONGEST_PAUSE)
            if pause >= _TOLD_PAUSE:
                _say("%s: %s; trying again in %.0f s", url, trouble, pause)
            time.sleep(pause)


def _receive(url: str, file: IO[bytes], had: int, progress: Progress | None) -> None:
    import requests
    from urllib3.exceptions import HTTPError

    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={had}-"} if had else {})}
    try:
        answer = requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT)
    except requests.RequestException as error:
        if isinstance(error, ValueError):  # no address that could be asked
            raise StoreError(url, expected="an http address", found=str(error)) from None
        raise _Trouble(_reason(error)) from None
    with answer:
        if had and answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is behind its end: it is whole, or of another file
        start, total = _announced(url, answer, had)
        if start == 0 and had:
            file.truncate(0)
        file.seek(start)
        done = start
        while True:
            try:
                block = _some(answer.raw)
            except (requests.RequestException, HTTPError) as error:
                raise _Trouble(_reason(error)) from None
            if not block:
                break
            file.write(block)
            done += len(block)
            if progress:
                progress(done, max(total, done))
        if done < total:
            raise _Trouble(f"the end of the connection, {done} of {total} bytes")


def _announced(url: str, answer: Any, had: int) -> tuple[int, int]:
    """Where the bytes of an answer start in the file, and how many the file has, or 0 if that is not told."""
    status, heads = answer.status_code, answer.headers
    said = f"HTTP {status} {answer.reason or ''}".rstrip()
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _AGAIN:
        raise _Trouble(said, _asked_pause(heads.get("Retry-After", "")))
    kind = heads.get("Content-Type", "").lower()
    if status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT) or "html" in kind:
        found = "a page of HTML in its place" if status == HTTPStatus.OK else said
        raise StoreError(url, expected="the official file", found=found, remedy="look for it on its record's page")
    length = heads.get("Content-Length", "")
    size = int(length) if length.isdecimal() and "Content-Encoding" not in heads else 0
    if status == HTTPStatus.OK:
        return 0, size
    given = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", heads.get("Content-Range", "").strip())
    if given is None or int(given[1]) > had or "Content-Encoding" in heads:
        raise _Trouble(f"another part than was asked for ({heads.get('Content-Range', 'no Content-Range')})")
    start = int(given[1])
    return start, int(given[3]) if given[3] != "*" else start + size


def _some(raw: Any) -> bytes:
    """What has come of an answer, without waiting for a whole block: a cut loses none of it."""
    if hasattr(raw, "read1"):
        block: bytes = raw.read1(_BLOCK, decode_content=True)
    else:  # urllib3 before 2.1
        block = raw.read(1 << 10, decode_content=True)
    return block


def _asked_pause(text: str) -> float:
    """The seconds of a Retry-After: a number, or the time until a date."""
    if text.strip().isdecimal():
        return min(float(text), _LONGEST_PAUSE)
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return 0
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - datetime.now(UTC).timestamp()


def _reason(error: BaseException) -> str:
    """The kind of an error of the line, and what the system says where it is behind it."""
    name, inner = type(error).__name__, error
    for _ in range(10):
        if type(inner).__module__ == "builtins" and isinstance(inner, OSError) and inner.strerror:
            return f"{name} ({inner.strerror})"
        following = [getattr(inner, "reason", None), *inner.args, inner.__cause__, inner.__context__]
        inner = next((item for item in following if isinstance(item, BaseException)), inner)
    return name


def _say(text: str, *values: object) -> None:
    logging.getLogger("mmtk").warning(f"mmtk: note: {text}", *values)
