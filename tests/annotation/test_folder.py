"""The output folder: what it refuses, and what it repairs."""

import pytest

from welt_spacy.annotation.folder import AnnotationFolder, read_name
from welt_spacy.annotation.report import summarize
from welt_spacy.annotation.shards import annotate_shard, list_done, read_record
from welt_spacy.annotation.worker import load_pipelines
from welt_spacy.errors import WeltError
from welt_spacy.util.files import Busy

from ..factories.annotation import (
    annotate_serially,
    make_job,
    make_pipeline,
    make_texts,
    read_data,
    write_jsonl,
)


@pytest.fixture
def pipeline(tmp_path):
    return make_pipeline(tmp_path / "rules")


@pytest.fixture
def source(tmp_path):
    return write_jsonl(tmp_path / "in.jsonl", make_texts(50))


@pytest.fixture
def job(tmp_path, pipeline):
    return make_job(tmp_path / "out", pipeline, shard_docs=10)


@pytest.fixture
def open_folder(job, source):
    """Open the output folder of the job."""
    return lambda **options: AnnotationFolder(job, [str(source)], **options)


def replace_middle(path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content and len(old) == len(new)
    path.write_bytes(content.replace(old, new))


def test_a_second_driver_is_refused(open_folder):
    with (
        open_folder(),
        pytest.raises(Busy, match="give each process a --shard"),
        open_folder(),
    ):
        pass


@pytest.mark.parametrize("other", [None, "1/2", "2/3"])
def test_drivers_that_would_share_shards_are_refused(open_folder, other):
    with (
        open_folder(shard="1/2"),
        pytest.raises(Busy, match="another process"),
        open_folder(shard=other),
    ):
        pass


def test_drivers_of_other_shards_are_not_refused(open_folder):
    with open_folder(shard="1/2") as a, open_folder(shard="2/2") as b:
        names = [shard.name for shard in (*a.pending, *b.pending)]
        assert sorted(names) == [shard.name for shard in a.plan.shards]


def test_a_power_cut_leaves_a_folder_that_is_not_refused(job, source, open_folder):
    annotate_serially(job, [source])
    expected = read_data(job.output)
    # Locks of processes that ended, files that were not written to the disk
    for name in (".welt.json.lock", ".shard-1-of-1.lock", ".shard-2-of-3.lock"):
        (job.output / name).touch()
    a, b, c = sorted((job.output / "manifest").iterdir())[:3]
    a.write_bytes(b"")
    b.write_bytes(b.read_bytes()[:20])
    (job.output / "data" / f"{c.stem}.jsonl").write_bytes(b"")
    (job.output / "plan.jsonl").write_bytes(b"\0" * 100)
    (job.output / "data" / ".x.jsonl.welt-0123456789ab").write_bytes(b"half")
    with open_folder() as folder:
        assert len(folder.pending) == 3
    annotate_serially(job, [source])
    assert read_data(job.output) == expected


def test_changed_data_are_annotated_again(job, source, open_folder):
    annotate_serially(job, [source])
    expected = read_data(job.output)
    one, two, three = sorted((job.output / "data").iterdir())[:3]
    one.unlink()
    two.write_bytes(two.read_bytes()[:-1])
    replace_middle(three, b"aspirin", b"ASPIRIN")
    with open_folder() as folder:
        assert [shard.name for shard in folder.pending] == [
            path.stem for path in (one, two, three)
        ]
    annotate_serially(job, [source])
    assert read_data(job.output) == expected


def test_input_that_was_changed_in_the_middle_is_refused(job, tmp_path):
    # Larger than the beginning and end that were compared before
    source = write_jsonl(tmp_path / "big.jsonl", make_texts(5000))
    annotate_serially(job, [source])
    replace_middle(source, b"Doc 2500", b"Dot 2500")
    with pytest.raises(WeltError, match="big.jsonl differ"):
        annotate_serially(job, [source])


def test_a_pipeline_that_was_changed_in_the_middle_is_refused(job, pipeline, source):
    annotate_serially(job, [source])
    path = pipeline / "vocab" / "strings.json"
    replace_middle(path, b"aspirin", b"Aspirin")
    with pytest.raises(WeltError, match="files.pipeline 1 differ"):
        annotate_serially(job, [source])


def test_input_that_changes_during_the_run_is_an_error(job, source, open_folder):
    pipelines = load_pipelines(job)
    with open_folder() as folder:
        for shard in folder.pending:
            annotate_shard(job, shard, pipelines)
        replace_middle(source, b"Doc 30", b"Dot 30")
        with pytest.raises(WeltError, match="changed while it was in use"):
            folder.finish()
    assert not (job.output / "summary.json").exists()


@pytest.mark.parametrize(
    "settings", [{"format": "parquet"}, {"max_chars": 7}, {"shard_docs": 9}]
)
def test_other_settings_are_refused(job, tmp_path, pipeline, source, settings):
    annotate_serially(job, [source])
    other = make_job(job.output, pipeline, **{"shard_docs": 10, **settings})
    with pytest.raises(WeltError, match=f"settings.{next(iter(settings))}"):
        annotate_serially(other, [source])


def test_other_input_is_refused(job, tmp_path, source):
    annotate_serially(job, [source])
    more = write_jsonl(tmp_path / "more.jsonl", ["one"])
    with pytest.raises(WeltError, match="settings.inputs"):
        annotate_serially(job, [source, more])


def test_a_pipeline_may_be_moved(job, tmp_path, source):
    annotate_serially(job, [source])
    moved = make_pipeline(tmp_path / "moved")
    annotate_serially(make_job(job.output, moved, shard_docs=10), [source])


def test_input_that_cannot_be_read_leaves_nothing(tmp_path, job, open_folder):
    bad = tmp_path / "bad.xml"
    bad.write_text("<html/>")
    with pytest.raises(WeltError, match="neither PubMed"):
        annotate_serially(job, [bad])
    with open_folder() as folder:
        assert len(folder.pending) == 5


@pytest.mark.parametrize("name", ["thesis.txt", "plan.jsonl", "data"])
def test_files_of_others_are_left_alone(job, open_folder, name):
    job.output.mkdir()
    (job.output / name).write_text("precious")
    with pytest.raises(WeltError, match="did not write this"), open_folder():
        pass
    visible = [p.name for p in job.output.iterdir() if p.name[0] != "."]
    assert visible == [name]
    assert (job.output / name).read_text() == "precious"


def test_a_file_in_place_of_the_folder(job, open_folder):
    job.output.touch()
    with pytest.raises(WeltError, match="is a file"), open_folder():
        pass


def test_an_unfinished_summary(job, open_folder):
    with open_folder(shard="1/2") as folder:
        pipelines = load_pipelines(job)
        for shard in folder.pending:
            annotate_shard(job, shard, pipelines)
        summary = folder.finish()
    assert (summary.shards, summary.missing, summary.docs) == (5, 2, 30)
    assert not (job.output / "summary.json").exists()


def test_summary_of_all_records(job, source, open_folder):
    total = annotate_serially(job, [source])
    with open_folder() as folder:
        records = [read_record(job.output, name) for name in list_done(job.output)]
        names = [read_name(model) for model in job.models]
        assert summarize(folder.plan, names, records) == total
    assert sum(total.labels.values()) == total.entities > 0
    assert list(total.names) == ["Chemical", "Disease", "Symbol"]


def test_names_of_pipelines(tmp_path, pipeline):
    assert read_name(str(pipeline)) == "en_rules-0.0.0"
    with pytest.raises(WeltError, match="no such pipeline is installed"):
        read_name(str(tmp_path / "en_none"))


def test_an_address_with_other_content_is_refused(job):
    """Change what is at an address between two runs of one process."""
    fsspec = pytest.importorskip("fsspec")
    address = "memory://annotation/in.txt"
    for text, expected in (
        ("zinc\n", None),
        ("lead\n", "files.memory://annotation/in.txt"),
    ):
        with fsspec.open(address, "w") as file:
            file.write(text)
        folder = AnnotationFolder(job, [address])
        if expected is None:
            with folder:
                pass
        else:
            with pytest.raises(WeltError, match=expected), folder:
                pass
