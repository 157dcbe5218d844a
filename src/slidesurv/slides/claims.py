"""Who works on what, where several processes or machines share a folder.

::

    with Claims(folder) as claims:
        if claim := claims.take("slide-1"):
            ...                             # nobody else has it; it is renewed while this block runs
            claims.release(claim)

A claim is a file that only one process can make (``O_CREAT | O_EXCL``, which holds on network file systems too). Its
owner touches it while it works. A claim whose owner is gone is taken over by making the file of the next generation
beside it, which again only one can. Owners of this machine are looked up; of others it is known that they are gone when
a claim was not touched for a lease, by the clock of who waits: clocks of two machines are never compared.

An owner that was asleep for longer than a lease may find its work done twice. Files are replaced whole, and are the
same from whoever writes them, so this costs time and nothing else.
"""

import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Self, final

from slidesurv.errors import DataError

__all__ = ["Claim", "Claims"]

LEASE = 120.0  # seconds; network file systems may show a touch up to a minute late
RENEWALS = 4  # in a lease
GONE = "ZX"  # states of a process that has ended


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on something.

    Attributes:
        name: what it is on.
        generation: 1, and one more for every owner that was gone.
    """

    name: str
    generation: int


@final
class Claims:
    """The claims in a folder.

    Args:
        folder: shared by all who work; made if it is not there.
        lease: seconds after which a claim that nobody touches is free.
    """

    def __init__(self, folder: Path, *, lease: float = LEASE) -> None:
        self._folder = folder
        self._lease = lease
        self._held: set[Claim] = set()
        self._seen: dict[Path, tuple[int, float]] = {}  # when each was last touched, and when that was noticed
        self._stop = Event()
        self._renewer = Thread(target=self._renew, daemon=True)

    def __enter__(self) -> Self:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(_refused(self._folder, error)) from error
        self._renewer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._renewer.join()
        for claim in set(self._held):
            self.release(claim)

    def take(self, name: str, *, over: bool = True) -> Claim | None:
        """Claim something.

        Args:
            name: an id, safe as the name of a file.
            over: take over what an owner that is gone has left.

        Returns:
            None when somebody else has it.

        Raises:
            DataError: the folder cannot be written to.
        """
        last = max(self._generations(name), default=0)
        if last and not (over and self._is_abandoned(self._path(name, last))):
            return None
        claim = Claim(name, last + 1)
        if not self._create(claim):
            return None
        self._held.add(claim)
        return claim

    def release(self, claim: Claim) -> None:
        """Give a claim back, and what owners that are gone left of it."""
        self._held.discard(claim)
        for generation in range(1, claim.generation + 1):
            with suppress(OSError):
                self._path(claim.name, generation).unlink(missing_ok=True)

    def _path(self, name: str, generation: int) -> Path:
        return self._folder / f"{name}.{generation}"

    def _generations(self, name: str) -> list[int]:
        endings = [path.name.removeprefix(f"{name}.") for path in self._folder.glob(f"{name}.*")]
        return [int(ending) for ending in endings if ending.isdecimal()]

    def _create(self, claim: Claim) -> bool:
        path = self._path(claim.name, claim.generation)
        try:
            with path.open("x", encoding="utf-8") as file:  # O_CREAT | O_EXCL
                json.dump(_owner(os.getpid()), file)
        except FileExistsError:
            return False
        except OSError as error:
            raise DataError(_refused(path, error)) from error
        return True

    def _is_abandoned(self, path: Path) -> bool:
        try:
            with path.open(encoding="utf-8") as file:
                touched, text = os.fstat(file.fileno()).st_mtime_ns, file.read()
        except OSError:  # given back this moment
            return False
        if _is_gone(text):
            return True
        before, since = self._seen.setdefault(path, (touched, time.monotonic()))
        if touched != before:
            self._seen[path] = touched, time.monotonic()
            return False
        return time.monotonic() - since > self._lease

    def _renew(self) -> None:
        while not self._stop.wait(self._lease / RENEWALS):
            for claim in set(self._held):
                with suppress(OSError):
                    os.utime(self._path(claim.name, claim.generation))


def _owner(process: int) -> dict[str, str | int]:
    """Who a process is: its machine since it was started, and itself since it began."""
    return {"machine": _machine(), "process": process, "began": _began(process)}


def _machine() -> str:
    """This machine's name; the boot and the space of process numbers tell containers of one name apart."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    space = Path("/proc/self/ns/pid")
    if not boot.exists() or not space.exists():
        return ""
    return f"{socket.gethostname()} {boot.read_text().strip()} {space.readlink()}"


def _began(process: int) -> str:
    """When a process began, in the kernel's own count; "" if there is none, or the system does not tell."""
    try:
        state, *fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in GONE else fields[18]  # man 5 proc, field 22


def _is_gone(text: str) -> bool:
    """Whether an owner is known to be gone; of other machines that is not known."""
    try:
        said = json.loads(text)
        machine, process, began = said["machine"], int(said["process"]), said["began"]
    except (ValueError, KeyError, TypeError):  # still being written
        return False
    return bool(machine) and machine == _machine() and _began(process) != began


def _refused(path: Path, error: OSError) -> str:
    return f"Cannot write '{path}': {error.strerror or error}. Make room or choose another folder, then run it again."
