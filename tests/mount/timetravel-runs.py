#!/usr/bin/python3
"""Commands of the time-travel service: each is a run of its own.

usage: timetravel-runs.py [CASE ...]
"""
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from sbxmount import wait_for  # noqa: E402
from timetravelcases import (  # noqa: E402
    Box, fails, get, put, run_cases, say, text_of)


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


def case_a_command_names_its_snapshot():
    with Box() as b:
        b.run("echo one > f")
        job = b.top + "/jobs/last"
        name = text_of(job + "/snapshot").strip()
        info = json.loads(text_of(b.top + "/snapshots/" + name + "/info.json"))
        assert info["command"] == "echo one > f", info
        # whoever reads it waits for its end
        put(b.top + "/exec", b"sleep 0.3; echo two > f; exit 1")
        other = text_of(job + "/snapshot").strip()
        assert other != name and get(b.here("f")) == b"two\n"
        put(b.top + "/snapshots/restore", name.encode())
        assert get(b.here("f")) == b"one\n"


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


run_cases(globals())
