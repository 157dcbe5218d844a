"""Algorithm 1 against the golden vectors, branch by branch, and for every bag that hypothesis thinks of."""

import hashlib
from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference.fill import bag, prototypes
from reference.golden import records, values
from slidesurv.errors import ConfigError
from slidesurv.selection.ese import scores, select
from slidesurv.selection.mixture import map_em


def digest(tiles):
    """The vectors' hash of a set of tiles."""
    return hashlib.sha256(",".join(str(tile) for tile in sorted(tiles.tolist())).encode()).hexdigest()


def options(config):
    """``C=16;N_S=64;logodds_f64;quota_N_S/C`` or ``N_S=64; divisors 16 and 32; fill ascending`` as keywords."""
    words = dict(word.strip().partition("=")[::2] for word in config.split(";"))
    quota = "clusters" if any("quota" in word for word in words) else "release"
    return {"keep": int(words["N_S"]), "clusters": int(words.get("C", 16)), "quota": quota}


def named(record):
    return f"N={record['N']} {record['config']} {record['field']}"


def fixture():
    """Labels and scores of the 171 tiles."""
    record = records("block:Algorithm1", "labels")[0]
    return torch.tensor(record["values"]), torch.tensor(values(record, "scores"), dtype=torch.float64)


ALGORITHM = {
    "branch_per_cluster": lambda s: list(s.branches) or "identity: N <= N_S",
    "deterministic_in_order": lambda s: s.tiles[: s.certain].tolist(),
    "n_deterministic": lambda s: s.certain,
    "selected_in_order_with_ascending_fill": lambda s: s.tiles.tolist(),
    "sha256_sorted_deterministic": lambda s: digest(s.tiles[: s.certain]),
    "sha256_sorted_full": lambda s: digest(s.tiles),
}


@pytest.mark.parametrize("record", [r for r in records("block:Algorithm1") if r["field"] in ALGORITHM], ids=named)
def test_golden_algorithm_1(record):
    selection = select(*fixture(), **options(record["config"]))
    assert ALGORITHM[record["field"]](selection) == record["values"]


def test_golden_labels_have_the_printed_counts():
    selection = select(*fixture(), keep=128, clusters=16)
    assert selection.counts.tolist() == values(records("block:Algorithm1", "labels")[0], "cluster_sizes")


@cache
def chosen(n, config, kind="log_odds"):
    """Mixture and selection of a config such as ``C=16;N_S=64;logodds_f64``."""
    keywords = options(config)
    features, means = bag(n), prototypes(keywords["clusters"])
    mixture = map_em(features, means, update=True)
    return mixture, select(mixture.labels, scores(mixture, features, kind), **keywords)


EXACT = {
    "argmax_first5": lambda m, s: m.labels[:5].tolist(),
    "logodds_first5": lambda m, s: m.log_odds[:5].tolist(),
    "logodds_min_max": lambda m, s: [m.log_odds.min().item(), m.log_odds.max().item()],
    "min_top2_gap_nats": lambda m, s: m.log_joint.topk(2).values.diff().abs().min().item(),
    "pi_after_3rd_M_step_first4": lambda m, s: m.weights[:4].tolist(),
    "cluster_counts": lambda m, s: s.counts.tolist(),
    "clusters_nonempty": lambda m, s: (s.counts > 0).sum().item(),
    "branch_per_cluster": lambda m, s: list(s.branches),
    "selected_deterministic_count": lambda m, s: s.certain,
    "selected_deterministic_sha256": lambda m, s: digest(s.tiles[: s.certain]),
    "selected_with_ascending_fill_sha256": lambda m, s: digest(s.tiles),
    "selected_deterministic_sorted_first12": lambda m, s: s.tiles[: s.certain].sort().values[:12].tolist(),
}


def like(config, fields):
    """The records of VGAT's selections of one kind."""
    return [r for r in records("VGAT") if config in r["config"] and r["field"] in fields]


@pytest.mark.parametrize("record", like("logodds_f64", EXACT), ids=named)
def test_golden_selection_by_log_odds(record):
    found = EXACT[record["field"]](*chosen(record["N"], record["config"]))
    if isinstance(record["values"], str) or record["field"] == "branch_per_cluster":
        assert found == record["values"]
    else:
        assert found == pytest.approx(record["values"], rel=0, abs=1e-9)


def released(config):
    """The score of a config such as ``C=16;N_S=64;release_posterior_f32``."""
    return config.split("release_")[1].split(";")[0]


