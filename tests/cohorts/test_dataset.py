"""Models get every patient through one fold, and the fold is fitted on training patients alone."""

import logging
import math
import os
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from slidesurv.cohorts.clinical import read_manifest
from slidesurv.cohorts.dataset import Dataset, FoldView
from slidesurv.cohorts.fold import Fold, fit_fold
from slidesurv.cohorts.preprocessing import Preprocessing
from slidesurv.cohorts.splits import read_mcat_splits
from slidesurv.errors import ConfigError, DataError
from slidesurv.genomics.expression import Expression, read_expression
from slidesurv.genomics.groups import GeneGroups
from slidesurv.genomics.screening import Screening
from slidesurv.slides.store import FeatureStore, write_features
from slidesurv.types import Cohort, Genomics, Patient, Split

DATA = Path(os.environ.get("SLIDESURV_DATA") or Path(__file__).parents[2].parent / "shared/data")
IDS = tuple(f"P{n}" for n in range(12))
SPLIT = Split(IDS[:8], IDS[8:10], IDS[10:])
OTHERS = SPLIT.tune + SPLIT.test


def make_cohort() -> Cohort:
    return Cohort("made", tuple(Patient(i, (f"{i}-a", f"{i}-b"), 3.0 * n + 1, n % 3 != 2) for n, i in enumerate(IDS)))


def write_store(folder: Path, *, spoilt: float | None = None) -> FeatureStore:
    random = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    for patient in make_cohort():
        for slide in patient.slides:
            features = random.normal(5, 2, (6, 3))
            if spoilt is not None and patient.id in OTHERS:
                features[:] = spoilt
            with h5py.File(
                folder / f"{slide}.h5", "w"
            ) as file:  # quicker than write_features, which waits for the disk
                file.update(features=features, coords=np.arange(12).reshape(6, 2))
                file["features"].attrs["encoder"] = "uni"
    return FeatureStore(folder)


def make_expression(ids: tuple[str, ...] = IDS, genes: int = 5) -> Expression:
    values = np.random.default_rng(1).normal(2, 3, (len(IDS), genes))
    return Expression(ids, tuple(f"G{n}" for n in range(genes)), values[[IDS.index(i) for i in ids]])


@pytest.fixture
def fold(tmp_path) -> Fold:
    dataset = Dataset(make_cohort(), store=write_store(tmp_path), expression=make_expression())
    return fit_fold(dataset, SPLIT, n_bins=3, standardise_features=True, embedding="pca", components=2)


CERTAIN = np.zeros(3)  # p of three genes
GROUPS = GeneGroups(("odd", "even"), ((1, 3), (0, 2, 4)))
FITTINGS = {
    "pca": {"embedding": "pca", "components": 2},
    "expression": {"embedding": "expression", "groups": GROUPS},
    "differential": {"embedding": "differential", "screening": Screening(p_value=0.6)},
    "screened groups": {
        "groups": GROUPS, "screen_groups": True, "empty_groups": "drop", "screening": Screening(p_value=0.6)
    },
}  # fmt: skip


def fingerprint(fold: Fold) -> list[object]:
    tensors, settings = fold.preprocessing.state()
    return [fold.bins.edges, settings, {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}]


@pytest.mark.parametrize("poison", [1e9, math.nan])
@pytest.mark.parametrize("fitting", FITTINGS)
def test_poisoned_tuning_and_test_patients_change_nothing_that_was_fitted(tmp_path, fold, fitting, poison):
    choices = {"n_bins": 3, "standardise_features": True, **FITTINGS[fitting]}
    fold = fit_fold(fold.dataset, SPLIT, **choices)
    store = write_store(tmp_path / "poisoned", spoilt=1e9)  # a file with NaN would be refused, were it read
    cohort = Cohort("made", tuple(replace(p, time=poison) if p.id in OTHERS else p for p in make_cohort()))
    expression = make_expression()
    expression.values[[IDS.index(patient) for patient in OTHERS]] = poison
    dataset = Dataset(cohort, store=store, expression=expression)
    assert fingerprint(fit_fold(dataset, SPLIT, **choices)) == fingerprint(fold)


