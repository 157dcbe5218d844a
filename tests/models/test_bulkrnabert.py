"""BulkRNABert: the authors' heads on the authors' embeddings, its sizes, and its Cox variant."""

import pytest
import torch

from reference.bulkrnabert import arrays, checkpoint, close, config, folder, ids
from reference.peers import as_bag
from slidesurv.errors import ConfigError, DataError
from slidesurv.genomics.weights import read_head
from slidesurv.models.bulkrnabert import BulkRNABert
from slidesurv.registry import models
from slidesurv.types import Genomics, Sizes

NOTHING = as_bag(torch.empty(0, 0), "P-7")


def heads() -> list[str]:
    return [name.removeprefix("head_").removesuffix("_logits") for name in arrays() if name.startswith("head_")]


def test_golden_heads_on_golden_embeddings(tmp_path):
    encoder = checkpoint("small", tmp_path).encoder().double()
    embeddings = encoder.embed(ids("tokens"))
    assert {f"config_head_{name}.json" for name in heads()} == {path.name for path in folder().glob("config_head_*")}
    for name in heads():
        said = config(f"head_{name}")
        sizes = Sizes(tile=0, bins=said["final_layer_n_logits"], embedding=embeddings.shape[1])
        model = BulkRNABert(sizes, hidden=tuple(said["hidden_sizes"]), norm=said["layer_norm"])
        model.load_state_dict(read_head(folder() / f"params_head_{name}.joblib"))
        model.double().eval()
        logits = torch.stack([model(NOTHING, Genomics(embedding=embedding)).logits for embedding in embeddings])
        close(logits.detach(), f"head_{name}_logits", atol=5e-6)


@pytest.mark.parametrize(
    ("choices", "bins", "parameters"),
    [
        ({}, 4, 99_204),
        ({}, 5, 99_333),  # the five cohorts of the released head
        (BulkRNABert.presets["cox"], 1, 256 * 512 + 512 + 512 * 256 + 256 + 2 * 256 + 257),
        ({"hidden": ()}, 4, 257 * 4),
    ],
)
def test_it_has_as_many_parameters_as_published(choices, bins, parameters):
    model = models.build("bulkrnabert", Sizes(tile=0, bins=bins, embedding=256), **choices)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_a_larger_log_risk_of_the_cox_head_is_a_larger_risk():
    model = BulkRNABert(Sizes(tile=0, bins=1, embedding=6), **BulkRNABert.presets["cox"]).eval()
    outputs = [model(NOTHING, Genomics(embedding=embedding)) for embedding in torch.randn(9, 6)]
    logs, risks = (torch.stack(values) for values in zip(*((o.logits[0], o.risk) for o in outputs), strict=True))
    assert logs.argsort().tolist() == risks.argsort().tolist()


def test_dropout_comes_once_after_the_hidden_layers():
    torch.manual_seed(0)
    model = BulkRNABert(Sizes(tile=0, bins=4, embedding=6), hidden=(16, 5), dropout=0.5).train()
    seen = []
    model.dropout.register_forward_hook(lambda module, given, answer: seen.append((given[0], answer)))
    model(NOTHING, Genomics(embedding=torch.randn(6)))
    ((before, after),) = seen
    assert before.shape == (5,) and set((after / before).detach().round(decimals=4).tolist()) <= {0.0, 2.0}


@pytest.mark.parametrize("hidden", [(0,), (-3, 4), "wide", [1.5]])
def test_widths_that_are_no_widths_are_refused(hidden):
    with pytest.raises(ConfigError, match="option 'hidden"):
        models.bind("bulkrnabert", {"hidden": hidden})


def test_a_patient_without_an_embedding_is_named():
    model = BulkRNABert(Sizes(tile=0, bins=4, embedding=6))
    with pytest.raises(DataError, match="'P-7' has no genomic embedding"):
        model(NOTHING, None)
