"""The facts of somebody's own dataset in an ``.npz``: one more member, which who reads MedMNIST's arrays never sees.

It is ``facts.npy``, an array of bytes: the facts of a store as FORMAT.md has them, without what is said of one file
alone. An official file has no such member, and one of a known dataset needs none.
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
MOST_FACTS = 1 << 20  # bytes
_CAME = re.compile(r"; imported from the file with MD5 [0-9a-f]{32}$")
_NOT_OWN = {"official", "clean", "grouped"}  # choices of pixels and split that published datasets alone have
_REMEDY = "export it again"


def facts_array(info: StoreInfo) -> Array:
    """The facts as the member has them: equal ones for a store and for what its export was imported to."""
    lasting = replace(info, plan_hash="", membership=_CAME.sub("", info.membership))
    return np.frombuffer(lasting.to_json().encode(), np.uint8)


def own_facts(path: Path, text: str, marks: tuple[str, ...]) -> StoreInfo:
    """The facts that an ``.npz`` brings with it.

    Raises
    ------
    StoreError
        If they are no facts of an own dataset, have classes that none could have, contradict the file's marks, or claim
        a dataset that was published.
    """
    what = f"{path}: {FACTS}"
    try:
        info = StoreInfo.from_json(text)
    except ValueError as error:
        expected = "facts as mmtk export writes them"
        raise StoreError(what, expected=expected, found=str(error), remedy=_REMEDY) from None
    try:
        check_classes(f"{what}: classes", info.task, info.classes)
    except ArgumentError as error:
        raise StoreError(error.what, expected=error.expected, found=error.found, remedy=_REMEDY) from None
    known = find_dataset(info.flag)
    if not info.own or _NOT_OWN & {info.pixels, info.split} or (known and known.counts):
        found = f"those of {info.flag}{f', edition {info.edition}' if info.edition else ''}, {info.pixels} pixels"
        remedy = "an official file has no facts: its MD5 tells what it is"
        raise StoreError(what, expected="facts of an own dataset", found=found, remedy=remedy)
    if marks != (told := marks_of(info.synthetic, info.partial)):
        expected = f"the marks of its facts ({' '.join(told) or 'none'})"
        raise StoreError(path, expected=expected, found=" ".join(marks) or "none", remedy=_REMEDY)
    return info


def as_imported(info: StoreInfo, md5: str) -> StoreInfo:
    """The facts of the store that a file of these facts and this MD5 becomes."""
    came = f"{info.membership}; imported from the file with MD5 {md5}"
    return replace(info, membership=came, plan_hash=facts_hash([md5, info.to_json()]))
