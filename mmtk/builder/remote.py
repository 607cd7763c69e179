"""A build on many machines: workers of a Dask cluster make the pixels and send them home to the one that writes."""

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
from mmtk.builder.pixels import Bad, Item, Maker, Row
from mmtk.builder.work import Answers, Left, Unit, Writer
from mmtk.errors import MmtkError, SourceError, reason_of
from mmtk.imaging import ImageFile, kernels_in_use
from mmtk.plugins import error_line

if TYPE_CHECKING:
    from distributed import Client, Future

_AHEAD = 3  # units under way for each thread of the workers: one that is made, one that waits, one on its way home
_AT_ONCE = 1 << 25  # bytes that are fetched together: enough that a round trip costs little, few enough to hold
_LOOK_SECONDS = 10.0  # between looks at how many workers there are


@dataclass(frozen=True)
class Job:
    """What all units of a build have in common: a name that no other build has, and the pickled maker."""

    name: str
    maker: bytes


@dataclass(frozen=True)
class Made:
    """What a worker sends home of a unit.

    Attributes
    ----------
    items : the images
    seconds : where the time went
    unseen : files that the worker could not even open, with the reason
    worker : its address
    """

    items: list[Item]
    seconds: dict[str, float]
    unseen: dict[str, str]
    worker: str


@dataclass
class Workers:
    """The workers of a scheduler; this process alone writes.

    A unit whose worker dies is done again by another. No more than `_AHEAD` units a thread are under way, and those
    that are made stay with their workers until it is their turn to be written: memory here does not depend on how large
    the dataset is, nor on how many workers there are.
    """

    client: Client
    _threads: int = field(default=0, init=False)
    _looked: float = field(default=float("-inf"), init=False)

    @property
    def workers(self) -> int:
        """Threads of all workers; at least one, for one may come yet."""
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            with self._in_one_line():
                self._threads = sum(self.client.nthreads().values())
            if not self._threads:
                log = logging.getLogger("mmtk")
                log.warning("mmtk: warning: scheduler %s has no workers; the build waits for some", self._address)
            self._looked = time.monotonic()
        return max(1, self._threads)

    def work(self, maker: Maker, writer: Writer, todo: list[Unit]) -> Answers:
        job = Job(uuid4().hex, pickle.dumps(maker))
        queue = iter(todo)
        running: dict[str, tuple[Future, Unit]] = {}
        ended: SimpleQueue[Future] = SimpleQueue()
        try:
            while True:
                for unit in islice(queue, max(0, _AHEAD * self.workers - len(running))):
                    with self._in_one_line():
                        future = cluster.submit(
                            self.client, make, job, writer.rows(unit), key=f"mmtk-build-{job.name}-{unit.number}"
                        )
                    running[future.key] = future, unit
                    future.add_done_callback(ended.put)
                if not running:
                    return
                futures = self._next(ended, running, writer)
                units = [running.pop(future.key)[1] for future in futures]
                with self._in_one_line():
                    made = self.client.gather(futures, direct=True)  # past the scheduler, for which it would be a load
                futures.clear()  # so that the workers forget them
                while made:
                    yield units.pop(), self._write(made.pop(), maker, writer)
        finally:
            with suppress(Exception):  # the scheduler may be gone, and what led here says more
                self.client.cancel([future for future, _ in running.values()])

    def _next(
        self, ended: SimpleQueue[Future], running: dict[str, tuple[Future, Unit]], writer: Writer
    ) -> list[Future]:
        """Units that have ended, at least one; of several no more than should be held here together."""
        futures: list[Future] = []
        room = _AT_ONCE
        while room > 0:
            try:
                futures.append(ended.get(block=not futures, timeout=_LOOK_SECONDS))
                room -= writer.bytes_of(running[futures[-1].key][1])
            except Empty:
                if futures:
                    break
                _ = self.workers  # tells when none is left
        return futures

    def _write(self, made: Made, maker: Maker, writer: Writer) -> Left:
        for name, reason in made.unseen.items():
            file = maker.listing.path(name)
            if not _closed(file):
                raise SourceError(
                    file, expected=f"to be seen by worker {made.worker}", found=reason,
                    remedy="give every worker the sources under the same path",
                )
        for stage, seconds in made.seconds.items():
            writer.clock.add(stage, seconds)
        return writer.put(made.items)

    @property
    def _address(self) -> str:
        return str(self.client.scheduler.address) if self.client.scheduler else "?"

    @contextmanager
    def _in_one_line(self) -> Iterator[None]:
        """Tell what the cluster raises in a line; what mmtk says there on purpose is said here too."""
        from distributed import CancelledError, KilledWorker

        address = self._address
        try:
            yield
        except MmtkError:
            raise
        except KilledWorker as error:
            found = f"{error.allowed_failures + 1} that died over the same images, the last {error.last_worker.address}"
            remedy = "give workers more memory or fewer threads; the same command goes on from here"
            raise MmtkError(f"scheduler {address}", expected="workers that live", found=found, remedy=remedy) from None
        except (CancelledError, OSError) as error:
            found = reason_of(error) if isinstance(error, OSError) else "no connection any more"
            remedy = "start it again; the same command goes on from here"
            raise MmtkError(f"scheduler {address}", expected="an answer", found=found, remedy=remedy) from None
        except Exception as error:
            raise MmtkError(
                f"scheduler {address}", expected="pixels from its workers", found=error_line(error, "mmtk"),
                remedy="see what the workers print; the same command goes on from here",
            ) from None


# ------------------------------------------------------------ on a worker


def make(job: Job, rows: Sequence[Row]) -> Made:
    """Make the images of a unit.

    Raises
    ------
    MmtkError
        If the source cannot be used on this machine.
    """
    from distributed import get_worker

    worker, clock = str(get_worker().address), Clock()
    try:
        maker = _maker(job)
        items = list(maker.unit(rows, clock))
    except MmtkError as error:
        found = f"{error.found} by worker {worker}"
        raise type(error)(error.what, expected=error.expected, found=found, remedy=error.remedy) from None
    bad = {place for item in items if isinstance(item, Bad) for place in item.places}
    files = dict.fromkeys(planned.record.file for place, planned in rows if place in bad)
    reasons = {name: _closed(maker.listing.path(name)) for name in files}
    return Made(items, clock.seconds, {name: reason for name, reason in reasons.items() if reason}, worker)


@lru_cache(maxsize=8)
def _maker(job: Job) -> Maker:
    """Unpacked once for all units of a build, of which several may share a worker; zips are opened by that."""
    kernels_in_use()  # loaded before threads ask for them
    maker: Maker = pickle.loads(job.maker)
    return maker


def _closed(path: ImageFile) -> str:
    """Why a file, or a folder of slices, cannot be opened on this machine; empty if it can."""
    try:
        if isinstance(path, Path) and path.is_dir():
            next(path.iterdir(), None)
        else:
            path.open("rb").close()
    except OSError as error:
        return reason_of(error)
    return ""
