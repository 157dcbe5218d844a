"""`slidesurv rna pretrain`: from a table to weights, and nobody who is left out leaves a trace."""

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from slidesurv.cli.rna_pretrain import pretrain
from slidesurv.cohorts.splits import write_splits
from slidesurv.errors import ConfigError, DataError
from slidesurv.files import read_csv
from slidesurv.genomics.expression import Expression, write_expression
from slidesurv.genomics.weights import read_checkpoint
from slidesurv.types import Split

GENES = tuple(f"G{k}" for k in range(10))
IDS = tuple(f"P{k:02}" for k in range(30))
SIZES = ["--dim", "8", "--layers", "1", "--heads", "2", "--hidden", "16", "--gene-dim", "8", "--n-bins", "8"]
QUICK = ["--epochs", "2", "--batch", "8", "--held-out", "0.1"]
SMALL = [*SIZES, *QUICK]


def run(*words: object):
    app = typer.Typer()
    app.command()(pretrain)
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def values():
    return np.random.default_rng(0).standard_normal((30, 10))


@pytest.fixture
def write(tmp_path):
    def write(values: np.ndarray, name: str = "t.csv", genes: tuple[str, ...] = GENES) -> Path:
        write_expression(tmp_path / name, Expression(IDS, genes, values))
        return tmp_path / name

    return write


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_table_becomes_weights_and_the_way_is_told_on_stderr(write, values, tmp_path):
    result = run(write(values), "-o", tmp_path / "own", *SMALL)
    assert "epoch kept" in result.stdout and "Wrote" not in result.stdout
    assert "All patients of the table are seen" in result.stderr
    assert "27 patients teach, 3 are held out; 10 genes, 8 bins (QuantileBins)" in result.stderr
    assert "epoch 2: of the hidden genes" in result.stderr and "[8/8] steps, about 0 s left" in result.stderr
    assert read_checkpoint(tmp_path / "own").config.embed_dim == 8


def test_a_page_shows_the_curve_who_was_left_out_and_the_command_also_when_all_is_done(
    write, values, tmp_path, monkeypatch
):
    monkeypatch.setattr("sys.argv", ["slidesurv", "rna", "pretrain", str(tmp_path / "t.csv"), "-o", "own"])
    (tmp_path / "ids.txt").write_text("P03\nP17\n")
    words = [write(values), "-o", tmp_path / "own", "--leave-out", tmp_path / "ids.txt", *SMALL]
    assert f"Report: {tmp_path / 'own' / 'report.html'}" in run(*words).stdout
    page = (tmp_path / "own" / "report.html").read_bytes()
    assert b"2 of 30 patients of the table are left out, those whom &#39;ids.txt&#39; names" in page
    assert b"Learning curves up to epoch 2" in page and b"slidesurv rna pretrain t.csv -o own" in page
    (tmp_path / "own" / "report.html").unlink()
    again = run(*words)
    assert "epoch 1" not in again.stderr and (tmp_path / "own" / "report.html").read_bytes() == page


def test_json_is_the_account_and_options_reach_it(write, values, tmp_path):
    more = ["--learning-rate", "1e-3", "--weight-decay", "0.1", "--warm-up", "0.2", "--together", "2", "--seed", "3"]
    words = [*SMALL, *more, "--precision", "bfloat16", "--recompute", "--device", "cpu", "--bins", "quantiles"]
    result = run(write(values), "-o", tmp_path / "own", "--json", *words)
    told = json.loads(result.stdout)
    assert told == json.loads((tmp_path / "own" / "pretrain.json").read_text())
    expected = {"epochs": 2, "batch": 8, "together": 2, "learning_rate": 1e-3, "weight_decay": 0.1, "warm_up": 0.2}
    assert expected.items() <= told["recipe"].items()
    assert told["recipe"]["precision"] == "bfloat16" and told["recipe"]["seed"] == 3
    assert read_checkpoint(tmp_path / "own").config.use_gradient_checkpointing


def test_who_is_left_out_cannot_change_anything(write, values, tmp_path):
    (tmp_path / "ids.txt").write_text("P03\n\nP17\nP29\nabsent\n")
    clean = run(write(values), "-o", tmp_path / "clean", "--leave-out", tmp_path / "ids.txt", *SMALL)
    assert "3 of 30 patients of the table are left out" in clean.stderr
    poisoned = values.copy()
    poisoned[[3, 17, 29]] = 1e9
    run(write(poisoned, "poisoned.csv"), "-o", tmp_path / "poisoned", "--leave-out", tmp_path / "ids.txt", *SMALL)
    assert contents(tmp_path / "clean") == contents(tmp_path / "poisoned")
    assert {"P03", "P17", "P29"}.isdisjoint(row["patient_id"] for row in read_csv(tmp_path / "clean" / "patients.csv"))
    poisoned[4, 0] += 1  # who is seen does change it
    run(write(poisoned, "seen.csv"), "-o", tmp_path / "seen", "--leave-out", tmp_path / "ids.txt", *SMALL)
    assert contents(tmp_path / "clean")["model.safetensors"] != contents(tmp_path / "seen")["model.safetensors"]


