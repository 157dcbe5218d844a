"""Look over features, or a whole job: what is missing, mixed, twice there, odd or broken."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from slidesurv.errors import DataError, listing
from slidesurv.slides.faults import SlideError
from slidesurv.slides.job import FAILED, TILING, Job, Record, read_config
from slidesurv.slides.manifest import Sources, find_slides, read_lock
from slidesurv.slides.prefetch import Clock
from slidesurv.slides.settings import TileSettings
from slidesurv.slides.store import FeatureStore
from slidesurv.slides.summary import FEWEST
from slidesurv.slides.tiling import opened

__all__ = ["Finding", "Review", "review", "tell_tale"]

ODD = 10.0  # times more or fewer tiles than the median
UNKNOWN = "unknown"

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was seen.

    Attributes:
        kind: "failed", "missing", "mixed", "twice", "broken" are to be mended; "few", "odd", "stranger" and
            "left out" are to be looked at.
        where: a slide, or a folder.
        text: what.
    """

    kind: str
    where: str
    text: str

    @property
    def is_problem(self) -> bool:
        """Whether work is to be done again, or features cannot be used together."""
        return self.kind in ("failed", "missing", "mixed", "twice", "broken")


@dataclass(frozen=True, slots=True)
class Review:
    """What was looked over.

    Attributes:
        slides: number of them.
        tiles: of all of them, by folder.
        mpp: slides by their µm per pixel, to two digits, or "unknown".
        origins: slides by encoder and resolution, by folder.
        findings: what was seen.
    """

    slides: int
    tiles: Mapping[str, int]
    mpp: Mapping[str, int]
    origins: Mapping[str, Mapping[str, int]]
    findings: tuple[Finding, ...]


def review(
    folder: Path, *, cohort: Sequence[str] = (), tiles: str | None = None, report: Progress = lambda done, total: None
) -> Review:
    """Look over a job, or a folder of features; every feature file is read to its end.

    Args:
        folder: of a job, or of feature files of any tool that is understood.
        cohort: slides that must be there.
        tiles: which, where a job has several kinds.
        report: called with files read and files in all.

    Raises:
        ConfigError: a job has several kinds of tiles and none is named.
        DataError: the folder holds neither.
    """
    config = read_config(folder)
    if not config:
        return _review_features({folder.name: folder}, {}, cohort, (), report)
    job = Job.find(folder, tiles)
    sources = read_lock(job.lock, folder / config["slides"]["root"])
    records = {record.slide: record for record in job.records(TILING, [each.slide for each in sources.slides])}
    names = config.get("features", {}).get(job.tiles, {})
    folders = {name: folder / job.tiles / name for name in names if any((folder / job.tiles / name).glob("*.h5"))}
    findings = (*_of_job(job, sources, records, folders), *_unfinished(sources))
    wanted = cohort or [slide for slide, record in records.items() if record.status != FAILED]
    return _review_features(folders, records, wanted, findings, report)


def _of_job(job: Job, sources: Sources, records: Mapping[str, Record], folders: Iterable[str]) -> list[Finding]:
    listed = [each.slide for each in sources.slides]
    found = [Finding("missing", slide, "not tiled yet") for slide in listed if slide not in records]
    failed: dict[str, Finding] = {}
    for stage in (TILING, *folders):
        for record in job.records(stage, listed):
            if record.status == FAILED:
                failed.setdefault(record.slide, Finding("failed", record.slide, f"{stage}: {record.reason}"))
    found += failed.values()
    found += _odd({slide: record.tiles for slide, record in records.items() if record.status != FAILED})
    pictures = {slide: record.facts.get("picture_sha256", "") for slide, record in records.items()}
    return found + _twice({slide: picture for slide, picture in pictures.items() if picture}, "the picture")


def _unfinished(sources: Sources) -> list[Finding]:
    try:
        left_out = find_slides(sources.root).left_out if sources.root.is_dir() else ()
    except DataError:  # names that clash are told when the job is started again
        return []
    named = {each.place for each in sources.slides}
    what = "an unfinished download, or DICOM that no manifest names"
    return [Finding("left out", place, what) for place in left_out if place not in named]


