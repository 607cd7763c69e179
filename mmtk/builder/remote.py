"""A build on many machines: the workers of a Dask cluster make the pixels, and this process writes them."""

from __future__ import annotations

import logging
import pickle
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING
from uuid import uuid4

from mmtk import cluster
from mmtk.builder.clock import Clock
from mmtk.builder.pixels import BadRows, Outcome, Processor, Row
from mmtk.builder.work import Excluded, Unit, UnitOutcomes, Writer
from mmtk.errors import MmtkError, SourceError, reason_of
from mmtk.imaging import ImageFile, kernels_in_use
from mmtk.plugins import error_line

if TYPE_CHECKING:
    from distributed import Client, Future

_AHEAD = 3  # units in flight per worker thread: one in progress, one waiting, one being transferred
_AT_ONCE = 1 << 25  # bytes fetched together: enough to amortise a round trip, few enough to hold in memory
_RESUMES = "the same command resumes the build"
_LOOK_SECONDS = 10.0  # between checks of the number of workers


@dataclass(frozen=True)
class Job:
    """What all units of a build share: a unique name, and the pickled processor."""

    name: str
    processor: bytes


@dataclass(frozen=True)
class UnitResult:
    """What a worker returns for a unit.

    Attributes
    ----------
    outcomes : the images, and rows without one
    seconds : time by stage
    unreadable : files that the worker could not even open, with the reason
    worker : address of the worker
    """

    outcomes: list[Outcome]
    seconds: dict[str, float]
    unreadable: dict[str, str]
    worker: str


@dataclass
class ClusterExecutor:
    """The workers of a Dask scheduler; only this process writes.

    A unit whose worker dies is repeated by another. At most `_AHEAD` units per thread are in flight, and finished units
    stay with their workers until they can be written: memory use here depends neither on the size of the dataset nor
    on the number of workers.
    """

    client: Client
    _threads: int = field(default=0, init=False)
    _checked: float = field(default=float("-inf"), init=False)

    @property
    def workers(self) -> int:
        """Number of threads of all workers, at least 1, since workers may still join."""
        if time.monotonic() - self._checked > _LOOK_SECONDS:
            with self._one_line_errors():
                self._threads = sum(self.client.nthreads().values())
            if not self._threads:
                log = logging.getLogger("mmtk")
                log.warning("mmtk: warning: scheduler %s has no workers; waiting for some to join", self._address)
            self._checked = time.monotonic()
        return max(1, self._threads)

    def work(self, processor: Processor, writer: Writer, todo: list[Unit]) -> UnitOutcomes:
        job = Job(uuid4().hex, pickle.dumps(processor))
        queue = iter(todo)
        running: dict[str, tuple[Future, Unit]] = {}
        ended: SimpleQueue[Future] = SimpleQueue()
        try:
            while True:
                for unit in islice(queue, max(0, _AHEAD * self.workers - len(running))):
                    with self._one_line_errors():
                        key = f"mmtk-build-{job.name}-{unit.number}"
                        future = cluster.submit(self.client, process_unit, job, writer.rows(unit), key=key)
                    running[future.key] = future, unit
                    future.add_done_callback(ended.put)
                if not running:
                    return
                futures = self._next(ended, running, writer)
                units = [running.pop(future.key)[1] for future in futures]
                with self._one_line_errors():
                    results = self.client.gather(futures, direct=True)  # bypasses the scheduler, to spare it the load
                futures.clear()  # lets the workers release them
                while results:
                    yield units.pop(), self._write(results.pop(), processor, writer)
        finally:
            with suppress(Exception):  # the scheduler may be gone, and the first error says more
                self.client.cancel([future for future, _ in running.values()])

    def _next(
        self, ended: SimpleQueue[Future], running: dict[str, tuple[Future, Unit]], writer: Writer
    ) -> list[Future]:
        """At least one finished unit, and no more than should be held in memory together."""
        futures: list[Future] = []
        room = _AT_ONCE
        while room > 0:
            try:
                futures.append(ended.get(block=not futures, timeout=_LOOK_SECONDS))
                room -= writer.bytes_of(running[futures[-1].key][1])
            except Empty:
                if futures:
                    break
                _ = self.workers  # warns if there are none
        return futures

    def _write(self, result: UnitResult, processor: Processor, writer: Writer) -> Excluded:
        for name, reason in result.unreadable.items():
            file = processor.listing.path(name)
            if not _reason_unreadable(file):
                problem = f"cannot be read by worker {result.worker}: {reason}"
                raise SourceError(file, problem, remedy="give every worker the sources under the same path")
        for stage, seconds in result.seconds.items():
            writer.clock.add(stage, seconds)
        return writer.put(result.outcomes)

    @property
    def _address(self) -> str:
        return str(self.client.scheduler.address) if self.client.scheduler else "?"

    @contextmanager
    def _one_line_errors(self) -> Iterator[None]:
        """Raise a one-line error for whatever the cluster raises; mmtk's own errors pass unchanged."""
        from distributed import CancelledError, KilledWorker

        address = self._address
        try:
            yield
        except MmtkError:
            raise
        except KilledWorker as error:
            last = error.last_worker.address
            count = error.allowed_failures + 1
            who = f"{count} workers" if count > 1 else "a worker"
            problem = f"{who} died on the same images, last {last}"
            remedy = f"give workers more memory or fewer threads; {_RESUMES}"
            raise MmtkError(f"scheduler {address}", problem, remedy=remedy) from None
        except (CancelledError, OSError) as error:
            problem = reason_of(error) if isinstance(error, OSError) else "the connection was lost"
            raise MmtkError(f"scheduler {address}", problem, remedy=f"start it again; {_RESUMES}") from None
        except Exception as error:
            problem, remedy = f"a worker failed: {error_line(error, 'mmtk')}", f"see the workers' output; {_RESUMES}"
            raise MmtkError(f"scheduler {address}", problem, remedy=remedy) from None


# ------------------------------------------------------------ on a worker


def process_unit(job: Job, rows: Sequence[Row]) -> UnitResult:
    """Make the images of a unit, on a worker.

    Raises
    ------
    MmtkError
        If the source cannot be used on this machine.
    """
    from distributed import get_worker

    worker, clock = str(get_worker().address), Clock()
    try:
        processor = _processor(job)
        outcomes = list(processor.unit(rows, clock))
    except MmtkError as error:
        problem = f"on worker {worker}: {error.problem}".removesuffix(": ")
        raise type(error)(
            error.what, problem, expected=error.expected, found=error.found, remedy=error.remedy
        ) from None
    bad = {place for outcome in outcomes if isinstance(outcome, BadRows) for place in outcome.places}
    files = dict.fromkeys(planned.record.file for place, planned in rows if place in bad)
    reasons = {name: _reason_unreadable(processor.listing.path(name)) for name in files}
    return UnitResult(outcomes, clock.seconds, {name: reason for name, reason in reasons.items() if reason}, worker)


@lru_cache(maxsize=8)
def _processor(job: Job) -> Processor:
    """The processor of a build, unpickled once per worker, since that opens zips."""
    kernels_in_use()  # loads them before threads need them
    processor: Processor = pickle.loads(job.processor)
    return processor


def _reason_unreadable(path: ImageFile) -> str:
    """Why a file, or a folder of slices, cannot be opened on this machine; empty if it can."""
    try:
        if isinstance(path, Path) and path.is_dir():
            next(path.iterdir(), None)
        else:
            path.open("rb").close()
    except OSError as error:
        return reason_of(error)
    return ""
