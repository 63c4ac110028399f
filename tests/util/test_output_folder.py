"""Output folders are recognised, compared and replaced; nothing of others is lost."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from welt_spacy.errors import WeltError
from welt_spacy.util.files import Busy, partial_path
from welt_spacy.util.fingerprint import Fingerprint
from welt_spacy.util.output_folder import (
    RECORD,
    OutputFolder,
    recover,
    replace_folder,
    replaced,
)

COMMAND = "spacy welt test"
A = Fingerprint({"steps": 1}, {"train": "0"}, {"python": "3"})
B = Fingerprint({"steps": 2}, {"train": "1"}, {"python": "3"})


def write(path, fingerprint=A, names=("x.txt", "sub/y.txt"), summary=None, **options):
    with OutputFolder(path, COMMAND) as folder:
        folder.start(fingerprint, **options)
        for name in names:
            folder.add(name, f"{name} {fingerprint.settings}")
        folder.finish(summary)


def is_current(path, fingerprint=A):
    return OutputFolder(path, COMMAND).is_current(fingerprint)


def tree(path):
    """Read all visible files and links."""
    return {
        str(p.relative_to(path)): p.read_bytes()
        for p in sorted(path.rglob("*"))
        if p.is_file() and p.name[0] != "."
    }


def test_a_finished_folder_is_current(tmp_path):
    assert not is_current(tmp_path / "out")
    write(tmp_path / "out", summary={"docs": 5})
    folder = OutputFolder(tmp_path / "out", COMMAND)
    assert folder.is_current(A) and not folder.is_current(B)
    assert folder.fingerprint == A and folder.summary == {"docs": 5}
    assert set(folder.outputs) == {"x.txt", "sub/y.txt"}
    assert set(tree(tmp_path)) == {"out/x.txt", "out/sub/y.txt", f"out/{RECORD}"}


@pytest.mark.parametrize("damage", ["changed", "missing", "record"])
def test_a_damaged_folder_is_not_current(tmp_path, damage):
    write(tmp_path)
    if damage == "missing":
        (tmp_path / "x.txt").unlink()
    elif damage == "changed":
        content = (tmp_path / "x.txt").read_bytes()
        (tmp_path / "x.txt").write_bytes(content[:-1] + b"?")
    else:
        (tmp_path / RECORD).write_text((tmp_path / RECORD).read_text()[:-20])
    assert not is_current(tmp_path)


def test_a_damaged_output_is_written_again(tmp_path):
    write(tmp_path)
    (tmp_path / "x.txt").write_text("damaged")
    with OutputFolder(tmp_path, COMMAND) as folder:
        folder.start(A)
        assert folder.has("sub/y.txt") and not folder.has("x.txt")
    write(tmp_path)
    assert is_current(tmp_path)


def test_work_goes_on_where_it_ended(tmp_path):
    with pytest.raises(KeyboardInterrupt), OutputFolder(tmp_path, COMMAND) as folder:
        folder.start(A)
        folder.add("0", "first")
        raise KeyboardInterrupt
    assert not is_current(tmp_path)
    with OutputFolder(tmp_path, COMMAND) as folder:
        folder.start(A, restart=False)
        assert folder.has("0") and not folder.has("1")
        folder.add("1", "second")
        folder.finish()
    assert is_current(tmp_path)


def test_work_of_another_fingerprint_starts_anew(tmp_path):
    write(tmp_path, names=["0", "1", "2"])
    with OutputFolder(tmp_path, COMMAND) as folder:
        folder.start(B)
        assert not folder.has("0")
        folder.add("0", "new")
        folder.finish()
    assert is_current(tmp_path, B) and not is_current(tmp_path, A)
    assert set(tree(tmp_path)) == {
        "0",
        RECORD,
    }  # outputs of the earlier work are deleted


def test_the_differences_are_named_where_work_does_not_start_anew(tmp_path):
    write(tmp_path)
    before = tree(tmp_path)
    message = r"files.train, settings.steps differ\). Use another output folder"
    with pytest.raises(WeltError, match=message):
        write(tmp_path, B, restart=False)
    assert tree(tmp_path) == before


def test_files_of_others_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("precious")
    (tmp_path / ".hidden").write_text("precious")
    write(tmp_path, A)
    write(tmp_path, B, names=["z"])
    assert set(tree(tmp_path)) == {"notes.txt", "z", RECORD}
    assert (tmp_path / ".hidden").exists()


@pytest.mark.parametrize(
    "names, options", [(["x.txt"], {}), ([], {"outputs": ["x.txt"]})]
)
def test_a_file_of_others_is_not_replaced(tmp_path, names, options):
    (tmp_path / "x.txt").write_text("precious")
    with pytest.raises(WeltError, match=r"x.txt: 'spacy welt test' did not write this"):
        write(tmp_path, names=names, **options)
    assert (tmp_path / "x.txt").read_text() == "precious"
    if options:
        write(tmp_path, names=["x.txt"], outputs=["x.txt"], force=True)
        assert is_current(tmp_path)


def test_a_folder_with_files_of_others_can_be_refused(tmp_path):
    write(tmp_path)
    (tmp_path / "notes.txt").write_text("precious")
    with pytest.raises(
        WeltError,
        match=r"notes.txt: .* did not write this, so it is not replaced. Use another output",
    ):
        write(tmp_path, B, exclusive=True)
    (tmp_path / "notes.txt").unlink()
    write(tmp_path, B, exclusive=True)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"command": "spacy welt other"}'])
def test_the_record_of_another_command_is_not_replaced(tmp_path, content):
    (tmp_path / RECORD).write_text(content)
    with pytest.raises(WeltError, match="did not write this"):
        write(tmp_path)
    assert (tmp_path / RECORD).read_text() == content


@given(
    change=st.dictionaries(
        st.sampled_from(["outputs", "fingerprint", "complete", "previous", "summary"]),
        st.sampled_from(
            [None, True, 1, "x", [], [1], {}, {"../precious": "0"}, {"x": 1}]
        )
        | st.just({"/precious": ""})
        | st.just(["../precious"]),
    )
)
def test_no_record_ends_in_a_traceback_or_deletes_elsewhere(tmp_path_factory, change):
    tmp_path = tmp_path_factory.mktemp("folder")
    (tmp_path / "precious").write_text("precious")
    write(tmp_path / "out")
    record = json.loads((tmp_path / "out" / RECORD).read_text())
    (tmp_path / "out" / RECORD).write_text(json.dumps({**record, **change}))
    is_current(tmp_path / "out")
    with contextlib.suppress(WeltError):
        write(tmp_path / "out", B, names=["z"])
    assert (tmp_path / "precious").read_text() == "precious"


def test_nothing_is_deleted_below_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "y.txt").write_text("precious")
    write(tmp_path / "out")
    (tmp_path / "out/sub/y.txt").unlink()
    (tmp_path / "out/sub").rmdir()
    (tmp_path / "out/sub").symlink_to(tmp_path / "elsewhere")
    write(tmp_path / "out", B, names=["z"])
    assert (tmp_path / "elsewhere/y.txt").read_text() == "precious"


def test_the_folder_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and is_current(tmp_path / "real")


def test_a_folder_below_a_folder_that_is_read_only(tmp_path):
    (tmp_path / "out").mkdir()
    code = (
        "import sys; from pathlib import Path\n"
        "from tests.util.test_output_folder import write\n"
        "write(Path(sys.argv[1]))"
    )
    tmp_path.chmod(0o555)
    try:
        if os.access(tmp_path, os.W_OK):  # root may do everything
            pytest.skip("permissions do not hold for this user")
        subprocess.run([sys.executable, "-c", code, tmp_path / "out"], check=True)
        assert is_current(tmp_path / "out")
        with pytest.raises(WeltError, match="can't write here") as err:
            write(tmp_path / "other")
        assert "\n" not in str(err.value)
    finally:
        tmp_path.chmod(0o755)


def test_the_lock_is_in_the_folder(tmp_path):
    """Allow a read-only parent folder."""
    with OutputFolder(tmp_path / "out", COMMAND):
        assert os.listdir(tmp_path) == ["out"]
        assert os.listdir(tmp_path / "out") == [f".{RECORD}.lock"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(WeltError, match="can't write here"):
        write(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "precious"


def test_failed_work_leaves_no_empty_folders(tmp_path):
    with pytest.raises(KeyError), OutputFolder(tmp_path / "a/b", COMMAND):
        raise KeyError
    assert os.listdir(tmp_path) == []


def test_another_process_or_thread_is_busy(tmp_path):
    errors = []

    def run():
        try:
            write(tmp_path / "out")
        except Busy as err:
            errors.append(str(err))

    with OutputFolder(tmp_path / "out", COMMAND):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        code = (
            "import sys; from pathlib import Path\n"
            "from tests.util.test_output_folder import write\n"
            "write(Path(sys.argv[1]))"
        )
        command = [sys.executable, "-c", code, tmp_path / "out"]
        done = subprocess.run(command, capture_output=True, text=True)
    assert len(errors) == 1 and "another process writes here" in errors[0]
    assert "another process writes here" in done.stderr
    write(tmp_path / "out")


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    write(tmp_path)

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(WeltError, match="No space left on device") as err:
        write(tmp_path, B)
    assert "\n" not in str(err.value)
    monkeypatch.undo()
    write(tmp_path, B)
    assert is_current(tmp_path, B)


def test_a_folder_is_an_output_as_a_whole(tmp_path):
    for fingerprint in (A, B):
        with OutputFolder(tmp_path, COMMAND) as folder:
            folder.start(fingerprint)
            with folder.add_folder("model") as new:
                new.mkdir()
                (new / fingerprint.digest).write_text("weights")
            folder.finish()
        assert is_current(tmp_path, fingerprint)
        assert os.listdir(tmp_path / "model") == [fingerprint.digest]
    with pytest.raises(KeyError), OutputFolder(tmp_path, COMMAND) as folder:
        folder.start(A)
        with folder.add_folder("model") as new:
            new.mkdir()
            raise KeyError
    assert os.listdir(tmp_path / "model") == [B.digest]
    (tmp_path / "model" / "more").write_text("x")
    assert not is_current(tmp_path, B)


def test_outputs_that_another_program_writes(tmp_path):
    for steps in (A, B, B):
        with OutputFolder(tmp_path, COMMAND) as folder:
            folder.start(steps, ["model-best", "model-last"])
            (tmp_path / "model-best").mkdir(exist_ok=True)
            (tmp_path / "model-best" / "weights").write_text(steps.digest)
            folder.finish()
        assert is_current(tmp_path, steps)
        assert list(OutputFolder(tmp_path, COMMAND).outputs) == ["model-best"]


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.util.test_output_folder import A, B, COMMAND
from welt_spacy.util.output_folder import OutputFolder

path, last = Path(sys.argv[1]), int(sys.argv[2])
calls = 0
def counting(function):
    def call(*args, **kwargs):
        global calls
        calls += 1
        if calls == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call

for name in ("rename", "replace", "unlink", "rmdir"):
    setattr(os, name, counting(getattr(os, name)))
with OutputFolder(path, COMMAND) as folder:
    folder.start(B)
    folder.add("x.txt", "new")
    with folder.add_folder("model") as new:
        new.mkdir()
        (new / "weights").write_text("new")
    folder.finish()
"""


