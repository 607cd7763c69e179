"""Fetching from a local server that cuts, lies and refuses; stores beside official files."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import mmtk
from mmtk import files, store
from mmtk.datasets import get_dataset
from mmtk.errors import ArgumentError, StoreError
from mmtk.matching import _match, match
from mmtk.store import _fetch, _official
from tests.commands import invoke
from tests.small_stores import write_small_store

CONTENT = np.random.default_rng(0).bytes(3_000_000)
MD5 = hashlib.md5(CONTENT).hexdigest()
CUTS = {"cut": 1 << 20, "cut early": 12_345, "reset": 23_456}


class Server:
    """Answers each request as the next of its behaviours says, the last one for good."""

    def __init__(self, *behaviours: str) -> None:
        self.behaviours = list(behaviours)
        self.ranges: list[str | None] = []
        self.paths: list[str] = []
        self.sent = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with contextlib.suppress(ConnectionError):  # whoever asked has gone
                    outer.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        how = self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]
        asked = handler.headers.get("Range")
        self.ranges.append(asked)
        self.paths.append(handler.path)
        status, _, after = how.partition(" ")
        if status.isdecimal():
            handler.send_response(int(status))
            if after:
                handler.send_header("Location" if status.startswith("3") else "Retry-After", after)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        if how == "closed":
            handler.close_connection = True
            return
        if how == "html":
            handler.send_response(200)
            handler.send_header("Content-Type", "text/html; charset=utf-8")
            handler.send_header("Content-Length", "4")
            handler.end_headers()
            handler.wfile.write(b"<p>.")
            return
        content = CONTENT[::-1] if how == "other bytes" else CONTENT
        start = int(asked.split("=")[1].rstrip("-")) if asked and how != "no ranges" else 0
        if start >= len(content):
            handler.send_response(416)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        start = max(0, start + {"further on": 10, "before": -10}.get(how, 0))
        rest = content[start : start + 500_000] if how == "window" else content[start:]
        handler.send_response(206 if start or how == "window" else 200)
        if (start or how == "window") and how != "no place":
            handler.send_header("Content-Range", f"bytes {start}-{start + len(rest) - 1}/{len(content)}")
        if how != "no length":
            handler.send_header("Content-Length", str(len(rest) + (1000 if how == "too long" else 0)))
        handler.end_headers()
        part = rest[: CUTS.get(how, len(rest))]
        for at in range(0, len(part), 1 << 18):
            handler.wfile.write(part[at : at + (1 << 18)])
            if how == "slow":
                time.sleep(0.02)
        self.sent += len(part)
        if how == "reset":  # without a farewell, as a router does it
            handler.wfile.flush()
            time.sleep(0.2)  # until all of it has been read
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()
        handler.close_connection = True


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    """A server; the published MD5s of all datasets become that of its content."""
    started: list[Server] = []
    monkeypatch.setattr(_fetch, "_PAUSE", 0.01)
    real = get_dataset
    fake = lambda flag: replace(real(flag), md5=dict.fromkeys(real(flag).md5, MD5))  # noqa: E731
    monkeypatch.setattr(_fetch, "get_dataset", fake)

    def start(*behaviours: str) -> Server:
        started.append(Server(*behaviours))
        return started[-1]

    yield start
    for server in started:
        server.server.shutdown()
        server.server.server_close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched_once(serve, tmp_path: Path) -> None:
    server = serve("whole")
    told = []
    path = store.fetch_npz("breastmnist", tmp_path, base_url=server.url, progress=lambda *at: told.append(at))
    assert path == tmp_path / "breastmnist.npz"
    assert path.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    store.fetch_npz("breastmnist", tmp_path, base_url=server.url)
    assert server.ranges == [None]
    assert names(tmp_path) == ["breastmnist.npz"]


def test_names_are_those_of_edition_and_size(serve, tmp_path: Path) -> None:
    server = serve("whole")
    for choice in ({"size": 224}, {}, {"edition": "2020"}):
        store.fetch_npz("organmnist_a", tmp_path, base_url=server.url, **choice)
    assert server.paths == ["/organamnist_224.npz", "/organamnist.npz", "/organmnist_axial.npz"]
    for choice in ({"size": 224, "edition": "2020"}, {"size": 32}, {"edition": "2021"}):
        with pytest.raises(ArgumentError, match="published are 28 px of 2020, 28 px of 2024"):
            store.fetch_npz("organamnist", tmp_path, base_url=server.url, **choice)


def test_of_a_dataset_that_was_never_published_there_is_nothing_to_fetch(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(_fetch, "get_dataset", lambda flag: replace(get_dataset("breastmnist"), flag=flag, md5={}))
    with pytest.raises(ArgumentError, match="lungmnist: has no official files"):
        store.fetch_npz("lungmnist", tmp_path)


def test_editions_of_no_known_record_are_not_offered(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delitem(_fetch.RECORDS, "2024")
    with pytest.raises(ArgumentError, match=r"64 px, edition 2024; published are 28 px of 2020"):
        store.fetch_npz("breastmnist", tmp_path, size=64)


def test_a_cut_is_gone_on_from_and_no_byte_is_fetched_twice(serve, tmp_path: Path) -> None:
    server = serve("cut", "cut", "whole")
    path = store.fetch_npz("breastmnist", tmp_path, base_url=server.url)
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={1 << 20}-", f"bytes={2 << 20}-"]
    assert server.sent == len(CONTENT)


def test_a_server_without_ranges_starts_over(serve, tmp_path: Path) -> None:
    server = serve("cut", "no ranges")
    assert store.fetch_npz("breastmnist", tmp_path, base_url=server.url).read_bytes() == CONTENT
    assert server.sent == (1 << 20) + len(CONTENT)


def test_what_came_is_kept_for_the_next_run(serve, tmp_path: Path) -> None:
    server = serve("cut", "503")
    with pytest.raises(StoreError, match=rf"failed after {1 << 20} bytes \(HTTP 503 Service Unavailable\); .*resumed"):
        store.fetch_npz("breastmnist", tmp_path, base_url=server.url)
    assert len(server.ranges) == 1 + _fetch._TRIES - 1
    assert names(tmp_path) == [f".breastmnist.npz.{MD5[:8]}.part"]
    again = serve("whole")
    assert store.fetch_npz("breastmnist", tmp_path, base_url=again.url).read_bytes() == CONTENT
    assert again.ranges == [f"bytes={1 << 20}-"]
    assert names(tmp_path) == ["breastmnist.npz"]


def test_a_whole_part_that_was_never_renamed_is_taken(serve, tmp_path: Path) -> None:
    (tmp_path / f".breastmnist.npz.{MD5[:8]}.part").write_bytes(CONTENT)
    server = serve("whole")
    assert store.fetch_npz("breastmnist", tmp_path, base_url=server.url).read_bytes() == CONTENT
    assert server.sent == 0


@pytest.mark.parametrize("before", [b"", CONTENT[:1000], b"x" * 4_000_000])
def test_wrong_bytes_are_shown_with_both_hashes_and_leave_nothing(serve, tmp_path: Path, before: bytes) -> None:
    if before:
        (tmp_path / f".breastmnist.npz.{MD5[:8]}.part").write_bytes(before)
    server = serve("other bytes")
    with pytest.raises(StoreError, match=rf"found MD5 [0-9a-f]{{32}}, expected {MD5}; retry"):
        store.fetch_npz("breastmnist", tmp_path, base_url=server.url)
    assert names(tmp_path) == []


def test_absent_files_and_servers_are_said_in_one_line(serve, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"breastmnist\.npz: download failed \(HTTP 404"):
        store.fetch_npz("breastmnist", tmp_path, base_url=serve("404").url)
    gone = serve("whole")
    gone.server.shutdown()
    gone.server.server_close()
    with pytest.raises(StoreError, match=r"after 0 bytes \(ConnectionError \(Connection refused\)\)") as caught:
        store.fetch_npz("breastmnist", tmp_path, base_url=gone.url)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_another_file_is_left_alone_without_force(serve, tmp_path: Path) -> None:
    (tmp_path / "breastmnist.npz").write_bytes(b"mine")
    server = serve("404", "whole")
    with pytest.raises(StoreError, match=rf"found MD5 .*, expected {MD5}; .*--force"):
        store.fetch_npz("breastmnist", tmp_path, base_url=server.url)
    with pytest.raises(StoreError, match="404"):
        store.fetch_npz("breastmnist", tmp_path, base_url=server.url, force=True)
    assert (tmp_path / "breastmnist.npz").read_bytes() == b"mine"
    store.fetch_npz("breastmnist", tmp_path, base_url=server.url, force=True)
    assert (tmp_path / "breastmnist.npz").read_bytes() == CONTENT


PART = f".breastmnist.npz.{MD5[:8]}.part"


@pytest.mark.parametrize("how", ["cut early", "reset"])
def test_every_byte_that_came_before_a_cut_is_kept(serve, tmp_path: Path, how: str) -> None:
    server = serve(how, how, how, "whole")
    assert store.fetch_npz("breastmnist", tmp_path, base_url=server.url).read_bytes() == CONTENT
    assert server.ranges == [None, *(f"bytes={times * CUTS[how]}-" for times in (1, 2, 3))]
    assert server.sent == len(CONTENT)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr(_fetch.time, "sleep", slept.append)
    monkeypatch.setattr(_fetch, "_PAUSE", 0.5)
    return slept


@pytest.mark.parametrize(
    ("after", "least", "most"),
    [("7", 7, 7), ("0", 0.5, 0.5), ("99999999999", 300, 300), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.5, 0.5),
     ("Fri, 31 Dec 9999 23:59:59 GMT", 300, 300), ("soon", 0.5, 0.5), ("-3", 0.5, 0.5), ("", 0.5, 0.5)],
)
@pytest.mark.parametrize("status", ["429", "503"])
def test_a_server_is_given_the_time_it_asks_for(serve, tmp_path, pauses, status, after, least, most) -> None:
    server = serve(f"{status} {after}", "whole")
    assert store.fetch_npz("breastmnist", tmp_path, base_url=server.url).read_bytes() == CONTENT
    assert len(pauses) == 1
    assert least <= pauses[0] <= most


def test_a_retry_after_may_be_a_date(serve, tmp_path: Path, pauses: list[float], caplog) -> None:
    server = serve(f"503 {formatdate(time.time() + 60, usegmt=True)}", "whole")
    store.fetch_npz("breastmnist", tmp_path, base_url=server.url)
    assert 55 < pauses[0] <= 61
    assert "HTTP 503 Service Unavailable; retrying in" in caplog.text


@pytest.mark.parametrize(
    ("how", "said"),
    [("429", "HTTP 429 Too Many Requests"), ("503 1", "HTTP 503 Service Unavailable"), ("408", "HTTP 408"),
     ("500", "HTTP 500 Internal Server Error"), ("closed", "ConnectionError"), ("302 /x", "TooManyRedirects")],
)
def test_what_does_not_pass_is_tried_ever_more_slowly_and_named(serve, tmp_path, pauses, how, said) -> None:
    with pytest.raises(StoreError, match=rf"after 0 bytes \({said}.*\); retry later$") as caught:
        store.fetch_npz("breastmnist", tmp_path, base_url=serve(how).url)
    assert pauses == ([1, 1, 2, 4] if how == "503 1" else [0.5, 1, 2, 4])  # not before it says itself
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("how", "said"),
    [("404", "HTTP 404 Not Found"), ("403", "HTTP 403 Forbidden"), ("302 ftp://a/b", "an http address"),
     ("html", "HTML page")],
)
def test_what_will_not_pass_is_told_at_once_and_costs_no_byte_that_came(serve, tmp_path, pauses, how, said) -> None:
    (tmp_path / PART).write_bytes(CONTENT[:1000])
    with pytest.raises(StoreError, match=said):
        store.fetch_npz("breastmnist", tmp_path, base_url=serve(how).url)
    assert pauses == []
    assert (tmp_path / PART).read_bytes() == CONTENT[:1000]
    with pytest.raises(StoreError, match="not an http address"):
        store.fetch_npz("breastmnist", tmp_path, base_url="nowhere")


@pytest.mark.parametrize("how", ["window", "before", "no length", "further on", "no place", "too long", "no ranges"])
@pytest.mark.parametrize("had", [0, 5, 1_000_000])
def test_answers_of_other_places_and_lengths_never_make_another_file(serve, tmp_path, how, had) -> None:
    (tmp_path / PART).write_bytes(CONTENT[:had])
    server = serve(how, how, "whole")
    if how == "window":
        server.behaviours = [how]
    assert store.fetch_npz("breastmnist", tmp_path, base_url=server.url).read_bytes() == CONTENT
    assert names(tmp_path) == ["breastmnist.npz"]


def test_a_kept_part_of_other_bytes_is_fetched_anew(serve, tmp_path: Path) -> None:
    (tmp_path / PART).write_bytes(b"x" * 1000)
    server = serve("whole")
    assert store.fetch_npz("breastmnist", tmp_path, base_url=server.url).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-", None]


def test_parts_of_other_editions_are_cleared_unless_somebody_fetches_them(serve, tmp_path: Path) -> None:
    old, held, other = (tmp_path / f".{name}.part" for name in (
        "breastmnist.npz.0123abcd", "breastmnist.npz.4567abcd", "octmnist.npz.0123abcd",
    ))
    for path in (old, held, other):
        path.write_bytes(b"x")
    with held.open("rb") as file:
        files.lock(file.fileno())
        store.fetch_npz("breastmnist", tmp_path, base_url=serve("whole").url)
    assert names(tmp_path) == [held.name, other.name, "breastmnist.npz"]


@pytest.mark.parametrize("locks", [True, False])
@pytest.mark.parametrize("behaviours", [["slow"], ["cut early", "slow"], ["slow", "cut early", "slow"]])
def test_two_who_fetch_one_file_into_one_folder_both_get_it(serve, tmp_path, monkeypatch, locks, behaviours) -> None:
    if not locks:
        monkeypatch.setattr(_fetch, "lock", lambda handle, wait=False: None)
    server, got = serve(*behaviours), []

    def fetch() -> None:
        try:
            got.append(store.fetch_npz("breastmnist", tmp_path, base_url=server.url).read_bytes() == CONTENT)
        except StoreError as error:
            got.append(error)

    threads = [threading.Thread(target=fetch) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [True] * 3
    assert names(tmp_path) == ["breastmnist.npz"]
    if locks:
        assert server.sent <= len(CONTENT)


class Refusing:
    """A file on a disk that takes no more than some bytes."""

    def __init__(self, file, code, most):
        self._file, self._code, self._most = file, code, most

    def write(self, data):
        if self._file.tell() >= self._most:
            raise OSError(self._code, os.strerror(self._code))
        return self._file.write(data)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()

    def __getattr__(self, name):
        return getattr(self._file, name)


@pytest.mark.parametrize(
    ("code", "said"),
    [(errno.ENOSPC, "no space left on device; free some space"), (errno.EIO, "input/output error; check the disk"),
     (errno.EDQUOT, "quota exceeded; free some of your quota")],
)
def test_a_disk_that_fails_is_told_as_such_and_keeps_what_came(serve, tmp_path, monkeypatch, code, said) -> None:
    refusing = lambda *a, **k: Refusing(open(*a, **k), code, 100_000)  # noqa: E731, SIM115
    monkeypatch.setattr(_fetch, "open", refusing, raising=False)
    server = serve("whole")
    with pytest.raises(StoreError, match=rf"breastmnist\.npz: cannot be written: .*{said}"):
        store.fetch_npz("breastmnist", tmp_path, base_url=server.url)
    assert len(server.ranges) == 1  # another try would not help
    kept = (tmp_path / PART).stat().st_size
    assert kept >= 100_000
    monkeypatch.undo()


def test_a_file_is_hashed_once(serve, tmp_path: Path, monkeypatch) -> None:
    hashed, real = [], _fetch.md5_of
    monkeypatch.setattr(_fetch, "md5_of", lambda path: (hashed.append(path.name), real(path))[1])
    new = hashlib.new
    monkeypatch.setattr(hashlib, "new", lambda *a, **k: (hashed.append("new"), new(*a, **k))[1])
    store.fetch_npz("breastmnist", tmp_path, base_url=serve("whole").url)
    assert hashed == [PART]


def test_the_command_fetches(serve, tmp_path: Path) -> None:
    server = serve("whole")
    shown = invoke("fetch", "breastmnist", "octmnist", "--out", tmp_path, "--base-url", server.url).output
    assert f"{tmp_path / 'octmnist.npz'}: official file" in shown
    assert names(tmp_path) == ["breastmnist.npz", "octmnist.npz"]


# -------------------------------------------------------- beside the official


def official(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A store and its own export, which passes for the published file."""
    path = write_small_store(tmp_path / "breastmnist_28.h5", size=28)
    npz = store.export_npz(mmtk.open(path), tmp_path / "npz")
    real = get_dataset("breastmnist")
    fake = replace(real, md5={"2020:28": hashlib.md5(npz.read_bytes()).hexdigest()})
    monkeypatch.setattr(_official, "find_dataset", lambda flag: fake)
    return path, npz


