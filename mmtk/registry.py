"""Values looked up by name: the mechanism behind datasets, models, protocols and methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from mmtk.errors import ArgumentError, UnknownNameError

T = TypeVar("T")


class Registry(Generic[T]):
    """Values by the names they were added under; a name can be taken only once.

    The package's own values are added before any from outside, whatever is imported first, so that nothing from outside
    can take their names.

    Parameters
    ----------
    noun : str
        What a value is, for errors: "dataset".
    order : sequence of str, optional
        Names that come first, in this order; others follow as they are added.
    load : callable, optional
        Called once, before anything is added or looked up; adds the package's own values.
    extend : callable, optional
        Called once, before the first lookup; adds those of plugins.

    Examples
    --------
    >>> from mmtk.registry import Registry
    >>> colours = Registry("colour")
    >>> colours.add(0xFF0000, "red", "crimson")
    16711680
    >>> colours.get("crimson"), colours.names
    (16711680, ('red',))
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
        """Add a value under a name and aliases, and return it; adding the same value again changes nothing.

        Raises
        ------
        ArgumentError
            If a name is already taken or given twice.
        """
        self._load()
        names = (name, *aliases)
        if all(self._values.get(known) is value for known in names):
            return value
        for taken in names:
            if taken in self._values or names.count(taken) > 1:
                raise ArgumentError(f"{self._noun} {name}", f"the name {taken} is already taken")
        self._values.update(dict.fromkeys(names, value))
        self._first[name] = value
        return value

    def __iter__(self) -> Iterator[T]:
        """Iterate over the values, once each, in the order of `names`."""
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
        """Return the value with this name.

        Parameters
        ----------
        name : str
        others : str
            What else could have been given, for the error.

        Raises
        ------
        UnknownNameError
            If there is none; the error suggests a similar name.
        """
        self._look()
        if name not in self._values:
            raise UnknownNameError.among(self._noun, name, self.names, others, aliases=self._values)
        return self._values[name]

    def _look(self) -> None:
        self._load()
        self._extend()


class _Once:
    """Calls a function once: not again from within that call, but again if it failed."""

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
