"""``slidesurv runs``: which runs there are, and two of them side by side."""

import json as json_
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slidesurv.cli.speech import say, table
from slidesurv.errors import DataError

if TYPE_CHECKING:
    from slidesurv.report.estimate import Estimate
    from slidesurv.report.shelf.between import Between, Gap
    from slidesurv.report.shelf.listed import Listed

__all__ = ["runs"]

DASH = "—"
HASHES = ("config", "splits", "data", "code")


def runs(
    folder: Annotated[Path, typer.Argument(help="Looked through at any depth.")] = Path("runs"),
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option("--compare", metavar="A B", help="Two run folders, or names inside FOLDER, side by side."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Everything as JSON.")] = False,
) -> None:
    """List the runs of a folder, or compare two.

    A line has the first letters of the hashes of the settings, the folds, the data and the code, so that equal runs
    look equal; "highest" is the best pooled C-index, which is flattered by being chosen. --compare shows which settings
    differ, whether the rest is the same, and the paired difference of each method on the patients that both judge.

    Example: slidesurv runs runs --compare luad-a luad-b
    """
    if compare is not None:
        from slidesurv.report.shelf.between import lay_beside

        between = lay_beside(*(_find(folder, run) for run in compare))
        print(_as_json({**asdict(between), "verdict": between.verdict}) if json else _side_by_side(between))
        return
    from slidesurv.report.shelf.listed import list_runs

    shelf = list_runs(folder)
    if json:
        print(_as_json(asdict(shelf)))
    elif shelf.runs:
        head = ("run", "written", "cohort", "protocol", "methods", "folds", "highest C-index", *HASHES, "version")
        print(table([head, *map(_line, shelf.runs)]))
    for place, reason in shelf.damaged.items():
        say(f"damaged: {_plain(place)}: {_plain(reason)}")
    for place in shelf.unfinished:
        say(f"not finished: {_plain(place)}")
    say(f"{len(shelf.runs)} runs, {len(shelf.unfinished)} not finished, {len(shelf.damaged)} damaged")


def _find(folder: Path, run: Path) -> Path:
    """A run folder as given, or below the folder that is looked through."""
    if found := next((place for place in (run, folder / run) if place.is_dir()), None):
        return found
    raise DataError(f"There is no run '{run}', neither here nor in '{folder}'. 'slidesurv runs {folder}' lists them.")


def _line(run: "Listed") -> tuple[str, ...]:
    best = run.highest
    folds = f"{run.finished} of {run.finished + run.missing}"
    return (
        _plain(run.place),
        f"{run.written:%Y-%m-%d %H:%M}",
        _plain(run.cohort),
        _plain(run.protocol),
        str(len(run.methods)),
        folds,
        f"{_plain(best.label)} {_stamped(best.index, run.stamp)}" if best else DASH,
        *(run.hashes.get(what, DASH)[:8] for what in HASHES),
        _plain(run.version) or DASH,
    )


def _stamped(estimate: "Estimate", stamp: str, *, signed: bool = False) -> str:
    text = estimate.text(signed=signed)
    return text if text == DASH else f"{text} {stamp}".rstrip()


def _side_by_side(between: "Between") -> str:
    names = [_plain(run.place) for run in between.runs]
    told = {None: "not recorded", True: "same", False: "other"}
    settings = [(_plain(s.key), _value(s.first), _value(s.second)) for s in between.settings]
    gaps = [_gap_line(between, gap) for gap in between.gaps]
    gap_head = ("C-index", *names, "second - first", "p (Holm)", "folds")
    blocks = (
        table([("settings", *names), *settings]) if settings else "No setting differs.",
        table([("what", "is"), *((what, told[same]) for what, same in between.same.items())]),
        between.verdict,
        table([gap_head, *gaps]) if gaps else "No method is in both.",
        "\n".join(_remarks(between, names)),
    )
    return "\n\n".join(filter(None, blocks))


def _gap_line(between: "Between", gap: "Gap") -> tuple[str, ...]:
    indices = (_stamped(index, run.stamp) for index, run in zip(gap.indices, between.runs, strict=True))
    difference = _stamped(gap.difference, between.stamp, signed=True)
    return _plain(gap.label), *indices, difference, _p(gap.p), str(len(gap.folds))


def _remarks(between: "Between", names: list[str]) -> list[str]:
    """Why a difference is not defined, and which methods stand alone."""
    alone = zip(names, between.alone, strict=True)
    return [
        *(f"{_plain(gap.label)}: {gap.difference.note}." for gap in between.gaps if gap.difference.note),
        *(f"Only in {name}: {', '.join(map(_plain, labels))}." for name, labels in alone if labels),
    ]


def _p(p: float) -> str:
    from slidesurv.report.estimate import p_text

    return p_text(p).removeprefix("p ").removeprefix("= ")


def _value(value: Any) -> str:
    return DASH if value is None else _plain(value)


def _plain(text: object) -> str:
    """Words of a file that may be anybody's, without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in str(text))


def _as_json(value: dict[str, Any]) -> str:
    return json_.dumps(_defined(value), indent=1, default=str)


def _defined(value: Any) -> Any:
    """JSON has neither NaN nor infinity."""
    if isinstance(value, Mapping):
        return {key: _defined(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_defined(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value
