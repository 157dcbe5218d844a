"""The page of a pre-training: what was learned, beside what is known without an encoder, and who may be judged."""

import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from slidesurv.errors import DataError
from slidesurv.files import write_csv, write_json
from slidesurv.report.pretraining import COLUMNS, write_pretraining

HISTORY = [
    (1, 1e-3, 4.0, 3.9, 0.02, 3.7, 0.08),
    (2, 8e-4, 3.4, 3.5, 0.1234, 3.7, 0.08),
    (3, 1e-4, 3.3, 3.6, 0.15, 3.7, 0.08),
]
ROWS = [dict(zip(COLUMNS, row, strict=True)) for row in HISTORY]
ACCOUNT = {
    "tool_version": "0.1.0",
    "weights_sha256": "ab" * 32,
    "device": "cpu",
    "taught": "all",
    "origin": "",
    "genes": 1024,
    "bins": {"count": 64, "rule": "QuantileBins"},
    "patients": {"train": 1693, "held_out": 89},
    "kept": ROWS[1],
    "recipe": {
        **{"epochs": 3, "batch": 8, "learning_rate": 1e-3, "weight_decay": 0.01, "warm_up": 0.05},
        **{"precision": "float32", "seed": 0, "masking": {"share": 0.15, "hidden": 0.8, "swapped": 0.1}},
    },
}
CONFIG = {"num_layers": 2, "num_attention_heads": 4, "embed_dim": 128, "ffn_embed_dim": 256, "init_gene_embed_dim": 128}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_json(tmp_path / "pretrain.json", ACCOUNT)
    write_json(tmp_path / "config.json", CONFIG)
    write_csv(tmp_path / "history.csv", ROWS, COLUMNS)
    return tmp_path


def words(folder: Path, **told: str) -> str:
    """What a reader reads: no tags, no style, no picture."""
    text = write_pretraining(folder, **told).read_text()
    text = re.sub("<style>.*?</style>|<svg.*?</svg>|<[^>]+>", " ", text, flags=re.DOTALL)
    return " ".join(unescape(text).split())


def left_open(text: str) -> list[str]:
    """Tags that are not closed, or closed in another order."""
    opened: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in ("meta", "br"):
                opened.append(tag)

        def handle_startendtag(self, tag: str, attrs: object) -> None: ...

        def handle_endtag(self, tag: str) -> None:
            if opened[-1] == tag:
                opened.pop()

    Reader().feed(text)
    return opened


def test_the_page_says_what_was_learned_beside_what_is_known_without_an_encoder(folder):
    said = words(folder)
    assert "Of the genes hidden in 89 patients held out, the encoder puts 12.3% into the right one of 64 bins" in said
    assert "naming each gene's most frequent bin gets 8.0%" in said
    assert "Its loss is 3.500 nats a gene, that of the genes' own frequencies 3.700. Both are a little too good" in said
    assert "1,693" in said and "1,024" in said and "64, by quantiles of each gene's values; fitted on those who" in said


def test_an_encoder_that_learned_nothing_is_told_so(folder):
    write_json(folder / "pretrain.json", {**ACCOUNT, "kept": ROWS[0]})
    assert "It has learned nothing that these do not say" in words(folder)


def test_both_curves_mark_the_epoch_that_was_kept_and_stand_in_a_table_too(folder):
    (picture,) = re.findall('<svg [^>]*aria-label="([^"]+)"', write_pretraining(folder).read_text())
    assert "up to epoch 3" in picture and "12.3%" in picture
    said = words(folder)
    assert "epoch 2, which was kept" in said
    assert said.count("(kept)") == 1 and "2 (kept) 8.00e-04 3.4000 3.5000 3.7000 12.34% 8.00%" in said


def test_who_is_left_out_may_be_judged_and_without_a_word_nobody_may(folder):
    text = write_pretraining(folder, left_out="3 are left out.").read_text()
    assert '<p class="badge leakfree">3 are left out.</p>' in text and "judge no patient" not in text
    assert '<p class="badge paper">Nobody was left out' in write_pretraining(folder).read_text()


def test_weights_that_were_gone_on_with_have_seen_others(folder):
    write_json(folder / "pretrain.json", {**ACCOUNT, "origin": "weights, sha256 12", "taught": "ia3+head"})
    said = words(folder, left_out="3 are left out.")
    assert '<p class="badge paper">3 are left out.' in (folder / "report.html").read_text()
    assert "3 are left out. They went on from other weights: whoever taught those has been seen too." in said
    assert "taken over from the weights before" in said and "weights, sha256 12" in said
    assert "multipliers of keys, values and hidden units (IA³), worked into the weights, and the last layer" in said


def test_the_page_is_whole_safe_and_the_same_every_time_and_says_nothing_about_the_disk(folder):
    told = {"left_out": "<script>1</script>", "command": "slidesurv rna pretrain /home/me/t.csv -o own"}
    text = write_pretraining(folder, **told).read_text()
    assert not left_open(text) and "<script" not in text and not re.search(r"url\((?!#)|https?://(?!www\.w3)", text)
    assert "/home/me" not in text and "t.csv -o own" in text and str(folder) not in text
    assert write_pretraining(folder, **told).read_text() == text


def test_one_epoch_has_a_page(folder):
    write_csv(folder / "history.csv", ROWS[:1], COLUMNS)
    write_json(folder / "pretrain.json", {**ACCOUNT, "kept": ROWS[0]})
    assert "up to epoch 1." in write_pretraining(folder).read_text()


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        (ROWS, COLUMNS[:-1], "'majority_accuracy'.*Expected numbers under 'epoch'"),
        ([{**ROWS[0], "train_loss": "high"}], COLUMNS, "could not convert"),
        ([], COLUMNS, "has no epoch"),
    ],
)
def test_a_broken_history_is_refused_by_name(folder, rows, columns, message):
    write_csv(folder / "history.csv", rows, columns)
    with pytest.raises(DataError, match=message):
        write_pretraining(folder)


def test_a_pre_training_that_has_not_ended_has_no_page(folder):
    (folder / "pretrain.json").unlink()
    with pytest.raises(DataError, match=r"pretrain\.json"):
        write_pretraining(folder)
    assert not (folder / "report.html").exists()
