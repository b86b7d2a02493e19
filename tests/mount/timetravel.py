#!/usr/bin/python3
"""The time-travel service, mounted: its VMs, and what goes wrong with them.

usage: timetravel.py [CASE ...]
"""
import errno
import json
import os
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from timetravelcases import (  # noqa: E402
    Box, fails, get, kill_helper, put, run_cases, say, text_of)
from timetravelmount import TimetravelMount  # noqa: E402


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


run_cases(globals())
