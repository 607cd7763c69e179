"""One fault after another in one command: how it ends, what lies there then, and what the same command makes of it."""

from __future__ import annotations

import hashlib
import re
import resource
import shutil
import sys
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from mmtk.cli import main as mmtk_main
from tests.torture.children import End, run_child
from tests.torture.commands import FIGURES, Command
from tests.torture.shim import KILLS, READS, WRITES, Shim
from tests.torture.tally import ENDED, LEFT, LOST, UNTOLD, Tally

Files = dict[str, str]  # path below the output -> digest, "folder" of one
_SPARED = "not kept"  # how a command tells of files that it can do without
_TOLD = "mmtk: error: "
# class of calls, what happens to the K-th, with which error; half of the runs kill
_WAYS = (
    ("write", "once", "ENOSPC"), ("write", "once", "EIO"), ("write", "onward", "ENOSPC"), ("write", "onward", "EIO"),
    ("write", "once", "EDQUOT"), ("write", "short", "EIO"), ("write", "short-onward", "ENOSPC"),
    ("write", "kill-before", "EIO"), ("write", "kill-before", "EIO"), ("write", "kill-after", "EIO"),
    ("write", "kill-torn", "EIO"), ("read", "once", "EIO"), ("read", "once", "EMFILE"), ("read", "onward", "EIO"),
    ("read", "short", "EIO"), ("read", "kill-before", "EIO"),
)
_EXTRA = ("fsize", "random")  # a limit to the size of a file; a kill after a share of the time


@dataclass(frozen=True)
class Fault:
    """What is done: to the `place`-th call of a class, or at a size or share of the time, in thousandths."""

    calls: str
    mode: str
    error: str
    place: int

    def __str__(self) -> str:
        return f"{self.calls}:{self.mode}:{self.error}:{self.place}"

    @classmethod
    def parse(cls, text: str) -> Fault:
        calls, mode, error, place = text.split(":")
        return cls(calls, mode, error, int(place))


