"""Downloads from a service that fails in the middle: nothing partial has a name, and nothing is fetched for nothing."""

import fcntl
import json
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from cohorts.gdc_server import serving
from slidesurv.cohorts.inventory import find_manifests, read_gdc_manifest, verify
from slidesurv.cohorts.transfer import download
from slidesurv.cohorts.web import Web
from slidesurv.errors import ConfigError, DataError, MissingExtra
from slidesurv.files import read_csv

PIECE = 1000


@pytest.fixture
def service():
    with serving() as service:
        yield service


def bytes_of(size: int, seed: int = 0) -> bytes:
    return bytes((seed + 7 * n + n // 251) % 256 for n in range(size))


def fetched(service, folder, **settings):
    """Outcomes by file name, of a patient client."""
    manifest = folder.parent / "manifest.txt"
    manifest.write_text(service.manifest())
    with Web(service.url, **{"attempts": 3, "pause": 0.001, "timeout": 5.0, **settings}) as web:
        outcomes = download(read_gdc_manifest(manifest), folder, web, piece=PIECE)
    return {outcome.name.split("/")[1]: outcome for outcome in outcomes}


def whole(service, folder, name: str = "") -> bool:
    """Whether every file stands there as the service has it, and nothing else does."""
    expected = {hit["file_id"]: hit["file_name"] for hit in service.hits["files"] if name in hit["file_name"]}
    found = {path.name: path.read_bytes() for path in folder.glob("*/*")}
    return found == {file_name: service.contents[file_id] for file_id, file_name in expected.items()}


def test_files_lie_as_gdc_client_lays_them(service, tmp_path):
    hit = service.slide("a.svs", bytes_of(5500))
    service.counts("b.tsv", bytes_of(300, 1))
    service.counts("empty.tsv", b"")
    outcomes = fetched(service, tmp_path / "data")
    assert {outcome.status for outcome in outcomes.values()} == {"done"}
    assert whole(service, tmp_path / "data")
    assert (tmp_path / "data" / hit["file_id"] / "a.svs").exists()
    assert not (tmp_path / "data" / "failures.csv").exists()


def test_large_files_come_in_ranges_side_by_side_and_never_more_than_allowed(service, tmp_path):
    hit = service.slide("a.svs", bytes_of(9700))
    service.delay = 0.03
    fetched(service, tmp_path / "data", connections=3)
    assert sorted(asked for path, asked in service.asked if path == f"data/{hit['file_id']}") == sorted(
        f"bytes={start}-{min(start + 999, 9699)}" for start in range(0, 9700, 1000)
    )
    assert service.most == 3


def test_what_is_there_is_not_asked_for_again(service, tmp_path):
    service.slide("a.svs", bytes_of(2500))
    fetched(service, tmp_path / "data")
    service.asked.clear()
    assert fetched(service, tmp_path / "data")["a.svs"].status == "skipped"
    assert service.asked == []


def test_a_file_of_another_size_under_the_name_is_fetched_again(service, tmp_path):
    hit = service.slide("a.svs", bytes_of(2500))
    (tmp_path / "data" / hit["file_id"]).mkdir(parents=True)
    (tmp_path / "data" / hit["file_id"] / "a.svs").write_bytes(b"half")
    assert fetched(service, tmp_path / "data")["a.svs"].status == "done"
    assert whole(service, tmp_path / "data")


@pytest.mark.parametrize("fault", ["cut", "short", "busy", "error"])
def test_a_request_that_fails_is_made_again_for_what_is_missing(service, tmp_path, fault):
    hit = service.slide("a.svs", bytes_of(800))
    service.faults[f"data/{hit['file_id']}"].extend([fault, fault])
    assert fetched(service, tmp_path / "data")["a.svs"].status == "done"
    assert whole(service, tmp_path / "data")
    asked = [span for _, span in service.asked]
    assert asked == (["", "bytes=400-799", "bytes=600-799"] if fault in ("cut", "short") else ["", "", ""])


def test_the_service_says_how_long_to_wait_and_every_connection_does(service, tmp_path):
    first, *_ = [service.slide(f"{name}.svs", bytes_of(900)) for name in "abcd"]
    service.retry_after = "1"
    service.faults[f"data/{first['file_id']}"].append("busy")
    fetched(service, tmp_path / "data", connections=2)
    waited = [moment - service.clock[0] for moment in service.clock]
    assert sum(moment < 0.9 for moment in waited) <= 3  # the first, and what the other connection had begun
    assert sum(moment > 0.9 for moment in waited) >= 2
    assert whole(service, tmp_path / "data")


def test_a_date_to_wait_for_is_understood_and_a_day_is_too_long(service, tmp_path):
    hit = service.slide("a.svs", bytes_of(900))
    service.always[f"data/{hit['file_id']}"] = "busy"
    service.retry_after = format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True)
    reason = fetched(service, tmp_path / "data")["a.svs"].reason
    assert "503" in reason
    assert "Try again after 86" in reason


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("cut", "Given up after 3 attempts"),
        ("short", "Given up after 3 attempts at .*: the answer ended at byte"),
        ("busy", "Given up after 3 attempts at .*: answered 503"),
        ("error", "Given up after 3 attempts at .*: answered 500"),
        ("flip", "Its md5 is .*, fetched twice, but"),
        ("long", "More than its 900 bytes came|where 'bytes"),
    ],
)
def test_what_cannot_be_had_fails_alone_with_its_reason_and_has_no_name(service, tmp_path, fault, words):
    hit = service.slide("bad.svs", b"x" * 900)
    service.slide("good.svs", bytes_of(2500))
    service.contents[hit["file_id"]] = service.contents[hit["file_id"]] if fault != "short" else b""
    service.always[f"data/{hit['file_id']}"] = fault
    outcomes = fetched(service, tmp_path / "data")
    assert outcomes["good.svs"].status == "done"
    assert outcomes["bad.svs"].status == "failed"
    failures = read_csv(tmp_path / "data/failures.csv")
    assert [row["file_name"] for row in failures] == ["bad.svs"]
    assert failures[0]["reason"] == outcomes["bad.svs"].reason
    assert re.search(words, outcomes["bad.svs"].reason)
    assert not (tmp_path / "data" / hit["file_id"] / "bad.svs").exists()


