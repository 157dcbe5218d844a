"""Weights are read in the formats they come in, and nothing in them is ever run."""

import os

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from slidesurv.errors import DataError
from slidesurv.slides.encoders.state import fill, read_state

STATE = {"a": torch.arange(6.0).reshape(2, 3), "half": torch.ones(2, dtype=torch.float16), "n": torch.tensor(3)}


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hostile-marker",)


def same(read: dict[str, torch.Tensor]) -> bool:
    return set(read) == {"a", "half"} and all(torch.equal(read[key], STATE[key].float()) for key in read)


def test_every_format_reads_the_same(tmp_path):
    save_file(STATE, tmp_path / "w.safetensors")
    torch.save(STATE, tmp_path / "w.bin")
    torch.save({"state_dict": STATE, "epoch": 3}, tmp_path / "w.pt")
    torch.save(STATE, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    for suffix in ("safetensors", "bin", "pt", "pth"):
        assert same(read_state(tmp_path / f"w.{suffix}")), suffix


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_would_run_something_is_refused_unopened(tmp_path, monkeypatch, zipped):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Hostile()}, tmp_path / "w.bin", _use_new_zipfile_serialization=zipped)
    with pytest.raises(DataError, match="holds more than tensors; nothing of it was run"):
        read_state(tmp_path / "w.bin")
    assert not (tmp_path / "hostile-marker").exists()


@pytest.mark.parametrize("content", [b"", b"<html>Access denied</html>", b"PK\x03\x04 torn", bytes(range(256)) * 8])
@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_what_is_no_file_of_weights_is_named(tmp_path, content, suffix):
    (tmp_path / f"w{suffix}").write_bytes(content)
    with pytest.raises(DataError, match=rf"w\{suffix}'"):
        read_state(tmp_path / f"w{suffix}")


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_a_file_that_is_cut_short_is_refused(tmp_path, suffix):
    path = tmp_path / f"w{suffix}"
    save_file(STATE, path) if suffix == ".safetensors" else torch.save(STATE, path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError):
        read_state(path)


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], {"a": torch.zeros(3), "epoch": 3}])
def test_what_is_no_state_dictionary_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "w.bin")
    with pytest.raises(DataError, match="Give the state dictionary of the network"):
        read_state(tmp_path / "w.bin")


def test_numbers_that_are_not_finite_are_refused_by_name(tmp_path):
    save_file({"good": torch.zeros(2), "bad": torch.tensor([1.0, torch.nan])}, tmp_path / "w.safetensors")
    with pytest.raises(DataError, match="not finite in 'bad'"):
        read_state(tmp_path / "w.safetensors")


def test_a_network_on_no_device_is_filled(tmp_path):
    with torch.device("meta"):
        network = nn.Linear(3, 2)
    state = {"weight": torch.ones(2, 3), "bias": torch.tensor([0.5, 0.0])}
    assert fill(network, state)(torch.ones(3)).tolist() == [3.5, 3.0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"weight": torch.ones(2, 4)}, r"'weight' is \(2, 4\), expected \(2, 3\)"),
        ({"extra": torch.ones(1)}, r"'extra' is \(1,\), expected none"),
    ],
)
def test_a_state_must_fit_to_the_last_name(change, reason):
    state = {"weight": torch.ones(2, 3), "bias": torch.zeros(2)} | change
    with pytest.raises(DataError, match=reason):
        fill(nn.Linear(3, 2), state)


def test_a_missing_parameter_is_named():
    with pytest.raises(DataError, match=r"'bias' is missing, expected \(2,\)"):
        fill(nn.Linear(3, 2), {"weight": torch.ones(2, 3)})
