"""report.html in a real browser: what a person sees, does and takes away."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from postprocess.assemble import apply_findings, parse_decisions, select_findings
from postprocess.exports.html import render_html
from postprocess.exports.report import ReportData
from tests.postprocess.reports import BOOK, HOSTILE, make_book, make_disputed, make_hostile, make_large

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and CHROMEDRIVER), reason="no Chromium with its driver here: apt-get install chromium chromium-driver"
)


class Page:
    """The report in the browser, as a person meets it."""

    def __init__(self, browser: webdriver.Chrome, folder: Path) -> None:
        self.browser = browser
        self.folder = folder

    def open(self, report: ReportData) -> None:
        path = self.folder / "report.html"
        path.write_text(render_html(report), encoding="utf-8", newline="")
        self.browser.get(path.as_uri())

    def press(self, keys: str) -> None:
        ActionChains(self.browser).send_keys(keys).perform()

    def find(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def find_all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        return [element.get_property("textContent") for element in self.find_all(selector)]  # type: ignore[misc]

    @property
    def verdicts(self) -> list[str]:
        return self.texts(".card .verdict")

    @property
    def current(self) -> int:
        return [card.get_attribute("aria-current") for card in self.find_all(".card")].index("true")

    def wait(self, text: str, selector: str) -> None:
        WebDriverWait(self.browser, 10).until(lambda _: text in self.find(selector).text, f"{text!r} in {selector}")

    def saved(self) -> str:
        path = self.folder / "decisions.json"
        WebDriverWait(self.browser, 10).until(lambda _: path.exists() and path.stat().st_size, "decisions.json")
        return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMEDRIVER)) as browser:
        yield browser


@pytest.fixture
def page(browser: webdriver.Chrome, tmp_path: Path) -> Iterator[Page]:
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    yield Page(browser, tmp_path)
    log = browser.get_log("browser")  # type: ignore[no-untyped-call]
    browser.execute_script("localStorage.clear()")
    assert log == []


def test_decisions_by_keyboard_are_what_apply_takes(page: Page) -> None:
    _, report = make_book()
    page.open(report)
    assert page.find("#progress-text").text == "0 of 9 decided"
    page.press("ja")
    page.press("jr")
    page.press("a")
    assert page.verdicts[:4] == ["✓ accepted", "", "✕ rejected", "✓ accepted"]
    assert page.current == 4
    page.press("u")
    assert (page.verdicts[3], page.current) == ("", 3)
    page.press(Keys.ARROW_UP + "k")
    assert page.current == 1
    page.press("s")

    decisions = parse_decisions(page.saved())
    assert decisions.run == report.run
    assert apply_findings(BOOK, select_findings(report.findings, decisions=decisions)) == BOOK.replace("go home", "goes home")


def test_own_words(page: Page) -> None:
    _, report = make_book()
    page.open(report)
    page.press("je")
    field = page.find(".own textarea")
    assert field.get_property("value") == "goes"
    field.send_keys("ran" + Keys.ENTER)
    assert (page.verdicts[0], page.texts(".card ins")[0]) == ("✓ your words", "ran")
    page.press("s")
    chosen = select_findings(report.findings, decisions=parse_decisions(page.saved()))
    assert apply_findings(BOOK, chosen) == BOOK.replace("go home", "ran home")


def test_of_two_that_overlap_the_last_accepted_stays(page: Page) -> None:
    document, report = make_book()
    said = next(finding for finding in report.findings if finding.replacement == "said")
    rival = replace(said, finding_id="f" * 64, replacement="cries")
    report = replace(report, findings=(*report.findings, rival))
    page.open(report)
    for replacement in ("said", "cries"):
        index = page.texts(".card ins").index(replacement)
        page.find_all(".card:has(ins) .accept")[index].click()
    page.press("s")
    chosen = select_findings(report.findings, decisions=parse_decisions(page.saved()))
    assert apply_findings(document.text, chosen) == BOOK.replace("says", "cries")


def test_decisions_survive_a_reload_and_belong_to_their_run(page: Page) -> None:
    _, report = make_book()
    page.open(report)
    page.press("ja")
    page.open(report)
    assert page.find("#progress-text").text == "1 of 9 decided"
    page.open(replace(report, run="another"))
    assert page.find("#progress-text").text == "0 of 9 decided"


def test_filters(page: Page) -> None:
    _, report = make_book()
    page.open(report)
    page.find('[data-category="agreement"]').click()
    assert page.texts(".card ins") == ["goes", "saw", "said", "falls"]
    page.browser.execute_script(
        "const slider = document.getElementById('confidence'); slider.value = 60; slider.dispatchEvent(new Event('input'))"
    )
    assert page.texts(".card ins") == ["goes", "saw", "falls"]
    assert page.find("#shown").text == "3 of 9 findings"
    Select(page.find("#sort")).select_by_value("doubt")
    assert page.texts(".card ins") == ["falls", "saw", "goes"]
    page.find("#accept-shown").click()
    Select(page.find("#state")).select_by_value("undecided")
    assert page.find("#empty").is_displayed()
    page.find("#clear").click()
    assert len(page.find_all(".card")) == 9
    page.find("#undo").click()
    assert page.find("#progress-text").text == "0 of 9 decided"
    page.press("/")
    page.press("WATER")
    page.wait("of 9 findings", "#shown")
    assert set(page.texts(".card ins")) == {"its", "falls", "There"}
    assert page.current == 0, "what was undone stays current"
    page.press(Keys.ESCAPE)
    page.press("j")
    assert page.current == 1


def test_documents_are_told_apart(page: Page) -> None:
    _, first = make_book()
    _, second = make_book("other.md", BOOK.replace("mill", "inn").replace("says the inner", "says the miller"))
    page.open(replace(first, documents=first.documents + second.documents, findings=first.findings + second.findings))
    assert page.texts(".document") == ["mill.md", "other.md"]
    Select(page.find("#document")).select_by_index(2)
    assert page.texts(".document") == ["other.md"]
    assert page.find("#shown").text == "9 of 18 findings"


def test_hostile_texts_are_only_text(page: Page) -> None:
    page.open(make_hostile())
    shown = [text.replace("\x00", "�").replace("\ud800", "�") for text in HOSTILE]
    assert len(page.find_all(".card")) == len(HOSTILE)
    assert page.texts(".card .message")[:4] == shown[:4]
    assert page.find_all("img, iframe, script[src]") == []
    assert len(page.find_all("script")) == 2
    assert "</script><img" in page.find("h1").text
    page.press("jarre" + Keys.ESCAPE)
    page.press("s")
    assert len(json.loads(page.saved())["decisions"]) == 3


def test_help_and_truth(page: Page) -> None:
    _, report = make_book()
    page.open(report)
    assert page.find("#truth summary").text == "Against a human’s corrections: 1 of 2 found, 1 missed"
    page.press("?")
    assert page.find("#help").is_displayed()
    page.press(Keys.ESCAPE)
    page.press("j")
    assert page.current == 0


def test_what_models_disagree_about_and_what_each_added(page: Page) -> None:
    page.open(make_disputed())
    assert page.texts(".card .votes") == ["b/rewrite: something else here · c/edits: nothing here", "c/edits: nothing here"]
    Select(page.find("#state")).select_by_value("disputed")
    assert page.find("#shown").text == "1 of 9 findings", "silence about what a rule found is no dispute"
    assert [each.text for each in page.find_all("#yields .idle")] == [
        "c/edits added nothing: 3 edits, 1 rejected, 2 findings that others had too, 7 engine-seconds."
    ]
    assert "m/edits added 2 accepted findings nobody else had, 1,212 engine-seconds." in page.find("#yields").text
    assert not page.find("#yields table").is_displayed()
    page.find("#yields summary").click()
    page.find("#times summary").click()
    assert page.texts("#yields tbody tr:nth-child(2) td") == ["m/edits", "3", "1", "2", "1", "2", "0", "", "", "1,212.4"]
    assert page.texts("#times td:nth-child(2)") == ["0.4 s", "1,212.4 s"]
    bars = [bar.size["width"] for bar in page.find_all("#times rect")]
    assert bars[0] < bars[1] / 100
    page.browser.set_window_size(420, 900)
    try:
        width = page.browser.execute_script("return document.documentElement.scrollWidth")
        assert width <= page.browser.execute_script("return window.innerWidth"), "a wide table scrolls by itself"
    finally:
        page.browser.set_window_size(1280, 1000)


def test_every_control_has_a_name(page: Page) -> None:
    page.open(make_book()[1])
    controls = page.find_all("button, input, select, [role=img]")
    assert len(controls) > 30
    hidden = [each for each in controls if not each.accessible_name and each.is_displayed()]
    assert [each.get_attribute("outerHTML") for each in hidden] == []


def test_thousands_of_findings_do_not_freeze_it(page: Page) -> None:
    page.open(make_large(5_000))
    took = page.browser.execute_script("""
        const began = performance.now(), slider = document.getElementById("confidence");
        for (let value = 0; value < 50; value += 5) { slider.value = value; slider.dispatchEvent(new Event("input")); }
        slider.value = 0; slider.dispatchEvent(new Event("input"));
        return performance.now() - began;""")
    assert took < 5_000  # eleven redraws; 300 ms where nothing else runs
    assert len(page.find_all(".card")) < 200
    page.find("#accept-shown").click()
    assert page.find("#progress-text").text == "5,000 of 5,000 decided"
    page.press("s")
    assert len(parse_decisions(page.saved()).decisions) == 5_000


def test_an_empty_report_says_so(page: Page) -> None:
    page.open(replace(make_book()[1], findings=(), truth=None))
    assert page.find("#empty").text == "Nothing was found."
    page.press("jarue")
    assert page.find("#progress-text").text == "0 of 0 decided"
