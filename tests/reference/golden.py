"""The golden vectors of the multimodal models: ours, or a longer list named by SLIDESURV_GOLDEN_MULTIMODAL."""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["golden", "records", "values"]


@cache
def golden() -> dict[str, Any]:
    """The whole file: fill_rule, hash_check, inputs, tensor_orders, records, wrong_on_purpose."""
    path = os.environ.get("SLIDESURV_GOLDEN_MULTIMODAL") or Path(__file__).with_name("multimodal.json")
    return json.loads(Path(path).read_text(encoding="utf-8"))


def records(model: str, field: str | None = None) -> list[dict[str, Any]]:
    """The records of a model or block, in file order; those of one field if it is named."""
    return [r for r in golden()["records"] if r["model"] == model and field in (None, r["field"])]


def values(record: dict[str, Any], field: str) -> Any:
    """Another field of the same model, config and N."""
    same = ("model", "config", "N")
    return next(r["values"] for r in records(record["model"], field) if all(r[key] == record[key] for key in same))
