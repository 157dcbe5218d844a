"""Bad input: every registered method answers with a number or with a word of what is wrong, never with NaN.

Bags of one to three tiles and predictions of tiles that are all alike are asked about in test_protocol.py.
"""

import inspect

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from reference.peers import as_bag
from slidesurv.config.experiment import Experiment
from slidesurv.config.read import read_experiment
from slidesurv.errors import ConfigError, DataError
from slidesurv.files import read_csv, write_csv
from slidesurv.models.base import SurvivalModel
from slidesurv.registry import models
from slidesurv.training.crossval import plan
from slidesurv.training.device import peak_memory
from slidesurv.training.step import losses, show
from slidesurv.types import Genomics, PatientData, Sizes, SurvivalTarget, Use

SIZES = Sizes(tile=16, bins=4, embedding=12, expression=20, groups=(5, 7, 4, 6, 3, 8))
NAMES = models.names()
NEEDY = [name for name in NAMES if models[name].genomics is Use.ALWAYS]
TAUGHT = [name for name in NAMES if models[name].genomics is Use.TRAINING]
BY_GROUPS = [name for name in NAMES if models[name].view == "groups"]
NARROW = {"dsmil": {"embed": 16}, "vgat": {"dim": 16, "vga": {"width": 16}}}  # others that have a width call it "dim"
WHOLE = {"mome": {"micro_batch": None}}  # what chunks would hide
SIGNATURES = "suppressors,oncogenes\nGENE000,GENE020\nGENE001,GENE021\n"


def made(name: str, sizes: Sizes = SIZES, **choices) -> SurvivalModel:
    torch.manual_seed(3)
    dim = {"dim": 16} if "dim" in inspect.signature(models[name].__init__).parameters else {}
    model = models.build(name, sizes, **NARROW.get(name, dim), **choices)
    model.prepare([as_bag(torch.rand(60, 16, generator=torch.Generator().manual_seed(7)), "P")])
    return model


def patient(features: torch.Tensor, *, sizes: Sizes = SIZES, gene: float = 0.5) -> PatientData:
    groups = tuple(torch.full((size,), gene) for size in sizes.groups)
    genomics = Genomics(groups, torch.full((sizes.embedding,), gene), torch.full((sizes.expression,), gene))
    target = SurvivalTarget(torch.tensor([10.0]), torch.tensor([True]), torch.tensor([1]))
    return PatientData("P", as_bag(features, "P"), genomics, target)


