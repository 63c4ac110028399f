"""Shards of an input, and versions of citations."""

import gzip
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from welt_spacy.annotation.plan import Plan, Settings, make_plan
from welt_spacy.annotation.shards import read_shard
from welt_spacy.errors import WeltError
from welt_spacy.formats.documents import Document, Reject

from ..factories import n_examples
from ..factories.annotation import make_job, pubmed, pubmed_article, write_jsonl


def read_items(plan):
    """Return the documents and rejects of each shard."""
    job = make_job("out")
    return [list(read_shard(job, shard)) for shard in plan.shards]


def read_texts(plan):
    return [[item.text for item in items] for items in read_items(plan)]


SIZES = {"a.jsonl": 7, "b.jsonl.gz": 2, "c.jsonl": 4, "d.jsonl": 1}


@pytest.fixture
def files(tmp_path):
    return [
        str(write_jsonl(tmp_path / name, [f"{name} {i}" for i in range(n)]))
        for name, n in SIZES.items()
    ]


def test_names_of_shards(files):
    plan = make_plan(files, Settings(shard_docs=3))
    names = ["000000-a", "000001-a", "000002-a", "000003-c", "000004-c"]
    assert [shard.name for shard in plan.shards] == names


def test_shards_have_each_document_once(files):
    plan = make_plan(files, Settings(shard_docs=3))
    texts = read_texts(plan)
    # Whole shards of a file, then shards of the ends of several files
    assert texts[2] == ["a.jsonl 6", "b.jsonl.gz 0", "b.jsonl.gz 1"]
    assert texts[4] == ["c.jsonl 3", "d.jsonl 0"]
    expected = sorted(f"{name} {i}" for name, n in SIZES.items() for i in range(n))
    assert sorted(sum(texts, [])) == expected
    assert plan.documents == sum(shard.n_docs for shard in plan.shards) == 14


def test_a_plan_is_stored_as_json(files):
    plan = make_plan(files, Settings(shard_docs=3))
    assert Plan.from_json(plan.to_json()) == plan


def test_several_processes_make_the_same_plan(files, monkeypatch):
    monkeypatch.setattr("welt_spacy.annotation.plan.BIG", 0)
    counts = []
    plan = make_plan(files, Settings(shard_docs=3), processes=2, report=counts.append)
    assert plan == make_plan(files, Settings(shard_docs=3))
    assert counts == [1, 2, 3, 4]


@pytest.fixture
def citations(tmp_path):
    """Write a baseline file and an update file of PubMed."""
    base = pubmed(
        pubmed_article(1, "old one", []),
        pubmed_article(2, "two", []),
        pubmed_article(3, "three, version 1", []),
        pubmed_article(3, "three, version 2", [], version=2),
        pubmed_article(4, "four, to be deleted", []),
    )
    update = pubmed(
        pubmed_article(1, "new one", []),
        pubmed_article(3, "three, version 1 revised", []),
        "<DeleteCitation><PMID Version='1'>4</PMID>\n<PMID>99</PMID></DeleteCitation>",
        pubmed_article(5, "five", []),
    )
    (tmp_path / "n0001.xml").write_text(base)
    (tmp_path / "n0002.xml.gz").write_bytes(gzip.compress(update.encode()))
    return [str(tmp_path / name) for name in ("n0001.xml", "n0002.xml.gz")]


@pytest.mark.parametrize("size", [1, 2, 100])
def test_the_last_version_of_a_citation_wins(citations, size):
    plan = make_plan(citations, Settings(shard_docs=size))
    texts = sorted(sum(read_texts(plan), []))
    assert texts == ["five", "new one", "three, version 2", "two"]
    assert (plan.documents, plan.replaced, plan.deleted) == (8, 3, 1)
    assert sum(shard.n_docs for shard in plan.shards) == 4


def test_a_citation_after_its_deletion_is_not_deleted(citations):
    texts = sum(read_texts(make_plan(citations[::-1], Settings())), [])
    assert "four, to be deleted" in texts and "old one" in texts


@settings(max_examples=n_examples(60))
@given(st.data())
def test_versions_against_a_plain_loop(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("versions")
    rng = random.Random(data.draw(st.integers(0, 10_000)))
    latest, n = {}, 0
    files = []
    for number in range(rng.randint(1, 3)):
        parts = []
        for _ in range(rng.randint(1, 8)):
            pmid, version = rng.randint(1, 5), rng.randint(1, 2)
            if rng.random() < 0.2:
                parts.append(f"<DeleteCitation><PMID>{pmid}</PMID></DeleteCitation>")
                latest.pop(pmid, None)
            else:
                n += 1
                parts.append(pubmed_article(pmid, f"text {n}", [], version))
                if version >= latest.get(pmid, (0, ""))[0]:
                    latest[pmid] = (version, f"text {n}")
        files.append(str(folder / f"{number}.xml"))
        (folder / f"{number}.xml").write_text(pubmed(*parts))
    plan = make_plan(files, Settings(shard_docs=rng.randint(1, 4)))
    texts = sorted(sum(read_texts(plan), []))
    assert texts == sorted(text for _, text in latest.values())


@pytest.fixture
def damaged(tmp_path):
    """Write a file cut off in the middle, one of an unknown kind, and an empty one."""
    lines = [b'{"text": "%d"}\n' % (i * 7919 % 100_003) for i in range(100_000)]
    whole = gzip.compress(b"".join(lines))
    (tmp_path / "b.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "c.xml").write_text("<html/>")
    (tmp_path / "d.txt").write_text("\n")
    return [str(tmp_path / name) for name in ("b.jsonl.gz", "c.xml", "d.txt")]


def test_damaged_files_are_rejected(tmp_path, damaged):
    good = str(write_jsonl(tmp_path / "a.jsonl", ["one"]))
    plan = make_plan([good, *damaged], Settings())
    items = sum(read_items(plan), [])
    rejects = [item for item in items if isinstance(item, Reject)]
    assert [item.reason for item in rejects] == ["damaged file"] * 3
    assert [item.id for item in rejects] == damaged
    # The documents to count in a progress bar
    assert len(items) == sum(shard.n_docs for shard in plan.shards)


def test_documents_before_the_damage_are_read(damaged):
    plan = make_plan(damaged[:1], Settings())
    items = sum(read_items(plan), [])
    documents = [item for item in items if isinstance(item, Document)]
    assert len(documents) == len(items) - 1 > 20_000
    assert all(shard.n_docs <= 1000 for shard in plan.shards[:-1])
    assert [item.text for item in documents[:3]] == ["0", "7919", "15838"]


def test_input_without_a_document_is_an_error(damaged):
    with pytest.raises(WeltError, match="neither PubMed"):
        make_plan(damaged[1:2], Settings())
