"""Methods: whatever leaves predictions of train, val and test when given a store, a budget in seconds and a seed.

A method is a function of a `Job`, registered under a name::

    @register("mine", "my method")
    def mine(job):
        return job.leave({"method": "mine"}, lambda: {split.name: scores_of(split) for split in job.store.splits})

or a class in scikit-learn's manner, with ``fit`` and ``predict_proba``; see `register`. `Job.leave` keeps the folder of
the run: another run in it, or one at work, is refused, and a finished one is not repeated. A model under a protocol is
a method too, made by `trained` and registered as ``resnet18_isbi21``; its budget is its epochs, and it takes no heed of
seconds.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray

from mmtk import plugins, runs
from mmtk.base import Progress
from mmtk.errors import ArgumentError
from mmtk.registry import Registry
from mmtk.runs import MODELS, Method, RunConfig, RunResult, StoreFacts
from mmtk.store import Store, with_labels, without_labels
from mmtk.training.protocols import PROTOCOLS, Protocol, get_protocol

_Made = TypeVar("_Made", bound=Callable[..., Any])
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"  # of a method
_PAPER = ((10_000, 2), (50_001, 4))  # auto-sklearn's hours for fewer images than that; 6 for more
SHARE = 1 / 60  # of the paper's budgets, unless one is given: minutes for hours


def paper_budget(images: int) -> float:
    """Seconds that the paper gave auto-sklearn for a dataset of so many images."""
    return 3600.0 * next((hours for below, hours in _PAPER if images < below), 6)


def _ignore(done: int, total: int) -> None:
    """Report progress to nobody."""


@dataclass(frozen=True)
class Job:
    """What a method is given.

    Attributes
    ----------
    store : Store
        Its test split has images but neither labels nor records: asking for them is an error in one line.
    out : path
        Folder of the run.
    budget : float
        Seconds from now on to the last prediction. A method keeps it as far as it can foresee.
    share : float or None
        What part of the paper's budget that is, where it was given so; the run's configuration then tells this instead.
    seed : int
    device : {"cpu", "cuda"} or None
    progress : callable
        Called with what is done and how much there is in all, if the method knows.
    title : str
        What tables call the method, if not by its name.
    begun : float
        When the job was given, by ``time.perf_counter``; the seconds spent since then are kept with the result.
    """

    store: Store
    out: Path
    budget: float
    share: float | None = None
    seed: int = 0
    device: str | None = None
    progress: Progress = _ignore
    title: str = ""
    begun: float = field(default_factory=lambda: time.perf_counter(), compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "store", without_labels(self.store))

    def leave(
        self, config: Mapping[str, Any], predict: Callable[[], Mapping[str, NDArray[Any]]], *, timed: bool = True
    ) -> RunResult:
        """Make the run in its folder, unless it is finished there.

        Parameters
        ----------
        config : mapping of JSON values
            What the run is, besides store, budget and seed; ``method`` is its name.
        predict : callable
            Gives the scores of each split, rows in the order of the split.
        timed : bool
            Whether the budget decides what comes out; if not, the run does not depend on it.

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
        whole = with_labels(self.store)
        for split in whole.splits:
            runs.check_scorable(split)
        given = ({"budget": self.budget} if self.share is None else {"share": self.share}) if timed else {}
        title = "" if self.title == config["method"] else self.title
        facts = RunConfig(
            {**config, **given}, self.seed, StoreFacts.of(whole), made_with=runs.environment(), title=title
        )
        with runs.alone(self.out):
            runs.claim(self.out, facts)
            if (self.out / runs.RESULT).exists():
                return runs.read_result(self.out)
            limit = f"_{self.budget:g}s" if timed else ""
            name = f"{config['method']}_{facts.store.size}{limit}_seed{self.seed}"
            scores = predict()
            spent = round(time.perf_counter() - self.begun, 3)
            budget = round(self.budget, 3) if timed else None
            return runs.write_result(self.out, whole, name, scores, seconds=spent, budget=budget)


def _load_own() -> None:
    import_module("mmtk.training.search")
    import_module("mmtk.training._autokeras")
    import_module("mmtk.training._flaml")
    for model, protocol in product(MODELS.names, PROTOCOLS.names):
        add(trained(model, protocol))


def _load_plugins() -> None:
    def is_known(value: Any) -> bool:
        return any(_place(value) in filter(None, (method.function, method.made_by)) for method in _METHODS)

    plugins.load("mmtk.methods", is_known)


_KINDS = {"cmd": "mmtk.training.commands", "tflite": "mmtk.training.tflite"}  # of methods that are not registered
_METHODS: Registry[Method] = Registry("method", load=_load_own, extend=_load_plugins)