def assert_teaches(model: SurvivalModel, known: PatientData) -> None:
    loss = losses(model.train(), show(model, known), known.target)["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("features", [torch.ones(50, 16), torch.zeros(50, 16), torch.rand(50, 16) * 1e4])
@pytest.mark.parametrize("name", NAMES)
def test_tiles_that_are_alike_or_huge_teach_numbers(name, features):
    assert_teaches(made(name), patient(features))


@pytest.mark.parametrize("gene", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("name", [*NEEDY, *TAUGHT])
def test_genes_that_are_alike_or_huge_teach_numbers_to_a_bag_of_one_tile(name, gene):
    assert_teaches(made(name), patient(torch.rand(1, 16), gene=gene))


@pytest.mark.parametrize("name", NAMES)
def test_preparing_on_tiles_that_are_alike_works_or_says_that_they_are(name):
    model = models.build(name, SIZES)
    try:
        model.prepare([as_bag(torch.ones(50, 16))])
    except DataError as error:
        assert "1 different tiles, too few for 16 prototypes" in str(error)
    assert all(torch.isfinite(values).all() for values in model.state_dict().values())


@pytest.mark.parametrize("name", BY_GROUPS)
def test_one_gene_group_is_enough(name):
    sizes = Sizes(tile=16, bins=4, groups=(3,))
    model, known = made(name, sizes), patient(torch.rand(30, 16), sizes=sizes)
    assert torch.isfinite(show(model.eval(), known).logits).all()
    assert_teaches(model, known)


@pytest.mark.parametrize("genomics", [None, Genomics()])
@pytest.mark.parametrize("name", NEEDY)
def test_a_prediction_that_needs_genomics_names_the_patient_who_has_none(name, genomics):
    with pytest.raises(DataError, match=r"Patient 'P-7' has no .*missing = \"drop\""):
        made(name).eval()(as_bag(torch.rand(4, 16), "P-7"), genomics)


def wanted(small, folder, name: str, *sets: str) -> Experiment:
    """The small experiment with one method alone, and with two gene groups."""
    (folder / "groups.csv").write_text(SIGNATURES)
    settings = read_experiment(small / "small.toml", [f"genomics.signatures='{folder / 'groups.csv'}'", *sets])
    return Experiment.model_validate({**settings.model_dump(mode="json"), "models": [{"name": name}]})


def without_two(small, folder) -> str:
    """The setting for expression of all patients but the first two."""
    rows = read_csv(small / "data" / "expression.csv")[2:]
    write_csv(folder / "expression.csv", rows, list(rows[0]))
    return f"cohort.expression='{folder / 'expression.csv'}'"


@pytest.mark.parametrize("name", NEEDY)
def test_patients_without_genomics_are_named_before_any_training(small, tmp_path, name):
    experiment = wanted(small, tmp_path, name, without_two(small, tmp_path))
    words = rf"2 of 40 patients have no {models[name].view}, which '{name}'.*'SYN-0000', 'SYN-0001'.*missing = \"drop\""
    with pytest.raises(DataError, match=words):
        plan(experiment, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", [name for name in NEEDY if models[name].view == "embedding"])
def test_patients_without_a_ready_made_embedding_are_named_before_any_training(small, tmp_path, name):
    ids = [row["patient_id"] for row in read_csv(small / "data" / "cohort.csv")][1:]
    write_csv(tmp_path / "bert.csv", [{"patient_id": i, "e0": "1", "e1": "2"} for i in ids], ["patient_id", "e0", "e1"])
    with pytest.raises(DataError, match=rf"1 of 40 patients have no embedding, which '{name}'.*'SYN-0000'"):
        plan(wanted(small, tmp_path, name, f"cohort.embeddings='{tmp_path / 'bert.csv'}'"), tmp_path / "run")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NEEDY])
def test_methods_that_predict_without_genomics_are_trained_all_the_same(small, tmp_path, name):
    assert plan(wanted(small, tmp_path, name, without_two(small, tmp_path)), tmp_path / "run")


@pytest.mark.parametrize("name", BY_GROUPS)
def test_a_gene_group_without_a_gene_of_the_table_is_named_before_any_training(small, tmp_path, name):
    experiment = wanted(small, tmp_path, name)
    (tmp_path / "groups.csv").write_text("suppressors,oncogenes\nGENE000,TP53\nGENE001,MYC\n")
    with pytest.raises(DataError, match=r"1 of 2 groups have no gene in the table.*'oncogenes'.*empty_groups"):
        plan(experiment, tmp_path / "run")


@pytest.mark.parametrize("name", BY_GROUPS)
def test_gene_groups_that_no_file_names_are_asked_for_before_any_training(small, tmp_path, name):
    values = wanted(small, tmp_path, name).model_dump(mode="json")
    values["genomics"]["signatures"] = None
    with pytest.raises(ConfigError, match=rf"'{name}' .* gene groups, and there is none: set \[genomics\] signatures"):
        plan(Experiment.model_validate(values), tmp_path / "run")


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that an operation made."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        made = [tensor.numel() for tensor in tree_leaves(result) if isinstance(tensor, torch.Tensor)]
        self.numbers = max(self.numbers, *made, 0)
        return result


@pytest.mark.parametrize("name", NAMES)
def test_no_tensor_of_a_training_step_grows_faster_than_the_bag(name):
    largest = []
    for n in (1500, 6000):
        model, known = made(name, **WHOLE.get(name, {})).train(), patient(torch.rand(n, 16))
        with Largest() as seen:
            losses(model, show(model, known), known.target)["loss"].backward()
        largest.append(seen.numbers)
    assert largest[1] < 4.2 * largest[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_bag_of_400_000_tiles_is_judged_in_memory_of_some_kilobytes_a_tile(name):
    n, model = 400_000, made(name).eval()
    model.explains = True
    known = patient(torch.rand(n, 16))
    with torch.inference_mode(), peak_memory() as measured:
        output = show(model, known)
    assert torch.isfinite(output.logits).all()
    if output.attention is not None:
        torch.testing.assert_close(output.attention.sum(), torch.tensor(1.0), atol=1e-3, rtol=0)
    if measured.megabytes is not None:
        assert measured.megabytes < 6e-3 * n  # one row of N × N would be 1,600 kB