def rewritten(path: Path, out: Path, change: Callable[[str, list[np.ndarray]], list[np.ndarray]], **facts) -> Path:
    """A copy of a store with its arrays and facts changed."""
    opened = mmtk.open(path)
    arrays = {s.name: tuple(change(s.name, [s.images.copy(), s.labels.copy(), s.records])) for s in opened.splits}
    return store.write_store(out, replace(opened.info, **facts), arrays)


def test_the_official_store_is_said_to_be_official(tmp_path: Path, monkeypatch) -> None:
    path, npz = official(tmp_path, monkeypatch)
    compared = store.compare_official(mmtk.open(path), npz.parent)
    assert not compared.differs
    assert [(one.rows, one.in_place, one.anywhere, one.difference) for one in compared.splits.values()] == [
        (20, 20, 20, 0), (6, 6, 6, 0), (9, 9, 9, 0),
    ]
    shown = invoke("verify", path, "--against-official", "--npz", npz.parent).output
    assert "train: 20 of 20 rows equal official rows, 20 in the same place; largest pixel difference 0" in shown
    assert "as published" in shown


def test_another_order_and_other_pixels_are_told_apart(tmp_path: Path, monkeypatch) -> None:
    path, npz = official(tmp_path, monkeypatch)
    turned = rewritten(path, tmp_path / "turned.h5", lambda _, arrays: [array[::-1] for array in arrays])
    compared = store.compare_official(mmtk.open(turned), npz.parent)
    assert compared.differs  # by its MD5
    assert all(one.anywhere == one.rows > one.in_place for one in compared.splits.values())

    def lighter(split: str, arrays: list[np.ndarray]) -> list[np.ndarray]:
        if split == "val":
            arrays[0][2, 0, 0] ^= 7
        return arrays

    changed = rewritten(path, tmp_path / "changed.h5", lighter)
    compared = store.compare_official(mmtk.open(changed), npz.parent)
    assert (compared.splits["val"].anywhere, compared.splits["val"].rows) == (5, 6)
    assert 0 < (compared.splits["val"].difference or 0) <= 7
    shown = invoke("verify", changed, "--against-official", "--npz", npz.parent, code=1).output
    assert "val: 5 of 6 rows equal official rows, 5 in the same place" in shown
    assert "was published" in shown


