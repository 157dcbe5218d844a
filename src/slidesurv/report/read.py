"""Reading a run folder: the one contract between doing and showing.

::

    run.json  audit.csv
    <slug>/seed<s>/fold<k>/{predictions,history,reconstruction,diagnostics}.csv  timing.json  fold.json
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slidesurv.errors import DataError, listing, unknown
from slidesurv.files import inside, read_csv, read_json
from slidesurv.report.run import Failure, FoldResult, Method, Numbers, Run

__all__ = ["dotted", "read_facts", "read_run"]

NAMES = {"experiment", "protocol", "seeds", "folds", "methods", "cohort"}
PROTOCOLS = ("leakfree", "paper")
WITHOUT = ("zeroed", "shuffled")
WORDS = {"True": "1", "False": "0", "": "nan"}


def read_run(folder: Path) -> Run:
    """Read a run folder.

    A fold without predictions is kept as a `Failure`. A fold whose files cannot be understood is an error: a table
    is never made of what happened to be readable.

    Raises:
        DataError: this is no run folder, a file of it is broken, or its folds do not belong together.
    """
    facts = read_facts(folder)
    seeds, folds = tuple(facts["seeds"]), int(facts["folds"])
    methods = tuple(_read_method(folder, words, seeds, folds) for words in facts["methods"])
    _check_same_patients(methods)
    planted = facts.get("planted") or {}
    return Run(
        experiment=facts["experiment"],
        protocol=facts["protocol"],
        seeds=seeds,
        folds=folds,
        methods=methods,
        cohort=facts["cohort"],
        planted=planted.get("text"),
        programme=planted.get("programme", {}),
        versions=facts.get("versions", {}),
        command=facts.get("command", ""),
        failures=_failures(facts.get("failures", []), methods, folds),
        audit=tuple(read_csv(folder / "audit.csv")) if (folder / "audit.csv").exists() else (),
        audit_verdict=tuple(facts.get("audit_verdict") or ()),
        findings=tuple((found["kind"], found["text"]) for found in facts.get("findings") or ()),
        dropped=Counter(left_out["reason"] for left_out in facts.get("dropped") or ()),
        settings=dotted(facts.get("settings") or {}),
    )


def read_facts(folder: Path) -> dict[str, Any]:
    """Read what a run says of itself, without its folds.

    Raises:
        DataError: there is no ``run.json``, or crossval did not write it.
    """
    path = folder / "run.json"
    if not path.is_file():
        raise DataError(
            f"'{folder}' is no run folder: it holds no 'run.json'. Give a folder that a crossval run wrote."
        )
    facts = read_json(path)
    if not isinstance(facts, dict) or not facts.keys() >= NAMES:
        missing = listing(sorted(NAMES - facts.keys())) if isinstance(facts, dict) else "every name"
        raise DataError(f"'{path}' lacks {missing}: it was not written by crossval. Run the experiment again.")
    if facts["protocol"] not in PROTOCOLS:
        raise DataError(f"In '{path}': {unknown('protocol', str(facts['protocol']), PROTOCOLS)}")
    if not facts["methods"] or not facts["seeds"]:
        raise DataError(f"'{path}' names no method or no seed: there is nothing to show. Run the experiment again.")
    return facts


def dotted(settings: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Name every value of nested settings by its dotted key.

    Args:
        settings: as a JSON file has them.
        above: stands before every key, with its dot.
    """
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= dotted(value, f"{above}{key}.") if isinstance(value, Mapping) else {f"{above}{key}": value}
    return flat


def _read_method(folder: Path, words: Mapping[str, Any], seeds: tuple[int, ...], folds: int) -> Method:
    results = {}
    for seed in seeds:
        for fold in range(folds):
            place = inside(folder, f"{words['slug']}/seed{seed}/fold{fold}")
            if (place / "predictions.csv").exists() and (place / "fold.json").exists():
                results[seed, fold] = _read_fold(place)
    complete = tuple(fold for fold in range(folds) if all((seed, fold) in results for seed in seeds))
    described = {key: words.get(key, "") for key in ("label", "slug", "model", "slides", "genomics")}
    return Method(
        **described,
        parameters=int(words.get("parameters") or 0),
        choices=words.get("choices", {}),
        results=results,
        seeds=seeds,
        complete=complete,
    )


