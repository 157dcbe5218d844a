"""Gene by gene: what is rebuilt is found, what is not is no more than chance, and a dash has its reason."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from slidesurv.errors import DataError
from slidesurv.report.genome.genes import judge_genes
from slidesurv.report.genome.shown import show_genes
from slidesurv.report.page import write_report
from slidesurv.report.read import read_run

Made = Callable[..., Path]
GENES = [f"G{n:02d}" for n in range(40)]
RANDOM = np.random.default_rng(5)
PATHWAYS = {"told": range(10), "half": range(15, 25), "silent": range(30, 40)}


def write_rebuilt(place: Path, patients: list[str], told: int, *, seed: int, patient_constant: bool = False) -> None:
    """The first ``told`` of 40 genes are rebuilt with noise, the others are noise; the embedding is the genes."""
    truth = np.stack([np.random.default_rng([1, int(p[1:])]).normal(size=40) for p in patients])
    noise = np.random.default_rng([seed, len(patients), int(patients[0][1:])]).normal(size=(len(patients), 40))
    rebuilt = np.where(np.arange(40) < told, truth, 0) + 0.8 * noise
    if patient_constant:
        rebuilt += 50 * np.random.default_rng(seed).normal(size=(len(patients), 1))
    (place / "bundle").mkdir(exist_ok=True)
    tables = {"rebuilt": rebuilt.astype(np.float32), "truth": truth.astype(np.float32)}
    about = {"about": json.dumps({"patients": patients, "view": "embedding"})}
    save_file(tables, place / "rebuilt.safetensors", about)
    settings = {"genes": GENES, "chosen": list(range(40)), "groups": list(PATHWAYS), "table": 0}
    (place / "bundle/config.json").write_text(json.dumps({"preprocessing": settings}))
    groups = {f"groups.{n}": np.array(genes) for n, genes in enumerate(PATHWAYS.values())}
    save_file(groups, place / "bundle/preprocess.safetensors")


def rebuilding(folder: Path, told: int, **options: bool) -> Path:
    """The made run, in which "good" rebuilds some of 40 genes."""
    for seed in (0, 1):
        for fold in range(3):
            patients = [f"P{n:02d}" for n in range(60) if n % 3 == fold]
            write_rebuilt(folder / f"good/seed{seed}/fold{fold}", patients, told, seed=seed, **options)
    return folder


@pytest.fixture(scope="module")
def told(clean_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rebuilding(Path(shutil.copytree(clean_run, tmp_path_factory.mktemp("told") / "run")), 20)


def judged(folder: Path, **options: int):
    return judge_genes(folder, read_run(folder).methods[0], **options)


def test_genes_that_are_rebuilt_follow_and_the_others_do_not(told: Path) -> None:
    found = judged(told)
    assert {row.name for row in found.each[:20]} == set(GENES[:20])
    assert all(row.correlation.low > 0.3 and row.adjusted < 0.001 for row in found.each[:20])
    assert found.share == pytest.approx(0.5, abs=0.1) and found.adjusted_share == pytest.approx(0.5, abs=0.06)
    assert found.chance.value < 0.05 and found.chance.high < 0.15  # two seeds whose noise differs: less than the level
    assert found.p == 0.01  # the least that 99 shuffles tell
    assert {row.patients for row in found.each} == {60}


def test_pathways_follow_as_far_as_their_genes_do(told: Path) -> None:
    rho = {row.name: row.correlation.value for row in judged(told).pathways}
    assert list(rho) == ["told", "half", "silent"]
    assert rho["told"] > 0.6 > rho["half"] > 0.15


def test_a_constant_of_each_patient_changes_nothing(told: Path, made: Made) -> None:
    moved = judged(rebuilding(made(), 20, patient_constant=True))
    theirs = judged(told)
    assert [row.name for row in moved.each] == [row.name for row in theirs.each]
    assert moved.curve == pytest.approx(theirs.curve, abs=0.01)


def test_noise_is_no_more_than_chance(made: Made) -> None:
    found = judged(rebuilding(made(), 0))
    assert found.p > 0.05 and found.adjusted_share == 0
    assert abs(found.median) < 0.1 and (found.band[0] < found.band[1]).all()


def test_a_patient_whom_several_folds_judge_counts_once(told: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(told, tmp_path / "run"))
    for place in sorted(folder.glob("*/seed*/fold?")):
        shutil.copytree(place, place.with_name(f"fold{int(place.name[-1]) + 3}"))
    facts = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(facts | {"folds": 6}))
    assert judged(folder, shuffles=3).each == judged(told, shuffles=3).each


def test_a_patient_of_a_fold_that_is_too_small_counts_in_another(told: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(told, tmp_path / "run"))
    for seed in (0, 1):
        write_rebuilt(folder / f"good/seed{seed}/fold0", ["P01", "P04"], 20, seed=seed)  # fold 1 judges them too
    assert {row.patients for row in judged(folder, shuffles=3).each} == {40}


def test_seeds_of_different_patients_are_refused(told: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(told, tmp_path / "run"))
    write_rebuilt(folder / "good/seed1/fold1", [f"P{n:02d}" for n in range(20)], 20, seed=1)
    with pytest.raises(DataError, match=r"seed1/fold1' was rebuilt for other patients or columns than .*seed0/fold1'"):
        judged(folder, shuffles=3)


def test_a_run_of_an_earlier_version_has_a_dash_with_its_reason(clean_run: Path) -> None:
    run = read_run(clean_run)
    found = judge_genes(clean_run, run.methods[0])
    shown = show_genes(run, [(run.methods[0], found)])[0]
    assert set(shown.cells) == {"—"} and shown.picture is None
    assert shown.verdict.startswith("Taught is not judged gene by gene: no rebuilt profiles were kept")
    assert judge_genes(clean_run, run.methods[1]) is None  # it rebuilds nothing


def test_a_fold_without_its_bundle_is_left_out_and_said(told: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(told, tmp_path / "run"))
    shutil.rmtree(folder / "good/seed1/fold1/bundle")
    found = judged(folder, shuffles=3)
    assert found.note.startswith("judged on folds 0, 2 only: the bundle is gone")
    assert {row.patients for row in found.each} == {40}
    method = replace(read_run(told).methods[0], complete=())
    assert judge_genes(told, method).note == "no fold was finished for every seed"


def test_a_reconstruction_that_is_the_same_for_all_patients_is_not_judged(made: Made) -> None:
    folder = rebuilding(made(), 0)
    for place in folder.glob("good/seed*/fold*"):
        patients = [f"P{n:02d}" for n in range(60) if n % 3 == int(place.name[-1])]
        tables = {"rebuilt": np.ones((20, 40), np.float32), "truth": RANDOM.random((20, 40), np.float32)}
        about = {"about": json.dumps({"patients": patients, "view": "embedding"})}
        save_file(tables, place / "rebuilt.safetensors", about)
    found = judged(folder)
    assert not found.each and found.note.startswith("40 genes have one value in all patients of every fold")


def test_the_page_says_it_draws_it_and_the_file_has_every_gene(told: Path) -> None:
    page = write_report(told).read_text()
    section = page[page.index("<h3>Gene by gene") : page.index("Is the rebuilt genome used?")]
    assert re.search(r"Taught: \d+ of 40 genes \(\d+\.\d\s%\) follow the true ones", section)
    assert "more than by chance, p = 0.010." in section and "no more" not in section
    assert section.count("<svg") == 1 and section.count('<th scope="row">') == 1 + 3
    with (told / "rebuilt_genes.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["kind"] for row in rows].count("gene") == 40 and [row["kind"] for row in rows].count("pathway") == 3
    assert all(float(row["low"]) < float(row["correlation"]) < float(row["high"]) for row in rows)
    assert write_report(told).read_text() == page


def test_the_page_names_an_earlier_version_and_writes_no_file(made: Made) -> None:
    folder = made()
    section = write_report(folder).read_text().split("<h3>Gene by gene")[1]
    assert "no rebuilt profiles were kept" in section
    assert not (folder / "rebuilt_genes.csv").exists()


def test_every_number_of_a_published_protocol_is_stamped(told: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(told, tmp_path / "run"))
    facts = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(facts | {"protocol": "paper"}))
    section = write_report(folder).read_text().split("<h3>Gene by gene")[1].split("Is the rebuilt genome used?")[0]
    cells = [cell for cell in re.findall(r"<td>(.*?)</td>", section, flags=re.DOTALL) if re.search(r"\d\.\d", cell)]
    assert len(cells) > 8 and all("OPTIMISTIC" in cell for cell in cells)
    with (folder / "rebuilt_genes.csv").open() as lines:
        assert {row["stamp"] for row in csv.DictReader(lines)} == {"OPTIMISTIC"}
