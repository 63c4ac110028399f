"""The page of an evaluation, in a browser."""

import json
import re

import pytest
from spacy.tokens import Doc, Span
from spacy.training import Example

from welt_spacy.evaluation.evaluate import score_predictions
from welt_spacy.evaluation.html import to_html, utf16_offset
from welt_spacy.evaluation.tuning.decoding import sweep_o_bias
from welt_spacy.evaluation.tuning.predictions import predict_dev
from welt_spacy.pipeline.inference import predict_examples
from welt_spacy.scoring.pairs import pair_examples

from ..factories import make_examples, make_nlp, train

HOSTILE = "</script><img src=x onerror=alert(1)>&<b>\u2028"


@pytest.fixture
def visit(browser, tmp_path):
    """Open a page; assert at the end that there was no error and no request."""
    problems, requests = [], []
    contexts = []

    def visit(html, **settings):
        path = tmp_path / "page.html"
        path.write_text(html, encoding="utf8")
        context = browser.new_context(**settings)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(dialog.message))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        return page

    yield visit
    for context in contexts:
        context.close()
    assert problems == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []


@pytest.fixture(scope="module")
def evaluated():
    """Return an evaluation of five documents and its page: three with one error each (missed,
    overlapping, spurious), one without errors, and one with hostile text."""
    nlp = make_nlp()
    train(nlp, make_examples(nlp))
    examples = make_examples(nlp)
    hostile, gold = nlp.make_doc(HOSTILE), nlp.make_doc(HOSTILE)
    gold.ents = []
    examples.append(Example(hostile, gold))
    predict_examples(nlp, examples)
    for example, wrong in zip(examples, ("missed", "overlapping", "spurious")):
        doc = example.predicted
        first = doc.ents[0]
        if wrong == "missed":
            doc.ents = doc.ents[1:]
        elif wrong == "overlapping":
            doc.ents = [Span(doc, 0, 2, label=first.label), *doc.ents[1:]]
        else:
            doc.ents = [Span(doc, 0, 1, label="Chemical"), *doc.ents]
    hostile.ents = [Span(hostile, 0, 1, label="Disease")]
    docs = pair_examples(examples)
    evaluation = score_predictions(
        nlp, docs, mentions={"aspirin": 2}, score_raw_text=True
    )
    curve = sweep_o_bias(predict_dev(nlp, make_examples(nlp)))
    return evaluation, to_html(evaluation, docs, data="test.spacy", curve=curve)


def shown(page):
    return page.locator("#list article").count()


def test_figures_and_sections(evaluated, visit):
    evaluation, html = evaluated
    page = visit(html)
    text = page.inner_text("main")
    for scores in (
        evaluation.strict,
        evaluation.fair,
        evaluation.weighted,
        evaluation.macro,
    ):
        for value in scores:
            assert f"{100 * value:.2f}" in text
    for part in (
        "Chemical",
        "Disease",
        "B-Chemical",
        "raw text",
        "By length",
        "unseen",
    ):
        assert part in text
    for section in ("scores", "types", "curve", "calibration", "confusion", "slices"):
        assert page.locator(f"nav a[href='#{section}']").count() == 1
        assert page.locator(f"#{section} h2").count() == 1
    assert page.locator("svg circle.current").count() == 1
    assert page.locator("svg rect.bar").count() == len(evaluation.calibration.bins)
    low, high = evaluation.intervals["f"]
    assert f"{100 * low:.2f} to {100 * high:.2f}" in text
    assert page.locator(".matrix tbody tr").count() == 3


def test_filters(evaluated, visit):
    page = visit(evaluated[1])
    assert shown(page) == 4  # documents with an error
    assert "4 of 5 docs" in page.inner_text("#status")
    page.uncheck("input[value='2']")
    page.uncheck("input[value='3']")
    assert shown(page) == 2  # spurious predictions
    page.select_option("select", "Disease")
    assert shown(page) == 1
    page.check("input[value='0']")
    page.uncheck("input[value='1']")
    assert shown(page) == 0  # the document without errors has no entity
    page.select_option("select", "")
    assert "The study was blind." in page.inner_text("#list")
    page.check("input[value='2']")
    page.fill("input[type=search]", "SELEGILINE")
    assert shown(page) == 1
    assert page.locator("#list mark.wrong").count() == 1
    assert "missed 'Selegiline'" in page.inner_text("#list header")