@pytest.mark.parametrize("last", range(1, 16))
def test_a_killed_writer(tmp_path, last):
    """Kill a process at each rename or deletion; the folder is recognised and never current."""
    out = tmp_path / "out"
    with OutputFolder(out, COMMAND) as folder:
        folder.start(A)
        folder.add("x.txt", "old")
        folder.add("stale.txt", "old")
        with folder.add_folder("model") as new:
            new.mkdir()
            (new / "weights").write_text("old")
        folder.finish()
    done = subprocess.run([sys.executable, "-c", KILLED, out, str(last)])
    if done.returncode == 0:
        assert is_current(out, B)
        return
    assert done.returncode == -signal.SIGKILL
    if is_current(out, A):
        assert (out / "x.txt").read_text() == "old"
    elif is_current(out, B):
        assert (out / "x.txt").read_text() == "new"
    with OutputFolder(out, COMMAND) as folder:
        assert (out / "model/weights").read_text() in ("old", "new")
        folder.start(B)
        folder.add("x.txt", "new")
        with folder.add_folder("model") as new:
            new.mkdir()
            (new / "weights").write_text("new")
        folder.finish()
    assert is_current(out, B)
    assert set(tree(out)) == {"x.txt", "model/weights", RECORD}
    assert not [name for name in os.listdir(out) if ".welt-" in name]


