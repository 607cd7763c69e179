"""Methods: anything that makes predictions of train, val and test from a store, a budget in seconds and a seed.

A method is a function of a `Job`, registered under a name::

    @register("mine", "my method")
    def mine(job):
        return job.leave({"method": "mine"}, lambda: {split.name: scores_of(split) for split in job.store.splits})

or a scikit-learn style class with ``fit`` and ``predict_proba``; see `register`. `Job.leave` manages the run's folder:
it raises if another run is in it or in progress, and does not repeat a finished one. A model under a protocol is a
method too, made by `trained` and registered as ``resnet18_isbi21``; its budget is its epochs, and it ignores seconds.
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

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"  # of a method
_PAPER = ((10_000, 2), (50_001, 4))  # auto-sklearn's hours for fewer images than this; 6 for more
SHARE = 1 / 60  # of the paper's budgets by default: minutes instead of hours


def paper_budget(images: int) -> float:
    """Return the time the paper gave auto-sklearn for a dataset with this many images.

    Parameters
    ----------
    images : int
        Number of images in all splits.

    Returns
    -------
    float
        Seconds.

    Examples
    --------
    >>> from mmtk.training import paper_budget
    >>> paper_budget(780), paper_budget(107180)
    (7200.0, 21600.0)
    """
    return 3600.0 * next((hours for below, hours in _PAPER if images < below), 6)


def _ignore(done: int, total: int) -> None:
    """Ignore progress."""


@dataclass(frozen=True)
class Job:
    """The task of a method: a store, a folder for the run, a budget and a seed.

    Attributes
    ----------
    store : Store
        Its test split has images but neither labels nor records; accessing them raises a one-line error.
    out : Path
        Folder of the run.
    budget : float
        Seconds from now until the last prediction, which a method should keep as well as it can.
    share : float or None
        The budget as a share of the paper's, if it was given that way; the run's configuration then holds this instead.
    seed : int
    device : {"cpu", "cuda"} or None
    progress : callable
        Called with the amount done and the total, if the method knows them.
    title : str
        The method's title in tables, if it is not its name.
    begun : float
        Start of the job by ``time.perf_counter``; the seconds since then are saved with the result.

    Examples
    --------
    >>> import mmtk
    >>> import numpy as np
    >>> from pathlib import Path
    >>> from mmtk.training import Job
    >>> job = Job(mmtk.open("stores/breastmnist_28.h5"), Path("out/constant"), budget=60)
    >>> predict = lambda: {split.name: np.full((len(split), 2), 0.5) for split in job.store.splits}
    >>> result = job.leave({"method": "constant"}, predict)
    >>> result.metrics["test"].auc
    0.5
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
        """Make the run in its folder, unless it is already finished.

        Parameters
        ----------
        config : mapping of JSON values
            The run's configuration besides store, budget and seed; ``method`` is its name.
        predict : callable
            Returns the scores of each split by name, (n, classes or labels) with rows in the order of the split.
        timed : bool
            Whether the result depends on the budget; if not, it is not part of the configuration.

        Returns
        -------
        RunResult

        Raises
        ------
        ArgumentError
            If the budget is not positive.
        ScoreError
            If a split is empty, or lacks a class although the store is not partial, before `predict` is called; or if
            predictions cannot be scored.
        MmtkError
            If the folder holds another run or is in use.
        """
        if not self.budget > 0:
            raise ArgumentError("budget", found=f"{self.budget} s", expected="more than 0")
        labelled = with_labels(self.store)
        for split in labelled.splits:
            runs.check_scorable(split)
        given = ({"budget": self.budget} if self.share is None else {"share": self.share}) if timed else {}
        title = "" if self.title == config["method"] else self.title
        facts = RunConfig(
            {**config, **given}, self.seed, StoreFacts.of(labelled), made_with=runs.environment(), title=title
        )
        with runs.lock_folder(self.out):
            runs.ensure_config(self.out, facts)
            if (self.out / runs.RESULT).exists():
                return runs.read_result(self.out)
            limit = f"_{self.budget:g}s" if timed else ""
            name = f"{config['method']}_{facts.store.size}{limit}_seed{self.seed}"
            scores = predict()
            spent = round(time.perf_counter() - self.begun, 3)
            budget = round(self.budget, 3) if timed else None
            return runs.write_result(self.out, labelled, name, scores, seconds=spent, budget=budget)


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


_KINDS = {"cmd": "mmtk.training.commands", "tflite": "mmtk.training.tflite"}  # of methods outside the registry
_METHODS: Registry[Method] = Registry("method", load=_load_own, extend=_load_plugins)


