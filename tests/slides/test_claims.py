"""A claim has one owner: the first who asks, until it is given back or its owner is gone."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from slidesurv.errors import DataError
from slidesurv.slides.claims import Claims

ELSEWHERE = json.dumps({"machine": "another one", "process": 1, "began": "1"})
HOLD = """
import os, sys
from pathlib import Path
from slidesurv.slides.claims import Claims
with Claims(Path(sys.argv[1])) as claims:
    print(claims.take("s").generation, flush=True)
    sys.stdin.read()
    os._exit(1)
"""
linux = pytest.mark.skipif(not Path("/proc/self/ns/pid").exists(), reason="only Linux tells whether a process is gone")


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "claims"


def holding(folder: Path) -> subprocess.Popen:
    """A process that has claimed "s"; it is gone, without a word, when its input ends."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    return process


def vanish(process: subprocess.Popen) -> None:
    process.stdin.close()
    process.wait()
    process.stdout.close()


def test_who_asks_first_has_it_until_it_is_given_back(folder):
    with Claims(folder) as one, Claims(folder) as other:
        claim = one.take("s")
        assert other.take("s") is None and one.take("s") is None
        assert other.take("s2") is not None
        one.release(claim)
        assert other.take("s").generation == 1


def test_of_many_who_ask_at_once_one_has_it(folder):
    folder.mkdir()
    (folder / "s.1").write_text(ELSEWHERE)
    crowd = [Claims(folder, lease=0.0) for _ in range(16)]
    for claims in crowd:
        claims.take("s")  # everybody notes that the owner did not touch it
    time.sleep(0.01)
    with ThreadPoolExecutor(16) as pool:
        got = [claim for claim in pool.map(lambda claims: claims.take("s"), crowd) if claim]
    # With a lease of 0 the new owner may be thought gone at once, but no generation has two owners.
    assert len({claim.generation for claim in got}) == len(got) >= 1


def test_names_that_begin_alike_are_apart(folder):
    with Claims(folder) as claims:
        assert all(claims.take(name).generation == 1 for name in ("a.1", "a", "a.1.1", "a.b"))


def test_everything_is_given_back_at_the_end(folder):
    with Claims(folder) as claims:
        claims.take("a")
        claims.take("b")
    assert not list(folder.iterdir())


@linux
def test_what_a_process_of_this_machine_left_is_taken_over_at_once(folder):
    process = holding(folder)
    with Claims(folder) as claims:
        assert claims.take("s") is None
        vanish(process)
        assert claims.take("s", over=False) is None
        claim = claims.take("s")
        assert claim.generation == 2
        claims.release(claim)
        assert not list(folder.iterdir())


def test_what_another_machine_does_not_touch_for_a_lease_is_taken_over(folder, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("slidesurv.slides.claims.time.monotonic", lambda: now[0])
    folder.mkdir()
    (folder / "s.1").write_text(ELSEWHERE)
    os.utime(folder / "s.1", (0, 0))  # its clock is fifty years late, which says nothing
    with Claims(folder, lease=60) as claims:
        assert claims.take("s") is None
        now[0] += 50
        os.utime(folder / "s.1", (1, 1))  # it is alive
        assert claims.take("s") is None
        now[0] += 50
        assert claims.take("s") is None
        now[0] += 20
        assert claims.take("s", over=False) is None
        assert claims.take("s").generation == 2


def test_an_owner_touches_what_it_has(folder):
    with Claims(folder, lease=0.2) as owner:
        owner.take("s")
        (claim,) = folder.iterdir()
        os.utime(claim, (0, 0))
        for _ in range(200):
            if claim.stat().st_mtime > 0:
                return
            time.sleep(0.05)
    raise AssertionError("nobody touched the claim")


@pytest.mark.parametrize("text", ["", '{"machine": "this', "[]", "{}"])
def test_a_claim_that_is_half_written_is_respected(folder, text):
    folder.mkdir()
    (folder / "s.1").write_text(text)
    with Claims(folder) as claims:
        assert claims.take("s") is None


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(DataError, match=r"Cannot write '.*file/claims': Not a directory"),
        Claims(tmp_path / "file/claims"),
    ):
        pass
