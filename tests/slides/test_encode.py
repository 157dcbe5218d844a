"""Features are those of the tiles that were planned, in their order, and say where they come from."""

import json
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import h5py
import numpy as np
import pytest

from slide_files import square, write_made
from slide_jobs import SMALL, TEXTURE, copied, made, statuses
from slidesurv.errors import ConfigError, DataError
from slidesurv.files import read_csv
from slidesurv.slides.encoders.base import open_encoder
from slidesurv.slides.encoders.texture import TextureEncoder
from slidesurv.slides.faults import TileError
from slidesurv.slides.prefetch import DEPTH, Clock, ahead, timed
from slidesurv.slides.quality import Limits
from slidesurv.slides.reader import Reader, Slide, open_slide
from slidesurv.slides.resolution import Level
from slidesurv.slides.run import encode_job, run_job
from slidesurv.slides.settings import EncodeSettings, Pace
from slidesurv.slides.store import FeatureStore
from slidesurv.slides.synthetic import write_pyramid
from slidesurv.slides.tiles import read_coords
from slidesurv.slides.writer import hash_coords, writing

TILES = "20x_256px_0px_overlap"
# What the conventions ask of every file, and TRIDENT's names on the coordinates.
PROVENANCE = (
    "schema_version", "tool_version", "encoder_id", "encoder_revision", "weights_sha256", "mpp_target", "mpp_slide",
    "mpp_source", "tile_um", "transform", "stain_norm", "dtype", "coords_sha256", "n_unreadable", "created_with",
)  # fmt: skip
TRIDENT = (
    "patch_size", "patch_size_level0", "level0_magnification", "target_magnification", "overlap", "level0_width",
    "level0_height", "name", "savetodir",
)  # fmt: skip


@pytest.fixture(scope="module")
def slides(tmp_path_factory) -> Path:
    return made(tmp_path_factory.mktemp("slides"), "AB")


@pytest.fixture(scope="module")
def tiled(slides, tmp_path_factory) -> Path:
    job = tmp_path_factory.mktemp("tiled") / "job"
    run_job(slides, job, SMALL)
    return job


@pytest.fixture
def job(tiled, slides, tmp_path) -> Path:
    copied(slides, tmp_path / "slides", "AB")
    return copytree(tiled, tmp_path / "job")


def encoded(job: Path, settings: EncodeSettings, slide: str = "A", **more) -> h5py.File:
    encode_job(job, settings, **more)
    return h5py.File(job / TILES / settings.folder / f"{slide}.h5")


def planned(job: Path, slide: str = "A") -> np.ndarray:
    return read_coords(job / f"{TILES}/patches/{slide}_patches.h5")[0]


def test_features_are_those_of_the_pixels_at_the_coordinates(job, slides):
    with encoded(job, TEXTURE, root=slides) as file, open_slide(slides / "A.tif") as slide:
        coords = file["coords"][:]
        tiles = np.stack([slide.read(x, y, 0, 256, 256) for x, y in coords.tolist()])
        assert np.array_equal(coords, planned(job))
        assert np.array_equal(file["features"][:], open_encoder("texture").encode(tiles))


def test_a_file_says_where_it_comes_from(job, slides):
    with encoded(job, TEXTURE, root=slides) as file:
        assert set(PROVENANCE) <= set(file.attrs) and set(TRIDENT) <= set(file["coords"].attrs)
        assert file["features"].attrs["encoder"] == file.attrs["encoder_id"] == "texture"
        assert (file.attrs["mpp_target"], file.attrs["tile_um"], file.attrs["mpp_source"]) == (0.5, 128.0, "metadata")
        assert file.attrs["coords_sha256"] == hash_coords(file["coords"][:])
        assert file.attrs["stain_norm"] == "none" and json.loads(file.attrs["limits"])["pen"] == 0.5
    store = FeatureStore(job / TILES / "features_texture")
    assert set(store.check(["A", "B"])) == {"A", "B"}
    assert store.header("A").origin.startswith("encoder=texture, encoder_id=texture, mpp_target=0.5")


