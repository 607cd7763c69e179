"""Numba functions work without what is kept of them on disk, whatever became of it."""

from __future__ import annotations

import pytest

from tests.commands import run_python

MODULE = """
from numba import types
from mmtk.compiling import compiled

@compiled(types.int64(types.int64))
def add_one(x):
    return x + 1
"""
FULL = """
import errno
from numba.core import caching
from tests.commands import run_python
def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")
caching.IndexDataCacheFile.save = full
"""


@pytest.fixture
def call(tmp_path):
    """Import the module and call its function in a new process."""
    (tmp_path / "own.py").write_text(MODULE)

    def run(before="", **environment):
        code = f"{before}\nimport sys; sys.path.insert(0, {str(tmp_path)!r}); import own; print(own.add_one(3))"
        names = {"NUMBA_CACHE_DIR": tmp_path / "cache", **environment}
        assert run_python("-W", "error", "-c", code, env=names, code=0).stdout == "4\n"

    return run


DAMAGE = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "zeros": lambda content: bytes(len(content)),
}


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_damaged_machine_code_on_disk_is_done_without(call, tmp_path, suffix):
    call()
    (kept,) = (tmp_path / "cache").rglob(f"*{suffix}")
    whole = kept.read_bytes()
    for damage in DAMAGE.values():
        kept.write_bytes(damage(whole))
        call()


def test_a_cache_that_is_full_or_cannot_be_written_is_done_without(call, tmp_path):
    call(FULL)
    (tmp_path / "file").write_text("no folder")
    call(NUMBA_CACHE_DIR=str(tmp_path / "file"))
    call(NUMBA_CACHE_DIR="/proc/nowhere")
    call(NUMBA_CACHE_DIR=None, HOME=None)


def test_what_is_wrong_with_the_code_is_still_told():
    numba = pytest.importorskip("numba")
    from mmtk.compiling import compiled

    with pytest.raises(numba.TypingError):
        @compiled(numba.types.int64(numba.types.int64))
        def wrong(x):
            return x.nothing
