"""``slidesurv models``: which methods there are and what they may see."""

import json as json_
from typing import Annotated, Any

import typer

from slidesurv.cli.speech import table

__all__ = ["describe", "models"]

WORDS = {"never": "-", "training": "training", "always": "yes"}


def models(
    json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    cost: Annotated[bool, typer.Option("--cost", help="Count what 10,000 tiles cost; takes half a minute.")] = False,
) -> None:
    """List the methods, what each may see and what it costs.

    Example: slidesurv models --cost --json
    """
    rows = describe(cost=cost)
    if json:
        print(json_.dumps(rows, indent=1))
        return
    head = ("model", "slides", "genomics", "parameters", *(["GFLOP"] if cost else []), "paper", "authors' program")
    print(table([head, *map(_line, rows)]))


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    cost = [f"{row['gflop_10k_tiles']:.1f}"] if "gflop_10k_tiles" in row else []
    marks = WORDS[row["slides"]], WORDS[row["genomics"]]
    return row["name"], *marks, f"{row['parameters']:,}", *cost, row["paper"], row["licence"]


def describe(*, cost: bool = False) -> list[dict[str, Any]]:
    """What each registered model sees and how large it is, for 1024-d tiles, 256-d embeddings and MCAT's genes."""
    from slidesurv.registry import models as registry
    from slidesurv.training.cost import USUAL, gigaflops

    rows = []
    for name in registry.names():
        part = registry[name]
        paper = part.paper
        rows.append(
            {
                "name": name,
                "slides": part.slides.value,
                "genomics": part.genomics.value,
                "view": part.view,
                "parameters": sum(parameter.numel() for parameter in part(USUAL).parameters()),
                **({"gflop_10k_tiles": gigaflops(name)} if cost else {}),
                "paper": f"{paper.authors.split(',')[0]} et al., {paper.venue} {paper.year}",
                "url": paper.url,
                "presets": sorted(part.presets),
                "native": dict(part.native),
                "licence": paper.licence,
            }
        )
    return rows
