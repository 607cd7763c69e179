"""A Decathlon on many machines: each run is a task for Dask's scheduler, and what it needs is on a disk they share."""

from __future__ import annotations

import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from mmtk import cluster, plugins
from mmtk.base import Progress
from mmtk.errors import BusyError, MmtkError
from mmtk.runs import Entry, Outcome, keep_outcome
from mmtk.training._pace import Clock, Standing
from mmtk.training.decathlon import Whole, make_run

if TYPE_CHECKING:
    from distributed import Client, Future, Worker

_Message = tuple[tuple[int, int, int], "Future | None"]  # a run, how far it is, and its future once it has ended
_GPU = "GPU"  # of the resources that workers declare
_NO_WORKER = "the scheduler has no worker; waiting for one"
_TELL_SECONDS = 1.0
_SILENT_SECONDS = 30.0
_BUSY_SECONDS = 120.0  # NFS keeps the locks of a machine that died for 90
_one_at_a_time = threading.Lock()  # since generators and threads of a process are shared
_whole: set[Whole] = set()


def run_on_cluster(
    entries: Sequence[Entry], scheduler: str, *, device: str | None = None,
    follow: Callable[[Standing], None] | None = None,
) -> Iterator[Outcome]:
    """Make the runs on the workers of a scheduler; like `run_all`, but outcomes come as runs end.

    A run whose worker dies goes on from its last epoch on another. Once the iterator is closed, or its process dies,
    runs that wait are cancelled, and those at work stop within a batch, to be gone on with.

    Parameters
    ----------
    entries : sequence of Entry
        Their stores and folders are there for all workers, under the same paths.
    scheduler : str
        Its address.
    device : {"cpu", "cuda"}, optional
        With ``"cuda"`` a run takes one ``GPU`` of a worker's resources, if any worker says it has some.
    follow : callable, optional
        Told again and again how far they are.

    Yields
    ------
    Outcome

    Raises
    ------
    MmtkError
        If the scheduler cannot be reached, or is lost; see `mmtk.cluster.connect`.
    """
    clock, name = Clock(entries), f"mmtk-{secrets.token_hex(4)}"
    inbox: SimpleQueue[_Message] = SimpleQueue()
    with cluster.connect(scheduler) as client:
        for entry in entries:  # so that a worker that does not see where runs lie is told from one that does
            entry.out.parent.mkdir(parents=True, exist_ok=True)
        options = _options(client, device)
        client.subscribe_topic(name, lambda event: inbox.put((event[1], None)))
        for number, entry in enumerate(entries):
            there = replace(entry, store=entry.store.absolute(), out=entry.out.absolute())
            future = cluster.submit(client, _work, there, device, name, number, key=f"{name}-{number}", **options)
            future.add_done_callback(partial(_hand_in, inbox, number))
        left = set(range(len(entries)))
        while left:
            (number, done, total), future = _next(inbox, client)
            if number not in left:
                continue  # what was told before its end came later
            if future is None:
                clock.tell(number, done, total)
            else:
                left.remove(number)
                clock.end(number)
                yield _outcome_of(entries[number], future, scheduler)
            if follow:
                follow(clock.standing())


def _hand_in(inbox: SimpleQueue[_Message], number: int, future: Future) -> None:
    inbox.put(((number, 1, 1), future))


def _next(inbox: SimpleQueue[_Message], client: Client) -> _Message:
    """What comes next; where nothing does because there is no worker, that is said once."""
    try:
        return inbox.get(timeout=_SILENT_SECONDS)
    except Empty:
        if not client.nthreads():
            _note(_NO_WORKER)
        return inbox.get()


def _options(client: Client, device: str | None) -> dict[str, Any]:
    """What a run needs of a worker; what is odd about those that are there is said."""
    threads = client.nthreads()
    if not threads:
        _note(_NO_WORKER)
    if max(threads.values(), default=1) > 1:
        _note("a worker makes one run at a time, whatever its threads; start workers with --nthreads 1")
    if device == "cuda" and any(_GPU in named for named in client.run(_resources, on_error="ignore").values()):
        return {"resources": {_GPU: 1}}
    return {}


def _note(text: str) -> None:
    logging.getLogger("mmtk").warning("mmtk: note: %s", text)


def _resources(dask_worker: Worker) -> list[str]:
    return list(dask_worker.state.total_resources)


def _outcome_of(entry: Entry, future: Future, scheduler: str) -> Outcome:
    try:
        outcome: Outcome = replace(future.result(), entry=entry)
    except Exception as error:
        if future.status != "error":  # cancelled, though not from here, or the scheduler went before it was fetched
            raise MmtkError(
                f"scheduler {scheduler}", expected="one that stays until all runs are made",
                found="the connection lost",
                remedy="start it again, and give the same command: finished runs are kept, others go on",
            ) from None
        outcome = Outcome(entry, error=_told(error))
        keep_outcome(outcome)
    return outcome


def _told(error: BaseException) -> str:
    from distributed.scheduler import KilledWorker

    if not isinstance(error, KilledWorker):
        return plugins.error_line(error, "")
    died, last = error.allowed_failures + 1, error.last_worker.address
    remedy = "see what they printed, and give the command again, for it may be another run's fault"
    return str(MmtkError("workers", expected="one that outlives the run", found=f"{died} that died, the last {last}",
                         remedy=remedy))


# ------------------------------------------------------------------------------ on a worker


class _Unwanted(BaseException):
    """The run is no longer this worker's; no method should take it for an error of its own."""


def _work(entry: Entry, device: str | None, topic: str, number: int) -> Outcome:
    """Make a run in a task, as long as it is wanted of this worker."""
    from distributed import Reschedule, get_worker

    worker = get_worker()
    key = worker.get_current_task()
    for path in (entry.store, entry.out.parent):
        if not path.exists():
            expected, remedy = f"it on {socket.gethostname()} too", "keep it on a disk that all machines share"
            raise MmtkError(path, expected=expected, found="none", remedy=remedy)
    told = 0.0

    def check() -> None:
        task = worker.state.tasks.get(key)
        if task is None or task.state == "cancelled" or worker.status.name not in ("running", "paused"):
            raise _Unwanted

    def progress(done: int, total: int) -> None:
        nonlocal told
        check()
        if time.monotonic() - told > _TELL_SECONDS or done == total:
            told = time.monotonic()
            worker.log_event(topic, (number, done, total))

    try:
        while not _one_at_a_time.acquire(timeout=1):
            check()
        try:
            return _patiently(entry, device, progress, check)
        finally:
            _one_at_a_time.release()
    except _Unwanted:
        raise Reschedule from None


def _patiently(entry: Entry, device: str | None, progress: Progress, check: Callable[[], None]) -> Outcome:
    """Make a run; wait for another process that is in it, for it may be about to end, or dead."""
    end = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            return make_run(entry, device, progress, _whole)
        except BusyError as error:
            if time.monotonic() > end:
                return Outcome(entry, error=str(error))
        check()
        time.sleep(1)