def test_of_a_fold_only_those_who_train_are_seen(write, values, tmp_path):
    splits = [Split(IDS[6:26], IDS[3:6], IDS[:3]), Split(IDS[:20], IDS[20:23], IDS[23:26])]
    write_splits(tmp_path / "splits.json", [*splits], origin="kfold")
    chosen = ["--splits", tmp_path / "splits.json", "--fold", "1"]
    run(write(values), "-o", tmp_path / "clean", *chosen, *SMALL)
    assert {row["patient_id"] for row in read_csv(tmp_path / "clean" / "patients.csv")} == set(IDS[:20])
    told = "10 of 30 patients of the table are left out, all but the training part of fold 1 of &#39;splits.json&#39;"
    assert told in (tmp_path / "clean" / "report.html").read_text()
    values[20:] = -1e9  # tuning part, test part, and those in no part
    run(write(values, "poisoned.csv"), "-o", tmp_path / "poisoned", *chosen, *SMALL)
    assert contents(tmp_path / "clean") == contents(tmp_path / "poisoned")
    with pytest.raises(ConfigError, match="has no fold 2: its 2 folds are counted from 0"):
        run(tmp_path / "t.csv", "-o", tmp_path / "x", "--splits", tmp_path / "splits.json", "--fold", "2")
    (tmp_path / "splits.json").write_text((tmp_path / "splits.json").read_text().replace("P23", "P24", 1))
    with pytest.raises(DataError, match="is not what was written"):
        run(tmp_path / "t.csv", "-o", tmp_path / "x", *chosen)


def test_weights_are_gone_on_with_by_their_multipliers(write, values, tmp_path):
    table = write(values)
    run(table, "-o", tmp_path / "before", *SMALL)
    words = [*QUICK, "--weights", tmp_path / "before", "--taught", "ia3+head"]
    result = run(table, "-o", tmp_path / "after", "--json", *words)
    told = json.loads(result.stdout)
    before, after = read_checkpoint(tmp_path / "before"), read_checkpoint(tmp_path / "after")
    assert told["origin"] == f"weights, sha256 {before.sha256}" and told["taught"] == "ia3+head"
    assert np.array_equal(before.bins.edges, after.bins.edges)
    (tmp_path / "ids.txt").write_text("P03\n")
    run(table, "-o", tmp_path / "without", "--leave-out", tmp_path / "ids.txt", *words)
    page = (tmp_path / "without" / "report.html").read_text()
    assert "judged by these weights, if the weights before have not seen them either." in page
    turned = write(values[:, ::-1], "turned.csv", GENES[::-1])
    with pytest.raises(DataError, match=r"10 columns are not the weights' 10 genes in their order.*rna prepare"):
        run(turned, "-o", tmp_path / "x", *words)


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["--bins", "tmp"], ConfigError, "Did you mean 'tpm'"),
        (["--precision", "float16"], ConfigError, "Unknown precision"),
        (["--taught", "ia2"], ConfigError, "Did you mean 'ia3'"),
        (["--fold", "0"], ConfigError, "--splits and --fold go together"),
        (["--splits", "s.json"], ConfigError, "--splits and --fold go together"),
        (["--splits", "s.json", "--fold", "0", "--leave-out", "i"], ConfigError, "without --leave-out"),
        (["--taught", "ia3"], ConfigError, "--taught and --genes speak of weights"),
        (["--weights", "w", "--dim", "8", "--n-bins", "8"], ConfigError, "--dim, --n-bins cannot be chosen"),
        (["--epochs", "0"], ConfigError, "epochs = 0"),
        (["--held-out", "0"], ConfigError, "held_out is 0"),
        (["--bins", "tpm"], DataError, "z-scores"),
        (["--leave-out", "absent.txt"], DataError, "Cannot read the ids"),
        (["--leave-out", "strangers.txt"], DataError, "None of 1 patients has a row"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(
    write, values, tmp_path, monkeypatch, words, error, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "strangers.txt").write_text("P00-01A\n")
    write(values)
    with pytest.raises(error, match=message):
        run("t.csv", "-o", "out", *words)
    assert not (tmp_path / "out").exists()


def test_the_help_has_an_example():
    assert "Example: slidesurv rna pretrain" in run("--help").output
