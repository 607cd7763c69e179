"""Commands of any tool as methods: a command gets a folder of images and labels and writes its scores there.

docs/methods.md describes the folder's content and which scores count. The folder is kept until the run has a result, so
that a command can resume from files it saved there. Each attempt has the full budget, and the run's time is the sum
over attempts. Scores of an interrupted attempt count, as does its time; those of a failed attempt do not, since the
command may have been changed to fix it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from numpy.typing import NDArray

from mmtk.base import one_line
from mmtk.errors import ArgumentError, MmtkError
from mmtk.runs import COMMAND, OUTPUT, WORK, Method, RunResult, read_record, write_record
from mmtk.training._exchange import read_scores, remove_scores, write_inputs, write_task
from mmtk.training._supervised import CommandExit, run_supervised
from mmtk.training.methods import NAME, Job, list_methods
from mmtk.values import read_toml_or_json, typed

GRACE, GRACE_SHARE = 10.0, 0.05  # from SIGTERM to SIGKILL: seconds, or a share of the budget if that is longer
_BEAT = 5.0  # seconds between records of how long a command has run
_LAST = 1 << 12  # bytes at the end of the output that are searched for its last line
_LONGEST = 200  # characters of that line in an error
_HIDDEN = ("MMTK_STORES", "MMTK_SOURCES", "OLDPWD")  # environment variables hidden from commands
SCRIPTS = Path(__file__).parent / "scripts"


def method_of(text: str) -> Method:
    """Return the method described by ``NAME=WORDS``.

    Raises
    ------
    ArgumentError
        If the name is taken or malformed, or there are no words.
    """
    name, sign, words = text.partition("=")
    if not sign:
        raise ArgumentError(f"method cmd:{text}", "there is no =", expected="cmd:NAME=WORDS")
    return _method(f"method cmd:{name}", name, name, words, [Path()])


class _MethodFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    command: str | list[str]
    title: str = ""


def read_method(path: str | Path) -> Method:
    """Read the method described by a TOML file: ``name``, ``command`` (text or a list of words), optional ``title``.

    Raises
    ------
    ArgumentError
        If the file does not exist or is not TOML, a key is unknown or missing, the name is taken or malformed, or there
        are no words.
    OSError
        If the file exists but the system cannot read it.
    """
    path = Path(path)
    file = typed(path, read_toml_or_json(path, "a method as TOML"), _MethodFile)
    return _method(str(path), file.name, file.title or file.name, file.command, [path.parent, Path()])


def _method(what: str, name: str, title: str, command: str | list[str], places: list[Path]) -> Method:
    if not re.fullmatch(NAME, name):
        raise ArgumentError(what, found=f"name {name!r}", expected="letters, digits, ., _ and -")
    if name in {method.name for method in list_methods()}:
        raise ArgumentError(what, f"the name {name} is taken by a registered method", remedy="choose another")
    if not (title.strip() and title.isprintable()):
        raise ArgumentError(what, found=f"title {title!r}", expected="one line of text")
    try:
        given = shlex.split(command) if isinstance(command, str) else command
    except ValueError as error:
        raise ArgumentError(what, f"its command cannot be split into words: {error}") from None
    if not (given and given[0]) or any("\0" in word for word in given):
        raise ArgumentError(what, found=f"command {command!r}", expected="a program and its arguments")
    words = [_absolute(word, places, program=number == 0) for number, word in enumerate(given)]
    settings = {"name": name, "command": given, "words": words}
    return Method(name, title, f"{__name__}:run", settings=settings, facts={"method": name, "command": given})


def _absolute(word: str, places: list[Path], *, program: bool) -> str:
    """Make a word that names a file an absolute path; a program without a / is looked up in the PATH."""
    if program and "/" not in word:
        return word
    for place in places:
        path = place / word
        if os.path.isfile(path) or ("/" in word and os.path.exists(path)):  # both are False for a word that is too long
            return str(path.absolute())
    return word


def run(job: Job, *, name: str, command: list[str], words: list[str]) -> RunResult:
    """Run a command on the store of a job, and score its output.

    Parameters
    ----------
    job : Job
    name : str
    command : list of str
        As the user gave it; part of the run's configuration.
    words : list of str
        What is started, with placeholders ``{folder}`` and ``{scripts}``.

    Raises
    ------
    MmtkError
        If the command cannot be started, fails, or writes no valid scores; see also `Job.leave`.
    """
    before = _seconds_before(job.out)
    counted = replace(job, begun=job.begun - before)
    result = counted.leave({"method": name, "command": command}, lambda: _Attempt(job, name, words, before).scores())
    _clear(job.out / WORK)
    return result


def _seconds_before(out: Path) -> float:
    """Seconds that earlier attempts took."""
    with suppress(MmtkError, OSError, TypeError, ValueError):
        return max(0.0, float(read_record(out / COMMAND)["seconds"]))
    return 0.0


class _Attempt:
    """One attempt of a command at a job."""

    def __init__(self, job: Job, name: str, words: list[str], before: float) -> None:
        self.job, self.what, self.before = job, f"method {name}", before
        self.out = job.out.absolute()
        self.folder, self.output = self.out / WORK, self.out / OUTPUT
        given = [word.replace("{folder}", str(self.folder)).replace("{scripts}", str(SCRIPTS)) for word in words]
        self.words = given if any("{folder}" in word for word in words) else [*given, str(self.folder)]
        self.beat = time.perf_counter()

    def scores(self) -> dict[str, NDArray[Any]]:
        """Run it and read the scores that it wrote."""
        record: dict[str, Any] = {"ended": None}
        try:
            self._prepare()
            end = self._run()
            record = {**end.facts(), "command_seconds": end.seconds}
            self._record(**record)
            self._check(end)
            return read_scores(self.folder, self.job.store, self._describe(end))
        except (MmtkError, OSError) as error:
            with suppress(MmtkError, OSError):  # there may be no space for it
                self._record(**record, error=str(error))
            raise

    def _prepare(self) -> None:
        if self.folder.is_symlink():
            self.folder.unlink()
        self.folder.mkdir(parents=True, exist_ok=True)
        failed = True
        with suppress(MmtkError, OSError):
            failed = "error" in read_record(self.out / COMMAND)
        if failed:
            remove_scores(self.folder)
        write_inputs(self.folder, self.job.store)

    def _run(self) -> CommandExit:
        left = self.job.budget - self._spent()
        if left <= 0:
            problem = f"writing its images took the whole budget of {self.job.budget:g} s"
            raise MmtkError(self.what, problem, remedy="increase the budget")
        write_task(self.folder, self.job, left)
        self._record(ended=None)
        return run_supervised(
            self.what, self.words, self.folder, _environment(self.folder), self.output, seconds=left,
            grace=max(GRACE, GRACE_SHARE * self.job.budget), hurry=GRACE, tick=self._tick,
        )

    def _spent(self) -> float:
        return time.perf_counter() - self.job.begun

    def _tick(self) -> None:
        self.job.progress(min(int(1000 * self._spent() / self.job.budget), 999), 1000)
        if time.perf_counter() - self.beat > _BEAT:
            with suppress(MmtkError, OSError):  # the run is valid without it
                self._record(ended=None)

    def _record(self, **facts: Any) -> None:
        """Save its state, or how it ended, and the seconds of all attempts so far."""
        self.beat = time.perf_counter()
        write_record(self.out / COMMAND, {
            "words": self.words, **facts, "seconds": round(self.before + self._spent(), 3),
        })

    def _check(self, end: CommandExit) -> None:
        """Raise if the command failed by itself."""
        if end.cause == "by itself" and end.status != 0:
            problem = f"its command failed: {self._describe(end)}"
            raise MmtkError(self.what, problem, remedy=f"see its output in {self.output}")

    def _describe(self, end: CommandExit) -> str:
        """How it ended, for errors: exit code or signal, time, and its last line of output."""
        last = _last_line(self.output)
        text = f"{end.describe()} after {end.seconds:.1f} s"
        if end.cause != "by itself":
            text = f"its budget of {self.job.budget:g} s ran out, {end.describe()}"
        return f"{text} ({last})" if last else text


def _environment(folder: Path) -> dict[str, str]:
    """The environment of a command: mmtk's, without variables that lead to stores, and with unbuffered output."""
    kept = {name: value for name, value in os.environ.items() if name not in _HIDDEN}
    return {"PYTHONUNBUFFERED": "1", **kept, "PWD": str(folder)}


def _last_line(path: Path) -> str:
    """The last output line that is not blank, made printable."""
    with suppress(OSError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _LAST))
        lines = re.split(r"[\r\n]+", file.read().decode("utf-8", "replace"))
        return one_line(next((line for line in reversed(lines) if line.strip()), ""), _LONGEST)
    return ""


def _clear(folder: Path) -> None:
    """Remove a command's folder, or whatever it put in its place."""
    if folder.is_symlink():
        folder.unlink()
    shutil.rmtree(folder, ignore_errors=True)
