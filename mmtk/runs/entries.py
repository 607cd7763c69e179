"""Runs to be and what came of them, as plain values: they pickle, and name the function that makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from mmtk.errors import ArgumentError
from mmtk.runs.evaluation import Evaluation
from mmtk.runs.results import RunResult
from mmtk.store import StoreInfo


@dataclass(frozen=True)
class Method:
    """A way to predictions.

    Attributes
    ----------
    name : its place in the registry and in names of folders
    title : for tables
    function : str
        ``module:name`` of the function that makes a run, of a job and `settings`.
    settings : what it is given by name
    facts : what a program may want to know of it, as JSON values
    epochs, batch_size : int
        By which it counts in its progress; 0 for what goes by a budget.
    volume_batch_size : int
        Of a store of volumes, where that is another one.
    made_by : str
        ``module:name`` of its own code, where `function` only calls that.
    """

    name: str
    title: str
    function: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict, compare=False)
    epochs: int = 0
    batch_size: int = 0
    volume_batch_size: int = 0
    made_by: str = ""

    @property
    def module(self) -> str:
        """The module of its own code."""
        return (self.made_by or self.function).partition(":")[0]

    @property
    def timed(self) -> bool:
        """Whether it goes by a budget."""
        return not self.batch_size

    def batches(self, images: int, ndim: int = 2) -> int:
        """Batches of a run on so many training images, or volumes."""
        size = self.volume_batch_size if ndim == 3 and self.volume_batch_size else self.batch_size
        return self.epochs * -(-images // size)

    def run(self, job: Any) -> RunResult:
        """Make the run of a job, or leave one that is finished as it is.

        Raises
        ------
        ArgumentError
            If there is no such function, or it gives no result.
        """
        try:
            function = resolve_name(self.function)
        except (ImportError, AttributeError, ValueError) as error:
            what = f"method {self.name}"
            raise ArgumentError(what, expected=f"the function {self.function}", found=str(error)) from None
        result = function(job, **self.settings)
        if not isinstance(result, RunResult):
            expected, found = "the result that Job.leave gives", type(result).__name__
            raise ArgumentError(f"method {self.name}", expected=expected, found=found)
        return result


@dataclass(frozen=True)
class Entry:
    """One run to be.

    Attributes
    ----------
    store : path
    flag, size : what the store's name says
    info : StoreInfo or None
        None where the store could not be opened.
    images : number of training images
    method : Method
    seed : int
    budget : float
        Seconds.
    share : float or None
        What part of the paper's budget that is, where it was given so.
    out : path, the run's folder
    """

    store: Path
    flag: str
    size: int
    info: StoreInfo | None
    images: int
    method: Method
    seed: int
    budget: float
    share: float | None
    out: Path

    @property
    def ndim(self) -> int:
        """2, or 3 for volumes."""
        return self.info.ndim if self.info else 2

    @property
    def batches(self) -> int:
        """Batches of the run, of a method that does not go by a budget."""
        return self.method.batches(self.images, self.ndim)

    @property
    def title(self) -> str:
        """The method's title, with its budget if it was given in seconds, and the size of images if it is not 28 px."""
        in_seconds = self.method.timed and self.share is None
        parts = [f"{self.budget:g} s"] * in_seconds + [f"{self.size} px"] * (self.size != 28)
        return ", ".join([self.method.title, *parts])

    @property
    def name(self) -> str:
        """For messages: the dataset as tables call it, or the name of a store that could not be read."""
        named = self.info.title if self.info else f"{self.flag}_{self.size}"
        return f"{named}: {self.title}, seed {self.seed}"


@dataclass(frozen=True)
class Outcome:
    """What came of a run: its result and what that is worth, or why there is none."""

    entry: Entry
    result: RunResult | None = None
    evaluation: Evaluation | None = None
    error: str = ""
