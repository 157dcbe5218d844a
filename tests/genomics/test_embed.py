"""Embeddings are made once, in the order of the weights' genes, and an ended run goes on to the same bytes."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from reference.bulkrnabert import arrays, checkpoint, folder
from slidesurv.errors import ConfigError, DataError
from slidesurv.files import read_csv
from slidesurv.genomics import embed as module
from slidesurv.genomics.bulkrnabert import EncoderConfig, ExpressionEncoder
from slidesurv.genomics.embed import embed
from slidesurv.genomics.expression import Expression, read_embeddings, read_expression
from slidesurv.genomics.genes import read_gene_list
from slidesurv.genomics.star import StarReader
from slidesurv.genomics.tokens import QuantileBins, TPMBins
from slidesurv.genomics.weights import Checkpoint, read_checkpoint, write_checkpoint

DATA = Path(os.environ.get("SLIDESURV_DATA") or Path(__file__).parents[2].parent / "shared/data")
GENES = tuple(f"ENSG{k:011d}" for k in range(9))
CONFIG = EncoderConfig(
    n_genes=9,
    n_expressions_bins=64,
    embed_dim=8,
    init_gene_embed_dim=4,
    num_attention_heads=2,
    ffn_embed_dim=10,
    num_layers=2,
    normalization_factor=5.5,
)


@pytest.fixture
def weights(tmp_path) -> Checkpoint:
    torch.manual_seed(0)
    return read_checkpoint(write_checkpoint(tmp_path / "weights", ExpressionEncoder(CONFIG), CONFIG.bins))


def table(patients: int = 5, seed: int = 0) -> Expression:
    values = np.random.default_rng(seed).gamma(0.5, 4000, (patients, len(GENES))).round(4)
    values[:, 2] = 0
    return Expression(tuple(f"P{k}" for k in range(patients)), GENES, values)


def read(folder: Path) -> dict[str, list[float]]:
    back = read_embeddings(folder / "embeddings.safetensors")
    return {patient: back.rows([patient])[0].tolist() for patient in back.ids}


def test_golden_table_is_embedded(tmp_path):
    whole = read_expression(folder() / "tpm_small.csv")
    sums = whole.values.sum(1)
    rows = np.flatnonzero(sums <= 1e6)  # a row of hard values is no sample that there could be
    assert len(rows)
    given = replace(whole, ids=tuple(whole.ids[row] for row in rows), values=whole.values[rows])
    genes = read_gene_list(folder() / "gene_ids.txt")
    path = embed(given, checkpoint("small", tmp_path / "c"), tmp_path, genes=genes)
    vectors = read_embeddings(path).rows(given.ids)
    np.testing.assert_allclose(vectors, arrays()["tpm_pooled"][rows], atol=5e-6, rtol=1e-5)


def test_golden_samples_of_the_gdc_are_put_in_the_order_of_the_genes():
    expected = read_expression(folder() / "gdc_expected.csv")
    reader = StarReader("tpm_unstranded")
    files = {path.name.split(".")[0]: path for path in folder().glob("gdc/*/*.tsv")}
    for sample in expected.ids:
        genes, values = reader.read(files[sample])
        told = {gene: value for gene, value in zip(genes.ids, values, strict=True) if gene is not None}
        row = [told.get(gene, 0.0) for gene in expected.genes]
        np.testing.assert_allclose(row, expected.rows([sample])[0], rtol=1e-12)


def test_a_real_sample_is_embedded_in_the_released_order_of_genes(tmp_path):
    common = DATA / "tcga/common"
    if not common.exists():
        pytest.skip(f"real data: '{common}' is not here; set SLIDESURV_DATA")
    whole = read_expression(common / "bulkrnabert_tcga_sample_tpm_4x19062.csv.gz")
    genes = read_gene_list(common / "bulkrnabert_common_gene_id.txt")
    config = replace(CONFIG, n_genes=len(genes), num_attention_heads=1, num_layers=1)
    weights = read_checkpoint(write_checkpoint(tmp_path / "weights", ExpressionEncoder(config), config.bins))
    one = replace(whole, ids=whole.ids[:1], values=whole.values[:1])
    embed(one, weights, tmp_path, genes=genes)
    assert list(read(tmp_path)) == ["TCGA-06-2559-01A"]
    assert read_csv(tmp_path / "index.csv")[0]["zeros"] == "1828"
    with pytest.raises(DataError, match="The gene list is not the one of the released weights"):
        embed(replace(one, genes=genes[::-1]), weights, tmp_path, genes=genes[::-1])


def test_each_vector_is_the_mean_of_the_last_tokens_and_the_file_says_what_made_it(tmp_path, weights):
    given = table()
    path = embed(given, weights, tmp_path, genes=GENES)
    ids = torch.from_numpy(weights.bins(given.values))
    means = weights.encoder()(ids).mean(1).detach()
    np.testing.assert_allclose([read(tmp_path)[patient] for patient in given.ids], means, atol=1e-6)
    with safe_open(path, "pt") as file:
        told = json.loads(file.metadata()["slidesurv"])
    assert told["recipe"]["weights_sha256"] == weights.sha256
    assert told["recipe"]["precision"] == "float32" and told["recipe"]["config"]["normalization_factor"] == 5.5
    assert len(told["recipe"]["genes_sha256"]) == 64
    index = {row["patient_id"]: row for row in read_csv(tmp_path / "index.csv")}
    assert list(index) == sorted(given.ids)
    assert [int(index[patient]["zeros"]) for patient in given.ids] == (ids == 0).sum(1).tolist()


def test_a_gene_past_the_top_of_the_corpus_is_counted(tmp_path, weights):
    given = table(1)
    given.values[0, 4] = 10**5.5 * 2
    embed(given, weights, tmp_path, genes=GENES)
    assert read_csv(tmp_path / "index.csv")[0]["clamped"] == "1"


class EndedError(Exception):
    pass


def test_an_ended_run_goes_on_where_it_stopped_to_the_same_bytes(tmp_path, weights):
    embed(table(), weights, tmp_path / "whole", genes=GENES)

    def end(done: int, total: int) -> None:
        if done == 3:
            raise EndedError

    with pytest.raises(EndedError):
        embed(table(), weights, tmp_path / "ended", genes=GENES, save_seconds=0, report=end)
    assert [path.name for path in (tmp_path / "ended").iterdir()] == ["embeddings.partial"]
    seen = []
    embed(table(), weights, tmp_path / "ended", genes=GENES, report=lambda *progress: seen.append(progress))
    assert seen == [(3, 5), (4, 5), (5, 5)]
    for name in ("embeddings.safetensors", "index.csv"):
        assert (tmp_path / "ended" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert len(list((tmp_path / "ended").iterdir())) == 2


def test_what_is_embedded_is_not_computed_again_and_further_patients_are_added(tmp_path, weights, monkeypatch):
    embed(table(3), weights, tmp_path, genes=GENES)
    first = read(tmp_path)
    changed = table(5)
    changed.values[1, 0] += 1000
    seen = []
    embed(changed, weights, tmp_path, genes=GENES, report=lambda *progress: seen.append(progress))
    assert seen[0] == (2, 5)
    after = read(tmp_path)
    assert len(after) == 5 and after["P0"] == first["P0"] and after["P1"] != first["P1"]
    monkeypatch.setattr(Checkpoint, "encoder", lambda self: pytest.fail("nothing was left to compute"))
    embed(changed, weights, tmp_path, genes=GENES)
    assert read(tmp_path) == after


def test_embeddings_made_otherwise_are_neither_mixed_nor_overwritten(tmp_path, weights):
    path = embed(table(), weights, tmp_path, genes=GENES)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"was made otherwise: its precision is 'float32', here 'bfloat16'"):
        embed(table(), weights, tmp_path, genes=GENES, precision="bfloat16")
    with pytest.raises(ConfigError, match="its weights_sha256 is"):
        embed(table(), replace(weights, sha256="0" * 64), tmp_path, genes=GENES)
    assert path.read_bytes() == before
    path.write_bytes(before[:100])
    with pytest.raises(DataError, match=r"Cannot read .*Delete it, and embed again"):
        embed(table(), weights, tmp_path, genes=GENES)


def test_bfloat16_gives_nearly_the_same_vectors(tmp_path, weights):
    embed(table(), weights, tmp_path / "f", genes=GENES)
    embed(table(), weights, tmp_path / "b", genes=GENES, precision="bfloat16")
    one, other = (
        np.array([vectors[f"P{k}"] for k in range(5)]) for vectors in (read(tmp_path / "f"), read(tmp_path / "b"))
    )
    assert 0 < np.abs(one - other).max() < 0.05 * np.abs(one).max()


@pytest.mark.parametrize(
    ("genes", "columns", "message"),
    [
        (GENES[:-1], GENES, "The gene list has 8 ids, but the weights were taught on 9"),
        (GENES, GENES[::-1], "9 columns are not the weights' 9 genes in their order: 8 differ"),
        (GENES[::-1], GENES, "8 differ. 'slidesurv rna prepare'"),
    ],
)
def test_genes_in_another_order_are_refused(tmp_path, weights, genes, columns, message):
    with pytest.raises(DataError, match=message):
        embed(replace(table(), genes=columns), weights, tmp_path / "out", genes=genes)
    assert not (tmp_path / "out").exists()


def test_the_list_of_released_weights_must_be_the_released_one(tmp_path, weights, monkeypatch):
    monkeypatch.setattr(module, "OFFICIAL_GENES", len(GENES))
    with pytest.raises(DataError, match=r"not the one of the released weights.*common_gene_id\.txt"):
        embed(table(), weights, tmp_path / "out", genes=GENES)
    monkeypatch.setattr(module, "OFFICIAL_ORDER", module._order(GENES))
    embed(table(), weights, tmp_path / "out", genes=GENES)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda values: (values - values.mean(0)) / (values.std(0) + 1e-9), "z-scores.*cannot be turned back"),
        (lambda values: np.log2(values + 1), "logarithm"),
        (lambda values: values * 1000, "counts"),
        (np.round, "counts"),
    ],
)
def test_values_that_are_no_tpm_are_refused_with_the_remedy(tmp_path, weights, spoil, message):
    with pytest.raises(DataError, match=f"The table has .*{message}"):
        embed(replace(table(), values=spoil(table().values)), weights, tmp_path / "out", genes=GENES)
    assert not (tmp_path / "out").exists()


def test_an_encoder_taught_on_quantiles_takes_any_numbers(tmp_path):
    values = np.random.default_rng(3).standard_normal((20, len(GENES)))
    torch.manual_seed(0)
    path = write_checkpoint(tmp_path / "own", ExpressionEncoder(CONFIG), QuantileBins.fit(values, count=64))
    given = Expression(tuple(f"P{k}" for k in range(20)), GENES, values)
    embed(given, read_checkpoint(path), tmp_path, genes=GENES)
    assert len({tuple(vector) for vector in read(tmp_path).values()}) == 20


def test_the_bins_of_a_config_are_those_of_the_paper():
    assert CONFIG.bins == TPMBins(count=64, factor=5.5)
