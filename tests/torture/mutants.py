"""Try mutants one after another in a child; what kills the child is put down to the mutant it was at."""

from __future__ import annotations

import json
import mmap
import os
import resource
import signal
import sys
import traceback
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator

from mmtk.errors import MmtkError
from tests.torture.children import run_child
from tests.torture.tally import ENDED, REFUSED, TRACEBACK, Tally

SECONDS = 20  # for one mutant
ROOM = 2 << 30  # bytes of address space beyond what the worker has: no small file needs them


@dataclass(frozen=True)
class Mutant:
    """What was done to a file, and a call that reads it and says what came of it."""

    told: str
    judge: Callable[[], str]


Attempt = Callable[[int, Generator], Mutant]
Prepare = Callable[[Path, Path], Attempt]  # from the inputs and an empty folder


class _Progress:
    """Which mutant a child is at, in memory that outlives it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 4096)

    def set(self, number: int, told: str) -> None:
        self._memory[:] = json.dumps([number, told[:1000]]).encode().ljust(4096, b"\n")

    def get(self) -> tuple[int, str]:
        number, told = json.loads(bytes(self._memory))
        return number, told


def try_mutants(name: str, prepare: Prepare, inputs: Path, work: Path, seed: int, numbers: range) -> Tally:
    """Try mutants of one kind, named ``section/kind``."""
    tally = Tally(name.partition("/")[0])
    at, progress, answers, prepared = numbers.start, _Progress(), work / "answers", work / "prepared"
    while at < numbers.stop:
        rest = range(at, numbers.stop)
        progress.set(at, "")
        answers.write_bytes(b"")

        def action(rest: range = rest) -> int:
            signal.alarm(3 * SECONDS)  # without a handler: ends also what hangs in C
            _limit_room()
            os.fsync = _nothing  # nobody pulls the plug here
            attempt = prepare(inputs, work)
            prepared.touch()
            with answers.open("a", buffering=1) as file:
                for number in rest:
                    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), number])
                    signal.alarm(SECONDS)
                    progress.set(number, "")
                    json.dump([number, *_tried(attempt, number, rng, progress)], file)
                    file.write("\n")
            return 0

        end = run_child(action, 60 + SECONDS * len(rest))
        if not prepared.exists():
            raise RuntimeError(f"{name}: {end.text.strip()[-1000:]}")
        for line in answers.read_text().splitlines():
            number, verdict, told = json.loads(line)
            tally.tried += 1
            tally.note(verdict, f"{name}:{number}", told)
            at = number + 1
        if end.status == 0 and not end.hung:
            break
        number, told = progress.get()
        how = "hang" if end.hung or end.status == -signal.SIGALRM else f"ended by {end.status}"
        tally.tried += 1
        tally.note(ENDED, f"{name}:{number}", f"{how}: {told}: {end.text.strip()[-200:]}")
        at = number + 1
    return tally


def _nothing(fd: object) -> None:
    pass


def _limit_room() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))
    sys.setrecursionlimit(1000)


def _tried(attempt: Attempt, number: int, rng: Generator, progress: _Progress) -> tuple[str, str]:
    """The verdict on one mutant, and what was done to it."""
    try:
        mutant = attempt(number, rng)
    except Exception as error:  # HDF5 itself will not make it
        return "not made", f"{type(error).__name__}: {error}"
    progress.set(number, mutant.told)
    try:
        return mutant.judge(), mutant.told
    except MmtkError as error:
        if "\n" in str(error):
            return TRACEBACK, f"an error of several lines: {mutant.told}"
        return REFUSED, mutant.told
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{type(error).__name__} in {Path(last.filename).name} {last.name}"
        return TRACEBACK, f"{where}: {error}: {mutant.told}".replace("\n", " ")
