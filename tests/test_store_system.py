"""Stores on systems that give way: too little memory to map, no mapping at all, too many files, another process."""

from __future__ import annotations

import copy
import errno
import mmap
import os
import pickle
import re
import resource
import sys
from pathlib import Path

import numpy as np
import pytest

from mmtk import store
from mmtk.errors import StoreError
from mmtk.store import ChunkedImages, _content
from tests.commands import run_python
from tests.small_stores import write_small_store

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def path(tmp_path) -> Path:
    return write_small_store(tmp_path / "a.h5", (900, 6, 0), size=28)


def failing(monkeypatch, number: int, *, private_only: bool) -> None:
    real = mmap.mmap

    def fail(*arguments: object, **options: object) -> mmap.mmap:
        if "flags" in options or not private_only:
            raise OSError(number, os.strerror(number))
        return real(*arguments, **options)

    monkeypatch.setattr(_content.mmap, "mmap", fail)


def contents(opened: store.Store) -> list[np.ndarray]:
    return [np.array(array) for split in opened.splits for array in (split.images, split.labels, split.records)]


def test_without_memory_for_private_pages_the_mapping_is_read_only(path, monkeypatch):
    expected = contents(store.open(path))
    failing(monkeypatch, errno.ENOMEM, private_only=True)
    opened = store.open(path)
    assert not opened.train.images.flags.writeable
    assert all(map(np.array_equal, contents(opened), expected))


@pytest.mark.parametrize("number", [errno.ENODEV, errno.ENOTSUP])
def test_where_nothing_can_be_mapped_images_are_read_by_chunk(path, monkeypatch, number):
    expected = contents(store.open(path))
    failing(monkeypatch, number, private_only=False)
    opened = store.open(path)
    assert isinstance(opened.train.images, ChunkedImages)
    assert all(map(np.array_equal, contents(opened), expected))
    assert opened.content_digest() == opened.digest


@pytest.mark.parametrize("number", [errno.EIO, errno.EAGAIN, errno.EMFILE])
def test_other_errors_of_the_system_are_not_called_damage(path, monkeypatch, number):
    failing(monkeypatch, number, private_only=False)
    with pytest.raises(StoreError) as caught:
        store.open(path)
    assert f"cannot be read: {os.strerror(number).lower()}" in str(caught.value)
    assert "build" not in str(caught.value)


@LINUX
def test_a_mapping_takes_no_memory_in_advance(path):
    opened = store.open(path)
    maps = Path("/proc/self/smaps").read_text()
    about = maps[maps.index(str(path)) :]
    flags = re.search(r"^VmFlags: (.*)$", about, re.MULTILINE)
    assert flags
    assert {"wr", "nr"} <= set(flags[1].split())  # may be written, nothing reserved
    assert opened.train.images.size


@LINUX
def test_an_open_store_holds_one_descriptor(path):
    code = (
        "import os, sys\nfrom mmtk import store\nfirst = store.open(sys.argv[1])\n"
        "count = lambda: len(os.listdir('/proc/self/fd'))\nbefore = count()\n"
        "held = [store.open(sys.argv[1]) for _ in range(20)]\nprint(count() - before)\n"
    )
    done = run_python("-c", code, path, code=0)
    assert int(done.stdout) == 20


def test_too_many_open_files_are_told_as_such(path, tmp_path):
    code = (
        "import os, sys, resource\nfrom mmtk import store\nstore.open(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\nheld = []\n"
        "try:\n    while True: held.append(os.open(os.devnull, os.O_RDONLY))\nexcept OSError: pass\n"
        "for read in (store.open, store.verify):\n"
        "    try: read(sys.argv[1])\n    except Exception as error: print(error)\n"
    )
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] >= 64
    done = run_python("-c", code, path, code=0)
    line = f"{path}: cannot be read: too many open files; close some files, or raise the limit (ulimit -n)"
    assert done.stdout.splitlines() == [line, line]


@pytest.mark.parametrize("part", ["train", "val", "test", None])
def test_stores_and_splits_pickle_as_path_and_digest(path, monkeypatch, part):
    monkeypatch.chdir(path.parent)
    opened = store.open("a.h5")
    sent = opened if part is None else getattr(opened, part)
    packed = pickle.dumps(sent)
    assert len(packed) < 1000
    monkeypatch.chdir("/")
    for again in (pickle.loads(packed), copy.deepcopy(sent)):
        back = again.train if part is None else again
        assert np.array_equal(back.images, (opened.train if part is None else sent).images)
    write_small_store(path, (900, 6, 0), size=28, seed=1)
    with pytest.raises(StoreError, match="another store"):
        pickle.loads(packed)
