"""CSV, Markdown and LaTeX: escaped, aligned, and the same cells in all of them."""

import csv
import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robench.reporting import formats
from robench.reporting.tables.table import Broke, Column, Heading, Rate, Table, below, by_eps, names

NASTY = r"a|b & c_d $x^2$ {e} \f ~g #h %i <b>`j`* [k](l)"
ROWS = [
    ("hkr", {"36/255": Rate(96, 100, proven=True), "0.5": Rate(82, 99, proven=True)}, 1.0),
    ("hkr", {"36/255": None, "0.5": Broke(3, 4)}, 2.0),
    (NASTY, {"36/255": Rate(1, 999, proven=False), "0.5": Rate(7, 7, proven=False)}, 3.0),
]
TABLE = Table.of(ROWS, [
    names("model", lambda row: row[0]),
    *by_eps("certified %", ("36/255", "0.5"), lambda row, eps: row[1][eps]),
    below("radius", lambda row: row[2], 1),
])  # fmt: skip


def test_numbers_become_text_in_one_step() -> None:
    assert TABLE.text.to_numpy().tolist() == [
        ["hkr", "96.0", "82.8", "1.0"],
        ["hkr", "–", "broke 3 of 4", "2.0"],
        [NASTY, "0.2", "100.0", "3.0"],
    ]
    assert list(TABLE.frame.columns) == list(TABLE.text.columns)
    numbers = TABLE.frame.iloc[:, 1:].to_numpy(dtype=float, na_value=np.nan)
    expected = [[96.0, 8200 / 99, 1.0], [np.nan, np.nan, 2.0], [100 / 999, 100.0, 3.0]]
    np.testing.assert_array_equal(numbers, expected)


def split_cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_csv_reads_back_cell_by_cell() -> None:
    rows = list(csv.reader(io.StringIO(formats.to_csv(TABLE.text))))
    assert rows == [list(TABLE.text.columns), *TABLE.strings]


def test_markdown_columns_stand_under_each_other() -> None:
    lines = formats.to_markdown(TABLE).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [len(split_cells(line)) for line in lines] == [4] * 5
    assert [cell.endswith(":") for cell in split_cells(lines[1])] == [False, True, True, True]


def unescaped(text: str) -> str:
    """LaTeX without its escapes: what is left of the special letters would be read as commands."""
    return re.sub(r"\\(?:text[a-z]+\{\}|dots\{\}|[{}$&#_%])|\$\\?[a-zA-Z-]+\$", "", text)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30))
def test_latex_leaves_no_command_of_the_users(text: str) -> None:
    assert not re.search(r"[\\{}$&#_%~^]", unescaped(formats.latex(text)))


def test_latex_is_a_balanced_table_of_equal_rows() -> None:
    text = formats.to_latex(TABLE, "100 % of ε_1 & more", "x")
    for name in ("table", "tabular"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") == 1
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    rows = [line for line in body.splitlines() if line.endswith(r" \\")]
    widths = [len(re.split(r"(?<!\\)&", row)) + sum(int(n) - 1 for n in re.findall(r"multicolumn\{(\d+)\}", row))
              for row in rows]  # fmt: skip
    assert widths == [4] * 5
    assert r"\begin{tabular}{lrrr}" in text
    assert r"\cmidrule(lr){2-3}" in text
    assert rows[3].split("&")[0].strip() == ""  # the second `hkr`
    braces = re.sub(r"\\[{}]", "", text)
    assert braces.count("{") == braces.count("}")


@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.text(max_size=30))
def test_markdown_text_is_one_line_without_html_or_cells(text: str) -> None:
    shown = formats.markdown(text)
    assert "\n" not in shown
    assert not re.search(r"(?<!\\)(?:\\\\)*[<|]", shown)


@pytest.mark.parametrize(
    ("cells", "numeric", "right"),
    [([1, None], True, True), (["1", "hkr"], False, False), ([None, None], False, True), (["1", "2"], False, False)],
)
def test_columns_of_numbers_and_of_nothing_are_flush_right(cells: list[object], numeric: bool, right: bool) -> None:
    assert Table.of(cells, [Column("x", lambda cell: cell, numeric=numeric)]).flush_right == [right]


def test_repeats_count_the_rows_of_a_group() -> None:
    assert Table.of("aabccc", [names("x", str)]).repeats == [2, 0, 1, 3, 0, 0]


def test_only_columns_of_one_group_share_a_heading() -> None:
    columns = [Column("x ε = 1", str), *by_eps("y", ("1", "2"), lambda item, eps: eps), Column("y ε =", str)]
    assert Table.of("a", columns).headings == [
        Heading("x ε = 1", ()),
        Heading("y ε =", ("1", "2")),
        Heading("y ε =", ()),
    ]