def test_failures_are_forgotten_when_they_are_mended(service, tmp_path):
    hit = service.slide("a.svs", bytes_of(900))
    service.always[f"data/{hit['file_id']}"] = "error"
    fetched(service, tmp_path / "data")
    del service.always[f"data/{hit['file_id']}"]
    assert fetched(service, tmp_path / "data")["a.svs"].status == "done"
    assert not (tmp_path / "data/failures.csv").exists()


def test_a_wrong_byte_is_fetched_once_more(service, tmp_path):
    hit = service.slide("a.svs", bytes_of(3500))
    service.faults[f"data/{hit['file_id']}"].append("flip")
    assert fetched(service, tmp_path / "data", connections=1)["a.svs"].status == "done"
    assert whole(service, tmp_path / "data")
    assert service.asked[-1] == (f"data/{hit['file_id']}", "")


@pytest.mark.parametrize("size", [900, 3500])
def test_without_ranges_files_come_whole(service, tmp_path, size):
    hit = service.slide("a.svs", bytes_of(size))
    service.always[f"data/{hit['file_id']}"] = "whole"
    service.faults[f"data/{hit['file_id']}"].append("cut")
    assert fetched(service, tmp_path / "data")["a.svs"].status == "done"
    assert whole(service, tmp_path / "data")


def test_a_file_that_is_gone_is_named_with_the_answer(service, tmp_path):
    hit = service.slide("a.svs", bytes_of(900))
    del service.contents[hit["file_id"]]
    reason = fetched(service, tmp_path / "data")["a.svs"].reason
    assert "answered 404" in reason
    assert "file not found" in reason
    assert len(service.asked) == 1  # asking again would not help


def test_a_file_shorter_than_the_manifest_says_is_refused(service, tmp_path):
    hit = service.slide("a.svs", bytes_of(3500))
    service.contents[hit["file_id"]] = bytes_of(1500)
    outcome = fetched(service, tmp_path / "data")["a.svs"]
    assert outcome.status == "failed"
    assert "manifest" in outcome.reason


