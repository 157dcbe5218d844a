"""How slides are tiled and how tiles are encoded: what shapes the files, and what only shapes the pace."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from slidesurv.errors import ConfigError, unknown
from slidesurv.files import sha256
from slidesurv.slides.encoders.base import Precision
from slidesurv.slides.normalise import NORMALISERS
from slidesurv.slides.quality import Limits
from slidesurv.slides.reader import readers
from slidesurv.slides.resolution import Target
from slidesurv.slides.tiles import RULES
from slidesurv.slides.tissue import PRESETS, Preset, segmenters

__all__ = ["SLIDES", "EncodeSettings", "Pace", "TileSettings", "hash_of"]

# What decides whether a slide is taken, or what is measured beside its tiles, and may change from run to run.
LENIENT = ("default_mpp", "anisotropic", "quality", "max_unreadable")
SLIDES = ("slides",)  # the section of a job's file that may change
TISSUE = ("reader", "segmenter", "preset")  # what the outlines depend on, which all kinds of tiles of a job share


@dataclass(frozen=True, slots=True, kw_only=True)
class TileSettings:
    """Where the tiles of a slide are.

    Attributes:
        target: what a tile should be.
        reader: the library that reads slides, or "auto".
        default_mpp: µm per pixel of slides that do not say.
        anisotropic: accept pixels that are not square.
        segmenter: what finds the tissue.
        preset: numbers of its procedure.
        rule: which points of a tile must lie on tissue.
        padding: whether tiles may stick out of the slide.
        quality: measure every tile; costs one reading of all of them.
        max_unreadable: share of a slide's tiles that may be left out because they cannot be read.

    Raises:
        ConfigError: a part has no such name, or a share is none.
    """

    target: Target = field(default_factory=Target)
    reader: str = "auto"
    default_mpp: float | None = None
    anisotropic: bool = False
    segmenter: str = "saturation"
    preset: Preset = PRESETS["tcga"]
    rule: str = "four_pt"
    padding: bool = True
    quality: bool = True
    max_unreadable: float = 0.01

    def __post_init__(self) -> None:
        for what, name, known in (
            ("segmenter", self.segmenter, segmenters()),
            ("rule", self.rule, RULES),
            ("reader", self.reader, ("auto", *readers.names())),
        ):
            if name not in known:
                raise ConfigError(unknown(what, name, known))
        _require_share(self.max_unreadable)

    def sections(self) -> dict[tuple[str, ...], dict[str, Any]]:
        """As the file of a job has it: what may change between runs, what all tiles share, what is of these tiles."""
        said = asdict(self)
        return {
            SLIDES: {name: said[name] for name in LENIENT},
            ("tissue",): {name: said[name] for name in TISSUE},
            ("tiles", self.target.folder): {name: said[name] for name in said if name not in (*LENIENT, *TISSUE)},
        }

    @classmethod
    def from_sections(cls, config: Mapping[str, Any], tiles: str) -> Self:
        """What `sections` gave, read back from the file of a job."""
        said = {**config["slides"], **config["tissue"], **config["tiles"][tiles]}
        own = {name: said[name] for name in cls.__dataclass_fields__ if name in said}
        return cls(**{**own, "target": Target(**said["target"]), "preset": Preset(**said["preset"])})

    def identity(self) -> str:
        """A short name of everything that shapes a tile; which slides are taken at all is not part of it."""
        return hash_of({name: value for name, value in asdict(self).items() if name not in LENIENT})


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeSettings:
    """What is made of the tiles.

    Attributes:
        encoder: its name.
        weights: their file; None looks where this machine keeps them.
        precision: of the arithmetic; None is the encoder's own choice for the device.
        half: keep features in float16.
        normalise: name of a stain normalisation; None leaves the colours.
        limits: the worst tile that is encoded; None encodes all, and needs no measured quality.
        max_unreadable: share of a slide's tiles that may be left out because they cannot be read.

    Raises:
        ConfigError: no stain normalisation has this name, or a share is none.
    """

    encoder: str
    weights: Path | None = None
    precision: Precision | None = None
    half: bool = False
    normalise: str | None = None
    limits: Limits | None = field(default_factory=Limits)
    max_unreadable: float = 0.01

    def __post_init__(self) -> None:
        if self.normalise is not None and self.normalise not in NORMALISERS:
            raise ConfigError(unknown("stain normalisation", self.normalise, NORMALISERS))
        _require_share(self.max_unreadable)

    @property
    def folder(self) -> str:
        """Where the features stand, beside the tiles' folder ``patches``."""
        return f"features_{self.encoder}" + (f"_{self.normalise}" if self.normalise else "")

    def section(self, provenance: Mapping[str, str]) -> dict[str, Any]:
        """As the file of a job has it, with what the encoder says of itself; weights are known by what they hold."""
        own = {name: value for name, value in asdict(self).items() if name not in (*LENIENT, "weights", "precision")}
        return {**own, **provenance}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast, and where; changes no file beyond the last digit of a feature.

    Attributes:
        device: of the encoder, such as "cpu" or "cuda:0".
        batch: tiles that are read and encoded at a time.
        threads: of the arithmetic in each worker; another number may change the last digit of a feature.
        readers: threads that read and decode in each worker.

    Raises:
        ConfigError: a number is below 1.
    """

    device: str = "cpu"
    batch: int = 64
    threads: int = 1
    readers: int = 1

    def __post_init__(self) -> None:
        for name in ("batch", "threads", "readers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: give 1 or more.")


def hash_of(record: Mapping[str, Any]) -> str:
    """A short name of settings: the same for the same settings."""
    return sha256(json.dumps(record, sort_keys=True).encode())[:16]


def _require_share(share: float) -> None:
    if not 0 <= share <= 1:
        raise ConfigError(f"A share of {share} of unreadable tiles is none: give 0 to 1.")
