"""Tables of the paper on a small cohort, and whether what the package holds of them is right."""

import csv
import json
import os
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from slidesurv.cli import main as front
from slidesurv.cli.table_file import NAMES, TABLES, read_table
from slidesurv.errors import ConfigError
from slidesurv.registry import models

TINY = ["--workers", "1", "--set", "training.epochs=1"]
GOLDEN = Path(
    os.environ.get("SLIDESURV_PAPER_TABLES") or Path(__file__).parents[2].parent / "shared/golden/paper_tables.csv"
)


class Ended(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """One command in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def command(*words) -> Ended:
        monkeypatch.setattr(sys, "argv", ["slidesurv", "table", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            front.main()
        return Ended(ended.value.code or 0, *capsys.readouterr())

    return command


def experiments(which, small, *overrides):
    return read_table(which).experiments(small / "small.toml", overrides)


@pytest.fixture(scope="module")
def peopled(small):
    """The small experiment, with a race for each patient."""
    lines = (small / "data" / "cohort.csv").read_text().splitlines()
    races = ["race", *("White" if n % 3 else "asian" for n in range(len(lines) - 1))]
    rows = [f"{line},{race}" for line, race in zip(lines, races, strict=True)]
    (small / "data" / "peopled.csv").write_text("\n".join(rows) + "\n")
    text = (small / "small.toml").read_text().replace("data/cohort.csv", "data/peopled.csv")
    (small / "peopled.toml").write_text(text)
    return small / "peopled.toml"


@pytest.mark.parametrize("which", NAMES)
def test_every_row_of_every_table_binds_to_a_real_model(which, small):
    wanted = read_table(which)
    rows = [row for experiment in experiments(which, small).values() for row in experiment.models]
    assert [row.title for row in rows] == [row.label for row in wanted.rows]
    for asked, row in zip(wanted.rows, rows, strict=True):
        assert row.choices().keys() >= asked.choices.keys()
    assert wanted.reference in [row.title for row in rows]
    assert wanted.name in wanted.tables


def test_the_main_table_has_every_method_once(small):
    (experiment,) = experiments("1", small).values()
    assert sorted(row.name for row in experiment.models) == models.names()


@pytest.mark.parametrize("which", NAMES)
def test_every_printed_row_stands_in_its_table(which):
    wanted = read_table(which)
    with (TABLES / "paper.csv").open() as lines:
        printed = [row for row in csv.DictReader(lines) if row["table"] == wanted.name]
    assert {row["row"] for row in printed} == ({row.printed or row.label for row in wanted.rows} if printed else set())
    known = {(slug, cohort): str(figure.mean) for (slug, cohort), figure in wanted.printed().items()}
    slugs = {row.printed or row.label: row.slug for row in wanted.rows}
    assert all(float(known[slugs[row["row"]], row["cohort"]]) == float(row["mean"]) for row in printed)


def test_golden_every_value_of_the_paper_is_kept():
    if not GOLDEN.exists():
        pytest.skip("the paper's tables are not here: set SLIDESURV_PAPER_TABLES")
    with GOLDEN.open() as theirs, (TABLES / "paper.csv").open() as ours:
        known = [(f"Table {row['table']}", row["cohort"], row["mean"], row["std"]) for row in csv.DictReader(theirs)]
        kept = [(row["table"], row["cohort"], row["mean"], row["sd"]) for row in csv.DictReader(ours)]
    assert kept == [row for row in known if row[1] != "Overall"]


def test_a_table_has_a_number_in_either_script_and_no_other(small):
    assert read_table("vii").name == read_table("7").name == "Table VII"
    assert read_table("4").rows == read_table("7").rows
    assert str(read_table("4").printed()["em", "LUAD"]) == "0.655 ± 0.050"
    with pytest.raises(ConfigError, match="Did you mean 'figure4'"):
        read_table("figure5")


def test_rows_keep_the_choices_of_the_experiment_and_change_what_they_are_about(small):
    (experiment,) = experiments("4", small).values()
    chosen = [row.choices() for row in experiment.models]
    assert [row["ese"].select for row in chosen] == ["none", "random", "cluster", "em"]
    assert {(row["ese"].prompts, row["ese"].prototypes, row["dim"], row["vga"].width) for row in chosen} == {
        (8, 3, 16, 16)
    }


def test_ablations_change_one_thing_each(small):
    told, shuffled = experiments("ablations", small).values()
    method, untaught = (row.choices() for row in told.models)
    assert untaught == method | {"loss_weight": 0.0} != method
    assert shuffled.models[0].choices() == method and shuffled.genomics.shuffle
    assert shuffled.genomics.model_copy(update={"shuffle": False}) == told.genomics


def test_rows_without_either_module_have_nothing_to_be_taught_by_genomics(small):
    (experiment,) = experiments("3", small).values()
    neither, selection_off, both = (row.choices() for row in experiment.models)
    assert neither["vga"] is False and neither["loss_weight"] == 0
    assert selection_off["vga"] == both["vga"] and selection_off["ese"].select == "none"


def test_what_a_row_is_about_wins_over_the_user_and_what_a_table_sets_does_not(small):
    targets = experiments("2", small, "genomics.embedding=none").values()
    assert [each.genomics.embedding for each in targets] == ["expression", "differential", "auto"]
    (race,) = experiments("9", small, "splits.column=ancestry").values()
    assert (race.splits.kind, race.splits.column, race.splits.teach) == ("group", "ancestry", ("white",))


def test_modules_on_a_small_cohort_with_the_printed_values_and_again(small, run, tmp_path):
    words = ["3", small / "small.toml", "-o", "out", *TINY, "--printed", "small=BLCA"]
    first = run(*words)
    assert first.returncode == 0, first.stderr
    assert "# Table III. The two modules" in first.stdout
    head = next(line for line in first.stdout.splitlines() if line.startswith("| Method | Patho."))
    assert "| cohort | cohort, printed | Difference to ESE yes, VGA yes |" in head
    row = next(line for line in first.stdout.splitlines() if line.startswith("| ESE no, VGA no | ✓ |  |"))
    assert "| 0.594 ± 0.021 |" in row
    assert "OPTIMISTIC, and not comparable one to one" in first.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("small", "table.csv", "table.html", "table.md", "table.tex")
    ]
    assert "0.594 $\\pm$ 0.021" in (tmp_path / "out/table.tex").read_text()
    with (tmp_path / "out/table.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["cohort_printed"] for row in rows] == ["0.594", "0.67", "0.671", "", "", "", ""]  # baselines
    table = (tmp_path / "out/table.md").read_bytes()
    again = run(*words)
    assert "6 skipped" in again.stderr and "done" not in again.stderr.replace("0 done", "")
    assert (tmp_path / "out/table.md").read_bytes() == table


def test_targets_are_runs_of_their_own_in_one_table(small, run, tmp_path):
    ran = run("2", small / "small.toml", "-o", "out", *TINY, "--set", "genomics.p_value=0.9")
    assert ran.returncode == 0, ran.stderr
    text = (tmp_path / "out/table.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == [
        *("Original sequence", "Differential sequence", "Embedding or components"),
        *("null", "site only", "mean tiles + Cox", "expression + Cox"),
    ]
    assert all(row.count(" to ") == 2 for row in rows[:2])  # an interval, and one of the paired difference
    assert (
        "cohort: genomics.embedding is 'expression' for Original sequence; 'differential' for Differential sequence; "
        "'pca' for Embedding or components."
    ) in text
    assert (tmp_path / "out/small/original-sequence/run.json").exists()


def test_what_the_data_do_not_allow_is_left_out_and_named(small, run, tmp_path):
    text = (small / "small.toml").read_text().replace('expression = "data/expression.csv"\n', "")
    (small / "slides.toml").write_text(text)
    ran = run("3", small / "slides.toml", "-o", "out", *TINY, "--set", "training.protocol=paper")
    assert ran.returncode == 0, ran.stderr
    text = (tmp_path / "out/table.md").read_text()
    assert "cohort: left out: 'ESE yes, VGA yes' is taught by a genomic embedding, and there is none" in text
    (row,) = [line for line in text.splitlines() if line.startswith("| ESE no, VGA no")]
    assert row.count("OPTIMISTIC") == 1
    refused = run("2", small / "slides.toml", "-o", "none", *TINY)
    assert refused.returncode == 2
    assert "left out: 'Original sequence' is taught by expression, and there is none" in refused.stderr


def test_one_race_teaches_and_the_others_judge(peopled, run, tmp_path):
    ran = run("9", peopled, "-o", "out", *TINY, "--set", "training.n_bins=2")
    assert ran.returncode == 0, ran.stderr
    (split,) = json.loads((tmp_path / "out/small/splits.json").read_text())["splits"]
    assert len(split["test"]) == 14 and len(split["train"]) + len(split["tune"]) == 26
    text = (tmp_path / "out/table.md").read_text()
    assert "| VGAT | ✓ | training |" in text
    assert "left out: 'SNNTrans' reads gene groups" in text


def test_a_cohort_that_the_paper_has_not_is_refused(small, run, tmp_path):
    ran = run("4", small / "small.toml", "--printed", "small=LUSC")
    assert ran.returncode == 2
    assert "Unknown cohort of the paper 'LUSC'" in ran.stderr and "'BLCA', 'BRCA', 'GBMLGG'" in ran.stderr
    ran = run("4", small / "small.toml", "--printed", "smal=BLCA")
    assert "Unknown experiment 'smal'. Did you mean 'small'?" in ran.stderr
