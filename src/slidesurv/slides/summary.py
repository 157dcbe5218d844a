"""What a person reads when a job has ended: counts that add up, failures with reasons, a sheet to look through."""

import platform
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from slidesurv.files import write_csv, write_text
from slidesurv.slides.job import FAILED, TILING, Job, Record

__all__ = ["FEWEST", "code_of", "describe_machine", "write_summary"]

FEWEST = 10  # tiles; a slide with fewer deserves a look
STATUSES = ("done", "no_tissue", "empty", FAILED)
NOT_YET = "not yet"
PACKAGES = ("slidesurv", "torch", "numpy", "openslide-python", "opencv-python-headless")
STYLE = """
body { font: 14px system-ui, sans-serif; margin: 1.5em; background: #fff; color: #222 }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(260px, 1fr)); gap: 1em }
figure { margin: 0; border: 1px solid #ccc; padding: .5em; break-inside: avoid }
img { width: 100%; height: 240px; object-fit: contain; background: #eee }
figcaption { overflow-wrap: anywhere } .failed { border-color: #b00 } .look { border-color: #c80 }
"""


@dataclass(frozen=True, slots=True)
class _Stage:
    name: str
    records: tuple[Record, ...]

    def counts(self, listed: int) -> Counter[str]:
        counts = Counter(record.status for record in self.records)
        counts[NOT_YET] = listed - len(self.records)
        return counts


def write_summary(job: Job, slides: Sequence[str], features: Iterable[str], notes: Sequence[str] = ()) -> None:
    """Write ``summary.md``, ``failures.csv`` and ``contact_sheet.html``.

    Args:
        job: whose records are read.
        slides: all that are listed, in order.
        features: names of the folders of features.
        notes: more that a person should know, a line each.
    """
    stages = [_Stage(name, tuple(job.records(name, slides))) for name in (TILING, *features)]
    write_csv(job.folder / "failures.csv", _failures(stages), ("slide_id", "stage", "code", "reason"))
    write_text(job.folder / "summary.md", _markdown(job, slides, stages, notes))
    write_text(job.folder / "contact_sheet.html", _sheet(job, slides, stages[0].records))


def _failures(stages: Sequence[_Stage]) -> list[dict[str, str]]:
    """A row for every slide that failed, at the first stage where it did."""
    rows: dict[str, dict[str, str]] = {}
    for stage in stages:
        for record in stage.records:
            if record.status == FAILED:
                row = {"slide_id": record.slide, "stage": stage.name, **code_of(record.reason)}
                rows.setdefault(record.slide, row)
    return list(rows.values())


def code_of(reason: str) -> dict[str, str]:
    """The code that opens a reason, and the rest of it on one line."""
    code, colon, rest = reason.partition(": ")
    if not colon or not code.startswith("E_"):
        code, rest = "E_DATA", reason
    return {"code": code, "reason": " ".join(rest.split())}


def _markdown(job: Job, slides: Sequence[str], stages: Sequence[_Stage], notes: Sequence[str]) -> str:
    columns = ("stage", "listed", *STATUSES, NOT_YET, "tiles", "unreadable tiles", "tiles beyond limits")
    lines = [f"# {len(slides)} slides", "", _row(columns), _row("---" for _ in columns)]
    for stage in stages:
        counts = stage.counts(len(slides))
        tiles, unreadable = (sum(getattr(record, what) for record in stage.records) for what in ("tiles", "unreadable"))
        limited = sum(record.facts.get("n_limited", 0) for record in stage.records)
        numbers = [len(slides), *(counts[status] for status in (*STATUSES, NOT_YET)), tiles, unreadable, limited]
        lines.append(_row([stage.name, *(f"{number:,}" for number in numbers)]))
    failed = [f"- {row['slide_id']} ({row['stage']}): {row['code']}: {row['reason']}" for row in _failures(stages)]
    look = [f"- {record.slide}: {reason}" for record in stages[0].records for reason in _remarks(record)]
    sources = Counter(record.facts.get("mpp_source") for record in stages[0].records if record.status != FAILED)
    notes = [*notes, *(f"µm per pixel of {count} slides: {source}" for source, count in sources.most_common())]
    for title, found in (("Failed", failed), ("Look at these", look), ("Notes", [f"- {note}" for note in notes])):
        lines += ["", f"## {title}", "", *found] if found else []
    lines += ["", f"Tiles: {job.tiles}. Settings: config.resolved.toml. Pictures: contact_sheet.html.", ""]
    return "\n".join(lines)


def _row(cells: Iterable[Any]) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _remarks(record: Record) -> list[str]:
    """Why a person should look at a slide that did not fail."""
    if record.status == FAILED:
        return []
    if record.tiles == 0:
        small = record.facts.get("pieces_left_out", 0)
        found = f"{small} pieces of tissue are all too small: try --preset biopsy" if small else "no tissue was found"
        return [found if record.status == "no_tissue" else "the slide is smaller than a tile"]
    few = [f"{record.tiles} tiles"] if record.tiles < FEWEST else []
    return [*few, *([f"{record.unreadable} tiles cannot be read"] if record.unreadable else [])]


def _sheet(job: Job, slides: Sequence[str], records: Iterable[Record]) -> str:
    """One page with every slide: outline in green, holes in blue, tiles in black."""
    known = {record.slide: record for record in records}
    figures = "\n".join(_figure(job, slide, known.get(slide)) for slide in slides)
    title = f"{len(slides)} slides, {escape(job.tiles)}"
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    words = f"<h1>{title}</h1>\n<p>Tissue in green, holes in blue, tiles in black.</p>"
    return f"{head}\n{words}\n<main>\n{figures}\n</main>\n"


def _figure(job: Job, slide: str, record: Record | None) -> str:
    if record is None or record.status == FAILED:
        reason = record.reason if record else NOT_YET
        return f'<figure class="failed"><figcaption><b>{escape(slide)}</b><br>{escape(reason)}</figcaption></figure>'
    place = job.overlay(slide).relative_to(job.folder).as_posix()
    mpp = record.facts["mpp"][0]
    remarks = _remarks(record)
    said = [f"{record.tiles:,} tiles, {record.facts['pieces']} pieces", f"{mpp:g} µm/px ({record.facts['mpp_source']})"]
    words = "<br>".join(escape(word) for word in (*said, *remarks))
    look = ' class="look"' if remarks else ""
    return (
        f'<figure{look}><img loading="lazy" src="{escape(place)}" alt=""><figcaption><b>{escape(slide)}</b><br>{words}'
        "</figcaption></figure>"
    )


def describe_machine(device: str) -> dict[str, Any]:
    """What results may depend on, without naming the machine."""
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "device": device,
        "versions": {package: _version(package) for package in PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # another package may give the same library
        return ""