def test_a_whole_folder_is_replaced(tmp_path):
    for content in "ab":
        with replace_folder(tmp_path / "out") as new:
            new.mkdir()
            (new / "x").write_text(content)
    assert tree(tmp_path) == {"out/x": b"b"}

    def check(path):
        raise WeltError("not this one")

    refused = pytest.raises(WeltError, match="not this one")
    with refused, replace_folder(tmp_path / "out", check):
        pass
    assert tree(tmp_path) == {"out/x": b"b"}


def test_a_folder_that_can_not_be_moved_stays(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/x").write_text("old")
    with pytest.raises(WeltError, match="No such file"), replaced(tmp_path / "out"):
        pass  # nothing was written
    assert tree(tmp_path) == {"out/x": b"old"} and os.listdir(tmp_path) == ["out"]


def test_a_folder_between_two_renames_comes_back(tmp_path):
    (tmp_path / ".out.welt-old").mkdir()
    (tmp_path / ".out.welt-old/x").write_text("old")
    (tmp_path / ".out.welt-new").mkdir()
    recover(tmp_path / "out")
    assert tree(tmp_path) == {"out/x": b"old"} and os.listdir(tmp_path) == ["out"]


def test_partial_files_of_others_are_left(tmp_path):
    """Keep partial files of another process that writes to the same folder."""
    write(tmp_path, names=["x.txt"])
    mine, others = partial_path(tmp_path / "x.txt"), partial_path(tmp_path / "z.txt")
    for path in (mine, others):
        path.write_text("partial")
    with OutputFolder(tmp_path, COMMAND):
        assert others.exists() and not mine.exists()
