"""What a source says of an image, in its own words, as the class, the labels and the split of a dataset."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmtk.errors import SourceError

SPLIT_WORDS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}
FLAG_WORDS = {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}


@dataclass(frozen=True)
class Words:
    """The words of a source.

    Attributes
    ----------
    classes : tuple of str
    names : dict of str to str
        What the source calls some of the classes, and their names.
    """

    classes: tuple[str, ...]
    names: dict[str, str]

    def label(self, where: str, word: str) -> int:
        """The number of the class that the source calls so.

        Raises
        ------
        SourceError
            If there is none.
        """
        name = self.names.get(word.strip(), word.strip())
        if name not in self.classes:
            expected = f"a class, one of {', '.join(self.classes)}"
            remedy = "add it to classes, or to names with the class that it means"
            if not word.strip():
                remedy = "fill it in, or leave the row out"
            raise SourceError(where, expected=expected, found=repr(word), remedy=remedy)
        return self.classes.index(name)

    def labels(self, where: str, cell: str, separator: str) -> tuple[int, ...]:
        """Of each class whether it is among the words of a cell; names with no class behind them say that none is.

        Raises
        ------
        SourceError
            If a word is neither, or the cell says both.
        """
        words = [word.strip() for word in cell.split(separator)]
        none = [word for word in words if self.names.get(word) == ""]
        there = {self.label(where, word) for word in words if word not in none}
        if none and there:
            raise SourceError(where, expected=f"{none[0]!r} alone, as it means no class", found=repr(cell))
        return tuple(int(number in there) for number in range(len(self.classes)))


def flag_of(where: str, word: str) -> int:
    """A label that is set or not, 1 or 0.

    Raises
    ------
    SourceError
        If the word is anything else, such as blank or -1 for unknown.
    """
    value = FLAG_WORDS.get(word.strip().lower())
    if value is None:
        remedy = "decide what it means, or leave the row out"
        raise SourceError(where, expected="0 or 1", found=repr(word), remedy=remedy)
    return value


def split_of(where: str, word: str) -> str:
    """The split that a word means.

    Raises
    ------
    SourceError
        If it means none.
    """
    split = SPLIT_WORDS.get(word.strip().lower())
    if split is None:
        raise SourceError(where, expected="a split, train, val or test", found=repr(word))
    return split


def subject_in(where: str, name: str, pattern: str) -> str:
    """Whom an image is of by its path: the first group of a pattern, or all that it fits; empty without a pattern.

    Raises
    ------
    SourceError
        If it fits nowhere.
    """
    if not pattern:
        return ""
    match = re.search(pattern, name)
    subject = match[1] if match and match.re.groups else match[0] if match else ""
    if not subject:
        remedy = "mend the pattern subject"
        raise SourceError(where, expected=f"a subject by the pattern {pattern}", found="none", remedy=remedy)
    return subject
