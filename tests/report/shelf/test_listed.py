"""The runs of a folder: every one in its line, whatever else stands there."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from slidesurv.errors import DataError
from slidesurv.report.page import write_report
from slidesurv.report.shelf.listed import list_runs

Made = Callable[..., Path]


def amend(folder: Path, **facts: object) -> None:
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def test_runs_are_found_at_any_depth_and_told_by_the_time_they_were_written(made: Made, tmp_path: Path) -> None:
    for name, day in (("deep/er/one", 2), ("two", 1), (".hidden/three", 3)):
        folder = made(f"all/{name}")
        os.utime(folder / "run.json", (day * 86400, day * 86400))
    (tmp_path / "all" / "link").symlink_to(tmp_path / "all" / "two")
    shelf = list_runs(tmp_path / "all")
    assert [run.place for run in shelf.runs] == ["two", "deep/er/one"]
    assert shelf.runs[0].written.isoformat() == "1970-01-02T00:00:00+00:00"
    assert (shelf.unfinished, shelf.damaged) == ((), {})


def test_a_line_tells_the_folds_and_the_highest_index_of_the_report(made: Made, tmp_path: Path) -> None:
    folder = made("all/run", failed=("poor", 1, 2))
    [before] = list_runs(tmp_path / "all").runs
    assert (before.finished, before.missing, before.highest) == (11, 1, None)
    write_report(folder)
    [run] = list_runs(tmp_path / "all").runs
    known = {row["slug"]: row["c_index"] for row in json.loads((folder / "metrics.json").read_text())}
    assert {method.slug: method.index.value for method in run.methods} == known
    assert run.highest is not None and run.highest.slug == "good"
    assert (run.cohort, run.protocol, run.stamp, run.version) == ("made", "leakfree", "", "0.1.0")


def test_the_published_protocol_is_stamped(made: Made, tmp_path: Path) -> None:
    made("all/run", protocol="paper")
    assert list_runs(tmp_path / "all").runs[0].stamp == "OPTIMISTIC"


def test_the_hash_of_the_settings_sees_what_is_asked_and_not_what_it_is_called(made: Made, tmp_path: Path) -> None:
    settings = {"name": "a", "training": {"epochs": 6}, "records": {"tracker": "none"}, "data_sha256": "d" * 64}
    for name, change in (("a", {}), ("b", {"name": "b", "records": {"tracker": "mlflow"}}), ("c", {"cohort": 1})):
        amend(made(f"all/{name}"), settings=settings | change)
    a, b, c = (run.hashes for run in sorted(list_runs(tmp_path / "all").runs, key=lambda run: run.place))
    assert a["config"] == b["config"] != c["config"]
    assert a["data"] == "d" * 64
    assert "code" not in a and "splits" not in a  # a run of an earlier version


def test_what_was_recorded_is_told(made: Made, tmp_path: Path) -> None:
    folder = made("all/run")
    code = {"version": "0.2.0", "commit": "0123456789abcdef-dirty", "sha256": "c0de"}
    amend(folder, code=code, hashes={"splits": "5911", "features": None, "tables": "7ab1e5"})
    [run] = list_runs(tmp_path / "all").runs
    assert run.version == "0.2.0+01234567-dirty"
    assert {"splits": "5911", "tables": "7ab1e5", "code": "c0de"}.items() <= run.hashes.items()
    assert "features" not in run.hashes
    amend(folder, code=code | {"commit": "released"})
    assert list_runs(tmp_path / "all").runs[0].version == "0.2.0"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("run.json", "{", "Cannot read"),
        ("run.json", "[]", "lacks every name"),
        ("run.json", "[{}]", "lacks every name"),
        ("run.json", '{"experiment": "x"}', "lacks 'cohort', 'folds'"),
        ("metrics.json", "[{}]", "is not as crossval writes it: KeyError: 'slug'"),
        ("splits.json", "{}", "KeyError: 'sha256'"),
    ],
)
def test_a_damaged_run_is_named_and_the_others_are_told(
    made: Made, tmp_path: Path, name: str, content: str, reason: str
) -> None:
    made("all/well")
    (made("all/ill") / name).write_text(content)
    shelf = list_runs(tmp_path / "all")
    assert [run.place for run in shelf.runs] == ["well"]
    assert list(shelf.damaged) == ["ill"]
    assert reason in shelf.damaged["ill"]


def test_a_run_that_leads_out_of_its_folder_is_damaged(made: Made, tmp_path: Path) -> None:
    folder = made("all/run")
    methods = json.loads((folder / "run.json").read_text())["methods"]
    amend(folder, methods=[methods[0] | {"slug": "../../.."}])
    assert "leads out of" in list_runs(tmp_path / "all").damaged["run"]


def test_a_run_that_is_not_described_yet_is_not_finished(made: Made, tmp_path: Path) -> None:
    folder = made("all/run")
    (folder / "run.json").unlink()
    (folder / "splits.json").write_text("{}")
    assert list_runs(tmp_path / "all").unfinished == ("run",)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no folder"):
        list_runs(tmp_path / "nowhere")
