"""Following a training: whole lines, the same bytes however it was run, and a tracker that may fail."""

import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from slidesurv.config.read import read_experiment
from slidesurv.errors import MissingExtra
from slidesurv.files import read_csv
from slidesurv.report.read import read_run
from slidesurv.training import tracking
from slidesurv.training.crossval import plan, run_fold, run_jobs
from slidesurv.training.trackers.base import Place
from slidesurv.training.tracking import Follower, given_up

HISTORY = [{"epoch": e, "train_loss": 2 / e, "tune_c_index": 0.6 if e > 1 else float("nan")} for e in (1, 2, 3)]


class Notebook:
    """A tracker that writes down what it is told, and whose disk is full after so many epochs."""

    faults: ClassVar = (OSError,)
    notes: ClassVar[list] = []
    room: ClassVar[int] = 99

    def __init__(self, place: Place) -> None:
        self.notes.append(("open", place.name))

    @staticmethod
    def begin(run: Path, experiment: str) -> None:
        Notebook.notes.append(("begin", experiment))

    def epoch(self, number: int, values: Mapping[str, float]) -> None:
        if number > self.room:
            raise OSError(28, "No space left on device")
        self.notes.append((number, dict(values)))

    def close(self, *, finished: bool) -> None:
        self.notes.append(("close", finished))


@pytest.fixture
def notebook(monkeypatch):
    monkeypatch.setattr(Notebook, "notes", [])
    monkeypatch.setattr(tracking, "_tracker", lambda name: Notebook if name == "tensorboard" else tracking.Nobody)
    return Notebook


def place(run: Path, stamp: str = "") -> Place:
    return Place(run, "made", "snn", 1, 0, stamp)


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def test_a_line_an_epoch_says_whose_it_is_and_what_is_unknown_is_null(tmp_path):
    with Follower(place(tmp_path), "none") as follower:
        follower.tell(HISTORY[:1])
        assert len(lines(place(tmp_path).folder)) == 1
        follower.tell(HISTORY)
    told = lines(place(tmp_path).folder)
    about = {"method": "snn", "seed": 1, "fold": 0}
    assert told[0] == {**about, "epoch": 1, "train_loss": 2.0, "tune_c_index": None}
    assert told[2] == {**about, "epoch": 3, "train_loss": 2 / 3, "tune_c_index": 0.6}


def test_a_tracker_is_told_every_epoch_once_and_how_long_those_took_that_were_just_learnt(tmp_path, notebook):
    with Follower(place(tmp_path), "tensorboard") as follower:
        follower.tell(HISTORY[:2])  # gone on from a checkpoint of one epoch
        follower.tell(HISTORY)
        follower.tell(HISTORY)
    assert notebook.notes[0] == ("open", "snn/seed1/fold0")
    assert [note[0] for note in notebook.notes[1:]] == [1, 2, 3, "close"]
    assert "seconds" not in notebook.notes[1][1]
    assert all(note[1]["seconds"] >= 0 for note in notebook.notes[2:4])
    assert "epoch" not in notebook.notes[1][1]
    assert notebook.notes[-1] == ("close", True)


def test_a_training_that_fails_closes_its_tracker_as_not_finished(tmp_path, notebook):
    with pytest.raises(KeyboardInterrupt), Follower(place(tmp_path), "tensorboard") as follower:
        follower.tell(HISTORY[:1])
        raise KeyboardInterrupt
    assert notebook.notes[-1] == ("close", False)


def test_a_tracker_that_fails_is_given_up_and_named_and_every_line_is_written(tmp_path, notebook, monkeypatch, caplog):
    monkeypatch.setattr(notebook, "room", 1)
    with caplog.at_level(logging.WARNING), Follower(place(tmp_path), "tensorboard") as follower:
        for count in (1, 2, 3):
            follower.tell(HISTORY[:count])
    assert [note[0] for note in notebook.notes] == ["open", 1]  # nothing is asked of it again
    assert "was told of 1 epochs and then failed: [Errno 28] No space left" in given_up(place(tmp_path).folder)
    assert "The training goes on" in caplog.text
    assert len(lines(place(tmp_path).folder)) == 3
    monkeypatch.setattr(notebook, "room", 99)
    with Follower(place(tmp_path), "tensorboard") as follower:  # a later start that succeeds forgets it
        follower.tell(HISTORY)
    assert given_up(place(tmp_path).folder) == ""


