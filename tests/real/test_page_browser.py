"""The page in a real Chromium without a network: as it is read, with a keyboard, and with scripts off."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from kvmgen import pipeline
from kvmgen.page import Report, as_html
from kvmgen.page.drawn import pictures
from tests.browser import Page, browser, script
from tests.differences import SAMPLE, filled
from tests.sites import EXAMPLE
from tests.test_page import LINKS, finding, grid

pytestmark = pytest.mark.real

CONTRAST = """
(() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const light = (colour) => {
    const [r, g, b] = colour.map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    if (!element) return [255, 255, 255];
    return over(rgba(getComputedStyle(element).backgroundColor), behind(element.parentElement));
  };
  const drawnOn = (text) => {  // what a picture's text stands on: the last shape drawn before it that is around it
    const box = text.getBoundingClientRect(), [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
    let found = behind(text.closest("svg"));
    for (const shape of text.closest("svg").querySelectorAll("rect")) {
      const its = shape.getBoundingClientRect();
      const within = its.left <= x && x <= its.right && its.top <= y && y <= its.bottom;
      if (within && shape.compareDocumentPosition(text) & Node.DOCUMENT_POSITION_FOLLOWING) {
        found = over(rgba(getComputedStyle(shape).fill), found);
      }
    }
    return found;
  };
  const told = [];
  for (const details of document.querySelectorAll("details")) details.open = true;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, style = getComputedStyle(element);
    const seen = element.checkVisibility() && walker.currentNode.data.trim() && !element.closest("script, title, desc");
    if (!seen) continue;
    const drawn = element.closest("svg");
    const [one, other] = [drawn ? drawnOn(element) : behind(element), rgba(drawn ? style.fill : style.color)];
    const [low, high] = [light(over(other, one)), light(one)].sort((a, b) => a - b);
    told.push([(high + 0.05) / (low + 0.05), element.className.baseVal ?? element.className, walker.currentNode.data]);
  }
  return told;
})()
"""
"""Of every text that is seen, its contrast with what is behind it, by WCAG 2.2."""

CONTROLS = """
(() => {
  const all = document.querySelectorAll("a[href], summary, input, [tabindex='0']");
  const seen = [...all].filter((element) => element.checkVisibility());
  seen.forEach((element, number) => element.dataset.number = number);
  return seen.length;
})()
"""
FOCUSED = """
(() => {
  const element = document.activeElement, style = getComputedStyle(element), box = element.getBoundingClientRect();
  const within = box.bottom > 0 && box.top < innerHeight;
  return [element.dataset.number ?? null, style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2, within];
})()
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with everything that a page can have, of the example."""
    site = pipeline.load(EXAMPLE).site
    assert site is not None
    first, whole = pictures(None, site, {"kvm-el8"})
    told = (finding("inventory/hosts/kvm-es.yaml"),)
    report = Report(
        site="founding",
        difference=SAMPLE,
        pictures=first,
        whole=whole,
        findings=told,
        grid=grid("web01", "outside"),
        links=LINKS,
    )
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(as_html(report))
    return path


@pytest.mark.parametrize(("scheme", "width"), list(product(("light", "dark"), (1280, 390))))
def test_it_is_shown(page: Page, file: Path, tmp_path: Path, scheme: str, width: int) -> None:
    """Nothing is asked for, nothing is complained of, nothing sticks out, and every text can be read."""
    page.open(file, scheme=scheme, width=width)
    assert page.requests() == [file.as_uri()]
    assert page.complaints() == []
    assert page.value("document.documentElement.scrollWidth <= innerWidth")
    page.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 50_000
    told = page.value(CONTRAST)
    assert len(told) > 300
    assert [one for one in told if one[0] < 4.5] == []


def test_it_is_accessible(page: Page, file: Path) -> None:
    """By axe-core's rules: names, roles, landmarks, headings, tables, what can be scrolled."""
    page.open(file)
    page.value("for (const details of document.querySelectorAll('details')) details.open = true")
    page.value(f"{script('axe.min.js').read_text()}; 0")
    found = "(rule) => [rule.id, rule.help, rule.nodes.map((node) => node.html)]"
    told = page.value(f"axe.run().then((all) => [all.violations.map({found}), all.passes.length])")
    assert told[0] == []
    assert told[1] > 30


