"""Tables of any format and either orientation become samples × genes, or it is asked what is not clear."""

import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from slidesurv.errors import ConfigError, DataError
from slidesurv.genomics.matrices import read_matrix

DATA = Path(os.environ.get("SLIDESURV_DATA") or Path(__file__).parents[2].parent / "shared/data") / "tcga"
here = pytest.mark.skipif(not DATA.exists(), reason=f"no real tables in '{DATA}': set SLIDESURV_DATA")

IDS = ("ENSG00000000003.15", "ENSG00000000005.6", "ENSG00000000419.13")
BARCODES = ("TCGA-06-0001-01A", "TCGA-06-0002-01A")
VALUES = np.array([[1.5, 0.0, 3.0], [4.0, 5.25, 6.0]])


def frame(samples=BARCODES, genes=IDS):
    return pd.DataFrame(VALUES, index=list(samples), columns=list(genes))


def check(matrix, samples=BARCODES, genes=IDS):
    assert (matrix.samples, matrix.genes) == (tuple(samples), tuple(gene.split(".")[0] for gene in genes))
    assert matrix.values.tolist() == VALUES.tolist()  # noqa: PD011


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("samples", "genes", "wanted"),
    [
        (BARCODES, IDS, None),
        (("P1", "P2"), IDS, None),
        (BARCODES, ("X1", "X2", "X3"), None),
        (("S1", "S2"), ("TP53", "X2", "X3"), None),
        (("S1", "S2"), ("X1", "X2", "X3"), ("X2",)),
        (("0a1b2c3d-0000-4000-8000-00000000abcd", "0a1b2c3d-0000-4000-8000-00000000abce"), ("7157", "1", "2"), None),
    ],
)
def test_genes_are_found_by_their_names_in_rows_or_columns(tmp_path, turned, samples, genes, wanted):
    table = frame(samples, genes)
    (table.T if turned else table).to_csv(tmp_path / "t.tsv", sep="\t")
    matrix = read_matrix(tmp_path / "t.tsv", genes=wanted)
    check(matrix, samples, genes)
    assert ("genes were rows" in matrix.notes) is turned


@pytest.mark.parametrize("turned", [False, True])
def test_names_that_tell_nothing_are_asked_for(tmp_path, turned):
    table = frame(("S1", "S2"), ("X1", "X2", "X3"))
    (table.T if turned else table).to_csv(tmp_path / "t.csv")
    with pytest.raises(DataError, match=r"not clear whether genes are the rows.*--rows genes or --rows samples"):
        read_matrix(tmp_path / "t.csv")
    check(read_matrix(tmp_path / "t.csv", rows="genes" if turned else "samples"), ("S1", "S2"), ("X1", "X2", "X3"))
    with pytest.raises(ConfigError, match="Did you mean 'genes'"):
        read_matrix(tmp_path / "t.csv", rows="gene")


def test_annotations_beside_the_samples_are_left_out_and_told(tmp_path):
    table = frame(genes=("TP53", "EGFR", "MYC")).T
    table.insert(0, "Entrez_Gene_Id", [7157, 1956, 4609])
    table.insert(1, "Description", ["a", "b", "c"])
    table.to_csv(tmp_path / "t.txt", sep="\t", index_label="Hugo_Symbol")
    matrix = read_matrix(tmp_path / "t.txt")
    check(matrix, genes=("TP53", "EGFR", "MYC"))
    assert "no samples, left out: 'Entrez_Gene_Id', 'Description'" in matrix.notes


def test_follow_up_beside_the_genes_never_becomes_a_gene(tmp_path):
    table = frame(genes=("TP53", "EGFR", "MYC")).assign(identifier=BARCODES, survival_time=[9, 8], event=[0, 1])
    table.to_csv(tmp_path / "t.csv", index=False)
    check(read_matrix(tmp_path / "t.csv"), genes=("TP53", "EGFR", "MYC"))
    frame().assign(age=[60, 61], N_unmapped=[1, 2]).to_csv(tmp_path / "e.csv")
    matrix = read_matrix(tmp_path / "e.csv")
    check(matrix)
    assert matrix.notes == ("no genes, left out: 'age', 'N_unmapped'",)


def test_twins_are_marked_and_told(tmp_path):
    frame(genes=(IDS[0], f"{IDS[0]}_PAR_Y", IDS[2])).to_csv(tmp_path / "t.csv")
    matrix = read_matrix(tmp_path / "t.csv")
    assert matrix.genes == ("ENSG00000000003", None, "ENSG00000000419")
    assert matrix.notes == ("1 twins on the Y chromosome (_PAR_Y) are left out",)


