"""Which slides: those of a folder, or of the rows of a table, each under a name that is safe to write files by.

Two slides that would share a name are refused before any work. A place is always inside the folder of slides, and is
kept relative to it, so that what is written down names no folder of this machine.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from slidesurv.errors import DataError, listing
from slidesurv.files import check_id, inside, is_number, read_csv, write_csv
from slidesurv.slides.faults import ReadError
from slidesurv.slides.inspection import UNFINISHED

__all__ = ["LOCK", "SlideFile", "Sources", "find_slides", "read_lock", "slides_of", "write_lock"]

LOCK = "manifest.lock.csv"
PICTURES = (".png", ".jpg", ".jpeg")
SUFFIXES = (".svs", ".tif", ".tiff", ".ndpi", ".scn", ".mrxs", ".vms", ".vmu", ".svslide", ".bif", ".czi", *PICTURES)
MANY_FILES = (".vms", ".vmu")  # slides that are made of JPEGs beside them
DICOM = ".dcm"  # a slide is any number of them: only a manifest can say which
IDS = ("slide_id", "SLIDE", "slide")
PLACES = ("slide_path", "wsi", "FILENAME")
MISSING = ("", "na", "nan", "n/a", "none", "null")


@dataclass(frozen=True, slots=True)
class SlideFile:
    """One slide.

    Attributes:
        slide: its id.
        place: of its file in the folder of slides; "" where no file was found.
        mpp: µm per pixel as the manifest says.
        row: of the manifest, the header is row 1; 0 for a slide of a folder.
    """

    slide: str
    place: str
    mpp: float | None = None
    row: int = 0

    @property
    def known_as(self) -> str:
        """What messages call it."""
        return f"{self.slide} (row {self.row})" if self.row else self.place

    def path(self, root: Path) -> Path:
        """Where its file is.

        Raises:
            ReadError: there is no file, or it is a link that leads out of the folder of slides.
        """
        if not self.place:
            raise ReadError(
                f"Slide '{self.slide}' has no file in the folder of slides. Name it in the column 'slide_path', or "
                "give --slides-root."
            )
        try:
            return inside(root, self.place)
        except (DataError, OSError, RuntimeError) as error:  # RuntimeError: links that run in a circle
            raise ReadError(
                f"'{self.place}' leads out of the folder of slides. Put the file itself there, or give --slides-root."
            ) from error


@dataclass(frozen=True, slots=True)
class Sources:
    """What is to be worked on.

    Attributes:
        root: the folder of slides.
        slides: in the order of the manifest, or of their places.
        left_out: places of unfinished downloads, and of DICOM files that no manifest names.
    """

    root: Path
    slides: tuple[SlideFile, ...]
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _refuse_clash(self.slides)


def find_slides(root: Path) -> Sources:
    """List the slides of a folder and of the folders in it; hidden ones and those of our own jobs are passed over.

    Raises:
        DataError: there is no slide, a name is not safe, or two slides would share one.
    """
    everything = sorted(path.relative_to(root) for path in root.rglob("*"))
    jobs = {path.parent for path in everything if path.name == LOCK}
    files = [
        path
        for path in everything
        if jobs.isdisjoint(path.parents) and not any(part.startswith(".") for part in path.parts)
    ]
    many = {path.parent for path in files if path.suffix.lower() in MANY_FILES}
    slides = [
        SlideFile(check_id(_stem(path.name), what="slide id"), path.as_posix())
        for path in files
        if path.suffix.lower() in SUFFIXES and not (path.suffix.lower() in PICTURES and path.parent in many)
    ]
    left_out = [path.as_posix() for path in files if path.suffix.lower() in (*UNFINISHED, DICOM)]
    if not slides:
        raise DataError(
            f"'{root}' holds no slides ({listing(SUFFIXES, most=20)}). Name the folder that does, or a manifest; DICOM "
            "slides are named in a manifest, one file each."
        )
    return Sources(root, tuple(slides), tuple(left_out))


def _stem(name: str) -> str:
    """A file's name without one known suffix."""
    suffix = next((suffix for suffix in (*SUFFIXES, DICOM) if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)]


