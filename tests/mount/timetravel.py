#!/usr/bin/python3
"""The time-travel service, mounted: its stand-in is as awkward as it is.

usage: timetravel.py [CASE ...]
"""
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from sbxmount import wait_for  # noqa: E402
from timetravelmount import TimetravelMount  # noqa: E402


def fails(err, fn, *args):
    try:
        fn(*args)
    except OSError as e:
        assert e.errno == err, (errno.errorcode[e.errno], args)
        return
    raise AssertionError("no " + errno.errorcode[err])


def put(path, data):
    with open(path, "wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())


def get(path):
    with open(path, "rb") as f:
        return f.read()


def say(path, text):
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def text_of(path):
    with open(path) as f:
        return f.read()


class Box:
    """A mount with one VM."""

    def __init__(self, *args, **kw):
        self.m = TimetravelMount(agent_args=args, **kw)

    def __enter__(self):
        try:
            self.top = self.m.create("vm")
            self.ws = os.path.join(self.top, "workspace")
            self.there = self.m.sandbox_dir("vm")
        except BaseException:
            self.m.close()
            raise
        return self

    def __exit__(self, *_):
        self.m.close()

    def here(self, *names):
        return os.path.join(self.ws, *names)

    def inside(self, *names):
        return os.path.join(self.there, *names)

    def run(self, text):
        return self.m.run("vm", text)

    def start(self, text):
        """A command, until it runs: the folder of its job."""
        say(os.path.join(self.top, "exec"), text)
        job = os.path.join(self.top, "jobs",
                           os.readlink(os.path.join(self.top, "jobs/last")))
        wait_for(lambda: text_of(job + "/status").startswith(
            "state: running"))
        return job

    def status(self, key):
        for line in text_of(os.path.join(self.top, "status")).splitlines():
            if line.startswith(key + ": "):
                return line.partition(": ")[2]
        return None

    def count(self, fn):
        """How many runs it costs, what was known being old: less one for
        each second that it takes, after which all is asked for anew."""
        time.sleep(1.1)
        before = len(self.m.runs())
        begin = time.monotonic()
        fn()
        seconds = int(time.monotonic() - begin)
        return max(0, len(self.m.runs()) - before - seconds)


# ---- cases ----

def case_life():
    with Box() as b:
        assert os.listdir(b.m.mnt).count("vm") == 1
        fails(errno.EEXIST, os.mkdir, b.top)
        fails(errno.EINVAL, os.mkdir, b.m.path("a b"))
        assert b.status("state") == "running", b.status("state")
        assert b.status("template") == "docker"
        info = json.loads(text_of(os.path.join(b.top, "info.json")))
        assert info["agentHealthy"] is True
        os.listdir(b.ws)
        assert "second" in b.status("push"), b.status("push")
        with open(b.m.path("new"), "r+") as f:
            f.write("name=other\n")
            f.flush()
            assert f.read().strip() == "other"
        os.rmdir(b.m.path("other"))
        assert "other" not in os.listdir(b.m.mnt)
        os.rmdir(b.top)
        fails(errno.ENOENT, os.stat, b.top)


def case_failed_creation_leaves_no_record():
    with Box() as b:
        b.m.fault("create-error", path="/vms")
        fails(errno.EIO, os.mkdir, b.m.path("bad"))
        os.mkdir(b.m.path("bad"))


def case_lost_answer_to_creation():
    with Box() as b:
        b.m.fault("lost-after", path="/vms")
        os.mkdir(b.m.path("lost"))
        assert sorted(v["name"] for v in b.m.ask("/vms")["vms"]) == [
            "lost", "vm"]


def case_answer_lost_while_it_is_made():
    with Box("--boot", "2500") as b:
        lost = threading.Timer(0.7, b.m.ask, ("/_test/cut", {}))
        lost.start()
        os.mkdir(b.m.path("slow"))
        lost.join()
        assert b.m.ask("/vms/slow")["status"] == "running"
        os.listdir(b.m.path("slow", "workspace"))


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


def case_exec_is_a_run_of_its_own():
    with Box() as b:
        put(b.here("in"), b"from here\n")
        text = "cat in; echo it\\'s > out; echo e >&2; mkdir d; exit 3"
        assert b.run(text) == b"from here\ne\n" or b.run("true") == b""
        assert b.m.runs(ours=False)[0] == text, b.m.runs(ours=False)
        job = os.path.join(b.top, "jobs", "1")
        assert text_of(job + "/exit_code").strip() == "3"
        assert text_of(job + "/stdout") == "from here\n"
        assert text_of(job + "/stderr") == "e\n"
        assert text_of(job + "/pid") == ""
        assert "pid" not in text_of(job + "/status")
        assert get(b.here("out")) == b"it's\n"
        assert os.path.isdir(b.here("d"))
        # a first look at what a command changed just now
        for i in range(5):
            b.run("echo %d > out" % i)
            assert get(b.here("out")) == b"%d\n" % i
        assert b.run("head -c 200000 /dev/zero | tr '\\0' x") == b"x" * 200000
        assert b.run("printf 'a\\000b'") == b"a\0b"
        assert b.run("pwd").strip() == b"/workspace"
        assert b.run(json.dumps({"command": "cat; echo $V", "stdin": "i\n",
                                 "env": {"V": "v"}})) == b"i\nv\n"


def case_a_command_of_words_can_be_read_in_its_record():
    with Box("--records") as b:
        for spec, text, out in (
                ({"argv": ["printf", "%s|", "a", "b c", "it's", ""]},
                 "exec env -- printf '%s|' a 'b c' 'it'\\''s' ''",
                 b"a|b c|it's||"),
                ({"argv": ["pwd"], "cwd": "/tmp"},
                 "cd -- /tmp || exit 127; exec env -- pwd", b"/tmp\n"),
                ({"argv": ["sh", "-c", "echo $V"], "env": {"V": "x y"}},
                 "exec env -- 'V=x y' sh -c 'echo $V'", b"x y\n"),
                ({"argv": ["sleep", "9"], "timeout_ms": 500},
                 "exec timeout -k 2 0.500 env -- sleep 9", b""),
                # no variables, no options
                ({"argv": ["A=b", "env"]}, "exec env -- sh -c 'exec \"$@\"' sh A=b env", 127),
                ({"argv": ["A=b", "env"], "env": {"V": "v"}},
                 "exec env -- V=v sh -c 'exec \"$@\"' sh A=b env", 127),
                ({"argv": ["-c", "env"]}, "exec env -- -c env", 127)):
            said = b.run(json.dumps(spec))
            code = int(text_of(b.top + "/jobs/last/exit_code"))
            assert b.m.runs(ours=False)[-1] == text, b.m.runs(ours=False)[-1]
            assert out in (said, code), (text, said, code)


def case_output_may_be_long():
    with Box("--records") as b:
        for text, out in (("yes | head -c 20000000", b"y\n" * 10000000),
                          ("head -c 8000000 /dev/zero", b"\0" * 8000000)):
            assert b.run(text) == out, text
            assert text_of(b.top + "/jobs/last/exit_code") == "0\n"


def case_commands_of_many_leave_room_for_all_else():
    with Box("--records") as b:
        for i in range(16):
            b.m.create("v%d" % i)
            say(b.m.path("v%d" % i, "exec"), "sleep 60")
        wait_for(lambda: len(b.m.runs(ours=False)) == 16)
        begin = time.monotonic()
        time.sleep(2.1)
        assert len(os.listdir(b.m.mnt)) == 19, os.listdir(b.m.mnt)
        assert b.run("echo ran") == b"ran\n"
        assert time.monotonic() - begin < 20


def case_what_a_run_cannot_do():
    with Box() as b:
        os.listdir(b.ws)
        b.run(json.dumps({"command": "sleep 60", "timeout_ms": 1000}))
        assert text_of(b.top + "/jobs/1/exit_code").strip() == "124", (
            text_of(b.top + "/jobs/1/exit_code"),
            text_of(b.top + "/jobs/1/stderr"))
        b.start("until [ -e go ]; do sleep 0.05; done; echo done")
        fails(errno.EOPNOTSUPP, say, b.top + "/jobs/2/signal", "TERM")
        assert "has ended" not in b.status("last_error")
        fails(errno.EOPNOTSUPP, os.rmdir, b.top + "/jobs/2")
        assert "2" in os.listdir(b.top + "/jobs")
        put(b.inside("go"), b"")
        assert text_of(b.top + "/jobs/2/output") == "done\n"
        assert text_of(b.top + "/jobs/2/exit_code").strip() == "0"
        os.rmdir(b.top + "/jobs/2")
        assert "terminals" not in os.listdir(b.top)
        fails(errno.ENOENT, os.mkdir, b.top + "/terminals/t")
        # also while another runs, when nobody waits for it to begin
        held = b.start("until [ -e go2 ]; do sleep 0.05; done")
        for name in ("exec", "jobs/new"):
            with open(b.top + "/" + name, "wb", buffering=0) as f:
                fails(errno.EOPNOTSUPP, f.write,
                      b'{"command": "true", "tty": true}')
        put(b.inside("go2"), b"")
        assert text_of(held + "/exit_code").strip() == "0"


def case_what_is_not_run_says_why():
    with Box() as b:
        fails(errno.EOPNOTSUPP, b.run, '{"command": "true", "tty": true}')
        assert "could not be run" in b.status("last_error")
        assert "terminal" in b.status("last_error")
        long = ": " + "x" * 100000
        for text in (long, json.dumps({"command": long}), "{ " + long + "; }",
                     json.dumps({"command": "cat", "stdin": long})):
            fails(errno.E2BIG, b.run, text)
            assert "100000 bytes" in b.status("last_error"), len(text)
            b.m.run("vm", "true")
        # too long as JSON alone, which the service finds out
        for text, why in ((b":\n" * 40000 + b":", b"too long"),
                          (b"echo \xff", b"not UTF-8")):
            fd = os.open(b.top + "/exec", os.O_RDWR)
            os.write(fd, text)
            out = os.read(fd, 1000)
            os.close(fd)
            assert out.startswith(b"sbxfs: cannot run it") and why in out, out
            assert text_of(b.top + "/jobs/last/exit_code") == "126\n"
        b.m.fault("half", 9)  # what it answers is lost
        fails(errno.EIO, b.run, "true")
        assert "is not known" in b.status("last_error")


def case_a_command_waits_for_its_input_and_its_turn():
    with Box() as b:
        for _ in range(2):  # the second time its helper is there
            say(b.top + "/exec", '{"command": "cat; echo ran", "stdin": true}')
            job = b.top + "/jobs/" + os.readlink(b.top + "/jobs/last")
            # others do not wait for it
            assert b.run("echo other") == b"other\n"
            say(job + "/stdin", "input\n")
            assert text_of(job + "/stdout") == "input\nran\n"
        held = b.start("until [ -e go ]; do sleep 0.05; done; echo one")
        # starting is not waiting, nor is what has not begun out of reach
        say(b.top + "/exec", "touch never")
        never = b.top + "/jobs/" + os.readlink(b.top + "/jobs/last")
        say(b.top + "/exec", "echo two")
        say(never + "/signal", "TERM")
        assert text_of(never + "/exit_code").strip() == "143"
        # nor does one begin that is removed, and who waits for it is told
        say(b.top + "/jobs/new", "touch never")
        gone = b.top + "/jobs/" + os.readlink(b.top + "/jobs/last")
        with subprocess.Popen(["cat", gone + "/exit_code"],
                              stdout=subprocess.PIPE) as cat:
            blocked(cat, "cat")
            os.rmdir(gone)
            assert cat.stdout.read() == b"137\n"
        put(b.inside("go"), b"")
        assert text_of(held + "/output") == "one\n"
        assert text_of(b.top + "/exec") == "two\n"
        assert os.listdir(b.there) == ["go"]


def case_more_input_than_a_run_takes_is_none():
    with Box() as b:
        with open(b.top + "/jobs/new", "r+b", buffering=0) as f:
            f.write(b'{"command": "wc -c; touch ran", "stdin": true}')
            job = b.top + "/jobs/" + f.read(10).decode().strip()
        fd = os.open(job + "/stdin", os.O_WRONLY)

        def refused():
            try:
                os.write(fd, b"x" * 10000)
            except OSError as e:
                return e.errno == errno.EFBIG
        wait_for(refused)
        os.close(fd)
        assert text_of(job + "/exit_code").strip() == "126"
        assert "too long" in text_of(job + "/stderr")
        assert os.listdir(b.there) == []


def blocked(p, name):
    """the program has begun and waits"""
    def it_waits():
        with open("/proc/%d/stat" % p.pid) as f:
            comm, _, rest = f.read().partition("(")[2].rpartition(")")
        return comm == name and rest.split()[0] in "SD"
    wait_for(it_waits)


def case_files_wait_for_a_command_no_longer_than_timeout():
    with Box(options=("timeout=5",)) as b:
        put(b.here("f"), b"old")
        put(b.here("g"), b"old")
        w = os.open(b.here("g"), os.O_WRONLY)
        job = b.start("until [ -e go ]; do sleep 0.05; done")
        assert "wait for the command" in b.status("connection")
        failed = {}

        def late(what, fn, *args):
            try:
                fn(*args)
            except OSError as e:
                failed[what] = e.errno
        os.write(w, b"new")
        time.sleep(1.1)  # what is known is shown for a second
        calls = [threading.Thread(target=late, args=a) for a in (
            ("mkdir", os.mkdir, b.here("late")),
            ("stat", os.stat, b.here("nothing")),
            ("create", put, b.here("new"), b"new"),
            ("open", put, b.here("f"), b"new"),
            ("rename", os.rename, b.here("f"), b.here("moved")),
            ("fsync", os.fsync, w))]
        for t in calls:
            t.start()
        # a signal ends it, and what was asked for is not done later
        killed = subprocess.Popen(["mkdir", b.here("killed")])
        blocked(killed, "mkdir")
        begin = time.monotonic()
        killed.send_signal(signal.SIGINT)
        assert killed.wait() == -signal.SIGINT
        assert time.monotonic() - begin < 4
        for t in calls:
            t.join()
        assert failed == {t: errno.ETIMEDOUT for t in (
            "mkdir", "stat", "create", "open", "rename", "fsync")}, failed
        assert "command that runs" in b.status("last_error")
        assert "command that runs" in text_of(b.m.path(".sbxfs", "errors"))
        assert text_of(job + "/status").startswith("state: running")
        os.close(w)
        put(b.inside("go"), b"")
        assert text_of(job + "/exit_code").strip() == "0"
        assert sorted(os.listdir(b.ws)) == ["f", "g", "go"]
        assert get(b.here("f")) == get(b.here("g")) == b"old"
        assert b.status("connection") == "up"
        os.mkdir(b.here("late"))
        put(b.here("g"), b"new")
        assert get(b.inside("g")) == b"new"


def case_what_holds_the_output_of_a_command_is_part_of_it():
    with Box() as b:
        begin = time.monotonic()
        for held in (">/dev/null", "2>/dev/null"):
            job = b.start("(until [ -e go ]; do sleep 0.05; done) %s & "
                          "echo on" % held)
            with subprocess.Popen(["cat", job + "/output"],
                                  stdout=subprocess.PIPE) as cat:
                blocked(cat, "cat")
                time.sleep(0.3)
                assert text_of(job + "/status").startswith("state: running")
                put(b.inside("go"), b"")
                assert cat.stdout.read() == b"on\n"
            os.unlink(b.inside("go"))
        assert b.run("setsid sleep 100 </dev/null >/dev/null 2>&1 & echo $!"
                     " >pid; echo on") == b"on\n"
        assert b.run("kill $(cat pid) && echo lived") == b"lived\n"
        assert time.monotonic() - begin < 60


def case_events_opened_while_a_command_runs():
    with Box(options=("timeout=2",)) as b:
        def until(f, **want):
            for line in f:
                if want.items() <= json.loads(line).items():
                    return
        b.start("sleep 1; : >early")
        with open(b.top + "/events") as f:  # waits for its end
            assert text_of(b.top + "/jobs/1/status").startswith("state: ended")
            b.run(": >told")
            until(f, type="created", path="told")
        b.start("until [ -e go ]; do sleep 0.05; done; : >late")
        with open(b.top + "/events") as f:  # no longer than timeout=
            assert json.loads(f.readline())["type"] == "unwatched"
            put(b.inside("go"), b"")
            until(f, type="connection", state="up", missed=True)
            b.run(": >seen")
            until(f, type="created", path="seen")


def shown(b):
    return sorted(n for n in os.listdir(b.top + "/snapshots")
                  if n != "restore")


def case_snapshots():
    with Box() as b:
        put(b.here("f"), b"one")
        os.mkdir(b.here("d"))
        os.listdir(b.here("d"))
        os.mkdir(b.top + "/snapshots/first")
        put(b.here("f"), b"two, longer")
        put(b.here("later"), b"l")
        b.run("echo three >> f")
        names = shown(b)
        assert names[-2:] == ["first", "initial"], names
        assert len(names) == 3 and names[0].startswith("cmd_"), names
        info = json.loads(text_of(b.top + "/snapshots/" + names[0] +
                                  "/info.json"))
        assert info["command"] == "echo three >> f", info
        fails(errno.EEXIST, os.mkdir, b.top + "/snapshots/first")
        fails(errno.EINVAL, os.mkdir, b.top + "/snapshots/a b")
        # one that is not there empties the workspace, if it is asked for
        fails(errno.ENOENT, say, b.top + "/snapshots/restore", "nothing")
        assert get(b.here("f")) == b"two, longerthree\n"
        with open(b.here("f"), "rb") as f:
            say(b.top + "/snapshots/restore", "first")
            assert get(b.here("f")) == b"one"
            assert not os.path.exists(b.here("later"))
            assert sorted(os.listdir(b.ws)) == ["d", "f"]
        put(b.here("d", "new"), b"n")
        assert get(b.inside("d", "new")) == b"n"
        say(b.top + "/status", "wipe")
        assert os.listdir(b.ws) == []
        put(b.here("again"), b"a")
        assert os.listdir(b.there) == ["again"]


def case_a_snapshot_of_which_word_is_lost_is_made():
    with Box() as b:
        put(b.here("f"), b"one")
        for i, kind in enumerate(("unique", "lost-before", "lost-after",
                                  "html-500")):
            put(b.here("f"), b"%d" % i)
            b.m.fault(kind, n=2, says="snapshot s%d" % i)
            os.mkdir(b.top + "/snapshots/s%d" % i)
            assert "s%d" % i in shown(b), kind
        say(b.top + "/snapshots/restore", "s1")
        assert get(b.here("f")) == b"1"


def case_the_list_of_snapshots_may_be_long():
    with Box("--records") as b:
        b.run("echo mine")
        put(b.here("f"), os.urandom(13 << 20))
        # all of what was written is in it
        assert len(json.dumps(b.m.ask("/vms/vm/snapshots"))) > 17 << 20
        os.mkdir(b.top + "/snapshots/named")
        assert len(shown(b)) == 3, shown(b)
        b.m.fault("lost-after", path="/snapshots")
        say(b.top + "/snapshots/restore", "initial")
        assert os.listdir(b.ws) == []
        time.sleep(2.1)
        b.m.fault("half", path="/snapshots")
        fails(errno.EPROTO, shown, b)


def ask(path, text):
    """Writes, and reads the answer on the same open file."""
    fd = os.open(path, os.O_RDWR)
    try:
        os.write(fd, text.encode())
        return json.loads(os.pread(fd, 65536, 0))
    finally:
        os.close(fd)


def case_export_and_import():
    with Box("--s3") as b:
        put(b.here("f"), b"one")
        os.mkdir(b.top + "/snapshots/first")
        put(b.here("f"), b"two")
        assert text_of(b.top + "/export") == text_of(b.top + "/import") == ""
        assert ask(b.top + "/export", "\n")["bucket"] == "b"
        said = ask(b.top + "/export", '{"snapshot": "first", "key": "k/1"}')
        assert said["url"] == "s3://b/k/1", said
        fails(errno.ENOENT, say, b.top + "/export", '{"snapshot": "none"}')
        fails(errno.EINVAL, say, b.top + "/export", '{"key": "$(x)"}')
        fails(errno.EINVAL, say, b.top + "/import", '{"name": "again"}')
        fails(errno.EIO, say, b.top + "/import", '{"name": "n", "key": "no"}')
        say(b.top + "/import", '{"name": "again", "key": "k/1"}')
        wait_for(lambda: "again" in shown(b))
        say(b.top + "/snapshots/restore", "again")
        assert get(b.here("f")) == b"one"
    with Box() as b:
        fails(errno.EOPNOTSUPP, say, b.top + "/export", "{}")


def kill_helper(b):
    killed = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            exe = os.readlink("/proc/%s/exe" % pid)
            ours = "helper-" in exe and os.path.samefile(
                "/proc/%s/root/workspace" % pid, b.there)
        except OSError:
            continue
        if ours:
            os.kill(int(pid), signal.SIGKILL)
            killed += 1
    assert killed


def case_a_snapshot_has_what_a_lost_helper_was_told():
    with Box() as b:
        put(b.here("f"), b"one")
        with open(b.here("f"), "r+b", buffering=0) as f:
            kill_helper(b)
            f.write(b"two")
            os.mkdir(b.top + "/snapshots/s")
        put(b.here("f"), b"three")
        say(b.top + "/snapshots/restore", "s")
        assert get(b.here("f")) == b"two", get(b.here("f"))


def case_events_go_on_after_a_restore():
    with Box() as b:
        os.listdir(b.ws)
        fd = os.open(b.top + "/events", os.O_RDONLY | os.O_NONBLOCK)
        seen = b""

        def told(word):
            def it_is_told():
                nonlocal seen
                try:
                    seen += os.read(fd, 65536)
                except BlockingIOError:
                    pass
                return word in seen
            wait_for(it_is_told)
        put(b.here("before"), b"x")
        told(b'"before"')
        os.mkdir(b.top + "/snapshots/here")
        say(b.top + "/snapshots/restore", "here")
        # of another helper, which has not seen what happened meanwhile
        told(b'"missed":true')
        put(b.here("behind"), b"x")
        told(b'"behind"')
        os.close(fd)


def case_faults_lose_and_double_nothing():
    with Box() as b:
        log = os.open(b.here("log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        want = b""
        for kind in ("lost-before", "lost-after", "unique", "html-500",
                     "garbage", "half", "refuse"):
            for n in (1, 2):
                b.m.fault(kind, n)
                line = b"%s %d\n" % (kind.encode(), n)
                os.write(log, line)
                os.mkdir(b.here("%s-%d" % (kind, n)))
                os.fsync(log)
                want += line
                assert get(b.inside("log")) == want, kind
        os.close(log)
        assert len(os.listdir(b.there)) == 15


def case_exchanges_share_a_connection():
    """Who is far away has more of connecting than of the exchange itself.
    Commands of the user do not: what fails on a connection that was kept is
    sent again by libcurl, and a command must not run twice."""
    with Box() as b:
        b.run("true")
        before = {e["port"] for e in b.m.requests()}
        at = len(b.m.requests())
        for i in range(20):
            os.mkdir(b.here("d%d" % i))
        for _ in range(3):
            b.run("true")
        runs = [e for e in b.m.requests()[at:] if "command" in e]
        ours = [e["port"] for e in runs
                if e["command"].startswith(": sbxfs;")]
        users = [e["port"] for e in runs
                 if not e["command"].startswith(": sbxfs;")]
        assert len(ours) >= 20, runs
        assert set(ours) <= before.union(users), runs
        assert len(users) == len(set(users) - before) == 3, runs


def case_a_killed_helper_comes_back():
    with Box() as b:
        put(b.here("f"), b"one")
        kill_helper(b)
        put(b.inside("f"), b"other")
        time.sleep(1.05)
        now = get(b.here("f"))
        assert now == b"other", now
        put(b.here("g"), b"g")
        # a command is none of its
        kill_helper(b)
        assert b.run("echo ran | tee g") == get(b.here("g")) == b"ran\n"
        job = b.start("until [ -e go ]; do sleep 0.05; done; echo two > g")
        kill_helper(b)
        put(b.inside("go"), b"")
        assert text_of(job + "/exit_code").strip() == "0"
        assert get(b.here("g")) == b"two\n"


def case_a_restarted_service_has_lost_it():
    with Box() as b:
        put(b.here("f"), b"one")
        b.m.ask("/_test/restart", {})
        time.sleep(1.1)
        fails(errno.ENODEV, os.stat, b.here("f"))
        # also where a listing, which does not know it, was just read
        time.sleep(2.1)
        os.listdir(b.m.mnt)
        assert b.status("state") == "error", b.status("state")
        fails(errno.ENODEV, say, b.top + "/snapshots/restore", "initial")
        os.rmdir(b.top)
        os.mkdir(b.top)
        put(b.here("f"), b"two")


def case_wrong_key():
    m = TimetravelMount(mount=False)
    try:
        m.key = lambda: {"TIMETRAVEL_API_KEY": "ws_wrong"}
        try:
            m.start()
        except AssertionError as e:
            assert "refused the key" in str(e), e
        else:
            raise AssertionError("it was mounted")
        m.daemon = None
    finally:
        m.close()


def case_an_agent_takes_one_at_a_time():
    with Box("--agent") as b:
        put(b.here("f"), b"x")
        procs = [subprocess.Popen(["cat", b.here("f")],
                                  stdout=subprocess.DEVNULL)
                 for _ in range(5)]
        assert b.run("cat f") == b"x"
        assert all(p.wait() == 0 for p in procs)


def case_a_vm_with_an_agent():
    with Box("--agent") as b:
        assert b.status("template") == "virtualbox"
        assert b.run("pwd").strip() == b"/btrfs/workspace"
        b.run("kill -9 $$")
        assert text_of(b.top + "/jobs/last/exit_code") == "137\n"
        # what is no text is lost, though it ran
        assert b"decode" in b.run("printf '\\377'; echo ran > f")
        assert get(b.here("f")) == b"ran\n"
        # one that runs a command is not well, as it says, but not lost
        job = b.start("until [ -e go ]; do sleep 0.05; done")
        say(b.top + "/status", "refresh")
        assert b.status("state") == "running", b.status("state")
        put(b.inside("go"), b"")
        assert text_of(job + "/exit_code") == "0\n"
        os.mkdir(b.here("d"))
        put(b.here(".hidden"), b"h")
        os.mkdir(b.top + "/snapshots/s")
        put(b.here("f"), b"later")
        os.unlink(b.here(".hidden"))
        say(b.top + "/snapshots/restore", "s")
        assert get(b.here("f")) == get(b.inside("f")) == b"ran\n"
        assert sorted(os.listdir(b.ws)) == [".hidden", "d", "f", "go"]
        put(b.here("d", "g"), b"g")
        assert get(b.inside("d", "g")) == b"g"
        # which an agent does not empty of a link to a folder
        os.symlink("d", b.here("link"))
        os.symlink("nowhere", b.here("dangling"))
        say(b.top + "/status", "wipe")
        assert os.listdir(b.ws) == os.listdir(b.there) == []


def case_a_container_that_does_not_see_what_was_restored():
    with Box("--btrfs") as b:
        put(b.here("f"), b"one")
        os.mkdir(b.top + "/snapshots/s")
        fails(errno.EIO, say, b.top + "/snapshots/restore", "s")
        assert "destroy it" in b.status("last_error")
        fails(errno.EIO, say, b.top + "/status", "wipe")
        os.rmdir(b.top)
        os.mkdir(b.top)
        put(b.here("f"), b"one")
        assert get(b.m.sandbox_dir("vm") + "/f") == b"one"


def case_restoring_does_not_wait_for_a_command():
    with Box(options=("timeout=5",)) as b:
        put(b.here("f"), b"one")
        os.mkdir(b.top + "/snapshots/s")
        put(b.here("f"), b"two")
        job = b.start("until [ -e go ]; do sleep 0.05; done")
        # it is done, and who waits to see it does so for a while only
        fails(errno.ETIMEDOUT, say, b.top + "/snapshots/restore", "s")
        assert get(b.inside("f")) == b"one"
        put(b.inside("go"), b"")
        assert text_of(job + "/exit_code").strip() == "0"
        assert get(b.here("f")) == b"one"


def case_proc_is_walked_in_few_runs_and_true():
    with Box() as b:
        proc = b.top + "/root/proc/"

        def few(most, *args):
            for _ in range(4):  # on a busy machine a second goes by
                runs = b.count(lambda: subprocess.run(
                    args, stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL))
                if runs <= most:
                    return
            raise AssertionError("%d runs for %r" % (runs, args))
        few(6, "ls", "-l", proc + "sys/fs")
        few(6, "ls", "-l", proc + "sys/kernel")
        few(6, "ls", "-l", proc + "self/ns")
        few(5, "cat", proc + "uptime")
        # its end goes with what it holds, which is never kept
        fd = os.open(proc + "uptime", os.O_RDONLY)
        first, runs = os.read(fd, 99), len(b.m.runs())
        assert os.read(fd, 99) == b"" and len(b.m.runs()) == runs
        assert os.read(fd, 99) == b"" and len(b.m.runs()) > runs
        wait_for(lambda: os.pread(fd, 99, 0) != first)
        os.close(fd)
        assert os.readlink(proc + "self/ns/pid").startswith("pid:[")
        # what a command did is seen at once, and in a second what was not told
        pid = b.run("sleep 1000 >/dev/null 2>&1 & echo $!").decode().strip()
        assert os.path.isdir(proc + pid) and pid in os.listdir(proc)
        adj = proc + pid + "/oom_score_adj"
        for n in (500, 600):
            b.run("echo %d >/proc/%s/oom_score_adj" % (n, pid))
            assert text_of(adj) == "%d\n" % n
        with open(adj, "w") as f:
            f.write("700\n")
        assert text_of(adj) == "700\n"
        other = b.run("(cd /; exec sleep 1000) >/dev/null 2>&1 & echo $!")
        other = other.decode().strip()
        assert other in os.listdir(proc)
        wait_for(lambda: os.readlink(proc + other + "/cwd") == "/")
        b.run("(sleep 2; kill -9 %s %s) >/dev/null 2>&1 &" % (pid, other))
        wait_for(lambda: not os.path.exists(adj) and
                 other not in os.listdir(proc))


def costs_of_everyday():
    """What each of some everyday programs costs, in runs"""
    with Box() as b:
        os.listdir(b.ws)
        for i in range(40):
            d = b.inside("d%d" % (i % 8), "e")
            os.makedirs(d, exist_ok=True)
            put(os.path.join(d, "f%d" % i), b"x%d\n" % i)
        subprocess.run(
            "git init -q; git add -A; git -c user.name=a -c user.email=b "
            "commit -qm x", shell=True, cwd=b.there, check=True)
        quiet = {"stdout": subprocess.DEVNULL, "check": True}
        costs = {}

        def walk():
            subprocess.run(["ls", "-lR", b.ws], **quiet)

        def git():
            subprocess.run(["git", "-C", b.ws, "status", "-s"], **quiet)

        def cat():
            subprocess.run(["cat", b.here("d1", "e", "f9")], **quiet)

        def save():
            put(b.here("d1", "e", "f9"), b"saved\n")

        def save_by_rename(flags=0):
            fd = os.open(b.here("d1", "e", "new"),
                         os.O_WRONLY | os.O_CREAT | flags)
            os.write(fd, b"saved\n")
            os.fsync(fd)
            os.close(fd)
            os.rename(b.here("d1", "e", "new"), b.here("d1", "e", "f9"))

        def save_by_rename_of_own():
            save_by_rename(os.O_EXCL)

        def save_by_rename_with_fstat():
            put(b.here("d1", "e", "new"), b"saved\n")
            os.rename(b.here("d1", "e", "new"), b.here("d1", "e", "f9"))

        def append():
            subprocess.run("echo x >> f9", shell=True, check=True,
                           cwd=b.here("d1", "e"))

        def touch():
            subprocess.run(["touch", b.here("d1", "e", "f9")], check=True)

        def open_twice():
            fd = os.open(b.here("d1", "e", "f9"), os.O_RDONLY)
            try:
                assert get(b.here("d1", "e", "f9")) == b"saved\n"
            finally:
                os.close(fd)

        def rest():
            before = len(b.m.runs())
            time.sleep(2.5)
            return len(b.m.runs()) - before
        costs["idle"] = rest()
        for what, fn in (("first ls -lR", walk), ("ls -lR", walk),
                         ("cat", cat), ("first git status", git),
                         ("git status", git), ("save", save),
                         ("open twice, read", open_twice),
                         ("append", append), ("touch", touch),
                         ("save by rename", save_by_rename),
                         ("save by rename, O_EXCL", save_by_rename_of_own),
                         ("save by rename, fstat",
                          save_by_rename_with_fstat)):
            costs[what] = b.count(fn)
            # on a busy machine what is known gets old in the middle of it
            for _ in range(0 if "first" in what else 3):
                if costs[what] > LIMITS[what]:
                    costs[what] = b.count(fn)
        costs["idle again"] = rest()
        print(costs)
        return costs


def case_thrift():
    for _ in range(3):
        costs = costs_of_everyday()
        if all(costs[what] <= LIMITS[what] for what in LIMITS):
            return
        # what a busy machine begins late comes in a run of its own
    raise AssertionError("in three mounts: %r" % costs)


# What is known is a second old, so one run asks whether it is still so: the
# first name looked up waits for it, and everything else for that answer.  Then
# each answer that must be true before the program goes on is a run, since it
# ends with its answers, and nothing can be said to one that has begun:
#   save            open, write; close
#   save by rename  open, write; fsync; rename.  One more for an open that must be
#                   the only one (O_EXCL), or for an fstat of what was just made
#                   (Python's open does one)
#   append, touch   open goes along with what follows, though shells close
#                   the first of its two descriptors in between
#   git status      its lock, made and removed as one (fuse/making.h); the first
#                   writes the index anew: close of the new one; rename
# So three are the fewest for a file that is closed, or synced, and then renamed
# by somebody who looked at nothing for a second.
LIMITS = {"idle": 0, "idle again": 0, "first ls -lR": 2, "ls -lR": 1, "cat": 1,
          "first git status": 3, "git status": 2, "save": 2,
          "open twice, read": 1, "append": 2, "touch": 2,
          "save by rename": 3, "save by rename, O_EXCL": 4,
          "save by rename, fstat": 4}


def main():
    names = sys.argv[1:] or [n[5:] for n in globals() if n[:5] == "case_"]
    for name in names:
        print(name, flush=True)
        globals()["case_" + name]()


main()
