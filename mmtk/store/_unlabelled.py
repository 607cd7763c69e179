"""A store as a method may see it: its test split has neither labels nor records.

A source's file name often names the class ("malignant (3).png"), and where the image was cut from the raw one can
reveal it too, so the records go with the labels. Whoever scores gets the whole store back by `with_labels`. What leads
to the labels is the file alone, by its path or by the mapping under the images: honest code does not find them by
mistake, and other code could open the file anyway.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NoReturn, Self
from weakref import WeakKeyDictionary

from mmtk.errors import StoreError
from mmtk.store._reader import Split, Store, _fields, _split_again

_HIDDEN = ("labels", "records")
_whole: WeakKeyDictionary[Split, Split] = WeakKeyDictionary()  # the split itself, of one without labels


class _Unlabelled(Split):
    """A split of images alone: asking for its labels or records is an error."""

    def __getattr__(self, name: str) -> NoReturn:
        if name in _HIDDEN:
            what = f"{self.store_path} {self.name}"
            raise StoreError(what, expected=f"a method without its {name}", found="one that asks for them")
        raise AttributeError(name)

    def __reduce__(self) -> tuple[Any, ...]:
        changes = self.changes()
        if changes.keys() >= set(self.arrays):  # nothing of the file is needed
            return _again_alone, (_fields(self),)
        return _again, (self._place, self._read["store_digest"], self._read["name"], changes)

    def __copy__(self) -> Self:
        return self


def without_labels(store: Store) -> Store:
    """A store whose test split has images but no labels and no records; it stays so wherever it is pickled to.

    Parameters
    ----------
    store : Store
        One that is so already is given back.
    """
    if isinstance(store.test, _Unlabelled):
        return store
    read = {name: value for name, value in store._read.items() if name != "test"}
    return replace(store, test=_unlabelled(store.test), _read=read)


def with_labels(store: Store) -> Store:
    """The whole store again, to score by it; one that has its labels is given back.

    Raises
    ------
    StoreError
        If its labels are not to be had, since it was pickled without the file being there.
    """
    if not isinstance(store.test, _Unlabelled):
        return store
    if store.test not in _whole:
        raise StoreError(store.path, expected="a store that can be scored", found="one that lost its test labels")
    return replace(store, test=_whole[store.test])


def _unlabelled(split: Split) -> _Unlabelled:
    facts = {name: value for name, value in vars(split).items() if name not in _HIDDEN}
    facts["_read"] = {name: value for name, value in split._read.items() if name not in _HIDDEN}
    found = _bare(facts)
    _whole[found] = split
    return found


def _bare(facts: dict[str, Any]) -> _Unlabelled:
    found = object.__new__(_Unlabelled)
    vars(found).update(facts)
    return found


def _again(path: Any, digest: str, name: str, changes: dict[str, Any]) -> _Unlabelled:
    return _unlabelled(_split_again(path, digest, name, changes))


def _again_alone(facts: dict[str, Any]) -> _Unlabelled:
    return _bare({"_mapping": None, "_read": {}, "_forms": {}, **facts})
