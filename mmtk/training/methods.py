"""Methods: whatever leaves predictions of train, val and test when given a store, a budget in seconds and a seed.

A method is a function of a `Job`, registered under a name::

    @register("mine", "my method")
    def mine(job):
        return job.leave({"method": "mine"}, lambda: {split.name: scores_of(split) for split in job.store.splits})

`Job.leave` keeps the folder of the run: another run in it, or one at work, is refused, and a finished one is not
repeated. A model under a protocol is a method too, made by `trained` and registered as ``resnet18_isbi21``; its
budget is its epochs, and it takes no heed of seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mmtk.errors import ArgumentError
from mmtk.store import Store
from mmtk.training import checkpoints
from mmtk.training.environment import environment
from mmtk.training.protocols import PROTOCOLS, Protocol, get_protocol
from mmtk.training.results import RunResult, check_scorable, read_result, write_result

MODELS = ("resnet18", "resnet50")
_PAPER = ((10_000, 2), (50_001, 4))  # auto-sklearn's hours for fewer images than that; 6 for more
SHARE = 1 / 60  # of the paper's budgets, unless one is given: minutes for hours


def paper_budget(images: int) -> float:
    """Seconds that the paper gave auto-sklearn for a dataset of so many images."""
    return 3600.0 * next((hours for below, hours in _PAPER if images < below), 6)


@dataclass(frozen=True)
class Job:
    """What a method is given.

    Attributes
    ----------
    store : Store
    out : path
        Folder of the run.
    budget : float
        Seconds from now on to the last prediction. A method keeps it as far as it can foresee.
    share : float or None
        What part of the paper's budget that is, where it was given so; the run's configuration then tells this instead.
    seed : int
    device : {"cpu", "cuda"} or None
    progress : callable
        To be told what is done and how much it is in all, if the method knows.
    """

    store: Store
    out: Path
    budget: float
    share: float | None = None
    seed: int = 0
    device: str | None = None
    progress: Callable[[int, int], None] = field(default=lambda _done, _total: None)

    def leave(self, config: Mapping[str, Any], predict: Callable[[], Mapping[str, NDArray[Any]]]) -> RunResult:
        """Make the run in its folder, unless it is finished there.

        Parameters
        ----------
        config : mapping of JSON values
            What the run is, besides store, budget and seed; ``method`` is its name.
        predict : callable
            Gives the scores of each split, rows in the order of the split.

        Raises
        ------
        ArgumentError
            If the budget is not above 0.
        ScoreError
            If a split is empty, or a class missing in it though the store is whole, said before `predict` is called; or
            if predictions cannot be scored.
        MmtkError
            If the folder holds another run or is in use.
        """
        if not self.budget > 0:
            raise ArgumentError("budget", expected="seconds above 0", found=str(self.budget))
        info = self.store.info
        for split in self.store.splits:
            check_scorable(split)
        facts = {
            **config, **({"budget": self.budget} if self.share is None else {"share": self.share}), "seed": self.seed,
            "store": {
                "flag": info.flag, "size": info.size, "edition": info.edition, "synthetic": info.synthetic,
                "partial": info.partial, "content": self.store.content_digest(),
            },
            "made_with": environment(),
        }
        with checkpoints.alone(self.out):
            checkpoints.claim(self.out, facts)
            if (self.out / checkpoints.RESULT).exists():
                return read_result(self.out)
            name = f"{config['method']}_{info.size}_{self.budget:g}s_seed{self.seed}"
            return write_result(self.out, self.store, name, predict())


@dataclass(frozen=True)
class Method:
    """A way to predictions.

    Attributes
    ----------
    name : its place in the registry and in names of folders
    title : for tables
    run : what it does with a job
    facts : what a program may want to know of it, as JSON values
    batches : how many batches it counts in its progress on a training split; None if it goes by its budget
    """

    name: str
    title: str
    run: Callable[[Job], RunResult]
    facts: Mapping[str, Any] = field(default_factory=dict, compare=False)
    batches: Callable[[int], int] | None = None


_METHODS: dict[str, Method] = {}
_LAZY = ("mmtk.training.search",)  # modules that register methods of this package


def register(name: str, title: str) -> Callable[[Callable[[Job], RunResult]], Callable[[Job], RunResult]]:
    """Register the function that is decorated as a method.

    Raises
    ------
    ArgumentError
        If the name is taken.
    """

    def decorate(run: Callable[[Job], RunResult]) -> Callable[[Job], RunResult]:
        add(Method(name, title, run, {"method": name}))
        return run

    return decorate


def add(method: Method) -> None:
    """Put a method into the registry.

    Raises
    ------
    ArgumentError
        If its name is taken.
    """
    if method.name in _METHODS:
        raise ArgumentError("method", expected="a name that is not taken", found=method.name)
    _METHODS[method.name] = method


def list_methods() -> tuple[Method, ...]:
    """All methods that are registered."""
    for module in _LAZY:
        import_module(module)
    return tuple(_METHODS.values())


def get_method(name: str) -> Method:
    """The method of that name.

    Raises
    ------
    ArgumentError
        If there is none.
    """
    methods = {method.name: method for method in list_methods()}
    if name not in methods:
        raise ArgumentError("method", expected=f"one of {', '.join(sorted(methods))}", found=name)
    return methods[name]


def trained(model: str, protocol: str | Protocol, epochs: int | None = None, **options: Any) -> Method:
    """A model under a protocol, as a method.

    Parameters
    ----------
    model : {"resnet18", "resnet50"}
    protocol : str or Protocol
    epochs : int, optional
        Instead of the protocol's number.
    **options
        Further arguments of `fit`; those that are not None stand in the method's name.

    Raises
    ------
    ArgumentError
        If there is no such model or protocol, or epochs are below 1.
    """
    if epochs is not None and epochs < 1:
        raise ArgumentError("epochs", expected="at least 1", found=str(epochs))
    if model not in MODELS:
        raise ArgumentError("model", expected=f"one of {', '.join(MODELS)}", found=model)
    chosen = get_protocol(protocol) if isinstance(protocol, str) else protocol
    given = {name: value for name, value in options.items() if value is not None}
    length = chosen.epochs if epochs is None else epochs

    def run(job: Job) -> RunResult:
        from mmtk.training._fit import fit

        return fit(
            job.store, chosen, model, job.out, seed=job.seed, epochs=length, device=job.device, progress=job.progress,
            **given,
        )

    return Method(
        name="_".join([model, chosen.name, *map(str, given.values())]),
        title=", ".join([model, chosen.name, *map(str, given.values())]),
        run=run,
        facts={"model": model, "protocol": chosen.name, "epochs": length, **given},
        batches=lambda images: length * -(-images // chosen.batch_size),
    )


for _model, _protocol in product(MODELS, PROTOCOLS):
    add(trained(_model, _protocol))
