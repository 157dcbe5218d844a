"""A shipped model and slides it has never seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from slidesurv.cohorts.clinical import read_slides
from slidesurv.errors import ConfigError, DataError, listing
from slidesurv.files import write_csv
from slidesurv.genomics.expression import Expression, read_expression
from slidesurv.slides.store import FeatureStore
from slidesurv.training.bundle import Bundle, read_bundle
from slidesurv.training.device import pick_device
from slidesurv.training.predict import answers, prediction
from slidesurv.types import Genomics, PatientData, SurvivalTarget, Use

if TYPE_CHECKING:
    from slidesurv.types import Bag

__all__ = ["predict_new"]


def predict_new(
    bundle: Path,
    features: Path,
    output: Path,
    *,
    manifest: Path | None = None,
    expression: Path | None = None,
    device: str = "auto",
    say: Callable[[str], None] = print,
) -> int:
    """Predict patients from feature files and write a table.

    Args:
        bundle: folder of a shipped model.
        features: folder of feature files, made with the encoder the model was fitted on.
        output: CSV to write: patient_id, risk, S_0 … S_{T-1}, n_slides, n_tiles, model_hash.
        manifest: patient_id and slide_id of the slides to predict; without it each slide is a patient.
        expression: patients × genes; read only by a model that reads genomics at prediction.
        device: see `pick_device`.
        say: told what a person should know.

    Returns:
        How many patients were predicted.

    Raises:
        ConfigError: the model needs expression and none is given.
        DataError: the bundle, a feature file or a table cannot be used.
    """
    shipped = read_bundle(bundle)
    genes = _read_genes(shipped, expression, say)
    store = FeatureStore(features)
    slides = read_slides(manifest) if manifest else {slide: (slide,) for slide in store.slides}
    store.check([slide for own in slides.values() for slide in own], cohort=features.name)
    where = pick_device(device)
    shipped.model.to(where)
    bags = (store.bag(patient, own) for patient, own in slides.items())
    patients = (patient.to(where) for patient in _patients(shipped, bags, genes))
    rows = [
        {**prediction(patient, said), "model_hash": shipped.about.weights_sha256}
        for patient, said in answers(shipped.model, patients)
    ]
    write_csv(output, rows, list(rows[0]))
    return len(rows)


def _read_genes(shipped: Bundle, path: Path | None, say: Callable[[str], None]) -> Expression | None:
    needs = shipped.model.genomics is Use.ALWAYS
    if needs and path is None:
        raise ConfigError(f"A '{shipped.about.model}' reads genomics at prediction: give --expression.")
    if not needs and path is not None:
        say("note: this model predicts from slides alone; the expression is not read.")
    clip = shipped.about.facts.get("clip") or None  # as in training
    return read_expression(path, clip=clip) if needs and path is not None else None


def _patients(shipped: Bundle, bags: Iterator[Bag], genes: Expression | None) -> Iterator[PatientData]:
    """Scale bags and expression as in training; the follow-up of these patients is not known."""
    fitted = shipped.preprocessing
    unknown = SurvivalTarget(torch.full((1,), torch.nan), torch.zeros(1, dtype=torch.bool), torch.zeros(1).long())
    columns = _columns(genes, fitted.genes) if genes is not None else []
    for bag in bags:
        genomics: Genomics | None = None
        if genes is not None:
            genomics = fitted.genomics(genes.rows([bag.patient])[0][columns], None)
        yield PatientData(bag.patient, fitted.bag(bag), genomics, unknown)


def _columns(genes: Expression, wanted: tuple[str, ...]) -> list[int]:
    """Where the genes of training stand in the new table."""
    places: Mapping[str, int] = {gene: place for place, gene in enumerate(genes.genes)}
    if missing := [gene for gene in wanted if gene not in places]:
        raise DataError(f"{len(missing)} of {len(wanted)} genes that the model reads are missing: {listing(missing)}.")
    return [places[gene] for gene in wanted]