def slides_of(rows: Sequence[Mapping[str, str]], root: Path) -> Sources:
    """Take the slides out of a table.

    Args:
        rows: with ``slide_id``, ``slide_path`` (relative to the root) or both, and ``mpp`` if it is known; the names
            of other tools are understood. Rows without a slide are passed over, and so are other columns.
        root: the folder of slides.

    Raises:
        DataError: names the row whose cell cannot be used, or both rows of two slides that would share a name.
    """
    header = list(rows[0]) if rows else []
    name, place = (next((column for column in known if column in header), None) for known in (IDS, PLACES))
    if name is None and place is None:
        raise DataError(
            f"No column names the slides; the manifest has {listing(header, most=12) or 'no rows'}. Call one "
            "'slide_id' or 'slide_path'."
        )
    slides = [
        SlideFile(
            slide=check_id(
                _stem((row[name] if name else PurePath(row[place or ""]).name).strip()), what="slide id", row=k
            ),
            place=_place(row[place].strip(), root, k) if place else "",
            mpp=_mpp(row.get("mpp", ""), k),
            row=k,
        )
        for k, row in enumerate(rows, start=2)
        if row[name or place or ""].strip()
    ]
    return Sources(root, tuple(slides if place else _found(slides, root)))


def _place(cell: str, root: Path, row: int) -> str:
    path = PurePath(cell)
    if path.is_absolute() and path.is_relative_to(root.absolute()):
        path = path.relative_to(root.absolute())
    if path.is_absolute() or ".." in path.parts or not cell.isprintable():
        raise DataError(
            f"Row {row}: the slide's path is {cell!r}, which leads out of '{root}'. Write paths relative to the folder "
            "of slides, which --slides-root names."
        )
    return path.as_posix() if cell else ""


def _mpp(cell: str, row: int) -> float | None:
    word = cell.strip()
    if word.casefold() in MISSING:
        return None
    if not is_number(word):
        raise DataError(f"Row {row}: 'mpp' is {cell!r}, which is no number. Write µm per pixel with a point.")
    return float(word)


def _found(slides: Iterable[SlideFile], root: Path) -> list[SlideFile]:
    """The same slides with the places of the files that bear their names."""
    by_name = {found.slide: found.place for found in find_slides(root).slides}
    return [SlideFile(each.slide, by_name.get(each.slide, ""), each.mpp, each.row) for each in slides]


def _refuse_clash(slides: Iterable[SlideFile]) -> None:
    """Refuse slides whose files would overwrite each other, on file systems without cases too."""
    by: tuple[tuple[str, Callable[[SlideFile], str]], ...] = (
        ("have one name but for case", lambda each: each.slide.casefold()),
        ("are one file", lambda each: each.place),
    )
    for what, key in by:
        groups = defaultdict(list)
        for each in slides:
            groups[key(each)].append(each.known_as)
        clashes = [" and ".join(group[:2]) for name, group in groups.items() if name and len(group) > 1]
        if clashes:
            raise DataError(f"{len(clashes)} pairs of slides {what}: {listing(clashes)}. Rename or remove one of each.")


def write_lock(path: Path, sources: Sources) -> None:
    """Write down what is worked on, without folders of this machine."""
    rows = [
        {"slide_id": each.slide, "slide_path": _unambiguous(each.place), "mpp": each.mpp} for each in sources.slides
    ]
    write_csv(path, rows, ("slide_id", "slide_path", "mpp"))


def _unambiguous(place: str) -> str:
    """The place, spelt so that no spreadsheet takes it for a formula."""
    return f"./{place}" if place and not place[0].isalnum() else place


def read_lock(path: Path, root: Path) -> Sources:
    """Read what `write_lock` wrote."""
    return slides_of(read_csv(path), root)
