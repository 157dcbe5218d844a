"""An experiment is checked whole before any data is read, and says what to do about what is wrong."""

from pathlib import Path

import pytest

from slidesurv.config.read import read_experiment
from slidesurv.errors import ConfigError

GOOD = """
name = "x"
[cohort]
table = "cohort.csv"
[[models]]
name = "attnmil"
"""


def written(tmp_path, text=GOOD):
    path = tmp_path / "x.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_paths_are_relative_to_the_file(tmp_path):
    assert read_experiment(written(tmp_path)).cohort.table == tmp_path / "cohort.csv"


def test_data_are_found_through_the_environment(tmp_path, monkeypatch):
    text = GOOD.replace("cohort.csv", "$SLIDESURV_DATA/cohort.csv")
    monkeypatch.setenv("SLIDESURV_DATA", "/somewhere")
    assert str(read_experiment(written(tmp_path, text)).cohort.table) == "/somewhere/cohort.csv"
    monkeypatch.delenv("SLIDESURV_DATA")
    assert str(read_experiment(written(tmp_path, text)).cohort.table) == "../shared/data/cohort.csv"


def test_an_override_wins_and_is_typed(tmp_path):
    experiment = read_experiment(written(tmp_path), ["training.epochs=3", "models.0.dim=64", "training.protocol=paper"])
    assert (experiment.training.epochs, experiment.training.protocol) == (3, "paper")
    assert experiment.models[0].choices() == {"dim": 64}


def test_the_paper_protocol_makes_a_hundred_epochs_unless_told_otherwise(tmp_path):
    assert read_experiment(written(tmp_path), ["training.protocol=paper"]).training.epochs == 100
    assert read_experiment(written(tmp_path)).training.epochs == 20


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.epoch=3", r"\[training\] Unknown key 'epoch'. Did you mean 'epochs'"),
        ("training.learning_rate=-1", r"\[training\] learning_rate = -1"),
        ("splits.folds=0", r"\[splits\] folds = 0"),
        ("nme='y'", "Unknown key 'nme'. Did you mean 'name'"),
        ("models.0.name='atnmil'", "Unknown model 'atnmil'. Did you mean 'attnmil'"),
        ("models.0.dimm=3", "In model 'attnmil': Unknown option 'dimm'. Did you mean 'dim'"),
        ("models.0.dim='wide'", "In model 'attnmil': option 'dim' is 'wide'"),
        ("models.0.variant='gaetd'", "option 'variant' is 'gaetd'"),
        ("models.0.preset='release'", "Unknown preset 'release'"),
        ("models.0={name='vgat', ese={promts=64}}", "Unknown key of 'ese' 'promts'. Did you mean 'prompts'"),
        ("models.0={name='vgat', ese={prompts=-5}}", r"option 'ese.prompts' is -5.*The default is 1024"),
        ("models.0={name='vgat', dim=30}", "option 'dim' is 30.*multiple of 8"),
        ("models.0={name='vgat', loss_weight=nan}", "option 'loss_weight' is nan"),
        ("cohort.dead='2'", "go together"),
        ("splits.kind='mcat-csv'", "needs a path"),
        ("name='../up'", "name of the experiment"),
        ("models.7.dim=1", "leads to no key"),
        ("training", "sets nothing"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_near(tmp_path, override, words):
    with pytest.raises(ConfigError, match=words):
        read_experiment(written(tmp_path), [override])


def test_a_preset_is_overridden_key_by_key(tmp_path):
    row = "models.0={name='vgat', preset='release', ese={prompts=64}}"
    ese = read_experiment(written(tmp_path), [row]).models[0].choices()["ese"]
    assert (ese.prompts, ese.score, ese.reselect) == (64, "posterior_f32", True)


def test_a_group_of_choices_can_be_switched_off(tmp_path):
    assert read_experiment(written(tmp_path), ["models.0={name='vgat', vga=false}"]).models[0].choices()["vga"] is False


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[1] / "experiments").rglob("*.toml")), ids=lambda p: p.stem
)
def test_every_experiment_of_ours_is_valid(path):
    assert len(read_experiment(path).models) > 1