def test_a_part_is_looked_up_and_cannot_have_the_md5(tmp_path: Path, monkeypatch) -> None:
    path, npz = official(tmp_path, monkeypatch)
    part = rewritten(path, tmp_path / "part.h5", lambda _, arrays: [array[3:5] for array in arrays], partial=True)
    compared = store.compare_official(mmtk.open(part), npz.parent)
    assert not compared.differs
    assert (compared.md5, compared.splits["train"].anywhere, compared.splits["train"].difference) == (None, 2, None)
    shown = invoke("verify", part, "--against-official", "--npz", npz.parent).output
    assert "a partial store cannot have" in shown


def test_equal_rows_are_counted_once_each(tmp_path: Path, monkeypatch) -> None:
    path, npz = official(tmp_path, monkeypatch)
    twice = rewritten(path, tmp_path / "t.h5", lambda _, arrays: [array[[0, 0]] for array in arrays], partial=True)
    assert store.compare_official(mmtk.open(twice), npz.parent).splits["test"].anywhere == 1


def test_without_anything_to_compare_with_that_is_said(tmp_path: Path, monkeypatch) -> None:
    path, _ = official(tmp_path, monkeypatch)
    larger = rewritten(path, tmp_path / "l.h5", lambda _, arrays: arrays, edition="2024")
    shown = invoke("verify", larger, "--against-official").output
    assert "no official file of 28 px, edition 2024 here" in shown
    assert "no MD5 was published" in shown
    phantom = rewritten(path, tmp_path / "p.h5", lambda _, arrays: arrays, synthetic=True)
    assert "nothing official" in invoke("verify", phantom, "--against-official").output


