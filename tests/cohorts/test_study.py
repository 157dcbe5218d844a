"""From an experiment file to the views of the genome that it asks for."""

from pathlib import Path

import pytest

from slidesurv.cohorts.study import Study, open_study
from slidesurv.config.read import read_experiment
from slidesurv.errors import ConfigError, DataError

EXPERIMENT = """
name = "made"
[cohort]
table = "cohort.csv"
expression = "expression.csv"
[splits]
folds = 2
tune = 0
[training]
n_bins = 2
[[models]]
name = "snn"
"""
GENES = ("TP53_cnv", "TP53_rnaseq", "MYC_rnaseq", "KRAS_mut", "flat_rnaseq")


@pytest.fixture
def folder(tmp_path) -> Path:
    """Twenty-four patients whose MYC is high when they die early, and two gene groups."""
    rows = [f"P{n:02},,{n + 1},1" for n in range(24)]
    (tmp_path / "cohort.csv").write_text("\n".join(["patient_id,slide_id,time_months,event", *rows]))
    values = [f"P{n:02},{n % 3},{n % 5 / 7},{(n < 12) * 5 + n % 2},{n % 2},1.5" for n in range(24)]
    (tmp_path / "expression.csv").write_text("\n".join([f"patient_id,{','.join(GENES)}", *values]))
    (tmp_path / "groups.csv").write_text("suppressors,oncogenes\nTP53,MYC\n,KRAS\n")
    (tmp_path / "e.toml").write_text(EXPERIMENT)
    return tmp_path


def opened(folder: Path, *sets: str) -> Study:
    signatures = f"signatures='{folder / 'groups.csv'}'"
    overrides = [f"genomics.{words}" for words in (signatures, *sets)]
    return open_study(read_experiment(folder / "e.toml", overrides))


def test_the_three_targets_of_table_ii_are_three_settings(folder):
    widths = {}
    (folder / "bert.csv").write_text("\n".join(["patient_id,e0,e1", *(f"P{n:02},{n},{-n}" for n in range(24))]))
    for target in ("expression", "differential", "table"):
        experiment = read_experiment(
            folder / "e.toml", [f"genomics.embedding='{target}'", f"cohort.embeddings='{folder / 'bert.csv'}'"]
        )
        study = open_study(experiment)
        fold = study.fit_fold(study.splits[0])
        widths[target] = len(fold.patient("P00").genomics.embedding)
        assert fold.sizes.embedding == widths[target]
    assert widths == {"expression": 5, "differential": 1, "table": 2}


def test_signatures_fill_the_groups_in_the_order_of_the_names_of_columns(folder):
    study = opened(folder)
    fold = study.fit_fold(study.splits[0])
    assert fold.sizes.groups == (2, 2)
    genomics = fold.patient("P03").genomics
    assert [group.tolist() for group in genomics.groups] == [
        genomics.expression[[0, 1]].tolist(),
        genomics.expression[[3, 2]].tolist(),
    ]
    assert study.views == {"expression", "embedding", "groups"}
    assert study.lacking("groups") == []


def test_screened_groups_keep_what_differs(folder, caplog):
    with pytest.raises(DataError, match="1 of 2 groups have no gene among the 1 that were kept: 'suppressors'"):
        study = opened(folder, "screen_groups=true")
        study.fit_fold(study.splits[0])
    study = opened(folder, "screen_groups=true", "empty_groups='drop'")
    assert study.fit_fold(study.splits[0]).sizes.groups == (1,)
    assert "'suppressors'. They were left out" in caplog.text


def test_a_fold_is_fitted_once(folder):
    study = opened(folder)
    one, other = study.splits
    assert study.fit_fold(one) is study.fit_fold(one)
    assert study.fit_fold(one) is not study.fit_fold(other)
    assert len(study.fit_fold(one, n_bins=3).bins) == 3


def test_the_fingerprint_follows_what_the_signatures_say(folder):
    before = opened(folder).fingerprint
    assert opened(folder).fingerprint == before
    (folder / "groups.csv").write_text("suppressors,oncogenes\nTP53,MYC\n")
    assert opened(folder).fingerprint != before


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["screening='deseq2'"], "screening = 'deseq2' needs counts"),
        (["p_value=0"], "p_value"),
        (["embedding='bert'"], "embedding"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(folder, sets, words):
    with pytest.raises(ConfigError, match=words):
        opened(folder, *sets)


def test_screened_groups_need_signatures(folder):
    with pytest.raises(ConfigError, match="screen_groups = true needs signatures"):
        read_experiment(folder / "e.toml", ["genomics.screen_groups=true"])


def test_signatures_without_expression_are_refused(folder):
    sets = [f"genomics.signatures='{folder / 'groups.csv'}'"]
    text = EXPERIMENT.replace('expression = "expression.csv"', "")
    (folder / "e.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"signatures groups the genes of a table: set \[cohort\] expression"):
        open_study(read_experiment(folder / "e.toml", sets))