def _read_fold(place: Path) -> FoldResult:
    path = place / "predictions.csv"
    facts = read_json(place / "fold.json")
    rows = sorted(read_csv(path), key=lambda row: row["patient_id"])
    training, test = ([row for row in rows if row.get("split") == part] for part in ("train", "test"))
    if not training or not test:
        raise DataError(
            f"'{path}' has {len(training)} training and {len(test)} test patients; the report needs both. "
            f"Delete the folder '{place}' and run the same command again."
        )
    timing = read_json(place / "timing.json")
    bins, ratio = range(len(facts["edges"]) - 1), facts.get("gradient_ratio")
    return FoldResult(
        patients=tuple(row["patient_id"] for row in test),
        time=_column(test, "time_months", path),
        event=_events(test, path),
        risk=_column(test, "risk", path),
        survival=np.stack([_column(test, f"S_{k}", path) for k in bins], axis=1),
        cut=float(np.median(_column(training, "risk", path))),
        training_time=_column(training, "time_months", path),
        training_event=_events(training, path),
        edges=np.array(facts["edges"], dtype=float),
        epoch=int(facts["epoch"]),
        seconds=float(timing["seconds"]),
        history=_read_numbers(place / "history.csv", gaps=True),
        reconstruction=_read_numbers(place / "reconstruction.csv"),
        diagnostics=_read_numbers(place / "diagnostics.csv", gaps=True),
        risk_without={name: _column(test, f"risk_{name}", path) for name in WITHOUT if f"risk_{name}" in test[0]},
        gradient_ratio=math.nan if ratio is None else float(ratio),
        memory=float(timing.get("memory_mb") or math.nan),
    )


def _events(rows: Sequence[Mapping[str, str]], path: Path) -> NDArray[np.bool_]:
    values = _column(rows, "event", path)
    if strange := sorted(set(values.tolist()) - {0.0, 1.0}):
        raise DataError(f"Column 'event' of '{path}' holds {listing(strange)}: 1 = death seen, 0 = censored. Mend it.")
    return values == 1


def _column(rows: Sequence[Mapping[str, str]], name: str, path: Path, *, gaps: bool = False) -> Numbers:
    try:
        values = np.array([float(WORDS.get(row[name], row[name])) for row in rows])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"Column '{name}' of '{path}' is missing or holds no number: {error}. Run it again.") from None
    if not gaps and (bad := int((~np.isfinite(values)).sum())):
        raise DataError(
            f"{bad} of {len(values)} values in column '{name}' of '{path}' are not finite. A patient is never left out "
            "in silence: find out why the model failed there, delete the fold's folder and run it again."
        )
    return values


def _read_numbers(path: Path, *, gaps: bool = False) -> dict[str, Any]:
    """Read every column of a table as (rows,) numbers, ``patient_id`` as ids; {} where there is no table."""
    rows = read_csv(path) if path.exists() else []
    columns: dict[str, Any] = {}
    for name in rows[0] if rows else ():
        is_id = name == "patient_id"
        columns[name] = tuple(row[name] for row in rows) if is_id else _column(rows, name, path, gaps=gaps)
    return columns


def _check_same_patients(methods: Sequence[Method]) -> None:
    """A fold must mean the same patients with the same follow-up to every method and seed."""
    known: dict[int, FoldResult] = {}
    for method in methods:
        for (seed, fold), result in method.results.items():
            if not result.same_patients(known.setdefault(fold, result), training=True):
                raise DataError(
                    f"Fold {fold} of '{method.slug}', seed {seed}, has other patients or follow-up than the others: "
                    "the folder mixes two runs. Choose a new folder and run the experiment again."
                )


def _failures(told: Sequence[Mapping[str, str]], methods: Sequence[Method], folds: int) -> tuple[Failure, ...]:
    """What the run reported, and after it every fold that is absent without a word."""
    reasons = {entry["name"]: entry["reason"] for entry in told}
    for method in methods:
        every = ((seed, fold) for seed in method.seeds for fold in range(folds))
        for seed, fold in (place for place in every if place not in method.results):
            if f"{method.label}, fold {fold}" not in reasons:  # where it is told once for all seeds
                name = f"{method.label}, seed {seed}, fold {fold}"
                reasons.setdefault(name, "No predictions were written; run the same command again.")
    return tuple(Failure(name, reason) for name, reason in reasons.items())