def test_files_of_test_patients_are_not_even_read_for_fitting(tmp_path, fold):
    store = write_store(tmp_path / "copy")
    dataset = Dataset(make_cohort(), store=store, expression=make_expression())
    for patient in OTHERS:
        (tmp_path / f"copy/{patient}-a.h5").write_bytes(b"not HDF5")
    again = fit_fold(dataset, SPLIT, n_bins=3, standardise_features=True, embedding="pca", components=2)
    assert fingerprint(again) == fingerprint(fold)
    with pytest.raises(DataError, match="P11-a"):
        again.patient("P11")


def test_poison_in_training_is_felt(tmp_path, fold):
    expression = make_expression()
    expression.values[0] += 1
    dataset = Dataset(make_cohort(), store=write_store(tmp_path), expression=expression)
    other = fit_fold(dataset, SPLIT, n_bins=3, standardise_features=True, embedding="pca", components=2)
    assert fingerprint(other) != fingerprint(fold)


def test_poisoned_counts_of_others_leave_the_screening_alone(monkeypatch):
    tests: list[np.ndarray] = []
    monkeypatch.setattr("slidesurv.genomics.screening.deseq2", lambda counts, early: tests.append(counts) or CERTAIN)
    for poison in (7.0, 1e9):
        counts = Expression(IDS, ("G4", "G9", "G1"), np.arange(36.0).reshape(12, 3))
        counts.values[[IDS.index(patient) for patient in OTHERS]] = poison
        dataset = Dataset(make_cohort(), expression=make_expression(), counts=counts)
        fold = fit_fold(dataset, SPLIT, n_bins=3, embedding="differential", screening=Screening("deseq2"))
        assert fold.preprocessing.chosen == (1, 4)  # G9 differs too, but is no column of the expression
    assert np.array_equal(*tests)


def test_counts_of_other_genes_than_the_expression_are_refused(monkeypatch):
    monkeypatch.setattr("slidesurv.genomics.screening.deseq2", lambda counts, early: CERTAIN)
    counts = Expression(IDS, ("X", "Y", "Z"), np.ones((12, 3)))
    dataset = Dataset(make_cohort(), expression=make_expression(), counts=counts)
    with pytest.raises(DataError, match=r"None of 3 differential genes .'X', 'Y', 'Z'. is a column"):
        fit_fold(dataset, SPLIT, n_bins=3, embedding="differential", screening=Screening("deseq2"))


def test_the_training_patients_choose_the_differential_genes(fold):
    choices = {"n_bins": 3, **FITTINGS["differential"]}
    expression = make_expression()
    expression.values[[0, 1, 3], 3] += 100  # of those who died before the median death
    other = fit_fold(Dataset(make_cohort(), expression=expression), SPLIT, **choices)
    chosen = fit_fold(fold.dataset, SPLIT, **choices).preprocessing.chosen
    assert 3 in other.preprocessing.chosen
    assert set(chosen) - {3} == set(other.preprocessing.chosen) - {3}
    assert 0 < len(chosen) < 5


@pytest.mark.parametrize("fitting", ["expression", "differential", "screened groups"])
def test_chosen_genes_and_groups_are_the_scaled_expression(fold, fitting):
    fold = fit_fold(fold.dataset, SPLIT, n_bins=3, **FITTINGS[fitting])
    genomics, sizes, fitted = fold.patient("P11").genomics, fold.sizes, fold.preprocessing
    if fitting == "screened groups":
        assert genomics.embedding is None
        assert sum(sizes.groups) < 5
    else:
        chosen = list(fitted.chosen)
        assert torch.equal(genomics.embedding, genomics.expression[chosen])
        assert len(chosen) == sizes.embedding
        assert (len(chosen) == 5) == (fitting == "expression")
    if fitted.groups is not None:
        assert sizes.groups == fitted.groups.sizes == tuple(map(len, genomics.groups))
        for group, columns in zip(genomics.groups, fitted.groups.columns, strict=True):
            assert torch.equal(group, genomics.expression[list(columns)])


def test_bins_of_the_whole_cohort_are_taken_only_when_asked(fold):
    whole = fit_fold(fold.dataset, SPLIT, n_bins=3, bins_from="cohort")
    assert fold.bins.edges[-1] == pytest.approx(22, abs=1e-5) and whole.bins.edges[-1] == pytest.approx(34, abs=1e-5)


def test_a_view_hands_out_training_patients_and_nobody_else(fold):
    view = FoldView(fold.dataset, SPLIT)
    assert view.cohort.ids == SPLIT.train == tuple(bag.patient for bag in view.bags())
    assert view.expression().tolist() == fold.dataset.expression.values[:8].tolist()
    for patient in OTHERS:
        with pytest.raises(DataError, match=f"'{patient}' is not in training"):
            view.bag(patient)
        with pytest.raises(DataError):
            view.cohort[patient]


