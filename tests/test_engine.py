"""Tasks: done once, in any number of processes, with the same results; failures counted and named."""

import operator
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import work
from slidesurv.engine import Task, run
from slidesurv.errors import ConfigError, DataError


def tasks(folder, seeds=range(4)):
    return [Task(f"draw {seed}", work.draw, (seed, folder / f"{seed}.txt"), folder / f"{seed}.txt") for seed in seeds]


def test_one_worker_and_two_write_the_same(tmp_path):
    results = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        folder.mkdir()
        outcomes = run(tasks(folder), workers=workers)
        assert [outcome.name for outcome in outcomes] == [f"draw {seed}" for seed in range(4)]
        results.append([(folder / f"{seed}.txt").read_text() for seed in range(4)])
    assert results[0] == results[1]
    assert len(set(results[0])) == 4


def test_what_is_done_is_not_done_again(tmp_path):
    run(tasks(tmp_path, [0]))
    (tmp_path / "0.txt").write_text("kept")
    outcomes = run(tasks(tmp_path, [0, 1]))
    assert [outcome.status for outcome in outcomes] == ["skipped", "done"]
    assert (tmp_path / "0.txt").read_text() == "kept"


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_ours_fails_its_task_and_no_other(tmp_path, workers):
    bad = Task("torn", work.refuse, (tmp_path / "x",), tmp_path / "x")
    seen = []
    outcomes = run([bad, *tasks(tmp_path, [0])], workers=workers, report=seen.append)
    assert [(o.status, o.reason) for o in outcomes] == [("failed", "the slide is torn"), ("done", "")]
    assert {outcome.name for outcome in seen} == {"torn", "draw 0"}


def test_a_bug_is_not_swallowed(tmp_path):
    with pytest.raises(ZeroDivisionError):
        run([Task("bug", work.blunder, (tmp_path / "x",), tmp_path / "x")])


def test_a_bug_in_a_worker_is_told_before_the_tasks_that_wait_have_run(tmp_path):
    bug = Task("bug", operator.truediv, (1, 0), tmp_path / "bug")
    slow = [tmp_path / str(number) for number in range(20)]
    waiting = [Task(p.name, subprocess.run, (["sh", "-c", f"sleep 0.2; touch '{p}'"],), p) for p in slow]
    with pytest.raises(ZeroDivisionError):
        run([bug, *waiting], workers=2)
    assert sum(path.exists() for path in slow) < 15


def test_a_killed_worker_is_an_error_that_says_how_to_go_on(tmp_path):
    killed = Task("killed", signal.raise_signal, (signal.SIGKILL,), tmp_path / "x")
    with pytest.raises(DataError, match=r"One of 2 workers was killed.* memory .*fewer --workers"):
        run([killed, *tasks(tmp_path)], workers=2)


def test_a_task_without_its_output_has_failed(tmp_path):
    (outcome,) = run([Task("idle", work.forget, (tmp_path / "x",), tmp_path / "x")])
    assert (outcome.status, "without its output" in outcome.reason) == ("failed", True)


def test_tasks_that_would_overwrite_each_other_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="share a name: 'draw 0'"):
        run([*tasks(tmp_path, [0]), *tasks(tmp_path, [0])])


def test_no_workers_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="0 workers"):
        run(tasks(tmp_path), workers=0)


def test_a_killed_run_leaves_no_worker_behind(tmp_path):
    program = (
        "import pathlib, work; from slidesurv.engine import Task, run\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "places = [folder / str(k) for k in (0, 1)]\n"
        "if __name__ == '__main__': run([Task(str(p), work.linger, (p,), p) for p in places], workers=2)"
    )
    (tmp_path / "main.py").write_text(program)
    environment = {**os.environ, "PYTHONPATH": str(Path(work.__file__).parent)}
    process = subprocess.Popen([sys.executable, str(tmp_path / "main.py")], env=environment)
    while len(pids := [path.read_text() for path in tmp_path.glob("*.pid")]) < 2 or not all(pids):
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while any(_runs(int(pid)) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
