"""Many machines, through a scheduler of Dask: how it is reached, and how its workers are given something to do."""

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
_ALIKE = ("python", "dask", "distributed", "mmtk")


@contextmanager
def connect(address: str) -> Iterator[Client]:
    """Give a client of the scheduler at an address, for instance ``tcp://10.0.0.5:8786``; close it in the end.

    What was submitted through it and has not ended is cancelled then.

    Raises
    ------
    MmtkError
        If Dask is not installed, no scheduler answers within `CONNECT_SECONDS`, or it or a worker has another Python,
        Dask or mmtk.
    """
    try:
        import distributed
    except ImportError:
        raise MmtkError.not_installed(f"scheduler {address}", "distributed", "cluster") from None
    for name in ("distributed.client", "distributed.comm", "distributed.core"):  # errors are reported here, in one line
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about versions, which are compared here
        try:
            with ThreadPoolExecutor(1) as thread:  # this one may have an event loop already, as in a notebook
                scheduler, workers = thread.submit(asyncio.run, _versions(address)).result()
            _check_alike(address, scheduler, workers)
            client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False, name="mmtk")
        except MmtkError:
            raise
        except Exception as error:  # whatever answers there may not be a scheduler
            raise MmtkError(
                f"scheduler {address}", expected="one of Dask that answers", found=_reason(error),
                remedy="check the address, or start one: dask scheduler",
            ) from None
    with client:
        yield client


async def _versions(address: str) -> tuple[Any, dict[str, Any]]:
    """What is installed at the scheduler and at its workers; none of the latter if one does not answer in time."""
    from distributed import Security, rpc

    safe = Security().get_connection_args("client")  # as Dask's own configuration says
    async with rpc(address, timeout=CONNECT_SECONDS, connection_args=safe) as scheduler:
        own = await asyncio.wait_for(scheduler.versions(packages=["mmtk"]), CONNECT_SECONDS)
        workers: dict[str, Any] = {}
        with suppress(TimeoutError):  # a worker that hangs should not keep others out
            ask = {"op": "versions", "packages": ["mmtk"]}
            asked = scheduler.broadcast(msg=ask, on_error="ignore")
            workers = await asyncio.wait_for(asked, CONNECT_SECONDS)
        return own, workers


def _reason(error: Exception) -> str:
    """Why there is no connection, without what Dask says of its own inside."""
    if isinstance(error, TimeoutError) or "Timed out" in str(error):
        return f"none within {CONNECT_SECONDS:g} s"
    return reason_of(error)


def _check_alike(address: str, scheduler: Any, workers: dict[str, Any]) -> None:
    from distributed.versions import get_versions

    mine = _versions_of(get_versions(packages=["mmtk"]))
    others = {f"scheduler {address}": scheduler, **{f"worker {worker}": told for worker, told in workers.items()}}
    for what, told in others.items():
        theirs = _versions_of(told)
        for package in _ALIKE:
            if theirs[package] != mine[package]:
                raise MmtkError(
                    what, expected=f"{package} {mine[package]}, as here", found=theirs[package] or "none",
                    remedy="give all machines one environment",
                )


def _versions_of(told: Any) -> dict[str, str]:
    packages = {name: str(told["packages"].get(name) or "") for name in _ALIKE}
    return {**packages, "python": ".".join(packages["python"].split(".")[:2])}


def submit(client: Client, function: Callable[..., Any], *args: Any, **options: Any) -> Future:
    """Let a worker call a function of a module's top level; what plugins brought is known there too.

    Parameters
    ----------
    client : distributed.Client
    function : callable
    *args
        What can be pickled.
    **options
        Of ``Client.submit``: ``key``, ``resources``, ``retries``, ``priority``.
    """
    plugin_files = list(filter(None, os.environ.get(plugins.VARIABLE, "").split(os.pathsep)))
    # as bytes, so that nothing is read before the worker knows the plugins, and nothing at all by the scheduler
    call = pickle.dumps((function, args))
    return client.submit(_call, __version__, plugin_files, call, pure=False, **options)


def _call(version: str, plugin_files: list[str], call: bytes) -> Any:
    if version != __version__:  # of a worker that came later than the check
        raise MmtkError(
            f"worker on {socket.gethostname()}", expected=f"mmtk {version}", found=__version__,
            remedy="give all machines one environment",
        )
    plugins.announce(plugin_files)
    function, args = pickle.loads(call)
    return function(*args)
