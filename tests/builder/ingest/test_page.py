"""The page of a report: every count, escaped, the same each time, and nothing from elsewhere."""

from html.parser import HTMLParser

from pragmatiq_builder.ingest.page import write_page
from tests.builder.ingest.conftest import CARDS


class Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if name in ("href", "src") and value]

    def handle_data(self, data):
        self.words += data.split()


def test_the_page_has_every_count_and_no_link(tables):
    tables.cards("c1,2025-01-01,1", "c1,2025-03-01,<b>", "c2,2025-01-02,2", "c2,never,2")
    report = tables.ingest(events=[CARDS | {"source": "a<b>&c"}])
    page = tables.folder / "report.html"
    write_page(report, page, "Raw data")
    text = page.read_text(encoding="utf-8")
    found = Words()
    found.feed(text)
    said = " ".join(found.words)
    assert "3 events of 2 customers" in said
    assert "1 time cannot be read as iso, as UTC (at)" in said
    assert "a<b>&c" in said
    assert "<b>" not in text
    assert all(link.startswith("#") for link in found.links)
    assert text.count("<figure>") == 2
    write_page(report, tables.folder / "again.html", "Raw data")
    assert (tables.folder / "again.html").read_bytes() == page.read_bytes()


def test_a_report_of_nothing_has_a_page(tables):
    tables.cards("c1,,1")
    report = tables.ingest()
    write_page(report, tables.folder / "report.html", "Raw data")
    assert "1 rows rejected" in (tables.folder / "report.html").read_text(encoding="utf-8").replace("\n", " ")