def test_halves_are_kept_where_they_are_asked_for(job, slides):
    with encoded(job, replace(TEXTURE, half=True), root=slides) as file:
        halves = file["features"][:]
        assert halves.dtype == np.float16
    with h5py.File(job / f"{TILES}/features_texture/A.h5") as file:
        assert file.attrs["dtype"] == "float32"  # of the arithmetic
    whole = FeatureStore(job / f"{TILES}/features_texture").read("A")[0]
    assert np.array_equal(whole.numpy(), halves.astype(np.float32))


def test_limits_leave_out_tiles_and_are_written_down(job, slides):
    rows = read_csv(job / f"{TILES}/qc/A.csv")
    worst = sorted(float(row["background"]) for row in rows)[len(rows) // 2]
    limits = Limits(background=worst)
    kept = [[int(row["x"]), int(row["y"])] for row in rows if float(row["background"]) <= worst]
    with encoded(job, replace(TEXTURE, limits=limits), root=slides) as file:
        assert file["coords"][:].tolist() == kept and 0 < len(kept) < len(rows)
        assert file.attrs["n_limited"] == len(rows) - len(kept)
        assert json.loads(file.attrs["limits"])["background"] == worst


def test_a_slide_that_is_all_ink_has_no_tissue(tmp_path):
    write_pyramid(tmp_path / "slides/ink.tif", square(1024, 700, (30, 60, 200)), mpp=0.5)
    tally = run_job(tmp_path / "slides", tmp_path / "job", SMALL, TEXTURE)
    assert statuses(tally) == {"ink": "done"} and statuses(tally, "features_texture") == {"ink": "no_tissue"}
    header = FeatureStore(tmp_path / f"job/{TILES}/features_texture").header("ink")
    assert (header.tiles, header.width) == (0, TextureEncoder.dim)


def test_limits_need_measured_quality(slides, tmp_path):
    unmeasured = replace(SMALL, quality=False)
    with pytest.raises(ConfigError, match="not measured cannot be limited"):
        run_job(slides, tmp_path / "job", unmeasured, TEXTURE)
    tally = run_job(slides, tmp_path / "job", unmeasured, replace(TEXTURE, limits=None))
    assert statuses(tally, "features_texture") == {"A": "done", "B": "done"}
    assert not (tmp_path / f"job/{TILES}/qc").exists()
    with pytest.raises(ConfigError, match="was tiled without measuring quality"):
        encode_job(tmp_path / "job", TEXTURE)
    run_job(slides, tmp_path / "job", SMALL)
    assert len(read_csv(tmp_path / f"job/{TILES}/qc/A.csv")) == len(planned(tmp_path / "job"))


@pytest.mark.parametrize("name", ["macenko", "reinhard"])
def test_a_stain_normalisation_is_written_down_and_has_its_own_folder(job, slides, name):
    with encoded(job, TEXTURE, root=slides) as file:
        plain = file["features"][:]
    with encoded(job, replace(TEXTURE, normalise=name), root=slides) as file:
        assert file.filename.endswith(f"features_texture_{name}/A.h5")
        assert file.attrs["stain_norm"] == name and json.loads(file.attrs["stain_norm_fit"])
        assert file["features"].shape == plain.shape and not np.allclose(file["features"][:], plain)


def test_a_slide_that_was_replaced_after_tiling_is_refused(job):
    write_made(job.parent / "slides/A.tif", side=1280)
    tally = encode_job(job, TEXTURE, root=job.parent / "slides")
    assert statuses(tally, "features_texture") == {"A": "failed", "B": "done"}
    assert "Tile it again" in tally.failed[0].reason
    assert [path.name for path in (job / TILES / "features_texture").iterdir()] == ["B.h5"]


def test_a_slide_that_is_not_tiled_yet_is_said_to_be(slides, tmp_path):
    run_job(slides, tmp_path / "job", SMALL, shard=(1, 2))
    tally = encode_job(tmp_path / "job", TEXTURE)
    assert [(each.slide, each.reason) for each in tally.failed] == [("B", "Slide 'B' is not tiled yet. Tile it first.")]


def test_an_encoder_that_cannot_be_had_is_missed_before_the_first_slide(slides, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nothing"))
    with pytest.raises(ConfigError, match="weights"):
        run_job(slides, tmp_path / "job", SMALL, EncodeSettings(encoder="resnet50"))
    with pytest.raises(ConfigError, match=r"Unknown encoder 'textrue'\. Did you mean 'texture'"):
        run_job(slides, tmp_path / "job", SMALL, EncodeSettings(encoder="textrue"))
    assert not (tmp_path / "job").exists()


def test_features_that_are_not_finite_fail_their_slide_alone(job, slides, monkeypatch):
    real = TextureEncoder._encode
    calls = []

    def sometimes(self, tiles):
        calls.append(len(tiles))
        return real(self, tiles) * (np.nan if len(calls) == 2 else 1)

    monkeypatch.setattr(TextureEncoder, "_encode", sometimes)
    tally = encode_job(job, TEXTURE, root=slides, pace=Pace(batch=4))
    assert statuses(tally, "features_texture") == {"A": "failed", "B": "done"}
    assert [path.name for path in (job / TILES / "features_texture").iterdir()] == ["B.h5"]


def test_the_clock_knows_every_tile(job, slides):
    tally = encode_job(job, TEXTURE, root=slides)
    clock = tally.clock
    assert clock.tiles == len(planned(job)) + len(planned(job, "B"))
    assert min(clock.decode, clock.network, clock.starved) > 0


def test_items_come_in_order_and_only_a_few_ahead():
    made_, clock = [], Clock()

    def items():
        for number in range(20):
            made_.append(number)
            yield number

    got = []
    for number in ahead(items(), clock):
        got.append(number)
        assert len(made_) <= len(got) + DEPTH + 1
    assert got == list(range(20)) and clock.starved > 0


def test_an_error_ahead_comes_in_its_place():
    def items():
        yield 1
        raise DataError("torn")

    coming = ahead(items(), Clock())
    assert next(coming) == 1
    with pytest.raises(DataError, match="torn"):
        next(coming)


def test_a_disk_that_fails_is_a_tile_that_fails():
    class Failing(Reader):
        levels = (Level(512, 512, 1.0),)

        def __init__(self) -> None: ...

        def fill(self, out, left, top, level):
            raise OSError(5, "Input/output error")

    slide = timed(Slide(Path("s.svs"), Failing(), (0.5, 0.5), "metadata"), Clock())
    with pytest.raises(TileError, match=r"E_READ: The region at \(0, 0\) of level 0 cannot be read: .*Input/output"):
        slide.read(0, 0, 0, 16, 16)


def write_some(path: Path, features: np.ndarray, step: int, **more) -> None:
    coords = np.arange(2 * len(features)).reshape(-1, 2)
    with writing(path, encoder="uni", width=features.shape[1], most=len(features), **more) as file:
        for start in range(0, len(features), step):
            file.append(features[start : start + step], coords[start : start + step])


def test_a_file_written_in_pieces_is_read_as_a_whole_whatever_the_pieces(tmp_path):
    features = np.random.default_rng(0).standard_normal((700, 1024)).astype(np.float32)
    for step in (1, 64, 700):
        write_some(tmp_path / f"{step}.h5", features, step)
        read, coords = FeatureStore(tmp_path).read(str(step))
        assert np.array_equal(read.numpy(), features) and coords[-1].tolist() == [1398, 1399]
    with h5py.File(tmp_path / "64.h5") as file:
        assert np.prod(file["features"].chunks) * 4 == 2**20 and file["features"].compression is None


def test_a_small_file_is_small(tmp_path):
    write_some(tmp_path / "s.h5", np.zeros((3, 1024), np.float32), 3)
    assert (tmp_path / "s.h5").stat().st_size < 30_000


def test_a_piece_that_reading_would_refuse_leaves_no_file(tmp_path):
    with pytest.raises(DataError, match="not all finite"):
        write_some(tmp_path / "s.h5", np.full((2, 3), np.nan, np.float32), 1)
    with pytest.raises(ConfigError, match=r"70000 does not fit into float16"):
        write_some(tmp_path / "s.h5", np.full((2, 3), 70000, np.float32), 1, half=True)
    assert not list(tmp_path.iterdir())
