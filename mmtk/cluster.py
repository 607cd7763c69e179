"""Many machines, through a Dask scheduler: connecting to it and submitting work to its workers."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import socket
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from mmtk import __version__, plugins
from mmtk.errors import MmtkError, reason_of

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_SECONDS = 10.0
_SAME = ("python", "dask", "distributed", "mmtk")


@contextmanager
def connect(address: str) -> Iterator[Client]:
    """Yield a client of the scheduler at an address, for instance ``tcp://10.0.0.5:8786``, and close it at the end.

    Tasks submitted through it that have not ended by then are cancelled.

    Raises
    ------
    MmtkError
        If Dask is not installed, no scheduler answers within `CONNECT_SECONDS`, or the scheduler or a worker has
        another version of Python, Dask or mmtk.
    """
    try:
        import distributed
    except ImportError:
        raise MmtkError.not_installed(f"scheduler {address}", "distributed", "cluster") from None
    for name in ("distributed.client", "distributed.comm", "distributed.core"):  # errors are reported below
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about versions, which are compared below
        try:
            with ThreadPoolExecutor(1) as thread:  # this thread may have an event loop already, as in a notebook
                scheduler, workers = thread.submit(asyncio.run, _versions(address)).result()
            _check_versions(address, scheduler, workers)
            client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False, name="mmtk")
        except MmtkError:
            raise
        except Exception as error:  # what answers there need not be a scheduler
            raise MmtkError(
                f"scheduler {address}", f"cannot be reached: {_reason(error)}",
                remedy="check the address, or start a scheduler (dask scheduler)",
            ) from None
    with client:
        yield client


async def _versions(address: str) -> tuple[Any, dict[str, Any]]:
    """The versions at the scheduler and at its workers; none of the workers' if one does not answer in time."""
    from distributed import Security, rpc

    security = Security().get_connection_args("client")  # from Dask's own configuration
    async with rpc(address, timeout=CONNECT_SECONDS, connection_args=security) as scheduler:
        own = await asyncio.wait_for(scheduler.versions(packages=["mmtk"]), CONNECT_SECONDS)
        workers: dict[str, Any] = {}
        with suppress(TimeoutError):  # a hanging worker must not block the others
            message = {"op": "versions", "packages": ["mmtk"]}
            answers = scheduler.broadcast(msg=message, on_error="ignore")
            workers = await asyncio.wait_for(answers, CONNECT_SECONDS)
        return own, workers


def _reason(error: Exception) -> str:
    """Why there is no connection, without details of Dask's internals."""
    if isinstance(error, TimeoutError) or "Timed out" in str(error):
        return f"no answer within {CONNECT_SECONDS:g} s"
    return reason_of(error)


def _check_versions(address: str, scheduler: Any, workers: dict[str, Any]) -> None:
    from distributed.versions import get_versions

    mine = _versions_of(get_versions(packages=["mmtk"]))
    others = {f"scheduler {address}": scheduler, **{f"worker {name}": answer for name, answer in workers.items()}}
    for what, answer in others.items():
        theirs = _versions_of(answer)
        for package in _SAME:
            if theirs[package] != mine[package]:
                raise MmtkError(
                    what, f"has {package} {theirs[package]}" if theirs[package] else f"has no {package}",
                    expected=f"{package} {mine[package]}, as on this machine",
                    remedy="use the same environment on all machines",
                )


def _versions_of(answer: Any) -> dict[str, str]:
    packages = {name: str(answer["packages"].get(name) or "") for name in _SAME}
    return {**packages, "python": ".".join(packages["python"].split(".")[:2])}


def submit(client: Client, function: Callable[..., Any], *args: Any, **options: Any) -> Future:
    """Let a worker call a function at a module's top level; plugins are loaded there too.

    Parameters
    ----------
    client : distributed.Client
    function : callable
    *args
        Anything that can be pickled.
    **options
        Of ``Client.submit``: ``key``, ``resources``, ``retries``, ``priority``.
    """
    plugin_files = list(filter(None, os.environ.get(plugins.VARIABLE, "").split(os.pathsep)))
    # pickled here, so that workers unpickle it only after loading the plugins, and the scheduler never does
    call = pickle.dumps((function, args))
    return client.submit(_call, __version__, plugin_files, call, pure=False, **options)


def _call(version: str, plugin_files: list[str], call: bytes) -> Any:
    if version != __version__:  # on a worker that joined after the check
        raise MmtkError(
            f"worker on {socket.gethostname()}", f"has mmtk {__version__}", expected=f"mmtk {version}",
            remedy="use the same environment on all machines",
        )
    plugins.announce(plugin_files)
    function, args = pickle.loads(call)
    return function(*args)
