"""The model that you ship: weights, preprocessing and a card, in a folder without pickle.

::

    bundle/
      config.json               what to build, time bins, sizes, hash of the weights
      model.safetensors         weights and everything the model fitted
      preprocess.safetensors    scalers and components, fitted on training patients
      README.md                 what it is, what it is not
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from slidesurv import __version__
from slidesurv.cohorts.preprocessing import Preprocessing
from slidesurv.errors import DataError, listing
from slidesurv.files import read_json, replacing, sha256, write_json, write_text
from slidesurv.registry import models
from slidesurv.types import Sizes

if TYPE_CHECKING:
    from slidesurv.models.base import SurvivalModel

__all__ = ["About", "Bundle", "read_bundle", "write_bundle"]

CARD = """---
license: other
library_name: slidesurv
tags: [survival-analysis, computational-pathology]
---
# {title}

A '{model}' for survival from whole-slide images, fitted on {patients} patients ({deaths} deaths) of {cohort} with
slidesurv {version}; protocol {protocol}, fold {fold}, seed {seed}.

    slidesurv predict BUNDLE --features FOLDER -o predictions.csv

A larger risk means an earlier death. Time bins end at {edges} months.
Features: {features}.

**Research use only: this is not a medical device.** Not for patients, stains, scanners or encoders unlike those it
was fitted on, and not for decisions about care.
"""


class About(BaseModel):
    """What ``config.json`` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = 1
    tool_version: str
    model: str
    choices: dict[str, Any]
    sizes: dict[str, Any]
    edges: tuple[float, ...]
    preprocessing: dict[str, Any]
    facts: dict[str, Any]
    weights_sha256: str = ""


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
    name = models.name_of(type(model))
    with replacing(folder / "model.safetensors") as temporary:
        save_file({key: tensor.cpu().contiguous() for key, tensor in model.state_dict().items()}, temporary)
    arrays, settings = preprocessing.state()
    with replacing(folder / "preprocess.safetensors") as temporary:
        save_file(arrays, temporary)
    weights = sha256(folder / "model.safetensors")
    edges = preprocessing.bins.edges
    card = CARD.format(model=name, version=__version__, edges=", ".join(f"{e:.1f}" for e in edges[1:]), **facts)
    write_text(folder / "README.md", card)
    about = About(
        tool_version=__version__,
        model=name,
        choices=choices,
        sizes={field: getattr(preprocessing.sizes, field) for field in Sizes.__dataclass_fields__},
        edges=edges,
        preprocessing=settings,
        facts=facts,
        weights_sha256=weights,
    )
    write_json(folder / "config.json", about.model_dump(mode="json"))
    return weights


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle and check it before anything is built.

    Raises:
        DataError: a file is missing, is no safetensors file, was changed, or does not fit the model.
        ConfigError: the model or one of its choices is not known here.
    """
    try:
        about = About.model_validate(read_json(folder / "config.json"))
    except ValidationError as error:
        raise DataError(f"'{folder}/config.json' describes no bundle: {error.errors()[0]['msg']}.") from None
    weights_file = folder / "model.safetensors"
    if not weights_file.exists() or sha256(weights_file) != about.weights_sha256:
        raise DataError(
            f"The weights in '{folder}' are missing or are not those the bundle was written with "
            f"(sha256 {about.weights_sha256[:12]}…). Copy the bundle again from where it was made."
        )
    sizes = Sizes(**{**about.sizes, "groups": tuple(about.sizes["groups"])})
    try:
        weights, arrays = load_file(weights_file), load_file(folder / "preprocess.safetensors")
    except (SafetensorError, OSError) as error:
        raise DataError(f"Cannot read the tensors of bundle '{folder}': {error}.") from error
    preprocessing = Preprocessing.from_state(arrays, about.preprocessing, about.edges)
    model = models.build(about.model, sizes, **about.choices)
    expected = model.state_dict()
    wrong = sorted(weights.keys() ^ expected.keys()) or [k for k in weights if weights[k].shape != expected[k].shape]
    if wrong or preprocessing.sizes != sizes:
        raise DataError(
            f"The weights, the preprocessing and the settings in '{folder}' do not fit one '{about.model}': "
            f"{listing(wrong or ['sizes'])} differ. Copy the bundle again from where it was made."
        )
    model.load_state_dict(weights)
    return Bundle(model.eval(), preprocessing, about)
