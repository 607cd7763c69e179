"""One structure for every table, and its forms; the paper's Table 2 as data."""

from __future__ import annotations

import csv
import io
import re
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtk.datasets import TEN
from mmtk.report._tables import NONE, SIGNS, Cell, Column, Table, spans
from mmtk.runs import TABLE_2

words = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8)


@st.composite
def tables(draw):
    width = draw(st.integers(1, 6))
    groups = sorted(draw(st.lists(st.sampled_from(["", "A", "B&", "C_"]), min_size=width, max_size=width)))
    titles = words.filter(lambda title: not title.endswith("marks"))  # by which a CSV's columns of marks are known
    columns = tuple(Column(draw(titles), group, number=False) for group in groups)
    marks = st.lists(st.sampled_from(list(SIGNS)), unique=True, max_size=2).map(tuple)
    cells = st.builds(Cell, words, st.booleans(), marks)
    rows = draw(st.lists(st.tuples(*[cells] * width), min_size=1, max_size=4))
    return Table("some", draw(words), columns, tuple(rows), draw(st.one_of(st.just(""), words)))


@settings(max_examples=40)
@given(tables())
def test_csv_gives_every_cell_back_and_its_marks(table):
    titles, *rows = csv.reader(io.StringIO(table.to_csv()))
    plain = [i for i, title in enumerate(titles) if not title.endswith(" marks")]
    assert [[row[i] for i in plain] for row in rows] == [
        ["" if cell.text == NONE else cell.text for cell in row] for row in table.rows
    ]
    told = [{m for i, cell in enumerate(row) if i not in plain for m in cell.split("; ") if m} for row in rows]
    assert told == [{mark for cell in row for mark in cell.marks} for row in table.rows]


@settings(max_examples=40)
@given(tables())
def test_markdown_and_latex_have_a_cell_for_each_column(table):
    pipes = [line for line in table.to_markdown().split("\n") if line.startswith("| ")]
    assert len(pipes) == len(table.rows) + 2
    for line in pipes:
        assert len(re.findall(r"(?<!\\)\|", line)) == len(table.columns) + 1
    lines = table.to_latex().split("\n")
    begin, end = lines.index(r"\midrule"), lines.index(r"\bottomrule")
    assert end - begin == len(table.rows) + 1
    for line in lines[begin - 1 : begin] + lines[begin + 1 : end]:
        assert line.endswith(r" \\")
        assert len(re.findall(r"(?<!\\)&", line)) == len(table.columns) - 1


@settings(max_examples=40)
@given(tables(), st.integers(1, 3))
def test_parts_hold_every_column_once_beside_those_that_name_rows(table, most):
    parts = table.parts(most)
    grouped = [column for part in parts for column in part.columns if column.group]
    assert grouped == [column for column in table.columns if column.group]
    for part in parts:
        assert [c for c in part.columns if not c.group] == [c for c in table.columns if not c.group]
        assert len({c.group for c in part.columns} - {""}) <= most
        assert sum(n for _, n in spans(part.columns)) == len(part.columns)
        assert all(len(row) == len(part.columns) for row in part.rows)


def test_the_forms_of_a_small_table():
    table = Table(
        "t", "Table 9. Of 5 %", (Column("From", number=False), Column("Name", number=False), Column("n", "A_b")),
        ((Cell("x"), Cell("one"), Cell("1,234", best=True)), (Cell("y"), Cell("two"), Cell("7", marks=("synthetic",)))),
        note="Note.", grouped=True,
    )
    assert table.to_csv() == "From,Name,A_b n,A_b marks\nx,one,1234,\ny,two,7,synthetic\n"
    assert table.to_markdown() == (
        "**Table 9. Of 5 %**\n\n| From | Name | A_b n |\n| --- | --- | ---: |\n| x | one | **1,234** |\n"
        "| y | two | 7 <sup>s</sup> |\n\ns synthetic. Note.\n"
    )
    assert table.to_latex() == "\n".join([
        r"% needs \usepackage{booktabs}", r"\begin{table}", r"\centering", r"\caption{Of 5 \%}",
        r"\begin{tabular}{llr}", r"\toprule", r"\multicolumn{2}{c}{} & \multicolumn{1}{c}{A\_b} \\",
        r"\cmidrule(lr){3-3}", r"From & Name & n \\", r"\midrule", r"x & one & \textbf{1,234} \\", r"\midrule",
        r"y & two & 7\textsuperscript{s} \\", r"\bottomrule", r"\end{tabular}",
        r"\par\smallskip\footnotesize s synthetic. Note.", r"\end{table}", "",
    ])
    (first, (row,)), _ = table.bodies
    assert (first.text, [cell.text for cell in row]) == ("x", ["one", "1,234"])


def test_the_papers_rows_have_the_means_that_are_known():
    known = {
        "ResNet-18 (28)": (0.9061, 0.8059), "ResNet-18 (224)": (0.9115, 0.8184), "ResNet-50 (28)": (0.8996, 0.8021),
        "ResNet-50 (224)": (0.9037, 0.8147), "auto-sklearn": (0.7975, 0.6195), "AutoKeras": (0.8989, 0.8081),
        "Google AutoML Vision": (0.9215, 0.7977),
    }
    assert list(TABLE_2) == list(known)
    for method, row in TABLE_2.items():
        assert list(row) == list(TEN)
        assert [mean(pair[i] for pair in row.values()) for i in (0, 1)] == pytest.approx(known[method])
    assert TABLE_2["ResNet-50 (28)"]["retinamnist"] == (0.719, 0.490)
