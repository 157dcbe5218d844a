"""The front door: every verb explains itself, starts fast, and ends with the right exit code."""

import json
import subprocess
import sys

import pytest

from slidesurv import __version__
from slidesurv.cli import main as front
from slidesurv.cli.crossval import typed
from slidesurv.registry import models

VERBS = [
    *("tile", "encode", "check", "weights", "init", "split", "crossval", "compare"),
    *("table", "report", "runs", "predict", "models", "cite", "demo", "rna", "fetch"),
]


def run(monkeypatch, capsys, *words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    monkeypatch.setattr(sys, "argv", ["slidesurv", *words])
    with pytest.raises(SystemExit) as ended:
        front.main()
        raise SystemExit(0)
    said = capsys.readouterr()
    return ended.value.code or 0, said.out, said.err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_an_example(monkeypatch, capsys, verb):
    code, out, _ = run(monkeypatch, capsys, verb, "--help")
    assert code == 0
    assert f"Example: slidesurv {verb}" in out


def test_help_lists_every_verb(monkeypatch, capsys):
    _, out, _ = run(monkeypatch, capsys, "--help")
    assert all(verb in out for verb in VERBS)


def test_version(monkeypatch, capsys):
    assert run(monkeypatch, capsys, "--version")[1].strip() == __version__


def test_models_as_json_are_the_registry(monkeypatch, capsys):
    _, out, _ = run(monkeypatch, capsys, "models", "--json")
    rows = json.loads(out)
    assert [row["name"] for row in rows] == models.names()
    assert next(row for row in rows if row["name"] == "vgat")["genomics"] == "training"


def test_models_as_a_table(monkeypatch, capsys):
    _, out, _ = run(monkeypatch, capsys, "models")
    assert "transmil" in out
    assert "training" in out


def test_cite_prints_bibtex(monkeypatch, capsys):
    _, out, _ = run(monkeypatch, capsys, "cite", "vgat")
    assert out.startswith("@inproceedings{chen2025vgat,")


def test_an_unknown_model_is_exit_2_with_the_nearest_name(monkeypatch, capsys):
    code, _, err = run(monkeypatch, capsys, "cite", "vgta")
    assert (code, "Did you mean 'vgat'" in err) == (2, True)


def test_the_template_is_a_valid_experiment(monkeypatch, capsys, tmp_path):
    from slidesurv.config.read import read_experiment

    code, _, _ = run(monkeypatch, capsys, "init", str(tmp_path / "e.toml"))
    assert code == 0
    assert read_experiment(tmp_path / "e.toml").name == "my-cohort"
    code, _, err = run(monkeypatch, capsys, "init", str(tmp_path / "e.toml"))
    assert (code, "--force" in err) == (2, True)


def test_every_key_of_an_experiment_stands_in_the_template(tmp_path):
    from importlib.resources import files

    from slidesurv.config.experiment import Experiment

    text = files("slidesurv.cli").joinpath("experiment.toml").read_text(encoding="utf-8")
    for section in ("cohort", "splits", "features", "genomics", "training", "records"):
        keys = Experiment.model_fields[section].annotation.model_fields
        missing = [key for key in keys if key not in text and key not in ("name", "suffixes")]
        assert missing == []


def test_missing_data_are_exit_1_with_the_place(monkeypatch, capsys, tmp_path):
    run(monkeypatch, capsys, "init", str(tmp_path / "e.toml"))
    code, _, err = run(monkeypatch, capsys, "crossval", str(tmp_path / "e.toml"), "-o", str(tmp_path / "run"))
    assert (code, "cohort.csv" in err) == (1, True)
    assert not (tmp_path / "run").exists()


def test_split_audits_and_writes_folds(monkeypatch, capsys, small, tmp_path):
    code, out, err = run(monkeypatch, capsys, "split", str(small / "small.toml"), "-o", str(tmp_path / "splits.json"))
    assert code == 0
    assert "deaths in the test part" in out
    assert 'kind = "file"' in err
    assert len(json.loads((tmp_path / "splits.json").read_text())["splits"]) == 2
    code, out, _ = run(monkeypatch, capsys, "split", str(small / "small.toml"), "--json")
    assert {row["part"] for row in json.loads(out)["audit"]} == {"train", "tune", "test"}


def test_crossval_report_and_predict_end_to_end(monkeypatch, capsys, small, tmp_path):
    run_folder = tmp_path / "run"
    words = [
        "crossval",
        str(small / "small.toml"),
        "-o",
        str(run_folder),
        "--workers",
        "1",
        "--set",
        "training.epochs=2",
    ]
    code, out, err = run(monkeypatch, capsys, *words)
    assert code == 0
    assert "6 folds: 6 done, 0 skipped, 0 failed" in err
    assert "| vgat |" in out
    page = (run_folder / "report.html").read_text(encoding="utf-8")
    assert "not a medical device" in page
    assert "SYN-0000" not in page
    code, out, _ = run(monkeypatch, capsys, "report", str(run_folder), "-o", str(tmp_path / "again.html"))
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == page
    bundle = run_folder / "attnmil" / "seed1" / "fold0" / "bundle"
    words = ["predict", str(bundle), "--features", str(small / "data" / "features"), "-o", str(tmp_path / "p.csv")]
    code, out, _ = run(monkeypatch, capsys, *words)
    assert (code, "40 patients" in out) == (0, True)


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["vgta"]])
def test_help_version_and_a_wrong_word_import_nothing_heavy_and_are_quick(words):
    program = (
        f"import sys, time; start = time.process_time(); sys.argv = ['slidesurv', *{words}]\n"
        "from slidesurv.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'typer', 'pydantic', 'numpy', 'torch', 'pandas', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "print(time.process_time() - start, sorted(heavy))"
    )
    for _ in range(3):  # another process may have emptied the caches
        shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        seconds, modules = shown.splitlines()[-1].split(" ", 1)
        assert modules == "[]"
        if float(seconds) < 0.06:
            return
    pytest.fail(f"{words} took {seconds} s")


