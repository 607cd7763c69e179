"""``python -m tests.torture``: try all, print a table, exit 1 if anything failed."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.torture import shim
from tests.torture.commands import COMMANDS
from tests.torture.kinds import MUTANTS
from tests.torture.tally import ENDED, Tally, merged

_MINUTES = 8.0  # what --minutes is if it is not given: about so long on two cores
_MUTANTS, _FAULTS = 24_000, 1_900  # in so many minutes
_SHORT_MUTANTS, _SHORT_FAULTS = 3_000, 110
_BATCH, _PARTS = 500, 40  # mutants and faults in a job

Job = dict[str, Any]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def _served(folder: Path) -> str:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


class _Worker:
    """A process that does jobs; a new one is started if it ends."""

    def __init__(self, library: Path | None, heavy: bool) -> None:
        self._command = [sys.executable, "-m", "tests.torture.worker", *(["--heavy"] if heavy else [])]
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        self._environment = {**os.environ, **dict.fromkeys(names, "1"), "NO_PROXY": "127.0.0.1", "COLUMNS": "120"}
        if library is not None:
            self._environment["LD_PRELOAD"] = str(library)
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self._environment
        )

    def do(self, job: Job) -> Tally:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = ""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": f"{job['name']}: its worker ended"}
        if not line:
            self._process.wait()
            self._start()
        if "error" not in answer:
            return Tally.from_json(answer)
        tally = Tally(job["name"].partition("/")[0], job["kind"] == "faults")
        tally.note(ENDED, job["name"], answer["error"])
        return tally

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def plan(mutants: int, faults: int, only: Iterable[str] = ("",), *, short: bool = False) -> list[Job]:
    """The jobs of a run; those that take longest come first."""
    jobs: list[Job] = []
    commands = [command for command in COMMANDS.values() if not (short and command.heavy)]
    total = sum(command.share for command in commands)
    for command in sorted(commands, key=lambda command: -command.seconds):
        number = max(1, round(faults * command.share / total))
        parts = max(1, number // (8 if command.heavy else _PARTS))
        jobs += [
            {"kind": "faults", "name": command.name, "number": number, "part": part, "parts": parts}
            for part in range(parts) if faults
        ]
    shares = sum(share for share, _ in MUTANTS.values())
    for name, (share, _) in MUTANTS.items():
        number = max(1, round(mutants * share / shares))
        jobs += [
            {"kind": "mutants", "name": name, "start": start, "stop": min(start + _BATCH, number)}
            for start in range(0, number, _BATCH)
        ]
    return [job for job in jobs if job["name"].startswith(tuple(only))]


def again(what: str) -> list[Job]:
    """The one job of a reproduction line: ``stores/bytes-grey:17`` or ``build/plain:write:once:EIO:12``."""
    name, _, rest = what.partition(":")
    if name in COMMANDS:
        return [{"kind": "faults", "name": name, "fault": rest}]
    if name in MUTANTS:
        return [{"kind": "mutants", "name": name, "start": int(rest), "stop": int(rest) + 1}]
    raise SystemExit(f"--again: expected one of {', '.join((*COMMANDS, *MUTANTS))}, found {name}")


def run(jobs: list[Job], seed: int, workers: int) -> list[Tally]:
    """Do all jobs in workers; the inputs lie in a temporary folder meanwhile."""
    from tests.torture.inputs import make_inputs

    with tempfile.TemporaryDirectory(prefix="torture.") as temporary:
        folder = Path(temporary).resolve()
        inputs = folder / "inputs"
        inputs.mkdir()
        make_inputs(inputs)
        url = _served(inputs / "npz")
        library = shim.compiled(folder) if any(job["kind"] == "faults" for job in jobs) else None
        waiting: queue.SimpleQueue[tuple[int, Job]] = queue.SimpleQueue()
        for number, job in enumerate(jobs):
            place = {"inputs": str(inputs), "work": str(folder / "work" / str(number)), "url": url, "seed": seed}
            waiting.put((number, {**job, **place}))
        heavy = any(job["kind"] == "faults" and COMMANDS[job["name"]].heavy for job in jobs)
        done: dict[int, Tally] = {}

        def labour() -> None:
            worker = _Worker(library, heavy)
            try:
                while True:
                    number, job = waiting.get_nowait()
                    done[number] = worker.do(job)
            except queue.Empty:
                pass
            finally:
                worker.end()

        threads = [threading.Thread(target=labour) for _ in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return [done[number] for number in sorted(done)]


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="tests.torture", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    parser.add_argument("--minutes", type=float, default=_MINUTES, help="about so long, on two cores")
    parser.add_argument("--short", action="store_true", help="less than a minute")
    parser.add_argument("--only", action="append", help="sections or kinds that begin so; give it again for more")
    parser.add_argument("--again", help="what a reproduction line names")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args()
    start = time.monotonic()
    share = chosen.minutes / _MINUTES
    mutants, faults = (_SHORT_MUTANTS, _SHORT_FAULTS) if chosen.short else (
        round(_MUTANTS * share), round(_FAULTS * share)
    )
    reason = shim.why_not()
    jobs = again(chosen.again) if chosen.again else plan(
        mutants, 0 if reason else faults, chosen.only or ("",), short=chosen.short
    )
    tallies = merged(run(jobs, chosen.seed, 1 if chosen.again else chosen.workers))
    tallies.sort(key=lambda tally: tally.faults)
    for tally in tallies:
        print(tally.line())
        for line in tally.reproductions(chosen.seed):
            print(line)
    if reason:
        print(f"no faults: {reason}")
    failures = sum(len(tally.failures) for tally in tallies)
    tried = [sum(tally.tried for tally in tallies if tally.faults is faults) for faults in (False, True)]
    seconds = time.monotonic() - start
    print(f"{tried[0]:,} mutants, {tried[1]:,} faults and kills, {failures:,} failures; {seconds:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
