"""Folds that keep every site whole, so that no model can gain by recognising the laboratory.

Which site goes to which fold is a mixed-integer program, solved by HiGHS as scipy has it. Sites are of all sizes, and
one may hold more than a fold's share: then the folds differ, as little as they can, and this is said.
"""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from slidesurv.cohorts.packing import SECONDS, pack
from slidesurv.cohorts.splits import Parts, carve_tune, complete, repeat_seed, require_folds, strata
from slidesurv.errors import ConfigError, DataError, listing
from slidesurv.seeds import seed_for
from slidesurv.types import Cohort, Split

__all__ = ["carve_sites", "leave_site_out", "site_kfold"]

log = logging.getLogger(__name__)

LOOSE = 0.25  # of a fold: so much better folds may exist without a word aloud
LEAST = 2  # deaths in a fold

Floats = NDArray[np.float64]


def site_kfold(
    cohort: Cohort, *, folds: int = 5, repeats: int = 1, seed: int = 0, tune: float = 0.2, n_bins: int = 4
) -> tuple[Split, ...]:
    """Divide sites among folds that are as alike as whole sites allow, in patients, deaths, and deaths of a time bin.

    What is made small is the sum of ranges over the folds, each in shares of a fold's mean; a time bin's range counts
    a tenth. Tuning parts are whole sites too, where `carve_sites` finds some.

    Args:
        cohort: patients with a site each; each is judged once a repeat.
        folds: at least two, and at most as many as there are sites.
        repeats: how often to divide anew; few large sites leave little choice, and repeats may then be alike.
        seed: of the choice among divisions that are equally good.
        tune: share of each fold's other patients that is kept for tuning; 0 keeps none.
        n_bins: time bins, cut at quantiles of the deaths' times.

    Raises:
        ConfigError: folds is below two, or above the number of patients or sites.
        DataError: a patient has no site; or the folds cannot have two deaths each.

    Source:
        Howard et al., Nature Communications 2021, for why sites should stay whole; the program is ours.
    """
    require_folds(cohort, folds)
    sites = _members(cohort)
    if len(sites) < folds:
        raise ConfigError(
            f"folds is {folds}, but cohort '{cohort.name}' has {len(sites)} sites, which stay whole. Set folds to "
            f"{len(sites)} or fewer."
        )
    splits: list[Split] = []
    for repeat in range(repeats):
        own = repeat_seed(seed, repeat)
        shares = np.full(folds, 1 / folds)
        parts, gap = _divide(cohort, sites, shares, seed=seed_for("sites", own), n_bins=n_bins)
        _say(cohort, sites, parts, gap)
        splits += complete(cohort, parts, carve_sites, tune=tune, seed=own, n_bins=n_bins)
    return tuple(splits)


def leave_site_out(
    cohort: Cohort, *, least: int = 10, seed: int = 0, tune: float = 0.2, n_bins: int = 4
) -> tuple[Split, ...]:
    """Judge every site by models that have not seen it: a large one alone, small ones in groups.

    Args:
        cohort: patients with a site each; each is judged once.
        least: deaths that a fold's test part must have; sites with fewer are put together, at random.
        seed: of the groups and of the tuning parts.
        tune: as for `site_kfold`.
        n_bins: as for `site_kfold`.

    Returns:
        The large sites by falling number of deaths, then the groups; sites left over join the last.

    Raises:
        DataError: a patient has no site, or there are not two such sites or groups.
    """
    sites = _members(cohort)
    deaths = {site: sum(cohort[patient].event for patient in members) for site, members in sites.items()}
    large = sorted((site for site in sites if deaths[site] >= least), key=lambda site: (-deaths[site], site))
    small = [site for site in sites if deaths[site] < least]
    groups = [[site] for site in large]
    rest: list[str] = []
    for place in np.random.default_rng(seed_for("small sites", seed)).permutation(len(small)):
        rest.append(small[place])
        if sum(deaths[site] for site in rest) >= least:
            groups, rest = [*groups, rest], []
    if len(groups) < 2:
        raise DataError(
            f"Cohort '{cohort.name}' has {sum(deaths.values())} deaths at {len(sites)} sites, which make {len(groups)} "
            f"test parts with {least} deaths each; two are needed. Set a smaller site_deaths."
        )
    groups[-1] += rest
    parts = [[patient for site in group for patient in sites[site]] for group in groups]
    return tuple(complete(cohort, parts, carve_sites, tune=tune, seed=seed, n_bins=n_bins))


