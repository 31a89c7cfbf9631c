"""CSV, Markdown and LaTeX: escaped, aligned, and the same cells in all of them."""

import csv
import io
import re

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robench.reporting import formats

NASTY = r"a|b & c_d $x^2$ {e} \f ~g #h %i <b>`j`* [k](l)"
FRAME = pd.DataFrame(
    [["hkr", "96.0", "82.6", "1.0"], ["hkr", "–", "broke 3 of 4", "2.0"], [NASTY, "0.1", "100.0", "3.0"]],
    columns=["model", "certified % ε = 36/255", "certified % ε = 0.5", "radius"],
)


def split_cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_csv_reads_back_cell_by_cell() -> None:
    rows = list(csv.reader(io.StringIO(formats.to_csv(FRAME))))
    assert rows == [list(FRAME.columns), *FRAME.to_numpy().tolist()]


def test_markdown_columns_stand_under_each_other() -> None:
    lines = formats.to_markdown(FRAME).splitlines()
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
    text = formats.to_latex(FRAME, "100 % of ε_1 & more", "x")
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
    ("cells", "expected"),
    [
        (["1.0", "–", "broke 2 of 13"], True),
        (["1.0 to 2.0", "–"], True),
        (["36/255", "1e-05"], True),
        (["hkr", "1"], False),
        ([], False),
    ],
)
def test_what_counts_as_a_column_of_numbers(cells: list[str], expected: bool) -> None:
    assert formats.is_numeric(pd.DataFrame({"x": cells}), 0) is expected


def test_repeats_count_the_rows_of_a_group() -> None:
    assert formats.repeats(pd.DataFrame({"x": list("aabccc")})) == [2, 0, 1, 3, 0, 0]
