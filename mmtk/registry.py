"""Values that are known by name: the one mechanism behind datasets, models, protocols and methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from typing import Generic, TypeVar

from mmtk.errors import ArgumentError

T = TypeVar("T")


class Registry(Generic[T]):
    """Values by the names they were added under; a name is taken once.

    What the package itself has comes before all that is added from outside, whatever is imported first, so that nothing
    from outside can take its names.

    Parameters
    ----------
    noun : str
        What a value is, for errors: "dataset".
    order : sequence of str, optional
        Names that come first, in their order; others follow as they were added.
    load : callable, optional
        Called once, before anything is added or looked up: it adds what the package itself has.
    extend : callable, optional
        Called once, before the first look: it adds what plugins have.
    """

    def __init__(
        self, noun: str, order: Sequence[str] = (), load: Callable[[], object] = lambda: None,
        extend: Callable[[], object] = lambda: None,
    ) -> None:
        self._noun = noun
        self._place = {name: place for place, name in enumerate(order)}
        self._load, self._extend = _Once(load), _Once(extend)
        self._values: dict[str, T] = {}
        self._first: dict[str, T] = {}

    def add(self, value: T, name: str, *aliases: str) -> T:
        """Make a value known under a name and its aliases, and give it back; the same one again changes nothing.

        Raises
        ------
        ArgumentError
            If one of the names is taken, or stands there twice.
        """
        self._load()
        names = (name, *aliases)
        if all(self._values.get(known) is value for known in names):
            return value
        for taken in names:
            if taken in self._values or names.count(taken) > 1:
                what = f"{self._noun} {name}"
                raise ArgumentError(what, expected="a name not yet taken", found=taken)
        self._values.update(dict.fromkeys(names, value))
        self._first[name] = value
        return value

    def __iter__(self) -> Iterator[T]:
        """The values, each once, in the order of `names`."""
        return iter([self._first[name] for name in self.names])

    def __contains__(self, name: object) -> bool:
        self._look()
        return name in self._values

    @property
    def names(self) -> tuple[str, ...]:
        """The first name of each value."""
        self._look()
        return tuple(sorted(self._first, key=lambda name: self._place.get(name, len(self._place))))

    def get(self, name: str, others: str = "") -> T:
        """The value of a name.

        Parameters
        ----------
        name : str
        others : str
            What else could have been given, for the error.

        Raises
        ------
        ArgumentError
            If there is none; it suggests what comes close.
        """
        self._look()
        if name not in self._values:
            close = get_close_matches(name, self._values, n=1)
            remedy = f"did you mean {close[0]}?" if close else ""
            raise ArgumentError(
                f"{self._noun} {name}", expected=f"one of {', '.join(self.names)}{others}", remedy=remedy
            )
        return self._values[name]

    def _look(self) -> None:
        self._load()
        self._extend()


class _Once:
    """Calls once; not again from within, and again where it failed."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call, self._begun = call, False

    def __call__(self) -> None:
        if self._begun:
            return
        self._begun = True
        try:
            self._call()
        except BaseException:
            self._begun = False
            raise
