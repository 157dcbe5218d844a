"""The words themselves."""

import pytest
import torch

from slidesurv.errors import DataError
from slidesurv.types import Bag, Cohort, ModelOutput, Patient, Split


def test_hazards_survival_and_risk_follow_from_the_logits():
    output = ModelOutput(torch.tensor([-1.0, 0.0, 0.5, 2.0], dtype=torch.float64))
    torch.testing.assert_close(
        output.survival, torch.tensor([0.731059, 0.365529, 0.138002, 0.016450]).double(), atol=1e-6, rtol=0
    )
    assert output.risk.item() == pytest.approx(-1.251040, abs=1e-6)


def test_a_patient_in_two_parts_of_a_split_is_an_error():
    with pytest.raises(DataError, match="more than one part of a split: 'b'"):
        Split(train=("a", "b"), tune=(), test=("b",))


def test_a_subset_keeps_the_order_of_the_table_and_knows_strangers():
    cohort = Cohort("c", tuple(Patient(name, (), 1.0, True) for name in "abc"))
    assert cohort.subset(["c", "a"]).ids == ("a", "c")
    with pytest.raises(DataError, match="'z'"):
        cohort.subset(["z"])


def test_a_stranger_is_refused_with_the_names_that_are_known():
    cohort = Cohort("c", tuple(Patient(f"P{n}", (), 1.0, True) for n in range(9)))
    with pytest.raises(
        DataError, match=r"no patient 'p1'; it has 'P0', 'P1', … and 7 more\. Name patients as its table"
    ):
        cohort["p1"]


def test_a_subset_remembers_who_was_dropped():
    cohort = Cohort("c", (Patient("a", (), 1.0, True), Patient("b", (), 1.0, True)), (("z", "without an event"),))
    assert cohort.subset(["a"]).dropped == (("z", "without an event"),)
    assert Cohort("c", ()).dropped == ()


def test_tiles_of_a_bag_keep_their_places():
    bag = Bag("p", torch.arange(6.0).reshape(3, 2), torch.arange(6).reshape(3, 2), torch.tensor([0, 0, 1]))
    part = bag[torch.tensor([2, 0])]
    assert (part.features[0].tolist(), part.coords[0].tolist(), part.slide.tolist()) == ([4.0, 5.0], [4, 5], [1, 0])
