"""TensorBoard: what was told is read back, once, under the fold's name and without this machine's."""

import math
import socket
from pathlib import Path

import pytest

from slidesurv.config.read import read_experiment
from slidesurv.training.crossval import plan, run_fold
from slidesurv.training.trackers.base import Place
from slidesurv.training.tracking import Follower, given_up

events = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
)
HISTORY = [{"epoch": e, "train_loss": 2 / e, "tune_c_index": math.nan} for e in (1, 2, 3)]


def read(folder: Path):
    accumulator = events.EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def test_every_epoch_is_read_back_and_what_is_not_known_is_left_out(tmp_path):
    place = Place(tmp_path, "made", "snn", 1, 0)
    with Follower(place, "tensorboard") as follower:
        follower.tell(HISTORY[:1])
        looking = read(tmp_path / "tensorboard" / place.name)
        assert [event.value for event in looking.Scalars("train_loss")] == [2.0]  # while it trains
        follower.tell(HISTORY)
    told = read(tmp_path / "tensorboard" / place.name)
    assert [(event.step, event.value) for event in told.Scalars("train_loss")] == [
        (1, 2.0),
        (2, 1.0),
        (3, pytest.approx(2 / 3)),
    ]
    assert set(told.Tags()["scalars"]) == {"train_loss", "seconds"}
    looking.Reload()  # a TensorBoard that was there all the time sees nothing twice
    assert [event.step for event in looking.Scalars("train_loss")] == [1, 2, 3]


def test_a_training_that_starts_again_is_seen_once(tmp_path):
    place = Place(tmp_path, "made", "snn", 1, 0)
    with pytest.raises(KeyboardInterrupt), Follower(place, "tensorboard") as follower:
        follower.tell(HISTORY[:2])
        raise KeyboardInterrupt
    with Follower(place, "tensorboard") as follower:
        follower.tell(HISTORY)
    assert [event.step for event in read(tmp_path / "tensorboard" / place.name).Scalars("train_loss")] == [1, 2, 3]
    assert len(list((tmp_path / "tensorboard").rglob("events*"))) == 1


def test_numbers_of_a_published_protocol_are_stamped(tmp_path):
    with Follower(Place(tmp_path, "made", "snn", 1, 0, "OPTIMISTIC"), "tensorboard") as follower:
        follower.tell(HISTORY)
    assert "OPTIMISTIC/train_loss" in read(tmp_path / "tensorboard/snn/seed1/fold0").Tags()["scalars"]


def test_a_disk_that_refuses_loses_the_tracker_and_not_the_training(tmp_path):
    (tmp_path / "tensorboard").write_text("a file where a folder should be")
    place = Place(tmp_path, "made", "snn", 1, 0)
    with Follower(place, "tensorboard") as follower:
        follower.tell(HISTORY)
    assert "tensorboard was told of 0 epochs and then failed" in given_up(place.folder)
    assert len((place.folder / "history.jsonl").read_text().splitlines()) == 3


def test_a_real_fold_is_drawn_and_says_nothing_about_this_machine(small, tmp_path):
    experiment = read_experiment(small / "small.toml", ["records.tracker=tensorboard", "training.epochs=2"])
    job = plan(experiment, tmp_path)[2]
    run_fold(experiment.model_dump_json(), job.place, job.seed, job.fold, tmp_path)
    drawn = read(tmp_path / "tensorboard" / "snn" / "seed1" / "fold0")
    assert {"train_nll", "tune_nll", "tune_c_index", "learning_rate"} <= set(drawn.Tags()["scalars"])
    assert [event.step for event in drawn.Scalars("train_nll")] == [1, 2]
    files = [path for path in (tmp_path / "tensorboard").rglob("*") if path.is_file()]
    host = socket.gethostname()
    assert not [path for path in files if host in path.name or host.encode() in path.read_bytes()]
    assert job.finished.exists()
