"""Which table describes images, and what its columns are: file, labels, subject and split."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mmtk.datasets.collecting import natural_key
from mmtk.datasets.listing import Listing
from mmtk.datasets.own._labels import FLAG_WORDS, SPLIT_WORDS
from mmtk.datasets.own._look import ending_of
from mmtk.errors import ArgumentError, SourceError

_DELIMITERS = ",;\t"
_MOST_CLASSES = 100
_TRIED = 200  # rows by which prefix and suffix of paths are found out
_CLOSE = 20  # files that a word is tried on
_LABELS = ("label", "class", "diagnosis", "dx", "target", "outcome", "category", "finding", "disease", "pathology",
           "grade", "stage", "group", "y")
_SUBJECTS = ("patient", "subject", "participant", "person", "mrn", "pid", "case", "study")
_SPLITS = {"split", "set", "subset", "partition", "part", "fold", "usage", "dataset"}
_ASIDE = {"sex", "gender", "age", "view", "position", "side", "laterality", "site", "hospital", "scanner", "device",
          "manufacturer", "date", "time", "year", "width", "height", "weight", "size", "name", "birth", "comment",
          "notes", "index", "id", "race", "ethnicity", "orientation", "rows", "columns", "age_group"}


@dataclass
class TableLook:
    """What a table says of the images.

    Attributes
    ----------
    images : set of str
        Those that it names; ``lost`` are rows whose file is not there.
    labels : list of str
        Columns of 0 and 1, where there are several.
    counts : Counter
        Rows of each label, or of each column that is 1.
    unclear : int
        Rows whose label is blank or, of 0 and 1, anything else.
    parts : tuple of str
        Splits that its column of splits names.
    crossing : int
        Subjects in several of those.
    spare : list of str
        Columns that could be labels too.
    """

    file: str
    rows: int
    column: str
    prefix: str
    suffix: str
    images: set[str]
    lost: int
    label: str = ""
    labels: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    unclear: int = 0
    subject: str = ""
    subjects: int = 0
    blank: int = 0
    split: str = ""
    parts: tuple[str, ...] = ()
    crossing: int = 0
    spare: list[str] = field(default_factory=list)

    @property
    def tells(self) -> bool:
        """Whether it gives labels."""
        return bool(self.label or self.labels)

    @property
    def generic(self) -> bool:
        """Whether the column of labels has a name that says nothing of what is told apart."""
        return _rank(self.label, _LABELS) < len(_LABELS)


def look_at_tables(listing: Listing, tables: Sequence[str], names: Sequence[str]) -> list[TableLook]:
    """The tables that name images, or volumes, the best one first."""
    index = _index(names)
    looks = [look for table in tables if (look := _look(listing, table, index, set(names))) is not None]
    return sorted(looks, key=lambda t: (
        not t.tells, -len(t.images), _rank(t.label, _LABELS) if t.label else len(_LABELS), not t.subject,
        t.file.count("/"), natural_key(t.file),
    ))


def choose(looks: Sequence[TableLook], tables: Sequence[str], wanted: str) -> TableLook | None:
    """The table that is asked for, or the best one.

    Raises
    ------
    ArgumentError
        If the table asked for is not there, or names no images.
    """
    if not wanted:
        return looks[0] if looks else None
    wanted = wanted.removeprefix("./")
    for look in looks:
        if look.file == wanted:
            return look
    known = ", ".join(look.file for look in looks) or "none"
    found = "a table whose rows name no files" if wanted in tables else "no such table"
    raise ArgumentError(f"--table {wanted}", expected=f"a table that names images: {known}", found=found)


def _index(names: Iterable[str]) -> dict[str, list[str]]:
    """Names by what a table may call them: a part of the path, with its ending or without."""
    index: dict[str, list[str]] = defaultdict(list)
    for name in names:
        parts = name.split("/")
        words = {*parts, parts[-1].removesuffix(ending_of(parts[-1]))}
        if ending := ending_of(parts[-1]):
            words.add(parts[-1][: -len(ending)])
        for word in words:
            if len(index[word]) < _CLOSE:
                index[word].append(name)
    return index


def _look(listing: Listing, table: str, index: dict[str, list[str]], names: set[str]) -> TableLook | None:
    try:
        rows = _rows(listing.read_text(table))
    except (SourceError, csv.Error):
        return None
    if not rows:
        return None
    columns = list(rows[0])
    best: TableLook | None = None
    for column in columns:
        values = [row[column] for row in rows]
        prefix, suffix = _affixes(values[:_TRIED], index)
        named = [f"{prefix}{value}{suffix}" for value in values]
        images = names & set(named)
        rank = (len(images), -len(named), suffix == "")
        if len(images) < max(2, len(rows) / 2) or len(set(named)) < len(named):
            continue
        if best is None or rank > (len(best.images), -best.rows, best.suffix == ""):
            lost = sum(name not in names for name in named)
            best = TableLook(table, len(rows), column, prefix, suffix, images, lost)
    if best is not None:
        _tell_columns(best, rows)
    return best


def _rows(text: str) -> list[dict[str, str]]:
    """The rows of a table by the names of its columns, if it is one."""
    first = text.partition("\n")[0]
    mark = max(_DELIMITERS, key=lambda delimiter: len(next(csv.reader([first], delimiter=delimiter), ())))
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, delimiter=mark)
    heads = [head for head in reader.fieldnames or () if head and head.strip()]
    if len(heads) < 2 or len(set(heads)) < len(heads):
        return []
    return [{head: (row[head] or "").strip() for head in heads} for row in reader]


def _affixes(values: Sequence[str], index: dict[str, list[str]]) -> tuple[str, str]:
    """What stands before and after most of a column's values in the paths of files."""
    votes: Counter[tuple[str, str]] = Counter()
    for value in values:
        word = value.rpartition("/")[2]
        for name in index.get(word, ()) if word else ():
            at = f"/{name}".find(f"/{value}")
            end = at + len(value)
            if at >= 0 and name[end : end + 1] in ("", "/", "."):
                votes[name[:at], name[end:]] += 1
    if not votes:
        return "", ""
    return min(votes, key=lambda pair: (-votes[pair], len(pair[0]) + len(pair[1]), pair))


