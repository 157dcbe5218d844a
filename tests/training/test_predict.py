"""What is kept of a rebuilt genome: what the model rebuilds, beside the view that taught it."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save

from slidesurv.files import write_json
from slidesurv.report.genome.rebuilt import read_rebuilt
from slidesurv.training.predict import profile, write_rebuilt
from slidesurv.types import Genomics

GROUPS = (torch.tensor([1.0, 2.0]), torch.tensor([3.0]))
EVERYTHING = Genomics(groups=GROUPS, embedding=torch.tensor([9.0, 8.0]))


@pytest.mark.parametrize(
    ("view", "genomics", "wanted"),
    [
        ("embedding", EVERYTHING, [9.0, 8.0]),
        ("groups", EVERYTHING, [1.0, 2.0, 3.0]),
        ("embedding", Genomics(groups=GROUPS), None),
        ("groups", Genomics(embedding=torch.ones(2)), None),
        ("groups", None, None),
    ],
)
def test_a_reconstruction_is_laid_beside_the_view_that_taught_it(view, genomics, wanted):
    found = profile(SimpleNamespace(view=view), genomics)
    assert found is wanted if wanted is None else found.tolist() == wanted


def test_what_is_written_is_read_back_and_the_same_bytes_come_again(tmp_path):
    rebuilt = {"P2": torch.tensor([1.0, 3.0]), "P1": torch.tensor([5.0, 3.0]), "P3": torch.zeros(2)}
    truth = {"P1": torch.tensor([1, 0.5]).bfloat16(), "P2": torch.tensor([0.0, 4.0]), "P9": torch.ones(2)}
    path = tmp_path / "rebuilt.safetensors"
    write_rebuilt(path, rebuilt, truth, view="embedding")
    before = path.read_bytes()
    write_rebuilt(path, rebuilt, truth, view="embedding")
    assert path.read_bytes() == before
    settings = {"genes": ["A", "B"], "chosen": [0, 1], "groups": [], "table": 0}
    write_json(tmp_path / "bundle/config.json", {"preprocessing": settings})
    (tmp_path / "bundle/preprocess.safetensors").write_bytes(save({}))
    found = read_rebuilt(tmp_path)
    assert found.patients == ("P1", "P2")  # the third has no true profile
    assert found.columns.rebuilt.tolist() == [[1, -1], [-1, 1]]
    assert found.columns.truth.tolist() == [[0.25, -0.25], [-2, 2]]


def test_nobody_with_a_profile_leaves_no_file(tmp_path):
    write_rebuilt(tmp_path / "rebuilt.safetensors", {"P1": torch.zeros(2)}, {}, view="embedding")
    assert not list(tmp_path.iterdir())
