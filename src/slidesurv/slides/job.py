"""The folder of a job: where its files stand, what it was asked for, and one record a slide and stage.

::

    <job>/
      config.resolved.toml  manifest.lock.csv  summary.md  failures.csv  contact_sheet.html  runs/<run>.json
      thumbnails/<slide>.jpg  contours_geojson/<slide>.geojson
      <mag>x_<px>px_<ov>px_overlap/  patches/<slide>_patches.h5  qc/<slide>.csv  visualization/<slide>.jpg
                                     features_<encoder>/<slide>.h5
      states/<slide>__<hash of the stage>.json
      claims/                                           # of those who work on it now
"""

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from slidesurv.errors import ConfigError, DataError, listing
from slidesurv.files import read_json, sha256, write_json, write_text
from slidesurv.slides.manifest import LOCK
from slidesurv.slides.settings import SLIDES

__all__ = ["FAILED", "TILING", "Job", "Record", "read_config", "remember"]

TILING = "patches"  # the stage that makes tiles; every other is a folder of features
FAILED = "failed"
CONFIG = "config.resolved.toml"
HEAD = "# What this job was asked for, as slidesurv wrote it down. Other settings belong into another folder."


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What became of one slide in one stage.

    Attributes:
        slide: its id.
        stage: such as ``20x_256px_0px_overlap/patches``.
        status: "done"; "no_tissue" or "empty" (smaller than a tile) for a file of 0 tiles; "failed".
        reason: why it failed.
        tiles: in the file.
        unreadable: left out because they cannot be read.
        stamp: size and time of each file when its content was last found right.
        facts: more that is known, such as ``mpp``.
        seconds: that it took.
    """

    slide: str
    stage: str
    status: str
    reason: str = ""
    tiles: int = 0
    unreadable: int = 0
    stamp: tuple[tuple[int, int], ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Job:
    """Where the files of a job stand.

    Attributes:
        folder: of the job.
        tiles: name of the folder of one kind of tiles, such as ``20x_256px_0px_overlap``.
    """

    folder: Path
    tiles: str

    @classmethod
    def find(cls, folder: Path, tiles: str | None = None) -> Self:
        """The job in a folder.

        Args:
            folder: of the job.
            tiles: which, where there are several kinds of tiles.

        Raises:
            ConfigError: there are none, or several and none is named.
        """
        known = list(read_config(folder).get("tiles", {}))
        if not known:
            raise ConfigError(f"'{folder}' is no job: run 'slidesurv tile SLIDES -o {folder}' first.")
        name = known[0] if tiles is None and len(known) == 1 else tiles
        if name not in known:
            raise ConfigError(f"'{folder}' has these tiles: {listing(known)}. Say which with --tiles.")
        return cls(folder, str(name))

    @property
    def lock(self) -> Path:
        """The slides that are worked on."""
        return self.folder / LOCK

    @property
    def claims(self) -> Path:
        """Where those who work on the job say so."""
        return self.folder / "claims"

    def thumbnail(self, slide: str) -> Path:
        """A small picture of a slide."""
        return self.folder / "thumbnails" / f"{slide}.jpg"

    def outline(self, slide: str) -> Path:
        """The pieces of tissue, which may be edited."""
        return self.folder / "contours_geojson" / f"{slide}.geojson"

    def coords(self, slide: str) -> Path:
        """The tiles."""
        return self.folder / self.tiles / TILING / f"{slide}_patches.h5"

    def quality(self, slide: str) -> Path:
        """How good each tile is."""
        return self.folder / self.tiles / "qc" / f"{slide}.csv"

    def overlay(self, slide: str) -> Path:
        """Tissue and tiles on the thumbnail."""
        return self.folder / self.tiles / "visualization" / f"{slide}.jpg"

    def features(self, slide: str, name: str) -> Path:
        """The features; the name is that of their folder."""
        return self.folder / self.tiles / name / f"{slide}.h5"

    def key(self, slide: str, stage: str) -> str:
        """What records and claims of a slide in a stage are called."""
        return f"{slide}__{sha256(f'{self.tiles}/{stage}'.encode())[:8]}"

    def state(self, slide: str, stage: str) -> Path:
        """What became of a slide in a stage."""
        return self.folder / "states" / f"{self.key(slide, stage)}.json"

    def read(self, slide: str, stage: str) -> Record | None:
        """Read the record of a slide; None when there is none that can be read."""
        try:
            said = read_json(self.state(slide, stage))
            return Record(**{**said, "stamp": tuple((size, touched) for size, touched in said["stamp"])})
        except (DataError, TypeError, KeyError, ValueError):
            return None

    def write(self, record: Record) -> None:
        """Write a record, atomically."""
        write_json(self.state(record.slide, record.stage.rpartition("/")[2]), asdict(record))

    def records(self, stage: str, slides: Sequence[str]) -> Iterator[Record]:
        """The records of slides that have one, in their order."""
        for slide in slides:
            if record := self.read(slide, stage):
                yield record

    def anonymous(self, text: str, root: Path) -> str:
        """The text without folders of this machine."""
        for folder in (root, self.folder):
            for spelling in {str(folder), str(folder.absolute()), str(folder.resolve())}:
                text = text.replace(f"{spelling}{os.sep}", "")
        return text


def read_config(folder: Path) -> dict[str, Any]:
    """Read what a job was asked for; nothing where none was begun.

    Raises:
        DataError: the file cannot be read.
    """
    path = folder / CONFIG
    try:
        return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"Cannot read '{path}': {error}. Remove it, and give every setting again.") from error


def remember(folder: Path, sections: Mapping[tuple[str, ...], Mapping[str, Any]]) -> None:
    """Write down what a job is asked for, next to what it was asked for before.

    Args:
        folder: of the job.
        sections: by their keys, such as ``("tiles", "20x_256px_0px_overlap")``; what stands in ``("slides",)`` may
            change from run to run.

    Raises:
        ConfigError: a section was begun with other settings.
    """
    before = read_config(folder)
    config = deepcopy(before)
    for (*parents, last), section in sections.items():
        place = config
        for key in parents:
            place = place.setdefault(key, {})
        wanted = tomllib.loads(_toml(section))
        if (*parents, last) != SLIDES and place.get(last, wanted) != wanted:
            raise ConfigError(_changed(folder, last, place[last], wanted))
        place[last] = wanted
    if config != before:
        write_text(folder / CONFIG, f"{HEAD}\n{_toml(config)}")


def _changed(folder: Path, name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    keys = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    shown = [f"{key} was {before.get(key, 'not set')}, now {now.get(key, 'not set')}" for key in keys]
    return (
        f"'{folder}' was begun with other settings of '{name}': {listing(shown)}. Give the same settings, or another "
        "folder."
    )


def _toml(values: Mapping[str, Any], name: str = "") -> str:
    """Write a table: keys that have a value, then the tables in it."""
    plain = [
        f"{_key(key)} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items() if _is_plain(value)
    ]
    inner = {f"{name}.{_key(key)}".strip("."): value for key, value in values.items() if isinstance(value, Mapping)}
    head = [f"\n[{name}]"] if plain and name else []
    return "\n".join([*head, *plain, *(_toml(value, path).rstrip("\n") for path, value in inner.items())]) + "\n"


def _is_plain(value: Any) -> bool:
    return value is not None and not isinstance(value, Mapping)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)