def test_an_interrupted_download_asks_only_for_the_rest(service, tmp_path):
    hit = service.slide("a.svs", bytes_of(5000))
    path = f"data/{hit['file_id']}"
    service.faults[path].extend(["", "", "cut", "error", "error", "error"])
    assert fetched(service, tmp_path / "data", connections=1)["a.svs"].status == "failed"
    before = len(service.asked)
    assert fetched(service, tmp_path / "data")["a.svs"].status == "done"
    rest = sorted(span for _, span in service.asked[before:])
    assert rest == ["bytes=2500-2999", "bytes=3000-3999", "bytes=4000-4999"]
    assert whole(service, tmp_path / "data")


def test_what_was_left_of_another_file_is_not_taken_over(service, tmp_path):
    hit = service.slide("a.svs", bytes_of(5000))
    service.faults[f"data/{hit['file_id']}"].extend(["", "error", "error", "error"])
    fetched(service, tmp_path / "data", connections=1)
    journal = next((tmp_path / "data").glob("*/.a.svs.part.json"))
    journal.write_text(json.dumps(json.loads(journal.read_text()) | {"md5": "0" * 32}))
    assert fetched(service, tmp_path / "data")["a.svs"].status == "done"
    assert whole(service, tmp_path / "data")
    journal.write_text("{")
    (tmp_path / "data" / hit["file_id"] / "a.svs").rename(journal.with_name(".a.svs.part"))
    assert fetched(service, tmp_path / "data")["a.svs"].status == "done"


def test_a_download_that_is_killed_goes_on_and_ends_with_the_same_bytes(service, tmp_path):
    service.slide("a.svs", bytes_of(40 * PIECE))
    service.delay = 0.02
    (tmp_path / "manifest.txt").write_text(service.manifest())
    program = (
        "import pathlib, sys\n"
        "from slidesurv.cohorts.inventory import read_gdc_manifest\n"
        "from slidesurv.cohorts.transfer import download\n"
        "from slidesurv.cohorts.web import Web\n"
        f"with Web({service.url!r}) as web:\n"
        f"    folder = pathlib.Path({str(tmp_path)!r})\n"
        f"    download(read_gdc_manifest(folder / 'manifest.txt'), folder / 'data', web, piece={PIECE})"
    )
    process = subprocess.Popen([sys.executable, "-c", program])
    while not list((tmp_path / "data").glob("*/.a.svs.part.json")) and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not list((tmp_path / "data").glob("*/a.svs"))
    before = len(service.asked)
    assert fetched(service, tmp_path / "data")["a.svs"].status == "done"
    assert len(service.asked) - before < 40
    strays = {path.name for path in (tmp_path / "data").glob("*/.*")}
    assert all(name.endswith(".part") for name in strays)  # of a journal that was being written
    assert (tmp_path / "data").glob("*/a.svs").__next__().read_bytes() == bytes_of(40 * PIECE)


def test_one_process_downloads_into_a_folder(service, tmp_path):
    service.slide("a.svs", bytes_of(900))
    (tmp_path / "data").mkdir()
    with (tmp_path / "data/.fetch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="Another process downloads"):
            fetched(service, tmp_path / "data")
    assert service.asked == []


def test_a_disk_without_room_is_said_before_anything_comes(service, tmp_path, monkeypatch):
    service.slide("a.svs", bytes_of(900))
    usage = type("Usage", (), {"free": 10**9})()
    monkeypatch.setattr("slidesurv.cohorts.transfer.shutil.disk_usage", lambda folder: usage)
    with pytest.raises(DataError, match=r"room for 1\.0 GB, and 0\.0 GB are to come"):
        fetched(service, tmp_path / "data")
    assert service.asked == []


def test_a_disk_that_refuses_ends_the_download(service, tmp_path):
    service.slide("a.svs", bytes_of(900))
    (tmp_path / "data").write_text("a file")
    with pytest.raises(DataError, match="Cannot write into"):
        fetched(service, tmp_path / "data")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("../x\ta.svs\t{md5}\t5\treleased", "id in row 2 is '../x'"),
        ("a1\t../../a.svs\t{md5}\t5\treleased", "file name in row 2"),
        ("a1\t.bashrc\t{md5}\t5\treleased", "file name in row 2"),
        ("a1\ta.svs\t123\t5\treleased", "Row 2 of the manifest has md5 '123'"),
        ("a1\ta.svs\t{md5}\t-5\treleased", "size '-5'"),
        ("a1\ta.svs\t{md5}\t5\treleased\na1\tb.svs\t{md5}\t5\treleased", "lists 'a1' more than once"),
    ],
)
def test_a_manifest_that_cannot_be_meant_is_refused(tmp_path, row, words):
    path = tmp_path / "m.txt"
    path.write_text("id\tfilename\tmd5\tsize\tstate\n" + row.format(md5="0" * 32) + "\n")
    with pytest.raises(DataError, match=words):
        read_gdc_manifest(path)


