"""Tables are read as they stand, and a small file that unpacks to a huge one is not."""

import gzip
import warnings

import pandas as pd
import pytest

from slidesurv.errors import DataError, MissingExtra
from slidesurv.genomics import cells
from slidesurv.genomics.cells import opened, read_cells


def test_the_identifier_names_the_rows_wherever_it_stands(tmp_path):
    (tmp_path / "t.csv").write_text("TP53, EGFR ,identifier\n1,2,007\n3,4,P2\n")
    table = read_cells(tmp_path / "t.csv")
    assert (list(table.index), list(table.columns)) == (["007", "P2"], ["TP53", "EGFR"])
    assert table.to_numpy().tolist() == [[1, 2], [3, 4]]


def test_a_name_may_come_twice(tmp_path):
    (tmp_path / "t.csv").write_text("id,A,A\nP1,1,2\n")
    table = read_cells(tmp_path / "t.csv")
    assert (list(table.columns), table.to_numpy().tolist()) == (["A", "A"], [[1, 2]])


def test_a_row_longer_than_the_header_is_refused_even_where_warnings_are_silenced(tmp_path):
    (tmp_path / "t.csv").write_text("id,A\nP1,1,2\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(DataError, match="Cannot read the table"):
            read_cells(tmp_path / "t.csv")


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "SMALL", 1000)
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(b"id,A\n" + b"0" * 2_000_000))
    with pytest.raises(DataError, match=r"bomb\.csv\.gz' unpacks to more than 200 times its size"):
        read_cells(tmp_path / "bomb.csv.gz")


def test_honest_files_are_unpacked_whole(tmp_path):
    content = bytes(range(256)) * 5000
    (tmp_path / "f.gz").write_bytes(gzip.compress(content))
    with opened(tmp_path / "f.gz") as stream:
        assert stream.read() == content


def test_parquet_is_read_with_an_index_and_without(tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    frame = pd.DataFrame({"A": [1.5, 2.0]}, index=pd.Index(["P1", "P2"], name="patient"))
    frame.to_parquet(tmp_path / "named.parquet")
    frame.reset_index().to_parquet(tmp_path / "plain.parquet")
    for name in ("named", "plain"):
        table = read_cells(tmp_path / f"{name}.parquet")
        assert (list(table.index), list(table.columns)) == (["P1", "P2"], ["A"])
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"Cannot read .* as Parquet"):
        read_cells(tmp_path / "broken.parquet")


def test_without_pyarrow_a_parquet_table_says_what_to_install(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise ImportError("no pyarrow")

    monkeypatch.setattr(pd, "read_parquet", refuse)
    with pytest.raises(MissingExtra, match="pip install pyarrow"):
        read_cells(tmp_path / "t.parquet")
