"""Slides have names that are safe and their own, and lie where they are looked for."""

import pytest

from slidesurv.errors import DataError
from slidesurv.slides.faults import ReadError
from slidesurv.slides.manifest import SlideFile, Sources, find_slides, read_lock, slides_of, write_lock


def touched(folder, *places):
    for place in places:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).touch()
    return folder


def rows(*slides, **more):
    return [{"slide_id": slide, "slide_path": f"{slide}.svs", **more} for slide in slides]


def test_a_folder_is_searched_to_its_end_and_hidden_files_are_not_slides(tmp_path):
    touched(tmp_path, "b.svs", "x/a.NDPI", "x/y/c.tif", ".hidden/d.svs", "._b.svs", "readme.txt", "b.svs.partial")
    sources = find_slides(tmp_path)
    assert [(each.slide, each.place) for each in sources.slides] == [
        ("b", "b.svs"), ("a", "x/a.NDPI"), ("c", "x/y/c.tif"),
    ]  # fmt: skip
    assert sources.left_out == ("b.svs.partial",)


def test_pictures_that_are_parts_of_a_slide_are_no_slides(tmp_path):
    touched(tmp_path, "a/a.vms", "a/1.jpg", "a/2.jpg", "b/photo.jpg")
    assert [each.place for each in find_slides(tmp_path).slides] == ["a/a.vms", "b/photo.jpg"]


def test_dicom_files_of_a_folder_are_left_to_a_manifest(tmp_path):
    touched(tmp_path, "a.svs", "s/1.dcm", "s/2.dcm")
    assert find_slides(tmp_path).left_out == ("s/1.dcm", "s/2.dcm")
    found = slides_of([{"slide_id": "s", "slide_path": "s/1.dcm"}], tmp_path)
    assert found.slides == (SlideFile("s", "s/1.dcm", None, 2),)


def test_a_job_inside_the_folder_of_slides_is_no_source_of_slides(tmp_path):
    touched(tmp_path, "a.svs", "job/manifest.lock.csv", "job/thumbnails/a.jpg")
    assert [each.slide for each in find_slides(tmp_path).slides] == ["a"]


def test_an_empty_folder_is_named_with_what_is_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"holds no slides \('.svs', .*\)\. Name the folder that does"):
        find_slides(tmp_path)


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (("a/1.svs", "b/1.svs"), r"1 pairs of slides have one name but for case: 'a/1\.svs and b/1\.svs'"),
        (("x.svs", "x.tif"), r"'x\.svs and x\.tif'"),
        (("a.svs", "b/A.svs"), r"'a\.svs and b/A\.svs'"),
    ],
)
def test_slides_that_would_share_a_name_are_refused(tmp_path, places, message):
    with pytest.raises(DataError, match=message):
        find_slides(touched(tmp_path, *places))


@pytest.mark.parametrize("name", ["-a.svs", "ä.svs", "😀.svs", "con.svs", "a b.svs", "x" * 230 + ".svs"])
def test_a_file_whose_name_is_not_safe_is_refused(tmp_path, name):
    with pytest.raises(DataError, match="The slide id is "):
        find_slides(touched(tmp_path, name))


@pytest.mark.parametrize(
    ("header", "cells", "expected"),
    [
        (("slide_id", "slide_path", "mpp"), ("S1", "x/S1.svs", "0.25"), SlideFile("S1", "x/S1.svs", 0.25, 2)),
        (("slide", "FILENAME"), ("S1", "other.svs"), SlideFile("S1", "other.svs", None, 2)),
        (("wsi", "mpp"), ("x/S1.svs", ""), SlideFile("S1", "x/S1.svs", None, 2)),
        (("wsi", "mpp"), ("S1.svs", "NaN"), SlideFile("S1", "S1.svs", None, 2)),
        (("slide_id", "slide_path"), ("S1.svs", "S1.svs"), SlideFile("S1", "S1.svs", None, 2)),
        (("slide_id", "slide_path"), ("PT_0007vs", "PT_0007vs.svs"), SlideFile("PT_0007vs", "PT_0007vs.svs", None, 2)),
        (("wsi",), ("PT_0007vs.svs",), SlideFile("PT_0007vs", "PT_0007vs.svs", None, 2)),
    ],
)  # fmt: skip
def test_the_names_of_other_tools_are_understood(tmp_path, header, cells, expected):
    assert slides_of([dict(zip(header, cells, strict=True))], tmp_path).slides == (expected,)


