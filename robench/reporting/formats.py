"""Tables as text: CSV, Markdown and LaTeX, with everything escaped that the format would take for its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

import pandas as pd

GROUPED = re.compile(r"(?P<group>.+ ε =) (?P<leaf>\S+)", re.DOTALL)
NUMERIC = re.compile(r"[-\d.,/– ]*|broke \d+ of \d+|\d+\.\d to \d+\.\d|[-+\d.e]+")
MARKDOWN_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$!])")
LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "–": "--", "ε": r"$\varepsilon$", "≤": r"$\leq$",
    "∇": r"$\nabla$", "×": r"$\times$", "·": r"$\cdot$", "−": "$-$", "…": r"\dots{}",
}  # fmt: skip


class Heading(NamedTuple):
    """A group of neighbouring columns under one title; a column by itself has an empty list of leaves."""

    title: str
    leaves: tuple[str, ...]


def headings(columns: Sequence[str]) -> list[Heading]:
    """Columns grouped by what ends in `ε = …`."""
    parts = [(match["group"], match["leaf"]) if (match := GROUPED.fullmatch(name)) else (name, "") for name in columns]
    result = []
    for title, members in groupby(parts, key=lambda part: part[0]):
        leaves = tuple(leaf for _, leaf in members)
        result += [Heading(title, ())] * len(leaves) if "" in leaves else [Heading(title, leaves)]
    return result


def repeats(frame: pd.DataFrame) -> list[int]:
    """For each row, how many rows from it on share its first cell; 0 where the row before shares it already."""
    lengths: list[int] = []
    for _, members in groupby(str(cell) for cell in frame.iloc[:, 0]):
        length = sum(1 for _ in members)
        lengths += [length, *[0] * (length - 1)]
    return lengths


def is_numeric(frame: pd.DataFrame, place: int) -> bool:
    """Whether a column holds numbers, so that it is set flush right."""
    cells = [str(cell) for cell in frame.iloc[:, place]]
    return bool(cells) and all(NUMERIC.fullmatch(cell) for cell in cells)


def to_csv(frame: pd.DataFrame) -> str:
    """CSV with a header line; lines end in a newline on every system."""
    text: str = frame.to_csv(index=False, lineterminator="\n")
    return text


def to_markdown(frame: pd.DataFrame) -> str:
    """A table of GitHub's Markdown, its columns aligned in the source too."""
    rows = _cells(frame, markdown)
    widths = [max(3, *(len(row[place]) for row in rows)) for place in range(len(rows[0]))]
    right = [is_numeric(frame, place) for place in range(len(widths))]

    def line(row: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, right, strict=True)
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * (width - 1) + ":" if flush else "-" * width for width, flush in zip(widths, right, strict=True)]
    return "\n".join([line(rows[0]), line(rule), *map(line, rows[1:])]) + "\n"


def to_latex(frame: pd.DataFrame, caption: str, label: str) -> str:
    r"""A `table` environment with booktabs rules; columns of one group share a \multicolumn heading."""
    rows = [
        row if length else ["", *row[1:]] for row, length in zip(_cells(frame, latex)[1:], repeats(frame), strict=True)
    ]
    heads = headings([str(name) for name in frame.columns])
    columns = "".join("r" if is_numeric(frame, place) else "l" for place in range(frame.shape[1]))
    return "\n".join(
        [
            r"% needs \usepackage{booktabs,graphicx} and \usepackage[T1]{fontenc}",
            r"\begin{table}",
            rf"  \caption{{{latex(caption)}}}",
            rf"  \label{{tab:{label}}}",
            r"  \centering",
            r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"  \begin{{tabular}}{{{columns}}}",
            r"    \toprule",
            *_latex_head(heads),
            r"    \midrule",
            *(f"    {' & '.join(row)} \\\\" for row in rows),
            r"    \bottomrule",
            r"  \end{tabular}}",
            r"\end{table}",
            "",
        ]
    )


def markdown(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return MARKDOWN_SPECIAL.sub(r"\\\1", " ".join(text.split())).replace("&", "&amp;")


def latex(text: str) -> str:
    """Text that LaTeX shows as it is."""
    return "".join(LATEX.get(letter, letter) for letter in " ".join(text.split()))


def _cells(frame: pd.DataFrame, escape: Callable[[str], str]) -> list[list[str]]:
    return [
        [escape(str(cell)) for cell in row] for row in [list(frame.columns), *frame.to_numpy(dtype=object).tolist()]
    ]


def _latex_head(heads: Sequence[Heading]) -> list[str]:
    """One line of column titles, or two with rules between where columns are grouped."""
    if not any(head.leaves for head in heads):
        return [f"    {' & '.join(latex(head.title) for head in heads)} \\\\"]
    titles, rules, leaves, place = [], [], [], 1
    for head in heads:
        width = max(1, len(head.leaves))
        titles.append(rf"\multicolumn{{{width}}}{{c}}{{{latex(head.title)}}}" if head.leaves else latex(head.title))
        if head.leaves:
            rules.append(rf"\cmidrule(lr){{{place}-{place + width - 1}}}")
        leaves += [latex(leaf) for leaf in head.leaves] or [""]
        place += width
    return [f"    {' & '.join(titles)} \\\\", f"    {' '.join(rules)}", f"    {' & '.join(leaves)} \\\\"]