@pytest.mark.parametrize("name", front.VERBS)
def test_the_list_of_verbs_says_what_their_docstrings_say(monkeypatch, capsys, name):
    _, out, _ = run(monkeypatch, capsys, name, "--help")
    explained = "".join(out.split("\n\n")[1].split())  # the first paragraph, however it is wrapped
    assert explained == front.VERBS[name].line.replace(" ", "")


def test_an_unknown_verb_is_exit_2_with_the_nearest_one(monkeypatch, capsys):
    code, _, err = run(monkeypatch, capsys, "crossvall")
    assert (code, "Did you mean 'crossval'?" in err) == (2, True)


def test_without_a_word_the_list_of_verbs_is_an_error(monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys)
    assert (code, out, "Commands:" in err) == (2, "", True)


def test_a_group_has_the_verbs_that_stand_in_files_of_their_own(monkeypatch, capsys):
    _, out, _ = run(monkeypatch, capsys, "rna", "--help")
    assert [line.split()[0] for line in out.split("Commands:\n")[1].splitlines()] == ["prepare", "embed", "pretrain"]


@pytest.mark.parametrize(
    ("word", "kept"),
    [
        ("/home/Ann Smith/luad.toml", "luad.toml"),
        ("--output=/home/Ann Smith/r", "--output=r"),
        ("-o/home/al/r", "-or"),
        ("../../home/al/r", "r"),
        ("~/r", "r"),
        ("cohort.table=/home/al/a=b/c.csv", "cohort.table=c.csv"),
        ("cohort.table='/home/Ann Smith/c.csv'", "cohort.table='…/c.csv'"),
        ("models.0.name=snn", "models.0.name=snn"),
        ("configs/luad.toml", "configs/luad.toml"),
    ],
)
def test_the_command_is_kept_without_the_folders_of_this_machine(monkeypatch, word, kept):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/slidesurv", "crossval", word])
    assert typed() == f"slidesurv crossval {kept}"
