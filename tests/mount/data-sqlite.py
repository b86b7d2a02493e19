#!/usr/bin/python3
"""What programs here and in the sandbox share by locks: sqlite databases (at
the same time with a rollback journal, in turns with a write-ahead log, whose
index is shared memory) and git repositories."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import subprocess, threading, unittest
from sbxactors import Here, actor_in
from sbxmount import Mount, RUNS

# a lock is a run there, and a command that runs holds back everything else: so
# who is inside works on the sandbox's folder itself
ROUNDS, INSERTS = (2, 4) if RUNS else (25, 50)

OPEN = ("exec('import sqlite3; db = sqlite3.connect(\"db\", timeout=60, "
        "isolation_level=None)', globals())")
COUNT = "db.execute('select count(*), sum(n) from t').fetchone()"
# numbers go from one row to another and are never lost
WORK = """
import random
r = random.Random(%d)
for i in range(%d):
    db.execute('begin immediate')
    a, b = r.sample(range(20), 2)
    db.execute('update t set n = n - 1 where k = ?', (a,))
    db.execute('update t set n = n + 1 where k = ?', (b,))
    db.execute('insert into log values (?, ?, ?)', (%d, i, 'x' * r.randrange(3000)))
    db.execute('commit')
    s, = db.execute('select sum(n) from t').fetchone()
    assert s == 2000, s
"""


class Sqlite(unittest.TestCase):
    def setUp(self):
        self.m = Mount()
        self.addCleanup(self.m.close)
        self.box = self.m.create("t")
        self.top = os.path.join(self.box, "workspace")

    def actors(self, here, inside):
        out = [Here(self.top) for _ in range(here)]
        out += [actor_in(self.m, self.box) for _ in range(inside)]
        for a in out:
            self.addCleanup(a.close)
            a(OPEN)
        return out

    def both_sides(self, mode):
        n = int(os.environ.get("ROUNDS", ROUNDS))
        actors = self.actors(2, 2)
        a = actors[0]
        self.assertEqual(
            a("db.execute('pragma journal_mode=%s').fetchone()" % mode),
            (mode,))
        a("db.execute('create table t(k integer primary key, n)') and None")
        a("db.execute('create table log(p, i, s)') and None")
        a("db.executemany('insert into t values (?, 100)', "
          "[(k,) for k in range(20)]) and None")
        for k, x in enumerate(actors):
            x.start("exec(%r, globals())" % (WORK % (k, n, k)))
        for x in actors:
            self.assertIsNone(x.result(200))
        for x in actors:
            self.assertEqual(x(COUNT), (20, 2000))
            self.assertEqual(
                x("db.execute('select count(*) from log').fetchone()"),
                (n * len(actors),))
            self.assertEqual(
                x("db.execute('pragma integrity_check').fetchone()"), ("ok",))

    def test_rollback(self):
        self.both_sides("delete")

    def test_write_ahead_log_in_turns(self):
        a, b, c = self.actors(2, 1)
        a("db.execute('pragma journal_mode=wal') and None")
        a("db.execute('create table t(n)') and None")
        for x in (a, b, c):
            x("db.close()")
        for i in range(8):
            # two at once on one side, then the other
            for x in (a, b) if i % 2 else (c,):
                x(OPEN)
                x.start("exec('for i in range(%d): db.execute("
                        "\"insert into t values (1)\")')" % INSERTS)
            for x in (a, b) if i % 2 else (c,):
                self.assertIsNone(x.result())
                x("db.close()")
        for x in (a, c):
            x(OPEN)
            self.assertEqual(x("db.execute('select sum(n) from t')"
                               ".fetchone()"), (12 * INSERTS,))
            self.assertEqual(
                x("db.execute('pragma integrity_check').fetchone()"), ("ok",))
            x("db.close()")

    def test_git(self):
        script = """
git() { command git -c user.name=x -c user.email=x@x -c gc.auto=0 "$@"; }
set -e
for i in $(seq %d); do
    blob=$(echo "%s $i" | git hash-object -w --stdin)
    tree=$(printf '100644 blob %%s\\tf\\n' $blob | git mktree)
    commit=$(git commit-tree -m $i $tree $(git rev-parse -q --verify %s))
    git update-ref refs/heads/%s $commit
    # one name for all: somebody else's commit is tried over again
    until old=$(git rev-parse -q --verify all || echo); \\
        both=$(git commit-tree -m both $tree ${old:+-p $old} -p $commit); \\
        git update-ref refs/heads/all $both ${old:-0000000000000000000000000000000000000000} 2>/dev/null
    do :; done
done
"""
        n = 8
        repo = os.path.join(self.top, "repo")
        subprocess.run(["git", "init", "-q", repo], check=True)

        def text(who):
            return (script % (n, who, who + " | sed 's/^/-p /'", who)).replace(
                "\\\\", "\\")
        out = []
        t = threading.Thread(target=lambda: out.append(self.m.run(
            "t", "cd repo && (" + text("there") + ") 2>&1; echo $?")))
        t.start()
        here = subprocess.run(["sh", "-c", text("here")], cwd=repo,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        t.join()
        self.assertEqual((here.returncode, here.stdout), (0, b""))
        self.assertEqual(out, [b"0\n"])
        check = ("git -C %s fsck --strict 2>&1; git -C %s rev-list --count all"
                 ).replace("%s", "repo")
        want = b"%d\n" % (4 * n)
        self.assertTrue(self.m.run("t", check).endswith(want))
        self.assertTrue(subprocess.run(
            ["sh", "-c", check], cwd=self.top,
            stdout=subprocess.PIPE).stdout.endswith(want))


if __name__ == "__main__":
    unittest.main()
