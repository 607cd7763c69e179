"""A program that runs a command: keeps its time and what it prints, and leaves nothing of it running.

It is a process of its own, of the standard library alone, between mmtk and the command. So it outlives an mmtk that is
killed, and then ends the command. It is small because a process inherits the memory peak of its parent. Its standard
input is a line of JSON, the order, and stays open as long as the command is wanted. On its standard output it writes a
line once the command runs, or could not be started, and one when it is over.
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

HEAD = TAIL = 1 << 20  # bytes of the output that are kept of its beginning and its end
_LEFT_OUT = b"\n[... left out ...]\n"
_POLL = 0.05  # seconds
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)


class Output:
    """A file that holds the first and the last part of what is written, whatever its length; it is whole at any time.

    Where the disk is full the rest is lost: that is no reason to stop a command. The file is locked as long as this
    process lives, so that the next attempt waits for a command that outlives an mmtk that was killed.
    """

    def __init__(self, path: str) -> None:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        self._file: IO[bytes] = open(handle, "r+b", buffering=0)  # noqa: SIM115 - as long as the process
        import fcntl  # which Windows lacks, though what imports this module runs there too

        with contextlib.suppress(OSError):  # a disk that cannot lock
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
        """Leave out what is neither of the first nor of the last part."""
        if self._size <= HEAD + len(_LEFT_OUT) + TAIL:
            return
        self._file.seek(-TAIL, os.SEEK_END)
        last = self._file.read(TAIL)
        self._file.seek(HEAD)
        self._file.write(_LEFT_OUT + last)
        self._file.truncate()
        self._size = HEAD + len(_LEFT_OUT) + len(last)


class Watch:
    """A command at work.

    Parameters
    ----------
    words : list of str
    seconds : float
        After which its process group is warned (SIGTERM).
    grace : float
        Seconds from a warning to the end (SIGKILL), of which no more than `hurry` pass where mmtk is gone.
    output : str
        Path of the file of what it prints.
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
        """Wait until it is over; report how it ended."""
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
        """Whether it ended; once it was warned its whole group has to, which may be saving what it has."""
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
        """Take some of what it printed; False if there is none now."""
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
        """Kill its group, and on Linux also those of its processes that left the group."""
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
    """Children of a process and their descendants, by Linux's /proc."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else []:
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat", "rb") as file:
                parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
    found = {of}
    for _ in parents:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        if not more:
            break
        found |= more
    return sorted(found - {of})


def _adopt_orphans() -> None:
    """On Linux become the parent of orphaned descendants, so that they can be found."""
    with contextlib.suppress(Exception):
        import ctypes

        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def _tell(**facts: Any) -> None:
    with contextlib.suppress(OSError):  # where nobody listens any more
        os.write(sys.stdout.fileno(), json.dumps(facts).encode() + b"\n")


def main() -> None:
    """Carry out the order on the standard input."""
    order = json.loads(sys.stdin.buffer.readline())
    if sys.platform == "linux":
        _adopt_orphans()
    try:
        watch = Watch(**order)
    except OSError as error:
        _tell(error=error.strerror or str(error), path=os.fsdecode(error.filename or ""))
        return
    _tell(pid=watch.child.pid)
    _tell(**watch.run())


if __name__ == "__main__":
    main()
