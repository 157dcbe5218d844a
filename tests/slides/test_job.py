"""A job does every slide once, whatever happens to it on the way, and says what became of each."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from shutil import copytree, rmtree

import h5py
import numpy as np
import pytest
import tifffile

import slide_jobs
from slide_files import glass, spoil, square, write_aperio, write_made
from slide_jobs import SMALL, TEXTURE, WrongStage, contents, made, statuses
from slidesurv.errors import ConfigError, DataError
from slidesurv.files import read_csv, read_json
from slidesurv.slides.claims import Claims
from slidesurv.slides.crew import Crew
from slidesurv.slides.job import Job, Record, read_config, remember
from slidesurv.slides.manifest import SlideFile, Sources, find_slides, slides_of
from slidesurv.slides.resolution import Target
from slidesurv.slides.run import Step, encode_job, run_job
from slidesurv.slides.settings import EncodeSettings, Pace, TileSettings
from slidesurv.slides.synthetic import write_pyramid
from slidesurv.slides.tiff import read_tables
from slidesurv.slides.tiles import read_coords

TILES = "20x_256px_0px_overlap"
COORDS = f"{TILES}/patches/A_patches.h5"
FEATURES = f"{TILES}/features_texture/A.h5"


@pytest.fixture(scope="module")
def slides(tmp_path_factory) -> Path:
    return made(tmp_path_factory.mktemp("slides"), "AB")


@pytest.fixture(scope="module")
def whole(slides, tmp_path_factory) -> Path:
    """A job that nothing happened to."""
    job = tmp_path_factory.mktemp("whole") / "job"
    tally = run_job(slides, job, SMALL, TEXTURE)
    assert statuses(tally) == statuses(tally, "features_texture") == {"A": "done", "B": "done"}
    return job


@pytest.fixture
def job(whole, tmp_path) -> Path:
    """A copy of it, with the times of its files."""
    return copytree(whole, tmp_path / "job")


def again(slides: Path, job: Path, **more) -> dict[str, str]:
    return {each.slide: each.status for each in run_job(slides, job, SMALL, TEXTURE, **more).settled}


def test_everything_stands_where_trident_has_it(whole):
    for slide in "AB":
        for place in (
            f"thumbnails/{slide}.jpg", f"contours_geojson/{slide}.geojson", f"{TILES}/patches/{slide}_patches.h5",
            f"{TILES}/qc/{slide}.csv", f"{TILES}/visualization/{slide}.jpg", f"{TILES}/features_texture/{slide}.h5",
        ):  # fmt: skip
            assert (whole / place).stat().st_size > 0
    records = [read_json(path) for path in (whole / "states").iterdir()]
    assert {(r["slide"], r["stage"], r["status"]) for r in records} == {
        (slide, f"{TILES}/{stage}", "done") for slide in "AB" for stage in ("patches", "features_texture")
    }
    assert not list((whole / "claims").iterdir())


def test_the_job_says_what_it_was_asked_for_without_folders_of_this_machine(whole, slides):
    config = read_config(whole)
    assert config["tiles"][TILES]["target"] == {"mpp": 0.5, "px": 256, "overlap": 0}
    assert config["tissue"]["preset"]["tissue_area"] == 1.0
    assert config["features"][TILES]["features_texture"]["encoder_id"] == "texture"
    assert (whole / config["slides"]["root"]).resolve() == slides.resolve()
    assert TileSettings.from_sections(config, TILES) == SMALL
    run = read_json(next((whole / "runs").iterdir()))
    assert run["counts"] == {"patches": {"done": 2}, "features_texture": {"done": 2}}
    for path in whole.rglob("*.*"):
        assert str(slides.parent).encode() not in path.read_bytes()


def test_the_summary_adds_up_and_the_sheet_shows_every_slide(whole):
    summary = (whole / "summary.md").read_text()
    assert summary.startswith("# 2 slides") and "| patches | 2 | 2 | 0 | 0 | 0 | 0 |" in summary
    sheet = (whole / "contact_sheet.html").read_text()
    assert all(f'src="{TILES}/visualization/{slide}.jpg"' in sheet for slide in "AB")
    assert read_csv(whole / "failures.csv") == []


def test_one_worker_and_two_write_the_same_bytes(slides, whole, tmp_path):
    run_job(slides, tmp_path / "job", SMALL, TEXTURE, workers=2)
    assert contents(tmp_path / "job") == contents(whole)


def test_batches_and_threads_change_no_byte(slides, whole, tmp_path):
    run_job(slides, tmp_path / "job", SMALL, TEXTURE, pace=Pace(batch=5, readers=3))
    assert contents(tmp_path / "job") == contents(whole)


def test_what_is_done_is_skipped(slides, job):
    before = {path: path.stat().st_mtime_ns for path in job.rglob("*.h5")}
    assert set(again(slides, job).values()) == {"skipped"}
    assert {path: path.stat().st_mtime_ns for path in job.rglob("*.h5")} == before


def test_tiling_and_encoding_one_after_the_other_write_the_same(slides, whole, tmp_path):
    run_job(slides, tmp_path / "job", SMALL)
    tally = encode_job(tmp_path / "job", TEXTURE)
    assert statuses(tally, "features_texture") == {"A": "done", "B": "done"}
    assert contents(tmp_path / "job") == contents(whole)


@pytest.mark.parametrize("kill", [1, 4, 9])
def test_a_job_that_is_killed_goes_on_to_the_same_bytes(slides, whole, tmp_path, kill):
    code = "import slide_jobs, sys; from pathlib import Path; slide_jobs.work_and_tell(*map(Path, sys.argv[1:]), 1)"
    command = [sys.executable, "-c", code, str(slides), str(tmp_path / "job")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    ) as process:
        for _ in range(kill):
            assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    again(slides, tmp_path / "job")
    assert contents(tmp_path / "job") == contents(whole)
    assert not list(tmp_path.rglob("*.part"))


def test_a_job_whose_workers_are_killed_too_goes_on_to_the_same_bytes(slides, whole, tmp_path):
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=slide_jobs.work_and_tell, args=(slides, tmp_path / "job", 2))
    process.start()
    states = tmp_path / "job/states"
    while not (states.exists() and any(states.iterdir())):
        process.join(0.05)
    process.kill()
    process.join()
    again(slides, tmp_path / "job")
    assert contents(tmp_path / "job") == contents(whole)


def test_a_death_between_the_file_and_its_record_costs_nothing(slides, job, whole):
    rmtree(job / "states")
    assert set(again(slides, job).values()) == {"skipped"}
    assert len(list((job / "states").iterdir())) == 4
    assert contents(job) == contents(whole)


def test_processes_that_share_a_job_do_every_slide_once(slides, whole, tmp_path):
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        tallies = pool.starmap(run_job, [(slides, tmp_path / "job", SMALL, TEXTURE)] * 2)
    for stage in ("patches", "features_texture"):
        counts = sum((tally.counts(stage) for tally in tallies), Counter())
        assert counts == {"done": 2, "skipped": 2}
    assert contents(tmp_path / "job") == contents(whole)
    assert not list((tmp_path / "job/claims").iterdir())


def test_what_others_work_on_is_waited_for(slides, tmp_path, monkeypatch):
    job, steps, others = Job(tmp_path / "job", TILES), [], Claims(tmp_path / "job/claims")
    monkeypatch.setattr("slidesurv.slides.run.PATIENCE", 0.05)

    def listen(step: Step) -> None:
        steps.append(step)
        if step.elsewhere:
            others.release(claim)

    with others:
        claim = others.take(job.key("A", "patches"))
        tally = run_job(slides, job.folder, SMALL, report=listen)
    assert [step.elsewhere for step in steps if step.elsewhere] == [1]
    assert [(each.slide, each.status) for each in tally.settled] == [("B", "done"), ("A", "done")]


def test_what_another_found_to_fail_is_believed(slides, tmp_path, monkeypatch):
    job, others = Job(tmp_path / "job", TILES), Claims(tmp_path / "job/claims")
    monkeypatch.setattr("slidesurv.slides.run.PATIENCE", 0.05)

    def listen(step: Step) -> None:
        if step.elsewhere:
            job.write(Record(slide="A", stage=f"{TILES}/patches", status="failed", reason="torn, says another"))
            others.release(claim)

    with others:
        claim = others.take(job.key("A", "patches"))
        tally = run_job(slides, job.folder, SMALL, report=listen)
    assert [(each.slide, each.reason) for each in tally.failed] == [("A", "torn, says another")]


def test_shards_are_parts_of_one_whole(slides, whole, tmp_path):
    parts = [run_job(slides, tmp_path / "job", SMALL, TEXTURE, shard=(k, 2)) for k in (1, 2)]
    assert [statuses(part) for part in parts] == [{"A": "done"}, {"B": "done"}]
    assert contents(tmp_path / "job") == contents(whole)
    with pytest.raises(ConfigError, match="There is no shard 3 of 2"):
        run_job(slides, tmp_path / "job", SMALL, shard=(3, 2))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-500])


def poison(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["features"][3, 5] = np.nan


def shorten(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["features"].resize(len(file["features"]) - 1, axis=0)


def move(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["coords"][0] += 1


def relabel(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["created_with"] = "other settings"


def drop_a_row(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


@pytest.mark.parametrize(
    ("place", "damage", "reason"),
    [
        (FEATURES, cut, "Cannot read"),
        (FEATURES, poison, "features[3, 5] is nan"),
        (FEATURES, shorten, "tiles, but coords has shape"),
        (FEATURES, move, "its coordinates are not those that were written"),
        (FEATURES, relabel, "its features were made with other settings"),
        (FEATURES, Path.unlink, ""),
        (COORDS, cut, "has no coordinates that can be read"),
        (COORDS, move, "its coordinates are not those that were written"),
        (COORDS, Path.unlink, ""),
        (f"{TILES}/qc/A.csv", drop_a_row, "its table of quality has"),
        (f"{TILES}/qc/A.csv", Path.unlink, "'A.csv' is missing"),
        ("thumbnails/A.jpg", Path.unlink, "'A.jpg' is missing"),
        ("contours_geojson/A.geojson", Path.unlink, "'A.geojson' is missing"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_file_that_was_damaged_is_made_again(slides, job, whole, place, damage, reason):
    damage(job / place)
    tally = run_job(slides, job, SMALL, TEXTURE)
    redone = [each for each in tally.settled if each.status == "done"]
    assert [each.slide for each in redone] == ["A"] and reason in redone[0].reason
    assert contents(job) == contents(whole)


def test_changed_settings_of_one_job_are_refused_with_what_changed(slides, job):
    with pytest.raises(ConfigError, match=r"other settings of 'tissue': 'preset was .*another folder"):
        run_job(slides, job, TileSettings(), TEXTURE)
    with pytest.raises(ConfigError, match="'half was False, now True'"):
        run_job(slides, job, SMALL, replace(TEXTURE, half=True))
    with pytest.raises(ConfigError, match="'limits was"):
        encode_job(job, replace(TEXTURE, limits=None))


def test_a_job_may_have_several_kinds_of_tiles(slides, job):
    run_job(slides, job, replace(SMALL, target=Target(mpp=1.0)))
    coords, said = read_coords(job / "10x_256px_0px_overlap/patches/A_patches.h5")
    assert said["patch_size_level0"] == 512 and len(coords) < len(read_coords(job / COORDS)[0])
    with pytest.raises(ConfigError, match=f"'{TILES}', '10x_256px_0px_overlap'. Say which with --tiles"):
        encode_job(job, TEXTURE)
    assert encode_job(job, TEXTURE, tiles="10x_256px_0px_overlap").counts("features_texture")["done"] == 2


def test_a_folder_that_is_no_job_is_named(tmp_path):
    with pytest.raises(ConfigError, match="is no job: run 'slidesurv tile SLIDES"):
        encode_job(tmp_path, TEXTURE)


def test_an_outline_that_was_edited_is_taken_as_it_is(slides, job):
    outline = job / "contours_geojson/A.geojson"
    square_ = [[0, 0], [600, 0], [600, 600], [0, 600], [0, 0]]
    outline.write_text(json.dumps({"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [square_]}}))
    edited = outline.read_bytes()
    for place in (None, COORDS):  # also when the tiles are lost later
        if place:
            (job / place).unlink()
        assert statuses(run_job(slides, job, SMALL, TEXTURE)) == {"A": "done", "B": "skipped"}
        coords, said = read_coords(job / COORDS)
        assert coords.max() < 600 and said["segmenter"] == "given"
        assert outline.read_bytes() == edited
    assert set(again(slides, job).values()) == {"skipped"}


def test_masks_stand_for_the_segmenter_where_they_are(slides, job, whole, tmp_path):
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks/A.geojson").write_bytes((whole / "contours_geojson/B.geojson").read_bytes())
    tally = run_job(slides, job, SMALL, masks=tmp_path / "masks")
    assert statuses(tally) == {"A": "done", "B": "skipped"}
    assert np.array_equal(read_coords(job / COORDS)[0], read_coords(whole / COORDS.replace("A_", "B_"))[0])
    assert set(statuses(run_job(slides, job, SMALL)).values()) == {"skipped"}
    with pytest.raises(ConfigError, match="no folder of masks"):
        run_job(slides, job, SMALL, masks=tmp_path / "none")


def test_a_slide_whose_mpp_is_stated_anew_is_done_again(slides, job):
    table = [{"slide_id": "A", "slide_path": "A.tif", "mpp": "0.25"}, {"slide_id": "B", "slide_path": "B.tif"}]
    tally = run_job(slides_of(table, slides), job, SMALL, TEXTURE)
    assert statuses(tally) == statuses(tally, "features_texture") == {"A": "done", "B": "skipped"}
    assert read_coords(job / COORDS)[1]["patch_size_level0"] == 512
    assert again(slides, job)["A"] == "done"  # and back


def test_slides_that_are_no_longer_listed_are_named(slides, job):
    tally = run_job(Sources(slides, find_slides(slides).slides[:1]), job, SMALL)
    assert tally.notes == ("No longer listed: 'B'",)
    assert "No longer listed: 'B'" in (job / "summary.md").read_text()


def broken_slides(folder: Path) -> Path:
    """One good slide among many that cannot be used."""
    write_made(folder / "good.tif")
    cut_short = write_made(folder / "cut.tif")
    cut_short.write_bytes(cut_short.read_bytes()[: int(0.6 * cut_short.stat().st_size)])
    (folder / "nothing.svs").touch()
    (folder / "page.svs").write_text("<!DOCTYPE html><title>Please log in</title>")
    (folder / "mirax.mrxs").write_bytes(b"\xff\xd8\xff" + bytes(100))
    (folder / "half.svs.partial").write_bytes(bytes(10))
    tifffile.imwrite(folder / "no-mpp.tif", square(512, 300), tile=(256, 256), photometric="rgb", compression="jpeg")
    tifffile.imwrite(folder / "sixteen.tif", square(512, 300).astype(np.uint16), photometric="rgb", tile=(256, 256))
    write_pyramid(folder / "inverted.tif", 255 - square(1024, 700), mpp=0.5)
    write_pyramid(folder / "coarse.tif", square(1024, 700), mpp=2.0)
    (folder / "dangling.svs").symlink_to(folder / "nowhere.svs")
    os.mkfifo(folder / "pipe.svs")
    return folder


def test_slides_that_cannot_be_used_are_named_and_the_others_are_done(tmp_path):
    folder = tmp_path / "slides"
    folder.mkdir()
    tally = run_job(broken_slides(folder), tmp_path / "job", SMALL, TEXTURE)
    rows = {row["slide_id"]: row for row in read_csv(tmp_path / "job/failures.csv")}
    assert {slide: row["code"] for slide, row in rows.items()} == {
        "cut": "E_READ", "nothing": "E_FORMAT", "page": "E_FORMAT", "mirax": "E_FORMAT", "no-mpp": "E_MPP",
        "sixteen": "E_PIXELS", "inverted": "E_PIXELS", "coarse": "E_MPP", "dangling": "E_READ", "pipe": "E_FORMAT",
    }  # fmt: skip
    assert "a web page" in rows["page"]["reason"] and "companion folder" in rows["mirax"]["reason"]
    assert "--default-mpp" in rows["no-mpp"]["reason"]
    assert all("\n" not in row["reason"] and str(tmp_path) not in row["reason"] for row in rows.values())
    assert statuses(tally, "features_texture") == {"good": "done"}
    assert tally.notes == ("Left out: 'half.svs.partial', unfinished or DICOM without a manifest",)
    assert "| patches | 11 | 1 | 0 | 0 | 10 | 0 |" in (tmp_path / "job/summary.md").read_text()
    assert {path.name for path in (tmp_path / "job").rglob("*.h5")} == {"good_patches.h5", "good.h5"}


def test_a_slide_that_failed_is_tried_again_when_the_job_is(tmp_path):
    folder = made(tmp_path / "slides", "A")
    tifffile.imwrite(folder / "B.tif", square(1024, 700), tile=(256, 256), photometric="rgb", compression="jpeg")
    assert statuses(run_job(folder, tmp_path / "job", SMALL))["B"] == "failed"
    mended = replace(SMALL, default_mpp=0.5)
    assert statuses(run_job(folder, tmp_path / "job", mended)) == {"A": "skipped", "B": "done"}
    assert read_coords(tmp_path / f"job/{TILES}/patches/B_patches.h5")[1]["mpp_source"] == "default"
    assert read_csv(tmp_path / "job/failures.csv") == []
    tally = run_job(folder, tmp_path / "job", SMALL, TEXTURE)  # what was tiled by a default stays so without it
    assert statuses(tally) == {"A": "skipped", "B": "skipped"}
    assert statuses(tally, "features_texture") == {"A": "done", "B": "done"}


def test_two_scanners_in_one_cohort_give_tiles_of_one_size(tmp_path):
    for name, mpp in (("gt450", 0.2628), ("at2", 0.5), ("odd", 0.2528)):
        write_pyramid(tmp_path / f"slides/{name}.tif", square(1400, 1200), mpp=mpp)
    run_job(tmp_path / "slides", tmp_path / "job", SMALL)
    for path in (tmp_path / f"job/{TILES}/patches").iterdir():
        said = read_coords(path)[1]
        assert abs(said["patch_size_level0"] * said["mpp_slide"][0] - 128) <= said["mpp_slide"][0] / 2
        assert said["tile_um"] == 128 and said["mpp_target"] == 0.5


@pytest.mark.parametrize("name", ["white", "tiny"])
def test_a_slide_without_tiles_has_files_of_0_tiles(tmp_path, name):
    pixels = {"white": glass(1024, 1024), "tiny": square(200, 190)}[name]
    write_pyramid(tmp_path / f"slides/{name}.tif", pixels, mpp=0.5)
    settings = replace(SMALL, preset=replace(SMALL.preset, tissue_area=0.01))
    tally = run_job(tmp_path / "slides", tmp_path / "job", settings, TEXTURE)
    status = {"white": "no_tissue", "tiny": "empty"}[name]
    assert statuses(tally) == statuses(tally, "features_texture") == {name: status}
    with h5py.File(tmp_path / f"job/{TILES}/features_texture/{name}.h5") as file:
        assert file["features"].shape[0] == 0 < file["features"].shape[1] and file["coords"].shape == (0, 2)
        assert file.attrs["status"] == status
    assert f"- {name}: " in (tmp_path / "job/summary.md").read_text()
    assert set(statuses(run_job(tmp_path / "slides", tmp_path / "job", settings)).values()) == {"skipped"}


def damage_tiles(path: Path, count: int) -> None:
    """Make some JPEGs of level 0, in the middle of the tissue, unreadable."""
    table = read_tables(path)[0]
    middle = [row * table.columns + column for row in (1, 2) for column in (1, 2)][:count]

    def strike(content: bytearray) -> None:
        for number in middle:
            start = int(table.offsets[number])
            content[start : start + int(table.counts[number])] = bytes(int(table.counts[number]))

    spoil(path, strike)


def test_a_tile_that_cannot_be_read_is_left_out_and_counted(tmp_path):
    folder = made(tmp_path / "slides", "A")
    damage_tiles(folder / "A.tif", 1)
    settings, features = replace(SMALL, max_unreadable=0.5), replace(TEXTURE, max_unreadable=0.5)
    tally = run_job(folder, tmp_path / "job", settings, features)
    assert statuses(tally, "features_texture") == {"A": "done"}
    planned, said = read_coords(tmp_path / "job" / COORDS)
    with h5py.File(tmp_path / "job" / FEATURES) as file:
        missing = said["n_unreadable"]
        assert missing >= 1 and file.attrs["n_unreadable"] == missing
        assert len(file["features"]) == len(planned) - missing == len(read_csv(tmp_path / f"job/{TILES}/qc/A.csv"))
    assert f"- A: {missing} tiles cannot be read" in (tmp_path / "job/summary.md").read_text()
    assert set(statuses(run_job(folder, tmp_path / "job", settings)).values()) == {"skipped"}


def test_a_slide_of_which_more_than_a_share_cannot_be_read_fails(tmp_path):
    folder = made(tmp_path / "slides", "AB")
    damage_tiles(folder / "A.tif", 4)
    tally = run_job(folder, tmp_path / "job", SMALL)
    assert statuses(tally) == {"A": "failed", "B": "done"}
    assert "at most 1.0% may be left out" in tally.failed[0].reason
    assert not (tmp_path / "job" / COORDS).exists()


def test_nothing_of_a_label_or_a_property_reaches_the_job(tmp_path):
    secret = "Jane-Doe-1961"
    (tmp_path / "slides").mkdir()
    write_aperio(tmp_path / "slides/a.svs", square(1024, 700), secret)
    run_job(tmp_path / "slides", tmp_path / "job", SMALL, TEXTURE)
    files = [path for path in (tmp_path / "job").rglob("*") if path.is_file()]
    assert len(files) > 8
    assert not [path for path in files if secret.encode() in path.read_bytes()]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_ends_the_job_and_leaves_nothing_half_written(slides, tmp_path, workers):
    code = """