def _review_features(
    folders: Mapping[str, Path],
    records: Mapping[str, Record],
    cohort: Sequence[str],
    findings: Sequence[Finding],
    report: Progress,
) -> Review:
    stores = {name: FeatureStore(path) for name, path in folders.items()}
    total, done = sum(len(store.slides) for store in stores.values()), 0
    tiles, origins, found = {}, {}, list(findings)
    mpp = {slide: _text(record.facts["mpp"]) for slide, record in records.items() if "mpp" in record.facts}
    for name, store in stores.items():
        seen = _Seen()
        for slide in store.slides:
            seen.look(store, slide)
            report(done := done + 1, total)
        tiles[name], origins[name] = sum(seen.tiles.values()), dict(Counter(seen.origins.values()))
        found += seen.findings(name)
        found += [] if records else _odd(seen.tiles)
        found += _against(cohort, store)
        mpp = {**seen.mpp, **mpp}
    slides = set(records).union(*(store.slides for store in stores.values()))
    return Review(len(slides), tiles, dict(sorted(Counter(mpp.values()).items())), origins, tuple(found))


class _Seen:
    """What the files of one folder hold."""

    def __init__(self) -> None:
        self.tiles: dict[str, int] = {}
        self.mpp: dict[str, str] = {}
        self.origins: dict[str, str] = {}
        self._digests: dict[str, str] = {}
        self._broken: list[Finding] = []

    def look(self, store: FeatureStore, slide: str) -> None:
        """Read one file to its end."""
        try:
            header, said, digest = store.header(slide), store.attributes(slide), store.digest(slide)
        except DataError as error:
            self._broken.append(Finding("broken", slide, str(error)))
            return
        self.tiles[slide] = header.tiles
        self.origins[slide] = f"D={header.width}" + (f", {header.origin}" if header.origin else "")
        self.mpp[slide] = _text(said["mpp_slide"]) if "mpp_slide" in said else UNKNOWN
        if header.tiles:
            self._digests[slide] = digest

    def findings(self, folder: str) -> list[Finding]:
        """What is wrong with the folder as a whole, and with files in it."""
        counts = Counter(self.origins.values()).most_common()
        words = "; ".join(f"{count} slides with {origin}" for origin, count in counts[:5])
        mixed = [Finding("mixed", folder, f"files that do not belong together: {words}")] if len(counts) > 1 else []
        return [*self._broken, *mixed, *_twice(self._digests, "all features and places")]


def _against(cohort: Sequence[str], store: FeatureStore) -> list[Finding]:
    if not cohort:
        return []
    folder = store.path.name
    strangers = sorted(set(store.slides) - set(cohort))
    missing = [Finding("missing", slide, f"no features in '{folder}'") for slide in store.missing(cohort)]
    known = [Finding("stranger", folder, f"{len(strangers)} slides are not asked for: {listing(strangers)}")]
    return missing + (known if strangers else [])


def _odd(tiles: Mapping[str, int]) -> list[Finding]:
    """Slides with hardly any tiles, or many more or fewer than others."""
    usual = median(count for count in tiles.values() if count) if any(tiles.values()) else 0
    few = [Finding("few", slide, f"{count} tiles") for slide, count in tiles.items() if count < FEWEST]
    far = [
        Finding("odd", slide, f"{count:,} tiles; the median is {usual:,.0f}")
        for slide, count in tiles.items()
        if count >= FEWEST and not usual / ODD <= count <= usual * ODD
    ]
    return few + far


def _twice(contents: Mapping[str, str], what: str) -> list[Finding]:
    groups = defaultdict(list)
    for slide, content in contents.items():
        groups[content].append(slide)
    return [
        Finding("twice", group[0], f"shares {what} with {listing(group[1:])}") for group in groups.values() if group[1:]
    ]


def _text(mpp: Any) -> str:
    """(x, y) µm per pixel to two digits, so that scanners of one kind fall together."""
    return f"{float(np.mean(mpp)):.2f}"


def tell_tale(folder: Path, tiles: str | None = None) -> list[Finding]:
    """Say which slides of a job hold what may lead to a person: names of properties and pictures, never their content.

    Raises:
        ConfigError: it is no job.
    """
    job, config = Job.find(folder, tiles), read_config(folder)
    settings = TileSettings.from_sections(config, job.tiles)
    found = []
    for each in read_lock(job.lock, folder / config["slides"]["root"]).slides:
        try:
            with opened(each, folder / config["slides"]["root"], settings, Clock()) as slide:
                private = slide.reader.private
        except SlideError as error:
            found.append(Finding("broken", each.slide, job.anonymous(str(error), folder / config["slides"]["root"])))
            continue
        found += [Finding("private", each.slide, f"holds {listing(private, most=12)}")] if private else []
    return found
