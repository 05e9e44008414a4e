from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from maseg_nnunet.errors import OutputError
from maseg_nnunet.serving.spool import Spool, SpoolFullError


def _names(spool: Spool, folder: str) -> list[str]:
    return sorted(path.name for path in (spool.folder / folder).iterdir())


def _queued(queue: object) -> list[str]:
    return [queue.get_nowait() for _ in range(queue.qsize())]


def _die(spool: Spool) -> None:
    """Release the lock, as the operating system does for a process that was killed."""
    spool.__exit__(None, None, None)


def test_a_file_passes_from_folder_to_folder(tmp_path: Path) -> None:
    with Spool(tmp_path / "spool") as spool:
        name = spool.store(b"image")
        assert _names(spool, "received") == [name]
        assert _queued(spool.received) == [name]
        source, target = spool.begin(name)
        assert source.read_bytes() == b"image"
        assert _names(spool, "received") == []
        target.write_bytes(b"result")
        spool.finish(name)
        assert _names(spool, "working") == []
        assert _queued(spool.ready) == [name]
        assert spool.result(name).read_bytes() == b"result"
        spool.sent(name)
        assert spool.waiting() == 0
        assert [_names(spool, folder) for folder in ("received", "working", "ready", "failed")] == [[], [], [], []]


def test_only_the_owner_can_look_in(tmp_path: Path) -> None:
    with Spool(tmp_path / "spool") as spool:
        for folder in (spool.folder, *spool.folder.glob("*/")):
            if folder.is_dir():
                assert folder.stat().st_mode & 0o077 == 0


def test_bytes_and_name_are_on_the_disk_before_store_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda number: (events.append("fsync"), fsync(number))[1])
    monkeypatch.setattr(Path, "replace", lambda self, to: (events.append("rename"), replace(self, to))[1])
    with Spool(tmp_path / "spool") as spool:
        spool.store(b"image")
    assert events == ["fsync", "rename", "fsync"]


def test_no_more_than_the_limit_wait_in_all_folders_together(tmp_path: Path) -> None:
    with Spool(tmp_path / "spool", limit=3) as spool:
        first, second, _ = (spool.store(b"x") for _ in range(3))
        spool.begin(first)
        spool.begin(second)[1].write_bytes(b"result")
        spool.finish(second)
        with pytest.raises(SpoolFullError, match="3 files"):
            spool.store(b"x")
        spool.sent(second)
        spool.store(b"x")


def test_a_nearly_full_disk_takes_nothing(tmp_path: Path) -> None:
    with Spool(tmp_path / "spool", reserve=1 << 60) as spool, pytest.raises(SpoolFullError, match="disk"):
        spool.store(b"x")


def test_a_disk_error_leaves_nothing_and_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with Spool(tmp_path / "spool", limit=1) as spool:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="No space"):
                spool.store(b"x")
        assert list((tmp_path / "spool" / "received").iterdir()) == []
        assert spool.received.empty()
        spool.store(b"x")


def test_restart_goes_on_with_everything_in_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool").__enter__()
    working, waiting, later, done = (spool.store(b"x") for _ in range(4))
    spool.begin(working)[1].write_bytes(b"half a result")
    spool.begin(done)[1].write_bytes(b"result")
    spool.finish(done)
    (spool.folder / "received" / ".tmp-half").write_bytes(b"half an image")
    _die(spool)
    with Spool(tmp_path / "spool") as again:
        received = _queued(again.received)
        assert [name.split(".")[0] for name in received] == [name.split(".")[0] for name in (working, waiting, later)]
        assert _queued(again.ready) == [done]
        assert not list(again.folder.rglob(".tmp-*"))


def test_a_file_that_the_server_died_of_twice_is_failed(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool").__enter__()
    name = spool.store(b"poison")
    spool.begin(name)
    _die(spool)
    second = Spool(tmp_path / "spool").__enter__()
    (again,) = _queued(second.received)
    second.begin(again)
    _die(second)
    with Spool(tmp_path / "spool") as third:
        assert third.received.empty()
        assert (third.folder / "failed" / name).read_bytes() == b"poison"
        assert "died twice" in (third.folder / "failed" / name).with_suffix(".txt").read_text()


def test_failed_files_keep_a_reason_and_do_not_count(tmp_path: Path) -> None:
    with Spool(tmp_path / "spool") as spool:
        name = spool.store(b"x")
        spool.begin(name)
        spool.fail("working", name, "not a mammogram")
        assert (spool.folder / "failed" / name).with_suffix(".txt").read_text() == "not a mammogram\n"
        assert spool.waiting() == 0


def test_a_dropped_file_leaves_nothing(tmp_path: Path) -> None:
    with Spool(tmp_path / "spool") as spool:
        name = spool.store(b"x")
        spool.begin(name)
        spool.drop(name)
        assert spool.waiting() == 0
        assert not list((spool.folder / "failed").iterdir())


def test_a_file_that_is_put_back_is_received_once_more(tmp_path: Path) -> None:
    with Spool(tmp_path / "spool") as spool:
        name = spool.store(b"x")
        spool.begin(name)
        spool.put_back(name)
        assert (spool.folder / "received" / name).read_bytes() == b"x"
        assert spool.waiting() == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no file locks")
def test_one_process_at_a_time(tmp_path: Path) -> None:
    code = f"""if True:
        import sys
        from pathlib import Path
        from maseg_nnunet.serving.spool import Spool
        with Spool(Path({str(tmp_path / "spool")!r})) as spool:
            spool.store(b"x")
            print("held", flush=True)
            sys.stdin.read()"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match="is used by another maseg serve"):
            Spool(tmp_path / "spool").__enter__()
        other.communicate("")
    with Spool(tmp_path / "spool") as spool:
        assert spool.waiting() == 1


def test_a_folder_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="can't be used"):
        Spool(tmp_path / "file").__enter__()
