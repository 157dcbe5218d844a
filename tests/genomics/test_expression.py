"""Expression tables are read exactly, or the cell that stops it is named."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from slidesurv.errors import DataError, MissingExtra
from slidesurv.genomics.expression import Expression, read_embeddings, read_expression, write_expression

DATA = Path(os.environ.get("SLIDESURV_DATA") or Path(__file__).parents[2].parent / "shared/data")


def write(folder: Path, text: str, name: str = "rna.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("separator", [",", "\t", ";"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_any_usual_separator_and_line_end_is_read(tmp_path, separator, end):
    lines = [("patient_id", "TP53", "EGFR"), ("P2", "1.5", "-2"), ("007", "0", "3e2")]
    path = tmp_path / "rna.csv"
    path.write_bytes(("\ufeff" + end.join(separator.join(line) for line in lines) + end).encode())
    table = read_expression(path)
    assert (table.ids, table.genes) == (("P2", "007"), ("TP53", "EGFR"))
    assert table.values.tolist() == [[1.5, -2.0], [0.0, 300.0]]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5))
def test_numbers_keep_every_digit(tmp_path_factory, numbers):
    path = tmp_path_factory.mktemp("rna") / "rna.csv"
    path.write_text("id,g\n" + "".join(f"P{row},{value!r}\n" for row, value in enumerate(numbers)))
    assert read_expression(path).values[:, 0].tolist() == numbers


def test_clipping_limits_both_tails_of_a_packed_table(tmp_path):
    path = tmp_path / "rna.tsv.gz"
    path.write_bytes(gzip.compress(b"id\ta\tb\nP\t36893\t-11\n"))
    assert read_expression(path, clip=10).values.tolist() == [[10.0, -10.0]]
    assert read_expression(path).values.tolist() == [[36893.0, -11.0]]


@pytest.mark.parametrize("cell", ["", "NA", "nan", "n/a", "inf", "-inf", "1,5", "True", "0x1f", "5_0", "٣"])
def test_a_cell_that_is_no_number_is_named_by_patient_and_column(tmp_path, cell):
    path = write(tmp_path, f'id,TP53,EGFR\nP1,1,2\nP2,3,"{cell}"\n')
    with pytest.raises(DataError, match=r"1 cells are not finite.*patient 'P2' in column 'EGFR'"):
        read_expression(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,TP53,TP53\nP1,1,2\n", "1 genes of .* stand there twice: 'TP53'"),
        ("id,TP53\nP1,1\nP1,2\n", "1 patients of .* stand there twice: 'P1'"),
        ("id,TP53\n", "no patients"),
        ("id\nP1\n", "no column beside the patient"),
        ("", "no column beside the patient"),
        ("id,TP53\nP1,1,2\n", "Cannot read the table"),
        ("id,TP53\nTCGA-05-4249-11A,1\n", "normal tissue: 'TCGA-05-4249-11A'"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_expression(write(tmp_path, text))


def test_text_that_is_not_utf8_and_broken_archives_are_refused(tmp_path):
    (tmp_path / "utf16.csv").write_bytes("id,TP53\nP1,1\n".encode("utf-16"))
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"id,TP53\nP1,1\n" * 100)[:30])
    for name in ("utf16.csv", "cut.csv.gz", "absent.csv"):
        with pytest.raises(DataError, match=f"Cannot read the table .*{name}"):
            read_expression(tmp_path / name)


def test_rows_come_in_the_order_asked_and_strangers_are_named():
    table = Expression(("a", "b"), ("g",), np.array([[1.0], [2.0]]))
    assert table.rows(["b", "a"]).tolist() == [[2.0], [1.0]]
    assert "a" in table and "c" not in table
    with pytest.raises(DataError, match=r"1 patients have no row in the table: 'c'\. Add their rows, or leave"):
        table.rows(["a", "c"])


def test_changing_picked_rows_does_not_change_the_table():
    table = Expression(("a",), ("g",), np.array([[1.0]]))
    table.rows(["a"])[:] = 7
    assert table.values.tolist() == [[1.0]]


def test_values_must_fit_patients_and_genes():
    with pytest.raises(DataError, match=r"2 patients and 1 genes do not fit values of shape \(1, 2\)"):
        Expression(("a", "b"), ("g",), np.zeros((1, 2)))


def test_embeddings_are_read_from_safetensors_with_a_vector_a_patient(tmp_path):
    vectors = {"P1": np.array([1.0, 2.0], np.float32), "P2": np.array([3.0, 4.0], np.float32)}
    save_file(vectors, tmp_path / "e.safetensors")
    table = read_embeddings(tmp_path / "e.safetensors")
    assert {patient: table.rows([patient])[0].tolist() for patient in table.ids} == {"P1": [1, 2], "P2": [3, 4]}
    assert len(table.genes) == 2


@pytest.mark.parametrize(
    ("vectors", "message"),
    [({"P1": np.zeros(2), "P2": np.zeros(3)}, "shapes.*Write one tensor"), ({"P1": np.zeros((1, 2))}, "shapes"),
     ({}, "shapes none"), ({"P1": np.array([0, np.nan])}, "patient 'P1' in column '1'")],
)  # fmt: skip
def test_embeddings_of_unequal_or_unusable_vectors_are_refused(tmp_path, vectors, message):
    save_file(vectors, tmp_path / "e.safetensors")
    with pytest.raises(DataError, match=message):
        read_embeddings(tmp_path / "e.safetensors")


def test_real_expression_of_luad_is_read_whole():
    path = DATA / "cohorts/hif_tokens/luad/rna.csv.gz"
    if not path.exists():
        pytest.skip(f"real data: '{path}' is not here; set SLIDESURV_DATA")
    table = read_expression(path)
    assert table.values.shape == (422, 1555) and table.genes[:2] == ("AAK1", "AATK")
    assert table.rows(["TCGA-05-4249"])[0, 0] == -0.0835 and np.abs(table.values).max() == 10


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=4),
    st.sampled_from(["csv", "csv.gz"]),
)
def test_what_is_written_is_read_to_the_last_digit(tmp_path_factory, numbers, form):
    path = tmp_path_factory.mktemp("rna") / f"rna.{form}"
    table = Expression(("P1", "007"), tuple(f"g,{k}" for k in range(len(numbers))), np.array([numbers, numbers[::-1]]))
    write_expression(path, table)
    again = read_expression(path)
    assert (again.ids, again.genes) == (table.ids, table.genes)
    assert np.array_equal(again.values, table.values)


def test_the_same_table_gives_the_same_bytes_and_whole_numbers_no_decimals(tmp_path):
    table = Expression(("P1",), ("a", "b"), np.array([[0.0, 12.0]]))
    for name in ("one.csv.gz", "two.csv.gz", "t.csv"):
        write_expression(tmp_path / name, table)
    assert (tmp_path / "one.csv.gz").read_bytes() == (tmp_path / "two.csv.gz").read_bytes()
    assert (tmp_path / "one.csv.gz").read_bytes()[4:8] == bytes(4)  # no time of writing
    assert (tmp_path / "t.csv").read_text() == "patient_id,a,b\nP1,0,12\n"
    assert gzip.decompress((tmp_path / "one.csv.gz").read_bytes()) == (tmp_path / "t.csv").read_bytes()


def test_a_gene_named_like_a_formula_is_not_written(tmp_path):
    with pytest.raises(DataError, match="1 genes are named like formulas: '=HYPERLINK"):
        write_expression(tmp_path / "t.csv", Expression(("P1",), ("=HYPERLINK(1)",), np.ones((1, 1))))
    assert list(tmp_path.iterdir()) == []


def test_parquet_is_written_and_read(tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    table = Expression(("P1", "P2"), ("a", "b"), np.array([[0.1, 2.0], [3.0, 4.0]]))
    write_expression(tmp_path / "t.parquet", table)
    again = read_expression(tmp_path / "t.parquet")
    assert (again.ids, again.genes, again.values.tolist()) == (table.ids, table.genes, table.values.tolist())


def test_without_pyarrow_no_parquet_is_left_behind(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise ImportError("no pyarrow")

    monkeypatch.setattr("pandas.DataFrame.to_parquet", refuse)
    with pytest.raises(MissingExtra, match="pip install pyarrow"):
        write_expression(tmp_path / "t.parquet", Expression(("P1",), ("a",), np.ones((1, 1))))
    assert list(tmp_path.iterdir()) == []
