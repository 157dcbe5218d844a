"""The model that is shipped: it predicts what it predicted, and nothing that was tampered with is built."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from slidesurv.cli import main as front
from slidesurv.config.read import read_experiment
from slidesurv.errors import ConfigError, DataError
from slidesurv.files import read_csv, sha256
from slidesurv.slides.store import write_features
from slidesurv.training import deploy
from slidesurv.training.bundle import read_bundle
from slidesurv.training.crossval import run_fold
from slidesurv.training.deploy import Predicted, predict_new

NOT_READ = dict.fromkeys(["vgat", "attnmil"], "slides alone; the expression is")
NOT_READ["snn"] = "expression alone; the features are"
SILENT = {"say": lambda line: None}


@pytest.fixture(scope="module")
def folds(small, tmp_path_factory):
    """One fold of each model; gives a model's fold folder by its slug."""
    folder = tmp_path_factory.mktemp("bundles")
    text = read_experiment(small / "small.toml").model_dump_json()
    for place in range(3):
        run_fold(text, place, 1, 0, folder)
    return lambda slug: folder / slug / "seed1" / "fold0"


def rewritten(bundle, **values):
    """Change a bundle's settings; its hashes follow its files, as a careful hand would have it."""
    about = json.loads((bundle / "config.json").read_text()) | values
    about["sha256"] = values.get("sha256", {name: sha256(bundle / name) for name in about["sha256"]})
    (bundle / "config.json").write_text(json.dumps(about))
    return bundle


def features_of(folder, encoder, *, width=10, tiles=(5,)):
    for number, count in enumerate(tiles):
        values = np.random.default_rng(number).random((count, width), dtype=np.float32)
        write_features(folder / f"X{number}.h5", values, np.zeros((count, 2), dtype=np.int64), encoder=encoder)
    return folder


def copied(folds, tmp_path, slug="attnmil"):
    return shutil.copytree(folds(slug) / "bundle", tmp_path / "bundle")


@pytest.mark.parametrize("slug", ["vgat", "attnmil", "snn"])
def test_a_shipped_model_predicts_what_it_predicted(small, folds, tmp_path, slug):
    data, output, said = small / "data", tmp_path / "predictions.csv", []
    manifest, genes = data / "cohort.csv", data / "expression.csv"
    ended = predict_new(
        folds(slug) / "bundle", data / "features", output, manifest=manifest, expression=genes, say=said.append
    )
    before = {row["patient_id"]: row for row in read_csv(folds(slug) / "predictions.csv")}
    assert (ended, len(before)) == (Predicted(40, 0), 40)
    for row in read_csv(output):
        same = before[row["patient_id"]]
        assert row["model_hash"] == same["model_hash"]
        assert row["n_tiles"] == ("0" if slug == "snn" else same["n_tiles"])
        assert all(float(row[key]) == pytest.approx(float(same[key]), abs=1e-6) for key in ("risk", "S_0"))
    assert said == [f"note: this model predicts from {NOT_READ[slug]} not read."]


def test_without_a_manifest_each_slide_is_a_patient(small, folds, tmp_path):
    predict_new(folds("vgat") / "bundle", small / "data" / "features", tmp_path / "p.csv", **SILENT)
    assert all(row["patient_id"].endswith("-01") for row in read_csv(tmp_path / "p.csv"))


def test_a_model_that_reads_genes_asks_for_them(small, folds, tmp_path):
    with pytest.raises(ConfigError, match="--expression"):
        predict_new(folds("snn") / "bundle", small / "data" / "features", tmp_path / "p.csv")


def test_features_of_another_width_are_refused(folds, tmp_path):
    features = features_of(tmp_path / "features", "synthetic", width=99)
    with pytest.raises(DataError, match="width 99, but 10"):
        predict_new(folds("attnmil") / "bundle", features, tmp_path / "p.csv")


@pytest.mark.parametrize("name", ["model.safetensors", "preprocess.safetensors"])
def test_tensors_that_were_changed_are_refused(folds, tmp_path, name):
    bundle = copied(folds, tmp_path)
    tensors = load_file(bundle / name)
    save_file({key: tensor * 2 for key, tensor in tensors.items()}, bundle / name)
    with pytest.raises(DataError, match=f"{name}' are not those the bundle was written with"):
        read_bundle(bundle)
    (bundle / name).unlink()
    with pytest.raises(DataError, match=f"Cannot read the tensors in .*{name}"):
        read_bundle(bundle)


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_weights_that_do_not_fit_are_refused_by_name(folds, tmp_path, change):
    bundle = copied(folds, tmp_path)
    weights = load_file(bundle / "model.safetensors")
    if change == "missing":
        del weights["head.bias"]
    else:
        weights["head.bias" if change == "shape" else "trojan"] = torch.zeros(99)
    save_file(weights, bundle / "model.safetensors")
    with pytest.raises(DataError, match="trojan" if change == "extra" else "head.bias"):
        read_bundle(rewritten(bundle))


