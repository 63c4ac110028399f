"""Single shards: documents that a pipeline fails on, and repetition."""

import pytest
import spacy
from spacy.language import Language

from welt_spacy.annotation.annotator import Pipeline, Pipelines
from welt_spacy.annotation.plan import make_plan
from welt_spacy.annotation.shards import (
    annotate_shard,
    is_intact,
    list_done,
    read_record,
    read_shard,
)
from welt_spacy.annotation.worker import load_pipelines
from welt_spacy.errors import WeltError
from welt_spacy.formats.writers import WRITERS

from ..factories.annotation import (
    make_job,
    make_pipeline,
    make_texts,
    read_data,
    read_output,
    read_rejects,
    write_jsonl,
)


@Language.component("fails_on_bad")
def fails_on_bad(doc):
    if "bad" in doc.text:
        raise RuntimeError("unknown error\nsecond line")
    return doc


@pytest.fixture
def failing():
    nlp = spacy.blank("en")
    nlp.add_pipe("fails_on_bad")
    return Pipelines([Pipeline("en_failing-1", nlp)])


def plan_shards(tmp_path, texts, **settings):
    """Return a job for texts and its shards."""
    path = write_jsonl(tmp_path / "a.jsonl", texts)
    job = make_job(tmp_path / "out", make_pipeline(tmp_path / "rules"), **settings)
    return job, make_plan([str(path)], job.settings).shards


def test_a_text_that_the_pipeline_fails_on_is_rejected(tmp_path, failing):
    texts = ["good", "bad", "good too"]
    job, (shard,) = plan_shards(tmp_path, texts, with_text=True)
    record = annotate_shard(job, shard, failing)
    assert (record.docs, record.rejects) == (2, 1)
    (reject,) = read_rejects(job.output)
    assert reject["id"] == "1" and reject["reason"] == "pipeline failed"
    assert reject["message"] == "en_failing-1: RuntimeError: unknown error"
    assert [row["text"] for row in read_output(job.output)] == ["good", "good too"]


def test_a_pipeline_that_fails_on_every_text_is_an_error(tmp_path, failing):
    job, (shard,) = plan_shards(tmp_path, ["bad"] * 50)
    with pytest.raises(WeltError, match="fails on every text"):
        annotate_shard(job, shard, failing)
    assert not list_done(job.output) and not list((job.output / "data").iterdir())


@pytest.mark.parametrize("format_", WRITERS)
def test_a_shard_annotated_twice_has_the_same_bytes(tmp_path, format_):
    job, (shard,) = plan_shards(tmp_path, make_texts(30), format=format_)
    pipelines = load_pipelines(job)
    record = annotate_shard(job, shard, pipelines)
    data = read_data(job.output)
    again = annotate_shard(job, shard, pipelines)
    assert again.sha256 == record.sha256 and read_data(job.output) == data
    assert again == read_record(job.output, shard.name)
    assert is_intact(job.output, again)


def test_progress_is_reported(tmp_path):
    job, (shard,) = plan_shards(tmp_path, make_texts(900), max_chars=1000)
    reports = []
    annotate_shard(job, shard, load_pipelines(job), reports.append)
    assert [progress.docs for progress in reports] == [500, 900]
    assert reports[-1].words > 5 * 900


def test_a_shard_with_fewer_documents_than_planned_is_an_error(tmp_path):
    job, (shard,) = plan_shards(tmp_path, ["one", "two"])
    write_jsonl(tmp_path / "a.jsonl", ["one"])
    with pytest.raises(WeltError, match="fewer documents"):
        list(read_shard(job, shard))
