"""Run a command under `_supervisor` and report how it ended."""

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
_PATIENCE = 30.0  # additional seconds until a hanging supervisor is killed


@dataclass(frozen=True)
class CommandExit:
    """How a command ended.

    Attributes
    ----------
    status : int or None
        Exit code, or the negative number of the signal that ended it; None if unknown.
    cause : {"by itself", "at the end of its budget", "interrupted"}
    seconds : float
    memory : int
        Peak memory of its largest process, in bytes.
    """

    status: int | None
    cause: str
    seconds: float
    memory: int

    def describe(self) -> str:
        """Exit code or signal, in words."""
        if self.status is None:
            return "no exit code"
        if self.status >= 0:
            return f"exit code {self.status}"
        return _signal_name(-self.status) + (", possibly out of memory" if self.status == -signal.SIGKILL else "")

    def facts(self) -> dict[str, Any]:
        """Return its fields as JSON values, a signal by its name."""
        code = self.status if self.status is not None and self.status >= 0 else None
        name = _signal_name(-self.status) if self.status is not None and self.status < 0 else None
        return {"exit_code": code, "signal": name, "memory": self.memory, "ended": self.cause}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def run_supervised(
    what: str, words: list[str], folder: Path, env: Mapping[str, str], output: Path, *, seconds: float, grace: float,
    hurry: float, tick: Callable[[], object],
) -> CommandExit:
    """Run a command until it ends or its time is up; however this call ends, none of its processes keeps running.

    Parameters
    ----------
    what : str
        What the command belongs to, for errors.
    words : list of str
    folder : Path
        Working directory.
    env : mapping
    output : Path
        File for its output; the first and last MiB are kept.
    seconds, grace, hurry : float
        Seconds until SIGTERM, from SIGTERM to SIGKILL, and the latter if this call is interrupted.
    tick : callable
        Called repeatedly while the command runs.

    Raises
    ------
    MmtkError
        If the command cannot be started, or its supervisor was killed.
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
            _wait_for_end(watch, grace)
            report = _read(watch.stdout.read())
    if error := report.get("error"):
        failed = "its output file cannot be written" if report.get("path") == str(output) else (
            f"the program {words[0]} cannot be started"
        )
        raise MmtkError(what, f"{failed}: {error.lower()}")
    if "ended" not in report:
        _kill(report.get("pid"))
        raise MmtkError(what, "the process that supervises its command was killed")
    return CommandExit(report["status"], report["ended"], report["seconds"], report["memory"])


def _wait_for_end(watch: subprocess.Popen[bytes], grace: float) -> None:
    try:
        watch.wait(grace + _PATIENCE)
    except subprocess.TimeoutExpired:
        watch.kill()
        watch.wait()


def _read(lines: bytes) -> dict[str, Any]:
    """The supervisor's report: all complete lines of its output, merged."""
    report: dict[str, Any] = {}
    for line in lines.splitlines():
        with suppress(ValueError):
            report |= json.loads(line)
    return report


def _kill(pid: int | None) -> None:
    if pid:
        with suppress(OSError):
            os.killpg(pid, signal.SIGKILL)