@pytest.mark.parametrize(
    ("key", "value", "error", "message"),
    [
        ("model", "os.system", ConfigError, "os.system"),
        ("choices", {"dim": "wide"}, ConfigError, "wide"),
        ("edges", [1.0, 2.0], DataError, "Sizes"),
        ("edges", [0.0, 20.0, 10.0, 30.0], DataError, "at least two and rise"),
        ("edges", [0.0, 10.0, 20.0, float("inf")], DataError, "at least two and rise"),
        ("sizes", {}, DataError, "'sizes.tile': Field required"),
        ("sizes", {"tile": 10, "bins": 3, "embedding": 4, "expression": 30, "extra": 1}, DataError, "'sizes.extra'"),
        ("sizes", {"tile": 11, "bins": 3, "embedding": 4, "expression": 30}, DataError, "tile=11"),
        ("schema_version", 2, DataError, "'schema_version': Input should be 1"),
        ("sha256", {}, DataError, "sha256 is of nothing"),
        ("surprise", 1, DataError, "surprise"),
    ],
)
def test_a_config_that_was_edited_is_refused(folds, tmp_path, key, value, error, message):
    with pytest.raises(error, match=message):
        read_bundle(rewritten(copied(folds, tmp_path), **{key: value}))


def test_a_pickle_in_the_place_of_weights_is_never_opened(folds, tmp_path):
    bundle, marker = copied(folds, tmp_path), tmp_path / "marker"
    (bundle / "model.safetensors").write_bytes(f"cposix\nsystem\n(S'touch {marker}'\ntR.".encode())
    with pytest.raises(DataError, match="Cannot read the tensors"):
        read_bundle(rewritten(bundle))
    assert not marker.exists()


def test_the_card_says_what_it_is_not(folds):
    card = (folds("vgat") / "bundle" / "README.md").read_text()
    assert "not a medical device" in card
    assert "{" not in card


def test_a_bundle_of_the_paper_protocol_says_optimistic_on_its_card_and_when_predicting(small, tmp_path):
    text = read_experiment(small / "small.toml", ["training.protocol=paper", "training.epochs=1"]).model_dump_json()
    run_fold(text, 1, 1, 0, tmp_path)
    bundle, said = tmp_path / "attnmil" / "seed1" / "fold0" / "bundle", []
    predict_new(bundle, small / "data" / "features", tmp_path / "p.csv", say=said.append)
    assert "OPTIMISTIC: the epoch was chosen on the test fold" in (bundle / "README.md").read_text()
    assert [line for line in said if "OPTIMISTIC" in line] == said


def test_a_leak_free_bundle_does_not_say_optimistic(small, folds, tmp_path):
    said = []
    predict_new(folds("attnmil") / "bundle", small / "data" / "features", tmp_path / "p.csv", say=said.append)
    assert said == []
    assert "OPTIMISTIC" not in (folds("attnmil") / "bundle" / "README.md").read_text()


def test_the_card_of_a_model_without_slides_asks_for_expression_only(folds):
    assert "predict BUNDLE --expression TABLE -o" in (folds("snn") / "bundle" / "README.md").read_text()
    assert "predict BUNDLE --features FOLDER -o" in (folds("vgat") / "bundle" / "README.md").read_text()


@pytest.mark.parametrize("table", [None, "patient_id\nSYN-0003\nSYN-0001\nSYN-0003\n"])
def test_a_model_that_reads_no_slides_needs_no_features(small, folds, tmp_path, table):
    manifest = tmp_path / "m.csv" if table else None
    if manifest:
        manifest.write_text(table)
    genes, output = small / "data" / "expression.csv", tmp_path / "p.csv"
    predict_new(folds("snn") / "bundle", None, output, manifest=manifest, expression=genes, **SILENT)
    ids = [row["patient_id"] for row in read_csv(output)]
    assert ids == (["SYN-0003", "SYN-0001"] if table else [f"SYN-{k:04d}" for k in range(40)])


def test_a_model_that_reads_slides_asks_for_them(folds, tmp_path):
    with pytest.raises(ConfigError, match="--features"):
        predict_new(folds("attnmil") / "bundle", None, tmp_path / "p.csv")


