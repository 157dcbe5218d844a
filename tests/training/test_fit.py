"""The loop: windows, schedules, the epoch that is kept, and losses that are no numbers."""

import pytest
import torch

from slidesurv.config.training import TrainingSection
from slidesurv.errors import DataError
from slidesurv.models.attnmil import AttnMIL
from slidesurv.training.fit import fit
from slidesurv.types import Bag, PatientData, Sizes, SurvivalTarget


def patients(count: int = 9) -> dict[str, PatientData]:
    generator = torch.Generator().manual_seed(0)
    made = {}
    for k in range(count):
        bag = Bag(f"P{k}", torch.rand(5, 6, generator=generator), torch.zeros(5, 2), torch.zeros(5).long())
        target = SurvivalTarget(torch.tensor([k + 1.0]), torch.tensor([k % 2 == 0]), torch.tensor([k % 3]))
        made[bag.patient] = PatientData(bag.patient, bag, None, target)
    return made


def fitted(tmp_path, known=None, *, watch=("P7", "P8"), choose="nll", bins=3, chances=None, **settings):
    torch.manual_seed(0)
    model = AttnMIL(Sizes(tile=6, bins=bins), dim=8)
    progress = fit(
        model,
        (known or patients()).__getitem__,
        train=[f"P{k}" for k in range(7)],
        watch=watch,
        watched="tune",
        choose=choose,
        recipe=TrainingSection(**{"epochs": 5, **settings}),
        seed=1,
        checkpoint=tmp_path / "checkpoint.safetensors",
        chances=chances,
    )
    return model, progress


def test_the_rate_falls_as_a_cosine_to_nothing_after_the_last_epoch(tmp_path):
    _, progress = fitted(tmp_path, epochs=4, learning_rate=1.0)
    rates = [row["learning_rate"] for row in progress.history]
    assert rates == pytest.approx([1.0, 0.8535534, 0.5, 0.1464466])


def test_the_last_shorter_window_is_taught_too(tmp_path, monkeypatch):
    steps = []
    real = torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self, *a: (steps.append(1), real(self, *a))[1])
    fitted(tmp_path, epochs=1, accumulate=3)
    assert len(steps) == 3  # 7 patients: 3 + 3 + 1


def test_a_window_of_all_patients_takes_the_mean_of_their_gradients(tmp_path):
    whole, _ = fitted(tmp_path, epochs=1, accumulate=7, watch=(), choose="last")
    longer, _ = fitted(tmp_path, epochs=1, accumulate=100, watch=(), choose="last")
    for one, other in zip(whole.parameters(), longer.parameters(), strict=True):
        assert torch.equal(one, other)


def test_patience_ends_a_run_that_gets_no_better(tmp_path):
    _, progress = fitted(tmp_path, epochs=50, learning_rate=0.5, patience=2, schedule="constant")
    assert progress.epoch == progress.best_epoch + 2 < 50


def test_the_weights_left_are_those_of_the_kept_epoch(tmp_path):
    model, progress = fitted(tmp_path / "a", epochs=12, learning_rate=0.3, schedule="constant")
    assert progress.best_epoch < 12
    sets = {"epochs": progress.best_epoch, "learning_rate": 0.3, "schedule": "constant", "watch": (), "choose": "last"}
    shorter, _ = fitted(tmp_path / "b", **sets)
    for one, other in zip(model.parameters(), shorter.parameters(), strict=True):
        assert torch.equal(one, other)


def test_without_patients_to_watch_the_last_epoch_is_kept(tmp_path):
    _, progress = fitted(tmp_path, watch=(), choose="last")
    assert progress.best_epoch == 5
    assert set(progress.history[0]) == {"epoch", "learning_rate", "train_loss", "train_nll"}


def test_a_loss_that_is_no_number_names_the_patient_and_the_remedy(tmp_path):
    known = patients()
    known["P3"].bag.features.fill_(torch.nan)
    with pytest.raises(DataError, match=r"became nan at patient 'P3'.*standardise"):
        fitted(tmp_path, known)


