#!/usr/bin/python3
"""Files of the time-travel service, whose stand-in is as awkward as it is.

usage: timetravel-files.py [CASE ...]
"""
import errno
import os
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from sbxmount import wait_for  # noqa: E402
from timetravelcases import (  # noqa: E402
    Box, fails, get, kill_helper, put, run_cases)


def case_files():
    with Box() as b:
        data = os.urandom(300000)
        put(b.here("big"), data)
        assert get(b.inside("big")) == data
        assert get(b.here("big")) == data
        put(b.here("f"), b"1")
        os.link(b.here("f"), b.here("g"))
        os.rename(b.here("f"), b.here("h"))
        os.symlink("h", b.here("link"))
        os.mkdir(b.here("d"), 0o700)
        os.chmod(b.here("h"), 0o640)
        os.utime(b.here("h"), ns=(10**9 + 5, 10**9 + 7))
        st = os.stat(b.here("link"))
        assert (st.st_nlink, st.st_mtime_ns, st.st_mode & 0o777) == (
            2, 10**9 + 7, 0o640)
        assert sorted(os.listdir(b.there)) == ["big", "d", "g", "h", "link"]
        fails(errno.ENOTEMPTY, os.rmdir, b.ws + "/../workspace/d/..")
        odd = b.ws.encode() + b"/\xff 'n\n"
        put(odd, b"odd")
        assert get(b.there.encode() + b"/\xff 'n\n") == b"odd"
        with open(b.here("open"), "w+b") as f:
            f.write(b"still")
            os.unlink(b.here("open"))
            f.seek(0)
            assert f.read() == b"still"
        assert not os.path.exists(b.inside("open"))
        os.truncate(b.here("big"), 10)
        assert get(b.inside("big")) == data[:10]


def case_changes_from_inside_are_seen_after_a_second():
    with Box() as b:
        put(b.here("f"), b"old")
        assert get(b.here("f")) == b"old"
        os.listdir(b.ws)
        put(b.inside("f"), b"newer")
        put(b.inside("g"), b"g")
        time.sleep(1.05)
        assert get(b.here("f")) == b"newer"
        assert os.path.exists(b.here("g"))
        assert sorted(os.listdir(b.ws)) == ["f", "g"]
        os.unlink(b.inside("g"))
        time.sleep(1.05)
        assert not os.path.exists(b.here("g"))
        with open(b.here("f"), "rb") as f:
            assert os.fstat(f.fileno()).st_size == 5
            put(b.inside("f"), b"longest")
            time.sleep(1.05)
            # its pages are being dropped while the first one is answered
            wait_for(lambda: os.fstat(f.fileno()).st_size == 7)
            assert f.read() == b"longest"


def case_what_is_open_for_a_while_is_opened_there():
    with Box() as b:
        put(b.inside("f"), b"read")
        put(b.inside("g"), b"read")
        os.listdir(b.ws)
        time.sleep(1.1)
        os.listdir(b.ws)  # their content has come with the listing
        before = len(b.m.runs())
        assert get(b.here("g")) == b"read"
        with open(b.here("f"), "rb") as f:
            wait_for(lambda: len(b.m.runs()) > before)
            os.unlink(b.inside("f"))
            time.sleep(1.1)
            assert not os.path.exists(b.here("f"))
            st = os.fstat(f.fileno())
            assert (st.st_nlink, st.st_size) == (0, 4), st
            assert f.read() == b"read"
        # the sandbox knows what was read, in time
        assert os.stat(b.inside("g")).st_atime_ns == os.stat(
            b.here("g")).st_atime_ns


def case_opening_to_write_fails_at_the_latest_when_it_is_closed():
    with Box() as b:
        put(b.here("g"), b"one")
        shutil.copy("/bin/sleep", b.inside("f"))
        os.chmod(b.inside("f"), 0o644)
        time.sleep(1.1)

        def save(flags):
            fd = os.open(b.here("f"), os.O_WRONLY | flags)
            try:
                os.write(fd, b"lost")
            finally:
                os.close(fd)
        for flags in (os.O_TRUNC, 0, os.O_APPEND):
            os.chmod(b.inside("f"), 0o644)
            time.sleep(1.1)
            os.listdir(b.ws)
            os.chmod(b.inside("f"), 0o755)
            runs = subprocess.Popen([b.inside("f"), "60"])
            try:
                fails(errno.ETXTBSY, save, flags)
            finally:
                runs.kill()
                runs.wait()
            assert get(b.inside("f")) == get("/bin/sleep")
        time.sleep(1.1)
        assert get(b.here("f")) == get("/bin/sleep")
        os.stat(b.here("g"))
        fd = os.open(b.here("g"), os.O_WRONLY | os.O_TRUNC)
        st = os.fstat(fd)
        assert (st.st_size, st.st_mode & 0o777) == (0, 0o644), st
        assert os.stat(b.here("g")).st_mtime_ns >= st.st_mtime_ns
        os.close(fd)
        assert get(b.inside("g")) == b""
        assert os.stat(b.here("g")).st_mtime_ns >= st.st_mtime_ns


