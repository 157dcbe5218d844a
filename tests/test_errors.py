"""The error tree and the words in its messages."""

from slidesurv.errors import ConfigError, DataError, MissingExtra, SlidesurvError, listing, unknown


def test_every_error_is_ours_and_python_s():
    assert issubclass(ConfigError, (SlidesurvError, ValueError))
    assert issubclass(DataError, ValueError)
    assert issubclass(MissingExtra, ImportError)
    assert all(issubclass(kind, SlidesurvError) for kind in (ConfigError, DataError, MissingExtra))


def test_a_list_of_five_is_shown_whole():
    assert listing("abcde") == "'a', 'b', 'c', 'd', 'e'"


def test_a_longer_list_is_cut_and_counted():
    assert listing("abcdef") == "'a', 'b', 'c', 'd', … and 2 more"
    assert listing(range(100), most=2) == "'0', … and 99 more"


def test_the_nearest_name_is_offered():
    assert unknown("model", "vgta", ["snn", "vgat"]) == (
        "Unknown model 'vgta'. Did you mean 'vgat'? Known: 'snn', 'vgat'."
    )


def test_nothing_is_offered_when_nothing_is_near():
    assert "Did you mean" not in unknown("model", "zzz", ["snn", "vgat"])
