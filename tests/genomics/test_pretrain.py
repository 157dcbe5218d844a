"""An encoder teaches itself what genes have to do with each other; an ended run ends with the same bytes."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from slidesurv.errors import ConfigError, DataError
from slidesurv.files import read_csv, read_json
from slidesurv.genomics import pretrained
from slidesurv.genomics.corpus import Corpus, make_corpus
from slidesurv.genomics.embed import embed
from slidesurv.genomics.expression import Expression, read_embeddings
from slidesurv.genomics.genes import read_gene_list
from slidesurv.genomics.masking import Masking, add_mask, answer, judge
from slidesurv.genomics.pretrain import PretrainRecipe, new_encoder, pretrain
from slidesurv.genomics.pretrained import read_mask
from slidesurv.genomics.tokens import TPMBins
from slidesurv.genomics.weights import read_checkpoint
from slidesurv.seeds import seed_for

SIZES = {"dim": 16, "layers": 2, "heads": 2, "hidden": 32, "gene_dim": 16}
QUICK = PretrainRecipe(epochs=3, batch=8, together=3, checkpoint_seconds=0)


def table(patients: int = 30, genes: int = 12, *, tpm: bool = False) -> Expression:
    random = np.random.default_rng(0)
    shape = (patients, genes)
    values = random.gamma(0.5, 4000, shape).round(4) if tpm else random.standard_normal(shape)
    return Expression(tuple(f"P{k:02}" for k in range(patients)), tuple(f"G{k}" for k in range(genes)), values)


def corpus(**choices: object) -> Corpus:
    return make_corpus(table(**choices), count=8, held_out=0.1)


def teach(folder: Path, given: Corpus | None = None, *, recipe: PretrainRecipe = QUICK, **choices: object) -> Path:
    given = given or corpus()
    return pretrain(new_encoder(given, **SIZES), given, folder, recipe=recipe, **choices)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


DONE = "pretrain.json"
FILES = {"config.json", "genes.txt", "history.csv", "mask.safetensors", "model.safetensors", "patients.csv"}


def test_what_is_written_is_read_by_the_encoders_own_loader_and_embeds(tmp_path):
    given = corpus()
    path = teach(tmp_path / "own", given)
    assert contents(tmp_path / "own").keys() == FILES | {DONE}
    weights = read_checkpoint(tmp_path / "own")
    assert np.array_equal(weights.bins.edges, given.bins.edges)
    genes = read_gene_list(tmp_path / "own" / "genes.txt")
    assert genes == given.genes
    embed(table(), weights, tmp_path / "embedded", genes=genes)
    vectors = read_embeddings(tmp_path / "embedded" / "embeddings.safetensors")
    assert vectors.values.shape == (30, 16) and len({tuple(row) for row in vectors.values}) == 30
    assert not torch.equal(weights.parameters["lm_head.weight"], new_encoder(given, **SIZES).lm_head.weight)
    assert read_mask(tmp_path / "own").shape == (16,)
    assert path == tmp_path / "own" / "model.safetensors"


def test_tpm_is_read_back_with_the_factor_of_those_who_taught(tmp_path):
    given = corpus(tpm=True)
    weights = read_checkpoint(teach(tmp_path, given))
    assert isinstance(weights.bins, TPMBins) and weights.bins == given.bins


def test_the_account_says_who_taught_how_and_which_epoch_is_kept(tmp_path):
    given = corpus()
    teach(tmp_path, given)
    history = [{name: float(cell) for name, cell in row.items()} for row in read_csv(tmp_path / "history.csv")]
    assert [row["epoch"] for row in history] == [1, 2, 3]
    told = read_json(tmp_path / DONE)
    assert told["kept"] == min(history, key=lambda row: row["held_out_loss"])
    assert told["patients"] == {"train": 27, "held_out": 3} and told["bins"] == {"count": 8, "rule": "QuantileBins"}
    assert told["recipe"]["epochs"] == 3 and told["taught"] == "all"
    rows = read_csv(tmp_path / "patients.csv")
    assert [row["patient_id"] for row in rows if row["part"] == "train"] == list(given.teachers)
    assert [row["patient_id"] for row in rows if row["part"] == "held out"] == list(given.watchers)


class EndedError(Exception):
    pass


def ends_after(steps: int):
    def end(step: int, total: int, history: list) -> None:
        if step == steps:
            raise EndedError

    return end


@pytest.mark.parametrize("steps", [1, 4, 6, 12])  # of 4 an epoch
@pytest.mark.parametrize("taught", ["all", "ia3+head"])
def test_an_ended_run_goes_on_where_it_stopped_to_the_same_bytes(tmp_path, monkeypatch, steps, taught):
    teach(tmp_path / "whole", taught=taught)
    with pytest.raises(EndedError):
        teach(tmp_path / "ended", taught=taught, report=ends_after(steps))
    assert contents(tmp_path / "ended").keys() == {"pretrain.partial"}
    seen = []
    torch.manual_seed(steps)  # the run has no need of what others drew
    teach(tmp_path / "ended", taught=taught, report=lambda step, total, history: seen.append((step, total)))
    assert seen == [(step, 12) for step in range(steps + 1, 13)]
    assert contents(tmp_path / "ended") == contents(tmp_path / "whole")


def test_what_is_done_is_not_done_again(tmp_path):
    teach(tmp_path)
    before = contents(tmp_path)
    teach(tmp_path, report=lambda *_: pytest.fail("nothing was left to teach"))
    assert contents(tmp_path) == before


def test_another_calls_work_is_neither_gone_on_with_nor_overwritten(tmp_path):
    with pytest.raises(EndedError):
        teach(tmp_path, report=ends_after(5))
    before = contents(tmp_path)
    others = [{"recipe": replace(QUICK, learning_rate=2e-3)}, {"given": corpus(patients=29)}, {"taught": "ia3"}]
    for other in others:
        with pytest.raises(ConfigError, match=r"pretrain\.partial' was made with other patients, values or settings"):
            teach(tmp_path, **other)
    assert contents(tmp_path) == before
    teach(tmp_path)
    with pytest.raises(ConfigError, match=r"pretrain\.json' was made with other"):
        teach(tmp_path, recipe=replace(QUICK, seed=1))
    doubled = make_corpus(replace(table(), values=2 * table().values), count=8, held_out=0.1)
    assert np.array_equal(doubled.taught, corpus().taught)
    with pytest.raises(ConfigError, match="was made with other"):  # the tokens are alike, the edges are not
        teach(tmp_path, doubled)


def test_weights_from_elsewhere_are_not_overwritten(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"another's")
    with pytest.raises(ConfigError, match="holds weights from elsewhere, which stay"):
        teach(tmp_path)
    assert contents(tmp_path) == {"model.safetensors": b"another's"}


def test_a_run_that_was_ended_while_it_wrote_its_weights_writes_them_again(tmp_path, monkeypatch):
    teach(tmp_path / "whole")
    monkeypatch.setattr(pretrained, "write_csv", lambda *_: pytest.fail("ended"))
    with pytest.raises(pytest.fail.Exception):
        teach(tmp_path / "ended", recipe=replace(QUICK, checkpoint_seconds=1e9))
    monkeypatch.undo()
    teach(tmp_path / "ended", report=lambda *_: pytest.fail("nothing was left to teach"))
    assert contents(tmp_path / "ended") == contents(tmp_path / "whole")


def test_a_torn_checkpoint_is_named(tmp_path):
    (tmp_path / "pretrain.partial").write_bytes(b"torn")
    with pytest.raises(DataError, match=r"Cannot read '.*pretrain\.partial'.*Delete it, and begin again"):
        teach(tmp_path)


def planted(patients: int = 160, genes: int = 12) -> Expression:
    """Every gene follows one of three programmes, and is as variable as the others."""
    random = np.random.default_rng(5)
    programmes = random.standard_normal((patients, 3))
    values = programmes[:, np.arange(genes) % 3] + 0.1 * random.standard_normal((patients, genes))
    return Expression(tuple(f"P{k:03}" for k in range(patients)), tuple(f"G{k}" for k in range(genes)), values)


def learnt(folder: Path) -> tuple[dict, dict]:
    rows = read_csv(folder / "history.csv")
    first, last = ({name: float(cell) for name, cell in row.items()} for row in (rows[0], rows[-1]))
    return first, last


def test_a_planted_dependence_between_genes_is_learnt_and_the_majority_bin_beaten(tmp_path):
    given = make_corpus(planted(), count=8, held_out=0.2)
    recipe = PretrainRecipe(epochs=40, batch=32, together=32, learning_rate=5e-3)
    teach(tmp_path, given, recipe=recipe)
    first, last = learnt(tmp_path)
    assert last["held_out_accuracy"] > last["majority_accuracy"] + 0.2
    assert last["held_out_loss"] < last["majority_loss"] - 0.4
    assert last["train_loss"] < first["train_loss"]


def test_where_genes_do_not_depend_on_each_other_nothing_is_learnt(tmp_path):
    values = np.random.default_rng(1).standard_normal((160, 12))
    given = make_corpus(replace(planted(), values=values), count=8, held_out=0.2)
    teach(tmp_path, given, recipe=PretrainRecipe(epochs=20, batch=32, together=32, learning_rate=5e-3))
    _, last = learnt(tmp_path)
    assert last["held_out_loss"] > last["majority_loss"] - 0.05


def test_the_best_epoch_is_kept_not_the_last(tmp_path):
    given = corpus()  # 27 patients of noise are learnt by heart
    weights = read_checkpoint(teach(tmp_path, given, recipe=replace(QUICK, epochs=25, learning_rate=1e-2)))
    losses = [float(row["held_out_loss"]) for row in read_csv(tmp_path / "history.csv")]
    kept = read_json(tmp_path / DONE)["kept"]
    assert kept["held_out_loss"] == min(losses) < losses[-1]
    encoder = weights.encoder()
    add_mask(encoder, read_mask(tmp_path))
    seeds = [seed_for("exam", 0, patient) for patient in given.watchers]
    exam = Masking(hidden=1.0, swapped=0.0)(torch.from_numpy(given.watched), n_bins=8, seeds=seeds)
    judged = judge(exam, lambda question: answer(encoder, question), size=3)
    assert judged["loss"] == pytest.approx(min(losses)) and judged["accuracy"] == kept["held_out_accuracy"]


def test_how_many_patients_are_in_memory_changes_a_step_by_rounding_alone(tmp_path):
    for together in (1, 8):
        teach(tmp_path / str(together), recipe=replace(QUICK, epochs=2, together=together))
    (_, one), (_, other) = learnt(tmp_path / "1"), learnt(tmp_path / "8")
    assert one == pytest.approx(other, rel=1e-4)  # weights differ more: AdamW follows the rounding of zero gradients


def test_computing_blocks_twice_gives_the_same_weights(tmp_path):
    given = corpus()
    for name, recompute in (("once", False), ("twice", True)):
        encoder = new_encoder(given, **SIZES, recompute=recompute)
        pretrain(encoder, given, tmp_path / name, recipe=replace(QUICK, epochs=1))
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("once", "twice"))
    for name in one:
        torch.testing.assert_close(one[name], other[name])


def test_bfloat16_teaches_nearly_the_same(tmp_path):
    teach(tmp_path / "f")
    teach(tmp_path / "b", recipe=replace(QUICK, precision="bfloat16"))
    (_, one), (_, other) = learnt(tmp_path / "f"), learnt(tmp_path / "b")
    assert one["train_loss"] == pytest.approx(other["train_loss"], rel=0.02)
    assert one["train_loss"] != other["train_loss"]


def test_the_rate_rises_to_its_highest_and_falls_to_nothing():
    recipe = PretrainRecipe(learning_rate=1e-3, warm_up=0.1)
    rates = [recipe.rate(step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([1e-4 * k for k in range(1, 11)])
    assert rates[10] == 1e-3 and rates[55] == pytest.approx(5e-4) and rates[99] < 1e-6
    assert sorted(rates[10:], reverse=True) == rates[10:]
    assert replace(recipe, warm_up=0.0).rate(0, 1) == 1e-3


def started(tmp_path: Path) -> Path:
    given = make_corpus(planted(), count=8, held_out=0.2)
    teach(tmp_path / "before", given, recipe=PretrainRecipe(epochs=8, batch=32, together=32, learning_rate=5e-3))
    return tmp_path / "before"


@pytest.mark.parametrize("taught", ["ia3", "ia3+head"])
def test_multipliers_alone_are_taught_and_worked_into_the_weights(tmp_path, taught):
    folder = started(tmp_path)
    weights = read_checkpoint(folder)
    before = copy.deepcopy(dict(weights.parameters))
    given = make_corpus(planted(), bins=weights.bins, held_out=0.2)
    recipe = PretrainRecipe(epochs=4, batch=32, together=32, learning_rate=2e-2)
    path = pretrain(
        copy.deepcopy(weights.encoder()), given, tmp_path / "after", recipe=recipe, taught=taught,
        mask=read_mask(folder), origin="before",
    )  # fmt: skip
    after = read_checkpoint(path).parameters
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    scaled = {f"mha.w_{part}.{leaf}" for part in "kv" for leaf in ("weight", "bias")} | {"fc2.weight"}
    head = {"lm_head.weight", "lm_head.bias"} if taught == "ia3+head" else set()
    assert changed == {f"transformer_layers.{k}.{name}" for k in range(2) for name in scaled} | head
    ratio = after["transformer_layers.0.mha.w_k.weight"] / before["transformer_layers.0.mha.w_k.weight"]
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), atol=1e-3, rtol=1e-3)  # a number a row
    assert all(torch.equal(before[name], weights.parameters[name]) for name in before)
    told = read_json(tmp_path / "after" / DONE)
    assert (
        told["origin"] == "before" and told["kept"]["held_out_loss"] < read_json(folder / DONE)["kept"]["held_out_loss"]
    )


def test_the_vector_of_a_hidden_token_goes_on_from_where_it_was(tmp_path):
    folder = started(tmp_path)
    weights = read_checkpoint(folder)
    given = make_corpus(planted(), bins=weights.bins, held_out=0.2)
    recipe = PretrainRecipe(epochs=1, batch=200, together=200, learning_rate=1e-12)
    losses = []
    for name, mask in (("with", read_mask(folder)), ("without", None)):
        pretrain(copy.deepcopy(weights.encoder()), given, tmp_path / name, recipe=recipe, taught="ia3", mask=mask)
        losses.append(read_json(tmp_path / name / DONE)["kept"]["held_out_loss"])
    assert losses[0] == pytest.approx(read_json(folder / DONE)["kept"]["held_out_loss"], abs=1e-6)
    assert losses[0] < losses[1]
    assert torch.equal(read_mask(tmp_path / "with"), read_mask(folder))
    assert read_mask(tmp_path) is None
    (tmp_path / "mask.safetensors").write_bytes(b"torn")
    with pytest.raises(DataError, match="Delete it to begin with another vector"):
        read_mask(tmp_path)


@pytest.mark.parametrize("other", [{"genes": 11}, {"count": 9}])
def test_a_corpus_of_other_genes_or_bins_is_refused(tmp_path, other):
    encoder = new_encoder(corpus(), **SIZES)
    given = make_corpus(table(genes=other.get("genes", 12)), count=other.get("count", 8))
    with pytest.raises(DataError, match=r"The encoder has 12 genes and 8 bins, but the table has"):
        pretrain(encoder, given, tmp_path / "out", recipe=QUICK)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"batch": 0}, {"together": -1}, {"learning_rate": 0.0}, {"warm_up": 1.0}, {"weight_decay": -1}],
)
def test_a_recipe_that_cannot_be_followed_is_refused(wrong):
    with pytest.raises(ConfigError, match=r"Nothing can be taught|cannot be used"):
        replace(QUICK, **wrong)


def test_a_loss_that_is_no_number_is_said(tmp_path):
    given = corpus()
    encoder = new_encoder(given, **SIZES)
    with torch.no_grad():
        encoder.lm_head.bias[0] = torch.nan
    with pytest.raises(DataError, match="The loss became nan"):
        pretrain(encoder, given, tmp_path, recipe=QUICK)


def test_first_weights_depend_on_their_seed_alone():
    given = corpus()
    torch.manual_seed(3)
    state = torch.get_rng_state()
    one, same, other = (new_encoder(given, **SIZES, seed=seed).lm_head.weight for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_other_shares_of_masks_are_another_recipe():
    assert replace(QUICK, masking=Masking(0.3)).told() != QUICK.told()
    assert "checkpoint_seconds" not in QUICK.told()
