"""A Decathlon on many machines: each run is a task of a Dask scheduler, with stores and runs on a shared disk."""

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
from mmtk.training._pace import Clock, OverallProgress
from mmtk.training.decathlon import VerifiedStore, make_run

if TYPE_CHECKING:
    from distributed import Client, Future, Worker

_Message = tuple[tuple[int, int, int], "Future | None"]  # a run, its progress, and its future once it has ended
_GPU = "GPU"  # a resource that workers declare
_NO_WORKER = "the scheduler has no worker; waiting for one"
_REPORT_SECONDS = 1.0
_SILENT_SECONDS = 30.0
_BUSY_SECONDS = 120.0  # NFS keeps the locks of a dead machine for 90 s
_run_lock = threading.Lock()  # one run at a time, since a process shares its random generators and threads
_verified: set[VerifiedStore] = set()


def run_on_cluster(
    entries: Sequence[Entry], scheduler: str, *, device: str | None = None,
    follow: Callable[[OverallProgress], None] | None = None,
) -> Iterator[Outcome]:
    """Make runs on the workers of a Dask scheduler; like `run_all`, but outcomes come in the order runs end.

    A run whose worker dies resumes from its last epoch on another. When the iterator is closed, or its process dies,
    waiting runs are cancelled and active ones stop within a batch, so that they can be resumed.

    Parameters
    ----------
    entries : sequence of Entry
        All workers must see their stores and folders under the same paths.
    scheduler : str
        Address such as ``"tcp://host:8786"``.
    device : {"cpu", "cuda"}, optional
        With ``"cuda"`` a run takes one ``GPU`` of a worker's resources, if any worker declares some.
    follow : callable, optional
        Called repeatedly with the `OverallProgress`.

    Yields
    ------
    Outcome

    Raises
    ------
    MmtkError
        If the scheduler cannot be reached, or the connection is lost; see `mmtk.cluster.connect`.

    Examples
    --------
    >>> from mmtk.training import get_method, plan_runs, run_on_cluster
    >>> entries, _ = plan_runs("stores", "out", methods=[get_method("resnet18_quick")], seeds=[0])
    >>> for outcome in run_on_cluster(entries, "tcp://127.0.0.1:8786"):  # doctest: +SKIP
    ...     print(outcome.entry.name, outcome.error or outcome.result.metrics["test"])
    """
    clock, name = Clock(entries), f"mmtk-{secrets.token_hex(4)}"
    inbox: SimpleQueue[_Message] = SimpleQueue()
    with cluster.connect(scheduler) as client:
        for entry in entries:  # so that a worker can check whether it sees the folder of the runs
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
                continue  # a progress message that arrived after the run's end
            if future is None:
                clock.update(number, done, total)
            else:
                left.remove(number)
                clock.end(number)
                yield _outcome_of(entries[number], future, scheduler)
            if follow:
                follow(clock.progress())


def _hand_in(inbox: SimpleQueue[_Message], number: int, future: Future) -> None:
    inbox.put(((number, 1, 1), future))


def _next(inbox: SimpleQueue[_Message], client: Client) -> _Message:
    """Wait for the next message; log once if none arrives because there is no worker."""
    try:
        return inbox.get(timeout=_SILENT_SECONDS)
    except Empty:
        if not client.nthreads():
            _note(_NO_WORKER)
        return inbox.get()


def _options(client: Client, device: str | None) -> dict[str, Any]:
    """The resources that a run requires of a worker; notes about unsuitable workers are logged."""
    threads = client.nthreads()
    if not threads:
        _note(_NO_WORKER)
    if max(threads.values(), default=1) > 1:
        _note("a worker makes one run at a time, however many threads it has; start workers with --nthreads 1")
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
        if future.status != "error":  # cancelled by others, or the scheduler ended before the result was fetched
            raise MmtkError(
                f"scheduler {scheduler}", "the connection was lost",
                remedy="restart it and repeat the command: finished runs are kept, others resume",
            ) from None
        outcome = Outcome(entry, error=_error_text(error))
        keep_outcome(outcome)
    return outcome


def _error_text(error: BaseException) -> str:
    from distributed.scheduler import KilledWorker

    if not isinstance(error, KilledWorker):
        return plugins.error_line(error, "")
    died, last = error.allowed_failures + 1, error.last_worker.address
    remedy = "check their output and repeat the command, since another run may be the cause"
    return str(MmtkError("workers", f"{died} died during this run, the last was {last}", remedy=remedy))


# ------------------------------------------------------------------------------ on a worker


class _Cancelled(BaseException):
    """The run is no longer assigned to this worker; no method should handle this as an error of its own."""


def _work(entry: Entry, device: str | None, topic: str, number: int) -> Outcome:
    """Make a run in a task, as long as it is assigned to this worker."""
    from distributed import Reschedule, get_worker

    worker = get_worker()
    key = worker.get_current_task()
    for path in (entry.store, entry.out.parent):
        if not path.exists():
            problem = f"does not exist on {socket.gethostname()}"
            raise MmtkError(path, problem, remedy="keep it on a disk that all machines share")
    reported = 0.0

    def check() -> None:
        task = worker.state.tasks.get(key)
        if task is None or task.state == "cancelled" or worker.status.name not in ("running", "paused"):
            raise _Cancelled

    def progress(done: int, total: int) -> None:
        nonlocal reported
        check()
        if time.monotonic() - reported > _REPORT_SECONDS or done == total:
            reported = time.monotonic()
            worker.log_event(topic, (number, done, total))

    try:
        while not _run_lock.acquire(timeout=1):
            check()
        try:
            return _run_when_free(entry, device, progress, check)
        finally:
            _run_lock.release()
    except _Cancelled:
        raise Reschedule from None


def _run_when_free(entry: Entry, device: str | None, progress: Progress, check: Callable[[], None]) -> Outcome:
    """Make a run; wait for another process that uses its folder, which may be ending, or dead."""
    end = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            return make_run(entry, device, progress, _verified)
        except BusyError as error:
            if time.monotonic() > end:
                return Outcome(entry, error=str(error))
        check()
        time.sleep(1)