def _words(column: str) -> list[str]:
    """The words of a column's name, in small letters."""
    apart = re.sub(r"([a-z])([A-Z])", r"\1 \2", column)
    return [word for word in re.split(r"[^a-z0-9]+", apart.lower()) if word]


def _rank(column: str, known: Sequence[str]) -> int:
    """The place of a column's name among known words; their number where it is none."""
    words = {form for word in _words(column) for form in (word, word.removesuffix("s"), word.removesuffix("id"))}
    return next((place for place, word in enumerate(known) if word in words), len(known))


def _tell_columns(look: TableLook, rows: list[dict[str, str]]) -> None:
    values = {column: [row[column] for row in rows] for column in rows[0] if column != look.column}
    _tell_subject(look, values, [row[look.column] for row in rows])
    _tell_split(look, values)
    taken = {look.subject, look.split}
    free = {column: cells for column, cells in values.items() if column not in taken and not _is_aside(column)}
    flags = {column: cells for column, cells in free.items() if _are_flags(cells)}
    few = {column: Counter(filter(None, cells)) for column, cells in free.items()}
    few = {column: counts for column, counts in few.items() if 2 <= len(counts) <= min(_MOST_CLASSES, len(rows) / 2)}
    named = sorted((column for column in few if _rank(column, _LABELS) < len(_LABELS)),
                   key=lambda column: _rank(column, _LABELS))
    if len(flags) > 1 and not any(column in few and column not in flags for column in named):
        look.labels = list(flags)
        look.counts = Counter({column: sum(FLAG_WORDS.get(cell.lower()) == 1 for cell in cells)
                               for column, cells in flags.items()})
        look.unclear = sum(any(row[column].lower() not in FLAG_WORDS for column in flags) for row in rows)
        return
    order = named or sorted(few, key=lambda column: len(few[column]))
    if order:
        look.label, *look.spare = order
        look.counts = few[look.label]
        look.unclear = len(rows) - look.counts.total()


def _is_aside(column: str) -> bool:
    """Whether a column's name says that it is no label."""
    return bool(set(_words(column)) & _ASIDE)


def _are_flags(cells: Sequence[str]) -> bool:
    """Whether cells are 0 and 1, both of them, but for a few that are blank or -1."""
    words = {cell.lower() for cell in cells}
    clear = {FLAG_WORDS[word] for word in words if word in FLAG_WORDS}
    return len(clear) == 2 and all(word in FLAG_WORDS or word in ("", "-1", "-1.0", "nan", "na") for word in words)


def _tell_subject(look: TableLook, values: dict[str, list[str]], files: Sequence[str]) -> None:
    """The column whose name and values are those of patients; where there is none, maybe the files' own."""
    aside = _ASIDE - {"id"}
    fits = [
        column for column, cells in {**values, look.column: files}.items()
        if _rank(column, _SUBJECTS) < len(_SUBJECTS) and not set(_words(column)) & aside and len(set(cells)) > 1
    ]
    if fits:
        look.subject = min(fits, key=lambda column: (column == look.column, _rank(column, _SUBJECTS)))
        cells = values.get(look.subject, files)
        look.subjects = len(set(filter(None, cells)))
        look.blank = sum(not cell for cell in cells)


def _tell_split(look: TableLook, values: dict[str, list[str]]) -> None:
    for column, cells in values.items():
        words = {cell.lower() for cell in cells}
        if set(_words(column)) & _SPLITS and words <= SPLIT_WORDS.keys() and len(words) > 1:
            look.split = column
            look.parts = tuple(dict.fromkeys(SPLIT_WORDS[cell.lower()] for cell in cells))
            if look.subject in values:
                pairs = {(s, SPLIT_WORDS[c.lower()]) for s, c in zip(values[look.subject], cells, strict=True)}
                look.crossing = len(pairs) - len({subject for subject, _ in pairs})
            return
