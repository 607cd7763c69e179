"""Files that appear whole or not at all: leftovers, locks, folders, and disks that fail."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest

from mmtk import files, store
from mmtk.errors import StoreError
from mmtk.store import _steady
from tests.commands import environment
from tests.small_stores import write_small_store


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def holder(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A process that writes a line once it holds something, and then waits."""
    text = f"import sys, time\nfrom pathlib import Path\nfrom mmtk import files\n{code}"
    command = [sys.executable, "-c", text, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    process.stdout.close()
    return process


HOLD = """
with files.writing(Path(sys.argv[1]), folder=sys.argv[2] == "folder") as temporary:
    if sys.argv[2] == "folder":
        (temporary / "deep").mkdir()
        (temporary / "deep" / "file").write_bytes(b"half")
    else:
        temporary.write_bytes(b"half")
    print("held", flush=True)
    time.sleep(100)
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_killed_writer_leaves_what_the_next_one_clears_and_a_living_one_keeps_it(tmp_path, kind):
    final = tmp_path / "a.h5"
    living, killed = holder(HOLD, final, kind), holder(HOLD, final, kind)
    try:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        of_each = ["", "-lock"] if kind == "folder" else [""]
        assert len(names(tmp_path)) == 2 * len(of_each)
        files.write_atomically(final, lambda file: file.write(b"new"), force=False)
        assert final.read_bytes() == b"new"
        left = sorted(set(names(tmp_path)) - {"a.h5"})
        assert left == [left[0] + end for end in of_each]
        assert left[0].startswith(".a.h5.")
    finally:
        living.kill()
        living.wait()
    files.clear_leftovers(final)
    assert names(tmp_path) == ["a.h5"]


def test_what_only_looks_like_a_leftover_stays(tmp_path):
    others = [".a.h5.123", ".a.h5.0123abcd", ".b.h5.0123abcd.mmtk", "a.h5.0123abcd.mmtk", ".a.h5.0123abcg.mmtk"]
    for name in others:
        (tmp_path / name).write_bytes(b"mine")
    files.clear_leftovers(tmp_path / "a.h5")
    assert names(tmp_path) == sorted(others)


def test_a_link_under_a_leftovers_name_is_not_followed(tmp_path):
    target = tmp_path / "precious"
    target.write_bytes(b"mine")
    (tmp_path / ".a.h5.0123abcd.mmtk").symlink_to(target)
    files.write_atomically(tmp_path / "a.h5", lambda file: file.write(b"new"), force=False)
    assert target.read_bytes() == b"mine"


def test_nothing_stays_after_an_error(tmp_path):
    def fail(file: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(StoreError, match="cannot be written: no space left on device; free some"):
        files.write_atomically(tmp_path / "a", fail, force=True)
    assert names(tmp_path) == []


def test_an_error_of_what_is_read_meanwhile_is_not_blamed_on_what_is_written(tmp_path):
    def fail(file: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "/elsewhere/source.png")

    with pytest.raises(OSError, match=r"source\.png"):
        files.write_atomically(tmp_path / "a", fail, force=True)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EBADF])
def test_without_locks_work_goes_on_and_fresh_leftovers_stay(tmp_path, monkeypatch, caplog, number):
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    files._warn_no_locks.cache_clear()
    fresh, stale = tmp_path / ".a.0123abcd.mmtk", tmp_path / ".a.4567abcd.mmtk"
    for path in (fresh, stale):
        path.write_bytes(b"half")
    os.utime(stale, (0, 0))
    with caplog.at_level(logging.WARNING, "mmtk"):
        for content in (b"1", b"2"):
            files.write_atomically(tmp_path / "a", lambda file, content=content: file.write(content), force=True)
    assert names(tmp_path) == [fresh.name, "a"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "cannot lock files" in caplog.text


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF])
def test_a_folder_that_cannot_be_synced_is_passed_over(tmp_path, monkeypatch, number):
    real = os.fsync

    def fsync(handle: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(number, os.strerror(number))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    files.write_atomically(tmp_path / "a", lambda file: file.write(b"1"), force=False)
    assert names(tmp_path) == ["a"]


def test_a_folder_is_replaced_whole(tmp_path):
    final = tmp_path / "a"
    for content in ("1", "2"):
        with files.writing(final, folder=True) as temporary:
            (temporary / content).write_text(content)
            files.publish_folder(temporary, final)
        assert names(final) == [content]
    assert names(tmp_path) == ["a"]


def test_many_threads_write_one_file(tmp_path):
    """Under the same process number, as in containers that share a folder."""
    final, errors = tmp_path / "a", []

    def write(content: bytes) -> None:
        try:
            for _ in range(20):
                files.write_atomically(final, lambda file: file.write(content), force=True)
        except BaseException as error:
            errors.append(error)

    contents = [bytes([65 + i]) * 100_000 for i in range(6)]
    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert final.read_bytes() in contents
    assert names(tmp_path) == ["a"]


def test_a_folder_is_held_by_one_process(tmp_path):
    code = "with files.holding(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(100)\n"
    other = holder(code, tmp_path / "work")
    try:
        with (
            pytest.raises(StoreError, match="in use by another process"),
            files.holding(tmp_path / "work"),
        ):
            pass
    finally:
        other.kill()
        other.wait()
    with files.holding(tmp_path / "work"):
        pass


# ------------------------------------------------------------------------------------- HDF5 on a disk that fails


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("call", ["pwrite", "ftruncate", "fsync", "posix_fallocate", "replace"])
def test_a_disk_that_fails_at_any_call_leaves_the_old_store(tmp_path, monkeypatch, number, call):
    path = write_small_store(tmp_path / "a.h5")
    before = path.read_bytes()
    write_small_store(tmp_path / "new.h5", seed=1)
    after = (tmp_path / "new.h5").read_bytes()
    (tmp_path / "new.h5").unlink()
    real, left = getattr(os, call), 0

    def fail(*arguments: object) -> object:
        nonlocal left
        left -= 1
        if left < 0:  # and from then on
            raise OSError(number, os.strerror(number))
        return real(*arguments)

    monkeypatch.setattr(os, call, fail)
    failures = 0
    while path.read_bytes() != after:
        assert failures < 200
        left = failures
        with suppress(StoreError):
            write_small_store(path, seed=1)
            break
        failures += 1
        assert names(tmp_path) == ["a.h5"]
        # the folder's sync comes after the new name
        assert path.read_bytes() == before or (call == "fsync" and path.read_bytes() == after)
    assert failures
    left = 10**6
    assert write_small_store(path, seed=1).read_bytes() == after


def test_hdf5_reads_back_what_the_disk_refused(tmp_path, monkeypatch):
    values = np.arange(100_000, dtype="i8")
    with (tmp_path / "a.h5").open("w+b") as raw:
        steady = _steady.DeferredErrorFile(raw.fileno())
        with h5py.File(steady, "w") as file:
            file["first"] = values
            file.flush()
            monkeypatch.setattr(os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
            file["second"] = values[::-1]
            file.flush()
            assert np.array_equal(file["second"][()], values[::-1])
            assert np.array_equal(file["first"][()], values)
        with pytest.raises(OSError, match="broken"):
            steady.check(tmp_path / "a.h5")


def test_a_compressed_copy_on_a_full_disk_is_one_line(tmp_path, monkeypatch):
    opened = store.open(write_small_store(tmp_path / "in" / "a.h5", (400, 60, 60), size=64))
    real, written = os.pwrite, 0

    def pwrite(handle: int, data: bytes, offset: int) -> int:
        nonlocal written
        written += len(data)
        if written > 300_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(handle, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    start = time.monotonic()
    with pytest.raises(StoreError, match="no space left on device"):
        store.compress(opened, tmp_path / "out", "gzip")
    assert names(tmp_path / "out") == []
    assert time.monotonic() - start < 60
