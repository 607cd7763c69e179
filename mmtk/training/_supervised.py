"""Run a command under `_supervisor`, and report how it ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmtk.errors import MmtkError
from mmtk.training import _supervisor

_TICK = 0.2  # seconds
_PATIENCE = 30.0  # seconds more than it may take until a supervisor that hangs is ended itself


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes
    ----------
    status : int or None
        Exit code, or the number of the signal that ended it, below 0; None where nobody saw it.
    ended : {"by itself", "at the end of its budget", "interrupted"}
    seconds : float
    memory : int
        Peak of its largest process, in bytes.
    """

    status: int | None
    ended: str
    seconds: float
    memory: int

    @property
    def words(self) -> str:
        """Exit code or signal, in words."""
        if self.status is None:
            return "no exit code"
        if self.status >= 0:
            return f"exit code {self.status}"
        return _signal_name(-self.status) + (", as where memory runs out" if self.status == -signal.SIGKILL else "")

    def facts(self) -> dict[str, Any]:
        """Its fields as JSON values, a signal by its name."""
        code = self.status if self.status is not None and self.status >= 0 else None
        name = _signal_name(-self.status) if self.status is not None and self.status < 0 else None
        return {"exit_code": code, "signal": name, "memory": self.memory, "ended": self.ended}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of real time
        return f"signal {number}"


def run_supervised(
    what: str, words: list[str], folder: Path, env: Mapping[str, str], output: Path, *, seconds: float, grace: float,
    hurry: float, tick: Callable[[], object],
) -> Ended:
    """Run a command until it ends or its time is over; whatever ends this call, no process of it is left.

    Parameters
    ----------
    what : str
        Whose command it is, for errors.
    words : list of str
    folder : path
        In which it runs.
    env : mapping
    output : path
        File of what it prints; the first and the last MiB are kept.
    seconds, grace, hurry : float
        Until it is warned, from then to its end, and the same where this is interrupted.
    tick : callable
        Called again and again meanwhile.

    Raises
    ------
    MmtkError
        If it cannot be started, or what watches it was killed.
    """
    order = {"words": words, "seconds": seconds, "grace": grace, "hurry": min(hurry, grace), "output": str(output)}
    program = [sys.executable, "-I", "-S", _supervisor.__file__]
    with subprocess.Popen(
        program, cwd=folder, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as watch:
        assert watch.stdin is not None
        assert watch.stdout is not None
        try:
            with suppress(BrokenPipeError):
                watch.stdin.write(json.dumps(order).encode() + b"\n")
                watch.stdin.flush()
            while watch.returncode is None:
                with suppress(subprocess.TimeoutExpired):
                    watch.wait(_TICK)
                tick()
        finally:
            with suppress(BrokenPipeError):
                watch.stdin.close()
            _see_end(watch, grace)
            told = _read(watch.stdout.read())
    if error := told.get("error"):
        expected = "its output file" if told.get("path") == str(output) else f"the program {words[0]}"
        raise MmtkError(what, expected=expected, found=error)
    if "ended" not in told:
        _kill(told.get("pid"))
        raise MmtkError(what, expected="its command to end", found="what watched it was killed")
    return Ended(told["status"], told["ended"], told["seconds"], told["memory"])


def _see_end(watch: subprocess.Popen[bytes], grace: float) -> None:
    try:
        watch.wait(grace + _PATIENCE)
    except subprocess.TimeoutExpired:
        watch.kill()
        watch.wait()


def _read(lines: bytes) -> dict[str, Any]:
    """What the supervisor wrote, in whole lines."""
    told: dict[str, Any] = {}
    for line in lines.splitlines():
        with suppress(ValueError):
            told |= json.loads(line)
    return told


def _kill(pid: int | None) -> None:
    if pid:
        with suppress(OSError):
            os.killpg(pid, signal.SIGKILL)