def register(name: str, title: str) -> Callable[[_Decorated], _Decorated]:
    """Register the decorated function or class, which must be at a module's top level, as a method.

    A function takes a `Job` and returns the result of `Job.leave`. A class is instantiated for each run; its ``fit``
    gets the training images and labels, then its ``predict_proba`` the images of each split: uint8 arrays (n, h, w),
    (n, h, w, 3) or, for volumes, (n, d, h, w); labels are (n,), or (n, labels) of 0 and 1. ``fit`` also gets the
    validation images and labels if it takes ``X_val`` and ``y_val`` or requires four arguments. Test labels are never
    given. A class that takes ``random_state`` or ``seed`` gets the seed, one that takes ``budget`` the seconds of the
    run. ``predict_proba`` returns a column per class or label; classes missing from ``classes_`` get a score of 0.

    Parameters
    ----------
    name : str
        For commands and folders: letters, digits, ``.``, ``_`` and ``-``.
    title : str
        For tables.

    Returns
    -------
    callable
        The decorator, which returns the function or class unchanged.

    Raises
    ------
    ArgumentError
        If the name is taken or malformed, the title is empty, or the decorated object is neither function nor class.

    Examples
    --------
    >>> import mmtk
    >>> import numpy as np
    >>> @mmtk.method("mean-brightness", "Mean brightness")
    ... class MeanBrightness:
    ...     def fit(self, images, labels):
    ...         pass
    ...     def predict_proba(self, images):
    ...         bright = images.mean(axis=(1, 2)) / 255
    ...         return np.stack([1 - bright, bright], axis=1)
    """
    if not re.fullmatch(NAME, name):
        raise ArgumentError(f"method {name!r}", "the name is malformed", expected="letters, digits, ., _ and -")
    if not (title.strip() and title.isprintable()):
        raise ArgumentError(f"method {name}", found=f"title {title!r}", expected="one line of text")

    def decorate(made: _Decorated) -> _Decorated:
        facts, place = {"method": name}, _place(made)
        if not isinstance(made, type):
            if not place:
                raise ArgumentError(f"method {name}", found=f"a {type(made).__name__}", expected="a function or class")
            add(Method(name, title, place, facts=facts))
            return made
        if missing := [part for part in ("fit", "predict_proba") if not callable(getattr(made, part, None))]:
            raise ArgumentError(f"method {name}", f"the class {made.__name__} has no {' and no '.join(missing)}")
        settings = {"name": name, "estimator": place}
        add(Method(name, title, "mmtk.training.estimators:run", settings=settings, facts=facts, made_by=place))
        return made

    return decorate


def _place(made: Any) -> str:
    """The location of a function or class, as ``module:name``; empty for anything else."""
    name = getattr(made, "__qualname__", None)
    return f"{made.__module__}:{name}" if callable(made) and name else ""


def add(method: Method) -> None:
    """Add a method to the registry.

    Raises
    ------
    ArgumentError
        If its name is taken.
    """
    _METHODS.add(method, method.name)


def list_methods() -> tuple[Method, ...]:
    """Return all registered methods.

    Returns
    -------
    tuple of Method

    Examples
    --------
    >>> from mmtk.training import list_methods
    >>> {"sklearn", "resnet18_isbi21"} <= {method.name for method in list_methods()}
    True
    """
    return tuple(_METHODS)


def get_method(name: str) -> Method:
    """Return the method with this name, or the one made from a command or an exported model.

    Parameters
    ----------
    name : str
        The name of a registered method; ``cmd:NAME=WORDS`` for a command; the path of a ``.toml`` file that describes a
        command; or ``tflite:FOLDER`` for an exported model.

    Returns
    -------
    Method

    Raises
    ------
    ArgumentError
        If there is no such method, or its description is malformed.

    Examples
    --------
    >>> from mmtk.training import get_method
    >>> get_method("resnet18_isbi21").facts
    {'model': 'resnet18', 'protocol': 'isbi21', 'epochs': 100}
    >>> get_method("cmd:mine=python train.py").facts
    {'method': 'mine', 'command': ['python', 'train.py']}
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
    """Return a model trained under a protocol as a method.

    Parameters
    ----------
    model : {"resnet18", "resnet50"}
    protocol : str or Protocol
    epochs : int, optional
        Replaces the protocol's number of epochs.
    **options
        Further arguments of `fit`; those that are not None become part of the method's name.

    Returns
    -------
    Method

    Raises
    ------
    ArgumentError
        If there is no such model or protocol, or `epochs` is less than 1.

    Examples
    --------
    >>> from mmtk.training import trained
    >>> method = trained("resnet18", "isbi21", epochs=10, resolution=224)
    >>> method.name, method.epochs
    ('resnet18_isbi21_224', 10)
    """
    if epochs is not None and epochs < 1:
        raise ArgumentError("epochs", found=str(epochs), expected="at least 1")
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
    """Return methods for all models under all protocols, and methods by name, without duplicates.

    Parameters
    ----------
    models : iterable of str
    protocols : iterable of str
        Names or protocol files.
    names : iterable of str
        Further methods, as `get_method` takes them.
    epochs : int, optional
        Replaces the protocols' number of epochs.
    **options
        Further options of networks; see `trained`.

    Returns
    -------
    list of Method

    Raises
    ------
    ArgumentError
        If a name is unknown, or two different methods have the same name.

    Examples
    --------
    >>> from mmtk.training import choose_methods
    >>> [method.name for method in choose_methods(["resnet18", "resnet50"], ["isbi21"], ["sklearn"])]
    ['resnet18_isbi21', 'resnet50_isbi21', 'sklearn']
    """
    named = [get_method(name) for name in names]
    pairs = [(model, protocol) for model in models for protocol in protocols]
    pairs += [(method.facts["model"], method.facts["protocol"]) for method in named if "protocol" in method.facts]
    methods = [trained(*pair, epochs, **options) for pair in pairs]
    methods += [method for method in named if "protocol" not in method.facts]
    chosen: dict[str, Method] = {}
    for method in methods:
        if chosen.setdefault(method.name, method) != method:
            raise ArgumentError("methods", f"two different ones are named {method.name}", remedy="rename one of them")
    return list(chosen.values())


def train(job: Job, *, model: str, protocol: Protocol, epochs: int, **options: Any) -> RunResult:
    """Train a model under a protocol on a job's store; see `fit`."""
    from mmtk.training._fit import fit

    return fit(
        job.store, protocol, model, job.out, seed=job.seed, epochs=epochs, device=job.device, progress=job.progress,
        **options,
    )
