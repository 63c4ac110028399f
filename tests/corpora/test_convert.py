import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc, DocBin
from spacy.training import Corpus as Reader
from spacy.training import Example

from welt_spacy.corpora.catalog import SPLITS, get_corpus
from welt_spacy.corpora.convert import convert, convert_documents, convert_file
from welt_spacy.corpora.corpus_folder import convert_corpus, is_converted
from welt_spacy.corpora.docbin import count_tags, write_docs
from welt_spacy.corpora.fetch import fetch
from welt_spacy.errors import WeltError
from welt_spacy.formats.documents import Document
from welt_spacy.formats.problems import Report
from welt_spacy.tokens.annotated_labels import get_annotated_labels
from welt_spacy.tokens.document_id import get_document_id
from welt_spacy.training.config import ConfigSettings, make_config

NLP = spacy.blank("en")
IOB = """\
Aspirin	B-Chemical
helps	O

-DOCSTART-	O

chest	B-Disease
pain	I-Disease

none	O
"""


def ents(doc):
    return [(ent.text, ent.label_) for ent in doc.ents]


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf8")
    return path


@pytest.fixture
def files(tmp_path):
    return {split: write(tmp_path, f"{split}.tsv", IOB) for split in SPLITS}


def test_docs_of_sentences_and_of_documents(tmp_path):
    path = write(tmp_path, "x.tsv", IOB)
    conversion = convert_file(path, "iob")
    assert [doc.text.strip() for doc in conversion.docs] == [
        "Aspirin helps",
        "chest pain",
        "none",
    ]
    assert [ents(doc) for doc in conversion.docs] == [
        [("Aspirin", "Chemical")],
        [("chest pain", "Disease")],
        [],
    ]
    assert (conversion.n_sentences, conversion.n_mentions) == (3, 2)
    # a doc never runs across a document's border
    assert [len(d) for d in convert_file(path, "iob", n_sents=2).docs] == [2, 3]
    grouped = convert_file(path, "iob", n_sents=0).docs
    assert [[sent.text.strip() for sent in doc.sents] for doc in grouped] == [
        ["Aspirin helps"],
        ["chest pain", "none"],
    ]
    with pytest.raises(WeltError, match="n_sents"):
        convert_file(path, "iob", n_sents=-1)
    with pytest.raises(WeltError, match="iob, pubtator, bioc, brat"):
        convert_file(path, "conll")


def test_selection_of_types(tmp_path):
    path = write(tmp_path, "x.tsv", IOB)
    docs = convert_file(path, "iob", types={"Disease": "DIS"}).docs
    assert [ents(doc) for doc in docs] == [[], [("chest pain", "DIS")], []]
    assert count_tags(docs) == {"O": 3, "B-DIS": 1, "I-DIS": 1}


def test_annotated_labels_of_documents_are_stored():
    labels = frozenset({"Chemical"})
    document = Document("7", "Aspirin. Nausea.", annotated_labels=labels)
    docs = convert_documents([document], None, 1, Report(), NLP.vocab).docs
    assert [get_document_id(doc) for doc in docs] == ["7", "7"]
    assert all(get_annotated_labels(doc) == labels for doc in docs)


def test_convert_writes_a_file_of_a_detected_format(tmp_path):
    path, output = write(tmp_path, "x.pubtator", PUBTATOR), tmp_path / "x.spacy"
    conversion = convert(path, output, n_sents=0)
    (doc,) = DocBin().from_disk(output).get_docs(NLP.vocab)
    assert ents(doc) == ents(conversion.docs[0])


def test_convert_refuses_types_that_do_not_occur(tmp_path):
    path, output = write(tmp_path, "x.tsv", IOB), tmp_path / "x.spacy"
    with pytest.raises(WeltError, match=r"type Gene; it has Chemical \(1\)"):
        convert(path, output, types={"Gene": "Gene"})
    assert not output.exists()


def test_tokens_of_the_file_are_those_of_training(tmp_path):
    doc = convert_file(write(tmp_path, "x.tsv", IOB), "iob").docs[0]
    assert doc.has_unknown_spaces


PUBTATOR = """\
1|t|Aspirin-induced asthma.
1|a|Given 3.5 mg of aspirin. COX2 was low.
1	0	7	Aspirin	Chemical
1	16	22	asthma	Disease
1	40	47	aspirin	Chemical
"""


