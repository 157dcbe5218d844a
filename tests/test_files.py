"""What stands under its final name is complete; what must not be a name is refused."""

import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slidesurv.errors import DataError
from slidesurv.files import (
    check_id,
    inside,
    is_number,
    read_csv,
    read_json,
    replacing,
    separator,
    sha256,
    write_csv,
    write_json,
    write_text,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.csv"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.csv"
    write_text(path, "old")
    program = (
        "import os, signal, pathlib; from slidesurv.files import replacing\n"
        f"with replacing(pathlib.Path({str(path)!r})) as t: t.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", program], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


def test_a_disk_that_refuses_is_an_error_with_a_remedy(tmp_path):
    (tmp_path / "file").write_text("in the way of a folder")
    with pytest.raises(DataError, match=r"Cannot write .* run the same command again"):
        write_text(tmp_path / "file" / "inside.txt", "text")


def test_a_full_disk_leaves_no_part_behind(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left on device"):
        write_text(tmp_path / "a.txt", "text")
    assert not list(tmp_path.iterdir())


def test_floats_come_back_with_every_digit(tmp_path):
    write_csv(tmp_path / "t.csv", [{"x": 0.1 + 0.2, "y": None}], ["x", "y"])
    assert [float(row["x"]) for row in read_csv(tmp_path / "t.csv")] == [0.1 + 0.2]


def test_a_cell_that_a_spreadsheet_would_run_is_disarmed(tmp_path):
    write_csv(tmp_path / "t.csv", [{"x": '=HYPERLINK("http://evil")', "y": -1.5}], ["x", "y"])
    row = read_csv(tmp_path / "t.csv")[0]
    assert row["x"].startswith("'=")
    assert float(row["y"]) == -1.5


@pytest.mark.parametrize("cell", ["-2+3+cmd|' /C calc'!A0", "-", "-1_0", "+5", "@SUM(1)", "\t=1"])
def test_text_that_begins_like_a_formula_is_disarmed(tmp_path, cell):
    write_csv(tmp_path / "t.csv", [{"x": cell}], ["x"])
    assert read_csv(tmp_path / "t.csv")[0]["x"] == f"'{cell}"


@pytest.mark.parametrize("cell", ["-1.5", "-3e-2", "-inf", "a-b", "2-1"])
def test_text_that_a_spreadsheet_takes_for_what_it_is_stays(tmp_path, cell):
    write_csv(tmp_path / "t.csv", [{"x": cell}], ["x"])
    assert read_csv(tmp_path / "t.csv")[0]["x"] == cell


@pytest.mark.parametrize("text", ["0", " 7 ", "-1.5", "+.5", "3.", "3e2", "1E-5", "inf", "-Inf"])
def test_plain_numbers_are_numbers(text):
    assert is_number(text)
    float(text)  # Python agrees


@pytest.mark.parametrize("text", ["", "5_0", "٣", "１", "1,5", "nan", "0x1f", ".", "e5", "1e", "--1", "1 2"])
def test_what_only_a_program_takes_for_a_number_is_none(text):
    assert not is_number(text)


@pytest.mark.parametrize(("line", "found"), [("a,b", ","), ("a;b;c,d", ";"), ("a\tb", "\t"), ("a", "\t")])
def test_the_separator_is_the_one_seen_most(line, found):
    assert separator(line) == found


def test_a_broken_file_comes_with_a_remedy(tmp_path):
    (tmp_path / "a").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"as JSON: .*\. Give the file as it was written"):
        read_json(tmp_path / "a")
    with pytest.raises(DataError, match=r"Cannot read the table .*\. Expected UTF-8 text, separated by commas"):
        read_csv(tmp_path / "a")


def test_json_is_the_same_bytes_whatever_the_order_of_keys(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1, "b": [2.5]})
    write_json(tmp_path / "b.json", {"b": [2.5], "a": 1})
    assert sha256(tmp_path / "a.json") == sha256(tmp_path / "b.json")


def test_a_file_that_is_no_json_is_named(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(DataError, match=r"a\.json"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    "bad",
    ["", "../x", "/etc/passwd", "a/b", "a\\b", "a\nb", "a\0b", "-a", ".a", "CON", "nul.svs", "x" * 201, "😀", "a b"],
)
def test_ids_that_could_leave_a_folder_or_hide_are_refused_with_their_row(bad):
    with pytest.raises(DataError, match="row 7"):
        check_id(bad, what="slide", row=7)


@pytest.mark.parametrize("good", ["TCGA-05-4249", "PT_0007vs", "a.b", "x" * 200, "CONTROL-1"])
def test_ordinary_ids_pass_untouched(good):
    assert check_id(good, what="slide") == good


@given(st.text(max_size=30))
def test_an_accepted_id_names_a_file_inside_its_folder(tmp_path_factory, text):
    folder = tmp_path_factory.getbasetemp()
    try:
        name = check_id(text, what="slide")
    except DataError:
        return
    assert inside(folder, name).parent == folder


def test_a_link_that_leaves_the_folder_is_refused(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "away").symlink_to(tmp_path)
    with pytest.raises(DataError, match="leads out of"):
        inside(tmp_path / "data", "away/secret")
