#!/usr/bin/python3
"""sqlite databases that programs here and in the sandbox use at the same
time, with a rollback journal and with a write-ahead log."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import unittest
from sbxactors import Here, Inside
from sbxmount import Mount

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
        out += [Inside(self.box) for _ in range(inside)]
        for a in out:
            self.addCleanup(a.close)
            a(OPEN)
        return out

    def both_sides(self, mode):
        n = int(os.environ.get("ROUNDS", "25"))
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


if __name__ == "__main__":
    unittest.main()