def test_raw_text_is_tokenised_and_split_into_sentences(tmp_path):
    path = write(tmp_path, "x.pubtator", PUBTATOR)
    conversion = convert_file(path, "pubtator")
    assert [doc.text for doc in conversion.docs] == [
        "Aspirin-induced asthma. ",
        "Given 3.5 mg of aspirin. ",
        "COX2 was low.",
    ]
    assert [token.text for token in conversion.docs[0]][:3] == [
        "Aspirin",
        "-",
        "induced",
    ]
    assert [ents(doc) for doc in conversion.docs] == [
        [("Aspirin", "Chemical"), ("asthma", "Disease")],
        [("aspirin", "Chemical")],
        [],
    ]
    (whole,) = convert_file(path, "pubtator", n_sents=0).docs
    assert (
        whole.text == "Aspirin-induced asthma. Given 3.5 mg of aspirin. COX2 was low."
    )
    assert len(list(whole.sents)) == 3
    assert conversion.n_unaligned == 0


def test_unaligned_mentions_are_counted_and_widened(tmp_path):
    line = "1\t49\t51\tOX\tGene\n"
    path = write(tmp_path, "x.pubtator", PUBTATOR + line.replace("49\t51", "50\t52"))
    report = Report()
    conversion = convert_file(path, "pubtator", report=report)
    assert conversion.n_unaligned == 1
    assert conversion.n_mentions == 4
    assert ents(conversion.docs[2]) == [("COX2", "Gene")]
    assert report.counts == {"unaligned mention": 1}
    (message,) = report.messages["unaligned mention"]
    assert "x.pubtator:6: Gene 'OX' in " in message and "document 1" in message
    with pytest.raises(WeltError, match=r"x\.pubtator:6: Gene 'OX'"):
        convert_file(path, "pubtator", report=Report(strict=True))


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_mentions_at_token_boundaries_are_kept_exactly(tmp_path_factory, data):
    words = data.draw(
        st.lists(st.text(alphabet="aB1-α", min_size=1, max_size=6), min_size=1)
    )
    title = " ".join(words)
    doc = Doc(NLP.vocab, words=words)
    starts = [token.idx for token in doc]
    chosen = data.draw(st.sets(st.sampled_from(range(len(words)))))
    lines = "".join(
        f"1\t{starts[i]}\t{starts[i] + len(words[i])}\t{words[i]}\tX\n" for i in chosen
    )
    path = tmp_path_factory.mktemp("x") / "x.pubtator"
    path.write_text(f"1|t|{title}\n1|a|\n{lines}", encoding="utf8")
    conversion = convert_file(path, "pubtator", n_sents=0, report=Report(strict=True))
    spans = [(e.start_char, e.end_char) for d in conversion.docs for e in d.ents]
    assert spans == [(starts[i], starts[i] + len(words[i])) for i in sorted(chosen)]


def test_corpus_folder(files, tmp_path):
    corpus = get_corpus("bc5cdr")
    output = tmp_path / "out"
    result = convert_corpus(corpus, files, output)
    assert result.is_new and not result.report.counts
    assert sorted(os.listdir(output)) == [
        "corpus.json",
        "dev.spacy",
        "test.spacy",
        "train.spacy",
        "train_dev.spacy",
        "welt.json",
    ]
    assert result.summary == json.loads((output / "corpus.json").read_text())
    assert result.summary["splits"]["train"]["tags"]["B-Chemical"] == 1
    sizes = {
        path.stem: len(DocBin().from_disk(path)) for path in output.glob("*.spacy")
    }
    assert sizes == {"train": 3, "dev": 3, "test": 3, "train_dev": 6}


def test_same_conversion_is_up_to_date(files, tmp_path):
    corpus, output = get_corpus("bc5cdr"), tmp_path / "out"
    first = convert_corpus(corpus, files, output)
    again = convert_corpus(corpus, files, output)
    assert first.is_new and not again.is_new and again.summary == first.summary
    assert convert_corpus(corpus, files, output, force=True).is_new
    assert is_converted(corpus, files, output)


@pytest.mark.parametrize("change", ["file", "n_sents", "labels", "package"])
def test_other_inputs_are_not_up_to_date(files, tmp_path, monkeypatch, change):
    corpus, output, n_sents = get_corpus("bc5cdr"), tmp_path / "out", None
    convert_corpus(corpus, files, output)
    if change == "file":
        files["dev"].write_text(IOB + "\nx\tO\n")
    elif change == "n_sents":
        n_sents = 2
    elif change == "labels":
        corpus = replace(corpus, types={"Disease": "DIS"})
    else:
        versions = {"spacy": "0.0.1"}
        monkeypatch.setattr(
            "welt_spacy.util.fingerprint.get_versions", lambda: versions
        )
    assert not is_converted(corpus, files, output, n_sents=n_sents)
    assert convert_corpus(corpus, files, output, n_sents=n_sents).is_new


def test_nothing_is_written_when_a_file_is_bad(files, tmp_path):
    files["test"].write_text("a\tO\nb\tI-Disease\n")
    output = tmp_path / "out"
    with pytest.raises(WeltError, match=r"test\.tsv:2: "):
        convert_corpus(get_corpus("bc5cdr"), files, output, strict=True)
    assert not output.exists()