@pytest.mark.parametrize("turned", [False, True])
def test_a_bad_cell_is_named_by_sample_and_gene(tmp_path, turned):
    table = frame().astype(object)
    table.iloc[1, 2] = "n/a"
    (table.T if turned else table).to_csv(tmp_path / "t.csv")
    with pytest.raises(DataError, match=rf"'n/a' for patient '{BARCODES[1]}' in column '{IDS[2]}'"):
        read_matrix(tmp_path / "t.csv")


def test_a_sample_that_stands_there_twice_is_refused(tmp_path):
    frame(samples=(BARCODES[0], BARCODES[0])).to_csv(tmp_path / "t.csv")
    with pytest.raises(DataError, match=f"1 samples .* twice: '{BARCODES[0]}'"):
        read_matrix(tmp_path / "t.csv")


def test_a_table_without_rows_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text("id,TP53\n")
    with pytest.raises(DataError, match="no rows"):
        read_matrix(tmp_path / "t.csv")


def write_h5ad(path, table, *, layout="array", index="_index"):
    """After the on-disk format that anndata documents, version 0.8."""
    with h5py.File(path, "w") as file:
        file.attrs["encoding-type"] = "anndata"
        for part, names in (("obs", table.index), ("var", table.columns)):
            group = file.create_group(part)
            group.attrs["_index"] = index
            group.create_dataset(index, data=list(names), dtype=h5py.string_dtype())
        if layout == "array":
            file.create_dataset("X", data=table.to_numpy())
            return
        packed = {"csr_matrix": sparse.csr_matrix, "csc_matrix": sparse.csc_matrix}[layout](table.to_numpy(np.float32))
        group = file.create_group("X")
        group.attrs["encoding-type"], group.attrs["shape"] = layout, table.shape
        for name in ("data", "indices", "indptr"):
            group.create_dataset(name, data=getattr(packed, name))


@pytest.mark.parametrize("layout", ["array", "csr_matrix", "csc_matrix"])
@pytest.mark.parametrize("turned", [False, True])
def test_h5ad_is_read_dense_and_sparse(tmp_path, layout, turned):
    write_h5ad(tmp_path / "t.h5ad", frame().T if turned else frame(), layout=layout, index="barcode")
    check(read_matrix(tmp_path / "t.h5ad"))


def test_h5ad_that_is_damaged_or_contradicts_itself_is_refused(tmp_path):
    write_h5ad(tmp_path / "short.h5ad", frame())
    with h5py.File(tmp_path / "short.h5ad", "a") as file:
        del file["X"]
        file["X"] = np.zeros((1, 3))
    write_h5ad(tmp_path / "wild.h5ad", frame(), layout="csr_matrix")
    with h5py.File(tmp_path / "wild.h5ad", "a") as file:
        file["X/indices"][0] = 10**6
    write_h5ad(tmp_path / "bare.h5ad", frame())
    with h5py.File(tmp_path / "bare.h5ad", "a") as file:
        del file["obs"]
    write_h5ad(tmp_path / "old.h5ad", frame())
    with h5py.File(tmp_path / "old.h5ad", "a") as file:
        del file["obs"]
        file["obs"] = np.array([(1,)], dtype=[("index", "i4")])
    (tmp_path / "text.h5ad").write_text("id,TP53\n")
    for name, message in (("short", r"X is \(1, 3\)"), ("wild", "Cannot read"), ("bare", "Cannot read"),
                          ("old", "before 0.7"), ("text", "Cannot read"), ("absent", "Cannot read")):  # fmt: skip
        with pytest.raises(DataError, match=message):
            read_matrix(tmp_path / f"{name}.h5ad")


class Trap:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("name", ["t.pkl", "t.joblib", "t.pt", "t.npy", "t.h5ad", "t.csv", "t.zip", "t.parquet.gz"])
def test_a_hostile_file_is_refused_and_leaves_no_trace(tmp_path, name):
    (tmp_path / name).write_bytes(pickle.dumps(Trap(tmp_path / "marker")))
    with pytest.raises(DataError):
        read_matrix(tmp_path / name)
    assert not (tmp_path / "marker").exists()


@here
def test_the_published_samples_are_read_with_their_identifiers():
    path = DATA / "common/bulkrnabert_tcga_sample_tpm_4x19062.csv.gz"
    matrix = read_matrix(path)
    assert matrix.values.shape == (4, 19_062)  # noqa: PD011
    assert matrix.samples == ("TCGA-06-2559-01A", "TCGA-06-0187-01A", "TCGA-27-2521-01A", "TCGA-06-0744-01A")
    assert matrix.genes == tuple((DATA / "common/bulkrnabert_common_gene_id.txt").read_text().split())
    assert matrix.values.max() == 13_326.2  # noqa: PD011
