"""A shipped model and patients it has never seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from slidesurv.cohorts.clinical import read_slides
from slidesurv.cohorts.columns import find_column
from slidesurv.cohorts.tables import read_rows
from slidesurv.errors import ConfigError, DataError, listing
from slidesurv.files import check_id, write_csv
from slidesurv.genomics.expression import Expression, read_expression
from slidesurv.slides.store import FeatureStore
from slidesurv.training.bundle import OPTIMISTIC, Bundle, read_bundle
from slidesurv.training.device import pick_device
from slidesurv.training.predict import answers, prediction
from slidesurv.types import Bag, Genomics, PatientData, SurvivalTarget, Use

if TYPE_CHECKING:
    from slidesurv.cohorts.preprocessing import Preprocessing

__all__ = ["Predicted", "predict_new"]

EVERY = 100  # patients from one line of progress to the next


@dataclass(frozen=True, slots=True)
class Predicted:
    """How a prediction ended.

    Attributes:
        patients: how many stand in the table.
        failed: how many stand in ``failed.csv``, each with the reason.
    """

    patients: int
    failed: int


def predict_new(
    bundle: Path,
    features: Path | None,
    output: Path,
    *,
    manifest: Path | None = None,
    expression: Path | None = None,
    allow_other_encoder: bool = False,
    device: str = "auto",
    say: Callable[[str], None] = print,
) -> Predicted:
    """Predict patients and write a table; who cannot be predicted goes to ``failed.csv`` beside it, with the reason.

    Args:
        bundle: folder of a shipped model.
        features: folder of feature files, made with the encoder the model was fitted on; None for a model that reads
            no slides.
        output: CSV to write: patient_id, risk, S_0 … S_{T-1}, n_slides, n_tiles, model_hash.
        manifest: patient_id and slide_id of whom to predict; without it each slide is a patient, or each row of the
            expression for a model that reads no slides.
        expression: patients × genes; read only by a model that reads genomics at prediction.
        allow_other_encoder: accept feature files that name another encoder or resolution than the model's.
        device: see `pick_device`.
        say: told what a person should know.

    Raises:
        ConfigError: the model needs features or expression and is given none.
        DataError: the bundle or a table cannot be used, the features are of another encoder, or nobody could be
            predicted.
    """
    shipped = read_bundle(bundle)
    if shipped.about.optimistic:
        say(f"note: {OPTIMISTIC}")
    source = _open_source(shipped, features, expression, say)
    wanted = source.patients(manifest)
    if source.store is not None and not allow_other_encoder:
        slides = [slide for own in wanted.values() for slide in own]
        _require_encoder(source.store, slides, shipped.about.facts.get("features") or "")
    where = pick_device(device)
    shipped.model.to(where)
    rows, failed = [], []
    for count, (patient, own) in enumerate(wanted.items(), start=1):
        try:
            rows.append(_predict(shipped, source.read(patient, own).to(where)))
        except DataError as error:
            failed.append({"patient_id": patient, "reason": str(error)})
        if count % EVERY == 0:
            say(f"{count} of {len(wanted)} patients, {len(failed)} failed")
    _write(output, rows, failed)
    return Predicted(len(rows), len(failed))


@dataclass(frozen=True)
class _Source:
    """Reads new patients and scales them as in training; what the model does not read is None."""

    fitted: Preprocessing
    store: FeatureStore | None
    genes: Expression | None
    columns: Sequence[int]

    def patients(self, manifest: Path | None) -> Mapping[str, Sequence[str]]:
        """Whom to predict, with their slides."""
        if self.store is not None:
            return read_slides(manifest) if manifest else {slide: (slide,) for slide in self.store.slides}
        everyone = self.genes.ids if self.genes is not None else ()
        return dict.fromkeys(_read_patients(manifest) if manifest else everyone, ())

    def read(self, patient: str, slides: Sequence[str]) -> PatientData:
        """One patient, whose follow-up is not known."""
        unknown = SurvivalTarget(torch.full((1,), torch.nan), torch.zeros(1, dtype=torch.bool), torch.zeros(1).long())
        genomics: Genomics | None = None
        if self.genes is not None:
            genomics = self.fitted.genomics(self.genes.rows([patient])[0][self.columns], None)
        return PatientData(patient, self.fitted.bag(self._bag(patient, slides)), genomics, unknown)

    def _bag(self, patient: str, slides: Sequence[str]) -> Bag:
        if self.store is None:
            nothing = torch.zeros(0, dtype=torch.int64)
            return Bag(patient, torch.zeros(0, self.fitted.tile), torch.zeros(0, 2, dtype=torch.int64), nothing)
        bag = self.store.bag(patient, slides)
        if not len(bag):
            raise DataError(f"The slides of patient '{patient}' have no tiles: {listing(slides)}. Encode them again.")
        return bag


def _open_source(
    shipped: Bundle, features: Path | None, expression: Path | None, say: Callable[[str], None]
) -> _Source:
    """Open what the model reads; ask for what is not given, and say what is given for nothing."""
    name, model, fitted = shipped.about.model, shipped.model, shipped.preprocessing
    store, genes = None, None
    if model.slides is not Use.NEVER:
        if features is None:
            raise ConfigError(f"A '{name}' reads slides: give --features.")
        store = FeatureStore(features)
    elif features is not None:
        say("note: this model predicts from expression alone; the features are not read.")
    if model.genomics is Use.ALWAYS:
        if expression is None:
            raise ConfigError(f"A '{name}' reads genomics at prediction: give --expression.")
        genes = read_expression(expression, clip=shipped.about.facts.get("clip") or None)  # as in training
    elif expression is not None:
        say("note: this model predicts from slides alone; the expression is not read.")
    return _Source(fitted, store, genes, _columns(genes, fitted.genes) if genes is not None else [])


def _columns(genes: Expression, wanted: tuple[str, ...]) -> list[int]:
    """Where the genes of training stand in the new table."""
    places: Mapping[str, int] = {gene: place for place, gene in enumerate(genes.genes)}
    if missing := [gene for gene in wanted if gene not in places]:
        raise DataError(
            f"{len(missing)} of {len(wanted)} genes that the model reads are missing: {listing(missing)}. Give a table "
            "that has every gene of training under the same name, measured and scaled in the same way."
        )
    return [places[gene] for gene in wanted]


def _read_patients(manifest: Path) -> list[str]:
    """The patients of a table that need not name slides, in table order, each once."""
    rows = read_rows(manifest)
    column = find_column("patient_id", list(rows[0]) if rows else [], {})
    if column is None:
        raise DataError(f"'{manifest}' has no column 'patient_id'. Name the patients to predict in one.")
    ids = (check_id(row[column].strip(), what="patient id", row=n) for n, row in enumerate(rows, start=2))
    return list(dict.fromkeys(ids))


def _require_encoder(store: FeatureStore, slides: Iterable[str], expected: str) -> None:
    """Refuse features of another encoder than expected, or, where that is not known, of more than one."""
    origins = {}
    for slide in slides:
        with suppress(DataError):  # said again, and kept, when the patient is read
            origins[slide] = store.header(slide).origin
    named = {slide: origin for slide, origin in origins.items() if origin}
    expected = expected or next(iter(named.values()), "")
    if others := [slide for slide, origin in named.items() if origin != expected]:
        raise DataError(
            f"{len(others)} of {len(origins)} slides in '{store.path}' have features of '{named[others[0]]}', but "
            f"'{expected}' is expected: {listing(others)}. Encode them as in training, or, if it is only named "
            "otherwise, add --allow-other-encoder."
        )


def _predict(shipped: Bundle, patient: PatientData) -> dict[str, Any]:
    """One row of the table.

    Raises:
        DataError: a number of it is not finite.
    """
    [(_, output)] = answers(shipped.model, [patient])
    row = prediction(patient, output)
    if wrong := [name for name, value in row.items() if isinstance(value, float) and not math.isfinite(value)]:
        raise DataError(
            f"The model gives patient '{patient.id}' no finite {listing(wrong)}. Compare the range of the patient's "
            "features or expression with those of training; nothing is predicted."
        )
    return {**row, "model_hash": shipped.about.weights_sha256}


def _write(output: Path, rows: Sequence[Mapping[str, Any]], failed: Sequence[Mapping[str, str]]) -> None:
    """Write the table and ``failed.csv``, which is there only when somebody failed."""
    left_out = output.with_name("failed.csv")
    left_out.unlink(missing_ok=True)  # of an earlier prediction
    if failed:
        write_csv(left_out, failed, ["patient_id", "reason"])
    if not rows:
        first = f" The first reason: {failed[0]['reason']}" if failed else ""
        raise DataError(f"None of {len(failed)} patients could be predicted; no table was written.{first}")
    write_csv(output, rows, list(rows[0]))
