"""A look over a job or a folder finds what is missing, mixed, twice there, odd or broken."""

from collections import Counter
from pathlib import Path
from shutil import copy

import numpy as np
import pytest
import torch

from slide_files import glass, square, write_aperio
from slide_jobs import SMALL, TEXTURE, made
from slidesurv.errors import ConfigError, DataError
from slidesurv.slides.review import Review, review, tell_tale
from slidesurv.slides.run import run_job
from slidesurv.slides.store import write_features
from slidesurv.slides.synthetic import write_pyramid


def write(folder: Path, slide: str, tiles: int, *, seed: int = 0, width: int = 4, **attributes) -> None:
    random = np.random.default_rng(seed)
    coords = np.arange(2 * tiles).reshape(-1, 2)
    said = {"mpp_slide": (0.25, 0.25), "mpp_target": 0.5, **attributes}
    features = random.standard_normal((tiles, width))
    write_features(folder / f"{slide}.h5", features, coords, encoder="uni", attributes=said)


def kinds(seen: Review) -> Counter[str]:
    return Counter(finding.kind for finding in seen.findings)


def found(seen: Review, kind: str) -> dict[str, str]:
    return {finding.where: finding.text for finding in seen.findings if finding.kind == kind}


def test_a_folder_in_order_has_nothing_to_tell(tmp_path):
    for seed, slide in enumerate("abc"):
        write(tmp_path, slide, 20, seed=seed, mpp_slide=(0.25 + 0.25 * (seed == 2),) * 2)
    seen = review(tmp_path, cohort=["a", "b", "c"])
    assert (seen.slides, seen.tiles, seen.mpp) == (3, {tmp_path.name: 60}, {"0.25": 2, "0.50": 1})
    assert seen.origins == {tmp_path.name: {"D=4, encoder=uni, mpp_target=0.5": 3}} and not seen.findings


def test_what_is_wrong_is_found(tmp_path):
    for seed, (slide, tiles) in enumerate({"a": 20, "b": 25, "c": 400, "d": 3, "e": 0, "f": 21}.items()):
        write(tmp_path, slide, tiles, seed=seed)
    write(tmp_path, "other", 20, seed=9, mpp_target=1.0)
    copy(tmp_path / "a.h5", tmp_path / "copy.h5")
    (tmp_path / "torn.h5").write_bytes((tmp_path / "b.h5").read_bytes()[:300])
    seen = review(tmp_path, cohort=["a", "b", "lost"])
    assert found(seen, "missing") == {"lost": f"no features in '{tmp_path.name}'"}
    assert found(seen, "twice") == {"a": "shares all features and places with 'copy'"}
    assert "7 slides with D=4, encoder=uni, mpp_target=0.5; 1 slides with" in found(seen, "mixed")[tmp_path.name]
    assert "torn.h5" in found(seen, "broken")["torn"]
    assert found(seen, "few") == {"d": "3 tiles", "e": "0 tiles"}
    assert found(seen, "odd") == {"c": "400 tiles; the median is 20"}
    assert found(seen, "stranger")[tmp_path.name].startswith("7 slides are not asked for")
    assert sum(finding.is_problem for finding in seen.findings) == 4


def test_files_of_other_tools_are_looked_over_too(tmp_path):
    np.savez(tmp_path / "s.index.npz", np.zeros((2, 2)))
    torch.save(torch.ones(2, 3), tmp_path / "s.pt")
    seen = review(tmp_path)
    assert (seen.mpp, kinds(seen)) == ({"unknown": 1}, {"few": 1})
    with pytest.raises(DataError, match="holds no feature files"):
        review(tmp_path / "nothing")


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> Path:
    """A job with two slides that are one, one that fails, one without tissue, and an unfinished download."""
    folder = tmp_path_factory.mktemp("review")
    slides = made(folder / "slides", "AB")
    copy(slides / "A.tif", slides / "A2.tif")
    write_pyramid(slides / "glass.tif", glass(1024, 1024), mpp=0.5)
    (slides / "page.svs").write_text("<html>")
    (slides / "half.svs.part").touch()
    write_aperio(slides / "named.svs", square(1024, 700), "Jane Doe")
    run_job(slides, folder / "job", SMALL, TEXTURE)
    return folder / "job"


def test_a_job_is_looked_over_from_its_records(job):
    seen = review(job)
    assert seen.slides == 6 and seen.mpp == {"0.50": 5}
    assert list(found(seen, "failed")) == ["page"] and "E_FORMAT" in found(seen, "failed")["page"]
    twice = [finding.text for finding in seen.findings if finding.kind == "twice"]
    assert twice == ["shares the picture with 'A2'", "shares all features and places with 'A2'"]
    assert found(seen, "few") == {"glass": "0 tiles", "named": "9 tiles"}
    assert "unfinished" in found(seen, "left out")["half.svs.part"]
    assert not found(seen, "missing") and not found(seen, "stranger")
    assert list(found(review(job, cohort=["A", "B", "C"]), "missing")) == ["C"]


def test_slides_that_may_lead_to_a_person_are_named_without_their_content(job):
    (named,) = [finding for finding in tell_tale(job) if finding.where == "named"]
    assert "picture 'label'" in named.text and "aperio.Patient" in named.text and "Jane" not in named.text
    assert not named.is_problem
    with pytest.raises(ConfigError, match="is no job"):
        tell_tale(job.parent)


def test_slides_that_are_not_tiled_yet_are_missing(tmp_path):
    slides = made(tmp_path / "slides", "AB")
    run_job(slides, tmp_path / "job", SMALL, shard=(1, 2))
    assert found(review(tmp_path / "job"), "missing") == {"B": "not tiled yet"}


def test_progress_counts_files(job):
    steps = []
    review(job, report=lambda done, total: steps.append((done, total)))
    assert steps == [(number, 5) for number in range(1, 6)]
