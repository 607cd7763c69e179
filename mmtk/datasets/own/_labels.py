"""Translate the words of a source into classes, labels, splits and subjects."""

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
class ClassWords:
    """The words that a source uses for classes.

    Attributes
    ----------
    classes : tuple of str
    names : dict of str to str
        The source's words for some of the classes, with the names of these classes.
    """

    classes: tuple[str, ...]
    names: dict[str, str]

    def label(self, where: str, word: str) -> int:
        """The number of the class for a word.

        Raises
        ------
        SourceError
            If the word is not a class.
        """
        name = self.names.get(word.strip(), word.strip())
        if name not in self.classes:
            expected = f"one of {', '.join(self.classes)}"
            if not word.strip():
                raise SourceError(where, "has no class", expected=expected, remedy="fill it in, or leave the row out")
            remedy = "add it to classes, or to names with the class that it means"
            raise SourceError(where, f"{word!r} is not a class", expected=expected, remedy=remedy)
        return self.classes.index(name)

    def labels(self, where: str, cell: str, separator: str) -> tuple[int, ...]:
        """1 or 0 for each class, by whether it is among the words of a cell; some words mean that there is none.

        Raises
        ------
        SourceError
            If a word is unknown, or the cell contains both classes and a word for none.
        """
        words = [word.strip() for word in cell.split(separator)]
        none = [word for word in words if self.names.get(word) == ""]
        there = {self.label(where, word) for word in words if word not in none}
        if none and there:
            raise SourceError(where, f"{cell!r} contains classes beside {none[0]!r}, which means no class")
        return tuple(int(number in there) for number in range(len(self.classes)))


def flag_of(where: str, word: str) -> int:
    """A binary label, 1 or 0.

    Raises
    ------
    SourceError
        If the word is anything else, such as blank, or -1 for unknown.
    """
    value = FLAG_WORDS.get(word.strip().lower())
    if value is None:
        remedy = "replace it by 0 or 1, or leave the row out"
        raise SourceError(where, found=repr(word), expected="0 or 1", remedy=remedy)
    return value


def split_of(where: str, word: str) -> str:
    """The split for a word.

    Raises
    ------
    SourceError
        If the word is not a split.
    """
    split = SPLIT_WORDS.get(word.strip().lower())
    if split is None:
        raise SourceError(where, f"{word!r} is not a split", expected="train, val or test")
    return split


def subject_in(where: str, name: str, pattern: str) -> str:
    """The subject in a path: the first group of a pattern, or its whole match; empty without a pattern.

    Raises
    ------
    SourceError
        If the pattern does not match.
    """
    if not pattern:
        return ""
    match = re.search(pattern, name)
    subject = match[1] if match and match.re.groups else match[0] if match else ""
    if not subject:
        raise SourceError(where, f"does not match the pattern of subject, {pattern}", remedy="correct subject")
    return subject