def test_keyboard(evaluated, visit):
    page = visit(evaluated[1])
    page.keyboard.press("/")
    page.keyboard.type("kj")  # typed text, not steps
    assert page.input_value("input[type=search]") == "kj" and shown(page) == 0
    page.fill("input[type=search]", "")
    page.keyboard.press("Escape")

    def place():
        return page.evaluate(
            "[...document.querySelectorAll('#list article')]"
            ".indexOf(document.activeElement)"
        )

    page.keyboard.press("j")
    page.keyboard.press("j")
    assert place() == 1
    page.keyboard.press("k")
    assert place() == 0
    page.keyboard.press("Tab")
    assert place() == 1


def test_text_is_never_markup(evaluated, visit):
    page = visit(evaluated[1])
    assert page.locator("img").count() == 0
    assert HOSTILE[:20] in page.text_content("#list")


def test_light_dark_and_paper(evaluated, visit):
    grounds = {}
    for scheme in ("light", "dark"):
        page = visit(evaluated[1], color_scheme=scheme)
        style = "getComputedStyle(document.body)"
        grounds[scheme] = page.evaluate(f"[{style}.backgroundColor, {style}.color]")
    assert grounds["light"] == ["rgb(255, 255, 255)", "rgb(28, 32, 36)"]
    assert grounds["dark"] == ["rgb(20, 24, 27)", "rgb(230, 234, 237)"]
    page.emulate_media(media="print")
    assert page.evaluate(f"{style}.backgroundColor") == "rgb(255, 255, 255)"
    assert not page.is_visible("form") and page.is_visible("#scores table")


def test_it_fits_a_phone(evaluated, visit):
    page = visit(evaluated[1], viewport={"width": 360, "height": 740})
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 360


def test_filters_over_five_thousand_sentences(visit):
    nlp = make_nlp()
    words = [
        "The",
        "effect",
        "of",
        "aspirin",
        "on",
        "blood",
        "pressure",
        "was",
        "small",
    ]
    examples = []
    for i in range(5000):
        gold, guess = (Doc(nlp.vocab, words=[*words, str(i)]) for _ in range(2))
        gold.ents = [Span(gold, 3, 4, label="Chemical")]
        if i % 2:
            guess.ents = [Span(guess, 2, 4, label="Chemical")]
        examples.append(Example(guess, gold))
    nlp.initialize(lambda: examples[:10])

    docs = pair_examples(examples)
    page = visit(to_html(score_predictions(nlp, docs), docs, data="large"))
    assert "5,000 of 5,000 docs, 50 shown" in page.inner_text("#status")
    page.fill("input[type=search]", "4999")
    assert shown(page) == 1
    page.fill("input[type=search]", "")
    page.click("#more")
    assert shown(page) == 100


def test_data_of_the_page_can_be_read(evaluated):
    evaluation, html = evaluated
    text = re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1]
    data = json.loads(text)
    assert len(data["sentences"]) == evaluation.docs
    assert data["sentences"][-1]["text"].startswith(HOSTILE)


def test_offsets_for_a_browser():
    text = "𝛽 - blocker 𝛼 gave nausea"
    units = text.encode("utf-16-le")
    for i in range(len(text) + 1):
        assert units[: 2 * utf16_offset(text, i)].decode("utf-16-le") == text[:i]


def test_marks_beyond_the_basic_plane(visit):
    nlp = make_nlp()
    doc = nlp.make_doc("𝛽 - blocker 𝛼 gave nausea")
    gold = doc.copy()
    gold.set_ents([gold.char_span(4, 11, "Drug"), gold.char_span(19, 25, "Disease")])
    docs = pair_examples([Example(doc, gold)])
    page = visit(to_html(score_predictions(nlp, docs), docs))
    marks = page.locator("[data-side=gold] mark")
    texts = [marks.nth(i).evaluate("m => m.firstChild.data") for i in range(2)]
    assert texts == ["blocker", "nausea"]
