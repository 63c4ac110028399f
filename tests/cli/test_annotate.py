"""`spacy welt annotate`: mistakes in one line, and what it prints."""

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
    "arguments, told",
    [
        (["none", "in.jsonl", "OUT"], "none: there is no such folder"),
        (["rules", "none.jsonl", "OUT"], "none.jsonl: there is no such file or folder"),
        (["rules", "in.jsonl", "OUT", "--format", "docx"], "use one of jsonl"),
        (["rules", "in.jsonl", "OUT", "--shard", "5/4"], "is not a part such as"),
        (["rules", "in.jsonl", "OUT", "--engine", "dask"], "use local or ray"),
        (
            ["rules", "in.jsonl", "OUT", "--engine", "ray", "--claim"],
            "leave out --claim",
        ),
        (["rules", "in.jsonl", "OUT", "--also", "rules"], "could not be told apart"),
        (["rules", "in.jsonl", "OUT", "-a", "other", "-f", "spacy"], "one pipeline"),
        (["rules", "notes.csv", "OUT"], "no column 'text' (note, number)"),
        (["rules", "in.jsonl", "in.jsonl", "OUT"], "is named twice"),
        (["rules", "in.jsonl", "in.jsonl"], "is a file: name a folder"),
    ],
)
def test_mistakes(place, tmp_path, arguments, told):
    words = [str(tmp_path / "out") if word == "OUT" else word for word in arguments]
    found = run(place, *words)
    assert found.exit_code == 1 and told in found.stderr, found.output
    assert found.stderr.count("✘") == 1 and "Traceback" not in found.output
    assert not (tmp_path / "out" / "plan.json").exists()


def test_a_gpu_that_is_not_there(place, tmp_path):
    found = run(place, "rules", "in.jsonl", str(tmp_path / "out"), "--gpu-id", "7")
    assert found.exit_code == 1 and "GPU 7 can't be used" in found.stderr


def test_columns_two_pipelines_and_the_status(place, tmp_path):
    output = tmp_path / "out"
    found = run(
        *(place, "rules", "notes.csv", str(output), "--also", "other", "--text"),
        *("--text-column", "note", "--id-column", "number"),
    )
    assert found.exit_code == 0, found.output
    assert "1 documents, 3 words, 2 entities" in found.stdout
    (row,) = read_output(output)
    assert (row["id"], row["text"]) == ("7", "Nausea and nausea")
    assert {ent["pipeline"] for ent in row["entities"]} == {
        "en_rules-0.0.0",
        "en_other-0.0.0",
    }
    refused = run(
        *(place, "rules", "in.jsonl", str(tmp_path / "out2"), "--max-chars", "50")
    )
    assert refused.exit_code == 3 and "1 x too long" in refused.stdout
    ended = run(
        *(place, "rules", "in.jsonl", str(tmp_path / "out3"), "--max-chars", "50"),
        *("--max-errors", "0"),
    )
    assert ended.exit_code == 1 and "more than --max-errors 0" in ended.stderr