def test_the_keyboard_reaches_everything(page: Page, file: Path) -> None:
    """In the order of the page, each with a mark that is seen, and back at the start in the end."""
    page.open(file)
    controls = page.value(CONTROLS)
    reached = []
    for _ in range(controls):
        page.press("Tab")
        number, is_marked, is_seen = page.value(FOCUSED)
        reached.append(number)
        assert is_marked, number
        assert is_seen, number
    assert reached == [str(number) for number in range(controls)]


def test_the_keyboard_works_it(page: Page, file: Path) -> None:
    page.open(file)
    page.press("Tab")
    page.press("Enter")
    assert page.value("location.hash") == "#main"
    page.press("Tab")
    assert page.value("document.activeElement.closest('main') !== null"), "the way around the navigation leads past it"
    page.value("document.querySelector('.raw > summary').focus()")
    page.press("Enter")
    assert page.value("document.querySelector('.raw').open")
    page.value("document.querySelector('#pictures .wide').focus()")
    page.open(file, width=390)
    page.value("document.querySelector('#pictures .wide').focus()")
    page.press("ArrowRight")
    assert page.value(
        "new Promise((done) => setTimeout(() => done(document.querySelector('#pictures .wide').scrollLeft > 0), 500))"
    )


def test_a_field_chooses(page: Page, file: Path) -> None:
    page.open(file)
    page.value("document.getElementById('grid-rows-words').focus()")
    page.type("outside WEB0117")
    shown = "[...document.querySelectorAll('#grid-rows > tr')].filter((row) => row.checkVisibility()).length"
    assert page.value(shown) == 1, "whose names are folded away is found as well"
    assert page.value("document.querySelector('[data-filters=grid-rows] output').textContent") == "1 of 3"
    page.value("document.getElementById('grid-rows-words').value = ''")
    page.type(" ")
    assert page.value(shown) == 3


def test_a_finding_leads_to_its_rule(page: Page, file: Path) -> None:
    page.open(file)
    page.value("document.querySelector('#finding-list a[href=\"#KV203\"]').focus()")
    page.press("Enter")
    opened = "document.querySelector('#KV203 > details').open"
    assert page.value(f"new Promise((done) => setTimeout(() => done({opened}), 200))")


def test_without_scripts_everything_is_there(page: Page, file: Path) -> None:
    page.open(file, scripts=False)
    assert page.complaints() == []
    assert page.value("[...document.querySelectorAll('.chooser')].every((field) => !field.checkVisibility())")
    assert page.value("[...document.querySelectorAll('main > section')].every((part) => part.checkVisibility())")
    assert page.value("document.querySelectorAll('details:not(:has(> summary))').length") == 0
    page.value("document.querySelector('.raw > summary').focus()")
    page.press("Enter")
    assert page.value("document.querySelector('.raw').open")


def test_its_policy_holds(page: Page, file: Path, tmp_path: Path) -> None:
    """What an inventory never gets into the page wouldn't be obeyed there."""
    injected = tmp_path / "injected.html"
    evil = "<script>document.title = 'x'</script><img src='https://evil.example/x' onerror=\"document.title = 'x'\">"
    evil += "<style>body { display: none }</style><iframe src='https://evil.example/'></iframe>"
    injected.write_text(file.read_text().replace("</main>", f"{evil}</main>"))
    page.open(injected)
    assert page.value("document.title") == "founding: main to work tree"
    assert page.value("document.body.checkVisibility()")
    assert page.requests() == [injected.as_uri()]
    assert sum("Content Security Policy" in told for told in page.complaints()) >= 4


@pytest.mark.parametrize(
    "text", ["</script><script>document.title='x'</script>", '" autofocus onfocus="document.title=1', "x" * 500]
)
def test_hostile_names(page: Page, tmp_path: Path, text: str) -> None:
    path = tmp_path / "page.html"
    path.write_text(as_html(Report(site=text, difference=filled(text), findings=(finding(text),), grid=grid(text))))
    page.open(path, width=390)
    assert page.value("document.title").startswith(text)
    assert page.complaints() == []
    assert page.requests() == [path.as_uri()]
    assert page.value("document.documentElement.scrollWidth <= innerWidth")
