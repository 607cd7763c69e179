"""Commands and checks with known faults, for the harness to find: ``python -m tests.torture.planted NAME``.

Prints the verdicts on one of them as JSON. `test_torture` runs it in a process of its own, with the shim preloaded.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mmtk import store
from tests.small_stores import write_small_store
from tests.torture import faults
from tests.torture.commands import Command
from tests.torture.kinds import MUTANTS
from tests.torture.mutants import Attempt, Mutant, try_mutants
from tests.torture.shim import Shim
from tests.torture.stores import make_stores
from tests.torture.tally import SAME, Tally

_CONTENT = bytes(range(256)) * 64


def _written(temporary: Path, final: Path) -> None:
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    data = memoryview(_CONTENT)
    while data:
        data = data[os.write(file, data) :]
    os.close(file)
    os.rename(temporary, final)


def _said(error: OSError) -> None:
    print(f"mmtk: error: {error}", file=sys.stderr)
    sys.exit(2)


def sound(final: Path) -> None:
    """Writes under a fixed hidden name, which the next run takes again."""
    try:
        _written(final.with_name(".a"), final)
    except OSError as error:
        _said(error)


def in_place(final: Path) -> None:
    """Writes under the final name."""
    try:
        _written(final, final)
    except OSError as error:
        _said(error)


def leaving(final: Path) -> None:
    """Writes under a name that no other run knows."""
    try:
        _written(final.with_name(f".a.{os.getpid()}"), final)
    except OSError as error:
        _said(error)


def mute(final: Path) -> None:
    """Says nothing and exits as if all were well."""
    try:
        _written(final.with_name(".a"), final)
    except OSError:
        sys.exit(0)


def crude(final: Path) -> None:
    """Lets every error through."""
    _written(final.with_name(".a"), final)


def crashing(final: Path) -> None:
    """Ends by a signal."""
    try:
        _written(final.with_name(".a"), final)
    except OSError:
        os.kill(os.getpid(), signal.SIGSEGV)


COMMANDS: dict[str, Callable[[Path], None]] = {
    command.__name__.replace("_", "-"): command for command in (sound, in_place, leaving, mute, crude, crashing)
}


def _faulted(name: str, folder: Path) -> Tally:
    inputs, work = folder / "inputs", folder / "work"
    (inputs / "runs").mkdir(parents=True)
    (inputs / "runs" / "a_test_a.csv").touch()
    work.mkdir()
    faults.mmtk_main = lambda: COMMANDS[name](work / "out" / "a")  # type: ignore[attr-defined]
    bench = faults.Bench(Command(f"planted/{name}", name), inputs, work, "", Shim())
    tally = Tally("planted", faults=True)
    for fault in bench.plan(200, np.random.default_rng(0)):
        if fault.mode != "random":
            bench.try_fault(fault, tally)
    return tally


def _blind(folder: Path) -> Tally:
    """Stores, where `verify` and the content's digest see nothing."""
    store.verify = lambda path: []  # type: ignore[assignment,misc]
    (folder / "kinds").mkdir()
    make_stores(folder / "kinds")
    return try_mutants("stores/bytes-grey", MUTANTS["stores/bytes-grey"][1], folder, folder, 0, range(300))


def _failing(folder: Path) -> Tally:
    """Mutants that crash, hang, take all memory or raise, among some that do nothing."""

    def end() -> str:
        os.kill(os.getpid(), signal.SIGSEGV)
        return SAME

    def spin() -> str:
        signal.alarm(1)
        while True:
            pass

    def hoard() -> str:
        return str(bytearray(1 << 40))

    def stumble() -> str:
        raise KeyError("planted")

    deeds: tuple[Callable[[], str], ...] = (lambda: SAME, end, spin, hoard, stumble)

    def prepare(inputs: Path, work: Path) -> Attempt:
        write_small_store(work / "a.h5")
        return lambda number, rng: Mutant("planted", deeds[number % len(deeds)])

    return try_mutants("planted/mutants", prepare, folder, folder, 0, range(10))


def main() -> None:
    """Take the name of what is planted."""
    name = sys.argv[1]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        others = {"blind": _blind, "failing": _failing}
        tally = others[name](folder) if name in others else _faulted(name, folder)
    print(json.dumps(tally.to_json()))


if __name__ == "__main__":
    main()
