"""Children: what a worker forks, watches and, if it hangs, ends."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class End:
    """How a child ended: its exit status (negative a signal), what it wrote, whether it was ended as too slow."""

    status: int
    text: str
    hung: bool
    seconds: float


def run_child(action: Callable[[], int], most: float, kill_after: float | None = None) -> End:
    """Fork a child that does `action` and exits with its answer.

    Parameters
    ----------
    action : callable
    most : float
        Seconds after which it hangs and is killed.
    kill_after : float, optional
        Seconds after which it is killed on purpose.
    """
    reading, writing = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if not child:
        os.close(reading)
        _become(action, writing)
    os.close(writing)
    text, hung = bytearray(), False
    until = started + (most if kill_after is None else kill_after)
    while True:
        left = until - time.monotonic()
        if left <= 0:
            hung = kill_after is None
            os.kill(child, signal.SIGKILL)
            break
        if select.select([reading], [], [], left)[0]:
            if not (more := os.read(reading, 1 << 16)):
                break
            text += more
    os.close(reading)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what it may have started
    return End(status, text.decode(errors="replace"), hung, time.monotonic() - started)


def _become(action: Callable[[], int], writing: int) -> None:
    """Be the child: never returns."""
    code = 70
    try:
        os.setpgid(0, 0)
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        os.close(writing)
        with contextlib.suppress(OSError):
            os.close(0)
        sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        code = action()
        threading._shutdown()  # type: ignore[attr-defined]  # as the interpreter ends pools and waits for threads
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        os._exit(code)
