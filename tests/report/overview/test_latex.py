"""LaTeX: what TeX would obey is printed instead."""

import re

from slidesurv.report.overview.latex import escape, latex


def test_every_letter_that_tex_obeys_is_spelt_out():
    assert escape("A_1 & 5 % of $x #{y}") == r"A\_1 \& 5 \% of \$x \#\{y\}"
    assert escape("\\input{~/^}") == r"\textbackslash{}input\{\textasciitilde{}/\textasciicircum{}\}"
    assert escape("a < b\n> c") == "a $<$ b $>$ c"


def test_signs_of_our_tables_are_those_of_any_font():
    told = escape("−0.1 ± 0.2, 3 × 4 … — ✓")
    assert told.isascii()
    assert told == r"$-$0.1 $\pm$ 0.2, 3 $\times$ 4 \ldots{} --- yes"


def test_a_row_is_no_option_of_the_row_before():
    text = latex(["a", "b"], [["[1ex]", "x"], ["*", "y"]], caption="c")
    assert not re.search(r"\\\\\s*[\[*]", text)


def test_a_table_has_a_column_for_each_cell_and_closes_what_it_opens():
    text = latex(["Method", "A", "B"], [["m", "1", "2"], ["n", "3", "4"]], caption="50 %", notes=["x_1", "y"])
    assert r"\begin{tabular}{lcc}" in text and r"\caption{50 \%}" in text
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert [row.count(" & ") for row in rows] == [2, 2, 2]
    assert re.findall(r"\\begin\{(\w+)\}", text) == re.findall(r"\\end\{(\w+)\}", text)[::-1]
    assert r"\par x\_1" in text and r"\footnotesize" not in latex(["a"], [["b"]], caption="")