def test_missing_genes_are_named_with_the_remedy(small, folds, tmp_path):
    table = tmp_path / "genes.csv"
    table.write_text("patient_id,GENE000\nSYN-0001,1.0\n")
    with pytest.raises(DataError, match=r"29 of 30 genes .* 'GENE001'.* Give a table that has every gene"):
        predict_new(folds("snn") / "bundle", None, tmp_path / "p.csv", expression=table)


def test_features_of_another_encoder_are_refused_unless_allowed(folds, tmp_path):
    bundle, features = folds("attnmil") / "bundle", features_of(tmp_path / "features", "other", tiles=(5, 5))
    with pytest.raises(DataError, match=r"2 of 2 slides .* of 'encoder=other', but 'encoder=synthetic' is expected"):
        predict_new(bundle, features, tmp_path / "p.csv")
    assert predict_new(bundle, features, tmp_path / "p.csv", allow_other_encoder=True) == Predicted(2, 0)


def test_a_bundle_that_knows_no_encoder_takes_any_but_not_two(folds, tmp_path):
    bundle = copied(folds, tmp_path)
    facts = json.loads((bundle / "config.json").read_text())["facts"]
    features = features_of(tmp_path / "features", "other")
    assert predict_new(rewritten(bundle, facts=facts | {"features": ""}), features, tmp_path / "p.csv").patients == 1
    features_of(tmp_path / "more", "second")
    shutil.copy(tmp_path / "more" / "X0.h5", features / "Y.h5")
    with pytest.raises(DataError, match="'encoder=second', but 'encoder=other' is expected: 'Y'"):
        predict_new(bundle, features, tmp_path / "p.csv")


@pytest.fixture
def mixed(tmp_path):
    """Three slides of which one is good, one has no tiles and one is cut short."""
    folder = features_of(tmp_path / "features", "synthetic", tiles=(5, 0, 5))
    (folder / "X2.h5").write_bytes((folder / "X2.h5").read_bytes()[:200])
    return folder


def test_who_cannot_be_predicted_is_written_down_and_the_others_go_on(monkeypatch, capsys, folds, mixed, tmp_path):
    words = ["predict", str(folds("attnmil") / "bundle"), "--features", str(mixed), "-o", str(tmp_path / "p.csv")]
    monkeypatch.setattr(sys, "argv", ["slidesurv", *words])
    with pytest.raises(SystemExit, match="3"):
        front.main()
    assert "2 patients failed" in capsys.readouterr().err
    assert [row["patient_id"] for row in read_csv(tmp_path / "p.csv")] == ["X0"]
    reasons = {row["patient_id"]: row["reason"] for row in read_csv(tmp_path / "failed.csv")}
    assert ("have no tiles" in reasons["X1"], "Cannot read" in reasons["X2"], len(reasons)) == (True, True, 2)


def test_the_failures_of_an_earlier_prediction_do_not_stay(folds, mixed, tmp_path):
    predict_new(folds("attnmil") / "bundle", mixed, tmp_path / "p.csv", **SILENT)
    features_of(mixed, "synthetic", tiles=(5, 5, 5))
    assert predict_new(folds("attnmil") / "bundle", mixed, tmp_path / "p.csv", **SILENT) == Predicted(3, 0)
    assert not (tmp_path / "failed.csv").exists()


def test_when_nobody_can_be_predicted_there_is_no_table_but_the_reasons(folds, mixed, tmp_path):
    (mixed / "X0.h5").unlink()
    with pytest.raises(DataError, match=r"None of 2 patients could be predicted.* have no tiles"):
        predict_new(folds("attnmil") / "bundle", mixed, tmp_path / "p.csv")
    assert not (tmp_path / "p.csv").exists()
    assert len(read_csv(tmp_path / "failed.csv")) == 2


def test_a_risk_that_is_no_number_is_never_written(folds, tmp_path):
    bundle = copied(folds, tmp_path)
    weights = load_file(bundle / "model.safetensors")
    weights["head.bias"] = torch.full_like(weights["head.bias"], torch.nan)
    save_file(weights, bundle / "model.safetensors")
    with pytest.raises(DataError, match="gives patient 'X0' no finite 'risk', 'S_0'"):
        predict_new(rewritten(bundle), features_of(tmp_path / "features", "synthetic"), tmp_path / "p.csv")


def test_long_lists_say_how_far_they_are(monkeypatch, small, folds, tmp_path):
    said = []
    monkeypatch.setattr(deploy, "EVERY", 15)
    predict_new(folds("attnmil") / "bundle", small / "data" / "features", tmp_path / "p.csv", say=said.append)
    assert said == ["15 of 40 patients, 0 failed", "30 of 40 patients, 0 failed"]
