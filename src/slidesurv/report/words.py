"""What the numbers of a run say, in sentences."""

import re
from collections.abc import Mapping, Sequence

from slidesurv.report.estimate import DASH, Estimate
from slidesurv.report.run import Run
from slidesurv.report.table import Score

__all__ = ["MEANINGS", "audit_verdict", "found", "headline", "without_folders"]

MEANINGS = {
    "prompts": "tiles chosen from a bag",
    "clusters_full": "clusters with at least their quota of tiles; few = the mixture collapsed, or the bag is small",
    "share_filled": "share of the chosen tiles that no rule chose; near 1 = the choice is random",
    "share_tied": "share of tiles with exactly the score of another of their cluster; near 1 = the order means nothing",
}
FOLDER = re.compile(
    r"""(?<=['"])(?:[A-Za-z]:)?[\\/][^'"]*[\\/](?=[^'"\\/]+['"])"""  # quoted: it may hold spaces
    r"""|(?<!:/)(?<![\w.…<])(?!//)(?:[A-Za-z]:)?[\\/](?:[^\s'"\\/]+[\\/])*(?=[^\s'"\\/])"""
)


def headline(scores: Sequence[Score], *, most: int = 4) -> list[str]:
    """Say how well the reference does, and whether the others differ by more than noise.

    Args:
        scores: of one run.
        most: methods to name; the table has them all.
    """
    first = next(row for row in scores if row.is_reference)
    others = [row for row in scores if row is not first]
    told = [_level(first), *(_gap(row) for row in others[:most])]
    return [*told, f"{len(others) - most} more stand in the table."] if len(others) > most else told


def _level(row: Score) -> str:
    if str(row.pooled) == DASH:
        return f"{row.label} has no C-index: {row.pooled.note}."
    chance = "excludes" if row.pooled.excludes(0.5) else "includes"
    share = f"{row.pooled.text(digits=2)} of the comparable patient pairs correctly"
    return f"{row.label} ranks {share}; the 95 % interval {chance} chance (0.5).{_mark(row)}"


def _gap(row: Score) -> str:
    if str(row.difference) == DASH:
        return f"{row.label} cannot be compared: {row.difference.note}."
    verdict = "excludes zero" if row.difference.excludes(0) else "includes zero: this may be noise"
    gap = row.difference.text(signed=True, digits=2)
    return f"The difference of {row.label} to {row.reference} is {gap}; its 95 % interval {verdict}.{_mark(row)}"


def _mark(row: Score) -> str:
    return f" {row.stamp}." if row.stamp else ""


def found(truth: Estimate) -> str:
    """Say whether a planted programme was found, from its correlation with the risk."""
    if truth.note:
        return f"not known: {truth.note}"
    return "found" if truth.low > 0 else "not found: the interval is not above 0"


def audit_verdict(run: Run, *, few: int = 10) -> list[str]:
    """Say what a reader must know about the folds before believing a number.

    Args:
        run: with the rows of its audit.
        few: deaths in a test fold below which its own C-index says little.
    """
    rows = [row for row in run.audit if row.get("part") == "test"]
    if not rows:
        return ["The run holds no audit of its folds."]
    return [_deaths(rows, few), _sites(rows)]


def _deaths(rows: Sequence[Mapping[str, str]], few: int) -> str:
    if silent := [row["fold"] for row in rows if float(row["events"]) == 0]:
        return f"No test patient died in fold {', '.join(silent)}: without a C-index of its own, and left out of means."
    fewest = min(rows, key=lambda row: float(row["events"]))
    deaths = int(float(fewest["events"]))
    warning = ": a C-index of so few says little by itself" if deaths < few else ""
    return f"The fewest deaths in a test fold are {deaths}, in fold {fewest['fold']}{warning}."


def _sites(rows: Sequence[Mapping[str, str]]) -> str:
    shares = [float(row["shared_share"]) for row in rows if row.get("shared_share")]
    if not shares:
        return "The sites are not known, so that nothing can be said about a model that recognises the laboratory."
    if max(shares) == 0:
        return "No test patient comes from a site that also teaches: the folds preserve sites."
    low, high = (f"{100 * share:.0f}" for share in (min(shares), max(shares)))
    span = high if low == high else f"{low} to {high}"
    return f"{span} % of a fold's test patients come from sites that also teach: part of any C-index may be the site."


def without_folders(text: object) -> str:
    """Cut absolute paths down to their last name: a page that is passed on says nothing about a disk."""
    return FOLDER.sub("…/", str(text))
