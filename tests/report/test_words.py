"""Sentences follow the numbers."""

import math

import pytest

from slidesurv.report.estimate import Estimate
from slidesurv.report.table import Comparison
from slidesurv.report.words import headline, used, without_folders

NONE = Estimate()


def row(label: str, pooled: Estimate, difference: Estimate = NONE, stamp: str = "") -> Comparison:
    first, none = label == "A", NONE
    return Comparison(
        label, label, "never", (), none, math.nan, math.nan, pooled, difference, "A", first, 60, 20, stamp
    )


def test_an_interval_around_zero_is_called_noise_and_one_beside_it_is_not() -> None:
    first = row("A", Estimate(0.61, 0.55, 0.67))
    noise = row("B", Estimate(0.6, 0.5, 0.7), Estimate(-0.01, -0.05, 0.03))
    worse = row("C", Estimate(0.5, 0.4, 0.6), Estimate(-0.11, -0.15, -0.07))
    told = headline([first, noise, worse])
    assert told[0] == (
        "A ranks 0.61 (0.55 to 0.67) of the comparable patient pairs correctly; "
        "the 95 % interval excludes chance (0.5)."
    )
    assert told[1].endswith("−0.01 (−0.05 to +0.03); its 95 % interval includes zero: this may be noise.")
    assert told[2].endswith("−0.11 (−0.15 to −0.07); its 95 % interval excludes zero.")


def test_the_headline_speaks_of_the_reference_wherever_it_stands_and_counts_the_rest() -> None:
    others = [row(label, Estimate(0.5), Estimate(0.1, 0.0, 0.2)) for label in "BCDEF"]
    told = headline([*others, row("A", Estimate(0.5, 0.4, 0.6))])
    assert told[0].startswith("A ranks 0.50")
    assert "includes chance" in told[0]
    assert told[-1] == "1 more stand in the table."
    assert len(told) == 6


def test_a_missing_value_is_said_with_its_reason_and_the_stamp_ends_every_sentence_with_a_number() -> None:
    first = row("A", Estimate(0.6, 0.5, 0.7), stamp="OPTIMISTIC")
    missing = row("B", Estimate(note="nobody died"), Estimate(note="nobody died"))
    told = headline([first, missing])
    assert told[0].endswith(" OPTIMISTIC.")
    assert told[1] == "B cannot be compared: nobody died."
    assert headline([row("A", Estimate(note="nobody died"))]) == ["A has no C-index: nobody died."]


@pytest.mark.parametrize(
    ("lost", "verdict"),
    [
        (Estimate(0.1, 0.05, 0.2), "used: without it patients are ordered worse"),
        (Estimate(0.1, 0.0, 0.2), "not shown to be used: the interval is not above 0"),
        (Estimate(note="nobody died"), "not known: nobody died"),
    ],
)
def test_a_reconstruction_is_used_when_something_is_lost_without_it(lost: Estimate, verdict: str) -> None:
    assert used(lost) == verdict


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("slidesurv crossval /home/ann/luad.toml --set a.b=/data/x", "slidesurv crossval …/luad.toml --set a.b=…/x"),
        (r"cannot read 'C:\Users\ann\x.h5'", "cannot read '…/x.h5'"),
        ("crossval ../../home/al/r ~al/r ~/r -o=../r data/../../al/r", "crossval …/r …/r …/r -o=…/r data/…/r"),
        ("cannot read '~/Ann Smith/x.h5' or '../Ann Smith/x.h5'", "cannot read '…/x.h5' or '…/x.h5'"),
        ("cannot read '/home/Ann Smith/x.h5' or 'b'", "cannot read '…/x.h5' or 'b'"),
        ("configs/luad.toml, mm/px, 3 / 4, ~1/2, and so on.../or and https://example.org/a", None),
        ("<b>bold</b>", None),
    ],
)
def test_paths_from_a_root_a_home_or_above_keep_their_last_name_only(text: str, shown: str | None) -> None:
    assert without_folders(text) == (shown or text)
