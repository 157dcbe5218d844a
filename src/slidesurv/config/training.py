"""Sections about teaching: the recipe, and the rows it is compared with."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from slidesurv.config.section import Section

__all__ = ["BaselineSection", "TrainingSection"]


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
            the genes. Left out: all of them for which the cohort has the data, "mean-tiles" where a model reads slides.
        with_clinical: a further row for each model, weighed with the clinical Cox model on the tuning part.
    """

    names: tuple[Literal["null", "site", "clinical", "mean-tiles", "expression"], ...] | None = None
    with_clinical: bool = False