@pytest.mark.parametrize("record", like("release", ["deterministic_overlap_with_logodds_float64"]), ids=named)
def test_golden_released_posteriors_choose_nearly_the_printed_tiles(record):
    mixture, theirs = chosen(record["N"], record["config"], released(record["config"]))
    ours = select(mixture.labels, mixture.log_odds, **options(record["config"]))
    common = set(ours.tiles[: ours.certain].tolist()) & set(theirs.tiles[: theirs.certain].tolist())
    assert theirs.counts.tolist() == values(record, "cluster_counts")
    assert theirs.certain == values(record, "selected_deterministic_count")
    assert len(common) == pytest.approx(record["values"], abs=0.05 * theirs.certain)  # rounding differs by machine


@pytest.mark.parametrize("record", like("release", ["fraction_posterior_exactly_1"]), ids=named)
def test_golden_released_posteriors_round_to_one(record):
    kind = released(record["config"])
    mixture, _ = chosen(record["N"], record["config"], kind)
    share = (scores(mixture, bag(record["N"]), kind) == 1).double().mean().item()
    assert share == pytest.approx(record["values"], abs=0.01)


# Branch by branch


def laid_out(*sizes, total=200):
    """Labels of clusters of the given sizes, one after the other, the last one taking the rest of the bag."""
    sizes = torch.tensor([*sizes, total - sum(sizes)])
    return torch.arange(len(sizes)).repeat_interleave(sizes)


def falling(n=200):
    """Scores that fall along the bag: of each cluster the last tile is the lowest."""
    return torch.arange(n, 0, -1).double()


def test_a_cluster_below_half_its_quota_is_taken_whole_in_the_order_of_the_bag():
    selection = select(laid_out(1, 3), falling(), keep=128, clusters=3)  # quota 8, half 4
    assert selection.branches == ("a", "a", "b")
    assert selection.tiles[:4].tolist() == [0, 1, 2, 3]


def test_a_cluster_of_its_quota_gives_its_ends_low_before_high():
    selection = select(laid_out(8), falling(), keep=128, clusters=2)
    assert selection.branches == ("b", "b")
    assert selection.tiles[: selection.certain].tolist() == [7, 6, 5, 4, 3, 2, 1, 0, 199, 198, 197, 196, 11, 10, 9, 8]


@pytest.mark.parametrize(("middle", "certain"), [("none", 8), ("all", 8 + 7), ("both_ends", 8 + 7)])
def test_a_cluster_between_gives_what_middle_says(middle, certain):
    selection = select(laid_out(7), falling(), keep=128, clusters=2, middle=middle)
    assert selection.branches == ("c", "b")
    assert selection.certain == certain
    assert set(range(7)) <= set(selection.tiles.tolist())  # if not by rule then as the first tiles of the fill


def test_both_ends_of_a_middle_cluster_leave_out_its_centre_where_half_is_rounded_down():
    labels, keywords = laid_out(3), {"keep": 63, "clusters": 2}  # quota 3.94, half 1
    ends, everything = (select(labels, falling(), middle=middle, **keywords) for middle in ("both_ends", "all"))
    assert ends.tiles[: ends.certain].tolist() == [2, 0, 199, 3]
    assert everything.tiles[: everything.certain].tolist() == [0, 1, 2, 199, 3]


def test_thresholds_are_not_rounded():
    branches = [select(laid_out(n), falling(), keep=100, clusters=2).branches[0] for n in (3, 4, 6, 7)]
    assert branches == ["a", "c", "c", "b"]  # 3.125 and 6.25


def test_quotas_may_follow_the_number_of_clusters():
    labels = laid_out(15, 31)  # keep / C = 32
    selection = select(labels, falling(), keep=96, clusters=3, quota="clusters")
    assert selection.branches == ("a", "c", "b")
    assert selection.certain == 15 + 32


def test_more_than_16_clusters_need_quotas_that_follow_them():
    labels = torch.arange(17).repeat(50)
    with pytest.raises(ConfigError, match=r'17 clusters .* quota = "clusters"'):
        select(labels, falling(850), keep=160, clusters=17)
    assert select(labels, falling(850), keep=160, clusters=17, quota="clusters").certain == 17 * 8


def test_ties_go_by_place_in_the_bag():
    selection = select(laid_out(), torch.ones(200), keep=64, clusters=1)
    assert selection.tiles[:4].tolist() == [0, 1, 198, 199]
    assert selection.ties == 1


def test_only_tiles_of_one_cluster_can_tie():
    labels, marks = torch.tensor([0, 0, 1, 1, 1]), torch.tensor([1.0, 2, 1, 3, 3])
    assert select(labels, marks, keep=2, clusters=2).ties == pytest.approx(2 / 5)