def test_the_reason_is_kept_without_the_folders_of_this_machine(tmp_path, notebook, monkeypatch):
    def refuse(self, number: int, values: Mapping[str, float]) -> None:
        raise OSError(f"Cannot write '{tmp_path}/events'")

    monkeypatch.setattr(notebook, "epoch", refuse)
    with Follower(place(tmp_path), "tensorboard") as follower:
        follower.tell(HISTORY)
    assert given_up(place(tmp_path).folder).endswith("then failed: Cannot write '…/events'")


def test_a_bug_of_a_tracker_is_not_hidden(tmp_path, notebook, monkeypatch):
    monkeypatch.setattr(notebook, "faults", ())
    monkeypatch.setattr(notebook, "room", 0)
    with pytest.raises(OSError, match="No space"), Follower(place(tmp_path), "tensorboard") as follower:
        follower.tell(HISTORY)


@pytest.mark.parametrize(
    ("name", "module", "extra"), [("tensorboard", "tensorboard", "tracking"), ("mlflow", "mlflow", "mlflow")]
)
def test_a_tracker_that_is_not_installed_is_missed_before_any_training(
    small, tmp_path, monkeypatch, name, module, extra
):
    for known in [
        known for known in sys.modules if known.split(".")[0] == module or known.endswith(f"trackers.{name}")
    ]:
        monkeypatch.delitem(sys.modules, known)
    monkeypatch.setitem(sys.modules, module, None)
    jobs = plan(read_experiment(small / "small.toml", [f"records.tracker={name}"]), tmp_path)
    with pytest.raises(MissingExtra, match=rf"slidesurv\[{extra}\]'.*tracker = \"none\""):
        run_jobs(jobs)
    assert not list(tmp_path.rglob("fold.json"))


def test_no_number_of_a_fold_depends_on_the_tracker(small, tmp_path):
    jobs = [
        plan(read_experiment(small / "small.toml", [f"records.tracker={n}"]), tmp_path)[0] for n in ("none", "mlflow")
    ]
    assert jobs[0].fingerprint == jobs[1].fingerprint


def test_a_fold_whose_tracker_fails_is_whole_and_stands_in_the_runs_failures(small, tmp_path, notebook, monkeypatch):
    monkeypatch.setattr(notebook, "room", 1)
    sets = ["records.tracker=tensorboard", "training.epochs=2", 'models=[{name="snn"}]']
    outcomes = run_jobs(plan(read_experiment(small / "small.toml", sets), tmp_path))
    assert {outcome.status for outcome in outcomes} == {"done"}
    assert notebook.notes[0] == ("begin", "small")
    run = read_run(tmp_path)
    assert run.methods[0].complete == (0, 1)
    assert [failure.name for failure in run.failures] == [
        "tracking of snn, seed1 fold0",
        "tracking of snn, seed1 fold1",
    ]
    assert "No space left" in run.failures[0].reason


def test_a_fold_that_was_stopped_writes_the_lines_of_one_that_was_not(small, tmp_path, monkeypatch):
    text = read_experiment(small / "small.toml").model_dump_json()
    run_fold(text, 1, 1, 0, tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt), pytest.MonkeyPatch.context() as patch:
        patch.setattr("slidesurv.training.crossval.write_json", interrupt_at_epoch_3)
        run_fold(text, 1, 1, 0, tmp_path / "stopped")
    stopped = tmp_path / "stopped/attnmil/seed1/fold0"
    assert [line["epoch"] for line in lines(stopped)] == [1, 2]
    run_fold(text, 1, 1, 0, tmp_path / "stopped")
    straight = tmp_path / "straight/attnmil/seed1/fold0"
    assert (stopped / "history.jsonl").read_bytes() == (straight / "history.jsonl").read_bytes()
    rows = read_csv(straight / "history.csv")
    told = lines(straight)
    assert [float(row["train_loss"]) for row in rows] == [line["train_loss"] for line in told]
    assert {*rows[0]} | {"method", "seed", "fold"} == {*told[0]}


def interrupt_at_epoch_3(path, value):
    if value == {"epoch": 3}:
        raise KeyboardInterrupt
