"""The command line where nobody listens or something gives way: one line at most, and the right exit code."""

from __future__ import annotations

import errno
import gc
import io
import json
import os
import re
import subprocess
import sys

import pytest

from mmtk import cli
from mmtk.cli import _common, _streams, datasets
from tests import commands
from tests.commands import LIMIT

MMTK = f"{sys.executable} -m mmtk"
BUFFERING = ["", "PYTHONUNBUFFERED=1 "]


def shell(line, **environment):
    names = commands.environment(**{"PYTHONUNBUFFERED": None, **environment})
    done = subprocess.run(["bash", "-c", line.replace("mmtk", MMTK)], capture_output=True, env=names, timeout=LIMIT)
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    return done


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
@pytest.mark.parametrize(("command", "code"), [
    ("mmtk list", 0), ("mmtk list --json", 0), ("mmtk --help", 0), ("mmtk verify /nowhere.h5", 2), ("mmtk nosuch", 2),
])
def test_closed_streams_change_no_exit_code(command, code, closed):
    assert shell(f"{command} {closed}").returncode == code


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_what_is_opened_where_a_stream_was_closed_is_no_stream(closed, tmp_path):
    code = "from mmtk.cli import _streams; _streams.prepare(); f = open('own', 'wb'); assert f.fileno() > 2; " \
           "import sys; print('x'); print('x', file=sys.stderr); assert not _streams.is_terminal(sys.stderr)"
    line = ["bash", "-c", f'"{sys.executable}" -c "{code}" {closed}']
    done = subprocess.run(line, cwd=tmp_path, env=commands.environment(), capture_output=True, timeout=LIMIT)
    assert done.returncode == 0
    assert (tmp_path / "own").read_bytes() == b""


@pytest.mark.parametrize("before", BUFFERING)
@pytest.mark.parametrize("command", ["mmtk list", "mmtk list --json", "mmtk --help", "mmtk --version", "mmtk info -h"])
def test_a_full_disk_behind_standard_output_is_named(command, before):
    done = shell(f"{before}{command} >/dev/full")
    wanted = b"mmtk: error: standard output: No space left on device; free some space or choose another folder\n"
    assert (done.returncode, done.stderr) == (2, wanted)


@pytest.mark.parametrize("before", BUFFERING)
@pytest.mark.parametrize("command", ["mmtk list", "mmtk info breastmnist --json", "mmtk --help"])
def test_a_pipe_that_closes_ends_it_silently_and_not_as_a_finding(command, before):
    done = shell(f"{before}{command} | true; echo ${{PIPESTATUS[0]}}")
    assert (done.stdout, done.stderr) == (b"141\n", b"")


@pytest.mark.parametrize("target", ["2>/dev/full", "2>&-", "2> >(true)"])
def test_errors_that_nobody_can_read_keep_their_exit_code(target):
    assert shell(f"mmtk verify /nowhere.h5 {target}").returncode == 2
    assert shell(f"mmtk nosuch {target}").returncode == 2
    done = shell(f"mmtk phantom breastmnist --out $(mktemp -d) {target}")
    assert done.returncode == 0


