"""Who judges: paired resamples, weights from training patients, and patients who are judged more than once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from slidesurv.report.jury import Jury, shared
from slidesurv.report.read import read_run
from slidesurv.report.run import Method, Run
from slidesurv.seeds import seed_for
from slidesurv.survival.resampling import bootstrap_concordance, pooled_concordance


@pytest.fixture(scope="module")
def run(clean_run: Path) -> Run:
    return read_run(clean_run)


def again(run: Run) -> Run:
    """The run with its three folds judged a second time, in the order of later folds, by the same models."""
    methods = tuple(
        replace(
            method,
            results=method.results | {(s, k + 3): result for (s, k), result in method.results.items()},
            complete=(0, 1, 2, 3, 4, 5),
        )
        for method in run.methods
    )
    return replace(run, methods=methods, folds=6)


def changed(method: Method, **values: object) -> Method:
    return replace(method, results={key: replace(result, **values) for key, result in method.results.items()})


def test_the_index_is_the_mean_over_seeds_with_the_resamples_of_a_bootstrap_inside_folds(run: Run) -> None:
    good = run.methods[0]
    time, event, fold = good.follow_up()
    risks = good.pool(lambda result: result.risk)
    index = Jury(run, resamples=50, seed=3).index(good)
    assert index.value == pytest.approx(np.mean([pooled_concordance(event, time, risk, fold).index for risk in risks]))
    samples = bootstrap_concordance(event, time, risks, resamples=50, seed=3, strata=fold).mean(0)
    assert index.samples == pytest.approx(samples)


def test_resamples_follow_from_the_experiments_name_unless_a_seed_is_given(run: Run) -> None:
    named, given, other = (
        jury.index(run.methods[0]).samples.tolist()
        for jury in (
            Jury(run, resamples=5),
            Jury(run, resamples=5, seed=seed_for(0, "made run")),
            Jury(replace(run, experiment="another"), resamples=5),
        )
    )
    assert named == given != other


def test_what_is_known_of_censoring_comes_from_the_training_patients_of_each_fold(run: Run) -> None:
    good = run.methods[0]
    poisoned = changed(good, time=np.full(20, 1e6), event=np.zeros(20, dtype=bool))
    sober, sick = (Jury(run, resamples=1).evidence(method) for method in (good, poisoned))
    for ours, theirs, fold in zip(sober.references, sick.references, range(3), strict=True):
        assert ours.watched.survival.tolist() == theirs.watched.survival.tolist()
        assert ours.horizon == good.results[0, fold].training_time.max()


def test_a_patient_whom_two_folds_judge_is_drawn_into_both_at_once(run: Run) -> None:
    counts = Jury(again(run), resamples=40).evidence(again(run).methods[0]).counts
    assert counts.shape == (41, 120)
    assert (counts[:, :60] == counts[:, 60:]).all()
    assert (counts[1:] != 1).any()


def test_folds_that_say_the_same_again_make_no_interval_narrower(run: Run) -> None:
    once, twice = (Jury(each, resamples=200).index(each.methods[0]) for each in (run, again(run)))
    assert twice.value == pytest.approx(once.value)
    assert twice.interval == pytest.approx(once.interval)


def test_what_two_folds_say_of_a_patient_is_averaged(run: Run) -> None:
    once, twice = run.methods[0], again(run).methods[0]
    silenced = {(s, k): replace(r, risk=r.risk * (k < 3)) for (s, k), r in twice.results.items()}
    halved = replace(twice, results=silenced)
    assert halved.mean(lambda result: result.risk) == pytest.approx(once.mean(lambda result: result.risk) / 2)
    time, event, fold = halved.first()
    assert fold.tolist() == [0] * 20 + [1] * 20 + [2] * 20
    assert (time == once.follow_up()[0]).all() and (event == once.follow_up()[1]).all()


def test_a_difference_is_taken_on_the_folds_that_both_finished(run: Run) -> None:
    good, poor = run.methods
    part = replace(poor, complete=(0, 2))
    jury = Jury(run, resamples=20)
    assert shared(good, part) == (0, 2)
    gap = jury.gap(part, good)
    assert gap.value == pytest.approx(jury.index(poor, (0, 2)).value - jury.index(good, (0, 2)).value)
