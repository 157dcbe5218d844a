"""The model that you ship: weights, preprocessing and a card, in a folder without pickle.

::

    bundle/
      config.json               what to build, time bins, sizes, hashes of the two files below
      model.safetensors         weights and everything the model fitted
      preprocess.safetensors    scalers and components, fitted on training patients
      README.md                 what it is, what it is not
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from safetensors import SafetensorError
from safetensors.torch import load, save_file

from slidesurv import __version__
from slidesurv.cohorts.preprocessing import Preprocessing
from slidesurv.errors import DataError, listing
from slidesurv.files import read_json, replacing, sha256, write_json, write_text
from slidesurv.registry import models
from slidesurv.types import Sizes, Use

if TYPE_CHECKING:
    from torch import Tensor

    from slidesurv.models.base import SurvivalModel

__all__ = ["OPTIMISTIC", "About", "Bundle", "read_bundle", "write_bundle"]

WEIGHTS, FITTED = "model.safetensors", "preprocess.safetensors"
OPTIMISTIC = "OPTIMISTIC: the epoch was chosen on the test fold. Expect less of new patients than the run reported."
CARD = """---
license: other
library_name: slidesurv
tags: [survival-analysis, computational-pathology]
---
# {title}

A '{model}' for survival from whole-slide images, fitted on {patients} patients ({deaths} deaths) of {cohort} with
slidesurv {version}; protocol {protocol}, fold {fold}, seed {seed}.
{warning}
    slidesurv predict BUNDLE {inputs} -o predictions.csv

A larger risk means an earlier death. Time bins end at {ends} months.
Features: {features}.

**Research use only: this is not a medical device.** Not for patients, stains, scanners or encoders unlike those it
was fitted on, and not for decisions about care.
"""


class About(BaseModel):
    """What ``config.json`` holds.

    Attributes:
        choices: keywords of the model that differ from its defaults.
        edges: (T+1,) rising months.
        facts: what the card tells.
        sha256: of the two files of tensors, by name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    tool_version: str
    model: str
    choices: dict[str, Any]
    sizes: Sizes
    edges: tuple[float, ...]
    preprocessing: dict[str, Any]
    facts: dict[str, Any]
    sha256: dict[str, str]

    @field_validator("edges")
    @classmethod
    def _edges_rise(cls, edges: tuple[float, ...]) -> tuple[float, ...]:
        rising = all(low < high < math.inf for low, high in pairwise(edges))
        if len(edges) < 2 or not rising:
            raise ValueError(f"the edges of the time bins are {list(edges)}, but must be at least two and rise")
        return edges

    @field_validator("sha256")
    @classmethod
    def _both_hashed(cls, hashes: dict[str, str]) -> dict[str, str]:
        if hashes.keys() != {WEIGHTS, FITTED}:
            raise ValueError(f"sha256 is of {listing(sorted(hashes)) or 'nothing'}, not of '{WEIGHTS}' and '{FITTED}'")
        return hashes

    @property
    def weights_sha256(self) -> str:
        """What predictions name the model by."""
        return self.sha256[WEIGHTS]

    @property
    def optimistic(self) -> bool:
        """Whether the epoch was chosen on the patients that judged the model."""
        return bool(self.facts.get("protocol") == "paper")


@dataclass(frozen=True)
class Bundle:
    """A model ready to predict."""

    model: SurvivalModel
    preprocessing: Preprocessing
    about: About


def write_bundle(
    folder: Path,
    model: SurvivalModel,
    preprocessing: Preprocessing,
    *,
    choices: dict[str, Any],
    facts: dict[str, Any],
) -> str:
    """Write a bundle; ``config.json`` comes last, so that a bundle with one is whole.

    Args:
        folder: of the bundle.
        model: fitted.
        preprocessing: fitted on the same patients.
        choices: keywords that differ from the model's defaults, as JSON has them.
        facts: for the card: title, cohort, patients, deaths, protocol, fold, seed, features.

    Returns:
        sha256 of the weights.
    """
    weights = {key: tensor.cpu().contiguous() for key, tensor in model.state_dict().items()}
    arrays, settings = preprocessing.state()
    about = About(
        tool_version=__version__,
        model=models.name_of(type(model)),
        choices=choices,
        sizes=preprocessing.sizes,
        edges=preprocessing.bins.edges,
        preprocessing=settings,
        facts=facts,
        sha256={WEIGHTS: _write_tensors(folder / WEIGHTS, weights), FITTED: _write_tensors(folder / FITTED, arrays)},
    )
    write_text(folder / "README.md", _card(about, model))
    write_json(folder / "config.json", about.model_dump(mode="json"))
    return about.weights_sha256


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> str:
    """Write tensors, atomically, and hash the file."""
    with replacing(path) as temporary:
        save_file(tensors, temporary)
    return sha256(path)


def _card(about: About, model: SurvivalModel) -> str:
    reads = {"--features FOLDER": model.slides is not Use.NEVER, "--expression TABLE": model.genomics is Use.ALWAYS}
    words = about.facts | {"features": about.facts["features"] or "not recorded"}
    return CARD.format(
        **words,
        model=about.model,
        version=about.tool_version,
        warning=f"\n**{OPTIMISTIC}**\n" if about.optimistic else "",
        inputs=" ".join(option for option, read in reads.items() if read),
        ends=", ".join(f"{edge:.1f}" for edge in about.edges[1:]),
    )


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle and check it before anything is built.

    Raises:
        DataError: a file is missing, is no safetensors file, was changed, or does not fit the model.
        ConfigError: the model or one of its choices is not known here.
    """
    about = _read_about(folder / "config.json")
    weights, arrays = (_read_tensors(folder / name, about.sha256[name]) for name in (WEIGHTS, FITTED))
    preprocessing = Preprocessing.from_state(arrays, about.preprocessing, about.edges)
    if preprocessing.sizes != about.sizes:
        raise DataError(f"In '{folder}' the preprocessing makes {preprocessing.sizes}, the model takes {about.sizes}.")
    model: SurvivalModel = models.build(about.model, about.sizes, **about.choices)
    _require_fit(weights, model.state_dict(), folder)
    model.load_state_dict(weights)
    return Bundle(model.eval(), preprocessing, about)


def _read_about(path: Path) -> About:
    try:
        return About.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(
            f"'{path}' describes no bundle that slidesurv {__version__} reads: '{where}': {first['msg']}. "
            "Copy the bundle again from where it was made."
        ) from None


def _read_tensors(path: Path, expected: str) -> dict[str, Tensor]:
    """Read tensors whose file has the hash expected; what is hashed is what is used."""
    try:
        content = path.read_bytes()
        if sha256(content) != expected:
            raise DataError(
                f"The tensors in '{path}' are not those the bundle was written with (sha256 {expected[:12]}…). "
                "Copy the bundle again from where it was made."
            )
        return load(content)
    except (SafetensorError, OSError) as error:
        raise DataError(f"Cannot read the tensors in '{path}': {error}. Copy the bundle again.") from error


def _require_fit(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], folder: Path) -> None:
    wrong = sorted(weights.keys() ^ expected.keys()) or [k for k in weights if weights[k].shape != expected[k].shape]
    if wrong:
        raise DataError(
            f"The weights in '{folder}' do not fit the model in its settings: {listing(wrong)} differ. "
            "Copy the bundle again from where it was made."
        )