def begin(b, name, flags, there=None):
    """A new file, open before the VM was asked, though there() has put
    something in its way there since that was last heard of: fd."""
    for _ in range(10):
        time.sleep(1.1)
        os.listdir(os.path.dirname(b.here(name)))
        if there:
            there(b.inside(name))
        runs = len(b.m.runs())
        try:
            fd = os.open(b.here(name), flags | os.O_CREAT, 0o640)
        except OSError:
            fd = -1  # a second had gone by
        if fd >= 0 and len(b.m.runs()) == runs:
            return fd
        if fd >= 0:
            os.close(fd)
        subprocess.run(["rm", "-rf", b.inside(name)], check=True)
    raise AssertionError("it is never made here first")


def case_a_new_file_is_made_with_what_is_written():
    with Box() as b:
        old = os.umask(0o027)
        fd = begin(b, "f", os.O_RDWR)
        os.write(fd, b"new")
        assert os.pread(fd, 9, 0) == b"new"
        os.fsync(fd)
        os.umask(old)
        here, there = os.fstat(fd), os.stat(b.inside("f"))
        assert (here.st_ino, here.st_mtime_ns, here.st_ctime_ns) == (
            there.st_ino, there.st_mtime_ns, there.st_ctime_ns)
        assert (there.st_mode, there.st_size) == (0o100640, 3), there
        os.close(fd)
        assert os.stat(b.here("f")).st_ino == there.st_ino
        assert os.stat(b.ws).st_mtime_ns == os.stat(b.there).st_mtime_ns
        # who asks of it before it is there waits for it
        fd = begin(b, "g", os.O_WRONLY)
        os.write(fd, b"g")
        assert get(b.here("g")) == b"g"
        os.close(fd)
        fd = begin(b, "h", os.O_WRONLY)
        os.link(b.here("h"), b.here("linked"))
        os.rename(b.here("h"), b.here("moved"))
        os.write(fd, b"h")
        os.close(fd)
        assert get(b.inside("linked")) == get(b.inside("moved")) == b"h"
        fd = begin(b, "gone", os.O_RDWR)
        os.unlink(b.here("gone"))
        os.write(fd, b"still")
        assert os.pread(fd, 9, 0) == b"still"
        assert os.fstat(fd).st_nlink == 0
        os.close(fd)
        fd = begin(b, "killed", os.O_WRONLY)
        kill_helper(b)
        os.write(fd, b"k")
        os.close(fd)
        assert get(b.inside("killed")) == b"k"
        # nobody waits: it is there soon all the same
        fd = begin(b, "soon", os.O_WRONLY)
        os.write(fd, b"s")
        wait_for(lambda: os.path.exists(b.inside("soon")) and
                 get(b.inside("soon")) == b"s")
        os.close(fd)
        assert sorted(os.listdir(b.ws)) == sorted(os.listdir(b.there)) == [
            "f", "g", "killed", "linked", "moved", "soon"]


def case_a_new_file_that_cannot_be_made_says_so():
    with Box() as b:
        fd = begin(b, "d", os.O_WRONLY, os.mkdir)
        os.write(fd, b"lost")
        fails(errno.EISDIR, os.close, fd)
        # the kernel is told as of any change that was made in the VM
        wait_for(lambda: os.path.isdir(b.here("d")))
        fd = begin(b, "d2", os.O_WRONLY, os.mkdir)
        os.write(fd, b"lost")
        fails(errno.EISDIR, os.fsync, fd)
        os.close(fd)
        fd = begin(b, "d3", os.O_WRONLY, os.mkdir)
        fails(errno.EISDIR, os.fstat, fd)
        fails(errno.EISDIR, os.close, fd)
        # one that is there by now is opened, as by open(2)
        fd = begin(b, "e", os.O_WRONLY, lambda p: put(p, b"other"))
        os.write(fd, b"ab")
        os.close(fd)
        assert get(b.inside("e")) == get(b.here("e")) == b"abher"

        def linked(path):
            put(b.inside("known"), b"known")
            os.listdir(b.ws)
            os.link(b.inside("known"), path)
        fd = begin(b, "l", os.O_WRONLY, linked)
        os.write(fd, b"K")
        os.close(fd)
        assert get(b.here("known")) == get(b.here("l")) == b"Known"
        assert os.stat(b.here("known")).st_ino == os.stat(
            b.here("l")).st_ino


