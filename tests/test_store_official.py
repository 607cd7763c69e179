"""Fetching from a local server that cuts, lies and refuses; stores beside official files."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import mmtk
from mmtk import store
from mmtk.cli import group
from mmtk.datasets import get_dataset
from mmtk.errors import ArgumentError, StoreError
from mmtk.store import _fetch, _official
from tests.small_stores import write_small_store

CONTENT = np.random.default_rng(0).bytes(3_000_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


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
        if how.isdecimal():
            handler.send_response(int(how))
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        content = CONTENT[::-1] if how == "other bytes" else CONTENT
        start = int(asked.split("=")[1].rstrip("-")) if asked and how != "no ranges" else 0
        if start >= len(content):
            handler.send_response(416)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        rest = content[start:]
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        handler.send_header("Content-Length", str(len(rest)))
        handler.end_headers()
        part = rest[: 1 << 20] if how == "cut" else rest
        handler.wfile.write(part)
        self.sent += len(part)
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
        with pytest.raises(ArgumentError, match="28 px of 2020, 28 px of 2024"):
            store.fetch_npz("organamnist", tmp_path, base_url=server.url, **choice)


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
    with pytest.raises(StoreError, match=rf"ConnectionError after {1 << 20} bytes; fetch again"):
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
    with pytest.raises(StoreError, match=rf"expected a file of MD5 {MD5}, found MD5 [0-9a-f]{{32}}; try again"):
        store.fetch_npz("breastmnist", tmp_path, base_url=server.url)
    assert names(tmp_path) == []


def test_absent_files_and_servers_are_said_in_one_line(serve, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"breastmnist\.npz: expected the official file, found HTTP 404"):
        store.fetch_npz("breastmnist", tmp_path, base_url=serve("404").url)
    gone = serve("whole")
    gone.server.shutdown()
    gone.server.server_close()
    with pytest.raises(StoreError, match="ConnectionError after 0 bytes") as caught:
        store.fetch_npz("breastmnist", tmp_path, base_url=gone.url)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_another_file_is_left_alone_without_force(serve, tmp_path: Path) -> None:
    (tmp_path / "breastmnist.npz").write_bytes(b"mine")
    server = serve("404", "whole")
    with pytest.raises(StoreError, match=rf"expected the official file \(MD5 {MD5}\), found MD5 .*--force"):
        store.fetch_npz("breastmnist", tmp_path, base_url=server.url)
    with pytest.raises(StoreError, match="404"):
        store.fetch_npz("breastmnist", tmp_path, base_url=server.url, force=True)
    assert (tmp_path / "breastmnist.npz").read_bytes() == b"mine"
    store.fetch_npz("breastmnist", tmp_path, base_url=server.url, force=True)
    assert (tmp_path / "breastmnist.npz").read_bytes() == CONTENT


def run(*arguments: object, code: int) -> Result:
    result = CliRunner().invoke(group, list(map(str, arguments)))
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_the_command_fetches(serve, tmp_path: Path) -> None:
    server = serve("whole")
    shown = run("fetch", "breastmnist", "octmnist", "--out", tmp_path, "--base-url", server.url, code=0).output
    assert f"{tmp_path / 'octmnist.npz'}: the official file, by its MD5" in shown
    assert names(tmp_path) == ["breastmnist.npz", "octmnist.npz"]


# -------------------------------------------------------- beside the official


def official(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A store and its own export, which passes for the published file."""
    path = write_small_store(tmp_path / "breastmnist_28.h5", size=28)
    npz = store.export_npz(mmtk.open(path), tmp_path / "npz")
    real = get_dataset("breastmnist")
    fake = replace(real, md5={"2020:28": hashlib.md5(npz.read_bytes()).hexdigest()})
    monkeypatch.setattr(_official, "get_dataset", lambda flag: fake)
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
    shown = run("verify", path, "--against-official", "--npz", npz.parent, code=0).output
    assert "train: 20 of 20 rows are official ones, 20 in their place; largest difference 0" in shown
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
    shown = run("verify", changed, "--against-official", "--npz", npz.parent, code=1).output
    assert "val: 5 of 6 rows are official ones, 5 in their place" in shown
    assert "published was" in shown


def test_a_part_is_looked_up_and_cannot_have_the_md5(tmp_path: Path, monkeypatch) -> None:
    path, npz = official(tmp_path, monkeypatch)
    part = rewritten(path, tmp_path / "part.h5", lambda _, arrays: [array[3:5] for array in arrays], partial=True)
    compared = store.compare_official(mmtk.open(part), npz.parent)
    assert not compared.differs
    assert (compared.md5, compared.splits["train"].anywhere, compared.splits["train"].difference) == (None, 2, None)
    shown = run("verify", part, "--against-official", "--npz", npz.parent, code=0).output
    assert "a part of the dataset cannot have" in shown


def test_equal_rows_are_counted_once_each(tmp_path: Path, monkeypatch) -> None:
    path, npz = official(tmp_path, monkeypatch)
    twice = rewritten(path, tmp_path / "t.h5", lambda _, arrays: [array[[0, 0]] for array in arrays], partial=True)
    assert store.compare_official(mmtk.open(twice), npz.parent).splits["test"].anywhere == 1


def test_without_anything_to_compare_with_that_is_said(tmp_path: Path, monkeypatch) -> None:
    path, _ = official(tmp_path, monkeypatch)
    larger = rewritten(path, tmp_path / "l.h5", lambda _, arrays: arrays, edition="2024")
    shown = run("verify", larger, "--against-official", code=0).output
    assert "no official file of 28 px, edition 2024, here" in shown
    assert "no MD5 was published" in shown
    phantom = rewritten(path, tmp_path / "p.h5", lambda _, arrays: arrays, synthetic=True)
    assert "nothing official" in run("verify", phantom, "--against-official", code=0).output


def test_a_file_that_is_not_the_published_one_is_refused(tmp_path: Path, monkeypatch) -> None:
    path, npz = official(tmp_path, monkeypatch)
    npz.write_bytes(npz.read_bytes() + b"\0")
    with pytest.raises(StoreError, match=r"expected the official file .*mmtk fetch gets it"):
        store.compare_official(mmtk.open(path), npz.parent)


@pytest.mark.parametrize("flag", ["breastmnist", "pneumoniamnist", "retinamnist"])
def test_imported_official_files_are_official(real_data: Path, tmp_path: Path, flag: str) -> None:
    path = store.import_npz(real_data / "npz" / f"{flag}.npz", tmp_path)
    compared = store.compare_official(mmtk.open(path), real_data / "npz")
    assert not compared.differs
    assert compared.md5 == compared.published == get_dataset(flag).md5["2020:28"]
    assert all(one.in_place == one.rows == one.official for one in compared.splits.values())


def test_the_46_real_images_are_official_rows(real_data: Path, tmp_path: Path) -> None:
    (result,) = mmtk.build("breastmnist", sources=real_data / "sources/busi", out=tmp_path, allow_partial=True)
    compared = store.compare_official(mmtk.open(result.path), real_data / "npz")
    assert [(one.rows, one.anywhere) for one in compared.splits.values()] == [(35, 35), (6, 6), (5, 5)]
