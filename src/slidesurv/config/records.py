"""Section about following a run while it trains."""

from typing import Literal

from slidesurv.config.section import Section

__all__ = ["RecordSection"]


class RecordSection(Section):
    """Who is told of every epoch. A line of ``history.jsonl`` in the fold's folder is written whatever stands here.

    Attributes:
        tracker: "tensorboard" writes event files, "mlflow" its database, both into the run folder;
            MLFLOW_TRACKING_URI leads elsewhere. No number of a fold depends on it.
    """

    tracker: Literal["none", "tensorboard", "mlflow"] = "none"
