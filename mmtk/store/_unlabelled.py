"""A store as a method may see it: its test split has neither labels nor records.

A source file name often contains the class ("malignant (3).png"), and the crop box can reveal it too, so the records
are hidden with the labels. `with_labels` restores the whole store for scoring. The labels remain reachable through the
file, by its path or the mapping under the images: honest code does not come across them by mistake, and any other code
could open the file anyway.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NoReturn, Self
from weakref import WeakKeyDictionary

from mmtk.errors import StoreError
from mmtk.store._reader import Split, Store, _fields, _reopen_split

_HIDDEN = ("labels", "records")
_whole: WeakKeyDictionary[Split, Split] = WeakKeyDictionary()  # from a split without labels to the original


class _Unlabelled(Split):
    """A split with images only: accessing its labels or records is an error."""

    def __getattr__(self, name: str) -> NoReturn:
        if name in _HIDDEN:
            raise StoreError(f"{self.store_path} {self.name}", f"its {name} are hidden from methods")
        raise AttributeError(name)

    def __reduce__(self) -> tuple[Any, ...]:
        changes = self.changes()
        if changes.keys() >= set(self.arrays):  # the file is not needed
            return _unlabelled_from_fields, (_fields(self),)
        return _reopen_unlabelled, (self._place, self._read["store_digest"], self._read["name"], changes)

    def __copy__(self) -> Self:
        return self


def without_labels(store: Store) -> Store:
    """A store whose test split has images but neither labels nor records, even after pickling.

    Parameters
    ----------
    store : Store
        Returned as it is if it already has none.

    Returns
    -------
    Store

    Examples
    --------
    >>> import mmtk
    >>> from mmtk.store import without_labels
    >>> hidden = without_labels(mmtk.open("stores/breastmnist_28.h5"))
    >>> hidden.test.arrays, hidden.train.arrays
    (('images',), ('images', 'labels', 'records'))
    """
    if isinstance(store.test, _Unlabelled):
        return store
    read = {name: value for name, value in store._read.items() if name != "test"}
    return replace(store, test=_unlabelled(store.test), _read=read)


def with_labels(store: Store) -> Store:
    """Undo `without_labels`, for scoring; a store with labels is returned as it is.

    Raises
    ------
    StoreError
        If the labels are lost, because the store was pickled while its file was missing.

    Examples
    --------
    >>> import mmtk
    >>> from mmtk.store import with_labels, without_labels
    >>> store = mmtk.open("stores/breastmnist_28.h5")
    >>> with_labels(without_labels(store)).test.labels.shape == store.test.labels.shape
    True
    """
    if not isinstance(store.test, _Unlabelled):
        return store
    if store.test not in _whole:
        raise StoreError(store.path, "cannot be scored: its test labels were lost when it was pickled without its file")
    return replace(store, test=_whole[store.test])


def _unlabelled(split: Split) -> _Unlabelled:
    facts = {name: value for name, value in vars(split).items() if name not in _HIDDEN}
    facts["_read"] = {name: value for name, value in split._read.items() if name not in _HIDDEN}
    unlabelled = _with_attributes(facts)
    _whole[unlabelled] = split
    return unlabelled


def _with_attributes(facts: dict[str, Any]) -> _Unlabelled:
    unlabelled = object.__new__(_Unlabelled)
    vars(unlabelled).update(facts)
    return unlabelled


def _reopen_unlabelled(path: Any, digest: str, name: str, changes: dict[str, Any]) -> _Unlabelled:
    return _unlabelled(_reopen_split(path, digest, name, changes))


def _unlabelled_from_fields(facts: dict[str, Any]) -> _Unlabelled:
    return _with_attributes({"_mapping": None, "_read": {}, "_forms": {}, **facts})
