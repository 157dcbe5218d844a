"""The report: one self-contained page that says what was found, how sure that is, and what could not be made."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slidesurv.files import write_text
from slidesurv.report.accuracy import Accuracy
from slidesurv.report.curves import calibrated, learning, overview
from slidesurv.report.differences import Difference, by_folds, judge_differences, verdict
from slidesurv.report.drawing import Picture
from slidesurv.report.forest import forest
from slidesurv.report.genome.genes import GeneByGene, judge_genes
from slidesurv.report.genome.reconstruction import ablate, judge
from slidesurv.report.genome.shown import HEAD, show_genes, write_genes
from slidesurv.report.jury import Jury
from slidesurv.report.metrics import measure
from slidesurv.report.optimism import judge_optimism
from slidesurv.report.planted import find, picture
from slidesurv.report.read import read_run
from slidesurv.report.records import write_metrics
from slidesurv.report.render import render
from slidesurv.report.risk_groups import fold_by_fold, risk_groups
from slidesurv.report.run import Method, Run
from slidesurv.report.searched import Searched, budget, read_searched
from slidesurv.report.table import Comparison, compare, write_comparison
from slidesurv.report.words import MEANINGS, found, headline, used

__all__ = ["write_report"]

PROTOCOLS = {
    "leakfree": "Leak-free: nothing was fitted, tuned or chosen on the patients that judge.",
    "paper": "OPTIMISTIC: the epoch was chosen on the test fold, as the literature does. Expect less of new patients.",
}
FACTS = ("name", "patients", "slides", "deaths", "event_share", "median_follow_up_months", "sites")


def write_report(folder: Path, *, output: Path | None = None, reference: str | None = None) -> Path:
    """Write the page of a run and, beside it, ``comparison.csv`` and ``.md``, ``metrics.csv`` and ``.json``.

    Where genomes were rebuilt, ``rebuilt_genes.csv`` tells how each gene follows the true one. The same run gives the
    same bytes.

    Args:
        folder: a run folder.
        output: the page; ``report.html`` in the run folder by default.
        reference: slug of the method that the others are compared with; the first by default.

    Returns:
        Where the page stands.

    Raises:
        DataError: this is no run folder, or a file of it is broken.
        ConfigError: no method has the reference's slug.
    """
    jury = Jury(read_run(folder))
    comparison = compare(jury, reference=reference)
    differences, accuracy = judge_differences(jury, comparison), measure(jury)
    genes = [(method, judged) for method in jury.run.methods if (judged := judge_genes(folder, method))]
    page = output or folder / "report.html"
    write_comparison(comparison, page.parent, _noise(differences, comparison))
    write_metrics(comparison, differences, accuracy, page.parent)
    write_genes(genes, page.parent, stamp=jury.run.stamp)
    searched = read_searched(folder, jury.run)
    write_text(page, _render(jury, comparison, differences, accuracy, genes, searched=searched))
    return page


def _render(
    jury: Jury,
    comparison: Sequence[Comparison],
    differences: Sequence[Difference],
    accuracy: Accuracy,
    genes: Sequence[tuple[Method, GeneByGene]],
    *,
    searched: Sequence[Searched],
) -> str:
    return render(
        "page.html.j2",
        **_about(jury.run)
        | _evidence(jury, comparison, differences, accuracy)
        | _genome(jury, comparison, genes)
        | _taught(jury.run, searched),
    )


def _noise(differences: Sequence[Difference], comparison: Sequence[Comparison]) -> list[str]:
    """What stands below the table as text; the page has the second part as a table."""
    reference = comparison[0].reference
    return [*verdict(differences, reference), *by_folds(differences, reference)]


def _about(run: Run) -> dict[str, Any]:
    """What was run, and on whom."""
    return {
        "run": run,
        "mark": run.stamp,
        "again": any(len(first) < len(who) for first, who in (method.people() for method in run.methods)),
        "protocol": PROTOCOLS[run.protocol],
        "facts": sorted(run.cohort.items(), key=lambda fact: FACTS.index(fact[0]) if fact[0] in FACTS else len(FACTS)),
    }


def _evidence(
    jury: Jury, comparison: Sequence[Comparison], differences: Sequence[Difference], accuracy: Accuracy
) -> dict[str, Any]:
    """How well each method predicts, and how sure that is."""
    return {
        "jury": jury,
        "comparison": comparison,
        "notes": [f"{row.label}: {note}." for row in comparison for note in row.notes],
        "differences": differences,
        "verdict": verdict(differences, comparison[0].reference),
        "accuracy": accuracy,
        "forest": forest(accuracy),
        "headline": headline(comparison),
        "overview": overview(comparison),
        "pictures": _pictures(jury.run),
        "optimism": judge_optimism(jury.run),
    }


def _genome(jury: Jury, comparison: Sequence[Comparison], genes: Sequence[tuple[Method, GeneByGene]]) -> dict[str, Any]:
    """What the rebuilt genomes are like, and whether they are used."""
    run = jury.run
    return {
        "reconstructions": [(method, judged) for method in run.methods if (judged := judge(method, run.folds))],
        "gene_head": HEAD,
        "genes": show_genes(run, genes),
        "ablations": [
            (row, ablation, used(ablation.lost))
            for row, method in zip(comparison, run.methods, strict=True)
            for ablation in ablate(jury, method)
        ],
        "truths": [(method, truth := find(run, method), found(truth)) for method in run.methods],
    }


def _taught(run: Run, searched: Sequence[Searched]) -> dict[str, Any]:
    """How training and search went."""
    return {
        "diagnostics": [row for method in run.methods for row in _diagnostics(method)],
        "training": [_training(method) for method in run.methods],
        "searched": searched,
        "budget": budget(searched),
        "finished": sum(len(method.results) for method in run.methods),
        "trainings": len(run.methods) * len(run.seeds) * run.folds,
    }


def _pictures(run: Run) -> dict[str, list[Picture]]:
    """Every kind of curve, one picture a method; names are numbers because slugs may not be ids."""
    kinds: dict[str, Callable[[Run, Method, str], Picture]] = {
        "survival": risk_groups,
        "folds": fold_by_fold,
        "calibration": calibrated,
        "learning": learning,
    }
    if run.planted:
        kinds["planted"] = picture
    return {
        kind: [draw(run, method, f"{kind}{number}") for number, method in enumerate(run.methods)]
        for kind, draw in kinds.items()
    }


def _diagnostics(method: Method) -> list[dict[str, Any]]:
    """Mean, least and greatest of every diagnostic over all finished folds."""
    measured: dict[str, list[Any]] = {}
    for result in method.results.values():
        entropy = {name: result.reconstruction[name] for name in ("entropy",) if name in result.reconstruction}
        for name, values in {**result.diagnostics, **entropy, "gradient_ratio": [result.gradient_ratio]}.items():
            measured.setdefault(name, []).append(values)
    measured.pop("patient_id", None)
    rows = []
    for name, parts in measured.items():
        values = np.concatenate(parts)
        values = values[np.isfinite(values)]
        if len(values):
            facts = {"mean": values.mean(), "least": values.min(), "greatest": values.max()}
            rows.append({"label": method.label, "name": name, "meaning": MEANINGS.get(name, "—"), **facts})
    return rows


def _training(method: Method) -> Mapping[str, Any]:
    results = list(method.results.values())
    if not results:
        return {"method": method, "seconds": None, "epochs": "—", "finished": 0}
    epochs = sorted({result.epoch for result in results})
    span = str(epochs[0]) if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]}"
    seconds = sum(result.seconds for result in results)
    return {"method": method, "seconds": seconds, "epochs": span, "finished": len(results)}
