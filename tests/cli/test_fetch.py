"""``slidesurv fetch``: from a project to checked files, against a service on this machine."""

import json

import pytest
from typer.testing import CliRunner

from cohorts.gdc_server import serving
from slidesurv.cli.fetch import app
from slidesurv.cohorts.clinical import read_manifest
from slidesurv.errors import ConfigError, DataError
from slidesurv.files import read_csv


@pytest.fixture
def service():
    with serving() as service:
        person = {"vital_status": "Dead", "days_to_death": 323}
        service.hits["cases"] = [
            {"submitter_id": "TCGA-2F-A9KO", "project": {"project_id": "TCGA-BLCA"}, "demographic": person}
        ]
        service.slide("TCGA-2F-A9KO-01Z-00-DX1.A.svs", bytes(range(256)) * 9)
        service.counts("f1.star_gene_counts.tsv", b"gene\tcounts\n")
        yield service


def run(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.mark.parametrize("verb", ["manifest", "download", "verify"])
def test_every_verb_explains_itself_with_an_example(verb):
    assert f"Example: slidesurv fetch {verb}" in run(verb, "--help").stdout


def test_the_group_has_an_example_and_lists_its_verbs():
    said = run("--help").stdout
    assert "Example: slidesurv fetch" in said
    assert all(verb in said for verb in ("manifest", "download", "verify"))


def test_from_a_project_to_checked_files(service, tmp_path):
    folder = tmp_path / "blca"
    listed = run("manifest", "TCGA-BLCA", "-o", folder, "--base-url", service.url)
    assert (listed.exit_code, listed.stdout.strip()) == (0, f"2 files: {folder / 'gdc_manifest.txt'}")
    assert "slides: 1 files of 1 patients, 0.0 MB" in listed.stderr
    fetched = run("download", folder / "gdc_manifest.txt", "--base-url", service.url)
    assert (fetched.exit_code, fetched.stdout) == (0, "2 files: 2 done, 0 skipped, 0 failed\n")
    assert run("download", folder / "gdc_manifest.txt", "--base-url", service.url).stdout.count("2 skipped")
    checked = run("verify", folder)
    assert (checked.exit_code, checked.stdout) == (0, "")
    assert "2 files: 2 ok, 0 not" in checked.stderr
    assert read_manifest(folder / "cohort.csv", name="blca").slides == ("TCGA-2F-A9KO-01Z-00-DX1.A",)


def test_one_kind_of_file_is_enough(service, tmp_path):
    run("manifest", "TCGA-BLCA", "-o", tmp_path, "--kind", "expression", "--base-url", service.url)
    assert "svs" not in (tmp_path / "gdc_manifest.txt").read_text()


def test_files_that_fail_are_counted_named_and_end_with_3(service, tmp_path):
    hit = service.hits["files"][1]
    service.always[f"data/{hit['file_id']}"] = "flip"
    (tmp_path / "manifest.txt").write_text(service.manifest())
    ended = run("download", tmp_path / "manifest.txt", "-o", tmp_path / "data", "--base-url", service.url)
    assert (ended.exit_code, ended.stdout) == (3, "2 files: 1 done, 0 skipped, 1 failed\n")
    assert f"failed: {hit['file_id']}/{hit['file_name']} Its md5 is" in ended.stderr
    assert [row["file_id"] for row in read_csv(tmp_path / "data/failures.csv")] == [hit["file_id"]]
    checked = run("verify", tmp_path / "data", "--manifest", tmp_path / "manifest.txt", "-o", tmp_path / "failures.csv")
    assert checked.exit_code == 3
    assert checked.stdout == f"missing: {hit['file_id']}/{hit['file_name']}: it is not there\n"
    assert [row["status"] for row in read_csv(tmp_path / "failures.csv")] == ["missing"]


def test_verify_as_json_names_every_file(service, tmp_path):
    (tmp_path / "manifest.txt").write_text(service.manifest())
    run("download", tmp_path / "manifest.txt", "--base-url", service.url)
    (tmp_path / service.hits["files"][0]["file_id"] / "x.svs.partial").write_bytes(b"")
    checked = run("verify", tmp_path, "--json")
    assert checked.exit_code == 3
    assert [row["status"] for row in json.loads(checked.stdout)] == ["ok", "ok", "partial"]


def test_files_that_cannot_be_used_end_with_3(service, tmp_path):
    service.slide("two.svs", b"x")["cases"] *= 2
    ended = run("manifest", "TCGA-BLCA", "-o", tmp_path, "--base-url", service.url)
    assert ended.exit_code == 3
    assert "1 files cannot be used" in ended.stderr


def test_errors_reach_the_front_door(service, tmp_path):
    assert isinstance(run("manifest", "TCGA-X", "-o", tmp_path, "--base-url", service.url).exception, ConfigError)
    assert isinstance(run("manifest", "TCGA-X", "-o", tmp_path, "--base-url", "nowhere").exception, ConfigError)
    assert isinstance(run("verify", tmp_path).exception, DataError)


def test_patients_without_follow_up_are_counted(service, tmp_path):
    (tmp_path / "s1.csv").write_text("bcr_patient_barcode,OS,OS.time\nTCGA-ZZ-0000,1,5\n")
    said = run("manifest", "TCGA-BLCA", "-o", tmp_path, "--endpoints", tmp_path / "s1.csv", "--base-url", service.url)
    assert "1 patients have no follow-up" in said.stderr
