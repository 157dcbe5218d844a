"""What was rebuilt goes back to genes as it came, and a fold that cannot be read says why."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from slidesurv.errors import DataError
from slidesurv.genomics.views import PrincipalComponents, Standardise
from slidesurv.report.genome.rebuilt import lacking, read_rebuilt

GENES = ("A", "B", "C", "D")
RANDOM = np.random.default_rng(3)
EXPRESSION = RANDOM.normal(size=(12, 4)) * [1, 3, 0.5, 2]


def write_fold(place: Path, rebuilt, truth, *, view="embedding", patients=None, fitted=None, **settings) -> Path:
    """A fold's folder; ``fitted`` are tensors of the bundle by part."""
    (place / "bundle").mkdir(parents=True)
    ids = patients or [f"P{n:02d}" for n in range(len(truth))]
    tables = {"rebuilt": np.array(rebuilt, np.float32, order="C"), "truth": np.array(truth, np.float32, order="C")}
    save_file(tables, place / "rebuilt.safetensors", {"about": json.dumps({"patients": ids, "view": view})})
    known = {"genes": [], "chosen": [], "groups": [], "table": 0} | settings
    (place / "bundle/config.json").write_text(json.dumps({"preprocessing": known}))
    tensors = {
        f"{part}.{key}": np.ascontiguousarray(array) for part, a in (fitted or {}).items() for key, array in a.items()
    }
    save_file(tensors or {"expression.mean": np.zeros(1)}, place / "bundle/preprocess.safetensors")
    return place


def test_chosen_genes_are_taken_from_each_patients_own_mean(tmp_path: Path) -> None:
    truth = RANDOM.normal(size=(5, 2))
    place = write_fold(tmp_path / "fold", truth + 7, truth, genes=GENES, chosen=[3, 1])
    found = read_rebuilt(place)
    assert found.columns.names == ("D", "B") and found.kind == "gene" and found.width == 2
    assert found.columns.rebuilt == pytest.approx(found.columns.truth, abs=1e-6)  # a constant is nothing
    assert found.columns.truth == pytest.approx(truth - truth.mean(1, keepdims=True), abs=1e-6)


def test_components_that_lose_nothing_give_the_scaled_genes_back_but_for_the_centring(tmp_path: Path) -> None:
    fitted = PrincipalComponents.fit(EXPRESSION, components=4)
    scores = fitted(EXPRESSION)
    place = write_fold(tmp_path / "fold", scores, scores, genes=GENES, fitted={"components": fitted.state()})
    found = read_rebuilt(place)
    shift = scores.mean(1, keepdims=True) * fitted.scale @ fitted.components
    assert found.columns.names == GENES and found.width == 4
    assert found.columns.truth == pytest.approx(Standardise.fit(EXPRESSION)(EXPRESSION) - shift, abs=1e-5)


def test_a_gene_that_was_constant_in_training_stays_exactly_so(tmp_path: Path) -> None:
    flat = EXPRESSION * [1, 0, 1, 1] + [0, 0.1, 0, 0]
    fitted = PrincipalComponents.fit(flat, components=3)
    scores = fitted(flat)
    place = write_fold(tmp_path / "fold", scores, scores, genes=GENES, fitted={"components": fitted.state()})
    assert np.ptp(read_rebuilt(place).columns.truth, axis=0)[1] == 0


def test_a_ready_made_embedding_has_dimensions_and_no_pathways(tmp_path: Path) -> None:
    truth = RANDOM.normal(size=(5, 3))
    groups = {"groups": {"0": np.array([0])}}
    place = write_fold(tmp_path / "fold", truth, truth, table=3, genes=GENES, groups=["low"], fitted=groups)
    found = read_rebuilt(place)
    assert (found.kind, found.columns.names) == ("dimension", ("dimension 0", "dimension 1", "dimension 2"))
    assert found.pathways.names == () and found.pathways.truth.shape == (5, 0)


def test_gene_groups_stay_as_they_are_and_a_gene_of_two_groups_is_their_mean(tmp_path: Path) -> None:
    groups = {"groups": {"0": np.array([0, 1]), "1": np.array([1, 3])}}
    place = write_fold(
        tmp_path / "fold",
        [[1, 2, 4, 8]],
        [[1, 2, 2, 3]],
        view="groups",
        genes=GENES,
        groups=["low", "high"],
        fitted=groups,
    )
    found = read_rebuilt(place)
    assert found.columns.names == ("A", "B", "D")
    assert found.columns.rebuilt.tolist() == [[1, 3, 8]] and found.columns.truth.tolist() == [[1, 2, 3]]
    assert found.pathways.names == ("low", "high")
    assert found.pathways.rebuilt.tolist() == [[2, 5.5]]


def test_a_pathway_is_the_mean_of_its_genes_that_are_there(tmp_path: Path) -> None:
    truth = RANDOM.normal(size=(5, 3))
    groups = {"groups": {"0": np.array([0, 2]), "1": np.array([1])}}
    place = write_fold(tmp_path / "fold", truth, truth, genes=GENES, chosen=[2, 3, 0], groups=["x", "y"], fitted=groups)
    found = read_rebuilt(place)
    assert found.pathways.names == ("x",)  # the gene of the other is not among the chosen
    assert found.pathways.truth[:, 0] == pytest.approx(found.columns.truth[:, [0, 2]].mean(1))


def test_patients_come_in_the_order_of_their_ids(tmp_path: Path) -> None:
    place = write_fold(
        tmp_path / "fold", [[1, 2], [3, 8]], [[1, 2], [3, 8]], genes=GENES, chosen=[0, 1], patients=["P2", "P1"]
    )
    found = read_rebuilt(place)
    assert found.patients == ("P1", "P2")
    assert found.columns.truth.tolist() == [[-2.5, 2.5], [-0.5, 0.5]]


def test_what_a_fold_lacks_is_said(tmp_path: Path) -> None:
    assert "earlier version" in lacking(tmp_path)
    place = write_fold(tmp_path / "fold", [[1, 2]], [[1, 2]], genes=GENES, chosen=[0, 1])
    assert lacking(place) == ""
    (place / "bundle/preprocess.safetensors").unlink()
    assert lacking(place).startswith("the bundle is gone")


@pytest.mark.parametrize("fault", ["cut", "nan", "other"])
def test_a_broken_fold_is_an_error_that_says_what_to_do(tmp_path: Path, fault: str) -> None:
    values = [[np.nan, 2]] if fault == "nan" else [[1, 2]]
    chosen = [0, 9] if fault == "other" else [0, 1]
    place = write_fold(tmp_path / "fold", values, [[1, 2]], genes=GENES, chosen=chosen)
    if fault == "cut":
        (place / "rebuilt.safetensors").write_bytes((place / "rebuilt.safetensors").read_bytes()[:-3])
    with pytest.raises(DataError, match="Delete this folder and run the same command again"):
        read_rebuilt(place)
