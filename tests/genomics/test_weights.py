"""Weights are taken from whole, known, fitting files, and mean the same from either kind of file."""

import hashlib
import json
import os
from dataclasses import asdict

import joblib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from reference.bulkrnabert import checkpoint, folder
from slidesurv.errors import DataError
from slidesurv.genomics import weights
from slidesurv.genomics.bulkrnabert import EncoderConfig, ExpressionEncoder
from slidesurv.genomics.tokens import QuantileBins, TPMBins
from slidesurv.genomics.weights import read_checkpoint, read_config, read_head, write_checkpoint

TINY = EncoderConfig(
    n_genes=7,
    n_expressions_bins=8,
    embed_dim=6,
    init_gene_embed_dim=4,
    num_attention_heads=2,
    ffn_embed_dim=10,
    num_layers=2,
    normalization_factor=5.5,
)


def encoder() -> ExpressionEncoder:
    torch.manual_seed(0)
    return ExpressionEncoder(TINY).eval()


def as_haiku(model: ExpressionEncoder) -> dict:
    """The parameters as the authors' program names and turns them."""
    places = {hub: path for path, hub in weights.PLACES.items()}
    tree: dict = {}
    for name, tensor in model.state_dict().items():
        module, leaf = name.rsplit(".", 1)
        block = ""
        if module.startswith("transformer_layers."):
            number, module = module.removeprefix("transformer_layers.").split(".", 1)
            block = f"self_attention_block_{number}/"
        theirs = {"weight": "w", "bias": "b"}
        if "norm" in module:
            theirs = {"weight": "scale", "bias": "offset"}
        if "embedding_layer" in module:
            theirs = {"weight": "embeddings"}
        values = tensor.numpy().T if theirs[leaf] == "w" else tensor.numpy()
        tree.setdefault(f"bulk_bert/{block}{places[module]}", {})[theirs[leaf]] = values
    return tree


@pytest.fixture
def official(tmp_path):
    """A folder as the authors publish them."""
    path = tmp_path / "official"
    path.mkdir()
    joblib.dump(as_haiku(encoder()), path / "params.joblib")
    (path / "config.json").write_text(
        json.dumps(asdict(TINY) | {"gene2vec_weights_path": "x", "rnaseq_tokenizer_bins": None})
    )
    return path


def embedded(read) -> torch.Tensor:
    return read.encoder().embed(torch.arange(7)[None]).detach()


def expected() -> torch.Tensor:
    return encoder().embed(torch.arange(7)[None]).detach()


def test_golden_weights_converted_once_are_read_again_as_they_were(tmp_path):
    first = checkpoint("small", tmp_path)
    (kept,) = tmp_path.iterdir()
    assert kept.name == f"params_small-{first.sha256[:16]}.safetensors"
    assert first.sha256 == hashlib.sha256((folder() / "params_small.joblib").read_bytes()).hexdigest()
    written = kept.stat().st_mtime_ns
    again = checkpoint("small", tmp_path)
    assert kept.stat().st_mtime_ns == written
    assert all(torch.equal(first.parameters[name], again.parameters[name]) for name in first.parameters)


def test_the_authors_folder_is_read_and_kept_as_safetensors_beside_it(official):
    read = read_checkpoint(official)
    assert torch.equal(embedded(read), expected())
    (kept,) = official.glob("*.safetensors")
    assert load_file(kept).keys() == encoder().state_dict().keys()
    assert read.release == "" and read.bins == TPMBins(count=8, factor=5.5)


def test_in_a_folder_that_cannot_be_written_nothing_is_kept(official, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert torch.equal(embedded(read_checkpoint(official)), expected())
    assert not list(official.glob("*.safetensors"))


def test_the_hubs_folder_is_read_with_the_factor_of_its_tokenizer(tmp_path):
    save_file({name: tensor.half() for name, tensor in encoder().state_dict().items()}, tmp_path / "model.safetensors")
    said = asdict(TINY) | {"normalization_factor": None, "architectures": ["X"], "torch_dtype": "float32"}
    (tmp_path / "config.json").write_text(json.dumps(said))
    with pytest.raises(DataError, match=r"normalization_factor is None.*tokenizer_config\.json"):
        read_checkpoint(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"normalization_factor": 5.5}))
    read = read_checkpoint(tmp_path)
    assert read.config == TINY
    torch.testing.assert_close(embedded(read), expected(), atol=0.02, rtol=0)
    assert {tensor.dtype for tensor in read.parameters.values()} == {torch.float32}


