"""``slidesurv tile``, ``encode`` and ``check``: from slides to features that can be trained on."""

import json
from pathlib import Path
from shutil import copy

import pytest
import typer
from typer.testing import CliRunner, Result

from slide_files import needs, write_made
from slide_jobs import contents, made
from slidesurv.cli.check import check
from slidesurv.cli.encode import encode
from slidesurv.cli.tile import tile
from slidesurv.cli.tiles_bar import tiles_bar
from slidesurv.errors import ConfigError, DataError
from slidesurv.files import read_csv
from slidesurv.slides.run import Step
from slidesurv.slides.settle import Settled
from slidesurv.slides.store import FeatureStore

TILES = "20x_256px_0px_overlap"
app = typer.Typer()
for verb in (tile, encode, check):
    app.command()(verb)


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def slides(tmp_path_factory) -> Path:
    return made(tmp_path_factory.mktemp("slides"), "AB")


SMALL = ("--preset", "biopsy", "--workers", "1")


@pytest.mark.parametrize("verb", ["tile", "encode", "check"])
def test_every_verb_explains_itself_with_an_example(verb):
    assert f"Example: slidesurv {verb}" in run(verb, "--help").stdout


def test_from_slides_to_features_in_two_steps_or_in_one(slides, tmp_path):
    two, one = tmp_path / "two", tmp_path / "one"
    tiled = run("tile", slides, "-o", two, *SMALL)
    assert (tiled.exit_code, tiled.stdout) == (0, f"2 slides, 0 failed: {two / 'summary.md'}\n")
    assert "[2/2] B: " in tiled.stderr and "tiles/s, about 0 s left" in tiled.stderr
    encoded = run("encode", two, "--encoder", "texture", "--workers", "1", "--benchmark")
    assert encoded.exit_code == 0 and "the encoder waited for tiles" in encoded.stdout
    assert run("encode", slides, "-o", one, "--encoder", "texture", *SMALL).exit_code == 0
    assert contents(one) == contents(two)
    again = run("encode", slides, "-o", one, "--encoder", "texture", *SMALL)
    assert "patches: 2 skipped" in again.stderr and "features_texture: 2 skipped" in again.stderr


def test_a_job_without_a_single_tile_is_exit_3_and_says_the_remedy(slides, tmp_path):
    tiled = run("tile", slides, "-o", tmp_path / "job", "--tissue-area", "9999", "--workers", "1")
    assert tiled.exit_code == 3
    assert "2 of 2 slides have no tile" in tiled.stderr and "--preset biopsy" in tiled.stderr


def test_a_slide_that_cannot_be_used_is_exit_3_and_is_named(slides, tmp_path):
    folder = tmp_path / "slides"
    folder.mkdir()
    copy(slides / "A.tif", folder / "A.tif")
    (folder / "page.svs").write_text("<html>")
    ended = run("encode", folder, "-o", tmp_path / "job", "--encoder", "texture", *SMALL)
    assert ended.exit_code == 3 and ended.stdout.startswith("2 slides, 1 failed")
    assert "failed: page: E_FORMAT" in ended.stderr and "failures.csv" in ended.stderr
    assert [row["slide_id"] for row in read_csv(tmp_path / "job/failures.csv")] == ["page"]
    assert run("check", tmp_path / "job").exit_code == 3


def test_a_manifest_says_which_slides_and_what_they_are(slides, tmp_path):
    manifest = tmp_path / "manifest.tsv"
    manifest.write_text("slide_id\tslide_path\tmpp\nS1\tA.tif\t0.25\n")
    ended = run("tile", manifest, "-o", tmp_path / "job", "--slides-root", slides, *SMALL)
    assert ended.exit_code == 0
    assert [path.name for path in (tmp_path / f"job/{TILES}/patches").iterdir()] == ["S1_patches.h5"]
    assert "1 slides: manifest" in (tmp_path / "job/summary.md").read_text()


