"""Is an encoder that taught itself on other cancers a better summary of expression than principal components?

    OMP_NUM_THREADS=1 python experiments/pretrain_tcga.py --cohort gbmlgg -o runs/pretrain-gbmlgg

Pre-trains on the public z-scores of three of TCGA's BLCA, BRCA, GBMLGG and LUAD and judges on the fourth. Nobody of the
judged cohort is seen while the encoder is taught, which is leak-free for each of its five folds at the price of one
pre-training instead of five. The encoder is small: 1,024 genes, drawn from the 1,540 that all four tables have, 64
quantile bins, width 128, two blocks. What is done is kept in the folder; the same command goes on.

Four summaries of 128 numbers are compared: principal components of the same 1,024 genes; of their bins, which have no
tails; the mean token of the encoder; and that of the same encoder before it was taught. On the training part of a fold
each is rotated onto its principal components, which keep their proportions, and given to a Cox model with a ridge
penalty, which is chosen by cross-validation inside that part. Printed are C-indices, pooled over pairs inside the
folds, with bootstrap intervals, and how much lower than the taught encoder's each is, paired. Whether the encoder is a
better target for VGAT is asked by ``target.py``.

GBMLGG is judged by default because most is known to be predictable there, so that the summaries can be told apart; this
was settled before any of them was judged.
"""

import argparse
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import process_time

import numpy as np
import torch
from scipy.optimize import minimize

from slidesurv.cohorts.imports import read_mcat
from slidesurv.cohorts.splits import kfold, read_mcat_splits
from slidesurv.genomics.corpus import Corpus, make_corpus
from slidesurv.genomics.embed import embed
from slidesurv.genomics.expression import Expression, read_embeddings
from slidesurv.genomics.pretrain import PretrainRecipe, new_encoder, pretrain
from slidesurv.genomics.views import PrincipalComponents
from slidesurv.genomics.weights import read_checkpoint, write_checkpoint
from slidesurv.report.pretraining import write_pretraining
from slidesurv.survival.resampling import bootstrap_concordance, interval, pooled_concordance
from slidesurv.training.device import fast_matmul
from slidesurv.types import Cohort, Split

COHORTS = ("blca", "brca", "gbmlgg", "luad")
GENES = 1_024
WIDTH = 128
SIZES = {"dim": WIDTH, "layers": 2, "heads": 4, "hidden": 256, "gene_dim": WIDTH}
RECIPE = PretrainRecipe(epochs=16, batch=8, together=8, learning_rate=3e-3, precision="bfloat16")
PENALTIES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)  # where the first component's deviation is 1


def read(data: Path) -> dict[str, tuple[Cohort, Expression]]:
    """Read the cohorts, and cut their tables to the same genes."""
    tables = {
        name: read_mcat(data / name / f"porpoise_mutsig_tcga_{name}_all_clean.csv.zip", name=name) for name in COHORTS
    }
    shared = sorted(set.intersection(*(set(table.genes) for _, table in tables.values())))
    genes = sorted(np.random.default_rng(0).choice(shared, GENES, replace=False).tolist())
    print(f"{len(shared)} genes are in all four tables; {GENES} of them are drawn")
    return {name: (cohort, _columns(table, genes)) for name, (cohort, table) in tables.items()}


def _columns(table: Expression, genes: list[str]) -> Expression:
    places = [table.genes.index(gene) for gene in genes]
    return Expression(table.ids, tuple(genes), table.rows(table.ids)[:, places])


def join(tables: list[Expression]) -> Expression:
    """Put the rows of tables below each other."""
    ids = tuple(patient for table in tables for patient in table.ids)
    return Expression(ids, tables[0].genes, np.concatenate([table.rows(table.ids) for table in tables]))


def teach(corpus: Corpus, folder: Path) -> None:
    """Pre-train, and write the encoder as it was before beside it."""
    encoder = partial(new_encoder, corpus, **SIZES)
    write_checkpoint(folder / "untaught", encoder(), corpus.bins)
    start = process_time()

    def report(step: int, steps: int, history: list[dict[str, float]]) -> None:
        if history and step * RECIPE.epochs % steps == 0:
            told = ", ".join(f"{name} {value:.4g}" for name, value in history[-1].items())
            print(f"{told}; {process_time() - start:.0f} s of CPU here", flush=True)

    pretrain(encoder(), corpus, folder / "taught", recipe=RECIPE, report=report)


def summarise(table: Expression, folder: Path, genes: tuple[str, ...]) -> np.ndarray:
    """The embeddings (B, 128) of a table."""
    path = embed(table, read_checkpoint(folder), folder / "embeddings", genes=genes)
    return read_embeddings(path).rows(table.ids)


def fit_cox(values: np.ndarray, time: np.ndarray, event: np.ndarray, penalty: float) -> np.ndarray:
    """Coefficients (K,) with the least mean negative log partial likelihood (Breslow's ties) + penalty / 2 · squares.

    Not lifelines: it scales every column to one deviation before it penalises, which blows the least components up.
    """
    order = np.argsort(-time, kind="stable")
    x, dead = values[order], event[order]
    last = np.searchsorted(-time[order], -time[order], side="right")[dead] - 1  # (E,) who is at risk stands up to there

    def cost(coefficients: np.ndarray) -> tuple[float, np.ndarray]:
        risk = x @ coefficients
        weights = np.exp(risk - risk.max())
        at_risk = weights.cumsum()[last]  # (E,)
        often = np.bincount(last, 1 / at_risk, minlength=len(x))[::-1].cumsum()[::-1]  # (B,) over the deaths outlived
        loss = (np.log(at_risk) + risk.max() - risk[dead]).sum() / len(x) + penalty / 2 * coefficients @ coefficients
        return loss, ((weights * often) @ x - x[dead].sum(0)) / len(x) + penalty * coefficients

    found = minimize(cost, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 5_000, "gtol": 1e-7})
    return found.x