def test_balanced_clusters_fill_the_selection_by_rule():
    labels = torch.arange(16).repeat(256)
    selection = select(labels, falling(4096), keep=1024, clusters=16)
    assert (selection.certain, selection.share_filled, selection.clusters_full) == (1024, 0, 16)


def test_a_collapsed_mixture_fills_the_selection_by_chance():
    selection = select(torch.zeros(4096, dtype=torch.int64), falling(4096), keep=1024, clusters=16)
    assert (selection.certain, selection.clusters_full) == (64, 1)
    assert selection.share_filled == 960 / 1024


def test_a_bag_that_is_small_enough_is_taken_whole_in_order():
    selection = select(laid_out(5, total=64), falling(64), keep=64, clusters=2)
    assert selection.tiles.tolist() == list(range(64))
    assert (selection.branches, selection.share_filled) == ((), 0)


def test_the_fill_is_drawn_again_from_the_same_seed_only():
    def drawn(seed):
        generator = torch.Generator().manual_seed(seed)
        return select(laid_out(5), falling(), keep=64, clusters=2, generator=generator).tiles.tolist()

    assert drawn(1) == drawn(1)
    assert set(drawn(1)) != set(drawn(2))


def test_the_fill_is_uniform_over_the_tiles_that_no_rule_chose():
    generator, times = torch.Generator().manual_seed(0), torch.zeros(40)
    for _ in range(2000):
        chosen_ = select(torch.zeros(40, dtype=torch.int64), falling(40), keep=32, clusters=1, generator=generator)
        times[chosen_.tiles] += 1
    assert times[[0, 39]].tolist() == [2000, 2000]  # the ends
    assert times[1:39] == pytest.approx(torch.full((38,), 2000 * 30 / 38), rel=0.08)


@given(
    labels=st.lists(st.integers(0, 15), min_size=1, max_size=300),
    levels=st.integers(1, 50),
    keep=st.integers(1, 320),
    quota=st.sampled_from(["release", "clusters"]),
    middle=st.sampled_from(["none", "all", "both_ends"]),
    seed=st.none() | st.integers(0, 9),
)
def test_every_selection_has_exactly_as_many_different_tiles_as_asked(labels, levels, keep, quota, middle, seed):
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    marks = torch.arange(len(labels)) * 7 % levels / levels
    found = select(torch.tensor(labels), marks, keep=keep, clusters=16, quota=quota, middle=middle, generator=generator)
    assert len(found.tiles) == len(found.tiles.unique()) == min(keep, len(labels))
    assert set(found.tiles.tolist()) <= set(range(len(labels)))
    assert 0 <= found.certain <= keep


# Scores


def test_every_score_puts_the_tile_on_the_prototype_first():
    means = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    features = torch.tensor([[0.0, 0.0], [0.2, 0.3], [0.3, 0.4]], dtype=torch.float64)
    mixture = map_em(features, means, strength=1e6)
    for kind in ("log_odds", "posterior_f32", "posterior_f64", "mahalanobis", "log_likelihood"):
        assert scores(mixture, features, kind).argsort(descending=True).tolist() == [0, 1, 2]


def test_mahalanobis_is_minus_the_squared_distance_in_own_variances():
    means = torch.tensor([[0.0, 0.0], [9.0, 9.0]], dtype=torch.float64)
    features = torch.tensor([[3.0, 4.0], [9.0, 7.0]], dtype=torch.float64)
    mixture = map_em(features, means, torch.tensor([1.0, 4.0]), iterations=1)
    assert scores(mixture, features, "mahalanobis").tolist() == [-(9 + 16 / 4), -4 / 4]


def test_log_likelihood_is_that_of_the_whole_mixture():
    features = bag(30, 4)
    mixture = map_em(features, prototypes(3, 4), iterations=1)
    density = torch.distributions.Normal(prototypes(3, 4), 0.1**0.5).log_prob(features[:, None]).sum(-1)
    expected = (density.exp().mean(1)).log()
    torch.testing.assert_close(scores(mixture, features, "log_likelihood"), expected)


def test_posteriors_and_log_odds_rank_alike_where_nothing_is_rounded():
    features = bag(200, 4)
    mixture = map_em(features, prototypes(4, 4), 1.0)
    posterior = mixture.responsibilities.amax(1)
    assert torch.equal(posterior.argsort(), scores(mixture, features).argsort())


def test_log_odds_have_no_ties_where_posteriors_are_nearly_all_one():
    mixture, _ = chosen(300, "C=16;N_S=64;logodds_f64")
    assert len(scores(mixture, bag(300)).unique()) == 300
    assert len(scores(mixture, bag(300), "posterior_f32").unique()) < 150