class Bench:
    """A command with its inputs, an output that is made anew for every fault, and what it writes undisturbed."""

    def __init__(self, command: Command, inputs: Path, work: Path, url: str, shim: Shim) -> None:
        self.command, self.shim = command, shim
        self.root, self.out = inputs.parent, work / "out"
        self.before_folder = inputs / command.before if command.before else None
        result = next((inputs / "runs").rglob("*_test_*.csv"))
        known = {"in": inputs, "out": self.out, "url": url, "result": result}
        self.line = [word.format_map(known) for word in command.line.split()]
        self.reset()
        self.before = self.files()
        self.counts = {}
        for calls in ("write", "read"):
            self.reset()
            end = self.run(Fault(calls, "count", "EIO", 0))
            self.counts[calls] = shim.count
            if end.status != command.code or end.hung:
                raise RuntimeError(f"{' '.join(self.line)}: ends by {end.status} undisturbed: {end.text[-2000:]}")
        self.seconds = end.seconds
        self.expected = self.files()
        self.largest = max((path.stat().st_size for path in self.out.rglob("*") if path.is_file()), default=0)

    def reset(self) -> None:
        """The output as it is before the command."""
        shutil.rmtree(self.out, ignore_errors=True)
        if self.before_folder:
            shutil.copytree(self.before_folder, self.out)
        else:
            self.out.mkdir()

    def files(self) -> Files:
        """All that lies in the output, hidden files too."""
        found = {}
        for path in self.out.rglob("*"):
            name = re.sub(FIGURES, "FIGURES", str(path.relative_to(self.out)))
            found[name] = hashlib.md5(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        return found

    def run(self, fault: Fault) -> End:
        """Run the command in a child, with a fault."""
        shim = self.shim
        shim.clear()

        def action() -> int:
            sys.argv = ["mmtk", *self.line]
            if fault.mode == "fsize":
                size = max(1, self.largest * fault.place // 1000)
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            mode = "count" if fault.mode in _EXTRA else fault.mode
            folder = self.out if fault.calls == "write" else self.root
            shim.arm(folder, WRITES if fault.calls == "write" else READS, mode, fault.place, fault.error)
            try:
                mmtk_main()
            except SystemExit as end:
                return end.code if isinstance(end.code, int) else 1 if end.code else 0
            return 0

        at = self.seconds * fault.place / 1000 if fault.mode == "random" else None
        return run_child(action, self.command.seconds, at)

    def plan(self, number: int, rng: np.random.Generator) -> list[Fault]:
        """So many faults, if there are calls enough: of each way as many, the K evenly over all calls."""
        share = max(1, -(-number // (len(_WAYS) + len(_EXTRA))))
        faults = [
            Fault(calls, mode, error, place)
            for calls, mode, error in _WAYS
            for place in _spread(self.counts[calls], share, rng)
        ]
        faults += [Fault("write", mode, "EIO", place) for mode in _EXTRA for place in _spread(999, share, rng)]
        faults = list(dict.fromkeys(faults))
        return [faults[chosen] for chosen in sorted(rng.permutation(len(faults))[:number])]

    def try_fault(self, fault: Fault, tally: Tally) -> None:
        """Give the command a fault, then run it undisturbed; note what is wrong."""
        self.reset()
        end = self.run(fault)
        killed = fault.mode in KILLS or fault.mode == "random"
        if fault.mode not in _EXTRA and not self.shim.fired:
            tally.verdicts["no such call"] += 1  # not every call can fall short or meets a full disk
            return
        tally.tried += 1
        told = f"at {self.shim.told}" if fault.mode not in _EXTRA else ""
        problems = [*self._of_end(end, killed), *self._of_files(end)]
        if not problems:
            problems = list(self._of_rerun())
        again = f"{self.command.name}:{fault}"
        if not problems:
            tally.note("killed" if killed and end.status == -9 else f"exit {end.status}", again, "")
        for verdict, what in dict(problems).items():
            tally.note(verdict, again, f"{what} ({self.command.name} {fault} {told})")

    def _of_end(self, end: End, killed: bool) -> list[tuple[str, str]]:
        if end.hung:
            return [(ENDED, "hangs")]
        if end.status == -9 and killed:
            return []
        if end.status not in (0, 1, 2):
            return [(ENDED, f"ends by {end.status}: {_gist(end.text)}")]
        if "Traceback" in end.text:
            return [(UNTOLD, f"traceback of {_gist(end.text)}")]
        lines = [line for line in end.text.splitlines() if line.startswith(_TOLD)]
        excused = self.command.section == "decathlon" and end.status == 1  # says it on the run's line
        if end.status != self.command.code and len(lines) != 1 and not excused:
            return [(UNTOLD, f"exit {end.status} with {len(lines)} lines of error: {end.text.strip()[-300:]!r}")]
        return []

    def _of_files(self, end: End) -> list[tuple[str, str]]:
        """What lies under its final name has the undisturbed bytes, or those of before; after success all is there."""
        found, problems = self.files(), []
        for name, digest in found.items():
            if self._is_hidden(name) or self._is_unsteady(name) or digest == "folder":
                continue
            final = {files[name] for files in (self.expected, self.before) if name in files}
            if final and digest not in final:
                problems.append((LOST, f"other bytes: {name}"))
        problems += [
            (LOST, f"gone: {name}") for name in self.before if name not in found and name in self.expected
        ]
        for whole in self.command.whole:
            inside = {name for name in self.expected if Path(name).parts[0] == whole}
            if whole in found and inside - found.keys():
                problems.append((LOST, f"folder in part: {whole}"))
        if end.status == self.command.code:
            spared = self.command.optional if _SPARED in end.text else ()
            problems += [
                (LOST, f"success without: {name}") for name in self.expected
                if name not in found and not any(fnmatch(name, pattern) for pattern in spared)
            ]
            problems += [
                (LOST, f"success with other bytes: {name}") for name, digest in self.expected.items()
                if name in found and digest != found[name] and not self._is_unsteady(name)
            ]
        return problems

    def _of_rerun(self) -> list[tuple[str, str]]:
        """The same command again gives all, and leaves nothing else there."""
        end = self.run(Fault("write", "count", "EIO", 0))
        if end.status != self.command.code or end.hung:
            return [(LOST, f"given again, ends by {end.status}: {_gist(end.text)}")]
        found = self.files()
        problems = [(LEFT, f"left: {_general(name)}") for name in found if name not in self.expected]
        for name, digest in self.expected.items():
            if name not in found:
                problems.append((LOST, f"given again, nothing: {name}"))
            elif found[name] != digest and not self._is_unsteady(name):
                problems.append((LOST, f"given again, other bytes: {name}"))
        return problems

    def _is_hidden(self, name: str) -> bool:
        return any(part.startswith(".") for part in Path(name).parts)

    def _is_unsteady(self, name: str) -> bool:
        return any(fnmatch(name, pattern) for pattern in self.command.unsteady)


def _spread(last: int, share: int, rng: np.random.Generator) -> list[int]:
    """At most `share` of the places 1 to `last`, evenly, beginning somewhere in the first step."""
    if last <= share:
        return list(range(1, last + 1))
    step = last / share
    start = rng.random() * step
    return [1 + int(start + number * step) for number in range(share) if start + number * step < last]


def _gist(text: str) -> str:
    """The error that a text ends with, and the last place in mmtk of its traceback."""
    _, _, last = text.rpartition("Traceback (most recent call last)")
    places = re.findall(r'File "[^"]*/(mmtk/[^"]+)", line \d+, in (\w+)', last)
    where = " in {} {}".format(*places[-1]) if places else ""
    error = re.search(r"^(\w+(?:\.\w+)*(?:Error|Exception|Interrupt|Warning)\b.*)$", last, re.MULTILINE)
    lines = text.strip().splitlines()
    kind, _, message = (error[1] if error else lines[-1] if lines else "nothing").partition(":")
    return f"{kind}{where}: {message[:160]}"


def _general(name: str) -> str:
    return re.sub(r"\d{3,}", "N", name)
