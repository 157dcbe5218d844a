"""Write `multimodal.json`, the golden vectors with one record a line: ``python make_multimodal.py golden.json``.

A file of the same layout serves through SLIDESURV_GOLDEN_MULTIMODAL.
"""

import json
import sys
from pathlib import Path


def main(source: str) -> None:
    full = json.loads(Path(source).read_text(encoding="utf-8"))
    parts = ",\n".join(f"{json.dumps(key)}: {one_a_line(value)}" for key, value in full.items())
    Path(__file__).with_name("multimodal.json").write_text(f"{{\n{parts}\n}}\n", encoding="utf-8")


def one_a_line(value: object) -> str:
    """JSON with one record a line, so that a change shows as one line."""
    if isinstance(value, list):
        return "[\n" + ",\n".join(json.dumps(record) for record in value) + "\n]"
    return json.dumps(value)


if __name__ == "__main__":
    main(sys.argv[1])