def test_a_file_that_is_not_the_published_one_is_refused(tmp_path: Path, monkeypatch) -> None:
    path, npz = official(tmp_path, monkeypatch)
    npz.write_bytes(npz.read_bytes() + b"\0")
    line = (
        r"breastmnist.npz: is not official: .*; found MD5 .*, expected the official file of 28 px, edition 2020 "
        r"\(MD5 .*; .*mmtk fetch breastmnist --edition 2020$"
    )
    with pytest.raises(StoreError, match=line):
        store.compare_official(mmtk.open(path), npz.parent)
    # the command says so and goes on to the next store
    alone = rewritten(path, tmp_path / "alone" / path.name, lambda _, arrays: arrays)
    told = invoke("verify", path, alone, "--against-official", "--npz", npz.parent, code=2).output
    assert told.count("its MD5 was not published") == 2
    assert "rows equal official" not in told


def as_official(monkeypatch, flag: str, **files: Path) -> None:
    """Let files pass for official ones, by the words of edition and size: ``e2024_28=...``."""
    md5 = {key[1:].replace("_", ":"): hashlib.md5(path.read_bytes()).hexdigest() for key, path in files.items()}
    fake = replace(get_dataset(flag), md5=md5)
    for room in (_official, _match):
        monkeypatch.setattr(room, "find_dataset", lambda flag: fake)


