"""Files are whole or not there, and nothing but a file is replaced."""

import multiprocessing
import os
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from welt_spacy.errors import WeltError
from welt_spacy.util.files import (
    Busy,
    exclusive_lock,
    pack_folder,
    partial_path,
    remove_partial,
    replace_dir,
    unpack_folder,
    write_atomically,
)


def test_a_link_is_followed(tmp_path):
    (tmp_path / "real.json").write_text("{}")
    (tmp_path / "link.json").symlink_to("real.json")
    write_atomically(tmp_path / "link.json", "[1]")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_text() == "[1]"
    (tmp_path / "ahead").symlink_to(tmp_path / "made" / "new.txt")
    write_atomically(tmp_path / "ahead", "new")
    assert (tmp_path / "made" / "new.txt").read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == ["ahead", "link.json", "made", "real.json"]


def test_pipes_and_devices_are_written_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_atomically(pipe, "through")
    reader.join(10)
    assert got == [b"through"] and stat.S_ISFIFO(pipe.stat().st_mode)
    write_atomically(os.devnull, "gone")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_permissions(tmp_path):
    new, old = tmp_path / "new", tmp_path / "old"
    old.write_text("x")
    old.chmod(0o600)
    umask = os.umask(0o022)
    try:
        for path in (new, old):
            write_atomically(path, "y")
    finally:
        os.umask(umask)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (new, old)] == [0o644, 0o600]


def test_what_can_not_be_written_is_told_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "below", tmp_path):
        with pytest.raises(WeltError, match="can't write this file"):
            write_atomically(path, "y")
    assert os.listdir(tmp_path) == ["file"]


def test_one_writer_at_a_time(tmp_path):
    with exclusive_lock(tmp_path / "x"):
        with (
            pytest.raises(Busy, match="writes here"),
            exclusive_lock(tmp_path / "x"),
        ):
            pass
        with exclusive_lock(tmp_path / "y"):
            pass
        process = multiprocessing.get_context("spawn").Process(
            target=_write, args=(tmp_path / "x",)
        )
        process.start()
        process.join()
        assert process.exitcode == 7
    with exclusive_lock(tmp_path / "x"):
        pass
    assert os.listdir(tmp_path) == []


def _write(path):
    try:
        with exclusive_lock(path):
            pass
    except Busy:
        sys.exit(7)


def test_a_lock_ends_with_its_process(tmp_path):
    code = (
        "import sys, time; from pathlib import Path\n"
        "from welt_spacy.util.files import exclusive_lock\n"
        "with exclusive_lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(99)"
    )
    held = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "x"], stdout=subprocess.PIPE
    )
    assert held.stdout is not None and held.stdout.readline() == b"held\n"
    with pytest.raises(Busy), exclusive_lock(tmp_path / "x"):
        pass
    held.kill()
    held.wait()
    with exclusive_lock(tmp_path / "x"):
        pass


def test_a_writer_waits_for_another(tmp_path):
    held, release = threading.Event(), threading.Event()

    def hold():
        with exclusive_lock(tmp_path / "x"):
            held.set()
            release.wait()

    with ThreadPoolExecutor() as pool:
        holder = pool.submit(hold)
        held.wait()
        with pytest.raises(Busy), exclusive_lock(tmp_path / "x"):
            pass
        threading.Timer(0.1, release.set).start()
        with exclusive_lock(tmp_path / "x", wait=600):
            pass
        holder.result()


def test_a_lock_file_that_was_unlinked_locks_nothing(tmp_path, monkeypatch):
    """Release a lock after a waiter has opened its file, which is then unlinked."""
    fcntl = pytest.importorskip("fcntl")
    holder = exclusive_lock(tmp_path / "x")
    holder.__enter__()
    flock, waits = fcntl.flock, [True]

    def release_first(fd, operation):
        if operation & fcntl.LOCK_EX and waits:
            waits.clear()
            holder.__exit__(None, None, None)
        return flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", release_first)
    with exclusive_lock(tmp_path / "x", wait=60):
        assert not waits and os.listdir(tmp_path) == [".x.lock"]
        with pytest.raises(Busy), exclusive_lock(tmp_path / "x"):
            pass


def test_only_unfinished_files_are_deleted(tmp_path):
    """Keep hidden files of others, because the folder is chosen by the user."""
    others = [
        ".git",
        ".DS_Store",
        ".run.welt-xyz",
        ".run.welt-new",
        "x.welt-0123456789ab",
    ]
    for name in others:
        (tmp_path / name).mkdir()
    half = [partial_path(tmp_path / name) for name in ("a", "b" * 150)]
    half[0].write_text("x")
    half[1].mkdir()
    (half[1] / "file").write_text("x")
    assert half[0] != partial_path(tmp_path / "a")
    remove_partial(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(others)
    remove_partial(tmp_path / "none")


def test_a_folder_that_is_there_is_replaced(tmp_path):
    for content in "ab":
        work = partial_path(tmp_path / "run")
        work.mkdir()
        (work / "file").write_text(content)
        replace_dir(work, tmp_path / "run")
        assert (tmp_path / "run/file").read_text() == content
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    with pytest.raises(OSError):
        replace_dir(tmp_path / "none", tmp_path / "run")


def test_folders_are_packed_with_subfolders(tmp_path):
    files = {"config.json": b"{}", "model/chat_templates/default.jinja": b"text"}
    unpack_folder(files, tmp_path / "a")
    assert pack_folder(tmp_path / "a") == files


@pytest.mark.parametrize(
    "name",
    [
        "../evil.txt",
        "/evil.txt",
        "model/../../evil.txt",
        "C:\\evil.txt",
        "..\\evil.txt",
        "",
    ],
)
def test_no_packed_file_leaves_its_folder(name, tmp_path):
    with pytest.raises(WeltError, match="outside of its folder"):
        unpack_folder({"config.json": b"{}", name: b"evil"}, tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
