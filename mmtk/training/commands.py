"""Methods that are commands, of any tool: each is given a folder of images and labels and leaves its scores there.

docs/methods.md says what is in the folder and which scores count. The folder is kept until the run has a result, so
that a command can resume from what it saved there. Each attempt has the whole budget, and the seconds of all attempts
are what the run took. Scores of an interrupted attempt count, as its seconds do; those of an attempt that failed do
not, since the command may have been changed to mend it.
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
from mmtk.training._supervised import Ended, run_supervised
from mmtk.training.methods import NAME, Job, list_methods
from mmtk.values import read_toml_or_json, typed

GRACE, GRACE_SHARE = 10.0, 0.05  # from the warning to the end: so many seconds, or that share of the budget if more
_BEAT = 5.0  # seconds between records of how long a command has run
_LAST = 1 << 12  # bytes at the end of the output in which its last line is looked for
_LONGEST = 200  # characters of that line in an error
_HIDDEN = ("MMTK_STORES", "MMTK_SOURCES", "OLDPWD")  # environment variables that a command does not get
SCRIPTS = Path(__file__).parent / "scripts"


def method_of(text: str) -> Method:
    """The method described by ``NAME=WORDS``.

    Raises
    ------
    ArgumentError
        If it has no name of its own or no words.
    """
    name, sign, words = text.partition("=")
    if not sign:
        raise ArgumentError(f"method cmd:{text}", expected="cmd:NAME=WORDS", found="no =")
    return _method(f"method cmd:{name}", name, name, words, [Path()])


class _MethodFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    command: str | list[str]
    title: str = ""


def read_method(path: str | Path) -> Method:
    """The method described by a TOML file: ``name``, ``command`` as text or a list of words, optionally ``title``.

    Raises
    ------
    ArgumentError
        If it is not there or no TOML, a key is unknown or missing, or it has no name of its own or no words.
    OSError
        If the system cannot read it, though it is there.
    """
    path = Path(path)
    told = typed(path, read_toml_or_json(path, "a method as TOML"), _MethodFile)
    return _method(str(path), told.name, told.title or told.name, told.command, [path.parent, Path()])


def _method(what: str, name: str, title: str, command: str | list[str], places: list[Path]) -> Method:
    if not re.fullmatch(NAME, name):
        raise ArgumentError(what, expected="a name of letters, digits, ., _ and -", found=repr(name))
    if name in {method.name for method in list_methods()}:
        raise ArgumentError(what, expected="a name of its own", found=f"that of a method that is registered, {name}")
    if not (title.strip() and title.isprintable()):
        raise ArgumentError(what, expected="a title in one line", found=repr(title))
    try:
        given = shlex.split(command) if isinstance(command, str) else command
    except ValueError as error:
        raise ArgumentError(what, expected="words as a shell takes them", found=str(error)) from None
    if not (given and given[0]) or any("\0" in word for word in given):
        raise ArgumentError(what, expected="a command", found=repr(command))
    words = [_absolute(word, places, program=number == 0) for number, word in enumerate(given)]
    settings = {"name": name, "command": given, "words": words}
    return Method(name, title, f"{__name__}:run", settings=settings, facts={"method": name, "command": given})


def _absolute(word: str, places: list[Path], *, program: bool) -> str:
    """A word that names a file, as an absolute path; a program without a / is looked up in the PATH."""
    if program and "/" not in word:
        return word
    for place in places:
        path = place / word
        if os.path.isfile(path) or ("/" in word and os.path.exists(path)):  # both False for what is too long for a path
            return str(path.absolute())
    return word


def run(job: Job, *, name: str, command: list[str], words: list[str]) -> RunResult:
    """Run a command on the store of a job, and score what it leaves.

    Parameters
    ----------
    job : Job
    name : str
    command : list of str
        As the user gave it; a run with another one is another run.
    words : list of str
        What is started, with ``{folder}`` and ``{scripts}`` in it.

    Raises
    ------
    MmtkError
        If it cannot be started, ends in an error, or leaves no scores that fit; see also `Job.leave`.
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
        """Run it and read the scores that it left."""
        record: dict[str, Any] = {"ended": None}
        try:
            self._prepare()
            ended = self._run()
            record = {**ended.facts(), "command_seconds": ended.seconds}
            self._note(**record)
            self._check(ended)
            return read_scores(self.folder, self.job.store, self._how(ended))
        except (MmtkError, OSError) as error:
            with suppress(MmtkError, OSError):  # there may be no room for it
                self._note(**record, error=str(error))
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

    def _run(self) -> Ended:
        left = self.job.budget - self._spent()
        if left <= 0:
            found = f"all {self.job.budget:g} s spent on writing its images"
            raise MmtkError(self.what, expected="time to run", found=found, remedy="give a larger budget")
        write_task(self.folder, self.job, left)
        self._note(ended=None)
        return run_supervised(
            self.what, self.words, self.folder, _environment(self.folder), self.output, seconds=left,
            grace=max(GRACE, GRACE_SHARE * self.job.budget), hurry=GRACE, tick=self._tick,
        )

    def _spent(self) -> float:
        return time.perf_counter() - self.job.begun

    def _tick(self) -> None:
        self.job.progress(min(int(1000 * self._spent() / self.job.budget), 999), 1000)
        if time.perf_counter() - self.beat > _BEAT:
            with suppress(MmtkError, OSError):  # the run is as good without
                self._note(ended=None)

    def _note(self, **facts: Any) -> None:
        """Record its state, or how it ended, and the seconds of all attempts so far."""
        self.beat = time.perf_counter()
        write_record(self.out / COMMAND, {
            "words": self.words, **facts, "seconds": round(self.before + self._spent(), 3),
        })

    def _check(self, ended: Ended) -> None:
        """Refuse the scores of a command that failed by itself."""
        if ended.ended == "by itself" and ended.status != 0:
            found, remedy = self._how(ended), f"{self.output} has what it printed"
            raise MmtkError(self.what, expected="exit code 0", found=found, remedy=remedy)

    def _how(self, ended: Ended) -> str:
        """How it ended, for errors: in what way, when, and its last words."""
        last = _last_line(self.output)
        when = f"{ended.words} after {ended.seconds:.1f} s"
        if ended.ended != "by itself":
            when = f"the end of its budget of {self.job.budget:g} s, {ended.words}"
        return f"{when} ({last})" if last else when


def _environment(folder: Path) -> dict[str, str]:
    """The environment of a command: mmtk's, without what leads to stores, and with what it prints not held back."""
    kept = {name: value for name, value in os.environ.items() if name not in _HIDDEN}
    return {"PYTHONUNBUFFERED": "1", **kept, "PWD": str(folder)}


def _last_line(path: Path) -> str:
    """The last line of output that is not blank, made printable."""
    with suppress(OSError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _LAST))
        lines = re.split(r"[\r\n]+", file.read().decode("utf-8", "replace"))
        return one_line(next((line for line in reversed(lines) if line.strip()), ""), _LONGEST)
    return ""


def _clear(folder: Path) -> None:
    """Remove a command's folder, or what it put in its place."""
    if folder.is_symlink():
        folder.unlink()
    shutil.rmtree(folder, ignore_errors=True)
