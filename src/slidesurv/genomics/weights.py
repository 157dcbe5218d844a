"""Weights of the expression encoder, from a path that the user gives; none are shipped or fetched.

They come as ``params.joblib`` (the authors' repository) or ``model.safetensors`` (the hub), beside their
``config.json``. The first is read without being run, see `read_haiku`, and kept as the second.

The authors' weights are CC BY-NC-SA 4.0: not for commercial use, and what is made of them bears the same licence.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from slidesurv.errors import DataError, listing
from slidesurv.files import read_json, replacing, sha256, write_json
from slidesurv.genomics.bulkrnabert import EncoderConfig, ExpressionEncoder
from slidesurv.genomics.haiku import Parameters, read_haiku
from slidesurv.genomics.tokens import QuantileBins, TPMBins

__all__ = ["Checkpoint", "read_checkpoint", "read_config", "read_head", "write_checkpoint"]

EDGES = "quantile_edges"  # (V - 1,) float64 among the weights of an encoder that was taught on quantiles
FILES = ("model.safetensors", "params.joblib")
# git's name of each released params.joblib, and the largest log10(TPM + 1) of its corpus
RELEASES = {
    "db2c441a0dae48836bbdb48f585eabb6e68cbfa2": ("bulk_rna_bert_tcga", 5.547176906585117),
    "f83409f283cc891b44ac526502482e5c73c00ecb": ("bulk_rna_bert_gtex_encode", 5.873553674586928),
    "43bd304b012f8287bff3c15690f03614dd386169": ("bulk_rna_bert_gtex_encode_tcga", 5.873553674586928),
}
ROOT = "bulk_bert/"
PLACES = {
    "~/expression_embedding": "expression_embedding_layer",
    "~/gene_embedding": "gene_embedding_layer",
    "~/linear": "fc_gene_embedding",
    "~/simple_lm_head/~/lm_final_fc": "lm_head",
    "~/self_attention_layer_norm": "layer_norm_self_attention",
    "~/self_attention/query": "mha.w_q",
    "~/self_attention/key": "mha.w_k",
    "~/self_attention/value": "mha.w_v",
    "~/self_attention/mha_output": "mha.output",
    "~/final_layer_norm": "layer_norm_mlp",
    "~/fc1": "fc1",
    "~/fc2": "fc2",
}
BLOCK = re.compile(r"self_attention_block_(\d+)/")
HIDDEN = re.compile(r"/~/mlp/~/linear_(\d+)$")
HEAD = {"layer_norm": "norm", "linear": "head"}
LEAVES = {"embeddings": "weight", "w": "weight", "scale": "weight", "b": "bias", "offset": "bias"}


@dataclass(frozen=True)
class Checkpoint:
    """Weights, and where they are from.

    Attributes:
        config: sizes of the encoder.
        parameters: float32 by name, as `ExpressionEncoder` has them.
        bins: how expression becomes token ids.
        sha256: of the file that was given.
        release: the authors' name of these weights, if git knows the file under one; "" otherwise.
    """

    config: EncoderConfig
    parameters: Mapping[str, Tensor]
    bins: TPMBins | QuantileBins
    sha256: str
    release: str = ""

    def encoder(self) -> ExpressionEncoder:
        """Build the encoder, ready to embed; the parameters are shared, not copied."""
        encoder = _blank(self.config)
        encoder.load_state_dict(self.parameters, assign=True)
        return encoder.eval()


def read_checkpoint(
    path: Path, *, config: Path | None = None, expected: str = "", cache: Path | None = None
) -> Checkpoint:
    """Read weights, after their hash and without running them.

    Args:
        path: ``model.safetensors`` or ``params.joblib``, or the folder that holds one of them.
        config: its ``config.json``; None is the one beside the weights.
        expected: sha256 that the file must have; "" takes any.
        cache: where a joblib file is kept as safetensors, so that it is converted once; None is beside it, if one may
            write there.

    Raises:
        DataError: the hash is another, the file holds anything but arrays, or the arrays do not fit the config.
    """
    file = _find(path)
    content = _read(file, expected)
    digest = sha256(content)
    sizes = read_config(config or file.with_name("config.json"))
    if file.suffix == ".joblib":
        folder = cache or (file.parent if os.access(file.parent, os.W_OK) else None)
        parameters = _converted(content, file, folder and folder / f"{file.stem}-{digest[:16]}.safetensors")
    else:
        parameters = _safetensors(content, file)
    _require_fit(parameters, sizes, file)
    edges = parameters.pop(EDGES, None)
    bins = sizes.bins if edges is None else QuantileBins(edges.double().numpy())
    return Checkpoint(sizes, parameters, bins, digest, _release(content, sizes, file))


def write_checkpoint(folder: Path, encoder: ExpressionEncoder, bins: TPMBins | QuantileBins) -> Path:
    """Write weights of our own, so that `read_checkpoint` reads them as it does the hub's.

    Args:
        folder: gets ``config.json``, then ``model.safetensors``.
        encoder: taught; as it is built, see `merge_ia3`.
        bins: those it was taught with; quantiles are kept beside the weights.

    Returns:
        ``model.safetensors``.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in encoder.state_dict().items()}
    if isinstance(bins, QuantileBins):
        tensors[EDGES] = torch.from_numpy(bins.edges)
    write_json(folder / "config.json", asdict(encoder.config))
    with replacing(folder / FILES[0]) as temporary:
        save_file(tensors, temporary)
    return folder / FILES[0]


