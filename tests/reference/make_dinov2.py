"""Write `dinov2.json`: what Hugging Face's own programs make of a tile, for small weights filled by the rule of `fill`.

    pip install transformers && PYTHONPATH=tests python tests/reference/make_dinov2.py

A file of the same layout serves through SLIDESURV_GOLDEN_DINOV2.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import transformers
from safetensors.torch import load_file, save_file

from reference.dinov2 import filled, pixels

SIZES = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "patch_size": 14, "px": 56}
CASES = [(0, False, 56), (0, True, 70), (4, True, 56), (4, False, 70)]  # registers, gated, px of the positions


def record(registers: int, gated: bool, image: int) -> dict:
    kind = "Dinov2WithRegisters" if registers else "Dinov2"
    sizes = SIZES | {"use_swiglu_ffn": gated, "image_size": image, "num_register_tokens": registers}
    model = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**sizes))
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)  # the names of the files differ from those of the program
        file = Path(folder) / "model.safetensors"
        shapes = [[name, list(value.shape)] for name, value in sorted(load_file(file).items())]
        save_file(filled(shapes), file, metadata={"format": "pt"})
        model = type(model).from_pretrained(folder).eval()
    with torch.inference_mode():
        tokens = model(pixels(len(shapes), sizes["px"])).last_hidden_state[0]
    rows = [[round(value, 6) for value in row] for row in tokens.tolist()]
    return {**sizes, "shapes": shapes, "tokens": rows}


def main() -> None:
    records = ",\n".join(json.dumps(record(*case)) for case in CASES)
    head = f'{{"transformers": "{transformers.__version__}", "records": [\n'
    Path(__file__).with_name("dinov2.json").write_text(f"{head}{records}\n]}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