def test_training_tiles_and_genes_are_scaled_to_mean_zero_deviation_one(fold):
    fold = fit_fold(
        fold.dataset, SPLIT, n_bins=3, standardise_features=True, embedding="pca", components=2, whiten=True
    )
    tiles = torch.cat([bag.features for bag in fold.training_bags()]).double()
    genes = torch.stack([fold.patient(patient).genomics.expression for patient in SPLIT.train]).double()
    scores = torch.stack([fold.patient(patient).genomics.embedding for patient in SPLIT.train]).double()
    for values in (tiles, genes, scores):
        assert torch.allclose(values.mean(0), torch.zeros(1).double(), atol=1e-6)
        assert torch.allclose(values.std(0, correction=0), torch.ones(1).double(), atol=1e-5)


def test_a_patient_comes_with_bag_genomics_and_target_in_single_precision(fold):
    patient = fold.patient("P4")
    assert patient.id == patient.bag.patient == "P4" and patient.bag.slide.tolist() == [0] * 6 + [1] * 6
    assert patient.bag.features.shape == (12, 3) and patient.bag.features.dtype == torch.float32
    assert patient.genomics.expression.dtype == patient.genomics.embedding.dtype == torch.float32
    assert (patient.target.time.tolist(), patient.target.event.tolist()) == ([13.0], [True])
    edges, bin_ = fold.bins.edges, patient.target.bin.item()
    assert edges[bin_] <= 13.0 < edges[bin_ + 1] and patient.target.bin.dtype == torch.int64


def test_sizes_say_what_the_tensors_have(fold):
    patient, sizes = fold.patient("P11"), fold.sizes
    assert (sizes.tile, sizes.bins) == (patient.bag.features.shape[1], 3)
    assert (sizes.embedding, sizes.expression) == (len(patient.genomics.embedding), len(patient.genomics.expression))


def test_features_are_left_alone_unless_asked(tmp_path):
    store = write_store(tmp_path)
    fold = fit_fold(Dataset(make_cohort(), store=store), SPLIT, n_bins=3)
    assert torch.equal(fold.patient("P0").bag.features, store.bag("P0", ["P0-a", "P0-b"]).features)
    assert fold.patient("P0").genomics is None and fold.sizes.expression == fold.sizes.embedding == 0


