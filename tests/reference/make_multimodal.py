"""Cut `multimodal.json` out of the full file of golden vectors: ``python make_multimodal.py golden.json``.

Kept: VGAT and the blocks it is made of. The full file has the same layout and serves through
SLIDESURV_GOLDEN_MULTIMODAL.
"""

import json
import sys
from pathlib import Path

BLOCKS = ["MAP-EM", "Algorithm1", "NLL", "NystromAttn", "PPEG", "TransP", "TransG", "CrossAttention", "GEGLU-FF", "KL"]
KEPT = {"VGAT", *(f"block:{name}" for name in BLOCKS)}


def main(source: str) -> None:
    full = json.loads(Path(source).read_text(encoding="utf-8"))
    part = {key: full[key] for key in ("format", "description", "fill_rule", "hash_check", "inputs")}
    part["tensor_orders"] = {model: order for model, order in full["tensor_orders"].items() if model in KEPT}
    for key in ("records", "wrong_on_purpose"):
        part[key] = [record for record in full[key] if record["model"] in KEPT]
    parts = ",\n".join(f"{json.dumps(key)}: {one_a_line(value)}" for key, value in part.items())
    Path(__file__).with_name("multimodal.json").write_text(f"{{\n{parts}\n}}\n", encoding="utf-8")


def one_a_line(value: object) -> str:
    """JSON with one record a line, so that a change shows as one line."""
    if isinstance(value, list):
        return "[\n" + ",\n".join(json.dumps(record) for record in value) + "\n]"
    return json.dumps(value)


if __name__ == "__main__":
    main(sys.argv[1])
