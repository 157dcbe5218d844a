"""Outlines survive a round trip, also through what QuPath leaves, and are valid GeoJSON."""

import json

import numpy as np
import pytest

from slidesurv.errors import DataError
from slidesurv.slides.outline import overlay, read_outline, write_outline
from slidesurv.slides.tiles import grid
from slidesurv.slides.tissue import Preset, Tissue, outline_mask

DIMENSIONS = (1000, 800)


@pytest.fixture
def tissue() -> Tissue:
    mask = np.zeros((80, 100), np.bool_)
    mask[10:60, 10:50], mask[20:70, 60:95], mask[25:35, 20:32] = True, True, False
    return outline_mask(mask, (10.0, 10.0), Preset(tissue_area=0.0, hole_area=0.0))


def rings_area(ring) -> float:
    x, y = np.array(ring, float).T
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2)


def write(path, content):
    path.write_text(json.dumps(content))
    return path


def feature(*polygons, kind="Polygon"):
    coordinates = list(polygons) if kind == "MultiPolygon" else polygons[0]
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}}


BOX = [[10, 10], [10, 90], [90, 90], [90, 10], [10, 10]]
INNER = [[20.4, 20.6], [20, 40], [40, 40], [20.4, 20.6]]


def test_what_is_written_is_valid_geojson(tissue, tmp_path):
    write_outline(tmp_path / "s.geojson", tissue)
    content = json.loads((tmp_path / "s.geojson").read_text())
    assert content["type"] == "FeatureCollection" and len(content["features"]) == 2
    for written in content["features"]:
        outer, *holes = written["geometry"]["coordinates"]
        assert written["type"] == "Feature" and written["geometry"]["type"] == "Polygon"
        assert all(ring[0] == ring[-1] and len(ring) >= 4 for ring in (outer, *holes))
        assert rings_area(outer) > 0 and all(rings_area(hole) < 0 for hole in holes)
    assert sorted(len(written["geometry"]["coordinates"]) for written in content["features"]) == [1, 2]


def test_a_round_trip_keeps_every_tile(tissue, tmp_path):
    write_outline(tmp_path / "s.geojson", tissue)
    again = read_outline(tmp_path / "s.geojson", DIMENSIONS)
    assert len(again) == 2 and [len(holes) for holes in again.holes] == [len(holes) for holes in tissue.holes]
    for rule in ("basic", "four_pt", "four_pt_hard"):
        plan = {"size": (37, 37), "step": (37, 37), "dimensions": DIMENSIONS, "rule": rule}
        assert grid(again, **plan).tolist() == grid(tissue, **plan).tolist()


def test_no_tissue_survives_too(tmp_path):
    write_outline(tmp_path / "s.geojson", Tissue((), ()))
    assert len(read_outline(tmp_path / "s.geojson", DIMENSIONS)) == 0


@pytest.mark.parametrize(
    "content",
    [{"type": "FeatureCollection", "features": [feature([BOX, INNER])]}, feature([BOX, INNER]), [feature([BOX, INNER])],
     feature([BOX[::-1], INNER], kind="MultiPolygon")],
)  # fmt: skip
def test_what_qupath_exports_is_read(tmp_path, content):
    tissue = read_outline(write(tmp_path / "s.geojson", content), DIMENSIONS)
    assert len(tissue) == 1 and sorted(tissue.contours[0].tolist()) == sorted(BOX[:4])
    assert tissue.holes[0][0].tolist() == [[20, 21], [20, 40], [40, 40]]
    assert tissue.contours[0].dtype == np.int32


def test_parts_of_a_multipolygon_are_pieces(tmp_path):
    moved = (np.array(BOX) + 200).tolist()
    path = write(tmp_path / "s.geojson", feature([BOX], [moved], kind="MultiPolygon"))
    assert [contour.min() for contour in read_outline(path, DIMENSIONS).contours] == [10, 210]


@pytest.mark.parametrize(
    ("content", "message"),
    [(feature([1, 2], kind="Point"), "holds a Point.*remove points and lines"),
     ({"type": "Feature", "geometry": None}, "a feature without a shape"),
     (feature([BOX[:2]]), "a ring has 2 points"), (feature([]), "a ring has 0 points"),
     (feature([[["a", "b"]] * 4]), "a ring cannot be read"), ("text", "is no GeoJSON"), ([1], "is no GeoJSON"),
     (feature([(np.array(BOX) + 5000).tolist()]), r"reaches from \[5010.*the slide has 1000 × 800")],
)  # fmt: skip
def test_what_is_no_outline_of_this_slide_is_refused(tmp_path, content, message):
    with pytest.raises(DataError, match=rf"s\.geojson'.*{message}"):
        read_outline(write(tmp_path / "s.geojson", content), DIMENSIONS)


def test_an_overlay_shows_tissue_and_tiles_and_leaves_the_picture_alone(tissue):
    picture = np.full((160, 200, 3), 255, np.uint8)
    drawn = overlay(picture, DIMENSIONS, tissue, np.array([[500, 700]]), (100, 50))
    assert (picture == 255).all() and drawn.shape == picture.shape
    assert drawn[140, 110].max() < 60 and (drawn[100, 10] == 255).all()
    green = (drawn == (0, 160, 0)).all(-1)
    assert green[20:119, 20].any() and green.sum() > 200