def test_same_input_same_bytes(files, tmp_path):
    # In other processes, with other hash seeds: nothing may hang on their order.
    code = (
        "import sys; from pathlib import Path;"
        "from welt_spacy.corpora.catalog import get_corpus;"
        "from welt_spacy.corpora.corpus_folder import convert_corpus;"
        "i, o = map(Path, sys.argv[1:]);"
        "convert_corpus(get_corpus('bc5cdr'),"
        " {s: i / f'{s}.tsv' for s in ('train', 'dev', 'test')}, o)"
    )
    outputs = []
    for seed in ("1", "2"):
        output = tmp_path / seed
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path), str(output)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
        )
        outputs.append({p.name: p.read_bytes() for p in output.iterdir()})
    assert outputs[0] == outputs[1] and len(outputs[0]) == 6


KILLED_AT = """
import os, signal, sys
from pathlib import Path
from welt_spacy.corpora.catalog import get_corpus
from welt_spacy.corpora.corpus_folder import convert_corpus
folder, output, left = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
replace = os.replace
def replace_or_die(*args):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*args)
os.replace = replace_or_die
files = {split: folder / f"{split}.tsv" for split in ("train", "dev", "test")}
convert_corpus(get_corpus("bc5cdr"), files, output)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize("n_written", [1, 4, 8, 10])  # each output after its record
@pytest.mark.parametrize("again", [False, True])
def test_a_killed_conversion_is_not_up_to_date(files, tmp_path, n_written, again):
    corpus = get_corpus("bc5cdr")
    output = tmp_path / "out"
    if again:  # there is a whole one of another version of the corpus
        convert_corpus(corpus, files, output)
        files["train"].write_text(IOB + "\nx\tO\n")
    command = [sys.executable, "-c", KILLED_AT, tmp_path, output, n_written]
    process = subprocess.run([str(part) for part in command])
    assert process.returncode == -signal.SIGKILL
    assert not is_converted(corpus, files, output)
    assert not (output / "corpus.json").exists()
    for path in output.glob("[!.]*.spacy"):
        DocBin().from_disk(path)  # whole
    convert_corpus(corpus, files, output)
    assert is_converted(corpus, files, output)


def test_spacy_reads_the_result(files, tmp_path):
    docs = convert_file(files["train"], "iob").docs
    write_docs(tmp_path / "x.spacy", docs)
    nlp = spacy.blank("en")
    examples = list(Reader(tmp_path / "x.spacy")(nlp))
    assert [len(eg.predicted) for eg in examples] == [2, 2, 1]
    assert all(None not in eg.get_aligned_ner() for eg in examples)


def real(mirror, tmp_path, corpus_id):
    corpus = get_corpus(corpus_id)
    return corpus, fetch(corpus, mirror=str(mirror), cache=tmp_path)


def test_real_files_have_no_problems(mirror, tmp_path):
    corpus, files = real(mirror, tmp_path, "bc5cdr")
    report = Report(strict=True)
    conversion = convert_file(files["dev"], "iob", types=corpus.types, report=report)
    assert conversion.n_sentences == 4581
    counts = count_tags(conversion.docs)
    assert counts["B-Chemical"] + counts["B-Disease"] == conversion.n_mentions


@pytest.mark.parametrize("corpus_id", ["biored_chemical", "biored_disease"])
def test_at_most_half_a_per_cent_of_biored_is_unaligned(mirror, tmp_path, corpus_id):
    corpus, files = real(mirror, tmp_path, corpus_id)
    conversions = [
        convert_file(files[s], "pubtator", types=corpus.types) for s in SPLITS
    ]
    n_mentions = sum(conversion.n_mentions for conversion in conversions)
    n_unaligned = sum(conversion.n_unaligned for conversion in conversions)
    assert n_mentions > 4000
    assert n_unaligned / n_mentions <= 0.005
    # none is lost: widened, or in the place of another
    n_entities = sum(
        len(doc.ents) for conversion in conversions for doc in conversion.docs
    )
    assert n_mentions - n_unaligned <= n_entities <= n_mentions
    labels = {
        ent.label_
        for conversion in conversions
        for doc in conversion.docs
        for ent in doc.ents
    }
    assert labels == set(corpus.types.values())


def test_raw_and_tokenised_documents_score_the_same(mirror, tmp_path):
    """Score a model with the features of our configs on raw and tokenized text: white space,
    which only raw text has, must make no difference."""
    corpus, files = real(mirror, tmp_path, "biored_disease")
    docs = convert_file(files["dev"], "pubtator", types=corpus.types, n_sents=0).docs
    config = spacy.util.load_config_from_str(make_config(ConfigSettings(encoder="cpu")))
    nlp = spacy.util.load_model_from_config(config, auto_fill=True)
    raw = [Example(nlp.make_doc(doc.text), doc) for doc in docs]
    optimizer = nlp.initialize(lambda: raw[:40])
    optimizer.learn_rate = 0.005
    for _ in range(10):
        for i in range(0, 40, 5):
            nlp.update(raw[i : i + 5], sgd=optimizer)
    tokenised = []
    for doc in docs:
        words = [token.text for token in doc]
        bare = Doc(nlp.vocab, words=words)
        tags = [
            "O" if t.ent_iob_ == "O" else f"{t.ent_iob_}-{t.ent_type_}" for t in doc
        ]
        tokenised.append(Example(bare, Doc(nlp.vocab, words=words, ents=tags)))
    fresh = [Example(nlp.make_doc(doc.text), doc) for doc in docs]
    scores = [nlp.evaluate(examples) for examples in (fresh, tokenised)]
    assert scores[0]["ents_f"] > 0.4  # 12 passes: 0.62 to 0.65 with five seeds
    for name in ("ents_p", "ents_r", "ents_f", "ents_per_type"):
        assert scores[0][name] == scores[1][name]


@pytest.mark.parametrize(
    "name", ["train.spacy", "train_dev.spacy", "corpus.json", "welt.json"]
)
def test_a_damaged_conversion_is_not_up_to_date(files, tmp_path, name):
    corpus = get_corpus("bc5cdr")
    convert_corpus(corpus, files, tmp_path / "out")
    assert is_converted(corpus, files, tmp_path / "out")
    path = tmp_path / "out" / name
    path.write_bytes(path.read_bytes()[:10])
    assert not is_converted(corpus, files, tmp_path / "out")


def test_long_documents(tmp_path):
    """Convert a text beyond spaCy's limit for parsers."""
    text = ("aspirin was " + "x" * 1000 + " . ") * 1000
    path = write(tmp_path, "x.pubtator", f"1|t|T\n1|a|{text}\n1\t2\t9\taspirin\tX\n")
    assert len(text) > 1_000_000
    conversion = convert_file(path, "pubtator", n_sents=0)
    assert conversion.n_sentences == 1001 and conversion.n_mentions == 1


