"""The facts of a user's own dataset in an ``.npz``: one extra member, which readers of MedMNIST's arrays never see.

It is ``facts.npy``, an array of bytes: a store's facts as described in FORMAT.md, except for those that concern a
single file. An official file has no such member, and a file of a known dataset needs none.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from mmtk.datasets import find_dataset
from mmtk.datasets.checks import check_classes
from mmtk.datasets.marks import marks_of
from mmtk.datasets.steps import facts_hash
from mmtk.errors import ArgumentError, StoreError
from mmtk.store._format import Array, StoreInfo

FACTS = "facts"  # the array's name
MAX_FACTS = 1 << 20  # bytes
_IMPORTED_FROM = re.compile(r"; imported from the file with MD5 [0-9a-f]{32}$")
_NOT_OWN = {"official", "clean", "grouped"}  # choices of pixels and split that only published datasets have
_REMEDY = "export it again"


def facts_array(info: StoreInfo) -> Array:
    """The bytes of the member; a store and a store imported from its export have the same."""
    lasting = replace(info, plan_hash="", membership=_IMPORTED_FROM.sub("", info.membership))
    return np.frombuffer(lasting.to_json().encode(), np.uint8)


def own_facts(path: Path, text: str, marks: tuple[str, ...]) -> StoreInfo:
    """Parse the facts embedded in an ``.npz``.

    Raises
    ------
    StoreError
        If they are not those of a user's own dataset, have invalid classes, contradict the file's marks, or claim
        to be a published dataset.
    """
    what = f"{path}: {FACTS}"
    try:
        info = StoreInfo.from_json(text)
    except ValueError as error:
        raise StoreError(what, f"invalid: {error}", remedy=_REMEDY) from None
    try:
        check_classes(f"{what}: classes", info.task, info.classes)
    except ArgumentError as error:
        raise StoreError(
            error.what, error.problem, expected=error.expected, found=error.found, remedy=_REMEDY
        ) from None
    known = find_dataset(info.flag)
    if not info.own or _NOT_OWN & {info.pixels, info.split} or (known and known.counts):
        which = f"{info.flag}{f', edition {info.edition}' if info.edition else ''}, {info.pixels} pixels"
        remedy = "remove that member: an official file is recognised by its MD5"
        raise StoreError(what, f"describe a published dataset ({which}), not one of your own", remedy=remedy)
    if marks != (expected := marks_of(info.synthetic, info.partial)):
        raise StoreError(
            path, "the comment of the archive contradicts its facts", expected=" ".join(expected) or "no marks",
            found=" ".join(marks) or "no marks", remedy=_REMEDY,
        )
    return info


def as_imported(info: StoreInfo, md5: str) -> StoreInfo:
    """The facts of a store imported from a file with these facts and this MD5."""
    membership = f"{info.membership}; imported from the file with MD5 {md5}"
    return replace(info, membership=membership, plan_hash=facts_hash([md5, info.to_json()]))