import resource, sys
from slide_jobs import SMALL, TEXTURE
from slidesurv.slides.run import run_job
if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000))
    run_job(sys.argv[1], sys.argv[2], SMALL, TEXTURE, workers=int(sys.argv[3]))
"""
    script = tmp_path / "script.py"
    script.write_text(code)
    command = [sys.executable, str(script), str(slides), str(tmp_path / "job"), str(workers)]
    ended = subprocess.run(
        command, check=False, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip
    assert ended.returncode == 1 and "DataError: Cannot write" in ended.stderr
    assert not list(tmp_path.rglob("*.part"))
    assert set(again(slides, tmp_path / "job").values()) <= {"done", "skipped"}


def test_a_worker_that_dies_takes_its_slide_only_the_second_time(tmp_path):
    stage = WrongStage(Job(tmp_path, TILES), tmp_path)
    names = ["deadly", "once", *"abcd"]
    waiting = [SlideFile(name, name) for name in names]
    settled = {}
    with Crew(stage.job, 2, stage.pace) as crew:
        for waited in (False, True, True):
            ended = list(crew.settle(stage, waiting, lambda tiles: None, waited=waited))
            settled |= {each.slide: each for each in ended if each.status != "elsewhere"}
            waiting = [each for each in waiting if each.slide not in settled]
    assert {slide: each.status for slide, each in settled.items()} == {"deadly": "failed"} | dict.fromkeys(
        names[1:], "done"
    )
    assert settled["deadly"].reason.startswith("E_CRASH: 2 workers were killed (signal 9)")
    assert stage.job.read("deadly", "patches").status == "failed"
    assert not list(stage.job.claims.iterdir())


def test_a_bug_in_a_worker_ends_the_job(tmp_path, capfd):
    stage = WrongStage(Job(tmp_path, TILES), tmp_path)
    with pytest.raises(RuntimeError, match="A worker met a bug in slide 'bug'"), Crew(stage.job, 2, stage.pace) as crew:
        list(crew.settle(stage, [SlideFile("bug", "bug"), SlideFile("a", "a")], lambda tiles: None, waited=False))
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_no_workers_are_refused(slides, tmp_path):
    with pytest.raises(ConfigError, match="0 workers cannot do anything"):
        run_job(slides, tmp_path / "job", SMALL, workers=0)


def test_steps_tell_how_far_a_stage_is(slides, tmp_path):
    steps = []
    run_job(slides, tmp_path / "job", SMALL, TEXTURE, pace=Pace(batch=4), report=steps.append)
    for stage in ("patches", "features_texture"):
        own = [step for step in steps if step.stage == stage]
        tiles = sum(step.ended.tiles for step in own if step.ended)
        assert sum(step.tiles for step in own) == tiles > 0
        assert [step.settled for step in own if step.ended] == [1, 2] and {step.slides for step in own} == {2}
        assert own[0].expected == (0 if stage == "patches" else tiles)


def test_a_record_that_is_torn_is_no_record(tmp_path):
    job = Job(tmp_path, TILES)
    job.write(Record(slide="a", stage=f"{TILES}/patches", status="done", stamp=((1, 2),)))
    assert job.read("a", "patches").stamp == ((1, 2),)
    (tmp_path / "states" / f"{job.key('a', 'patches')}.json").write_text('{"slide": "a"')
    assert job.read("a", "patches") is None and job.read("b", "patches") is None


def test_settings_are_written_down_once_and_slides_may_change(tmp_path):
    remember(tmp_path, {("slides",): {"root": "x"}, ("tiles", "0.5 x"): {"a": None, "b": 1e-5, "c": {"d": 'q"'}}})
    remember(tmp_path, {("slides",): {"root": "y"}, ("features", "0.5 x", "f"): {"half": True}})
    assert read_config(tmp_path) == {
        "slides": {"root": "y"},
        "tiles": {"0.5 x": {"b": 1e-5, "c": {"d": 'q"'}}},
        "features": {"0.5 x": {"f": {"half": True}}},
    }
    with pytest.raises(ConfigError, match="'b was 1e-05, now not set'"):
        remember(tmp_path, {("tiles", "0.5 x"): {"c": {"d": 'q"'}}})
    (tmp_path / "config.resolved.toml").write_text("[")
    with pytest.raises(DataError, match=r"Cannot read '.*config\.resolved\.toml'"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("kind", "choices", "message"),
    [
        (TileSettings, {"segmenter": "saturatoin"}, "Unknown segmenter 'saturatoin'. Did you mean 'saturation'"),
        (TileSettings, {"rule": "five_pt"}, "Unknown rule 'five_pt'"),
        (TileSettings, {"max_unreadable": 1.5}, "share of 1.5"),
        (EncodeSettings, {"encoder": "texture", "normalise": "makenko"}, "Did you mean 'macenko'"),
        (Pace, {"batch": 0}, "batch is 0: give 1 or more"),
    ],
)
def test_settings_that_cannot_be_are_refused(kind, choices, message):
    with pytest.raises(ConfigError, match=message):
        kind(**choices)
