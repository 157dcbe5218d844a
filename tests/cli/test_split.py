"""``slidesurv split``: folds of every kind, and an audit that ends with 1 when one patient teaches and judges."""

import json
import sys

import pytest

from slidesurv.cli import main as front
from slidesurv.files import read_csv, write_csv


def run(monkeypatch, capsys, *words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    monkeypatch.setattr(sys, "argv", ["slidesurv", *words])
    with pytest.raises(SystemExit) as ended:
        front.main()
        raise SystemExit(0)
    said = capsys.readouterr()
    return ended.value.code or 0, said.out, said.err


def test_the_audit_says_what_it_looked_at_and_ends_well(monkeypatch, capsys, small):
    code, out, _ = run(monkeypatch, capsys, "split", "audit", str(small / "small.toml"))
    assert code == 0
    assert "The features of 40 slides were compared." in out
    assert "Verdict: no leak" in out.splitlines()[-1]
    _, out, _ = run(monkeypatch, capsys, "split", "audit", str(small / "small.toml"), "--json")
    assert json.loads(out)["verdict"][-1].startswith("Verdict: no leak")


def test_a_patient_under_two_ids_ends_with_1(monkeypatch, capsys, small, tmp_path):
    rows = read_csv(small / "data" / "cohort.csv")
    for number, row in enumerate(rows):
        row["patient_id"] = f"TCGA-AA-{number // 2:04}-0{1 + 5 * (number % 2)}A"
    write_csv(tmp_path / "cohort.csv", rows, list(rows[0]))
    (tmp_path / "e.toml").write_text(
        'name = "e"\n[cohort]\ntable = "cohort.csv"\n[splits]\nfolds = 2\n[[models]]\nname = "attnmil"\n'
    )
    code, out, _ = run(monkeypatch, capsys, "split", "audit", str(tmp_path / "e.toml"))
    assert code == 1
    assert "Leak: " in out and out.splitlines()[-1].startswith("Verdict: 1 leak.")


@pytest.mark.parametrize(
    ("sets", "folds"),
    [
        (["splits.kind=site"], 2),
        (["splits.kind=site", "splits.repeats=2"], 4),
        (["splits.kind=leave-site-out", "splits.site_deaths=6"], None),
    ],
)
def test_folds_that_keep_sites_whole_are_written_and_read_again(monkeypatch, capsys, small, tmp_path, sets, folds):
    words = [word for text in sets for word in ("--set", text)]
    path = tmp_path / "splits.json"
    code, out, _ = run(monkeypatch, capsys, "split", str(small / "small.toml"), "-o", str(path), *words)
    assert code == 0 and "0 % of test patients come from a site that training has too" in out
    assert folds is None or len(json.loads(path.read_text())["splits"]) == folds
    read = ["--set", "splits.kind=file", "--set", f"splits.path={path}"]
    assert run(monkeypatch, capsys, "split", str(small / "small.toml"), *read)[1] == out


def test_a_word_that_is_none_and_keys_that_do_not_fit_are_exit_2(monkeypatch, capsys, small):
    toml = str(small / "small.toml")
    code, _, err = run(monkeypatch, capsys, "split", "audti", toml)
    assert code == 2 and "'audti' is no word for split" in err
    for text, reason in {
        "splits.repeats=0": "repeats = 0",
        "splits.kind=group": "needs a column",
        "splits.column=race": "column is read by kind = 'group' or 'temporal' alone",
        "splits.until=2010": "until is read by kind = 'temporal' alone",
        "splits.kind=sites": "Input should be 'kfold', 'site'",
    }.items():
        code, _, err = run(monkeypatch, capsys, "split", toml, "--set", text)
        assert (code, reason in err) == (2, True), err


def test_the_patients_are_those_whom_a_cross_validation_would_use(monkeypatch, capsys, small, tmp_path):
    (tmp_path / "features").mkdir()
    for path in sorted((small / "data" / "features").iterdir())[5:]:
        (tmp_path / "features" / path.name).symlink_to(path)
    sets = ["--set", f"cohort.features={tmp_path / 'features'}", "--set", "cohort.missing=drop"]
    run(monkeypatch, capsys, "split", str(small / "small.toml"), "-o", str(tmp_path / "splits.json"), *sets)
    folds = json.loads((tmp_path / "splits.json").read_text())["splits"]
    assert sum(len(fold["test"]) for fold in folds) == 35
