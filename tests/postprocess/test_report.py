from dataclasses import replace

import pytest
from markdown_it import MarkdownIt

from chunkers.records import Category
from postprocess.exports.html import render_html
from postprocess.exports.report import Band, report_counts
from postprocess.exports.summary_md import render_summary
from tests.postprocess.reports import HOSTILE, make_book, make_disputed, make_hostile, make_large


def test_counts_by_category_and_band() -> None:
    _, report = make_book()
    counts = report_counts(report.findings)
    assert list(counts) == [Category.WORD, Category.EXTRA, Category.AGREEMENT, Category.PUNCT]
    assert counts[Category.AGREEMENT] == {Band.SURE: 1, Band.LIKELY: 2, Band.UNSURE: 1}
    assert sum(sum(bands.values()) for bands in counts.values()) == len(report.findings)
    assert report_counts([]) == {}


@pytest.mark.parametrize("render", [render_html, render_summary])
def test_the_order_of_findings_changes_nothing(render) -> None:  # type: ignore[no-untyped-def]
    _, report = make_book()
    assert render(replace(report, findings=report.findings[::-1])) == render(report)


@pytest.mark.parametrize("render", [render_html, render_summary])
def test_a_finding_of_an_unknown_document_is_refused(render) -> None:  # type: ignore[no-untyped-def]
    _, report = make_book()
    with pytest.raises(ValueError, match=r"which the report does not list; .* add it to ReportData.documents"):
        render(replace(report, documents=()))


def test_the_page_asks_nothing_of_the_network() -> None:
    page = render_html(make_book()[1])
    assert "default-src 'none'" in page
    assert "unsafe" not in page
    assert not any(address in page.replace("http://www.w3.org/2000/svg", "") for address in ("http:", "https:", "src=", "@import"))


def test_the_markdown_says_what_was_found_and_where() -> None:
    summary = render_summary(make_book()[1])
    assert "| agreement | 1 | 2 | 1 | 4 |\n" in summary
    assert "- line 9 · wrong word · 0.88 · m/edits\n  > [`Their` → `There`] is a light in the window" in summary
    assert "## mill.md\n\n### One\n" in summary
    assert "the miller[+ `.`]" in summary


def test_the_markdown_says_who_disagrees_what_each_added_and_where_the_time_went() -> None:
    summary = render_summary(make_disputed())
    assert "m/edits · b/rewrite: something else here · c/edits: nothing here" in summary
    assert "| c/edits | 3 | 1 | 2 | 1 | 0 | 0 |  |  | 7.0 |\n" in summary
    assert "- c/edits added nothing: 3 edits, 1 rejected, 2 findings that others had too, 7 engine-seconds.\n" in summary
    assert "## Where the time went\n\n- reading: 0.4 s\n- engine work: m: 1,212.4 s\n" in summary


def test_hostile_texts_make_no_markup_in_the_markdown() -> None:
    summary = render_summary(make_hostile()).encode("utf-8", "replace").decode()
    html = MarkdownIt("commonmark").render(summary)
    assert "<img" not in html
    assert "<script" not in html
    assert html.count("<blockquote>") == len(HOSTILE)
    assert html.count("<h3>") == len(HOSTILE)


def test_a_large_page_stays_small_enough_to_open() -> None:
    assert len(render_html(make_large(5_000))) < 6_000_000
