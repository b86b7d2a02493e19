"""The tables of the man page, and the tests of their rows."""
import errno
import os
import re

HERE = os.path.dirname(os.path.abspath(__file__))


def table(n, section="PLAIN MODE"):
    """{operation: what comes of it} of the section's n-th table"""
    with open(os.path.join(HERE, "..", "..", "fuse", "sbxfs.1")) as f:
        text = f.read().split(".Sh " + section)[1].split(".Sh ")[0]
    text = re.findall(r"^\.Bl -column.*?^\.El", text, re.M | re.S)[n]
    rows = re.findall(r"^\.It (.*) Ta (.*)$", text, re.M)
    assert len(rows) == len(re.findall(r"^\.It ", text, re.M)), text
    return dict(row for row in rows if not row[0].startswith("Em "))


class Rows:
    def __init__(self):
        self.tests = {}

    def of(self, text):
        """makes a function the test of that row"""
        def keep(fn):
            self.tests[text] = fn
            return fn
        return keep


def check_rows(t, rows, tests, begin=lambda n: None, done="works", but=()):
    """Each row has a test; what does not fail begins with done; but: rows
    that are not looked at."""
    t.assertEqual(sorted(rows), sorted(tests))
    for n, (text, result) in enumerate(rows.items()):
        if text in but:
            continue
        begin(n)
        with t.subTest(text):
            if not result.startswith("Er "):
                t.assertTrue(result.startswith(done), result)
                tests[text](t)
                continue
            with t.assertRaises(OSError) as e:
                tests[text](t)
            t.assertEqual(e.exception.errno,
                          getattr(errno, result.split()[1]))


def exit_of(t, text):
    """what cannot be started says why in its output"""
    out = t.m.run("t", text).decode()
    with open(os.path.join(t.box, "jobs", "last", "exit_code")) as f:
        t.assertIn(f.read(), ("126\n", "127\n"))
    for e in errno.errorcode:
        if os.strerror(e) in out:
            raise OSError(e, out)
    t.fail(out)
