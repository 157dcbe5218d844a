"""An experiment as one TOML file, checked whole before any data is read.

Every section is a class below; a key that none of them knows is refused with the nearest one that is. Paths are
relative to the file; ``$SLIDESURV_DATA`` at their start is the environment variable, or ``../shared/data``.
"""

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator

from slidesurv.errors import ConfigError, DataError, listing, unknown
from slidesurv.files import check_id
from slidesurv.registry import models

__all__ = [
    "BaselineSection",
    "CohortSection",
    "Experiment",
    "FeatureSection",
    "GenomicSection",
    "ModelSection",
    "SplitSection",
    "TrainingSection",
    "read_experiment",
]

MOST_BYTES = 1_000_000


def _locate(path: Path, info: ValidationInfo) -> Path:
    if path.parts[:1] == ("$SLIDESURV_DATA",):
        return Path(os.environ.get("SLIDESURV_DATA") or "../shared/data", *path.parts[1:])
    return Path((info.context or {}).get("folder", ".")) / path.expanduser()


Location = Annotated[Path, AfterValidator(_locate)]


class Section(BaseModel):
    """A table of the TOML file: no unknown key passes."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


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
    columns: dict[Literal["patient_id", "slide_id", "time", "site"], str] = {}
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


class TrainingSection(Section):
    """How a model is fitted and which epoch is kept.

    Attributes:
        protocol: "leakfree" never looks at the test fold; "paper" keeps the epoch that is best on it, and takes time
            bins from the whole cohort: optimistic, and said so wherever it is shown.
        seeds: one run of all folds each.
        n_bins: time bins T.
        epochs: passes over the training patients; the protocol "paper" makes 100 unless told otherwise.
        choose: leak-free only: keep the epoch with the lowest NLL on the tuning part, or the last.
        patience: stop after so many epochs without a better one; none goes on to the end.
        recipe: "unified" teaches every model as this section says; "native" lets the recipe of each method's authors
            override it (``slidesurv models --json`` prints them).
        loss: "nll" of discrete hazards, or "cox": the partial likelihood among the patients of a step; models then give
            one logit, a log hazard ratio, and no survival curve.
        optimizer: "sgd" has momentum 0.9; "adamw" decays no bias and no gain; "lookahead" goes around RAdam (Zhang et
            al., NeurIPS 2019).
        learning_rate, weight_decay: of the optimizer.
        l1: weight of the sum of all absolute weights, once a step.
        schedule: of the learning rate, stepped once an epoch: "cosine" to 0, "warmup" a first epoch at a tenth before
            it, "step" a tenth after every 30 epochs.
        sampler: "uniform" takes every training patient once an epoch; "weighted" draws as many with replacement, so
            that every time bin counts alike, deaths and censored apart.
        accumulate: patients a step; the last, shorter window counts too.
        event_weight: share of the loss kept for deaths alone.
        device: "auto" takes the first GPU there is.
        precision: "bfloat16" runs matrix products in bfloat16 where the device has it.
        threads: of each worker process; results may differ in the last digit between numbers of threads.
        checkpoint_seconds: least time between two checkpoints inside a fold.
        fast_matmul: let matrix products take the fastest kernel that is measured to keep float32 accuracy here.
    """

    protocol: Literal["leakfree", "paper"] = "leakfree"
    seeds: tuple[int, ...] = Field((1,), min_length=1)
    n_bins: int = Field(4, ge=2, le=50)
    epochs: int = Field(20, ge=1)
    choose: Literal["tune", "last"] = "tune"
    patience: int | None = Field(None, ge=1)
    recipe: Literal["unified", "native"] = "unified"
    loss: Literal["nll", "cox"] = "nll"
    optimizer: Literal["adam", "adamw", "radam", "sgd", "lookahead"] = "adam"
    learning_rate: float = Field(2e-4, gt=0, le=1)
    weight_decay: float = Field(1e-5, ge=0)
    l1: float = Field(0.0, ge=0)
    schedule: Literal["cosine", "constant", "step", "warmup"] = "cosine"
    sampler: Literal["uniform", "weighted"] = "uniform"
    accumulate: int = Field(1, ge=1)
    event_weight: float = Field(0.0, ge=0, le=1)
    device: str = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    threads: int = Field(1, ge=1)
    checkpoint_seconds: float = Field(60.0, ge=0)
    fast_matmul: bool = True

    @property
    def bins(self) -> int:
        """T, the number of logits: a proportional hazard needs one."""
        return 1 if self.loss == "cox" else self.n_bins

    @model_validator(mode="before")
    @classmethod
    def _paper_epochs(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("protocol") == "paper":
            return {"epochs": 100, **values}
        return values


class BaselineSection(Section):
    """Rows that catch shortcuts, beside those of the models.

    Attributes:
        names: "null" is nobody's risk; "site" the hospital's; "clinical" a Cox model of age, sex, stage, grade and
            subtype, as far as the table has them; "mean-tiles" and "expression" Cox ridges of the tiles' mean and of
            the genes.
        with_clinical: a further row for each model, weighed with the clinical Cox model on the tuning part.
    """

    names: tuple[Literal["null", "site", "clinical", "mean-tiles", "expression"], ...] = ()
    with_clinical: bool = False


class ModelSection(BaseModel):
    """One row of the results: a model, and every choice that differs from its defaults.

    Attributes:
        name: as in ``slidesurv models``.
        label: how tables call the row; the name if left out.
        preset: a named set of choices of the model, which the other keys override.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    label: str = ""
    preset: str | None = None

    @property
    def title(self) -> str:
        """How tables call this row."""
        return self.label or self.name

    @property
    def slug(self) -> str:
        """How folders call this row."""
        words = "".join(letter if letter.isalnum() else " " for letter in self.title.lower()).split()
        return _require_name("-".join(words), what="label of a model", seen=self.title)

    def choices(self) -> dict[str, Any]:
        """The keywords of the constructor, checked against it.

        Raises:
            ConfigError: the model, the preset or a keyword is not known, or has the wrong type.
        """
        preset = {}
        if self.preset is not None:
            presets = models[self.name].presets
            if self.preset not in presets:
                raise ConfigError(f"In model '{self.name}': {unknown('preset', self.preset, presets)}")
            preset = dict(presets[self.preset])
        return models.bind(self.name, _merge(preset, self.model_extra or {}))

    def plain_choices(self) -> dict[str, Any]:
        """`choices` as JSON has them."""
        return {key: asdict(v) if is_dataclass(v) else v for key, v in self.choices().items()}  # type: ignore[arg-type]


