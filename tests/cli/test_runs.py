"""``slidesurv runs`` and ``report --pdf`` from the command line."""

import json
import shutil
import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def folder(small, tmp_path_factory):
    """Two runs of one experiment that differ in one setting."""
    folder = tmp_path_factory.mktemp("runs")
    for name, rate in (("one", "0.001"), ("two", "0.01")):
        sets = ["training.epochs=1", f"training.learning_rate={rate}", 'models=[{name="snn"},{name="attnmil",dim=16}]']
        words = [word for key in [*sets, "baselines.names=[]"] for word in ("--set", key)]
        ended = run("crossval", str(small / "small.toml"), "-o", name, "--workers", "1", *words, cwd=folder)
        assert ended.returncode == 0, ended.stderr
    return folder


def run(*words, cwd):
    command = [sys.executable, "-m", "slidesurv.cli", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_runs_are_listed_with_hashes_and_what_is_damaged_is_named(folder):
    ill = folder / "ill\x1b[31m"
    ill.mkdir()
    (ill / "run.json").write_text("{")
    ended = run("runs", ".", cwd=folder)
    (ill / "run.json").unlink()
    ill.rmdir()
    assert ended.returncode == 0
    head, _, one, two = ended.stdout.splitlines()
    assert head.split()[:3] == ["run", "written", "cohort"]
    assert "4 of 4" in one and "4 of 4" in two
    columns = [line.split()[-5:] for line in (one, two)]  # config, splits, data, code, version
    assert columns[0][0] != columns[1][0]
    assert columns[0][1:] == columns[1][1:]
    assert "damaged: ill�[31m: Cannot read" in ended.stderr
    assert "2 runs, 0 not finished, 1 damaged" in ended.stderr


def test_two_runs_are_laid_side_by_side(folder):
    ended = run("runs", ".", "--compare", "one", "two", cwd=folder)
    assert ended.returncode == 0, ended.stderr
    assert [line.split() for line in ended.stdout.splitlines() if line.startswith("training.")] == [
        ["training.learning_rate", "0.001", "0.01"]
    ]
    assert "Fair: splits, features, tables and code are the same." in ended.stdout
    assert sum(line.startswith(("snn", "attnmil")) for line in ended.stdout.splitlines()) == 2


def test_both_are_given_as_json_without_a_nan(folder):
    shelf = json.loads(run("runs", ".", "--json", cwd=folder).stdout, parse_constant=pytest.fail)
    assert [entry["place"] for entry in shelf["runs"]] == ["one", "two"]
    assert set(shelf["runs"][0]["hashes"]) == {"config", "splits", "data", "features", "tables", "code"}
    between = json.loads(
        run("runs", "--compare", "one", "two", "--json", cwd=folder).stdout, parse_constant=pytest.fail
    )
    assert [setting["key"] for setting in between["settings"]] == ["training.learning_rate"]
    assert between["verdict"].startswith("Fair")
    assert between["same"] == dict.fromkeys(("splits", "features", "tables", "code"), True)
    assert {gap["slug"] for gap in between["gaps"]} == {"snn", "attnmil"}


def test_what_is_not_finite_is_null_in_json(folder, tmp_path):
    path = shutil.copytree(folder / "one", tmp_path / "one") / "metrics.json"
    rows = json.loads(path.read_text())
    path.write_text(json.dumps([row | {"c_index_low": float("-inf"), "c_index_high": float("nan")} for row in rows]))
    shelf = json.loads(run("runs", ".", "--json", cwd=tmp_path).stdout, parse_constant=pytest.fail)
    assert {(m["index"]["low"], m["index"]["high"]) for m in shelf["runs"][0]["methods"]} == {(None, None)}


def test_a_folder_that_is_no_run_cannot_be_compared(folder):
    ended = run("runs", ".", "--compare", "one", "three", cwd=folder)
    assert ended.returncode == 1
    assert "There is no run 'three'" in ended.stderr


def test_a_report_is_printed_beside_the_page(folder):
    try:
        import weasyprint  # noqa: F401
    except (ImportError, OSError) as error:
        pytest.skip(f"WeasyPrint cannot be used: {error}")
    ended = run("report", "one", "--pdf", cwd=folder)
    assert ended.returncode == 0, ended.stderr
    assert "PDF: one/report.pdf" in ended.stdout
    assert (folder / "one" / "report.pdf").read_bytes().startswith(b"%PDF")