def read_config(path: Path) -> EncoderConfig:
    """Read ``config.json``; where it lacks the factor, as on the hub, ``tokenizer_config.json`` beside it has it.

    Raises:
        DataError: a size is missing or no number, or they do not fit together.
    """
    tokenizer = path.with_name("tokenizer_config.json")
    fields = read_json(path)
    try:
        if fields.get("normalization_factor") is None and tokenizer.exists():
            fields = fields | {"normalization_factor": read_json(tokenizer).get("normalization_factor")}
        return TypeAdapter(EncoderConfig).validate_python(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise DataError(
            f"'{path}' describes no encoder: '{where}': {first['msg']}. Give the config.json of the weights."
        ) from None
    except AttributeError:
        raise DataError(f"'{path}' describes no encoder: it is no JSON object. Give the weights' own.") from None


def read_head(path: Path, *, expected: str = "") -> dict[str, Tensor]:
    """Read the authors' head for a task, without the encoder that may stand beside it.

    Args:
        path: ``params.joblib`` of the head.
        expected: sha256 that the file must have; "" takes any.

    Returns:
        Parameters by name: ``hidden.<k>``, ``norm`` if it has one, and ``head``, each with ``weight`` and ``bias``.

    Raises:
        DataError: the hash is another, the file holds anything but arrays, or there is no head in it.
    """
    modules = read_haiku(_read(path, expected), where=str(path))
    head = _named({m: leaves for m, leaves in modules.items() if not m.startswith(ROOT)}, _head_name)
    if "head.weight" not in head:
        raise DataError(f"'{path}' holds no head, only {listing(modules)}. Give the params.joblib of a head.")
    return head


def _find(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = [path / name for name in FILES if (path / name).exists()]
    if not found:
        raise DataError(f"'{path}' holds no weights: expected {listing(FILES)}, beside config.json. Name their folder.")
    return found[0]


def _read(file: Path, expected: str) -> bytes:
    """Read a file, once, so that what was hashed is what is used."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"Cannot read the weights '{file}': {error.strerror}. Name a file or its folder.") from error
    if expected and sha256(content) != expected.strip().lower():
        raise DataError(
            f"'{file}' has the sha256 {sha256(content)}, but {expected} is expected. Nothing of it was used; "
            "download it again, or expect the hash that its source states."
        )
    return content


def _converted(content: bytes, file: Path, place: Path | None) -> dict[str, Tensor]:
    """Read a joblib file, or what was made of it before; keep it at a place if there is one."""
    if place is not None and place.exists():
        return _safetensors(place.read_bytes(), place)
    modules = read_haiku(content, where=str(file))
    parameters = _named({m: leaves for m, leaves in modules.items() if m.startswith(ROOT)}, _encoder_name)
    if place is not None:
        with replacing(place) as temporary:
            save_file(parameters, temporary)
    return parameters


def _safetensors(content: bytes, file: Path) -> dict[str, Tensor]:
    try:
        return {name: tensor if name == EDGES else tensor.float() for name, tensor in load(content).items()}
    except SafetensorError as error:
        raise DataError(f"Cannot read '{file}' as safetensors: {error}. Delete it and get it again.") from error


def _named(modules: Parameters, naming: Callable[[str], str]) -> dict[str, Tensor]:
    """Rename arrays by module and name; matrices are turned, since Haiku has (in, out)."""
    return {
        f"{naming(module)}.{LEAVES.get(leaf, leaf)}": torch.from_numpy(
            np.array(values.T if leaf == "w" else values, np.float32, order="C")
        )
        for module, leaves in modules.items()
        for leaf, values in leaves.items()
    }


def _encoder_name(module: str) -> str:
    """The hub's name of a module; one that is not known keeps its own, and will not fit."""
    rest = module.removeprefix(ROOT)
    block = BLOCK.match(rest)
    if block is None:
        return PLACES.get(rest, module)
    part = rest[block.end() :]
    return f"transformer_layers.{block[1]}.{PLACES[part]}" if part in PLACES else module


def _head_name(module: str) -> str:
    layer = HIDDEN.search(module)
    return f"hidden.{layer[1]}" if layer else HEAD.get(module.rpartition("/~/")[2], module)


def _blank(config: EncoderConfig) -> ExpressionEncoder:
    """An encoder without numbers, which takes no memory."""
    with torch.device("meta"):
        return ExpressionEncoder(config)


def _require_fit(parameters: Mapping[str, Tensor], config: EncoderConfig, file: Path) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in _blank(config).state_dict().items()}
    if EDGES in parameters:
        expected[EDGES] = (config.n_expressions_bins - 1,)
    given = {name: tuple(tensor.shape) for name, tensor in parameters.items()}
    wrong = sorted(name for name in expected.keys() | given.keys() if expected.get(name) != given.get(name))
    if wrong:
        first = wrong[0]
        raise DataError(
            f"'{file}' does not fit its config: {len(wrong)} parameters are missing, unknown or of another shape "
            f"({listing(wrong)}); '{first}' is {given.get(first, 'missing')}, expected {expected.get(first, 'none')}. "
            "Give weights and config.json of one release."
        )
    if broken := [name for name, tensor in parameters.items() if not tensor.isfinite().all()]:
        raise DataError(f"'{file}' has numbers that are not finite in {listing(broken)}. Download it again.")


def _release(content: bytes, config: EncoderConfig, file: Path) -> str:
    """The authors' name of a file, by the hash that git gives it."""
    blob = hashlib.sha1(f"blob {len(content)}\0".encode(), usedforsecurity=False)
    blob.update(content)
    name, factor = RELEASES.get(blob.hexdigest(), ("", config.normalization_factor))
    if factor != config.normalization_factor:
        raise DataError(
            f"'{file}' is {name}, whose normalization_factor is {factor}, but its config says "
            f"{config.normalization_factor}. Take config.json from the folder of the same release."
        )
    return name