def test_a_dry_run_lists_what_would_be_done_and_writes_nothing(slides, tmp_path):
    (tmp_path / "slides").mkdir()
    write_made(tmp_path / "slides/fine.tif", mpp=0.25)
    (tmp_path / "slides/torn.tif").write_bytes(b"II*\0")
    (tmp_path / "slides/half.svs.partial").touch()
    ended = run("tile", tmp_path / "slides", "-o", tmp_path / "job", "--dry-run")
    assert ended.exit_code == 0 and not (tmp_path / "job").exists()
    assert "fine   1024 × 1024  0.25   metadata  tiles of 512 px, read at level 1" in ended.stdout
    assert "E_READ: 'torn.tif'" in ended.stdout and str(tmp_path) not in ended.stdout
    assert "left out: 'half.svs.partial'" in ended.stderr
    run("tile", slides, "-o", tmp_path / "job", *SMALL)
    assert run("tile", slides, "-o", tmp_path / "job", *SMALL, "--dry-run").stdout.count("done already") == 2
    assert run("encode", slides, "-o", tmp_path / "job", "--encoder", "texture", *SMALL, "--dry-run").exit_code == 0


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (("tile", "SLIDES", "-o", "JOB", "--mag", "20", "--mpp", "0.5"), ConfigError, "say the same thing"),
        (("tile", "SLIDES", "-o", "JOB", "--preset", "biopsie"), ConfigError, "Did you mean 'biopsy'"),
        (("tile", "SLIDES", "-o", "JOB", "--shard", "3"), ConfigError, "--shard is '3': write 2/4"),
        (("tile", "SLIDES", "-o", "JOB", "--overlap", "256"), ConfigError, "cannot overlap by 256"),
        (("tile", "SLIDES", "-o", "JOB", "--reader", "opensilde"), ConfigError, "Did you mean 'openslide'"),
        (("tile", "NOTHING", "-o", "JOB"), DataError, "Cannot read the table"),
        (("encode", "SLIDES", "--encoder", "texture"), ConfigError, "is no job. Name the folder of one, or give -o"),
        (("encode", "DONE", "--encoder", "texture", "--mpp", "1"), ConfigError, "'--mpp' would not change them"),
        (("encode", "DONE", "--encoder", "texture", "--dry-run"), ConfigError, "looks at slides, not at tiles"),
        (("encode", "DONE", "--encoder", "texture", "--precision", "half"), ConfigError, "Unknown precision 'half'"),
        (("encode", "DONE", "--encoder", "texture", "--max-pen", "2"), ConfigError, "The limit of 'pen' is 2"),
        (("encode", "DONE", "--encoder", "texture", "--tiles", "5x"), ConfigError, "Say which with --tiles"),
        (("check", "NOTHING"), DataError, "holds no feature files"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(slides, tmp_path, words, kind, message):
    if "DONE" in words:
        run("tile", slides, "-o", tmp_path / "job", *SMALL)
    places = {"SLIDES": slides, "JOB": tmp_path / "new", "DONE": tmp_path / "job", "NOTHING": tmp_path / "nothing"}
    ended = run(*(places.get(word, word) for word in words))
    assert isinstance(ended.exception, kind) and message in str(ended.exception)
    assert not (tmp_path / "new").exists()


def test_options_of_tiles_reach_the_job(slides, tmp_path):
    words = ("--mag", "10", "--px", "128", "--overlap", "32", "--tissue-area", "0.1", "--otsu", "--rule", "center")
    more = ("--no-padding", "--no-quality", "--max-unreadable", "0.2", "--segmenter", "saturation")
    assert run("tile", slides, "-o", tmp_path, *words, *more, "--workers", "1").exit_code == 0
    config = (tmp_path / "config.resolved.toml").read_text()
    for line in ("mpp = 1.0", "px = 128", "overlap = 32", "tissue_area = 0.1", "otsu = true", 'rule = "center"',
                 "padding = false", "quality = false", "max_unreadable = 0.2"):  # fmt: skip
        assert line in config
    assert run("encode", tmp_path, "--encoder", "texture", "--workers", "1").exit_code == 0
    assert "limits" not in (tmp_path / "config.resolved.toml").read_text()


def test_options_of_features_reach_the_job(slides, tmp_path):
    words = ("--half", "--normalise", "reinhard", "--max-background", "0.4", "--batch", "7", "--device", "cpu")
    ended = run("encode", slides, "-o", tmp_path, "--encoder", "texture", *words, *SMALL)
    assert ended.exit_code == 0
    config = (tmp_path / "config.resolved.toml").read_text()
    assert f"[features.{TILES}.features_texture_reinhard]" in config
    assert "half = true" in config and "background = 0.4" in config


def test_check_prints_what_it_sees(slides, tmp_path):
    run("encode", slides, "-o", tmp_path / "job", "--encoder", "texture", *SMALL)
    (tmp_path / "cohort.csv").write_text("patient_id,slide_id\nP1,A.svs\nP2,B\n")
    seen = run("check", tmp_path / "job", "--cohort", tmp_path / "cohort.csv", "--phi")
    assert seen.exit_code == 0 and seen.stderr == "2 slides, 0 problems, 0 remarks\n"
    assert "0.50   ████" in seen.stdout and "D=88, encoder=texture" in seen.stdout
    (tmp_path / "cohort.csv").write_text("patient_id,slide_id\nP1,A\nP2,C\n")
    seen = run("check", tmp_path / f"job/{TILES}/features_texture", "--cohort", tmp_path / "cohort.csv", "--json")
    told = json.loads(seen.stdout)
    assert seen.exit_code == 3 and told["mpp"] == {"0.50": 2}
    assert [(each["kind"], each["problem"]) for each in told["findings"]] == [("missing", True), ("stranger", False)]
    (tmp_path / "cohort.csv").write_text("patient_id\nP1\n")
    refused = run("check", tmp_path / "job", "--cohort", tmp_path / "cohort.csv")
    assert "names the slides; it has 'patient_id'" in str(refused.exception)


def test_check_shows_a_few_of_many(tmp_path):
    from slidesurv.cli.check import _words
    from slidesurv.slides.review import Finding, Review

    findings = [Finding("few", f"S{number}", "1 tiles") for number in range(30)]
    words = _words(Review(30, {}, {}, {}, ()), findings)
    assert "S18" in words and "S19" not in words and "… and 11 more" in words


@pytest.mark.parametrize(
    ("elsewhere", "words"), [(0, "tiles/s, about"), (1, "waiting for 1 slides that others work on")]
)
def test_a_terminal_shows_bars(monkeypatch, capsys, elsewhere, words):
    failed = Settled("A", "patches", "failed", "E_READ: x")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with tiles_bar() as report:
        report(Step(stage="patches", slides=2, settled=0, expected=0, tiles=64))
        report(Step(stage="patches", slides=2, settled=1, expected=0, ended=failed))
        report(Step(stage="patches", slides=2, settled=1, expected=0, elsewhere=elsewhere))
    said = capsys.readouterr().err
    assert "failed: A: E_READ: x" in said and words in said and "1/2" in said


def test_time_is_left_by_tiles_where_they_are_counted(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr("slidesurv.cli.tiles_bar.time.monotonic", lambda: now[0])
    with tiles_bar() as report:
        report(Step(stage="features", slides=3, settled=0, expected=1000))
        now[0] = 60.0
        report(Step(stage="features", slides=3, settled=0, expected=1000, tiles=250))
        report(
            Step(stage="features", slides=3, settled=1, expected=1000, ended=Settled("A", "features", "done", "", 250))
        )
        report(Step(stage="features", slides=3, settled=1, expected=1000, elsewhere=2))
        report(Step(stage="features", slides=3, settled=1, expected=1000, elsewhere=2))
    said = capsys.readouterr().err.splitlines()
    assert said == ["[1/3] A: 250 tiles, 4 tiles/s, about 3 min left", "waiting for 2 slides that others work on"]


def experiment(folder: Path, table: Path, features: Path) -> Path:
    """An experiment on the real regions: they have 9 deaths, too few to learn from, enough to go through."""
    path = folder / "roi.toml"
    path.write_text(
        f"""
name = "roi"
[cohort]
table = "{table}"
features = "{features}"
missing = "drop"
[splits]
folds = 2
tune = 0
[training]
epochs = 2
n_bins = 2
choose = "last"
checkpoint_seconds = 0
[[models]]
name = "attnmil"
dim = 16
""",
        encoding="utf-8",
    )
    return path


MOBILENET = "mobilenet_v1_1.0_224_quant_embedding_extractor.tflite"


@pytest.mark.parametrize("encoder", ["texture", pytest.param("mobilenet-v1", marks=pytest.mark.slow)])
def test_real_regions_go_from_pixels_to_a_survival_model(tmp_path, encoder):
    from slidesurv.cli.crossval import perform
    from slidesurv.config.read import read_experiment

    table = needs("cohorts", "roi", "cohort.csv")
    words = ["--encoder", encoder]
    if encoder != "texture":
        pytest.importorskip("ai_edge_litert", reason="the extra 'tflite' is not installed")
        words += ["--weights", needs("encoders", MOBILENET)]
    job = tmp_path / "job"
    # Regions that somebody cut out of tissue: all of each is tissue. Five are smaller than a tile.
    region = ("--segmenter", "whole", "--tissue-area", "0", "--workers", "1")
    ended = run("encode", table, "-o", job, *words, *region)
    assert ended.exit_code == 0 and ended.stdout.startswith("41 slides, 0 failed")
    features = job / TILES / f"features_{encoder}"
    store = FeatureStore(features)
    assert len(store.slides) == 41 and sum(store.header(slide).tiles for slide in store.slides) > 150
    assert run("check", job, "--cohort", table).exit_code == 0
    asked = read_experiment(experiment(tmp_path, table, features))
    outcomes = perform(asked, tmp_path / "run", workers=1, command="")
    assert [outcome.status for outcome in outcomes] == ["done", "done"]
    predictions = [row for path in (tmp_path / "run").rglob("predictions.csv") for row in read_csv(path)]
    assert len({row["patient_id"] for row in predictions if row["split"] == "test"}) >= 25


def test_real_slides_have_tiles_on_tissue_and_none_on_glass(tmp_path):
    folder = needs("slides", "CMU-1-Small-Region.svs").parent
    words = ("--preset", "biopsy", "--default-mpp", "0.5", "--workers", "1", "--rule", "center")
    ended = run("tile", folder, "-o", tmp_path, *words)
    assert ended.exit_code == 0 and "small_dicom.dcm" in ended.stderr
    for slide, least in (("CMU-1-Small-Region", 30), ("TCGA-CR-7395-01A-01-TS1", 100)):
        rows = read_csv(tmp_path / f"{TILES}/qc/{slide}.csv")
        assert len(rows) >= least and all(float(row["background"]) < 0.95 for row in rows)
