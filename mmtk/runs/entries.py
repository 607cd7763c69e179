"""Methods, planned runs and their outcomes, as plain values that pickle and refer to functions by name."""

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
    """A method: anything that makes predictions from a store.

    Attributes
    ----------
    name : str
        Its name in the registry and in folder names.
    title : str
        Its title in tables.
    function : str
        ``module:name`` of the function that makes a run from a job and `settings`.
    settings : mapping
        Keyword arguments of the function.
    facts : mapping
        Information for programs, as JSON values.
    epochs, batch_size : int
        Units of its progress; 0 for a method with a time budget.
    volume_batch_size : int
        Batch size for a store of volumes, if it differs; otherwise 0.
    made_by : str
        ``module:name`` of the method's own code, if `function` only calls that.

    Examples
    --------
    >>> from mmtk.training import get_method
    >>> method = get_method("resnet18_isbi21")
    >>> method.title, method.timed, method.batches(images=546)
    ('resnet18, isbi21', False, 500)
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
        """Whether it has a time budget."""
        return not self.batch_size

    def batches(self, images: int, ndim: int = 2) -> int:
        """Return the number of batches of a run on this many training images or volumes."""
        size = self.volume_batch_size if ndim == 3 and self.volume_batch_size else self.batch_size
        return self.epochs * -(-images // size)

    def run(self, job: Any) -> RunResult:
        """Make the run of a job, unless it is already finished.

        Raises
        ------
        ArgumentError
            If the function does not exist or returns no result.
        """
        try:
            function = resolve_name(self.function)
        except (ImportError, AttributeError, ValueError) as error:
            what = f"method {self.name}"
            raise ArgumentError(what, f"its function {self.function} cannot be imported: {error}") from None
        result = function(job, **self.settings)
        if not isinstance(result, RunResult):
            found, expected = f"a return value of type {type(result).__name__}", "the RunResult of Job.leave"
            raise ArgumentError(f"method {self.name}", found=found, expected=expected)
        return result


@dataclass(frozen=True)
class Entry:
    """A planned run.

    Attributes
    ----------
    store : Path
    flag : str
    size : int
        Edge length in pixels; both are from the store's name.
    info : StoreInfo or None
        None if the store could not be opened.
    images : int
        Number of training images.
    method : Method
    seed : int
    budget : float
        Seconds.
    share : float or None
        The budget as a share of the paper's, if it was given that way.
    out : Path
        The run's folder.
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
        """2 for images, 3 for volumes."""
        return self.info.ndim if self.info else 2

    @property
    def batches(self) -> int:
        """Number of batches of the run, for a method without a time budget."""
        return self.method.batches(self.images, self.ndim)

    @property
    def title(self) -> str:
        """The method's title, with the budget if it was given in seconds, and the image size if it is not 28 px."""
        in_seconds = self.method.timed and self.share is None
        parts = [f"{self.budget:g} s"] * in_seconds + [f"{self.size} px"] * (self.size != 28)
        return ", ".join([self.method.title, *parts])

    @property
    def name(self) -> str:
        """The run's name in messages: the dataset's title (or the store's name if it could not be read) and method."""
        named = self.info.title if self.info else f"{self.flag}_{self.size}"
        return f"{named}: {self.title}, seed {self.seed}"


@dataclass(frozen=True)
class Outcome:
    """The outcome of a planned run: its result and evaluation, or an error."""

    entry: Entry
    result: RunResult | None = None
    evaluation: Evaluation | None = None
    error: str = ""