@pytest.mark.parametrize("bins", [TPMBins(count=8, factor=5.5), QuantileBins(np.array([-2, -1, 0.1, 0.2, 1, 2, 3.5]))])
def test_weights_of_our_own_are_written_with_their_bins(tmp_path, bins):
    read = read_checkpoint(write_checkpoint(tmp_path / "own", encoder(), bins))
    assert torch.equal(embedded(read), expected())
    values = np.linspace(0, 9, 50)
    assert (read.bins(values) == bins(values)).all()
    assert sorted(path.name for path in (tmp_path / "own").iterdir()) == ["config.json", "model.safetensors"]


def test_quantiles_of_another_number_of_bins_are_refused(tmp_path):
    write_checkpoint(tmp_path, encoder(), QuantileBins(np.zeros(3)))
    with pytest.raises(DataError, match=r"'quantile_edges' is \(3,\), expected \(7,\)"):
        read_checkpoint(tmp_path)


def test_another_hash_is_refused_before_anything_is_read(tmp_path, official):
    file = official / "params.joblib"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert read_checkpoint(file, expected=digest.upper(), cache=tmp_path / "c").sha256 == digest
    file.write_bytes(b"cos\nsystem\n.")
    with pytest.raises(DataError, match=f"has the sha256 [0-9a-f]{{64}}, but {digest} is expected"):
        read_checkpoint(file, expected=digest)


def test_a_hostile_file_leaves_no_trace(tmp_path, official):
    class Runs:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'mark'}",)

    joblib.dump({**as_haiku(encoder()), "zz": {"w": Runs()}}, official / "params.joblib")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match=r"is refused: it asks for 'posix\.system'"):
        read_checkpoint(official)
    assert sorted(tmp_path.rglob("*")) == before


def test_released_weights_are_known_by_their_hash_and_want_their_own_factor(official, monkeypatch):
    content = (official / "params.joblib").read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    monkeypatch.setitem(weights.RELEASES, blob, ("known", 5.5))
    assert read_checkpoint(official).release == "known"
    monkeypatch.setitem(weights.RELEASES, blob, ("known", 5.6))
    with pytest.raises(DataError, match=r"is known, whose normalization_factor is 5\.6, but its config says 5\.5"):
        read_checkpoint(official)


def change(tree: dict, what: str) -> dict:
    first = "bulk_bert/self_attention_block_0/~/fc1"
    if what == "missing":
        del tree[first]
    if what == "unknown":
        tree["bulk_bert/~/surprise"] = {"w": np.zeros((2, 2), np.float32)}
    if what == "unknown in a block":
        tree["bulk_bert/self_attention_block_9/~/gate"] = {"w": np.zeros((2, 2), np.float32)}
    if what == "shape":
        tree[first]["w"] = tree[first]["w"][:, :-1]
    if what == "not finite":
        tree[first]["w"] = tree[first]["w"] * np.float32("nan")
    return tree


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("missing", "2 parameters are missing.*'transformer_layers.0.fc1.bias' is missing, expected .10,."),
        ("unknown", "1 parameters .*surprise.*expected none"),
        ("unknown in a block", "1 parameters .*gate"),
        ("shape", r"'transformer_layers.0.fc1.weight' is \(9, 6\), expected \(10, 6\)"),
        ("not finite", "not finite in 'transformer_layers.0.fc1.weight'"),
    ],
)
def test_parameters_that_do_not_fit_are_named(official, what, message):
    joblib.dump(change(as_haiku(encoder()), what), official / "params.joblib")
    with pytest.raises(DataError, match=message):
        read_checkpoint(official)


def test_parameters_of_a_head_may_stand_beside_the_encoders(official):
    tree = as_haiku(encoder()) | {"classification_head/~/linear": {"w": np.ones((6, 2), np.float32)}}
    joblib.dump(tree, official / "params.joblib")
    assert torch.equal(embedded(read_checkpoint(official)), expected())
    assert read_head(official / "params.joblib")["head.weight"].shape == (2, 6)


def test_a_file_without_a_head_is_refused(official):
    with pytest.raises(DataError, match="holds no head, only 'bulk_bert/"):
        read_head(official / "params.joblib")


def test_missing_and_broken_files_are_refused_with_their_names(tmp_path, official):
    with pytest.raises(DataError, match=r"holds no weights: expected 'model.safetensors', 'params.joblib'"):
        read_checkpoint(tmp_path)
    with pytest.raises(DataError, match=r"Cannot read the weights .*absent"):
        read_checkpoint(official / "absent.joblib")
    (official / "model.safetensors").write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match=r"Cannot read .* as safetensors"):
        read_checkpoint(official)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "no JSON object"),
        ("{}", "'n_genes': Field required"),
        ('{"n_genes": "many"}', "'n_genes': Input should be a valid integer"),
        (json.dumps(asdict(TINY) | {"embed_dim": 7}), "cannot be built"),
        ("{", "Cannot read"),
    ],
)
def test_a_config_that_describes_no_encoder_is_refused(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read_config(tmp_path / "config.json")
