"""Sections about data: patients, folds, features, genomes."""

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from slidesurv.config.section import Section

__all__ = ["CohortSection", "FeatureSection", "GenomicSection", "SplitSection"]


def _locate(path: Path, info: ValidationInfo) -> Path:
    if path.parts[:1] == ("$SLIDESURV_DATA",):
        return Path(os.environ.get("SLIDESURV_DATA") or "../shared/data", *path.parts[1:])
    return Path((info.context or {}).get("folder", ".")) / path.expanduser()


Location = Annotated[Path, AfterValidator(_locate)]


class CohortSection(Section):
    """Who the patients are and where their files lie.

    Attributes:
        table: manifest, one row a slide; or an MCAT-family ``*_all_clean.csv[.zip]``.
        format: how to read the table.
        name: of the cohort; the table's name if left out.
        event_column, dead, alive: where the event stands and its two values, when the column does not say.
        time_unit: of the follow-up, when its column does not say.
        columns: names of "patient_id", "slide_id", "time" and "site" in the table, where they are none of the usual.
        features: folder of feature files; none for models that read no slides.
        expression: patients × genes; read from the table itself for ``format = "mcat-csv"``.
        suffixes: of the genomic columns to read from an MCAT-family table.
        embeddings: patients × D_g vectors, when the genomic embedding is ready-made.
        clip: bound of expression values, against the tails of public tables; 0 leaves them.
        missing: what to do about patients without features.
        drop_invalid: leave out patients whose time is not usable, and list them.
        allow_mixed: accept features of several encoders or resolutions.
    """

    table: Location
    format: Literal["manifest", "mcat-csv"] = "manifest"
    name: str = ""
    event_column: str | None = None
    dead: str | None = None
    alive: str | None = None
    time_unit: Literal["days", "months", "years"] | None = None
    columns: dict[Literal["patient_id", "slide_id", "time", "site"], str] = Field(default_factory=dict)
    features: Location | None = None
    expression: Location | None = None
    suffixes: tuple[str, ...] = ("_rnaseq",)
    embeddings: Location | None = None
    clip: float = Field(10.0, ge=0)
    missing: Literal["error", "drop"] = "error"
    drop_invalid: bool = False
    allow_mixed: bool = False

    @model_validator(mode="after")
    def _event_is_told_whole(self) -> Self:
        told = [self.event_column, self.dead, self.alive]
        if any(told) and (not all(told) or self.format == "mcat-csv"):
            raise ValueError(
                "event_column, dead and alive go together; tables of the MCAT family say 'censorship' and need none"
            )
        return self


class SplitSection(Section):
    """How patients are divided.

    Attributes:
        kind: "kfold" makes folds; "site" folds in which every site is whole, "leave-site-out" judges each site once;
            "group" teaches with some groups of patients and judges by the others, "temporal" with the past and by what
            came later; "mcat-csv" reads a folder of ``splits_*.csv``, "file" a ``splits.json`` of ours.
        path: folder or file of the latter two; for "group" and "temporal" a table with the column, where it did not
            come with the cohort.
        folds: number of folds to make.
        repeats: how often folds are made anew, for "kfold" and "site"; each patient is judged as often.
        site_deaths: "leave-site-out" puts sites with fewer deaths together.
        column: of the group, such as "race", or of the year or date.
        teach: the groups that teach, and tune; the largest alone by default.
        unknown: whether patients of no known group "judge", or stand in no part.
        until: the last year or date that teaches; by default one fold's share of the patients is later.
        seed: of the folds and of the tuning parts.
        tune: share of the training patients kept for choosing the epoch; 0 keeps none.
    """

    kind: Literal["kfold", "site", "leave-site-out", "group", "temporal", "mcat-csv", "file"] = "kfold"
    path: Location | None = None
    folds: int = Field(5, ge=2)
    repeats: int = Field(1, ge=1)
    site_deaths: int = Field(10, ge=1)
    column: str = ""
    teach: tuple[str, ...] = ()
    unknown: Literal["exclude", "judge"] = "exclude"
    until: str | None = None
    seed: int = 0
    tune: float = Field(0.2, ge=0, le=0.5)

    @model_validator(mode="after")
    def _has_what_its_kind_reads(self) -> Self:
        if self.kind in ("mcat-csv", "file") and self.path is None:
            raise ValueError(f"[splits] kind = '{self.kind}' needs a path")
        if self.kind in ("group", "temporal") and not self.column:
            raise ValueError(f"[splits] kind = '{self.kind}' needs a column")
        readers = {"repeats": ("kfold", "site"), "site_deaths": ("leave-site-out",), "column": ("group", "temporal")}
        readers |= {"teach": ("group",), "unknown": ("group",), "until": ("temporal",)}
        for key, kinds in readers.items():
            if self.kind not in kinds and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"[splits] {key} is read by kind = {' or '.join(map(repr, kinds))} alone")
        return self


class FeatureSection(Section):
    """What is done to tile features.

    Attributes:
        standardise: scale each column to mean 0, sd 1 of the training tiles.
        max_tiles: look at a fixed random subset of larger bags; none by default.
    """

    standardise: bool = False
    max_tiles: int | None = Field(None, ge=1)


class GenomicSection(Section):
    """What a model learns to rebuild, or reads.

    Attributes:
        embedding: "table" takes the embeddings as they are, "pca" makes principal components of the training
            expression, "none" makes none; "auto" takes the first of these for which there is data. "expression" is the
            scaled expression itself, "differential" that of the genes which the screening finds.
        components: most principal components; no more than the training patients allow are made.
        whiten: scale every component to standard deviation 1, instead of the first alone and the others with it.
        shuffle: give each training patient another's genome; a control that must find nothing.
        missing: what to do about patients without genomics when a model cannot do without them.
        signatures: gene groups: a GMT file, or a table with a column a group; none by default.
        empty_groups: what to do about groups without a gene in the table, or left by the screening.
        screening: how differential genes are found on the training patients: "welch" in the expression, "deseq2" in
            counts.
        p_value: genes below it are differential.
        screen_groups: keep only differential genes in the groups.
        counts: patients × genes, counts of reads for "deseq2"; genes named as in the expression.
    """

    embedding: Literal["auto", "none", "table", "pca", "expression", "differential"] = "auto"
    components: int = Field(64, ge=1)
    whiten: bool = False
    shuffle: bool = False
    missing: Literal["error", "drop"] = "error"
    signatures: Location | None = None
    empty_groups: Literal["error", "drop"] = "error"
    screening: Literal["welch", "deseq2"] = "welch"
    p_value: float = Field(0.05, gt=0, le=1)
    screen_groups: bool = False
    counts: Location | None = None

    @model_validator(mode="after")
    def _has_what_it_screens(self) -> Self:
        if self.screen_groups and self.signatures is None:
            raise ValueError("[genomics] screen_groups = true needs signatures")
        if self.screening == "deseq2" and self.counts is None:
            raise ValueError("[genomics] screening = 'deseq2' needs counts")
        return self
