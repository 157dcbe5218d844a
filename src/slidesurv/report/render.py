"""Filling a template: everything is escaped, and a name that is not there is an error."""

from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from slidesurv.report.drawing import Picture
from slidesurv.report.estimate import DASH, Estimate, p_text
from slidesurv.report.words import without_folders

__all__ = ["render"]


def render(template: str, **values: Any) -> str:
    """Fill a template of this folder; ``mark`` among the values stands beside every number of the page."""
    loader = PackageLoader("slidesurv.report", ".")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters.update(plain=without_folders, drawn=_drawn, number=_number)
    environment.filters.update(interval=_interval, fraction=_fraction, p=p_text)
    return environment.get_template(template).render(values).lstrip()


def _interval(text: str) -> Markup:
    """Keep an interval in one piece, so that a line breaks before it and nowhere else."""
    value, bracket, rest = text.partition("(")
    return Markup('{}<span class="interval">{}</span>').format(value, bracket + rest) if bracket else escape(text)


def _fraction(value: float) -> str:
    return str(Estimate(value))


def _drawn(shown: Picture) -> Markup:
    """An svg of ours is markup: matplotlib has escaped every text in it."""
    return Markup(shown.svg)


def _number(value: object) -> str:
    """Three significant digits for a fraction, all digits of a whole number, the words of a word."""
    if value is None or value == "":
        return DASH
    try:
        number = float(str(value))
    except ValueError:
        return str(value)
    if not np.isfinite(number):
        return DASH
    return f"{number:,.0f}" if number == int(number) or abs(number) >= 1000 else f"{number:.3g}"
