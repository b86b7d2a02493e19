#!/usr/bin/python3
"""Snapshots of the time-travel service, and what restoring one comes to.

usage: timetravel-snapshots.py [CASE ...]
"""
import errno
import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from sbxmount import wait_for  # noqa: E402
from timetravelcases import (  # noqa: E402
    Box, fails, get, kill_helper, put, run_cases, say, text_of)


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


run_cases(globals())
