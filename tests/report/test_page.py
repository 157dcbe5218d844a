"""The page: one file, safe, the same every time, and honest about what is missing."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from slidesurv.report.page import write_report

Made = Callable[..., Path]
HOSTILE = "<script>alert($1)</script>"


class Page(HTMLParser):
    """Tags that are open, and every attribute and text that was seen."""

    VOID = frozenset({"meta", "br", "hr", "img", "link", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "title"):
            self.words.append(data)

    def with_tag(self, name: str) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.tags if tag == name]


@pytest.fixture(scope="module")
def clean(clean_run: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(clean_run, output=tmp_path_factory.mktemp("clean") / "page.html").read_text()


@pytest.fixture(scope="module")
def ill(ill_run: Path) -> str:
    return write_report(ill_run).read_text()


def test_the_page_is_well_formed_and_every_id_is_unique(clean: str, ill: str) -> None:
    for text in (clean, ill):
        page = Page(text)
        assert page.open == [] and text.startswith("<!DOCTYPE html>")
        ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
        assert len(ids) == len(set(ids))
        assert {attrs["href"] for attrs in page.with_tag("a")} <= {f"#{name}" for name in ids}


def test_the_page_loads_nothing_and_runs_nothing(clean: str, ill: str) -> None:
    for text in (clean, ill):
        page = Page(text)
        assert not page.with_tag("script") and not page.with_tag("link") and not page.with_tag("img")
        targets = [value for _, attrs in page.tags for key, value in attrs.items() if key.endswith(("href", "src"))]
        assert all(target and target.startswith("#") for target in targets)
        assert "@import" not in text and not re.search(r"url\((?!#)", text)


def test_a_hostile_label_is_shown_and_never_run(ill: str) -> None:
    assert not re.search("<script", ill, flags=re.IGNORECASE)
    assert Page(ill).words.count(HOSTILE) > 5  # in tables, titles of pictures, sentences


def test_the_first_words_are_the_protocol_and_the_result(clean: str, ill: str) -> None:
    told = " ".join(" ".join(Page(clean).words).split())
    assert told.startswith("Skip to the results made run Leak-free: nothing was fitted, tuned or chosen")
    assert re.search(
        r"Taught ranks 0\.\d\d \(0\.\d\d to 0\.\d\d\) of the comparable patient pairs correctly", told[:320]
    )
    assert "OPTIMISTIC" not in clean
    assert "made run OPTIMISTIC: the epoch was chosen on the test fold" in " ".join(" ".join(Page(ill).words).split())


def test_every_cell_with_a_number_of_a_method_is_stamped_in_the_paper_protocol(ill: str) -> None:
    stamped = ("comparison", "accuracy", "folds", "reconstruction", "planted")
    sections = [section for section in re.split(r'<h2 id="', ill) if section.startswith(stamped)]
    assert len(sections) == len(stamped)
    cells = [cell for section in sections for cell in re.findall(r"<td>(.*?)</td>", section, flags=re.DOTALL)]
    numbers = [cell for cell in cells if re.search(r"\d\.\d", cell)]
    assert len(numbers) > 40
    assert all("OPTIMISTIC" in cell for cell in numbers)


def test_no_value_is_printed_as_nan_and_what_is_missing_has_its_reason(clean: str, ill: str) -> None:
    for text in (clean, ill):
        assert not re.search(r"\b(nan|None|inf)\b", " ".join(Page(text).words).replace("Loss is NaN.", ""))
    told = " ".join(Page(ill).words)
    assert "fold 1: no pair can be compared: 0 deaths among 20 test patients" in told
    assert "11 of 12 trainings finished" in told
    assert "Plain, seed 1, fold 2" in told and "Loss is NaN." in told


def test_pictures_and_tables_speak_to_those_who_cannot_see(clean: str) -> None:
    page = Page(clean)
    pictures = page.with_tag("svg")
    assert (
        len(pictures) == 2 + 5 * 2
    )  # overview, hazard ratios; risk groups twice, calibration, learning, planted truth of two
    assert all(picture["role"] == "img" and picture["aria-label"] for picture in pictures)
    assert len(page.with_tag("caption")) == len(page.with_tag("table"))
    assert all(head["scope"] in ("col", "row") for head in page.with_tag("th"))
    assert page.with_tag("html")[0]["lang"] == "en"


def test_the_cohort_begins_with_its_name_and_an_unknown_follow_up_is_a_dash(made: Made) -> None:
    folder = made()
    facts = json.loads((folder / "run.json").read_text())
    facts["cohort"]["median_follow_up_months"] = float("inf")
    (folder / "run.json").write_text(json.dumps(facts, sort_keys=True))
    row = re.search(r"Who was studied.*?<tbody><tr>(.*?)</tr>", write_report(folder).read_text(), flags=re.DOTALL)
    assert row
    assert re.findall(r"<td>(.*?)</td>", row[1])[:3] == ["made", "60", "60"]
    assert re.findall(r"<td>(.*?)</td>", row[1])[5] == "—"


def test_the_page_follows_dark_light_and_paper(clean: str) -> None:
    assert "prefers-color-scheme: dark" in clean and "@media print" in clean
    assert "currentColor" in clean
    assert set(re.findall(r"var\((--\w+)", clean)) <= set(re.findall(r"(--\w+):", clean))


def test_headings_go_down_by_one_and_a_keyboard_skips_to_the_results_and_scrolls_every_table(clean: str) -> None:
    page = Page(clean)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(level <= before + 1 for before, level in pairwise(levels))
    assert page.with_tag("a")[0]["href"] == "#main" and page.with_tag("main")[0]["id"] == "main"
    scrolls = [attrs for attrs in page.with_tag("div") if attrs.get("class") == "scroll"]
    assert len(scrolls) == len(page.with_tag("table"))
    assert all(attrs["tabindex"] == "0" for attrs in scrolls)


def test_metrics_stand_on_the_page_with_their_months_and_the_reasons_of_dashes(clean: str, ill: str) -> None:
    section = clean[clean.index('<h2 id="accuracy"') : clean.index('<h2 id="cohort"')]
    told = " ".join(" ".join(Page(section).words).split())
    for title in ("Uno's C, tau = 36 months", "AUC, 12 months", "Brier, 36 months", "Integrated Brier, 0 to 36 months"):
        assert title in told
    assert "Nothing is judged at 60 months: patients were watched for 58.4 months only." in told
    assert re.search(r"Taught 0\.\d{3} \(0\.\d{3} to 0\.\d{3}\) 0\.\d{3}", told)
    assert "Plain: on 2 of 3 folds." in " ".join(Page(ill).words)


def test_differences_are_tested_below_the_comparison_and_the_smallest_that_could_be_found_is_told(clean: str) -> None:
    section = clean[clean.index("<h3>Larger than the noise?") : clean.index('<h2 id="accuracy"')]
    told = " ".join(" ".join(Page(section).words).split())
    assert re.search(
        r"Different from Taught at the level of 0\.05, adjusted by Holm for 1 comparison: Plain \(p ", told
    )
    assert re.search(r"finds a true one of 0\.\d{3} four times in five", told)
    assert re.search(r"Plain p [=<] 0\.\d{3} 0\.\d{3} p = 0\.\d{3} 3$", told)


def test_the_text_table_says_what_the_page_says_of_noise_and_names_the_test_over_folds(made: Made) -> None:
    folder = made()
    page = " ".join(Page(write_report(folder).read_text()).words)
    below = (folder / "comparison.md").read_text().split("\n\n")[1:]
    assert [line.split()[0] for line in below] == ["Different", "With", "Difference"]
    assert below[1] in page
    assert re.search(r"\(Nadeau and Bengio\).*: Plain −0\.\d+ \(−0\.\d+ to [−+]0\.\d+\), p = 0\.\d+\.", below[2])


def test_patients_who_are_judged_again_are_counted_once_and_the_page_says_how(made: Made, clean: str) -> None:
    folder = made()
    for place in sorted(folder.glob("*/seed*/fold?")):
        shutil.copytree(place, place.with_name(f"fold{int(place.name[-1]) + 3}"))
    facts = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(facts | {"folds": 6}))
    again = write_report(folder).read_text()
    assert "A patient whom several folds judge is drawn into all of them at once" in again
    assert "A patient whom several folds judge" not in clean
    for words in (r"<td>60</td><td>\d+</td></tr>", r"\d+ patients at high and \d+ at low risk; log-rank p [=<] [\d.]+"):
        assert re.findall(words, again) == re.findall(words, clean)


def test_a_run_of_one_method_has_no_difference_to_speak_of(made: Made) -> None:
    folder = made()
    facts = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(facts | {"methods": facts["methods"][:1]}))
    assert "Larger than the noise?" not in write_report(folder).read_text()


def test_the_calibration_has_the_shares_of_its_tenths_with_their_intervals(clean: str, ill: str) -> None:
    section = ill[ill.index('<h2 id="calibration"') : ill.index('<h2 id="learning"')]
    cells = re.findall(r"<td>(.*?)</td>", section, flags=re.DOTALL)
    assert len(cells) == 20 and all("OPTIMISTIC" in cell for cell in cells)
    assert re.search(r"Taught (\d+\.\d \(\d+\.\d to \d+\.\d\)\s*){10}", " ".join(" ".join(Page(clean).words).split()))


def test_the_planted_truth_is_told_with_its_verdict(clean: str) -> None:
    told = " ".join(" ".join(Page(clean).words).split())
    assert "Planted: A programme of 20 genes doubles the hazard." in told
    assert re.search(r"Taught\s+\+0\.\d+ \(\+0\.\d+ to \+0\.\d+\)\s+found", told)


def test_diagnostics_have_their_span_and_their_meaning(clean: str) -> None:
    row = re.search(r"<code>clusters_full</code></td>(.*?)</tr>", clean, flags=re.DOTALL)
    assert row
    assert re.findall(r"<td>(.*?)</td>", row[1])[:3] == ["7.5", "7", "8"]
    assert "at least their quota of tiles" in row[1]


def test_the_audit_is_told_in_the_words_of_the_run(clean: str) -> None:
    told = Page(clean).words
    assert "3 folds with few deaths." in told and "The laboratory may be <recognised>." in told


def test_what_a_closer_look_found_stands_before_the_counts_and_notes_after_them(made: Made, clean: str) -> None:
    folder = made()
    facts = json.loads((folder / "run.json").read_text())
    found = [{"kind": "leak", "text": "<A> = B."}, {"kind": "note", "text": "Sites were looked at."}]
    (folder / "run.json").write_text(json.dumps(facts | {"findings": found}))
    text = write_report(folder).read_text()
    section = Page(text[text.index('<h2 id="cohort"') : text.index('<h2 id="folds"')])
    told = " ".join(" ".join(section.words).split())
    assert "Leak: <A> = B. 3 folds with few deaths. The laboratory may be <recognised>. Sites were looked at." in told
    assert "slidesurv split audit" in told and "slidesurv split audit" not in clean


def test_patients_left_out_are_counted_by_reason_and_not_named(clean: str) -> None:
    cohort = " ".join(Page(clean[clean.index('<h2 id="cohort"') : clean.index('<h2 id="folds"')]).words)
    assert "Patients of the table who were left out: 3." in cohort
    assert "1: no <time>" in cohort and "2: no slide" in cohort
    assert "Q1" not in clean


def test_the_settings_stand_folded_away_with_dotted_keys(clean: str) -> None:
    details = re.search(r"<details><summary>Settings of the experiment(.*?)</details>", clean, flags=re.DOTALL)
    assert details
    rows = dict(re.findall(r"<code>(.*?)</code></th><td>(.*?)</td>", details[1]))
    assert rows == {"cohort.table": "…/cohort.csv", "training.device": "—", "training.epochs": "6"}


def test_the_page_tells_whether_the_rebuilt_genome_is_used_and_whether_it_is_flat(clean: str) -> None:
    section = clean[clean.index('<h2 id="reconstruction"') : clean.index('<h2 id="diagnostics"')]
    told = " ".join(" ".join(Page(section).words).split())
    assert re.search(r"zeroed 0\.\d+ \(.*?\) \+0\.\d+ \(\+0\.\d+ to \+0\.\d+\) used: without it", told)
    assert re.search(r"shuffled .* \+0\.000 \(\+0\.000 to \+0\.000\) not shown to be used", told)
    assert re.search(r"<td>\s*0\.600\s*</td>", section)  # the mean of 0.5, 0.6 and 0.7


def test_entropy_and_the_pull_of_gradients_stand_among_the_diagnostics(clean: str) -> None:
    rows = dict(re.findall(r"<code>(entropy|gradient_ratio)</code></td>(.*?)</tr>", clean, flags=re.DOTALL))
    assert re.findall(r"<td>(.*?)</td>", rows["entropy"])[:3] == ["2", "2", "2"]
    assert re.findall(r"<td>(.*?)</td>", rows["gradient_ratio"])[:3] == ["0.5", "0.25", "0.75"]
    assert len(re.findall(r"<code>gradient_ratio</code>", clean)) == 1  # the other method has none


def test_the_page_says_nothing_about_the_disk_and_is_no_medical_device(clean: str, clean_run: Path) -> None:
    assert "/home/" not in clean and str(clean_run.parent) not in clean
    assert "slidesurv crossval …/made.toml" in clean
    assert "weights = …/weights.bin" in clean
    assert "Research use only: not a medical device." in clean


def test_the_same_run_gives_the_same_bytes(clean: str, clean_run: Path, tmp_path: Path) -> None:
    again = write_report(clean_run, output=tmp_path / "again.html")
    assert again.read_text() == clean
    assert {path.name for path in tmp_path.iterdir()} == {
        "again.html",
        "comparison.csv",
        "comparison.md",
        "metrics.csv",
        "metrics.json",
    }


def test_another_reference_turns_the_comparison(clean_run: Path, tmp_path: Path) -> None:
    text = write_report(clean_run, output=tmp_path / "turned.html", reference="poor").read_text()
    assert "The difference of Taught to Plain is +0." in text


def test_a_real_cohort_without_audit_or_reconstruction_has_no_empty_section(made: Made) -> None:
    folder = made(rebuilds=False)
    facts = json.loads((folder / "run.json").read_text()) | {"planted": None}
    for key in ("audit_verdict", "dropped", "settings"):
        del facts[key]
    (folder / "run.json").write_text(json.dumps(facts))
    (folder / "audit.csv").unlink()
    text = write_report(folder).read_text()
    for section in ("planted", "reconstruction", "diagnostics"):
        assert f'id="{section}"' not in text and f'href="#{section}"' not in text
    assert "The run says nothing about an audit of its folds." in text
    assert "left out:" not in text and "Settings of the experiment" not in text


def test_a_run_in_which_nothing_finished_still_has_a_page(made: Made) -> None:
    folder = made()
    for path in folder.rglob("predictions.csv"):
        path.unlink()
    text = write_report(folder).read_text()
    assert "0 of 12 trainings finished" in text
    assert "Taught has no C-index: no fold was finished for every seed." in text
    assert text.count("there is nothing to draw") == 9
    assert "Taught, Plain (Harrell&#39;s C, " in text and "): no fold was finished for every seed." in text


def test_the_report_never_imports_torch() -> None:
    code = "import slidesurv.report.page, sys; sys.exit('torch' in sys.modules or 'matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
