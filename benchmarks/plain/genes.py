"""Methods of genes alone."""

import torch.nn.functional as F

from plain.blocks import class_token
from slidesurv.models.bulkrnabert import BulkRNABert
from slidesurv.models.snn import SNN
from slidesurv.models.snntrans import SNNTrans
from slidesurv.types import Bag, Genomics, ModelOutput

__all__ = ["bulkrnabert", "snn", "snntrans"]


def snn(model: SNN, bag: Bag, genomics: Genomics) -> ModelOutput:
    """The same computation as ours."""
    return ModelOutput(model.head(model.blocks(genomics.expression)))


def bulkrnabert(model: BulkRNABert, bag: Bag, genomics: Genomics) -> ModelOutput:
    """The same computation as ours."""
    patient = genomics.embedding
    for layer in model.hidden:
        patient = F.selu(layer(patient))
    return ModelOutput(model.head(model.norm(model.dropout(patient))))


def snntrans(model: SNNTrans, bag: Bag, genomics: Genomics) -> ModelOutput:
    """Seven tokens among 121 zero rows."""
    return ModelOutput(model.head(class_token(model.encoder, model.embed(genomics.groups))))
