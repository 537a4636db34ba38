"""The contrast of scans with reports: who is near to whom, and who says so much the same that it is no mistake."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vlm.train.maps import Seen

ALIKE = 0.5  # reports that share this much of their findings (Jaccard) are no negatives of each other


def agreement(cases: Sequence[Seen]) -> Tensor:
    """(B, B): 1 the same patient or the same findings, 0 another report, NaN too much alike to be a negative."""
    names = sorted({name for case in cases for name in case.labels})
    held = torch.tensor([[float(case.labels.get(name, 0) > 0) for name in names] for case in cases])
    both = held @ held.T
    either = held.sum(dim=1)[:, None] + held.sum(dim=1)[None] - both
    alike = torch.where(either > 0, both / either.clamp(min=1), torch.ones(()))
    who = {patient: n for n, patient in enumerate(dict.fromkeys(case.patient for case in cases))}
    number = torch.tensor([who[case.patient] for case in cases])
    same = (alike == 1) | (number[:, None] == number[None])
    return torch.where(same, 1.0, torch.where(alike >= ALIKE, float("nan"), 0.0))


def contrast(nearness: Tensor, same: Tensor) -> Tensor:
    """Cross entropy over reports for each scan and over scans for each report, with several right answers.

    Pairs whose agreement is NaN are neither right nor wrong, and take no part: a report that says nearly the same is
    no mistake. Radford et al. 2021; the sum over right answers stands inside the logarithm, as in Miech et al. 2020.
    """
    left_out = same.isnan()
    logits = nearness.masked_fill(left_out, -1e4)
    wrong = same.nan_to_num(0.0) == 0
    by_scan = logits.log_softmax(dim=1).masked_fill(wrong, -torch.inf).logsumexp(dim=1)
    by_report = logits.log_softmax(dim=0).masked_fill(wrong, -torch.inf).logsumexp(dim=0)
    return -(by_scan.mean() + by_report.mean()) / 2