def choose_penalty(values: np.ndarray, cohort: Cohort) -> float:
    """Find the penalty with the best C-index over five inner folds; values (B, G) are those of the cohort."""
    time, event = follow_up(cohort)
    fold, risks = np.empty(len(cohort)), np.empty((len(PENALTIES), len(cohort)))
    for number, split in enumerate(kfold(cohort, folds=5, tune=0.0)):
        train, test = places(cohort, split.train), places(cohort, split.test)
        scale, fold[test] = PrincipalComponents.fit(values[train], components=WIDTH), number
        seen, judged = scale(values[train]), scale(values[test])
        for row, penalty in enumerate(PENALTIES):
            risks[row, test] = judged @ fit_cox(seen, time[train], event[train], penalty)
    return PENALTIES[np.argmax([pooled_concordance(event, time, row, fold).index for row in risks])]


def follow_up(cohort: Cohort) -> tuple[np.ndarray, np.ndarray]:
    """Months and deaths, each (B,)."""
    return np.array([patient.time for patient in cohort]), np.array([patient.event for patient in cohort])


def places(cohort: Cohort, patients: Iterable[str]) -> list[int]:
    """The rows of patients in a cohort."""
    row = {patient: number for number, patient in enumerate(cohort.ids)}
    return [row[patient] for patient in patients]


def judge(values: np.ndarray, cohort: Cohort, splits: Sequence[Split]) -> tuple[np.ndarray, list[float]]:
    """The risk (B,) of every patient by the model of the fold that judges him, and the penalties chosen."""
    time, event = follow_up(cohort)
    risks, penalties = np.full(len(cohort), np.nan), []
    for split in splits:
        inside = cohort.subset(split.train)
        train, test = places(cohort, inside.ids), places(cohort, split.test)
        penalties.append(choose_penalty(values[train], inside))
        scale = PrincipalComponents.fit(values[train], components=WIDTH)
        model = fit_cox(scale(values[train]), time[train], event[train], penalties[-1])
        risks[test] = scale(values[test]) @ model
    return risks, penalties


def compare(summaries: dict[str, np.ndarray], cohort: Cohort, splits: Sequence[Split]) -> None:
    """Print the C-index of each summary, and by how much the first has a higher one."""
    time, event = follow_up(cohort)
    judged = [judge(values, cohort, splits) for values in summaries.values()]
    risks, fold = np.stack([said for said, _ in judged]), np.empty(len(cohort))
    for number, split in enumerate(splits):
        fold[places(cohort, split.test)] = number
    samples = bootstrap_concordance(event, time, risks, strata=fold)
    indices = [pooled_concordance(event, time, said, fold).index for said in risks]
    for name, index, sample, (_, penalties) in zip(summaries, indices, samples, judged, strict=True):
        low, high = interval(sample)
        below, above = interval(samples[0] - sample)
        print(
            f"{name:<22} C-index {index:.4f} ({low:.4f} to {high:.4f}); the first less it {indices[0] - index:+.4f} "
            f"({below:+.4f} to {above:+.4f}); penalties {penalties}"
        )


def main() -> None:
    """Teach, embed, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohort", choices=COHORTS, default="gbmlgg")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    data = Path(os.environ.get("SLIDESURV_DATA") or "../shared/data") / "tcga"
    folder = arguments.output or Path("runs") / f"pretrain-{arguments.cohort}"
    cohorts = read(data)
    cohort, table = cohorts.pop(arguments.cohort)
    corpus = make_corpus(join([other for _, other in cohorts.values()]), bins="quantiles")
    print(
        f"{len(corpus.teachers)} patients of {', '.join(cohorts)} teach, {len(corpus.watchers)} are held out; "
        f"{len(cohort)} of {arguments.cohort} are judged, {sum(patient.event for patient in cohort)} deaths"
    )
    with fast_matmul(True):
        teach(corpus, folder)
        unseen = f"Nobody of {arguments.cohort} was seen: its patients may be judged by these weights."
        command = f"python experiments/pretrain_tcga.py --cohort {arguments.cohort}"
        print(f"Report: {write_pretraining(folder / 'taught', left_out=unseen, command=command)}")
        table = replace(table, ids=cohort.ids, values=table.rows(cohort.ids))
        summaries = {
            "encoder, taught": summarise(table, folder / "taught", corpus.genes),
            "principal components": table.rows(table.ids),
            "those of the bins": corpus.bins(table.rows(table.ids)).astype(np.float64),
            "encoder, not taught": summarise(table, folder / "untaught", corpus.genes),
        }
    compare(summaries, cohort, read_mcat_splits(data / arguments.cohort / "splits_5foldcv", cohort, tune=0.0))


if __name__ == "__main__":
    main()