def _require_name(name: str, *, what: str, seen: str) -> str:
    try:
        return check_id(name, what=what)
    except DataError:
        raise ConfigError(
            f"The {what} is '{seen}', which cannot name a folder: use 1 to 200 letters a-z, digits, '.', '_' and '-'."
        ) from None


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Let choices override a preset's, inside groups of choices key by key."""
    nested = {
        key: {**base[key], **value}
        for key, value in over.items()
        if isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
    }
    return {**base, **over, **nested}


class Experiment(Section):
    """A whole experiment: ``slidesurv init`` writes one with comments."""

    name: str
    cohort: CohortSection
    splits: SplitSection = SplitSection()
    features: FeatureSection = FeatureSection()
    genomics: GenomicSection = GenomicSection()
    training: TrainingSection = TrainingSection()
    baselines: BaselineSection = BaselineSection()
    models: tuple[ModelSection, ...] = Field(min_length=1)

    def check(self) -> None:
        """Check what needs the registry: every model's choices, and that rows can be told apart.

        Raises:
            ConfigError: see `ModelSection.choices`; or two rows have the same label.
        """
        _require_name(self.name, what="name of the experiment", seen=self.name)
        slugs = [row.slug for row in self.models]
        if twice := sorted({slug for slug in slugs if slugs.count(slug) > 1}):
            raise ConfigError(f"Several [[models]] are called {listing(twice)}: give each its own label.")
        for row in self.models:
            row.choices()

    def select(self, methods: Sequence[str]) -> Self:
        """The same experiment with other rows: of each method those that it has, or one with the method's defaults.

        Args:
            methods: names, in the order of the rows.

        Raises:
            ConfigError: a method is not known.
        """
        own = {name: [row for row in self.models if row.name == name] for name in methods}
        rows = tuple(row for name in methods for row in own[name] or [ModelSection(name=name)])
        selected = self.model_copy(update={"models": rows})
        selected.check()
        return selected

    def recipe(self, row: ModelSection) -> TrainingSection:
        """How one row is taught: ``[training]``, under ``recipe = "native"`` overridden by the method's authors."""
        if self.training.recipe == "unified":
            return self.training
        return TrainingSection.model_validate(self.training.model_dump() | dict(models[row.name].native))


def read_experiment(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment and check it.

    Args:
        path: a TOML file.
        overrides: ``"training.epochs=5"`` or ``"models.0.dim=128"``, applied to what the file says.

    Raises:
        ConfigError: the file cannot be read, a key is unknown or a value is not allowed.
    """
    values = _read_toml(path)
    for override in overrides:
        _override(values, override)
    try:
        experiment = Experiment.model_validate(values, context={"folder": str(path.parent)})
    except ValidationError as error:
        raise ConfigError(f"In '{path.name}': {_explain(error)}") from None
    experiment.check()
    return experiment


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"'{path}' is larger than {MOST_BYTES:,} bytes: that is no experiment file.")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"There is no '{path}'. 'slidesurv init {path}' writes a commented one.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"Cannot read '{path}' as TOML: {error}. 'slidesurv init' writes a commented one.") from error


def _override(values: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"'{override}' sets nothing: write --set section.key=value.")
    *parents, last = path.split(".")
    place: Any = values
    try:
        for key in parents:
            place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
        place[int(last) if isinstance(place, list) else last] = _toml_value(text)
    except (IndexError, ValueError, TypeError, AttributeError):
        raise ConfigError(f"'{path}' leads to no key of the experiment: write --set section.key=value.") from None


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _explain(error: ValidationError) -> str:
    """Say the first thing that is wrong, with the nearest key where one was misspelt."""
    first = error.errors()[0]
    where, key = [str(part) for part in first["loc"][:-1]], str(first["loc"][-1]) if first["loc"] else ""
    place = f"[{'.'.join(where)}] " if where else ""
    if first["type"] == "extra_forbidden":
        section: Any = Experiment
        for part in where:
            section = section.model_fields[part].annotation
        return f"{place}{unknown('key', key, section.model_fields)}"
    if first["type"] == "missing":
        return f"{place}'{key}' is missing. 'slidesurv init' writes a file with every key explained."
    return f"{place}{key} = {first['input']!r}: {first['msg']}."
