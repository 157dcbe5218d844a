"""The model that is shipped: it predicts what it predicted, and nothing that was tampered with is built."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from slidesurv.config import read_experiment
from slidesurv.errors import ConfigError, DataError
from slidesurv.files import read_csv, sha256
from slidesurv.training.bundle import read_bundle
from slidesurv.training.crossval import run_fold
from slidesurv.training.deploy import predict_new


@pytest.fixture(scope="module")
def folds(small, tmp_path_factory):
    """One fold of each model; gives a model's fold folder by its slug."""
    folder = tmp_path_factory.mktemp("bundles")
    text = read_experiment(small / "small.toml").model_dump_json()
    for place in range(3):
        run_fold(text, place, 1, 0, folder)
    return lambda slug: folder / slug / "seed1" / "fold0"


def copied(folds, tmp_path, slug="attnmil"):
    return shutil.copytree(folds(slug) / "bundle", tmp_path / "bundle")


@pytest.mark.parametrize("slug", ["vgat", "attnmil", "snn"])
def test_a_shipped_model_predicts_what_it_predicted(small, folds, tmp_path, slug):
    data, output, said = small / "data", tmp_path / "predictions.csv", []
    manifest, genes = data / "cohort.csv", data / "expression.csv"
    count = predict_new(
        folds(slug) / "bundle", data / "features", output, manifest=manifest, expression=genes, say=said.append
    )
    before = {row["patient_id"]: row for row in read_csv(folds(slug) / "predictions.csv")}
    assert count == len(before) == 40
    for row in read_csv(output):
        same = before[row["patient_id"]]
        assert all(row[key] == same[key] for key in ("n_tiles", "model_hash"))
        assert all(float(row[key]) == pytest.approx(float(same[key]), abs=1e-6) for key in ("risk", "S_0"))
    assert any("not read" in line for line in said) == (slug != "snn")


def test_without_a_manifest_each_slide_is_a_patient(small, folds, tmp_path):
    predict_new(folds("vgat") / "bundle", small / "data" / "features", tmp_path / "p.csv", say=lambda line: None)
    assert all(row["patient_id"].endswith("-01") for row in read_csv(tmp_path / "p.csv"))


def test_a_model_that_reads_genes_asks_for_them(small, folds, tmp_path):
    with pytest.raises(ConfigError, match="--expression"):
        predict_new(folds("snn") / "bundle", small / "data" / "features", tmp_path / "p.csv")


def test_features_of_another_width_are_refused(small, folds, tmp_path):
    from slidesurv.slides.store import write_features

    path = tmp_path / "features" / "X.h5"
    write_features(path, torch.rand(3, 99).numpy(), torch.zeros(3, 2).long().numpy(), encoder="other")
    with pytest.raises(DataError, match="width 99, but 10"):
        predict_new(folds("attnmil") / "bundle", tmp_path / "features", tmp_path / "p.csv")


def test_changed_weights_are_refused(folds, tmp_path):
    bundle = copied(folds, tmp_path)
    (bundle / "model.safetensors").write_bytes((bundle / "model.safetensors").read_bytes() + b" ")
    with pytest.raises(DataError, match="are not those the bundle was written with"):
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
    about = json.loads((bundle / "config.json").read_text())
    about["weights_sha256"] = sha256(bundle / "model.safetensors")
    (bundle / "config.json").write_text(json.dumps(about))
    with pytest.raises(DataError, match="trojan" if change == "extra" else "head.bias"):
        read_bundle(bundle)


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("model", "os.system", ConfigError),
        ("choices", {"dim": "wide"}, ConfigError),
        ("edges", [1.0, 2.0], DataError),
        ("schema_version", "x", DataError),
        ("surprise", 1, DataError),
    ],
)
def test_a_config_that_was_edited_is_refused(folds, tmp_path, key, value, error):
    bundle = copied(folds, tmp_path)
    about = json.loads((bundle / "config.json").read_text())
    (bundle / "config.json").write_text(json.dumps({**about, key: value}))
    with pytest.raises(error):
        read_bundle(bundle)


def test_a_pickle_in_the_place_of_weights_is_never_opened(folds, tmp_path):
    bundle, marker = copied(folds, tmp_path), tmp_path / "marker"
    program = f"cposix\nsystem\n(S'touch {marker}'\ntR.".encode()
    (bundle / "model.safetensors").write_bytes(program)
    about = json.loads((bundle / "config.json").read_text())
    about["weights_sha256"] = sha256(program)
    (bundle / "config.json").write_text(json.dumps(about))
    with pytest.raises(DataError, match="Cannot read the tensors"):
        read_bundle(bundle)
    assert not marker.exists()


def test_the_card_says_what_it_is_not(folds):
    card = (folds("vgat") / "bundle" / "README.md").read_text()
    assert "not a medical device" in card
    assert "{" not in card
