"""Tables for a paper: LaTeX with booktabs, every text escaped."""

from collections.abc import Sequence

__all__ = ["escape", "latex"]

SPELT = str.maketrans(
    {
        **{letter: f"\\{letter}" for letter in "&%$#_{}"},
        **{letter: f"{{{letter}}}" for letter in "[]*"},  # after the end of a row they would be options of it
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "|": r"\textbar{}",
        "<": "$<$",
        ">": "$>$",
        "−": "$-$",
        "±": r"$\pm$",
        "×": r"$\times$",
        "—": "---",
        "…": r"\ldots{}",
        "✓": "yes",
        "\n": " ",
        "\r": " ",
    }
)


def latex(head: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str, notes: Sequence[str] = ()) -> str:
    """Set a table, its first column to the left and the others centred.

    Args:
        head: (K,) names of the columns.
        rows: (K,) texts each.
        caption: above the table.
        notes: below it, a line each.

    Returns:
        A ``table``, for documents that load booktabs. What TeX reads as a command is spelt out.
    """
    lines = [" & ".join(map(escape, row)) + r" \\" for row in (head, *rows)]
    below = [rf"\par {escape(note)}" for note in notes]
    parts = [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering\small",
        rf"\caption{{{escape(caption)}}}",
        rf"\begin{{tabular}}{{l{'c' * (len(head) - 1)}}}",
        r"\toprule",
        lines[0],
        r"\midrule",
        *lines[1:],
        r"\bottomrule",
        r"\end{tabular}",
        *([r"\par\medskip\raggedright\footnotesize", *below] if notes else []),
        r"\end{table}",
    ]
    return "\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Text as TeX prints it."""
    return text.translate(SPELT)
