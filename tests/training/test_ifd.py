"""IFD compared with a plain loop over tokens."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from welt_spacy.errors import WeltError
from welt_spacy.training.selection.ifd import IFDScorer, ScorerSettings

from ..factories import make_byte_tokenizer, make_tiny_lm

torch = pytest.importorskip("torch", reason="needs welt-spacy[transformers]")
transformers = pytest.importorskip("transformers")

LIMIT = 16
FAMILIES = ("llama", "qwen3", "gpt2")


@pytest.fixture(scope="module")
def tokenizer():
    return make_byte_tokenizer(LIMIT)


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return make_tiny_lm(request.param, LIMIT)


def compute_loss(model, ids, n_answer):
    """Compute the mean loss of the last tokens, with a forward pass for each token."""
    total = 0.0
    for place in range(len(ids) - n_answer, len(ids)):
        with torch.no_grad():
            logits = model(torch.tensor([ids[:place]])).logits[0, -1].double()
        total -= float(torch.log_softmax(logits, -1)[ids[place]])
    return total / n_answer


texts = st.text(alphabet="ab γ{", max_size=14)


@given(
    st.lists(st.tuples(texts, texts.filter(bool)), min_size=1, max_size=3),
    st.sampled_from([1, 20, 4096]),
    st.sampled_from(["ppl_ratio", "loss_ratio"]),
)
@settings(
    max_examples=3,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_equals_a_loop_over_tokens(model, tokenizer, examples, batch_tokens, variant):
    scorer = IFDScorer(
        model, tokenizer, ScorerSettings("", variant), batch_tokens=batch_tokens
    )
    for (prompt, answer), score in zip(examples, scorer(examples)):
        prompt_ids = tokenizer(prompt)["input_ids"]
        answer_ids = tokenizer(answer)["input_ids"]
        target = answer_ids[: LIMIT - 1]
        room = LIMIT - 1 - len(target)
        context = prompt_ids[-room:] if room else []
        assert score.n_tokens == len(target)
        assert score.truncated == (len(prompt_ids) + len(answer_ids) + 1 > LIMIT)
        conditioned = compute_loss(model, [0, *context, *target], len(target))
        direct = compute_loss(model, [0, *target], len(target))
        assert score.conditioned_loss == pytest.approx(conditioned, abs=1e-5)
        assert score.direct_loss == pytest.approx(direct, abs=1e-5)
        if variant == "ppl_ratio":
            expected = math.exp(conditioned - direct)
        else:
            expected = conditioned / direct
        assert score.ifd == pytest.approx(expected, rel=1e-4)


class Bigrams(torch.nn.Module):
    """A language model: a table of the probability of a token after another one."""

    def __init__(self, table):
        super().__init__()
        self.table = torch.nn.Parameter(
            torch.tensor(np.log(table), dtype=torch.float32)
        )
        self.config = transformers.PretrainedConfig(max_position_embeddings=8)

    def forward(self, input_ids, attention_mask=None):
        from types import SimpleNamespace

        return SimpleNamespace(logits=self.table[input_ids])


def test_ifd_of_known_probabilities(tokenizer):
    a, b = tokenizer("ab")["input_ids"]
    table = np.full((257, 257), 1 / 257)
    # After the start, after a, after b; the other tokens share the rest
    for before, token, p in ((0, a, 0.25), (a, b, 0.5), (b, a, 0.125)):
        table[before] = (1 - p) / 256
        table[before, token] = p
    (score,) = IFDScorer(Bigrams(table), tokenizer, ScorerSettings(""))([("b", "ab")])
    assert score.conditioned_loss == pytest.approx(math.log(8 * 2) / 2, rel=1e-5)
    assert score.direct_loss == pytest.approx(math.log(4 * 2) / 2, rel=1e-5)
    assert score.ifd == pytest.approx(math.sqrt(2), rel=1e-5)
    (ratio,) = IFDScorer(Bigrams(table), tokenizer, ScorerSettings("", "loss_ratio"))(
        [("b", "ab")]
    )
    assert ratio.ifd == pytest.approx(4 / 3, rel=1e-5)


@pytest.fixture
def llama():
    return make_tiny_lm("llama", LIMIT)


def test_empty_prompts_and_no_examples(llama, tokenizer):
    scorer = IFDScorer(llama, tokenizer, ScorerSettings(""))
    assert scorer([]) == []
    assert scorer([("", "a")])[0].n_tokens == 1


def test_examples_that_can_not_be_scored_are_named(llama, tokenizer):
    scorer = IFDScorer(llama, tokenizer, ScorerSettings(""))
    with pytest.raises(WeltError, match="Example 1: the answer '' has no token"):
        scorer([("a", "b"), ("a", "")])
    with torch.no_grad():
        next(llama.parameters()).fill_(float("nan"))
    with pytest.raises(WeltError, match="Example 0: the score is not a finite"):
        scorer([("a", "b")])


@pytest.mark.parametrize(
    "options", [{"variant": "x"}, {"max_length": -1}, {"max_length": 1}]
)
def test_wrong_settings(llama, tokenizer, options):
    with pytest.raises(WeltError, match="'x'|max_length"):
        IFDScorer(llama, tokenizer, ScorerSettings("", **options))


def test_a_tokenizer_without_start_token(llama):
    tokenizer = make_byte_tokenizer(LIMIT)
    tokenizer.eos_token = None
    with pytest.raises(WeltError, match="no token for the start"):
        IFDScorer(llama, tokenizer, ScorerSettings(""))