def carve_sites(cohort: Cohort, *, tune: float, seed: int, n_bins: int = 4) -> Parts:
    """Take whole sites for tuning, as near to the share of patients and deaths as they allow.

    Where whole sites give less than half or more than twice the share, or a part without a death, patients are taken
    as `carve_tune` takes them, and the log says so: what tunes may then share sites with what teaches, but what
    judges does not.

    Args:
        cohort: the training patients.
        tune: share to take, in [0, 1).
        seed: of the choice among sites that do equally well.
        n_bins: time bins.

    Returns:
        The ids that remain, and those taken.

    Raises:
        ConfigError: tune is not in [0, 1).
        DataError: as for `carve_tune`.
    """
    if not 0 < tune < 1:
        return carve_tune(cohort, tune=tune, seed=seed, n_bins=n_bins)
    sites = _members(cohort)
    (rest, taken), _ = _divide(cohort, sites, np.array([1 - tune, tune]), seed=seed, n_bins=n_bins, least=0)
    deaths = [sum(cohort[patient].event for patient in part) for part in (rest, taken)]
    if min(deaths) == 0 or not tune / 2 <= len(taken) / len(cohort) <= 2 * tune:
        log.warning(
            "No whole sites hold %.0f %% of %d training patients and both parts a death: the tuning part shares sites "
            "with the training part, though not with the test part.",
            *(100 * tune, len(cohort)),
        )
        return carve_tune(cohort, tune=tune, seed=seed, n_bins=n_bins)
    order = {patient: place for place, patient in enumerate(cohort.ids)}
    return tuple(sorted(rest, key=order.__getitem__)), tuple(sorted(taken, key=order.__getitem__))


def _members(cohort: Cohort) -> dict[str, list[str]]:
    """The patients of each site, sites in the order of their names."""
    if unknown := [patient.id for patient in cohort if not patient.site]:
        raise DataError(
            f"{len(unknown)} of {len(cohort)} patients of cohort '{cohort.name}' have no site: {listing(unknown)}. "
            "Fill the column 'site', or set [splits] kind = \"kfold\"."
        )
    sites: dict[str, list[str]] = {}
    for patient in sorted(cohort, key=lambda patient: patient.site):
        sites.setdefault(patient.site, []).append(patient.id)
    return sites


def _divide(
    cohort: Cohort, sites: Mapping[str, Sequence[str]], shares: Floats, *, seed: int, n_bins: int, least: int = LEAST
) -> tuple[list[list[str]], float]:
    """Divide sites into parts of the given shares; with how far the best division may be, as `Packing.gap`."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(sites))
    packing = pack(_amounts(cohort, sites, n_bins)[order], shares, random, least)
    if packing is None:
        raise DataError(
            f"The {len(sites)} sites of cohort '{cohort.name}' cannot be divided into {len(shares)} parts with {least} "
            f"deaths each, or no way was found in {SECONDS:.0f} s. Set fewer folds."
        )
    names = random.permutation(len(shares)) if np.ptp(shares) == 0 else np.arange(len(shares))
    parts: list[list[str]] = [[] for _ in shares]
    for place, members in enumerate(sites.values()):
        parts[names[packing.part[np.flatnonzero(order == place)[0]]]] += members
    return parts, packing.gap


def _amounts(cohort: Cohort, sites: Mapping[str, Sequence[str]], n_bins: int) -> Floats:
    """(S, 2 + n_bins) patients, deaths, and deaths of each time bin of each site."""
    stratum = dict(zip(cohort.ids, strata(cohort, n_bins).tolist(), strict=True))
    amounts = np.zeros((len(sites), 2 + n_bins))
    for row, members in zip(amounts, sites.values(), strict=True):
        dead = [stratum[patient] - n_bins for patient in members if cohort[patient].event]
        row[:2] = len(members), len(dead)
        row[2:] = np.bincount(np.array(dead, np.int64), minlength=n_bins)
    return amounts


def _say(cohort: Cohort, sites: Mapping[str, Sequence[str]], parts: Sequence[Sequence[str]], gap: float) -> None:
    """Say how alike the folds are: aloud where a site is larger than a fold, or where better folds may exist."""
    deaths = {patient.id: int(patient.event) for patient in cohort}
    sizes, dead = [len(part) for part in parts], [sum(map(deaths.__getitem__, part)) for part in parts]
    found = f"{min(sizes)} to {max(sizes)} patients and {min(dead)} to {max(dead)} deaths a fold"
    known = f"their ranges sum to at most {100 * gap:.1f} % of a fold more than they must"
    log.info("%d sites of '%s' in %d folds: %s, %s.", len(sites), cohort.name, len(parts), found, known)
    for what, weight in (("patients", dict.fromkeys(deaths, 1)), ("deaths", deaths)):
        held = {site: sum(map(weight.__getitem__, members)) for site, members in sites.items()}
        largest, total = max(held, key=held.__getitem__), sum(held.values())
        if held[largest] > -(-total // len(parts)):
            log.warning(
                "Site '%s' of '%s' holds %d of %d %s, more than a fold's share: the folds have %s.",
                *(largest, cohort.name, held[largest], total, what, found),
            )
    if gap > LOOSE:
        log.warning("Better folds of '%s' may exist: these have %s, %s.", cohort.name, found, known)