def test_a_resumed_fit_ends_where_an_undisturbed_one_does(tmp_path):
    straight, _ = fitted(tmp_path / "a", epochs=6, checkpoint_seconds=0)
    fitted(tmp_path / "b", epochs=6, checkpoint_seconds=0)
    checkpoint = tmp_path / "b" / "checkpoint.safetensors"
    early = tmp_path / "c" / "checkpoint.safetensors"

    def stop(progress):
        if progress.epoch == 3:
            raise KeyboardInterrupt

    torch.manual_seed(0)
    model = AttnMIL(Sizes(tile=6, bins=3), dim=8)
    arguments = {"train": [f"P{k}" for k in range(7)], "watch": ("P7", "P8"), "watched": "tune", "choose": "nll"}
    recipe = TrainingSection(epochs=6, checkpoint_seconds=0)
    with pytest.raises(KeyboardInterrupt):
        fit(model, patients().__getitem__, **arguments, recipe=recipe, seed=1, checkpoint=early, tick=stop)
    resumed, progress = fitted(tmp_path / "c", epochs=6, checkpoint_seconds=0)
    assert [row["epoch"] for row in progress.history] == [1, 2, 3, 4, 5, 6]
    for one, other in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
    assert checkpoint.read_bytes() == early.read_bytes()


def test_a_patient_with_no_chance_never_teaches(tmp_path):
    known, spoilt = patients(), patients()
    spoilt["P3"].bag.features.fill_(torch.nan)
    chances = [1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0]
    one, _ = fitted(tmp_path / "a", known, chances=chances)
    other, _ = fitted(tmp_path / "b", spoilt, chances=chances)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_cox_learns_who_dies_first(tmp_path):
    known = patients()
    for k, patient in enumerate(known.values()):
        patient.bag.features[:] = torch.rand(6) * 0.1
        patient.bag.features[:, 0] = (9 - k) / 9  # dies earlier where it is larger
    settings = {"loss": "cox", "accumulate": 7, "learning_rate": 0.02, "epochs": 40, "watch": (), "choose": "last"}
    model, progress = fitted(tmp_path, known, bins=1, **settings)
    risks = [model.eval()(patient.bag, None).risk.item() for patient in known.values()]
    assert risks == sorted(risks, reverse=True)
    assert progress.history[-1]["train_cox"] < progress.history[0]["train_cox"]


def test_cox_watches_the_partial_likelihood(tmp_path):
    _, progress = fitted(tmp_path, bins=1, loss="cox", accumulate=4, watch=("P6", "P7", "P8"))
    assert 0 < progress.history[-1]["tune_nll"] < 5


def test_a_step_without_a_death_teaches_nothing_under_cox(tmp_path):
    known = patients()
    for patient in known.values():
        patient.target.event[:] = False
    model, progress = fitted(tmp_path, known, bins=1, loss="cox", accumulate=7, weight_decay=0, watch=(), choose="last")
    torch.manual_seed(0)
    for one, other in zip(model.parameters(), AttnMIL(Sizes(tile=6, bins=1), dim=8).parameters(), strict=True):
        assert torch.equal(one, other)
    assert set(progress.history[0]) == {"epoch", "learning_rate"}


def test_l1_makes_weights_smaller(tmp_path):
    plain, _ = fitted(tmp_path / "a", learning_rate=0.01)
    sparse, _ = fitted(tmp_path / "b", learning_rate=0.01, l1=1.0)
    size = [sum(p.abs().sum().item() for p in model.parameters()) for model in (plain, sparse)]
    assert size[1] < 0.9 * size[0]


@pytest.mark.parametrize("optimizer", ["adamw", "radam", "sgd", "lookahead"])
def test_every_optimizer_resumes_where_it_stopped(tmp_path, optimizer):
    settings = {"optimizer": optimizer, "checkpoint_seconds": 0, "epochs": 8, "accumulate": 2}
    straight, _ = fitted(tmp_path / "a", **settings)

    def stop(progress):
        if progress.epoch == 3:
            raise KeyboardInterrupt

    torch.manual_seed(0)
    model = AttnMIL(Sizes(tile=6, bins=3), dim=8)
    arguments = {"train": [f"P{k}" for k in range(7)], "watch": ("P7", "P8"), "watched": "tune", "choose": "nll"}
    early = tmp_path / "b" / "checkpoint.safetensors"
    with pytest.raises(KeyboardInterrupt):
        fit(
            *(model, patients().__getitem__),
            **arguments,
            recipe=TrainingSection(**settings),
            seed=1,
            checkpoint=early,
            tick=stop,
        )
    resumed, progress = fitted(tmp_path / "b", **settings)
    assert progress.epoch == 8
    for one, other in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
