"""Input cut into shards, the same in every process; later versions of a citation win."""

import gzip
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from welt_spacy.annotation.plan import (
    difference,
    identify,
    make_plan,
    read_plan,
    write_plan,
)
from welt_spacy.annotation.shards import read_shard
from welt_spacy.errors import WeltError
from welt_spacy.formats.documents import Document, Reject

from ..factories import n_examples
from ..factories.annotation import (
    make_pipeline,
    make_settings,
    pubmed,
    pubmed_article,
    write_jsonl,
)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    return make_pipeline(tmp_path_factory.mktemp("model") / "rules")


def texts_of(plan):
    return [[item.text for item in read_shard(plan, shard)] for shard in plan.shards]


def test_shards_are_the_documents_in_their_order(tmp_path, pipeline):
    files = [
        str(write_jsonl(tmp_path / name, [f"{name} {i}" for i in range(n)]))
        for name, n in (
            ("a.jsonl", 7),
            ("b.jsonl.gz", 2),
            ("c.jsonl", 4),
            ("d.jsonl", 1),
        )
    ]
    plan = make_plan(files, make_settings(pipeline, shard_docs=3))
    assert plan.counts["documents"] == 14
    # Whole shards of a file, and the ends of files together
    assert [shard.name for shard in plan.shards] == [
        "000000-a",
        "000001-a",
        "000002-a",
        "000003-c",
        "000004-c",
    ]
    found = texts_of(plan)
    assert found[2] == ["a.jsonl 6", "b.jsonl.gz 0", "b.jsonl.gz 1"]
    assert found[4] == ["c.jsonl 3", "d.jsonl 0"]
    assert sorted(text for texts in found for text in texts) == sorted(
        f"{name} {i}"
        for name, n in (
            ("a.jsonl", 7),
            ("b.jsonl.gz", 2),
            ("c.jsonl", 4),
            ("d.jsonl", 1),
        )
        for i in range(n)
    )
    write_plan(plan, tmp_path / "out")
    assert read_plan(tmp_path / "out") == plan
    many = make_plan(files, make_settings(pipeline, shard_docs=3), processes=2)
    assert many == plan


def test_what_was_planned_is_what_is_annotated(tmp_path, pipeline):
    path = write_jsonl(tmp_path / "a.jsonl", ["one", "two"])
    settings_ = make_settings(pipeline)
    folder = tmp_path / "out"
    write_plan(make_plan([str(path)], settings_), folder)
    assert difference(folder, settings_, [str(path)]) == ""
    moved = make_pipeline(tmp_path / "moved")
    assert difference(folder, make_settings(moved), [str(path)]) == ""
    other = make_pipeline(tmp_path / "other", patterns=[{"label": "X", "pattern": "x"}])
    for told, settings_2, files in (
        ("format was", settings_._replace(format="parquet"), [str(path)]),
        ("max chars was", settings_._replace(max_chars=7), [str(path)]),
        ("pipelines was", make_settings(other), [str(path)]),
        ("the input has changed", settings_, [str(path), str(path)]),
    ):
        assert told in difference(folder, settings_2, files)
    write_jsonl(path, ["one", "2"])
    assert "the input has changed" in difference(folder, settings_, [str(path)])
    # A shard that finds fewer documents than were planned does not go on silently
    write_jsonl(path, ["one"])
    with pytest.raises(WeltError, match="fewer documents"):
        list(read_shard(read_plan(folder), read_plan(folder).shards[0]))


def test_a_plan_that_was_changed_is_not_used(tmp_path, pipeline):
    path = write_jsonl(tmp_path / "a.jsonl", ["one", "two"])
    write_plan(make_plan([str(path)], make_settings(pipeline)), tmp_path)
    shards = tmp_path / "shards.jsonl"
    shards.write_bytes(shards.read_bytes().replace(b"2, []", b"1, []"))
    with pytest.raises(WeltError, match="was changed"):
        read_plan(tmp_path)
    for content in (b"", b"{}", b"[]", b'{"checksum": 1}'):
        (tmp_path / "plan.json").write_bytes(content)
        with pytest.raises(WeltError):
            read_plan(tmp_path)


def test_the_last_version_of_a_citation_wins(tmp_path, pipeline):
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
    files = [str(tmp_path / name) for name in ("n0001.xml", "n0002.xml.gz")]
    for size in (1, 2, 100):
        plan = make_plan(files, make_settings(pipeline, shard_docs=size))
        found = sorted(text for texts in texts_of(plan) for text in texts)
        assert found == ["five", "new one", "three, version 2", "two"]
        assert plan.counts == {"documents": 8, "replaced": 3, "deleted": 1}
        assert sum(shard.n_docs for shard in plan.shards) == 4
    # In the other order the citation comes back after it was deleted
    plan = make_plan(files[::-1], make_settings(pipeline))
    assert "four, to be deleted" in sum(texts_of(plan), [])
    assert "old one" in sum(texts_of(plan), [])


@settings(max_examples=n_examples(60))
@given(st.data())
def test_versions_against_a_plain_loop(tmp_path_factory, pipeline, data):
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
    plan = make_plan(files, make_settings(pipeline, shard_docs=rng.randint(1, 4)))
    found = sorted(text for texts in texts_of(plan) for text in texts)
    assert found == sorted(text for _, text in latest.values())


def test_damaged_files_are_told_of(tmp_path, pipeline):
    good = write_jsonl(tmp_path / "a.jsonl", ["one"])
    lines = [b'{"text": "%d"}\n' % (i * 7919 % 100_003) for i in range(100_000)]
    whole = gzip.compress(b"".join(lines))
    (tmp_path / "b.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "c.xml").write_text("<html/>")
    (tmp_path / "d.txt").write_text("\n")
    files = [
        str(good),
        *(str(tmp_path / name) for name in ("b.jsonl.gz", "c.xml", "d.txt")),
    ]
    plan = make_plan(files, make_settings(pipeline))
    items = [item for shard in plan.shards for item in read_shard(plan, shard)]
    rejects = [item for item in items if isinstance(item, Reject)]
    assert [item.reason for item in rejects] == ["damaged file"] * 3
    assert [item.id for item in rejects] == files[1:]
    # What comes before the damage is annotated, the same by every shard
    n = len(items) - len(rejects)
    assert n > 20_000 and all(shard.n_docs <= 1000 for shard in plan.shards[:-1])
    assert [i.text for i in items if isinstance(i, Document)][:3] == [
        "0",
        "7919",
        "15838",
    ]
    with pytest.raises(WeltError, match="neither PubMed"):
        make_plan(files[2:3], make_settings(pipeline))


def test_identify(tmp_path, pipeline):
    told = identify(pipeline)
    assert told["name"] == "en_rules-0.0.0" and told["place"] == str(pipeline)
    same = make_pipeline(tmp_path / "same")
    assert identify(same)["checksum"] == told["checksum"]
    with pytest.raises(WeltError, match="no such pipeline is installed"):
        identify(tmp_path / "en_none")
