"""What the numbers of a run say, in sentences."""

import re
from collections.abc import Sequence

from slidesurv.report.estimate import DASH, Estimate
from slidesurv.report.table import Comparison

__all__ = ["MEANINGS", "found", "headline", "used", "without_folders"]

MEANINGS = {
    "prompts": "tiles chosen from a bag",
    "clusters_full": "clusters with at least their quota of tiles; few = the mixture collapsed, or the bag is small",
    "share_filled": "share of the chosen tiles that no rule chose; near 1 = the choice is random",
    "share_tied": "share of tiles with exactly the score of another of their cluster; near 1 = the order means nothing",
    "entropy": "nats, of the genomic embedding as a density; near the log of its width = it is flat",
    "gradient_ratio": "pull of the model's own losses on the weights, as a share of the likelihood's; far below 1 = "
    "they teach next to nothing, far above 1 = survival does",
}
ROOT = r"(?:[A-Za-z]:|~(?:[A-Za-z_][\w.-]*)?|\.\.)?"  # of a drive, of a home, or above the working directory
FOLDER = re.compile(
    rf"""(?<=['"]){ROOT}[\\/][^'"]*[\\/](?=[^'"\\/]+['"])"""  # quoted: it may hold spaces
    rf"""|(?<!:/)(?<![\w.…<])(?!//){ROOT}[\\/](?:[^\s'"\\/]+[\\/])*(?=[^\s'"\\/])"""
)


def headline(comparison: Sequence[Comparison], *, most: int = 4) -> list[str]:
    """Say how well the reference does, and whether the others differ by more than noise.

    Args:
        comparison: of one run.
        most: methods to name; the table has them all.
    """
    first = next(row for row in comparison if row.is_reference)
    others = [row for row in comparison if row is not first]
    told = [_level(first), *(_gap(row) for row in others[:most])]
    return [*told, f"{len(others) - most} more stand in the table."] if len(others) > most else told


def _level(row: Comparison) -> str:
    if str(row.pooled) == DASH:
        return f"{row.label} has no C-index: {row.pooled.note}."
    chance = "excludes" if row.pooled.excludes(0.5) else "includes"
    share = f"{row.pooled.text(digits=2)} of the comparable patient pairs correctly"
    return f"{row.label} ranks {share}; the 95 % interval {chance} chance (0.5).{_mark(row)}"


def _gap(row: Comparison) -> str:
    if str(row.difference) == DASH:
        return f"{row.label} cannot be compared: {row.difference.note}."
    verdict = "excludes zero" if row.difference.excludes(0) else "includes zero: this may be noise"
    gap = row.difference.text(signed=True, digits=2)
    return f"The difference of {row.label} to {row.reference} is {gap}; its 95 % interval {verdict}.{_mark(row)}"


def _mark(row: Comparison) -> str:
    return f" {row.stamp}." if row.stamp else ""


def found(truth: Estimate) -> str:
    """Say whether a planted programme was found, from its correlation with the risk."""
    if truth.note:
        return f"not known: {truth.note}"
    return "found" if truth.low > 0 else "not found: the interval is not above 0"


def used(lost: Estimate) -> str:
    """Say whether a method uses its reconstruction, from the C-index that is lost without it."""
    if lost.note:
        return f"not known: {lost.note}"
    if lost.low > 0:
        return "used: without it patients are ordered worse"
    return "not shown to be used: the interval is not above 0"


def without_folders(text: object) -> str:
    """Cut paths that begin at a root, at a home or above down to their last name: a page says nothing about a disk."""
    return FOLDER.sub("…/", str(text))
