#!/usr/bin/python3
"""Folders of one name come and go in the sandbox, while others look here:
what is there is seen here before long.  SECONDS=6, SEED=1."""

import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
import random, shutil, subprocess, time, unittest
from sbxmount import SandboxTest, wait_for

SECONDS = float(os.environ.get("SECONDS", "6"))
SEED = int(os.environ.get("SEED", "1"))
LOOK = """
import os, sys, time
while True:
    for folder, folders, files in os.walk(sys.argv[1]):
        for name in files:
            try:
                os.lstat(os.path.join(folder, name))
            except OSError:
                pass
    time.sleep(0.01)
"""


def tree(top):
    """The inode number of each folder and file; None: it changed, or cannot
    be read."""
    found = {}

    def fail(e):
        raise e
    try:
        for folder, folders, files in os.walk(top, onerror=fail):
            for name in folders + files:
                path = os.path.join(folder, name)
                found[os.path.relpath(path, top)] = os.lstat(path).st_ino
    except OSError:
        return None
    return found


def replace(d):
    shutil.rmtree(d + "/e")
    os.makedirs(d + "/e/b")
    os.mkdir(d + "/e/a")


def away_and_back(d):
    os.rename(d + "/e", d + "/../x")
    os.rename(d + "/../x", d + "/e")


def aside(d):
    os.rename(d + "/e", d + "/f")
    os.makedirs(d + "/e/b")


def file(d):
    open(d + "/e/f", "w").close()
    os.unlink(d + "/e/f")


CHANGES = (replace, away_and_back, aside, file,
           lambda d: os.makedirs(d + "/e/a/b"),
           lambda d: os.rename(d + "/e/b", d + "/a"),
           lambda d: shutil.rmtree(d + "/f"))


class Churn(SandboxTest):
    def change(self, chance, there):
        for _ in range(chance.choice((1, 1, 2, 3))):
            try:
                chance.choice(CHANGES)(there + "/d")
            except OSError:
                pass  # it was not there, or is already
        for name in "d/e/a", "d/e/b", "d/e/none", "d/b":
            if chance.random() < 0.2:
                os.path.lexists(os.path.join(self.top, name))
        if chance.random() < 0.05:
            self.m.control("fault cut")

    def test_folders(self):
        chance = random.Random(SEED)
        there = self.m.sandbox_dir("t")
        os.mkdir(there + "/d")
        looking = subprocess.Popen([sys.executable, "-c", LOOK, self.top])
        try:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                self.change(chance, there)
                want = tree(there)

                def is_seen():
                    return tree(self.top) == want
                wait_for(is_seen, 20)
        finally:
            looking.kill()
            looking.wait()


if __name__ == "__main__":
    unittest.main()
