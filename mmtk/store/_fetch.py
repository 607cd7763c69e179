"""The official ``.npz`` files: fetched by pooch, resumed after a cut, kept only with the published MD5."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmtk.datasets import get_dataset
from mmtk.errors import ArgumentError, StoreError
from mmtk.store._npz import sized_name
from mmtk.store._published import md5_of

# of each edition, the record with its files
RECORDS = {
    "2020": "https://zenodo.org/records/4269852/files",
    "2024": "https://zenodo.org/records/10519652/files",
}
_TRIES = 5  # in a row that bring nothing
_PAUSE = 0.5  # seconds before the second try, doubled before each further one
_TIMEOUT = (10, 60)  # seconds to connect and to wait for bytes
_BLOCK = 1 << 20

Progress = Callable[[int, int], None]


def fetch_npz(
    flag: str,
    out: str | Path,
    *,
    size: int = 28,
    edition: str = "2024",
    base_url: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Fetch an official file. What was fetched before a cut is kept beside it and gone on from.

    Parameters
    ----------
    flag : str
        The dataset.
    out : path
        Folder of the file, made if need be.
    size : int
        28, 64, 128 or 224 px.
    edition : {"2024", "2020"}
        Of 2020 there is 28 px alone; only the Organ sets differ.
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
    md5 = dataset.md5.get(f"{edition}:{size}")
    if md5 is None or edition not in RECORDS:
        known = ", ".join(f"{key.split(':')[1]} px of {key.split(':')[0]}" for key in dataset.md5)
        raise ArgumentError(f"the official {dataset.flag}", expected=known, found=f"{size} px of {edition}")
    name = f"{sized_name(dataset.alias_of(edition), size)}.npz"
    final = Path(out) / name
    if final.exists() and not force:
        if (found := md5_of(final)) != md5:
            remedy = "remove it, or add --force to replace it"
            raise StoreError(final, expected=f"the official file (MD5 {md5})", found=f"MD5 {found}", remedy=remedy)
        return final
    if final.exists() and md5_of(final) == md5:
        return final
    return _retrieve(f"{(base_url or RECORDS[edition]).rstrip('/')}/{name}", md5, final, progress)


def _retrieve(url: str, md5: str, final: Path, progress: Progress | None) -> Path:
    import pooch

    pooch.get_logger().setLevel("ERROR")  # errors are said here
    part = final.with_name(f".{final.name}.{md5[:8]}.part")

    def download(url: str, output: str, _: Any) -> None:
        _fetch(url, part, progress)
        if (found := md5_of(part)) != md5:
            part.unlink()
            remedy = "try again later or from another mirror"
            raise StoreError(url, expected=f"a file of MD5 {md5}", found=f"MD5 {found}", remedy=remedy)
        os.replace(part, output)

    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        pooch.retrieve(url, f"md5:{md5}", final.name, final.parent, downloader=download)
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = "check the folder's space and permissions; what came is kept and gone on from"
        raise StoreError(final, expected="room to write it", found=reason, remedy=remedy) from None
    return final


def _fetch(url: str, part: Path, progress: Progress | None) -> None:
    """Bring a file into `part`, from where it ends; tries again after a cut as long as bytes come."""
    import requests

    tries = 0
    while True:
        had = _length(part)
        try:
            _receive(url, part, had, progress)
            return
        except requests.RequestException as error:
            tries = 1 if _length(part) > had else tries + 1
            if tries == _TRIES:
                found = f"{type(error).__name__} after {_length(part)} bytes"
                remedy = "fetch again: what came is kept and gone on from"
                raise StoreError(url, expected="a server that sends it", found=found, remedy=remedy) from None
            time.sleep(_PAUSE * 2 ** (tries - 1))


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _receive(url: str, part: Path, had: int, progress: Progress | None) -> None:
    import requests

    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={had}-"} if had else {})}
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
        if had and answer.status_code == 416:  # nothing is behind its end: it is whole, or of another file
            return
        if answer.status_code >= 500 or answer.status_code == 429:
            raise requests.ConnectionError(f"HTTP {answer.status_code}")
        if answer.status_code not in (200, 206):
            found = f"HTTP {answer.status_code} {answer.reason}"
            raise StoreError(url, expected="the official file", found=found, remedy="look for it on its record's page")
        resumed = answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {had}-")
        done = had if resumed else 0
        total = done + int(answer.headers.get("Content-Length", 0))
        with part.open("ab" if resumed else "wb") as file:
            for block in answer.iter_content(_BLOCK):
                file.write(block)
                done += len(block)
                if progress:
                    progress(done, max(total, done))
        if done < total:
            raise requests.ConnectionError(f"{done} of {total} bytes")