def test_a_set_that_never_changed_is_held_against_its_larger_file(tmp_path: Path, monkeypatch) -> None:
    path = write_small_store(tmp_path / "breastmnist_64.h5", size=64)
    npz = store.export_npz(mmtk.open(path), tmp_path / "npz")
    as_official(monkeypatch, "breastmnist", e2024_64=npz)
    assert mmtk.open(path).info.edition == "2020"
    compared = store.compare_official(mmtk.open(path), npz.parent)
    assert (compared.npz, compared.differs, compared.md5) == (npz, False, compared.published)
    assert compared.splits["train"].in_place == 20
    npz.write_bytes(b"other")
    with pytest.raises(StoreError, match=r"64 px, edition 2024.*mmtk fetch breastmnist --size 64 --edition 2024$"):
        store.compare_official(mmtk.open(path), npz.parent)


def two_editions(tmp_path: Path, monkeypatch) -> tuple[dict[str, Path], dict[str, Path]]:
    """Stores of OrganCMNIST of 2020 and of 2024, and their files; only the MD5 tells a file's edition."""
    stores, files = {}, {}
    for seed, edition in enumerate(("2020", "2024")):
        plain = write_small_store(tmp_path / "plain.h5", flag="organcmnist", task="multi-class", classes=11, size=28,
                                  seed=seed)
        stores[edition] = rewritten(plain, tmp_path / f"{edition}.h5", lambda _, arrays: arrays, edition=edition)
        files[edition] = store.export_npz(mmtk.open(stores[edition]), tmp_path / "npz" / edition)
    as_official(monkeypatch, "organcmnist", e2020_28=files["2020"], e2024_28=files["2024"])
    return stores, files


