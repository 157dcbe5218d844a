"""The PDF: every word of the page, with nothing cut, nothing asked of the network, and the same bytes."""

import builtins
import socket
from pathlib import Path

import pytest

from slidesurv.errors import ConfigError, MissingExtra
from slidesurv.report import pdf
from slidesurv.report.page import write_report
from slidesurv.report.pdf import write_pdf

SMALL = "<!DOCTYPE html><html lang='en'><head><title>t</title></head><body>{}</body></html>"


@pytest.fixture
def weasyprint():
    try:
        import weasyprint
    except (ImportError, OSError) as error:
        pytest.skip(f"WeasyPrint cannot be used: {error}")
    return weasyprint


@pytest.fixture
def reader():
    return pytest.importorskip("pypdfium2", reason="pypdfium2 is not installed")


def words(reader, path: Path) -> str:
    document = reader.PdfDocument(path)
    return " ".join(" ".join(page.get_textpage().get_text_range() for page in document).split())


def test_the_report_is_printed_with_its_stamp_on_every_page_and_folded_parts_open(
    weasyprint, reader, ill_run, tmp_path
):
    page = write_report(ill_run, output=tmp_path / "page.html")
    path = write_pdf(page)
    assert path == tmp_path / "page.pdf"
    document = reader.PdfDocument(path)
    for number in range(len(document)):
        text = document[number].get_textpage().get_text_range()
        assert "OPTIMISTIC: the epoch was chosen on the test fold" in text
        assert f"{number + 1} of {len(document)}" in text
    told = words(reader, path)
    assert "cohort.table" in told and "Audit, part by part" in told  # inside <details>
    assert "<script>alert($1)</script>" in told
    assert "Skip to the results" not in told
    assert document.get_metadata_dict()["Title"] == "made run: survival report"


def test_the_same_page_gives_the_same_bytes(weasyprint, clean_run, tmp_path):
    page = write_report(clean_run, output=tmp_path / "page.html")
    assert write_pdf(page).read_bytes() == write_pdf(page).read_bytes()


def test_pictures_have_the_colours_of_the_page(weasyprint, reader, tmp_path):
    square = '<svg width="90" height="90"><rect width="90" height="90" style="fill: var(--blue, #0072b2)"/></svg>'
    (tmp_path / "page.html").write_text(SMALL.format(square))
    drawn = reader.PdfDocument(write_pdf(tmp_path / "page.html"))[0].render().to_numpy()
    assert (drawn == (0xB2, 0x72, 0x00)).all(-1).any()  # blue, green, red


def test_words_at_an_anchor_have_room_for_their_first_letter():
    end = '<text style="font-size: 9px; text-anchor: end; fill: red" x="1">0.5</text>'
    assert pdf._paint(end) == end.replace("0.5", "\u200a0.5")
    assert pdf._paint(end.replace("end", "middle")) == end.replace("end", "middle").replace("0.5", "\u200a0.5\u200a")
    assert pdf._paint("<p>var(--blue, #0072b2)</p>") == "<p>var(--blue, #0072b2)</p>"


def test_nothing_is_fetched_and_no_file_is_read(weasyprint, reader, tmp_path, monkeypatch):
    (tmp_path / "secret.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'><text>told</text></svg>")
    asked = [f"<img alt='kept' src='{url}'>" for url in ("http://127.0.0.1:9/x.png", f"file://{tmp_path}/secret.svg")]
    (tmp_path / "page.html").write_text(SMALL.format("".join(asked)))
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network is asked"))
    assert "told" not in words(reader, write_pdf(tmp_path / "page.html"))


def test_a_page_that_is_called_pdf_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"write \.html"):
        write_pdf(tmp_path / "page.pdf")


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (ModuleNotFoundError("No module named 'weasyprint'"), r"pip install slidesurv\[pdf\]"),
        (OSError("cannot load library 'libpango-1.0-0'\nmore"), r"Pango.*libpango-1\.0-0.*apt install libpango"),
    ],
)
def test_what_is_not_installed_is_named_with_its_remedy(tmp_path, monkeypatch, error, remedy):
    real = builtins.__import__

    def without(name, *more, **also):
        if name == "weasyprint":
            raise error
        return real(name, *more, **also)

    monkeypatch.setattr(builtins, "__import__", without)
    (tmp_path / "page.html").write_text(SMALL.format(""))
    with pytest.raises(MissingExtra, match=remedy):
        write_pdf(tmp_path / "page.html")
    assert not (tmp_path / "page.pdf").exists()