def test_slides_without_a_path_are_looked_for_by_their_names(tmp_path):
    touched(tmp_path, "x/S1.svs")
    table = [{"slide_id": "S1.svs"}, {"slide_id": "S2"}, {"slide_id": ""}]
    one, other = slides_of(table, tmp_path).slides
    assert (one.place, other.place) == ("x/S1.svs", "")
    assert one.path(tmp_path) == tmp_path / "x/S1.svs"
    with pytest.raises(ReadError, match="E_READ: Slide 'S2' has no file in the folder of slides"):
        other.path(tmp_path)


@pytest.mark.parametrize("name", ["../../etc/x", "/etc/x", "a\0b", "a\nb", "CON", "x" * 300, "😀", "-x", ""])
def test_a_name_that_is_not_safe_is_refused_with_its_row(tmp_path, name):
    table = [{"slide_id": "fine", "slide_path": "f.svs"}, {"slide_id": name or " ", "slide_path": "b.svs"}]
    if not name:
        assert len(slides_of(table, tmp_path).slides) == 1
        return
    with pytest.raises(DataError, match="The slide id in row 3 is "):
        slides_of(table, tmp_path)


@pytest.mark.parametrize("place", ["../x.svs", "/elsewhere/x.svs", "a/../../x.svs", "a\0.svs", "a\n.svs"])
def test_a_path_that_leads_out_is_refused_with_its_row(tmp_path, place):
    with pytest.raises(DataError, match=r"Row 2: the slide's path is .* Write paths relative to the folder"):
        slides_of([{"slide_id": "x", "slide_path": place}], tmp_path)


def test_an_absolute_path_into_the_folder_is_taken(tmp_path):
    table = [{"slide_id": "x", "slide_path": str(tmp_path / "a/x.svs")}]
    assert slides_of(table, tmp_path).slides[0].place == "a/x.svs"


def test_a_link_that_leads_out_is_refused_when_it_is_opened(tmp_path):
    (tmp_path / "slides").mkdir()
    (tmp_path / "x.svs").touch()
    (tmp_path / "slides/x.svs").symlink_to(tmp_path / "x.svs")
    (tmp_path / "slides/loop.svs").symlink_to(tmp_path / "slides/loop.svs")
    for each in find_slides(tmp_path / "slides").slides:
        with pytest.raises(ReadError, match="leads out of the folder of slides"):
            each.path(tmp_path / "slides")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (rows("a", "A"), r"'a \(row 2\) and A \(row 3\)'"),
        ([*rows("a", "b"), *rows("a")], r"'a \(row 2\) and a \(row 4\)'"),
        ([{"slide_id": s, "slide_path": "one.svs"} for s in "ab"], r"are one file: 'a \(row 2\) and b \(row 3\)'"),
        ([{"wsi": "a/1.svs"}, {"wsi": "b/1.svs"}], r"'1 \(row 2\) and 1 \(row 3\)'"),
        (rows("a", mpp="0,5"), "Row 2: 'mpp' is '0,5', which is no number"),
        ([{"patient": "p"}], "No column names the slides; the manifest has 'patient'. Call one 'slide_id'"),
        ([], "the manifest has no rows"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_named_with_its_rows(tmp_path, table, message):
    with pytest.raises(DataError, match=message):
        slides_of(table, tmp_path)


def test_what_is_written_down_is_read_again(tmp_path):
    slides = (SlideFile("a", "x/a.svs", 0.25), SlideFile("b", "=b.svs"), SlideFile("c", ""))
    write_lock(tmp_path / "lock.csv", Sources(tmp_path, slides))
    again = read_lock(tmp_path / "lock.csv", tmp_path).slides
    assert [(each.slide, each.place.removeprefix("./"), each.mpp) for each in again] == [
        (each.slide, each.place, each.mpp) for each in slides
    ]
    assert str(tmp_path) not in (tmp_path / "lock.csv").read_text()