def test_the_file_of_another_edition_is_said_and_not_compared(tmp_path: Path, monkeypatch) -> None:
    stores, files = two_editions(tmp_path, monkeypatch)
    assert (files["2020"].name, files["2024"].name) == ("organmnist_coronal.npz", "organcmnist.npz")
    compared = store.compare_official(mmtk.open(stores["2020"]), files["2024"].parent)
    assert (compared.npz, compared.splits, compared.differs) == (None, {}, False)
    line = (
        f"found the official file of 28 px, edition 2024 (MD5 {hashlib.md5(files['2024'].read_bytes()).hexdigest()}), "
        f"expected the official file of 28 px, edition 2020 (MD5 {compared.published}); get the right one by mmtk "
        "fetch organcmnist --edition 2020, or build with --edition 2024"
    )
    assert compared.remark.startswith(f"{files['2024']}: ")
    assert compared.remark.endswith(line)
    shown = invoke("verify", stores["2020"], "--against-official", "--npz", files["2024"].parent).output
    assert f"  {compared.remark}\n" in shown
    assert f"MD5 as .npz: {compared.published}, as published" in shown
    renamed = files["2024"].rename(files["2024"].with_name("organmnist_coronal.npz"))
    with pytest.raises(StoreError, match=r"found the official file of 28 px, edition 2024.*build with --edition 2024"):
        store.compare_official(mmtk.open(stores["2020"]), renamed.parent)


def test_a_file_is_known_by_its_md5_whatever_its_name(tmp_path: Path, monkeypatch) -> None:
    """The file of 2020 was called ``organcmnist.npz`` in 2021."""
    stores, files = two_editions(tmp_path, monkeypatch)
    files["2020"].rename(tmp_path / "organcmnist.npz")
    (tmp_path / "organmnist_coronal.npz").write_bytes(b"other")
    compared = store.compare_official(mmtk.open(stores["2020"]), tmp_path)
    assert compared.npz == tmp_path / "organcmnist.npz"
    assert not compared.differs


