"""What was tried and what came of it, added up and printed."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

# verdicts on a mutant that are as they should be
REFUSED, REPORTED, SAME, READ = "refused", "reported", "the same", "read"
# those that are not; the later ones are of faults
SILENT, TRACEBACK, ENDED, LOST, LEFT, UNTOLD = "silent", "traceback", "crash or hang", "lost", "left over", "untold"
FAILURES = (SILENT, TRACEBACK, ENDED, LOST, LEFT, UNTOLD)
_OF_MUTANTS, _OF_FAULTS = (SILENT, TRACEBACK, ENDED), (LOST, LEFT, UNTOLD, ENDED)
_SHOWN, _LINES = 2, 12  # failures that show in the same way and are printed; of a verdict in all


@dataclass
class Failure:
    """One thing that went wrong, and the argument of ``--again`` that shows it again."""

    verdict: str
    again: str
    detail: str


@dataclass
class Tally:
    """Verdicts of a section: a kind of file, or a command."""

    section: str
    faults: bool = False
    tried: int = 0
    seconds: float = 0.0
    verdicts: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)

    def note(self, verdict: str, again: str, detail: str) -> None:
        """Count a verdict; one that should not be is kept with what shows it again."""
        self.verdicts[verdict] += 1
        if verdict in FAILURES:
            self.failures.append(Failure(verdict, again, detail))

    def add(self, other: Tally) -> None:
        """Take over what another tally of this section has counted."""
        self.tried += other.tried
        self.seconds += other.seconds
        self.verdicts.update(other.verdicts)
        self.failures += other.failures

    def to_json(self) -> dict[str, Any]:
        failures = [asdict(failure) for failure in self.failures]
        return {**vars(self), "verdicts": dict(self.verdicts), "failures": failures}

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> Tally:
        failures = [Failure(**failure) for failure in facts["failures"]]
        return cls(**{**facts, "verdicts": Counter(facts["verdicts"]), "failures": failures})

    def line(self) -> str:
        """``stores: 6,000 mutants, 0 silent, 0 tracebacks (refused 4,000, ...)``."""
        counted = "faults and kills" if self.faults else "mutants"
        parts = [f"{self.tried:,} {counted}"]
        for verdict in _OF_FAULTS if self.faults else _OF_MUTANTS:
            plural = "tracebacks" if verdict == TRACEBACK else "crashes or hangs" if verdict == ENDED else verdict
            parts.append(f"{self.verdicts[verdict]:,} {plural}")
        fine = ", ".join(f"{name} {n:,}" for name, n in sorted(self.verdicts.items()) if name not in FAILURES)
        return f"{self.section}: {', '.join(parts)}" + (f" ({fine}; {self.seconds:.0f} s)" if fine else "")

    def reproductions(self, seed: int) -> list[str]:
        """A line for each failure, the first few of each kind and of each way in which it shows."""
        lines = []
        seen: Counter[tuple[str, str]] = Counter()
        shown: Counter[str] = Counter()
        for failure in sorted(self.failures, key=lambda failure: (FAILURES.index(failure.verdict), failure.again)):
            kind = failure.verdict, re.sub(r"\d+", "N", failure.detail.partition(":")[0])
            seen[kind] += 1
            if seen[kind] <= _SHOWN and shown[failure.verdict] < _LINES:
                shown[failure.verdict] += 1
                again = f"python -m tests.torture --seed {seed} --again '{failure.again}'"
                lines.append(f"  {failure.verdict}: {failure.detail}\n    {again}")
        hidden = len(self.failures) - sum(shown.values())
        return [*lines, f"  and {hidden} more like these"] if hidden else lines


def merged(tallies: list[Tally]) -> list[Tally]:
    """One tally a section, in the order in which sections came first."""
    sections: dict[str, Tally] = {}
    for tally in tallies:
        sections.setdefault(tally.section, Tally(tally.section, tally.faults)).add(tally)
    return list(sections.values())
