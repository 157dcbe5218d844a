"""What a run folder holds."""

from pathlib import Path


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a run but the times it took, by its place in the run."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "timing.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