def test_nothing_is_official_beside_a_file_that_was_never_published(tmp_path: Path, monkeypatch) -> None:
    path = write_small_store(tmp_path / "breastmnist_32.h5", size=32, partial=True)
    npz = store.export_npz(mmtk.open(path), tmp_path)
    again = store.import_npz(npz, tmp_path / "again")
    for one in (path, again):
        shown = invoke("verify", one, "--against-official", "--npz", tmp_path).output
        assert f"  {npz}: is not official: its MD5 was not published (there is none of 32 px)" in shown
        assert "rows are official" not in shown


def test_a_part_of_no_known_edition_is_looked_up_in_any(tmp_path: Path, monkeypatch) -> None:
    stores, files = two_editions(tmp_path, monkeypatch)
    part = rewritten(stores["2024"], tmp_path / "part.h5", lambda _, arrays: [array[:5] for array in arrays],
                     edition="unknown", partial=True)
    compared = store.compare_official(mmtk.open(part), files["2024"].parent)
    assert (compared.npz, compared.splits["val"].anywhere) == (files["2024"], 5)
    assert store.compare_official(mmtk.open(part), files["2020"].parent).splits["val"].anywhere == 0
    files["2024"].write_bytes(b"other")
    compared = store.compare_official(mmtk.open(part), files["2024"].parent)
    assert "edition 2020 (MD5" in compared.remark
    assert "edition 2024 (MD5" in compared.remark
    assert compared.splits == {}
    assert compared.remark.count("the official file of") == 2


def test_a_match_with_another_editions_file_is_refused(tmp_path: Path, monkeypatch) -> None:
    stores, files = two_editions(tmp_path, monkeypatch)

    def named(split: str, arrays: list[np.ndarray]) -> list[np.ndarray]:
        records = np.zeros(len(arrays[0]), store.record_dtype(8, 1))
        records["source"] = [f"{split}-{row}".encode() for row in range(len(records))]
        return [*arrays[:2], records]

    old = mmtk.open(rewritten(stores["2020"], tmp_path / "named.h5", named))
    assert match(old, files["2020"]).sure
    line = (
        r"another edition than .*named.h5; found the official file of 28 px, edition 2024 .*, expected edition 2020; "
        r"build with --edition 2024, or match with .* mmtk fetch organcmnist --edition 2020$"
    )
    with pytest.raises(StoreError, match=line):
        match(old, files["2024"])


@pytest.mark.parametrize("read", [False, True])
def test_room_for_temporary_files_is_looked_for_first(tmp_path: Path, monkeypatch, read: bool) -> None:
    path, npz = official(tmp_path, monkeypatch)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    monkeypatch.setattr(_official, "write_npz", None)
    monkeypatch.setattr(_official, "opened_npz", None)
    purpose = "images of .*breastmnist.npz" if read else "MD5 of .*breastmnist_28.h5 as .npz"
    line = rf"not enough space for .*{purpose}; found 1000 bytes free, expected 27\d+; free some space or set TMPDIR"
    with pytest.raises(StoreError, match=line):
        store.read_npz(npz, get_dataset("breastmnist")) if read else store.compare_official(mmtk.open(path), tmp_path)


@pytest.mark.parametrize("flag", ["breastmnist", "pneumoniamnist", "retinamnist", "organamnist"])
def test_imported_official_files_are_official(real_data: Path, tmp_path: Path, flag: str) -> None:
    path = store.import_npz(real_data / "npz" / f"{flag}.npz", tmp_path)
    compared = store.compare_official(mmtk.open(path), real_data / "npz")
    assert not compared.differs
    assert compared.md5 == compared.published == get_dataset(flag).md5["2024:28"]
    assert all(one.in_place == one.rows == one.official for one in compared.splits.values())


def test_the_46_real_images_are_official_rows(real_data: Path, tmp_path: Path) -> None:
    (result,) = mmtk.build("breastmnist", sources=real_data / "sources/busi", out=tmp_path, allow_partial=True)
    compared = store.compare_official(mmtk.open(result.path), real_data / "npz")
    assert [(one.rows, one.anywhere) for one in compared.splits.values()] == [(35, 35), (6, 6), (5, 5)]