def test_two_rows_need_two_labels(tmp_path):
    text = GOOD + '[[models]]\nname = "attnmil"\nvariant = "plain"\n'
    with pytest.raises(ConfigError, match="give each its own label"):
        read_experiment(written(tmp_path, text))


def test_a_missing_key_points_to_init(tmp_path):
    with pytest.raises(ConfigError, match=r"'table' is missing.*slidesurv init"):
        read_experiment(written(tmp_path, GOOD.replace('table = "cohort.csv"', "")))


def test_a_file_that_is_no_experiment_is_refused_by_size(tmp_path):
    with pytest.raises(ConfigError, match="larger than 1,000,000 bytes"):
        read_experiment(written(tmp_path, "#" * 1_000_001))


def test_a_file_that_is_no_toml_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="as TOML"):
        read_experiment(written(tmp_path, "name = "))


SEARCH = """
[search.training]
learning_rate = { low = 1e-5, high = 1e-3, log = true }
[search.models.attnmil]
dim = { choices = [8, 16] }
"""


def test_every_row_is_searched_over_what_all_share_and_what_is_its_own(tmp_path):
    text = GOOD + '[[models]]\nname = "snn"\n[[models]]\nname = "attnmil"\nlabel = "narrow"\ndim = 8\n' + SEARCH
    experiment = read_experiment(written(tmp_path, text))
    spaces = [list(experiment.search.space(row)) for row in experiment.models]
    assert spaces == [["training.learning_rate", "model.dim"], ["training.learning_rate"], ["training.learning_rate"]]
    assert experiment.model_validate_json(experiment.model_dump_json()) == experiment


def test_a_choice_inside_a_group_leaves_the_others_of_the_group(tmp_path):
    row = read_experiment(written(tmp_path), ["models.0={name='vgat', ese={prompts=64}}"]).models[0]
    assert [row.says(key) for key in ("ese.prompts", "ese.prototypes", "dim")] == [True, False, False]
    ese = row.choosing({"ese.prototypes": 3, "dim": 16}).choices()["ese"]
    assert (ese.prompts, ese.prototypes) == (64, 3)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("search.trials=0", r"\[search\] trials = 0"),
        ("search.trial=3", r"\[search\] Unknown key 'trial'. Did you mean 'trials'"),
        ("search.training.learning_rate.lo=1", r"\[search.training.learning_rate\] Unknown key 'lo'. Did you mean 'l"),
        ("search.training.learning_rate.high=1e-6", "low must be below high"),
        ("search.training.learning_rate.high=7.0", r"\[search.training\] learning_rate may not be 7.0"),
        ("search.training.learning_rate.low=0", "above 0"),
        ("search.training.weight_decay={low=0.1}", "give low and high, or choices"),
        ("search.training.weight_decay={low=0.1, high=0.2, choices=[0.1]}", "give low and high, or choices"),
        ("search.training.n_bins={choices=[3, 4]}", "Unknown key to search 'n_bins'"),
        ("search.models.attnmil.dim.choices=[8, 30]", "option 'dim' is 30"),
        ("search.models.attnmil.dims={choices=[8]}", "Unknown option 'dims'. Did you mean 'dim'"),
        ("search.models.atnmil={}", r"\[search.models\] Unknown model 'atnmil'. Did you mean 'attnmil'"),
        ("search.models.attnmil.label={choices=['a']}", "'label' cannot be searched; only the model's own"),
        ("models.0.dim=32", r"dim is searched for no row.*\[\[models\]\]"),
        ("training.protocol=paper", "set protocol = 'leakfree'"),
        ("training.loss=cox", "set metric = 'c_index'"),
        ("search={models={}}", "leaves 'attnmil' nothing to search, so budgets would not be equal"),
    ],
)
def test_what_is_wrong_in_a_search_is_named(tmp_path, override, words):
    with pytest.raises(ConfigError, match=words):
        read_experiment(written(tmp_path, GOOD + SEARCH), [override])


def test_without_a_search_there_is_none(tmp_path):
    assert read_experiment(written(tmp_path)).search is None
