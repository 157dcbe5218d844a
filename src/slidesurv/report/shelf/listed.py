"""The runs of a folder: what each was, how far it came and what it found, from its small files alone."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from slidesurv.errors import DataError
from slidesurv.files import inside, read_json, sha256
from slidesurv.report.estimate import Estimate
from slidesurv.report.read import read_facts

__all__ = ["Listed", "Scored", "Shelf", "list_runs", "read_listed"]

NOT_ASKED = ("name", "data_sha256", "records")  # settings that say nothing about how a model is taught


@dataclass(frozen=True, slots=True)
class Scored:
    """A method of a run.

    Attributes:
        index: its pooled C-index as the run's report has it; a dash where it has none. A larger value is better.
        finished: its folds that are whole, over all seeds.
    """

    label: str
    slug: str
    index: Estimate
    finished: int


@dataclass(frozen=True, slots=True)
class Listed:
    """A run in one line.

    Attributes:
        place: below the folder that was looked through.
        written: when it was last described, in UTC.
        stamp: stands beside every number of a published protocol.
        each: folds over all seeds that a method has when it is whole.
        hashes: of "config", "splits", "data", "features", "tables" and "code"; one that was not recorded is absent.
        version: of the package, with the commit of its working tree after a plus.
    """

    place: str
    experiment: str
    written: datetime
    cohort: str
    protocol: str
    stamp: str
    methods: tuple[Scored, ...]
    each: int
    hashes: Mapping[str, str]
    version: str

    @property
    def finished(self) -> int:
        """Folds that are whole, over all methods and seeds."""
        return sum(method.finished for method in self.methods)

    @property
    def missing(self) -> int:
        """Folds that failed or are not made yet, over all methods and seeds."""
        return self.each * len(self.methods) - self.finished

    @property
    def highest(self) -> Scored | None:
        """The method with the highest pooled C-index, which is flattered by being chosen so; None without one."""
        known = [method for method in self.methods if not math.isnan(method.index.value)]
        return max(known, key=lambda method: method.index.value, default=None)


@dataclass(frozen=True, slots=True)
class Shelf:
    """What a folder holds.

    Attributes:
        runs: by the time they were written, the newest last.
        unfinished: places of runs that were begun and not yet described.
        damaged: places of runs that cannot be read, with the reason.
    """

    runs: tuple[Listed, ...]
    unfinished: tuple[str, ...]
    damaged: Mapping[str, str]


def list_runs(folder: Path) -> Shelf:
    """Look through a folder for runs, at any depth; links are not followed.

    Raises:
        DataError: there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder '{folder}'. Name one that holds run folders of 'slidesurv crossval'.")
    runs, unfinished, damaged = [], [], {}
    for place, is_described in _places(folder):
        name = place.relative_to(folder).as_posix()
        try:
            if is_described:
                runs.append(read_listed(place, name=name))
            else:
                unfinished.append(name)
        except DataError as error:
            damaged[name] = str(error)
    return Shelf(tuple(sorted(runs, key=lambda run: (run.written, run.place))), tuple(sorted(unfinished)), damaged)


def _places(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Run folders, and whether each has its ``run.json``; nothing inside one is looked at."""
    for place, below, files in os.walk(folder):
        if "run.json" in files or {"splits.json", "audit.csv"} <= set(files):
            below.clear()
            yield Path(place), "run.json" in files
        below[:] = sorted(name for name in below if not name.startswith("."))


def read_listed(folder: Path, *, name: str) -> Listed:
    """Read one run's line.

    Args:
        folder: of the run.
        name: to call its place.

    Raises:
        DataError: a file of it is broken.
    """
    path = folder / "run.json"
    facts = read_facts(folder)
    try:
        each = len(facts["seeds"]) * int(facts["folds"])
        is_paper = facts["protocol"] == "paper"
        scores = _scores(folder / "metrics.json")
        return Listed(
            place=name,
            experiment=str(facts["experiment"]),
            written=datetime.fromtimestamp(path.stat().st_mtime, UTC).replace(microsecond=0),
            cohort=str(facts["cohort"].get("name") or facts["experiment"]),
            protocol=str(facts["protocol"]),
            stamp="OPTIMISTIC" if is_paper else "",
            methods=tuple(_scored(folder, words, facts, scores) for words in facts["methods"]),
            each=each,
            hashes=_hashes(folder, facts),
            version=_version(facts),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"'{path}' or a file beside it is not as crossval writes it: {type(error).__name__}: {error}. "
            "Run the experiment again."
        ) from error


def _scores(path: Path) -> dict[str, Estimate]:
    """Pooled C-index by slug; nothing before the run has a report."""
    rows = read_json(path) if path.exists() else []
    return {row["slug"]: _estimate(row) for row in rows}


def _estimate(row: Mapping[str, Any]) -> Estimate:
    return Estimate(_number(row["c_index"]), _number(row["c_index_low"]), _number(row["c_index_high"]))


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _scored(folder: Path, words: Mapping[str, Any], facts: Mapping[str, Any], scores: Mapping[str, Estimate]) -> Scored:
    slug = str(words["slug"])
    home, folds = inside(folder, slug), range(int(facts["folds"]))
    finished = sum(
        (home / f"seed{seed}" / f"fold{fold}" / "fold.json").exists() for seed in facts["seeds"] for fold in folds
    )
    return Scored(str(words["label"]), slug, scores.get(slug, Estimate()), finished)


def _hashes(folder: Path, facts: Mapping[str, Any]) -> dict[str, str]:
    """Every hash that the run has; runs of earlier versions have fewer."""
    settings = facts.get("settings") or {}
    asked = {key: value for key, value in settings.items() if key not in NOT_ASKED}
    choices = [(words["slug"], words.get("choices")) for words in facts["methods"]]
    known = {
        "config": sha256(json.dumps([asked, choices], sort_keys=True).encode()) if settings else None,
        "data": settings.get("data_sha256"),
        "code": (facts.get("code") or {}).get("sha256"),
        **(facts.get("hashes") or _splits(folder / "splits.json")),
    }
    return {what: str(value) for what, value in known.items() if value is not None}


def _splits(path: Path) -> dict[str, str]:
    return {"splits": read_json(path)["sha256"]} if path.exists() else {}


def _version(facts: Mapping[str, Any]) -> str:
    code = facts.get("code") or {}
    commit, dash, dirty = str(code.get("commit", "")).partition("-")
    version = str(code.get("version") or (facts.get("versions") or {}).get("slidesurv") or "")
    return f"{version}+{commit[:8]}{dash}{dirty}" if commit not in ("", "released", "unknown") else version