def test_time_grows_with_the_length(tmp_path):
    """Compare CPU times, which do not depend on other processes."""
    seconds = []
    for n in (2_500, 2_500, 20_000):
        text = "aspirin was given . " * (n // 4)
        path = write(tmp_path, "x.pubtator", f"1|t|T\n1|a|{text}\n")
        started = time.process_time()
        convert_file(path, "pubtator", n_sents=1)
        seconds.append(time.process_time() - started)
    assert seconds[2] < 30 * seconds[1]  # 64 times if it were the square


def test_files_of_others_are_not_replaced(files, tmp_path):
    corpus, output = get_corpus("bc5cdr"), tmp_path / "out"
    output.mkdir()
    (output / "dev.spacy").write_text("precious")
    with pytest.raises(WeltError, match="did not write this"):
        convert_corpus(corpus, files, output)
    assert os.listdir(output) == ["dev.spacy"]
    assert (output / "dev.spacy").read_text() == "precious"


@pytest.mark.parametrize("name", ["bc5cdr", "ncbi_disease"])
def test_documents_have_the_text_of_their_sentences(name, mirror, tmp_path):
    """Compare letters, which are equal, and mentions, which are equal but for a few."""
    letters, mentions = {}, {}
    for corpus_id in (name, f"{name}_docs"):
        corpus = get_corpus(corpus_id)
        files = fetch(corpus, cache=tmp_path, mirror=str(mirror), offline=True)
        for split in ("dev", "test"):
            docs = convert_file(
                files[split],
                corpus.format,
                types=corpus.types,
                n_sents=corpus.n_sents,
                documents=corpus.documents(split),
            ).docs
            if corpus.n_sents == 0:
                assert len(docs) == len(corpus.documents(split))
                assert all(
                    get_document_id(doc) in corpus.documents(split) for doc in docs
                )
            text = "".join(doc.text for doc in docs)
            letters[corpus_id, split] = Counter(filter(str.isalnum, text.lower()))
            mentions[corpus_id, split] = sum(len(doc.ents) for doc in docs)
    for split in ("dev", "test"):
        sentences, documents = letters[name, split], letters[f"{name}_docs", split]
        assert sum(
            ((sentences - documents) + (documents - sentences)).values()
        ) < 0.01 * sum(sentences.values())
        n, m = mentions[name, split], mentions[f"{name}_docs", split]
        assert abs(n - m) < 0.02 * n