def register(name: str, title: str) -> Callable[[_Made], _Made]:
    """Register the function or class that is decorated, of a module's top level, as a method.

    A function is given a `Job`, and returns what `Job.leave` does. A class is made anew for each run and given the
    training images with their labels, to ``fit``, then the images of each split, to ``predict_proba``: uint8 arrays
    ``(n, h, w)`` or ``(n, h, w, 3)``, or ``(n, d, h, w)`` of volumes; labels ``(n,)``, or ``(n, labels)`` of 0 and 1.
    ``fit`` is given the validation images and labels too if it takes ``X_val`` and ``y_val``, or needs four arguments;
    no test label ever. A class that takes ``random_state`` or ``seed`` is given the seed, ``budget`` the seconds of the
    run. ``predict_proba`` returns a column a class or label; where ``classes_`` tells fewer classes than there are,
    those have a score of 0.

    Parameters
    ----------
    name : str
        For commands and folders: letters, digits, ``.``, ``_`` and ``-``.
    title : str
        For tables.

    Raises
    ------
    ArgumentError
        If the name is taken or malformed, the title is empty, or what is decorated is neither.
    """
    if not re.fullmatch(NAME, name):
        raise ArgumentError("method", expected="a name of letters, digits, ., _ and -", found=repr(name))
    if not (title.strip() and title.isprintable()):
        raise ArgumentError(f"method {name}", expected="a title in one line", found=repr(title))

    def decorate(made: _Made) -> _Made:
        facts, place = {"method": name}, _place(made)
        if not isinstance(made, type):
            if not place:
                raise ArgumentError(f"method {name}", expected="a function or a class", found=type(made).__name__)
            add(Method(name, title, place, facts=facts))
            return made
        if lacking := [part for part in ("fit", "predict_proba") if not callable(getattr(made, part, None))]:
            expected, found = "a class with fit and predict_proba", f"{made.__name__} without {' and '.join(lacking)}"
            raise ArgumentError(f"method {name}", expected=expected, found=found)
        settings = {"name": name, "estimator": place}
        add(Method(name, title, "mmtk.training.estimators:run", settings=settings, facts=facts, made_by=place))
        return made

    return decorate


def _place(made: Any) -> str:
    """Where a function or class stands, as ``module:name``; empty for anything else."""
    name = getattr(made, "__qualname__", None)
    return f"{made.__module__}:{name}" if callable(made) and name else ""


def add(method: Method) -> None:
    """Put a method into the registry.

    Raises
    ------
    ArgumentError
        If its name is taken.
    """
    _METHODS.add(method, method.name)


def list_methods() -> tuple[Method, ...]:
    """All methods that are registered."""
    return tuple(_METHODS)


def get_method(name: str) -> Method:
    """The method of that name, or a command or an exported model.

    Parameters
    ----------
    name : str
        Of a registered method; ``cmd:NAME=WORDS``, a command; the path of a ``.toml`` file that describes a command; or
        ``tflite:FOLDER``, an exported model.

    Raises
    ------
    ArgumentError
        If there is none, or its description is malformed.
    """
    if name in _METHODS:
        return _METHODS.get(name)
    kind, colon, rest = name.partition(":")
    if colon and kind in _KINDS:
        made: Method = import_module(_KINDS[kind]).method_of(rest)
        return made
    if name.endswith(".toml"):
        read: Method = import_module(_KINDS["cmd"]).read_method(name)
        return read
    return _METHODS.get(name, ", cmd:NAME=WORDS, tflite:FOLDER or a .toml file")


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
    chosen = get_protocol(protocol) if isinstance(protocol, str) else protocol
    given = {name: value for name, value in options.items() if value is not None}
    length = chosen.epochs if epochs is None else epochs
    words = [MODELS.get(model).name, chosen.name, *map(str, given.values())]
    return Method(
        "_".join(words), ", ".join(words), f"{__name__}:train",
        settings={"model": model, "protocol": chosen, "epochs": length, **given},
        facts={"model": model, "protocol": chosen.name, "epochs": length, **given},
        epochs=length, batch_size=chosen.batch_size, volume_batch_size=chosen.for_ndim(3).batch_size,
    )


def choose_methods(
    models: Iterable[str], protocols: Iterable[str], names: Iterable[str], epochs: int | None = None, **options: Any
) -> list[Method]:
    """Models under protocols, and methods by name, each once; options are for networks alone, see `trained`.

    Raises
    ------
    ArgumentError
        If one is not known, or two that differ have one name.
    """
    named = [get_method(name) for name in names]
    pairs = [(model, protocol) for model in models for protocol in protocols]
    pairs += [(one.facts["model"], one.facts["protocol"]) for one in named if "protocol" in one.facts]
    methods = [trained(*pair, epochs, **options) for pair in pairs]
    methods += [one for one in named if "protocol" not in one.facts]
    chosen: dict[str, Method] = {}
    for method in methods:
        if chosen.setdefault(method.name, method) != method:
            raise ArgumentError("methods", expected="a name for each", found=f"two that differ, named {method.name}")
    return list(chosen.values())


def train(job: Job, *, model: str, protocol: Protocol, epochs: int, **options: Any) -> RunResult:
    """Train a model under a protocol on the store of a job; see `fit`."""
    from mmtk.training._fit import fit

    return fit(
        job.store, protocol, model, job.out, seed=job.seed, epochs=epochs, device=job.device, progress=job.progress,
        **options,
    )