def test_a_patient_without_expression_has_no_genomics_and_is_not_fitted_on(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        dataset = Dataset(make_cohort(), store=write_store(tmp_path), expression=make_expression(IDS[2:]))
    assert "2 of 12 patients of cohort 'made' have no expression" in caplog.text
    fold = fit_fold(dataset, SPLIT, n_bins=3, embedding="pca", components=5)
    assert fold.patient("P0").genomics is None and fold.patient("P2").genomics is not None
    with caplog.at_level(logging.WARNING):
        assert fit_fold(dataset, SPLIT, n_bins=3, embedding="pca", components=64).sizes.embedding == 5
    assert "6 training patients with 5 genes allow 5 components" in caplog.text


def test_ready_made_embeddings_are_taken_as_they_are(tmp_path):
    embeddings = make_expression(IDS[1:], genes=4)
    dataset = Dataset(make_cohort(), store=write_store(tmp_path), embeddings=embeddings)
    fold = fit_fold(dataset, SPLIT, n_bins=3, embedding="table")
    assert fold.patient("P3").genomics.embedding.tolist() == pytest.approx(embeddings.rows(["P3"])[0].tolist())
    assert fold.sizes.embedding == 4 and fold.patient("P0").genomics is None
    assert fit_fold(dataset, SPLIT, n_bins=3).patient("P3").genomics is None  # not asked for


def test_an_embedding_without_its_table_is_refused(tmp_path):
    dataset = Dataset(make_cohort(), store=write_store(tmp_path))
    for embedding, table in (("pca", "expression"), ("differential", "expression"), ("table", "embeddings")):
        with pytest.raises(ConfigError, match=rf"embedding = '{embedding}' needs a table: set \[cohort\] {table}"):
            fit_fold(dataset, SPLIT, embedding=embedding)


def test_a_cohort_without_slides_gives_empty_bags():
    fold = fit_fold(Dataset(make_cohort(), expression=make_expression()), SPLIT, n_bins=3)
    patient = fold.patient("P0")
    assert len(patient.bag) == 0 and patient.bag.coords.shape == (0, 2) and fold.sizes.tile == 0
    assert isinstance(patient.genomics, Genomics) and patient.genomics.embedding is None


def test_genomics_of_other_patients_are_refused_and_a_turned_table_is_recognised():
    values = np.zeros((1, 2))
    with pytest.raises(DataError, match=r"is in the table of expression .'X'.. Name its rows"):
        Dataset(make_cohort(), expression=Expression(("X",), ("a", "b"), values))
    with pytest.raises(DataError, match=r"transpose it"):
        Dataset(make_cohort(), expression=Expression(("TP53",), ("P0", "P1"), values))


def test_slides_without_features_are_refused_or_dropped_with_counts(tmp_path, caplog):
    write_store(tmp_path)
    for slide in ("P0-a", "P0-b", "P1-a"):
        (tmp_path / f"{slide}.h5").unlink()
    with pytest.raises(DataError, match=r"3 of 24 slides of cohort 'made' have no features .*missing = \"drop\""):
        Dataset(make_cohort(), store=FeatureStore(tmp_path))
    with caplog.at_level(logging.WARNING):
        dataset = Dataset(make_cohort(), store=FeatureStore(tmp_path), missing="drop")
    assert dataset.cohort.ids == IDS[1:] and dataset.cohort["P1"].slides == ("P1-b",)
    assert "3 slides without features and 1 patients without tiles were left out." in caplog.text


def test_a_patient_whose_slides_are_all_empty_has_no_tiles(tmp_path):
    write_store(tmp_path)
    for slide in ("P0-a", "P0-b", "P1-a"):
        write_features(tmp_path / f"{slide}.h5", np.zeros((0, 3)), np.zeros((0, 2), int), encoder="uni")
    with pytest.raises(DataError, match="1 of 12 patients of cohort 'made' have no tiles: 'P0'"):
        Dataset(make_cohort(), store=FeatureStore(tmp_path))
    dataset = Dataset(make_cohort(), store=FeatureStore(tmp_path), missing="drop")
    assert dataset.cohort.ids == IDS[1:] and dataset.bag("P1").slide.tolist() == [1] * 6


def test_a_folder_of_another_cohort_leaves_nobody(tmp_path):
    write_features(tmp_path / "x.h5", np.zeros((1, 3)), np.zeros((1, 2), int), encoder="uni")
    with pytest.raises(DataError, match="12 of 12 patients of cohort 'made' have no tiles"):
        Dataset(make_cohort(), store=FeatureStore(tmp_path), missing="drop")


def test_large_bags_are_cut_to_the_same_tiles_every_time(tmp_path):
    dataset = Dataset(make_cohort(), store=write_store(tmp_path))
    bags = [fit_fold(dataset, SPLIT, n_bins=3, max_tiles=4, seed=s).patient("P0").bag for s in (0, 0, 1)]
    whole = dataset.bag("P0")
    assert [len(bag) for bag in bags] == [4, 4, 4]
    assert torch.equal(bags[0].features, bags[1].features) and not torch.equal(bags[0].features, bags[2].features)
    places = [(whole.features == tile).all(1).nonzero().item() for tile in bags[0].features]
    assert places == sorted(set(places))  # tiles of the bag, each once, in its order
    assert torch.equal(whole.coords[places], bags[0].coords) and torch.equal(whole.slide[places], bags[0].slide)


def test_the_cache_keeps_what_fits_and_scaling_leaves_it_alone(tmp_path):
    store = write_store(tmp_path)
    size = 12 * (3 * 4 + 2 * 8 + 8)
    dataset = Dataset(make_cohort(), store=store, cache_bytes=2 * size)
    fold = fit_fold(dataset, SPLIT, n_bins=3, standardise_features=True)
    first = fold.patient("P0").bag.features.clone()
    for patient in SPLIT.train:
        (tmp_path / f"{patient}-a.h5").unlink()
    assert torch.equal(fold.patient("P0").bag.features, first) and not torch.equal(dataset.bag("P0").features, first)
    assert len(dataset.bag("P1")) == 12
    with pytest.raises(DataError, match="P2-a"):
        dataset.bag("P2")


@pytest.mark.parametrize("fitting", FITTINGS)
def test_preprocessing_rebuilt_from_its_state_scales_to_the_same_bit(fold, fitting):
    fold = fit_fold(fold.dataset, SPLIT, n_bins=3, standardise_features=True, **FITTINGS[fitting])
    tensors, settings = fold.preprocessing.state()
    rebuilt = Preprocessing.from_state(tensors, settings, fold.bins.edges)
    dataset = fold.dataset
    one, other = fold.patient("P11"), replace(fold, preprocessing=rebuilt).patient("P11")
    assert torch.equal(one.bag.features, other.bag.features) and rebuilt.sizes == fold.sizes
    for view in ("embedding", "expression", "groups"):
        here, there = getattr(one.genomics, view), getattr(other.genomics, view)
        torch.testing.assert_close(there, here, rtol=0, atol=0)
    assert rebuilt.genes == dataset.expression.genes


def test_a_bundle_from_before_there_were_groups_is_read(fold):
    tensors, settings = fold.preprocessing.state()
    del settings["chosen"], settings["groups"]
    assert Preprocessing.from_state(tensors, settings, fold.bins.edges).sizes == fold.sizes


def test_preprocessing_that_chooses_genes_it_has_not_is_refused(fold):
    fold = fit_fold(fold.dataset, SPLIT, n_bins=3, **FITTINGS["expression"])
    tensors, settings = fold.preprocessing.state()
    with pytest.raises(DataError, match="has 5 genes, but takes '5', '-1' of them"):
        Preprocessing.from_state(tensors, settings | {"chosen": [0, 5, -1]}, fold.bins.edges)
    tensors["groups.1"][0] = 9
    with pytest.raises(DataError, match="has 5 genes, but takes '9' of them"):
        Preprocessing.from_state(tensors, settings, fold.bins.edges)
    del tensors["groups.1"]
    with pytest.raises(DataError, match="incomplete"):
        Preprocessing.from_state(tensors, settings, fold.bins.edges)


@pytest.mark.parametrize("loss", ["features.mean", "components.components", "tile", "genes"])
def test_preprocessing_with_a_part_missing_is_refused(fold, loss):
    tensors, settings = fold.preprocessing.state()
    tensors.pop(loss, None)
    settings.pop(loss, None)
    with pytest.raises(DataError, match="preprocessing in this bundle is incomplete"):
        Preprocessing.from_state(tensors, settings, fold.bins.edges)


def test_preprocessing_of_other_widths_is_refused(fold):
    tensors, settings = fold.preprocessing.state()
    with pytest.raises(DataError, match="has 3 columns where 4 are used"):
        Preprocessing.from_state(tensors, settings | {"tile": 4}, fold.bins.edges)
    with pytest.raises(DataError, match="has 5 columns where 1 are used"):
        Preprocessing.from_state(tensors, settings | {"genes": ["G0"]}, fold.bins.edges)


def test_features_of_another_encoder_are_refused_at_prediction(fold, tmp_path):
    write_features(tmp_path / "new/x.h5", np.zeros((2, 7)), np.zeros((2, 2), int), encoder="other")
    bag = FeatureStore(tmp_path / "new").bag("X", ["x"])
    with pytest.raises(DataError, match="features of patient 'X' have width 7, but 3 was fitted"):
        fold.preprocessing.bag(bag)


def test_a_split_with_strangers_is_refused(fold):
    with pytest.raises(DataError, match="has no patients 'stranger'"):
        fit_fold(fold.dataset, Split((*SPLIT.train, "stranger"), SPLIT.tune, SPLIT.test))


def test_real_luad_tokens_go_through_a_fold():
    folder = DATA / "cohorts/hif_tokens/luad"
    if not folder.is_dir():
        pytest.skip(f"real data: '{folder}' is not here; set SLIDESURV_DATA")
    dataset = Dataset(
        read_manifest(folder / "cohort.csv", name="luad"),
        store=FeatureStore(folder / "bags"),
        expression=read_expression(folder / "rna.csv.gz"),
    )
    split = read_mcat_splits(folder, dataset.cohort)[0]
    fold = fit_fold(dataset, split, standardise_features=True, embedding="pca", components=32)
    patient = fold.patient(split.test[0])
    assert patient.bag.features.shape == (25 * len(dataset.cohort[split.test[0]].slides), 79)
    assert patient.genomics.embedding.shape == (32,) and torch.isfinite(patient.bag.features).all()
