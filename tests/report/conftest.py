"""A run folder that no model made: 60 patients, two methods, two seeds, three folds."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from slidesurv.files import write_csv, write_json

EDGES = [0.0, 10.0, 20.0, 30.0, 80.0]
FOLDS = 3
SEEDS = (0, 1)


def follow_up(silent_fold: int | None) -> list[dict]:
    """60 patients in three folds: the hidden programme shortens life; a silent fold has no death in its test part."""
    rng = np.random.default_rng(7)
    programme = rng.normal(size=60)
    life = rng.exponential(25 * np.exp(-0.9 * programme))
    watched = rng.uniform(10, 70, size=60)
    return [
        {
            "patient_id": f"P{n:02d}",
            "fold": n % FOLDS,
            "time": float(min(life[n], watched[n])),
            "event": bool(life[n] <= watched[n]) and n % FOLDS != silent_fold,
            "programme": float(programme[n]),
        }
        for n in range(60)
    ]


def write_fold(place: Path, patients: list[dict], fold: int, noise: np.ndarray, *, rebuilds: bool) -> None:
    rows = []
    for patient, wobble in zip(patients, noise, strict=True):
        risk = patient["programme"] + wobble
        hazard = 1 / (1 + np.exp(2.5 - risk))
        rows.append(
            {
                "patient_id": patient["patient_id"],
                "fold": fold,
                "split": "test" if patient["fold"] == fold else "train",
                "risk": float(risk),
                **{f"S_{k}": float((1 - hazard) ** (k + 1)) for k in range(4)},
                "time_months": patient["time"],
                "event": patient["event"],
                "site": "A",
                "n_slides": 1,
                "n_tiles": 9,
                "model_hash": "0" * 8,
            }
        )
        if rebuilds:  # zeroed, only the noise stays; shuffled, nothing changes
            without = {"risk_zeroed": float(wobble), "risk_shuffled": float(risk)}
            rows[-1] |= without if patient["fold"] == fold else dict.fromkeys(without, "")
    test = [row["patient_id"] for row in rows if row["split"] == "test"]
    epochs = [
        {"epoch": e, "train_loss": 2 / e, "train_nll": 1.8 / e, "train_kl": 0.2 / e, "tune_nll": 1 + (e - 4) ** 2 / 9}
        | {
            "tune_c_index": "" if e == 1 else 0.6,
            "test_nll": 1.2,
            "test_c_index": 0.6 + e / 100,
            "learning_rate": 1e-4,
            "seconds": 0.1,
        }
        for e in range(1, 7)
    ]
    write_csv(place / "predictions.csv", rows, list(rows[0]))
    write_csv(place / "history.csv", epochs, list(epochs[0]))
    write_json(
        place / "fold.json",
        {"edges": EDGES, "epoch": 4, "model_hash": "0", "parameters": 12}
        | {"gradient_ratio": 0.25 * (1 + fold) if rebuilds else None},
    )
    write_json(place / "timing.json", {"seconds": 1.5})
    if rebuilds:
        kl = [
            {"patient_id": p, "kl": 0.5, "kl_mean": 2.0, "rank": 1 + n % 5, "candidates": 20}
            | {"entropy": 2.0, "entropy_share": 0.5 + fold / 10}
            for n, p in enumerate(test)
        ]
        write_csv(place / "reconstruction.csv", kl, list(kl[0]))
        full = [{"patient_id": p, "clusters_full": 7 + n % 2, "share_filled": 0.25} for n, p in enumerate(test)]
        write_csv(place / "diagnostics.csv", full, list(full[0]))


def make_run(
    folder: Path,
    *,
    protocol: str = "leakfree",
    label: str = "Taught",
    silent_fold: int | None = None,
    failed: tuple[str, int, int] | None = None,
    rebuilds: bool = True,
) -> Path:
    """Write a run: method "good" follows the programme closely and rebuilds, "poor" hardly does and does not.

    Args:
        folder: a new folder.
        label: shown for "good".
        silent_fold: whose test patients all live.
        failed: slug, seed and fold of a training that left nothing.
        rebuilds: whether "good" rebuilds the genome.
    """
    patients = follow_up(silent_fold)
    for slug, spread in (("good", 0.4), ("poor", 6.0)):
        for seed in SEEDS:
            for fold in range(FOLDS):
                if (slug, seed, fold) != failed:
                    noise = np.random.default_rng([seed, fold, len(slug), int(spread)]).normal(size=60) * spread
                    place = folder / slug / f"seed{seed}" / f"fold{fold}"
                    write_fold(place, patients, fold, noise, rebuilds=rebuilds and slug == "good")
    methods = [
        {"label": label, "slug": "good", "model": "m1", "genomics": "training", "slides": "always", "parameters": 12000}
        | {"choices": {"dim": 8, "weights": "/home/someone/weights.bin"}},
        {"label": "Plain", "slug": "poor", "model": "m2", "genomics": "never", "slides": "always", "parameters": 900}
        | {"choices": {}},
    ]
    deaths = sum(patient["event"] for patient in patients)
    facts = {
        "experiment": "made run",
        "protocol": protocol,
        "seeds": list(SEEDS),
        "folds": FOLDS,
        "methods": methods,
        "cohort": {"name": "made", "patients": 60, "slides": 60, "deaths": deaths, "event_share": deaths / 60}
        | {"median_follow_up_months": 24.5, "sites": 4},
        "planted": {
            "text": "A programme of 20 genes doubles the hazard.",
            "programme": {patient["patient_id"]: patient["programme"] for patient in patients},
        },
        "settings": {"training": {"epochs": 6, "device": None}, "cohort": {"table": "/home/someone/cohort.csv"}},
        "dropped": [{"patient_id": f"Q{n}", "reason": r} for n, r in enumerate(["no <time>", "no slide", "no slide"])],
        "audit_verdict": ["3 folds with few deaths.", "The laboratory may be <recognised>."],
        "versions": {"slidesurv": "0.1.0"},
        "command": "slidesurv crossval /home/someone/made.toml",
        "failures": [{"name": f"Plain, seed {failed[1]}, fold {failed[2]}", "reason": "Loss is NaN."}]
        if failed
        else [],
    }
    (folder / "run.json").write_text(json.dumps(facts))
    audit = [audit_row(patients, fold) for fold in range(FOLDS)]
    write_csv(folder / "audit.csv", audit, list(audit[0]))
    return folder


def audit_row(patients: list[dict], fold: int) -> dict:
    test = [patient for patient in patients if patient["fold"] == fold]
    deaths = sum(patient["event"] for patient in test)
    counts = {"fold": fold, "part": "test", "patients": len(test), "events": deaths, "median_months": 20.5}
    return {**counts, "sites": 4, "shared_sites": 3, "shared_share": 0.85 + fold / 20}


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Path]:
    """Write a run into a fresh folder."""
    return lambda name="run", **options: make_run(tmp_path / name, **options)


@pytest.fixture(scope="session")
def clean_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without faults; read it, do not change it."""
    return make_run(tmp_path_factory.mktemp("clean") / "run")


@pytest.fixture(scope="session")
def ill_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The paper protocol, a hostile label, a fold in which nobody died, and a training that failed."""
    folder = tmp_path_factory.mktemp("ill") / "run"
    label = "<script>alert($1)</script>"
    return make_run(folder, protocol="paper", label=label, silent_fold=1, failed=("poor", 1, 2))
