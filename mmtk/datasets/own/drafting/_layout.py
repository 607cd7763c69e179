"""Infer which parts of image paths are class, subject and split."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from typing import NamedTuple

from mmtk.datasets.collecting import natural_key
from mmtk.datasets.own._labels import SPLIT_WORDS
from mmtk.datasets.own.drafting._look import ending_of

_MOST_CLASSES = 100
_GRADES = {"", "grade", "class", "stage", "type", "level", "birads", "kl", "score", "cat", "category", "label"}
_PATIENTS = re.compile(
    r"(?:^|[^a-z])(?:patients?|pat|pt|p|subjects?|subj|sub|s|participants?|persons?|cases?|pid|mrn|id|study)$"
)
_COLLECTIONS = re.compile(r"(?:.*[^a-z])?(?:parts?|images?|imgs?|batch|chunk|folder|dir|archive|vol|disk)[\W_]*[0-9]+")


class Layout(NamedTuple):
    """Patterns of paths, and the values of their fields.

    ``left`` is the number of images that do not match; ``parts`` are the splits given by the source; ``crossing`` is
    the number of apparent subjects in several splits, which are therefore not used as subjects.
    """

    patterns: tuple[str, ...]
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    parts: tuple[str, ...]
    subjects: int
    left: int
    in_names: bool
    crossing: int


def infer_layout(names: Sequence[str], everything: Collection[str], folders: bool = False) -> Layout:
    """Infer the layout of images, or of folders of series, from their paths.

    Parameters
    ----------
    names : sequence of str
    everything : collection of str
        All files; if there are others among the images, patterns contain suffixes.
    folders : bool
        Whether the names are those of folders.
    """
    depths = Counter(name.count("/") for name in names)
    depth = max(depths, key=lambda count: (depths[count], -count))
    fitting = [name.split("/") for name in names if name.count("/") == depth]
    levels = [sorted({parts[level] for parts in fitting}, key=natural_key) for level in range(depth)]
    split = next((level for level, words in enumerate(levels) if _are_splits(words)), None)
    free = [
        level for level, words in enumerate(levels) if len(words) > 1 and level != split and not _are_collections(words)
    ]
    place, person = _roles(free, levels, fitting)
    parts = tuple({SPLIT_WORDS[word.lower()]: 0 for word in levels[split]}) if split is not None else ()
    taken = "train" in parts and "test" in parts
    texts = []
    for level, words in enumerate(levels):
        role = {place: "{class}", person: "{subject}", split: "{split}" if taken else "*"}.get(level, "*")
        texts.append(role if len(words) > 1 else literal(words[0]))
    stems = [row[-1][: len(row[-1]) - (0 if folders else len(ending_of(row[-1])))] for row in fitting]
    mark = "" if person is not None or folders else _subject_mark(stems)
    subjects = [stem.partition(mark)[0] for stem in stems] if mark else [row[person] for row in fitting] if (
        person is not None
    ) else []
    crossing = _crossing(subjects, [row[split].lower() for row in fitting]) if taken and split is not None else 0
    if crossing:
        subjects, mark = [], ""
        texts = [text.replace("{subject}", "*") for text in texts]
    leaf = f"{{subject}}{mark}*" if mark else "*"
    head = "/".join([*texts, leaf])
    classes = tuple(levels[place]) if place is not None else ()
    patterns = (f"{head}/",) if folders else _with_endings(head, fitting, depth, everything)
    counts = Counter(row[place] for row in fitting) if place is not None else Counter[str]()
    numbers = tuple(counts[word] for word in classes)
    left = len(names) - len(fitting)
    return Layout(patterns, classes, numbers, parts, len(set(subjects)), left, bool(mark), crossing)


def _are_splits(words: Sequence[str]) -> bool:
    return len(words) > 1 and all(word.lower() in SPLIT_WORDS for word in words)


def _roles(
    free: Sequence[int], levels: Sequence[Sequence[str]], fitting: Sequence[Sequence[str]]
) -> tuple[int | None, int | None]:
    """The folder levels of class and subject."""
    free = free[:2] if len(free) > 2 else free
    if not free:
        return None, None
    if len(free) == 1:
        (level,) = free
        people = _are_people(levels[level]) or len(levels[level]) > _MOST_CLASSES
        return (None, level) if people else (level, None)
    outer, inner = free
    under: dict[str, set[str]] = defaultdict(set)
    for row in fitting:
        under[row[inner]].add(row[outer])
    shared = sum(len(places) > 1 for places in under.values())
    inside = 2 * shared > len(under) and len(under) < len(levels[outer])
    if (inside or _are_people(levels[outer])) and not _are_people(levels[inner]):
        return inner, outer
    return (outer, inner) if len(levels[outer]) <= _MOST_CLASSES else (None, inner)


def _are_people(words: Sequence[str]) -> bool:
    """Whether folders are named like patients."""
    stems = {re.sub(r"[\W_]*[0-9]+[a-z]?$", "", word.lower()) for word in words}
    if not all(any(letter.isdigit() for letter in word) for word in words):
        return False
    if len(stems) == 1 and stems <= _GRADES:
        return False
    return all(_PATIENTS.search(stem) for stem in stems) or (len(words) > 10 and len(stems) == 1)


def _are_collections(words: Sequence[str]) -> bool:
    """Whether folders are numbered parts of a collection, like archives."""
    return all(_COLLECTIONS.fullmatch(word.lower()) for word in words)


def _subject_mark(stems: Sequence[str]) -> str:
    """The separator after an id at the start of file names, if some share an id; empty if they have none."""
    for mark in "_- ":
        ids = [stem.partition(mark)[0] for stem in stems]
        numbered = all(mark in stem for stem in stems) and all(re.search("[0-9]", word) for word in ids)
        if numbered and 1 < len(set(ids)) < len(stems):
            return mark
    return ""


def _crossing(subjects: Sequence[str], words: Sequence[str]) -> int:
    """The number of subjects in several splits."""
    parts: dict[str, set[str]] = defaultdict(set)
    for subject, word in zip(subjects, words, strict=False):
        parts[subject].add(SPLIT_WORDS[word])
    return sum(len(some) > 1 for some in parts.values())


def literal(text: str) -> str:
    """A folder's name in a pattern; characters with a special meaning become ``?``."""
    return re.sub(r"[*?{}\\:]", "?", text)


def _with_endings(
    head: str, fitting: Sequence[Sequence[str]], depth: int, everything: Collection[str]
) -> tuple[str, ...]:
    """The pattern, or one per suffix if there are other files among the images."""
    folders = {"/".join(row[:-1]) for row in fitting}
    images = {"/".join(row) for row in fitting}
    beside = any(name not in images and name.rpartition("/")[0] in folders for name in everything)
    if not beside:
        return (head,)
    endings = dict.fromkeys(ending_of(row[-1]) for row in fitting)
    return tuple(f"{head}{ending}" for ending in sorted(endings))
