"""The journal and the work folders of a build: short writes, full disks, lines nobody wrote, what a kill leaves."""

from __future__ import annotations

import errno
import json
import os
import signal

import pytest

from mmtk import store
from mmtk.builder import build
from mmtk.builder.journal import Journal
from mmtk.errors import StoreError
from mmtk.phantom import write_phantom
from tests.commands import run_python

IDENTITY = {"plans": ["a"]}


def resumed(folder) -> set[int] | None:
    with Journal(folder) as journal:
        return journal.done if journal.resume(IDENTITY) else None


@pytest.fixture
def folder(tmp_path):
    with Journal(tmp_path / ".x.build") as journal:
        journal.begin(IDENTITY)
        journal.note([1, 2])
        journal.note([5])
    return tmp_path / ".x.build"


def test_a_short_write_is_completed(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[:3]))
    with Journal(tmp_path / "w") as journal:
        journal.begin(IDENTITY)
        journal.note([7])
    monkeypatch.undo()
    assert resumed(tmp_path / "w") == {7}


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_line_that_a_full_disk_cut_is_taken_back(folder, monkeypatch, call):
    real, calls = os.write, []

    def fail(handle, *data):
        calls.append(handle)
        if data and len(calls) == 1:
            return real(handle, data[0][:4])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Journal(folder) as journal:
        assert journal.resume(IDENTITY)
        monkeypatch.setattr(os, call, fail)
        with pytest.raises(OSError, match="No space"):
            journal.note([8])
        monkeypatch.undo()
        journal.note([9])
    assert resumed(folder) == {1, 2, 5, 9}


def test_a_torn_last_line_says_nothing(folder):
    path = folder / "journal"
    whole = path.read_bytes()
    for cut in range(len(whole) - len(whole.splitlines()[-1]), len(whole)):
        path.write_bytes(whole[: cut - 1])
        assert resumed(folder) == {1, 2}
        path.write_bytes(whole)
    assert resumed(folder) == {1, 2, 5}


def test_lines_that_were_not_written_there_are_not_believed(folder):
    path = folder / "journal"
    first, *lines = path.read_bytes().splitlines(keepends=True)
    strangers = [
        [first, *lines, b'{"done": [3]}\n'], [first, *lines, json.dumps({"done": [3], "chain": "01"}).encode() + b"\n"],
        [first, lines[1]], [first, lines[1], lines[0]], [first, lines[0], lines[0], lines[1]], [*lines],
        [first, lines[0].replace(b"2", b"3"), lines[1]], [first, b"\n", *lines], [first, b"\xff\xfe\n", *lines],
        [b"[" * 10_000 + b"\n", *lines],
    ]
    for text in strangers:
        path.write_bytes(b"".join(text))
        assert resumed(folder) is None
        assert path.read_bytes() == b""


def test_the_folder_can_be_made_again_while_it_is_removed(tmp_path):
    with Journal(tmp_path / "w") as journal:
        journal.begin(IDENTITY)
        journal.remove()
        with Journal(tmp_path / "w") as other:  # of a build that starts in this moment
            other.begin(IDENTITY)
    assert [path.name for path in tmp_path.iterdir()] == ["w"]
    assert resumed(tmp_path / "w") == set()


def test_what_a_kill_in_the_last_moment_left_goes_with_the_next_run(tmp_path):
    write_phantom("breastmnist", tmp_path / "src", 0.01)
    options = {"sources": tmp_path / "src", "out": tmp_path / "out"}
    build("breastmnist", **options)
    bytes_before = (tmp_path / "out" / "breastmnist_28.h5").read_bytes()
    with Journal(tmp_path / "out" / ".breastmnist.build") as journal:
        journal.begin(IDENTITY)
    (tmp_path / "out" / "..breastmnist.build.0123abcd.mmtk").mkdir()  # in the midst of being removed
    (tmp_path / "out" / ".breastmnist.match" / ".breastmnist.build").mkdir(parents=True)
    (tmp_path / "out" / ".breastmnist.match" / "breastmnist_28.h5").write_bytes(b"half")
    assert build("breastmnist", **options)[0].reused
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["breastmnist_28.h5"]
    assert (tmp_path / "out" / "breastmnist_28.h5").read_bytes() == bytes_before


def test_stores_that_a_killed_build_had_begun_stay_for_the_next_one(tmp_path):
    write_phantom("breastmnist", tmp_path / "src", 0.01)
    code = (
        "import os, signal, sys\nfrom mmtk import builder, store\nfrom mmtk.builder import _build, build\n"
        "_build._finish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "build('breastmnist', sources=sys.argv[1], out=sys.argv[2])\n"
    )
    run_python("-c", code, tmp_path / "src", tmp_path / "out", code=-signal.SIGKILL)
    work = tmp_path / "out" / ".breastmnist.build"
    assert (work / "breastmnist_28.h5").exists()
    (result,) = build("breastmnist", sources=tmp_path / "src", out=tmp_path / "out")
    assert store.verify(result.path) == []
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["breastmnist_28.h5"]


def test_a_disk_that_fails_while_stores_are_finished_is_one_line(tmp_path, monkeypatch):
    write_phantom("breastmnist", tmp_path / "src", 0.01)
    real = os.pwrite

    def pwrite(handle, data, offset):
        if len(data) == 1:  # the mark of completeness
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(handle, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(StoreError, match=r"out: .*nput/output error.*; check the disk"):
        build("breastmnist", sources=tmp_path / "src", out=tmp_path / "out")
    assert not (tmp_path / "out" / "breastmnist_28.h5").exists()
    monkeypatch.undo()
    build("breastmnist", sources=tmp_path / "src", out=tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["breastmnist_28.h5"]
