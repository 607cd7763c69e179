"""A program that runs a command within a time limit, captures its output, and leaves none of its processes running.

It is a separate process between mmtk and the command, so it outlives mmtk if that is killed, and then ends the command.
It uses only the standard library and stays small, because a process inherits its parent's memory peak. Its standard
input is a line of JSON, the order, and stays open as long as the command should run. It writes one line to its standard
output when the command has started or could not be started, and one when it has ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from typing import IO, Any

HEAD = TAIL = 1 << 20  # bytes kept of the beginning and end of the output
_LEFT_OUT = b"\n[... left out ...]\n"
_POLL = 0.05  # seconds
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)


class Output:
    """A file that keeps the first and last part of the output, however long; it is readable at any time.

    If the disk is full the rest is lost, which is no reason to stop the command. The file stays locked as long as this
    process lives, so that the next attempt waits for a command that outlives a killed mmtk.
    """

    def __init__(self, path: str) -> None:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        self._file: IO[bytes] = open(handle, "r+b", buffering=0)  # noqa: SIM115 - as long as the process
        import fcntl  # which Windows lacks; modules that import this one should load there

        with contextlib.suppress(OSError):  # the file system has no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        self._file.truncate(0)
        self._size = 0

    def write(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self._file.write(data)
            self._size += len(data)
            if self._size > HEAD + 2 * TAIL:
                self.trim()

    def trim(self) -> None:
        """Remove everything between the first and the last part."""
        if self._size <= HEAD + len(_LEFT_OUT) + TAIL:
            return
        self._file.seek(-TAIL, os.SEEK_END)
        last = self._file.read(TAIL)
        self._file.seek(HEAD)
        self._file.write(_LEFT_OUT + last)
        self._file.truncate()
        self._size = HEAD + len(_LEFT_OUT) + len(last)


class Watch:
    """A running command.

    Parameters
    ----------
    words : list of str
    seconds : float
        Until SIGTERM to its process group.
    grace : float
        Seconds from SIGTERM to SIGKILL.
    hurry : float
        The same if mmtk has ended.
    output : str
        Path of the output file.
    """

    def __init__(self, words: list[str], seconds: float, grace: float, hurry: float, output: str) -> None:
        self.output = Output(output)
        self.pipe, write = os.pipe()
        os.set_blocking(self.pipe, False)
        self.begun = time.monotonic()
        self.child = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=write, stderr=write, start_new_session=True
        )
        os.close(write)
        self.grace, self.hurry = grace, hurry
        self.warn_at, self.end_at = self.begun + seconds, float("inf")
        self.status: int | None = None
        self.memory = 0
        self.ended = "by itself"

    def run(self) -> dict[str, Any]:
        """Wait until it has ended; report how."""
        sources = [sys.stdin.fileno(), self.pipe]
        while not self._is_over():
            ready, _, _ = select.select(sources, [], [], _POLL)
            if self.pipe in ready and not self._take():
                sources.remove(self.pipe)
            if sys.stdin.fileno() in ready:
                sources.remove(sys.stdin.fileno())
                self._warn("interrupted", self.hurry)
            self._reap()
            now = time.monotonic()
            if self.status is None and now >= self.warn_at:
                self._warn("at the end of its budget", self.grace)
            if now >= self.end_at:
                break
        seconds = time.monotonic() - self.begun
        self._end_all()
        for _ in range(1024):  # a pipe holds less
            if not self._take():
                break
        with contextlib.suppress(OSError):
            self.output.trim()
        return {"status": self.status, "ended": self.ended, "seconds": round(seconds, 3), "memory": self.memory}

    def _is_over(self) -> bool:
        """Whether it has ended; after SIGTERM, whether its whole group has, which may still be saving results."""
        if self.status is None:
            return False
        return self.ended == "by itself" or not self._signal(0)

    def _warn(self, why: str, grace: float) -> None:
        if self.ended == "by itself":
            self.ended = why
            self._signal(signal.SIGTERM)
        self.warn_at, self.end_at = float("inf"), min(self.end_at, time.monotonic() + grace)

    def _signal(self, number: int) -> bool:
        """Send a signal to its group; False if there is none."""
        try:
            os.killpg(self.child.pid, number)
        except OSError:
            return False
        return True

    def _take(self) -> bool:
        """Copy some of its output; False if there is none at the moment."""
        try:
            data = os.read(self.pipe, 1 << 16)
        except BlockingIOError:
            return False
        self.output.write(data)
        return bool(data)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if not pid:
                    return
                if pid == self.child.pid:
                    self.status = self.child.returncode = os.waitstatus_to_exitcode(status)
                unit = 1 if sys.platform == "darwin" else 1024
                self.memory = max(self.memory, unit * usage.ru_maxrss)

    def _end_all(self) -> None:
        """Kill its group, and on Linux also its processes that left the group."""
        self._signal(signal.SIGKILL)
        for _ in range(100):
            self._reap()
            rest = _descendants(os.getpid())
            if self.status is not None and not rest:
                return
            for pid in rest:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)


def _descendants(of: int) -> list[int]:
    """Descendants of a process, from Linux's /proc."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else []:
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat", "rb") as file:
                parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
    family = {of}
    for _ in parents:
        more = {pid for pid, parent in parents.items() if parent in family} - family
        if not more:
            break
        family |= more
    return sorted(family - {of})


def _adopt_orphans() -> None:
    """On Linux, become the parent of orphaned descendants, so that they can be found."""
    with contextlib.suppress(Exception):
        import ctypes

        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def _report(**facts: Any) -> None:
    with contextlib.suppress(OSError):  # nobody reads it any more
        os.write(sys.stdout.fileno(), json.dumps(facts).encode() + b"\n")


def main() -> None:
    """Carry out the order on standard input."""
    order = json.loads(sys.stdin.buffer.readline())
    if sys.platform == "linux":
        _adopt_orphans()
    try:
        watch = Watch(**order)
    except OSError as error:
        _report(error=error.strerror or str(error), path=os.fsdecode(error.filename or ""))
        return
    _report(pid=watch.child.pid)
    _report(**watch.run())


if __name__ == "__main__":
    main()