def test_a_table_that_is_no_manifest_is_refused(tmp_path):
    (tmp_path / "m.txt").write_text("File ID\tFile Name\nx\ty\n")
    with pytest.raises(DataError, match="has no 'id', 'filename', 'md5', 'size' for any file"):
        read_gdc_manifest(tmp_path / "m.txt")


def test_a_manifest_of_an_archive_names_folders(tmp_path):
    (tmp_path / "MANIFEST.txt").write_text(f"id\tfilename\tmd5\tsize\tstate\na1\ta1/a.svs\t{'0' * 32}\t5\tvalidated\n")
    [entry] = read_gdc_manifest(tmp_path / "MANIFEST.txt")
    assert entry.place == "a1/a.svs"


def test_verify_names_what_is_not_as_it_should_be(service, tmp_path):
    ids = {name: service.slide(f"{name}.svs", bytes_of(900, n))["file_id"] for n, name in enumerate("abcdef")}
    folder = tmp_path / "data"
    fetched(service, folder)
    (folder / ids["a"] / "a.svs").write_bytes(bytes_of(900, 9))
    (folder / ids["b"] / "b.svs").write_bytes(b"<!DOCTYPE html><html>Sorry</html>")
    (folder / ids["c"] / "c.svs").rename(folder / ids["c"] / "c.svs.partial")
    (folder / ids["d"] / "d.svs").unlink()
    (folder / ids["e"] / "copy.svs").write_bytes(b"")
    (folder / ids["e"] / "logs").mkdir()
    (folder / ids["e"] / "logs" / "e.svs.parcel").write_bytes(b"")
    (folder / ids["e"] / "annotations.txt").write_text("")
    findings = {f.place.split("/")[1]: f for f in verify(folder, read_gdc_manifest(tmp_path / "manifest.txt"))}
    assert {name: finding.status for name, finding in findings.items()} == {
        "a.svs": "wrong", "b.svs": "wrong", "c.svs": "missing", "c.svs.partial": "partial", "d.svs": "missing",
        "e.svs": "ok", "copy.svs": "unlisted", "f.svs": "ok",
    }  # fmt: skip
    assert "its md5 is" in findings["a.svs"].reason
    assert "it has 33 bytes instead of 900, and is an HTML page" in findings["b.svs"].reason


def test_our_unfinished_downloads_are_found_too(service, tmp_path):
    hit = service.slide("a.svs", bytes_of(2500))
    service.always[f"data/{hit['file_id']}"] = "error"
    fetched(service, tmp_path / "data")
    found = [(f.place, f.status) for f in verify(tmp_path / "data", read_gdc_manifest(tmp_path / "manifest.txt"))]
    assert found == [(f"{hit['file_id']}/a.svs", "missing"), (f"{hit['file_id']}/.a.svs.part", "partial")]


def test_manifests_are_found_by_their_name(tmp_path):
    for name in ("gdc_manifest.2026-01-01.txt", "MANIFEST.txt", "gdc_sample_sheet.tsv", "notes.txt"):
        (tmp_path / name).write_text("")
    assert [path.name for path in find_manifests(tmp_path)] == ["MANIFEST.txt", "gdc_manifest.2026-01-01.txt"]
    with pytest.raises(DataError, match="has no manifest"):
        find_manifests(tmp_path.joinpath("sub").mkdir() or tmp_path / "sub")
    with pytest.raises(DataError, match="is no folder"):
        find_manifests(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("settings", "words"), [({"base_url": "ftp://x"}, "no web address"), ({"connections": 0}, "0 connections")]
)
def test_a_client_that_cannot_work_is_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        Web(**{"base_url": "http://127.0.0.1:1", **settings})


def test_without_httpx_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(MissingExtra, match=r"slidesurv\[fetch\]"):
        Web("https://example.org")


def test_nobody_at_the_address_is_said_after_the_last_attempt():
    with Web("http://127.0.0.1:1", attempts=2, pause=0.001) as web, pytest.raises(DataError, match="after 2 attempts"):
        web.ask("status")
