"""Follow-up with holes is refused with a count."""

import numpy as np
import pytest

from slidesurv.errors import DataError
from slidesurv.survival.accuracy import calibration
from slidesurv.survival.bins import fit_bins
from slidesurv.survival.concordance import concordance
from slidesurv.survival.estimators import kaplan_meier, log_rank, median_follow_up
from slidesurv.survival.follow_up import as_events
from slidesurv.survival.resampling import bootstrap_concordance, pooled_concordance

WAYS = {
    "fit_bins": fit_bins,
    "kaplan_meier": kaplan_meier,
    "median_follow_up": median_follow_up,
    "concordance": lambda time, event: concordance(event, time, np.zeros(len(time))),
    "pooled": lambda time, event: pooled_concordance(event, time, np.zeros(len(time)), np.zeros(len(time))),
    "bootstrap": lambda time, event: bootstrap_concordance(event, time, np.zeros(len(time)), resamples=2),
    "log_rank": lambda time, event: log_rank(time, event, np.arange(len(time)) % 2),
    "calibration": lambda time, event: calibration(time, event, np.zeros(len(time)), at=1),
}
EVERYWHERE = pytest.mark.parametrize("call", WAYS.values(), ids=WAYS.keys())


@EVERYWHERE
def test_lengths_that_differ_are_named(call):
    with pytest.raises(DataError, match="'event' has 2 values for 3 patients"):
        call([1.0, 2.0, 3.0], [1, 0])


@EVERYWHERE
@pytest.mark.parametrize("hole", [np.nan, np.inf])
def test_times_that_are_no_number_are_counted(call, hole):
    with pytest.raises(DataError, match="'time' is not a finite number for 2 of 4 patients, first at position 1"):
        call([1.0, hole, hole, 3.0], [1, 0, 1, 1])


@EVERYWHERE
def test_events_that_are_neither_are_counted(call):
    with pytest.raises(DataError, match=r"'event' is neither .* for 1 of 3 patients, first at position 2"):
        call([1.0, 2.0, 3.0], [1, 0, 2])


@pytest.mark.parametrize("event", [[True, False], [1, 0], [1.0, 0.0], np.array([1, 0], dtype=np.uint8)])
def test_every_spelling_of_an_event_is_one_event(event):
    assert as_events(event, 2).tolist() == [True, False]


def test_a_table_is_not_a_column():
    with pytest.raises(DataError, match=r"'risk' has the shape \(2, 1\): give one value for each of the 2 patients"):
        concordance([1, 0], [1, 2], [[1], [2]])
