"""A page as a PDF: the same words, tables and pictures on paper, with tags for those who cannot see them.

WeasyPrint lays it out by the page's own style for print. Nothing is asked of the network or read from the disk.
"""

import re
from pathlib import Path
from typing import Any

from slidesurv.errors import ConfigError, MissingExtra
from slidesurv.files import replacing

__all__ = ["write_pdf"]

PAINT = re.compile(r"var\(--\w+, (#\w+)\)")
ANCHORED = re.compile(r'(<text style="[^"]*text-anchor: (end|middle)[^>]*>)([^<]*)')
HAIR = "\u200a"


def write_pdf(page: Path) -> Path:
    """Print a page that this package wrote.

    The same page gives the same bytes where WeasyPrint and the fonts are the same.

    Args:
        page: an HTML file.

    Returns:
        The PDF, beside the page.

    Raises:
        ConfigError: the page itself is called ``.pdf``.
        MissingExtra: WeasyPrint, or the library Pango that it needs, is not installed.
    """
    if page.suffix == ".pdf":
        raise ConfigError(f"'{page}' is to hold the page, and the PDF beside it would have the same name: write .html.")
    weasyprint = _weasyprint()
    fetcher = weasyprint.urls.URLFetcher(allowed_protocols={"data"})
    words = _paint(page.read_text(encoding="utf-8"))
    pdf = page.with_suffix(".pdf")
    with replacing(pdf) as temporary:
        weasyprint.HTML(string=words, url_fetcher=fetcher).write_pdf(temporary, pdf_variant="pdf/ua-1")
    return pdf


def _weasyprint() -> Any:
    try:
        import weasyprint
    except ImportError as error:
        raise MissingExtra("A PDF needs WeasyPrint: 'pip install slidesurv[pdf]'.") from error
    except OSError as error:  # it looks for Pango when it is imported
        raise MissingExtra(
            f"A PDF needs the system's library Pango, which is not there ({str(error).splitlines()[0]}). "
            "Debian, Ubuntu: 'apt install libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0'; macOS: "
            "'brew install pango'."
        ) from error
    return weasyprint


def _paint(page: str) -> str:
    """Put into pictures what WeasyPrint does not find there itself.

    Colours are written out, and words that do not begin at their anchor get room at their ends, where some viewers cut
    the first letter.
    """
    page = re.sub(r"<[^>]+>", lambda tag: PAINT.sub(r"\1", tag[0]), page)
    return ANCHORED.sub(lambda text: f"{text[1]}{HAIR}{text[3]}{HAIR if text[2] == 'middle' else ''}", page)