def case_what_is_made_exclusively_is_not_anothers():
    with Box() as b:
        def made(name, say):
            """as it was before the VM was asked, if that takes no second"""
            time.sleep(1.1)
            os.listdir(b.ws)
            put(b.inside(name), b"his")
            p = subprocess.run(["sh", "-c", "set -C; %s > %s" % (say, name)],
                               cwd=b.ws, stderr=subprocess.DEVNULL)
            assert get(b.inside(name)) == get(b.here(name)) == b"his"
            return p.returncode == 0
        for n in range(3):
            assert not made("pid%d" % n, "echo mine")
            assert not made("empty%d.lock" % n, ":")
            assert not made("index.lock", ":")  # no folder of git's
            os.unlink(b.here("index.lock"))
        fails(errno.EEXIST, os.open, b.here("pid0"),
              os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        fd = os.open(b.here("own"), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        assert os.fstat(fd).st_ino == os.stat(b.inside("own")).st_ino
        os.close(fd)


def case_who_does_not_have_gits_lock_changes_nothing():
    with Box() as b:
        lock, excl = "g/index.lock", os.O_RDWR | os.O_EXCL
        os.mkdir(b.here("g"))
        put(b.here("g", "HEAD"), b"ref: refs/heads/main\n")
        put(b.here("f"), b"old")

        def others():
            return begin(b, lock, excl, lambda p: put(p, b"his"))

        def is_his():
            assert get(b.here(lock)) == get(b.inside(lock)) == b"his"
            os.unlink(b.here(lock))
        w = os.open(b.here("f"), os.O_WRONLY)
        fd = others()
        fails(errno.EIO, os.mkdir, b.here("guarded"))
        fails(errno.EEXIST, os.close, fd)
        is_his()
        # nor later, until that was said; others do, here one that has not
        # the file open, since whoever closes it is told
        other = subprocess.Popen(["sh", "-c", "read x; mkdir other"],
                                 cwd=b.ws, stdin=subprocess.PIPE)
        fd = others()
        time.sleep(1.1)
        assert get(b.here(lock)) == b"his"
        fails(errno.EIO, os.mkdir, b.here("guarded"))
        fails(errno.EIO, os.open, b.here("guarded"), os.O_CREAT | os.O_WRONLY)
        other.communicate(b"go\n")
        assert other.returncode == 0
        fails(errno.EEXIST, os.fsync, fd)
        os.rmdir(b.here("other"))
        os.close(fd)
        is_his()
        fd = others()
        os.write(fd, b"mine")
        fails(errno.EIO, os.write, w, b"new")
        fails(errno.EEXIST, os.fsync, fd)
        os.close(fd)
        os.close(w)
        is_his()
        # closing an empty one waits for nothing, removing it does
        fd = others()
        os.close(fd)
        fails(errno.EIO, os.unlink, b.here(lock))
        is_his()
        assert sorted(os.listdir(b.there)) == ["f", "g"]
        assert get(b.here("f")) == get(b.inside("f")) == b"old"
        # one that is had guards as it should, and is seen there in time
        fd = begin(b, lock, excl)
        os.write(fd, b"index")
        os.mkdir(b.here("guarded"))
        os.close(fd)
        os.rename(b.here(lock), b.here("g/index"))
        assert get(b.inside("g/index")) == b"index"
        fd = begin(b, lock, excl)
        os.close(fd)
        wait_for(lambda: os.path.exists(b.inside(lock)))
        os.unlink(b.here(lock))
        fd = begin(b, lock, excl)
        os.close(fd)
        os.unlink(b.here(lock))
        fails(errno.ENOENT, os.stat, b.here(lock))
        assert sorted(os.listdir(b.there)) == sorted(os.listdir(b.ws)) == [
            "f", "g", "guarded"]
        assert sorted(os.listdir(b.inside("g"))) == ["HEAD", "index"]


run_cases(globals())
