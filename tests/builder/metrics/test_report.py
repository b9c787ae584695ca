import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from pragmatiq_builder.metrics import METRICS, Evaluation, verdict_lines, write_report
from pragmatiq_builder.metrics.wording import in_words

VOID = {"meta", "br", "line", "path", "use"}


class Page(HTMLParser):
    """A page's text, tags and attributes; an end tag that closes another element than the open one is an error."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.extend((name, value or "") for name, value in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.extend((name, value or "") for name, value in attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def hostile(evaluation: Evaluation) -> Evaluation:
    """The evaluation under names that would break out of HTML, of SVG or into TeX."""
    names = {"hybrid": "<b>$x^2$</b>", "echo": "_echo & co", "counts": '"counts"'}

    def renamed(found: dict) -> dict:
        return {names[name]: value for name, value in found.items()}

    return msgspec.structs.replace(
        evaluation,
        task="<script>alert(1)</script>",
        candidate=names["hybrid"],
        metrics=renamed(evaluation.metrics),
        differences=renamed(evaluation.differences),
        curves=renamed(evaluation.curves),
    )


@pytest.fixture(scope="module")
def html(evaluation: Evaluation, hostile: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report([evaluation, hostile], path)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_says_all_that_was_found(evaluation: Evaluation, page: Page) -> None:
    for found in evaluation.metrics.values():
        for metric, estimate in found.items():
            assert METRICS[metric].label in page.text
            assert in_words(estimate) in page.text
    for line in verdict_lines(evaluation):
        assert line in page.text
    for words in ("held-out users, later dates", "cut-off 2025-06-30", "no event before the label", "31", "4,000"):
        assert words in page.text
    for words in ("isotonic", "tokenizer", "0123abcd", "200 draws of users, seed 3"):
        assert words in page.text


def test_needs_nothing_else(html: str, page: Page) -> None:
    assert not {"script", "link", "img", "iframe", "object", "image"} & set(page.tags)
    targets = [value for name, value in page.attributes if name in ("src", "href", "xlink:href")]
    assert targets
    assert all(target.startswith("#") for target in targets)
    assert "http" not in html
    assert "@import" not in html
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))


def test_escapes_names(html: str, page: Page) -> None:
    assert "<script" not in html
    assert "<b>" not in html
    for name in ("<script>alert(1)</script>", "<b>$x^2$</b>", "_echo & co", '"counts"'):
        assert name in page.text


def test_is_well_formed_with_ids_that_are_unique_and_found(page: Page) -> None:
    assert page.open == []
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {value[1:] for name, value in page.attributes if name == "xlink:href"} <= set(ids)


def test_plots_are_described(evaluation: Evaluation, page: Page) -> None:
    labels = [value for name, value in page.attributes if name == "aria-label"]
    assert len(labels) == 8
    assert in_words(evaluation.metrics["hybrid"]["roc_auc"]) in labels[0]


def test_writes_the_same_bytes_twice(evaluation: Evaluation, tmp_path: Path) -> None:
    for name in ("one.html", "two.html"):
        write_report([evaluation], tmp_path / name)
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_an_evaluation_without_baselines_or_extras(evaluation: Evaluation, tmp_path: Path) -> None:
    alone = msgspec.structs.replace(
        evaluation,
        metrics={"hybrid": evaluation.metrics["hybrid"]},
        differences={},
        skipped={},
        calibration=None,
        cut_off=None,
        provenance={},
        cautions=["Few users."],
    )
    write_report([alone], tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "Few users." in page.text
    assert "against the baselines" not in page.text