@pytest.mark.parametrize("environment", [
    {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, {"LC_ALL": "C.UTF-8"},
    {"PYTHONIOENCODING": "latin-1"},
])
def test_paths_of_any_bytes_and_any_locale_can_be_printed(environment, tmp_path):
    name = os.fsencode(tmp_path) + b"/\xff\xc3\xa9.h5"
    for option in ("", "--json"):
        done = shell(f"mmtk verify {option} \"$NAME\"", NAME=os.fsdecode(name), **environment)
        assert done.returncode == 2
        assert b"no such file" in done.stderr
        if option:
            assert list(map(os.fsencode, json.loads(done.stdout))) == [name]
    assert shell("mmtk list", **environment).returncode == 0


def test_text_that_an_encoding_lacks_is_spelt_out_and_bytes_come_back():
    shown = "a\udcff\u00e9\u4e00".encode("latin-1", cli._streams._ESCAPE)
    assert shown == b"a\xff\xe9\\u4e00"
    assert "\udcff\u4e00".encode("utf-8", cli._streams._ESCAPE) == b"\xff\xe4\xb8\x80"


@pytest.mark.parametrize(
    ("error", "said", "code"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "mmtk list: Too many open files; close some files, or raise", 2),
        (OSError(errno.ENOSPC, "No space left on device", "/a/b"), "/a/b: No space left on device; free some space", 2),
        (OSError(errno.EACCES, "Permission denied", b"/a/\xff"), r"/a/\udcff: Permission denied; check its perm", 2),
        (OSError(errno.EXDEV, "Invalid link", "/a", None, "/b"), "/a and /b: Invalid link\n", 2),
        (OSError(errno.EIO, "Input/output error", 7), "mmtk list: Input/output error; check the disk", 2),
        (OSError("what it is"), "mmtk list: what it is\n", 2),
        (OSError(), "mmtk list: OSError\n", 2),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "mmtk list: Broken pipe", 2),
        (MemoryError(), "mmtk list: out of memory; free some", 2),
        (ImportError("libxcb.so.1: no shared object", name="cv2"),
         "mmtk list: cannot import cv2: libxcb.so.1: no shared object; pip install opencv-python-headless", 2),
        (ModuleNotFoundError("No module named 'h5py'", name="h5py"), "mmtk list: cannot import h5py: No module", 2),
        (RecursionError("maximum recursion depth exceeded"), "mmtk list: the input is nested too deeply", 2),
        (KeyboardInterrupt(), "interrupted\n", 130),
    ],
)
def test_errors_of_the_system_are_one_line_of_what_was_done_and_what_helps(error, said, code, monkeypatch):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr(datasets.list_command, "callback", fails)
    monkeypatch.setattr(sys, "argv", ["mmtk", "list"])
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(written, "utf-8", "backslashreplace", write_through=True))
    assert cli._run() == code
    shown = written.getvalue().decode()
    assert shown.startswith(f"mmtk: {'' if code == 130 else 'error: '}{said}")
    assert shown.count("\n") == 1


def test_a_bug_stays_visible(monkeypatch):
    def fails(*_, **__):
        raise KeyError("a bug")

    monkeypatch.setattr(datasets.list_command, "callback", fails)
    monkeypatch.setattr(sys, "argv", ["mmtk", "list"])
    with pytest.raises(KeyError, match="a bug"):
        cli._run()


def test_work_goes_on_where_its_progress_cannot_be_told(monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        with _common.progress_bar("work") as progress:
            for done in range(11):
                progress(done, 10)
        monkeypatch.setattr(sys, "stderr", None)
        with _common.progress_bar("work") as progress:
            progress(1, 1)
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())


def test_progress_is_told_at_each_tenth_in_numbers_or_as_a_share(capsys):
    with _common.progress_bar("work") as progress:
        for done in range(4):
            progress(done, 3)
    assert capsys.readouterr().err == "work: 0 of 3\nwork: 1 of 3\nwork: 2 of 3\nwork: 3 of 3\n"
    with _common.progress_bar("runs", share=True) as progress:
        for done in (0.05, 0.5, 0.51, 2):
            progress(done, 2, left=", soon", description="one")
    assert capsys.readouterr().err == "runs: 20 %, soon\nruns: 100 %, soon\n"


def test_a_terminal_shows_a_bar_that_a_share_leaves_no_trace_of(monkeypatch):
    for share, told in ((False, "work.*2/2"), (True, r"1/2 one.*50 %, soon")):
        screen = io.StringIO()
        monkeypatch.setattr(screen, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(sys, "stderr", screen)
        monkeypatch.setenv("TERM", "xterm")
        with _common.progress_bar("work", share) as progress:
            progress(*((1, 2) if share else (2, 2)), **({"left": ", soon", "description": "1/2 one"} if share else {}))
        monkeypatch.undo()
        plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())
        assert re.search(told, plain)
        assert ("\x1b[2K" in screen.getvalue().rpartition("\n")[2]) == share


def test_streams_that_nobody_else_keeps_stay_open(monkeypatch, tmp_path):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, (tmp_path / name).open("w"))
    _streams.prepare()
    gc.collect()
    print("told")
    print("warned", file=sys.stderr)
    for name in ("stdout", "stderr"):
        getattr(sys, name).flush()
    assert [(tmp_path / name).read_text() for name in ("stdout", "stderr")] == ["told\n", "warned\n"]
    for stream in (sys.stdout, sys.stderr, *_streams._wrapped[-2:]):
        stream.close()
