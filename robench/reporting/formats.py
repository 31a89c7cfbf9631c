"""Tables as text: CSV, Markdown and LaTeX, with all special characters escaped."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pandas as pd

from robench.reporting.tables.table import Heading, Table

MARKDOWN_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$!])")
LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "–": "--", "ε": r"$\varepsilon$", "≤": r"$\leq$",
    "∇": r"$\nabla$", "×": r"$\times$", "·": r"$\cdot$", "−": "$-$", "…": r"\dots{}",
}  # fmt: skip


def to_csv(frame: pd.DataFrame) -> str:
    """CSV with a header line; lines end in a newline on every system."""
    text: str = frame.to_csv(index=False, lineterminator="\n")
    return text


def to_markdown(table: Table) -> str:
    """A table of GitHub's Markdown, its columns aligned in the source too."""
    rows = [[markdown(column.name) for column in table.columns], *_cells(table, markdown)]
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    right = table.flush_right

    def line(row: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, right, strict=True)
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * (width - 1) + ":" if flush else "-" * width for width, flush in zip(widths, right, strict=True)]
    return "\n".join([line(rows[0]), line(rule), *map(line, rows[1:])]) + "\n"


def to_latex(table: Table, caption: str, label: str) -> str:
    r"""A `table` environment with booktabs rules; columns of one group share a \multicolumn heading.

    Args:
        table: to be written.
        caption: of the table.
        label: for references.
    """
    cells = zip(_cells(table, latex), table.repeats, strict=True)
    rows = [row if length else ["", *row[1:]] for row, length in cells]
    columns = "".join("r" if right else "l" for right in table.flush_right)
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
            *_latex_head(table.headings),
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


def _cells(table: Table, escape: Callable[[str], str]) -> list[list[str]]:
    return [[escape(cell) for cell in row] for row in table.strings]


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
