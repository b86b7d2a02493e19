#!/usr/bin/python3
"""How few runs of the time-travel service everyday programs cost.

usage: timetravel-thrift.py [CASE ...]
"""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from sbxmount import wait_for  # noqa: E402
from timetravelcases import Box, get, put, run_cases, text_of  # noqa: E402


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


run_cases(globals())
