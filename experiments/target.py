"""Is an encoder that taught itself on other cancers a better target for VGAT than principal components?

    OMP_NUM_THREADS=1 python experiments/pretrain_tcga.py --cohort gbmlgg -o runs/pretrain-gbmlgg
    python experiments/target.py runs/pretrain-gbmlgg -o runs/target

Cross-validates ``target.toml`` twice, or what is left of it: a narrow VGAT that is told to rebuild principal
components, fitted fold by fold, beside one without genomics; then the same VGAT with the encoder's embeddings as its
target. Printed are C-indices, pooled over pairs inside the folds, by how much each differs from that with principal
components, paired, and how well each target is rebuilt. Nobody of GBMLGG taught the encoder; the bags are semi-real.

The recipe is that of ``gbmlgg_leakfree.toml``, with one seed; both were settled before a result was read.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from slidesurv.cli.crossval import perform
from slidesurv.config.read import read_experiment
from slidesurv.report.genome.reconstruction import judge
from slidesurv.report.jury import Jury
from slidesurv.report.read import read_run
from slidesurv.report.run import Run
from slidesurv.report.table import compare, markdown

RECIPE = Path(__file__).with_suffix(".toml")
EMBEDDINGS = Path("taught", "embeddings", "embeddings.safetensors")


def run(folder: Path, *, rows: int, overrides: Sequence[str] = ()) -> Run:
    """Cross-validate the first rows of the recipe, or what is left of them."""
    experiment = read_experiment(RECIPE, list(overrides))
    perform(experiment.model_copy(update={"models": experiment.models[:rows]}), folder, workers=0, command="")
    return read_run(folder)


def join(first: Run, second: Run) -> Run:
    """Put the encoder's VGAT behind the methods of the first run; both have the same patients in the same folds."""
    other = replace(second.methods[0], label="the encoder's embeddings", slug="encoder")
    return replace(first, methods=(*first.methods[:2], other))


def main() -> None:
    """Run both, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("encoder", type=Path, help="what pretrain_tcga.py made")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/target"))
    arguments = parser.parse_args()
    components = run(arguments.output / "components", rows=2)
    embeddings = (arguments.encoder / EMBEDDINGS).resolve()
    encoder = run(arguments.output / "encoder", rows=1, overrides=[f"cohort.embeddings={embeddings}"])
    joined = join(components, encoder)
    print(markdown(compare(Jury(joined))))
    for method in joined.methods:
        if rebuilt := judge(method, joined.folds):
            print(f"{method.label}: skill {rebuilt.skill}; place {rebuilt.rank}; entropy {rebuilt.entropy_share}")


if __name__ == "__main__":
    main()
