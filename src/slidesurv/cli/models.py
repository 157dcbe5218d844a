"""``slidesurv models``: which methods there are and what they may see."""

import json as json_
from typing import Annotated, Any

import typer

from slidesurv.cli.speech import table

__all__ = ["describe", "models"]

WORDS = {"never": "-", "training": "training", "always": "yes"}


def models(json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False) -> None:
    """List the methods and what each may see.

    Example: slidesurv models --json
    """
    rows = describe()
    if json:
        print(json_.dumps(rows, indent=1))
        return
    print(
        table(
            [
                ("model", "slides", "genomics", "parameters", "paper"),
                *(
                    (r["name"], WORDS[r["slides"]], WORDS[r["genomics"]], f"{r['parameters']:,}", r["paper"])
                    for r in rows
                ),
            ]
        )
    )


def describe() -> list[dict[str, Any]]:
    """What each registered model sees and how large it is, for 1024-d tiles, 256-d embeddings and 2,000 genes."""
    from slidesurv.registry import models as registry
    from slidesurv.types import Sizes

    sizes = Sizes(tile=1024, bins=4, embedding=256, expression=2000)
    rows = []
    for name in registry.names():
        part = registry[name]
        paper = part.paper
        rows.append(
            {
                "name": name,
                "slides": part.slides.value,
                "genomics": part.genomics.value,
                "parameters": sum(parameter.numel() for parameter in part(sizes).parameters()),
                "paper": f"{paper.authors.split(',')[0]} et al., {paper.venue} {paper.year}",
                "url": paper.url,
                "presets": sorted(part.presets),
                "native": dict(part.native),
                "licence": paper.licence,
            }
        )
    return rows
