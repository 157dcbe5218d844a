"""MLflow: what was told is read back through its client, from the run's own database and without the network."""

import math
import socket

import pytest

from slidesurv.errors import DataError
from slidesurv.training.trackers.base import Place
from slidesurv.training.tracking import Follower, begin, given_up

pytest.importorskip("mlflow", reason="mlflow is not installed")
pytest.importorskip("sqlalchemy", reason="sqlalchemy is not installed")
pytestmark = [
    pytest.mark.slow,  # the library takes seconds to import and to make its database
    pytest.mark.filterwarnings("ignore"),  # of its own dependencies
]
HISTORY = [{"epoch": e, "train_loss": 2 / e, "tune_c_index": math.nan if e == 1 else 0.5} for e in (1, 2, 3)]


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("something asks the network"))


def client(folder):
    from mlflow.tracking import MlflowClient

    return MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


def test_every_epoch_is_read_back_and_a_training_that_starts_again_is_seen_once(offline, tmp_path):
    begin("mlflow", tmp_path, "made")
    place = Place(tmp_path, "made", "snn", 1, 0, "OPTIMISTIC")
    follower = Follower(place, "mlflow")
    follower.tell(HISTORY[:2])  # and is killed
    assert (place.folder / "mlflow.json").exists()
    with Follower(place, "mlflow") as follower:
        follower.tell(HISTORY)
    known = client(tmp_path)
    [run] = known.search_runs([known.get_experiment_by_name("made").experiment_id])
    assert (run.info.run_name, run.info.status) == ("snn/seed1/fold0", "FINISHED")
    assert {"method": "snn", "seed": "1", "fold": "0", "protocol": "OPTIMISTIC"}.items() <= run.data.tags.items()
    assert run.info.user_id == "unknown"
    told = known.get_metric_history(run.info.run_id, "OPTIMISTIC/train_loss")
    assert [(metric.step, metric.value) for metric in told] == [(1, 2.0), (2, 1.0), (3, 2 / 3)]
    assert not (place.folder / "mlflow.json").exists()


def test_a_server_that_is_not_there_is_told_before_any_training_and_loses_none_in_the_middle(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(DataError, match=r"MLflow cannot be told of this run.*tracker = \"none\""):
        begin("mlflow", tmp_path, "made")
    place = Place(tmp_path, "made", "snn", 1, 0)
    with Follower(place, "mlflow") as follower:
        follower.tell(HISTORY)
    assert "mlflow was told of 0 epochs and then failed" in given_up(place.folder)
    assert len((place.folder / "history.jsonl").read_text().splitlines()) == 3


def test_the_database_says_nothing_about_the_disk(offline, tmp_path, monkeypatch):
    (tmp_path / "private").mkdir()
    monkeypatch.chdir(tmp_path / "private")
    begin("mlflow", tmp_path / "run", "made")
    with Follower(Place(tmp_path / "run", "made", "snn", 1, 0), "mlflow") as follower:
        follower.tell(HISTORY)
    assert str(tmp_path).encode() not in (tmp_path / "run" / "mlflow.db").read_bytes()
