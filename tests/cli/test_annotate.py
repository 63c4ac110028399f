"""`spacy welt annotate`: errors in one line, and its messages."""

import pytest

from ..factories import run_command
from ..factories.annotation import make_pipeline, read_output, write_jsonl


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("annotate")
    make_pipeline(folder / "rules")
    make_pipeline(folder / "other", "other")
    write_jsonl(folder / "in.jsonl", ["aspirin", "nausea", "x" * 100])
    (folder / "notes.csv").write_text("note,number\nNausea and nausea,7\n")
    return folder


def run(place, *arguments):
    words = [str(place / a) if (place / a).exists() else a for a in arguments]
    return run_command("annotate", *words)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["none", "in.jsonl", "OUT"], "none: there is no such folder"),
        (["rules", "none.jsonl", "OUT"], "none.jsonl: there is no such file or folder"),
        (["rules", "in.jsonl", "OUT", "--format", "docx"], "use one of jsonl"),
        (["rules", "in.jsonl", "OUT", "--shard", "5/4"], "is not a shard"),
        (["rules", "in.jsonl", "OUT", "--engine", "dask"], "use local or ray"),
        (
            ["rules", "in.jsonl", "OUT", "--engine", "ray", "--shard", "1/2"],
            "leave out --shard",
        ),
        (["rules", "in.jsonl", "OUT", "--pipeline", "rules"], "be distinguished"),
        (["rules", "in.jsonl", "OUT", "-P", "other", "-f", "spacy"], "one pipeline"),
        (["rules", "notes.csv", "OUT"], "no column 'text' (note, number)"),
        (["rules", "in.jsonl", "in.jsonl", "OUT"], "is named twice"),
        (["rules", "in.jsonl", "in.jsonl"], "is a file. Name a folder"),
    ],
)
def test_errors(place, tmp_path, arguments, message):
    words = [str(tmp_path / "out") if word == "OUT" else word for word in arguments]
    result = run(place, *words)
    assert result.exit_code == 1 and message in result.stderr, result.output
    assert result.stderr.count("✘") == 1 and "Traceback" not in result.output
    assert not (tmp_path / "out" / "plan.jsonl").exists()


def test_a_gpu_that_does_not_exist(place, tmp_path):
    result = run(place, "rules", "in.jsonl", str(tmp_path / "out"), "--gpu-id", "7")
    assert result.exit_code == 1 and "GPU 7 can't be used" in result.stderr


def test_columns_and_two_pipelines(place, tmp_path):
    output = tmp_path / "out"
    result = run(
        *(place, "rules", "notes.csv", str(output), "--pipeline", "other", "--text"),
        *("--text-column", "note", "--id-column", "number", "--report"),
    )
    assert result.exit_code == 0, result.output
    assert "1 documents, 3 words, 2 entities" in result.stdout
    assert (output / "report.html").is_file()
    (row,) = read_output(output)
    assert (row["id"], row["text"]) == ("7", "Nausea and nausea")
    names = {ent["pipeline"] for ent in row["entities"]}
    assert names == {"en_rules-0.0.0", "en_other-0.0.0"}


def test_rejects_have_an_exit_status(place, tmp_path):
    arguments = place, "rules", "in.jsonl", str(tmp_path / "out"), "--max-chars", "50"
    result = run(*arguments)
    assert result.exit_code == 3 and "1 x too long" in result.stdout
    # Finished already: nothing is annotated, the limit is checked
    result = run(*arguments, "--max-errors", "0")
    assert result.exit_code == 1 and "more than --max-errors 0" in result.stderr


def test_a_shard_of_two(place, tmp_path):
    arguments = place, "rules", "in.jsonl", str(tmp_path / "out"), "--shard-docs", "1"
    result = run(*arguments, "--shard", "2/2")
    assert result.exit_code == 0
    assert "shard 2/2 is done; 2 files of other shards are missing" in result.stdout


def test_a_damaged_file_is_a_document_of_the_progress(place, tmp_path):
    # "2 of 1 documents, left: -1:59:58"
    (tmp_path / "folder").mkdir()
    write_jsonl(tmp_path / "folder" / "a.jsonl", ["aspirin"])
    (tmp_path / "folder" / "b.xml").write_text("<html/>")
    result = run(place, "rules", str(tmp_path / "folder"), str(tmp_path / "out"))
    assert result.exit_code == 3
    assert "2 of 2 documents, 1 rejected" in result.stderr
    assert "left: 0:00:00" in result.stderr
