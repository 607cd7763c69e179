"""The structure of the report's tables, and their output as CSV, Markdown and LaTeX; HTML is in the page's template."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

# why a figure is not comparable to others -> the sign next to it
SIGNS = {
    "synthetic": "s", "partial": "p", "unpublished": "u", "fewer epochs": "e", "other test images": "t",
    "fewer datasets": "d", "differs": "≠",
}
NONE = "–"  # a cell without a figure
_TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "≠": r"$\neq$"}
_TEX |= {sign: "\\" + sign for sign in "&%$#_{}"}
_TEX_ESCAPED = re.compile("[" + re.escape("".join(_TEX)) + "]")


@dataclass(frozen=True)
class Column:
    """A column: its title, the title it shares with its neighbours, and whether it holds numbers."""

    title: str
    group: str = ""
    number: bool = True


@dataclass(frozen=True)
class Cell:
    """A cell.

    Attributes
    ----------
    best : bool
        Whether it is the best of its column.
    marks : tuple of str
        Keys of `SIGNS`.
    tip : str
        Additional information in the page's tooltip.
    shade : float
        How dark its background is, from 0 to 1.
    """

    text: str
    best: bool = False
    marks: tuple[str, ...] = ()
    tip: str = ""
    shade: float = 0.0

    @property
    def sign(self) -> str:
        return "".join(SIGNS[mark] for mark in self.marks)


@dataclass(frozen=True)
class Table:
    """A table; if it is `grouped`, rows with the same first cell form a group.

    Attributes
    ----------
    name : str
        For file names.
    title, note : str
        Above and below the table.
    columns : tuple of Column
        In a grouped table the first column is the heading of each group, and the second names the row.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    grouped: bool = False

    @property
    def legend(self) -> dict[str, str]:
        """The signs that occur, with their meanings."""
        used = {mark for row in self.rows for cell in row for mark in cell.marks}
        return {sign: mark for mark, sign in SIGNS.items() if mark in used}

    @property
    def shown(self) -> tuple[Column, ...]:
        """The columns, without the one whose cells are headings of groups."""
        return self.columns[1:] if self.grouped else self.columns

    @property
    def bodies(self) -> list[tuple[Cell | None, list[tuple[Cell, ...]]]]:
        """Groups of rows with their heading, without its column; a single group without heading if not grouped."""
        if not self.grouped:
            return [(None, list(self.rows))]
        groups = (list(rows) for _, rows in groupby(self.rows, key=lambda row: row[0].text))
        return [(rows[0][0], [row[1:] for row in rows]) for rows in groups]

    def parts(self, most: int = 6) -> list[Table]:
        """Split the table into narrower ones of about equal width, each with at most `most` groups of columns."""
        names = list(dict.fromkeys(column.group for column in self.columns if column.group))
        count = max(1, -(-len(names) // most))
        cut: list[Table] = []
        for some in (names[len(names) * i // count : len(names) * (i + 1) // count] for i in range(count)):
            places = [i for i, column in enumerate(self.columns) if column.group in ("", *some)]
            columns = tuple(self.columns[i] for i in places)
            rows = tuple(tuple(row[i] for i in places) for row in self.rows)
            title = f"{self.title} ({len(cut) + 1} of {count})" if count > 1 else self.title
            cut.append(replace(self, title=title, columns=columns, rows=rows))
        return cut

    # -------------------------------------------------------------------- other forms

    def to_csv(self) -> str:
        """Return CSV: a line of titles and one line per row; a group's marks are in an extra column after it."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        groups = [list(some) for _, some in groupby(range(len(self.columns)), key=lambda i: self.columns[i].group or i)]
        marked = [any(row[i].marks for row in self.rows for i in some) for some in groups]

        def spread(values: list[str], more: list[str]) -> Iterator[str]:
            for some, extra, on in zip(groups, more, marked, strict=True):
                yield from (values[i] for i in some)
                if on:
                    yield extra

        titles = [f"{c.group} {c.title}".strip() for c in self.columns]
        marks = [f"{self.columns[some[0]].group or self.columns[some[0]].title} marks" for some in groups]
        writer.writerow(spread(titles, marks))
        for row in self.rows:
            words = ["; ".join(dict.fromkeys(mark for i in some for mark in row[i].marks)) for some in groups]
            texts = ["" if cell.text == NONE else cell.text for cell in row]
            plain = [t.replace(",", "") if c.number else t for t, c in zip(texts, self.columns, strict=True)]
            writer.writerow(spread(plain, words))
        return text.getvalue()

    def to_markdown(self) -> str:
        """Return a pipe table, the best figures bold, marks as signs with a legend."""

        def line(cells: list[str]) -> str:
            return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"

        def cell_of(cell: Cell) -> str:
            text = f"**{cell.text}**" if cell.best else cell.text
            return f"{text} <sup>{cell.sign}</sup>" if cell.marks else text

        rule = ["---:" if column.number else "---" for column in self.columns]
        head = line([f"{c.group} {c.title}".strip() for c in self.columns]) + line(rule)
        body = "".join(line([*map(cell_of, row)]) for row in self.rows)
        return f"**{self.title}**\n\n{head}{body}{self._footer()}"

    def to_latex(self) -> str:
        """Return ``table`` environments for the package booktabs, split as by `parts`."""
        return "% needs \\usepackage{booktabs}\n" + "\n".join(part._latex() for part in self.parts())

    def _latex(self) -> str:
        def cell_of(cell: Cell) -> str:
            text = f"\\textbf{{{_tex(cell.text)}}}" if cell.best else _tex(cell.text)
            return f"{text}\\textsuperscript{{{_tex(cell.sign)}}}" if cell.marks else text

        def line(cells: list[str]) -> str:
            return " & ".join(cells) + r" \\"

        form = "".join("r" if column.number else "l" for column in self.columns)
        caption = _tex(re.sub(r"^Table \d+\. ", "", self.title))  # LaTeX numbers its own
        lines = ["\\begin{table}", "\\centering", f"\\caption{{{caption}}}", f"\\begin{{tabular}}{{{form}}}"]
        lines.append(r"\toprule")
        if any(column.group for column in self.columns):
            lines.append(line([f"\\multicolumn{{{n}}}{{c}}{{{_tex(group)}}}" for group, n in spans(self.columns)]))
            at = 1
            for group, n in spans(self.columns):
                lines += [f"\\cmidrule(lr){{{at}-{at + n - 1}}}"] if group else []
                at += n
        lines += [line([_tex(column.title) for column in self.columns]), r"\midrule"]
        previous = self.rows[0][0].text if self.rows else ""
        for row in self.rows:
            if self.grouped and row[0].text != previous:
                lines.append(r"\midrule")
            previous = row[0].text
            lines.append(line([*map(cell_of, row)]))
        lines += [r"\bottomrule", r"\end{tabular}"]
        lines += [f"\\par\\smallskip\\footnotesize {_tex(self._footer().strip())}"] if self._footer() else []
        return "\n".join([*lines, "\\end{table}", ""])

    def _footer(self) -> str:
        legend = ", ".join(f"{sign} {mark}" for sign, mark in self.legend.items())
        text = " ".join(filter(None, [f"{legend}." if legend else "", self.note]))
        return f"\n{text}\n" if text else ""


def spans(columns: tuple[Column, ...]) -> list[tuple[str, int]]:
    """Titles shared by neighbouring columns, with the number of columns each spans."""
    return [(group, len(list(some))) for group, some in groupby(column.group for column in columns)]


def _tex(text: str) -> str:
    return _TEX_ESCAPED.sub(lambda match: _TEX[match[0]], text)
