"""The demo goes from pixels to a report, goes on where it stopped, and says what it lacks."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from slidesurv.cli import main as front
from slidesurv.cohorts import specimens
from slidesurv.files import read_json
from training_runs import contents

FEATURES = "job/20x_256px_0px_overlap/features_texture"
SMALL = ("--patients", "20", "--workers", "1", "--set", "training.epochs=1", "--set", "splits.folds=2")


def run(monkeypatch, capsys, *words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a demo of small slides, whose patients are followed for long."""
    truth = partial(specimens.SlideTruth, genes=30, side=1024, follow_up=60.0)
    monkeypatch.setattr(sys, "argv", ["slidesurv", "demo", *words])
    with monkeypatch.context() as patched, pytest.raises(SystemExit) as ended:
        patched.setattr(specimens, "SlideTruth", truth)
        front.main()
        raise SystemExit(0)
    said = capsys.readouterr()
    return ended.value.code or 0, said.out, said.err


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("demo") / "demo"


def test_from_pixels_to_a_report(monkeypatch, capsys, folder):
    code, out, err = run(monkeypatch, capsys, *SMALL, "-o", str(folder))
    assert code == 0, err
    assert len(list((folder / "data" / "slides").glob("*.tiff"))) == 20
    assert len(list((folder / FEATURES).glob("*.h5"))) == 20
    assert [line for line in err.splitlines() if line.endswith("…")] == [
        "Painting the slides of 20 patients, who have gene expression and follow-up …",
        "Finding the tissue, tiling and encoding …",
        "Teaching and judging …",
    ]
    assert "[20/20] slides" in err
    assert "8 folds: 8 done, 0 skipped, 0 failed" in err
    assert out.count("| training |") == 1 and out.count("| always |") == 1
    page = (folder / "run" / "report.html").read_text(encoding="utf-8")
    assert "larger, darker and denser" in page
    assert str(folder) not in page
    assert read_json(folder / "run" / "run.json")["command"].startswith("slidesurv demo --patients 20 --seed 0")


def test_the_same_command_skips_what_is_there(monkeypatch, capsys, folder):
    kept = {name: content for name, content in contents(folder).items() if not name.startswith("job/runs/")}
    code, _, err = run(monkeypatch, capsys, *SMALL, "-o", str(folder))
    assert code == 0
    assert "slides\n" not in err
    assert "patches: 20 skipped" in err and "features_texture: 20 skipped" in err
    assert "8 folds: 0 done, 8 skipped, 0 failed" in err
    now = contents(folder)
    assert [name for name in kept if now[name] != kept[name]] == []


def test_another_seed_in_the_same_folder_is_refused(monkeypatch, capsys, folder):
    code, _, err = run(monkeypatch, capsys, *SMALL, "--seed", "1", "-o", str(folder))
    assert (code, "another seed" in err) == (2, True)


def test_a_misspelt_setting_is_refused_before_a_slide_is_painted(monkeypatch, capsys, tmp_path):
    code, _, err = run(monkeypatch, capsys, "--set", "training.epoch=1", "-o", str(tmp_path / "demo"))
    assert (code, "Did you mean 'epochs'" in err) == (2, True)
    assert not (tmp_path / "demo" / "data").exists()


@pytest.mark.parametrize("library", ["cv2", "openslide", "tifffile"])
def test_without_the_libraries_of_slides_the_remedy_is_said(tmp_path, library):
    program = (
        f"import sys; sys.modules['{library}'] = None; sys.argv = ['slidesurv', 'demo', '-o', 'demo']\n"
        "from slidesurv.cli.main import main; main()"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert f"'{library}', which is not installed" in ran.stderr
    assert "pip install 'slidesurv[slides]'" in ran.stderr
    assert list(tmp_path.iterdir()) == []
