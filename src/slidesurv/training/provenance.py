"""Where a run comes from: the code that made it and the data that it read, as hashes. No path, no name of anybody."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING

from slidesurv import __version__
from slidesurv.files import read_json, sha256

if TYPE_CHECKING:
    from slidesurv.cohorts.study import Study

__all__ = ["code_version", "hashes"]

HOUSE = Path(__file__).parents[1]
RELEASED, UNKNOWN = "released", "unknown"


@cache
def code_version() -> dict[str, str]:
    """The package as it stood when this process first asked.

    Returns:
        Its ``version``; the ``commit`` of its working tree, "released" where it stands in none, "unknown" where git
        does not tell; and the ``sha256`` of its source, which sees changes that are in no commit.
    """
    sources = sorted(HOUSE.rglob("*.py"))
    names = "\n".join(str(path.relative_to(HOUSE)) for path in sources)
    return {"version": __version__, "commit": _commit(HOUSE.parents[1]), "sha256": sha256(names.encode(), *sources)}


def _commit(tree: Path) -> str:
    """The commit of a working tree, with "-dirty" where files differ from it."""
    if not (tree / ".git").exists():
        return RELEASED
    git = which("git")
    if git is None:
        return UNKNOWN
    ask = [git, "--no-optional-locks", "-C", str(tree), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        told = subprocess.run(ask, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN
    return told.stdout.strip()


def hashes(study: Study, folder: Path) -> dict[str, str | None]:
    """What two runs must share to be compared fairly.

    Args:
        study: of the run.
        folder: of the run; its splits are written.

    Returns:
        Of the ``splits``; of the ``features``, None where none are read; and of the ``tables``: patients with their
        follow-up, and genomics.
    """
    data, cohort = study.dataset, study.dataset.cohort
    tables = [table for table in (data.expression, data.embeddings, data.counts) if table is not None]
    words = repr((cohort.patients, [(table.ids, table.genes) for table in tables], study.groups))
    return {
        "splits": read_json(folder / "splits.json")["sha256"],
        "features": data.store.fingerprint(cohort.slides) if data.store else None,
        "tables": sha256(words.encode(), *(table.values.tobytes() for table in tables)),
    }
