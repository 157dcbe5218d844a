"""Who judges: the test patients of a run and their resamples, the same for every method, so that all is paired."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from slidesurv.report.run import FoldResult, Method, Run
from slidesurv.seeds import seed_for
from slidesurv.survival.comparison import average, difference
from slidesurv.survival.discrimination import harrell_c
from slidesurv.survival.evidence import Evidence, Metric, fit_reference, gather
from slidesurv.survival.resampling import draw

__all__ = ["Jury"]

Folds = tuple[int, ...]


class Jury:
    """The test patients of a run.

    Pairs are compared inside one fold, and patients are drawn again inside it. A patient whom several folds judge, as
    where folds were made anew, is drawn into all of them at once: intervals speak of patients, not of predictions.
    """

    def __init__(self, run: Run, *, resamples: int = 2000, seed: int | None = None) -> None:
        """Call the jury.

        Args:
            run: from `read_run`.
            resamples: bootstrap resamples of patients.
            seed: of the resampling; by default it follows from the experiment's name, so that a figure has the same
                interval wherever it is shown.
        """
        self.run = run
        self.resamples = resamples
        self.seed = seed_for(0, run.experiment) if seed is None else seed
        self._evidence: dict[Folds, Evidence] = {}
        self._indices: dict[tuple[str, Folds], Metric] = {}

    def evidence(self, method: Method, folds: Sequence[int] | None = None) -> Evidence:
        """The patients of some of a method's complete folds, of all by default, in the order of `Method.pool`."""
        key = method.complete if folds is None else tuple(folds)
        if key not in self._evidence:
            self._evidence[key] = self._gather(method, key)
        return self._evidence[key]

    def ask(
        self,
        method: Method,
        metric: Callable[[Evidence, Any], Metric],
        value: Callable[[FoldResult], Any],
        folds: Sequence[int] | None = None,
    ) -> Metric:
        """Average a metric over seeds.

        Args:
            method: with a complete fold at least.
            metric: of the evidence and (B, ...) values.
            value: gives (B_k, ...) for the result of a fold.
            folds: as in `evidence`.
        """
        evidence = self.evidence(method, folds)
        return average([metric(evidence, values) for values in method.pool(value, folds)])

    def index(self, method: Method, folds: Sequence[int] | None = None) -> Metric:
        """The pooled C-index, computed once. A larger value means a better order; 0.5 is chance."""
        key = method.slug, method.complete if folds is None else tuple(folds)
        if key not in self._indices:
            self._indices[key] = self.ask(method, harrell_c, lambda result: result.risk, folds)
        return self._indices[key]

    def gap(self, method: Method, reference: Method) -> Metric:
        """Pooled C-index of one method minus another's, on the folds of `shared`."""
        folds = shared(method, reference)
        return difference(self.index(method, folds), self.index(reference, folds))

    def _gather(self, method: Method, folds: Folds) -> Evidence:
        time, event, fold = method.follow_up(folds)
        taught = {number: method.results[method.seeds[0], number] for number in folds}
        references = {k: fit_reference(result.training_time, result.training_event) for k, result in taught.items()}
        first, who = method.people(folds)
        once = np.ones((1, len(first)), dtype=np.float32)
        drawn = draw(len(first), resamples=self.resamples, seed=self.seed, strata=fold[first])
        counts = np.concatenate([once, drawn])[:, who]  # (1 + R, B)
        return replace(gather(time, event, references, strata=fold, resamples=0), counts=counts)


def shared(method: Method, reference: Method) -> Folds:
    """The folds that every seed of both methods finished."""
    return tuple(fold for fold in method.complete if fold in reference.complete)
