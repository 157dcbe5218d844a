"""What a model is taught by: likelihoods of right-censored times."""

import torch
import torch.nn.functional as F
from torch import Tensor

from slidesurv.errors import DataError
from slidesurv.types import SurvivalTarget

__all__ = ["cox", "nll", "nll_clamped"]


def nll(logits: Tensor, target: SurvivalTarget, *, event_weight: float = 0.0) -> Tensor:
    """Negative log-likelihood of right-censored times under discrete hazards.

    A patient who died in bin k survived bins 0..k-1 and did not survive k; a patient
    censored in bin k survived bins 0..k.

    Args:
        logits: (B, T) hazard scores, before the sigmoid.
        target: event and bin of the same B patients; bins must lie in [0, T).
        event_weight: share in [0, 1] of the loss kept for deaths alone; 0 is the likelihood.

    Returns:
        (B,) loss per patient, in nats; a larger value means that the follow-up surprises the model more.

    Source:
        Zadeh and Schmid, TPAMI 2020.
    """
    log_death = F.logsigmoid(logits)  # (B, T) log h_t
    log_alive = F.logsigmoid(-logits).cumsum(-1)  # (B, T) log S_t
    k = target.bin[:, None]
    alive_before = F.pad(log_alive, (1, 0)).gather(-1, k)[:, 0]  # log S_{k-1}, with S_{-1} = 1
    died = alive_before + log_death.gather(-1, k)[:, 0]
    censored = log_alive.gather(-1, k)[:, 0]
    likelihood = torch.where(target.event, died, censored)
    deaths = torch.where(target.event, died, 0.0)
    return -((1 - event_weight) * likelihood + event_weight * deaths)


def nll_clamped(logits: Tensor, target: SurvivalTarget, *, event_weight: float = 0.0, eps: float = 1e-7) -> Tensor:
    """`nll` as the literature computes it, with probabilities kept from zero; for comparison only.

    Where a probability falls below ``eps`` its gradient is zero: the patient who surprises most teaches nothing.

    Args:
        logits: (B, T) hazard scores, before the sigmoid.
        target: event and bin of the same B patients; bins must lie in [0, T).
        event_weight: share in [0, 1] of the loss kept for deaths alone.
        eps: the smallest probability that is told apart from zero.

    Returns:
        (B,) loss per patient, in nats; equal to `nll` where no probability is below ``eps``.

    Source:
        Chen et al., MCAT, ICCV 2021.
    """
    hazards = logits.sigmoid()  # (B, T)
    survival = F.pad((1 - hazards).cumprod(-1), (1, 0), value=1.0)  # (B, T+1) S_{-1}, S_0 .. S_{T-1}
    k = target.bin[:, None]
    alive_before = survival.gather(-1, k)[:, 0].clamp(min=eps)  # S_{k-1}
    alive_after = survival.gather(-1, k + 1)[:, 0].clamp(min=eps)  # S_k
    death = hazards.gather(-1, k)[:, 0].clamp(min=eps)  # h_k
    died = alive_before.log() + death.log()
    return -torch.where(target.event, died, (1 - event_weight) * alive_after.log())


def cox(risk: Tensor, target: SurvivalTarget) -> Tensor:
    """Negative log partial likelihood of proportional hazards, deaths at one time by Efron's rule.

    Args:
        risk: (B,) log hazard ratios; a larger value means an earlier death.
        target: time and event of the same B patients, who are each other's risk set.

    Returns:
        () mean over the deaths, in nats.

    Raises:
        DataError: no death among the B patients, so that there is no likelihood.

    Source:
        Cox, JRSS B 1972; Efron, JASA 1977, for ties.
    """
    if not target.event.any():
        raise DataError(
            f"None of {len(risk)} patients died, so their partial likelihood is not defined. "
            "Draw larger batches, or batches with a death in each."
        )
    order = target.time.argsort(descending=True)
    risk, event = risk[order], target.event[order]  # (B,)
    _, moment, size = target.time[order].unique_consecutive(return_inverse=True, return_counts=True)
    log_at_risk = risk.logcumsumexp(0)[size.cumsum(0) - 1][moment]  # (B,) log sum of exp(risk) over the risk set
    moment, log_share = moment[event], (risk - log_at_risk)[event]  # (E,) of the deaths
    deaths = torch.bincount(moment, minlength=len(size))  # at each time
    earlier = torch.arange(len(moment), device=risk.device) - (deaths.cumsum(0) - deaths)[moment]  # 0 .. deaths - 1
    dying = torch.zeros_like(size, dtype=risk.dtype).index_add(0, moment, log_share.exp())  # share of the risk set
    left = torch.log1p(-earlier / deaths[moment] * dying[moment])  # log of what Efron leaves of the risk set
    return (left - log_share).mean()
