"""MLflow: an MLflow run a training, in ``<run>/mlflow.db`` or where MLFLOW_TRACKING_URI leads.

Nothing is asked of the network unless that variable says so.
"""

import os
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import ClassVar, final

from slidesurv.errors import DataError
from slidesurv.files import read_json, write_json
from slidesurv.training.trackers.base import Place, Tracker

# read when the library is imported: no word to its makers, and a dead server holds a training up for seconds
for variable, value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}.items():
    os.environ.setdefault(variable, value)

from mlflow.entities import Metric  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402

__all__ = ["MLflow"]

MINUTE = 60  # that a worker waits for the database while others write
NOWHERE = "mlflow-artifacts:/none"  # nothing is stored there; MLflow's own choice names the working directory


@final
class MLflow(Tracker):
    """Writes through MLflow's client. ``mlflow ui --backend-store-uri sqlite:///<run>/mlflow.db`` draws it."""

    faults: ClassVar[tuple[type[Exception], ...]] = (MlflowException, OSError, sqlite3.Error)

    def __init__(self, place: Place) -> None:
        self._place = place
        self._client = _client(place.run)
        self._forget_interrupted()
        experiment = _experiment(self._client, place.experiment)
        tags = {"method": place.method, "seed": str(place.seed), "fold": str(place.fold)}
        tags |= {"protocol": place.stamp or "leakfree"}
        self._run = self._client.create_run(experiment, tags=tags, run_name=place.name).info.run_id
        write_json(self._mark, {"run": self._run})

    @staticmethod
    def begin(run: Path, experiment: str) -> None:
        """Make the database and the experiment, before several workers would do so at once.

        Raises:
            DataError: the server or the disk refuses.
        """
        try:
            run.mkdir(parents=True, exist_ok=True)
            _experiment(_client(run), experiment)
            if not _is_elsewhere():
                _forget_folder(_database(run))
        except MLflow.faults as error:
            raise DataError(
                f"MLflow cannot be told of this run: {error}. Mend MLFLOW_TRACKING_URI or start its server, or set "
                '[records] tracker = "none".'
            ) from error

    def epoch(self, number: int, values: Mapping[str, float]) -> None:
        """Log the numbers of one epoch in one call."""
        now = time.time_ns() // 1_000_000
        metrics = [Metric(self._place.stamped(name), value, now, number) for name, value in values.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def close(self, *, finished: bool) -> None:
        """End the MLflow run as finished or failed."""
        self._client.set_terminated(self._run, "FINISHED" if finished else "FAILED")
        self._mark.unlink(missing_ok=True)

    @property
    def _mark(self) -> Path:
        """Names the MLflow run while it is open."""
        return self._place.folder / "mlflow.json"

    def _forget_interrupted(self) -> None:
        """Delete the MLflow run of a start that was killed; what the user deleted is no matter."""
        if self._mark.exists():
            with suppress(MlflowException):
                self._client.delete_run(read_json(self._mark)["run"])


def _client(run: Path) -> MlflowClient:
    """A client of the user's own server, or of a database in the run folder."""
    return MlflowClient() if _is_elsewhere() else MlflowClient(f"sqlite:///{_database(run)}?timeout={MINUTE}")


def _is_elsewhere() -> bool:
    """Whether the user has a server of their own."""
    return bool(os.environ.get("MLFLOW_TRACKING_URI"))


def _database(run: Path) -> Path:
    return run.resolve() / "mlflow.db"


def _forget_folder(database: Path) -> None:
    """Take the working directory out of the experiment that MLflow makes for itself."""
    with closing(sqlite3.connect(database, timeout=MINUTE)) as connection, connection:
        connection.execute("PRAGMA secure_delete = ON")  # else the old bytes stay in the file
        connection.execute("UPDATE experiments SET artifact_location = ? WHERE experiment_id = 0", (NOWHERE,))


def _experiment(client: MlflowClient, name: str) -> str:
    """The id of the experiment, which is made if it is not there."""
    known = client.get_experiment_by_name(name)
    place = None if _is_elsewhere() else NOWHERE
    made: str = client.create_experiment(name, artifact_location=place) if known is None else known.experiment_id
    return made
