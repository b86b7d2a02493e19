#!/usr/bin/python3
"""The content of small files comes before they are opened: thousands of them
cost a few round trips, and none is ever read as it was."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import base64, re, signal, subprocess, time, unittest
from sbxmount import FolderTest, RUNS, wait_for

DAYS_AGO = int(time.time()) - 3 * 86400


class Ahead(FolderTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        os.listdir(cls.top)

    def setUp(self):
        """a folder of its own, with none beside it"""
        self.name = self.id().rpartition(".")[2]
        self.dir = os.path.join(self.top, self.name, "d")
        self.run_("true")

    def run_(self, command):
        """in the sandbox, in that folder"""
        return self.m.run("t", "mkdir -p %s/d; cd %s/d; %s" %
                          (self.name, self.name, command))

    def stats(self):
        with open(self.m.path(".sbxfs", "stats")) as f:
            text = f.read()
        return {k: int(v) for k, v in re.findall(
            r'^sbxfs_(\w+)_total\{sandbox="t"\} (\d+)$', text, re.M)} | {
            k: int(v) for k, v in re.findall(
                r'^sbxfs_requests_total\{sandbox="t",op="(\w+)"\} (\d+)$',
                text, re.M)}

    def fill(self, n=12, more=""):
        self.run_("for i in $(seq %d); do echo old$i > f$i; done; %s" %
                  (n, more))

    def read_some(self):
        """The others' content is here after that; their names."""
        names = sorted(os.listdir(self.dir))
        for name in names[:3]:
            self.assertEqual(self.get(name), b"old%s\n" % name[1:].encode())
        if not RUNS:  # there it comes with the listing
            self.assertGreater(self.stats().get("content", 0), 0)
        self.m.run("t", "true")  # is answered behind it
        return names[3:]

    def test_many_cost_few_round_trips(self):
        self.run_("for d in $(seq 30); do mkdir d$d; for i in $(seq 20); do "
                  "echo line $d $i > d$d/f$i; done; done")
        before = self.stats()["round_trips"]
        out = subprocess.run(["grep", "-r", "line", "."], cwd=self.dir,
                             stdout=subprocess.PIPE, check=True).stdout
        trips = self.stats()["round_trips"] - before
        self.assertEqual(sorted(out.splitlines()), sorted(
            b"./d%d/f%d:line %d %d" % (d, i, d, i)
            for d in range(1, 31) for i in range(1, 21)))
        self.assertLess(trips, 60)

    def test_by_name_too(self):
        self.run_("for d in $(seq 30); do mkdir d$d; for i in $(seq 20); do "
                  "echo line $d $i > d$d/f$i; done; done")
        before = self.stats()["round_trips"]
        for d in sorted(os.listdir(self.dir)):
            for f in sorted(os.listdir(self.path(d))):
                self.assertEqual(self.get(d + "/" + f), b"line %s %s\n" % (
                    d[1:].encode(), f[1:].encode()))
        self.assertLess(self.stats()["round_trips"] - before, 90)

    def test_one_round_trip_for_one_file(self):
        self.run_("echo data > f")
        os.stat(self.dir)
        before = self.stats()["round_trips"]
        self.assertEqual(self.get("f"), b"data\n")
        # where it comes with the listing there is none
        self.assertEqual(self.stats()["round_trips"] - before,
                         0 if RUNS else 1)

    def test_changed_there(self):
        """of the same size and, as far as that can be, with the same times"""
        self.fill()
        for name in self.read_some():
            self.run_("touch -r {0} ref; printf 'NEW%s' $(tail -c +4 {0}) "
                      "| head -c $(stat -c %s {0}) > new; cat new > {0}; "
                      "echo >> {0}; touch -r ref {0}".format(name))
            self.assertEqual(self.get(name), b"NEW%s\n" % name[1:].encode())

    def test_grown_there(self):
        self.fill()
        for name in self.read_some():
            self.run_("echo more >> " + name)
            self.assertEqual(self.get(name),
                             b"old%s\nmore\n" % name[1:].encode())

    def test_cut_there(self):
        self.fill()
        a, b = self.read_some()[:2]
        self.run_(": > %s; truncate -s 2 %s" % (a, b))
        self.assertEqual((self.get(a), self.get(b)), (b"", b"ol"))

    def test_replaced_there(self):
        self.fill()
        for name in self.read_some():
            self.run_("echo new > x; touch -r {0} x; mv x {0}".format(name))
            self.assertEqual(self.get(name), b"new\n")

    def test_exchanged_there(self):
        self.fill()
        a, b = self.read_some()[:2]
        self.run_("mv %s x; mv %s %s; mv x %s" % (a, b, a, b))
        self.assertEqual(self.get(a), b"old%s\n" % b[1:].encode())
        self.assertEqual(self.get(b), b"old%s\n" % a[1:].encode())

    def test_removed_there(self):
        self.fill()
        name = self.read_some()[0]
        self.run_("rm " + name)
        with self.assertRaises(FileNotFoundError):
            self.get(name)

    def test_forbidden_there(self):
        self.fill()
        if self.m.run("t", "id -u") == b"0\n":
            self.skipTest("nothing is forbidden to root there")
        a, b = self.read_some()[:2]
        self.run_("chmod 000 %s; chmod 200 %s" % (a, b))
        for name in a, b:
            with self.assertRaises(PermissionError):
                self.get(name)
        self.run_("chmod 600 " + a)
        self.assertEqual(self.get(a), b"old%s\n" % a[1:].encode())

    def test_folder_renamed_there(self):
        self.fill()
        name = self.read_some()[0]
        self.run_("cd ..; mv d e; mkdir d; echo other > d/" + name)
        self.assertEqual(self.get(name), b"other\n")
        self.assertEqual(self.get("../e/" + name),
                         b"old%s\n" % name[1:].encode())

    def test_written_here(self):
        self.fill()
        a, b, c, d = self.read_some()[:4]
        with open(self.path(a), "r+b") as f:
            f.write(b"OLD")
        os.truncate(self.path(b), 2)
        os.truncate(self.path(b), 4)
        os.rename(self.path(c), self.path(d))
        self.assertEqual(self.get(a), b"OLD%s\n" % a[1:].encode())
        self.assertEqual(self.get(b), b"ol\0\0")
        self.assertEqual(self.get(d), b"old%s\n" % c[1:].encode())

    def test_written_here_and_read_again(self):
        """nobody waits for what was just written, under whatever name"""
        os.listdir(self.dir)
        for size in 1, 4096, 5000, 60000:
            data = os.urandom(size)
            self.put("new", data)
            os.utime(self.path("new"), (1, 2))
            os.link(self.path("new"), self.path("other"))
            os.rename(self.path("new"), self.path("name"))
            os.stat(self.path("name"))
            before = self.stats()["round_trips"]
            self.assertEqual(self.get("name"), data)
            self.assertEqual(self.stats()["round_trips"], before)
            self.assertEqual(base64.b64decode(self.run_("base64 name")), data)
            os.unlink(self.path("name"))
            self.assertEqual(self.get("other"), data)
            os.unlink(self.path("other"))

    def test_written_here_and_changed_there(self):
        os.listdir(self.dir)
        for change, expected in (
                ("echo NEW > f", b"NEW\n"), ("echo more >> f", b"old\nmore\n"),
                ("echo new > x; mv x f", b"new\n"),
                ("touch -r f ref; echo NEW > f; touch -r ref f", b"NEW\n"),
                ("truncate -s 2 f", b"ol"),
                ("mv f x; mkdir -p away; mv x away/f; echo NEW > away/f; "
                 "mv away/f f", b"NEW\n")):
            self.put("f", b"old\n")
            self.run_(change)
            self.assertEqual(self.get("f"), expected, change)

    def test_written_here_in_parts(self):
        """over and over, cut, with holes, by two at once"""
        os.listdir(self.dir)
        with open(self.path("f"), "wb", buffering=0) as f:
            f.write(b"0123456789")
            f.seek(2)
            f.write(b"ab")
        self.assertEqual(self.get("f"), b"01ab456789")
        with open(self.path("f"), "r+b", buffering=0) as f:
            f.write(b"xy")
        self.assertEqual(self.get("f"), b"xyab456789")
        with open(self.path("f"), "wb", buffering=0) as f:
            f.write(b"0123456789")
            f.truncate(4)
            f.truncate(6)
        self.assertEqual(self.get("f"), b"0123\0\0")
        with open(self.path("f"), "wb", buffering=0) as f:
            f.write(b"01")
            with open(self.path("f"), "r+b", buffering=0) as g:
                g.seek(2)
                g.write(b"23")
            f.write(b"45")
        self.assertEqual(self.get("f"), b"0145")
        with open(self.path("f"), "ab", buffering=0) as f:
            f.write(b"67")
        self.assertEqual(self.get("f"), b"014567")

    def test_written_here_and_there_at_a_time(self):
        os.listdir(self.dir)
        with open(self.path("f"), "wb", buffering=0) as f:
            f.write(b"old\n")
            self.run_("echo NEW > f")
        self.assertEqual(self.get("f"), b"NEW\n")
        with open(self.path("f"), "wb", buffering=0) as f:
            f.write(b"01")
            self.run_("printf XY | dd of=f conv=notrunc 2> /dev/null")
            f.write(b"23")
        self.assertEqual(self.get("f"), b"XY23")

    def test_written_to_a_folder_nobody_watches_then(self):
        self.run_("mkdir o")
        self.put("f", b"old\n")
        os.rename(self.path("f"), self.path("o/f"))
        self.run_("touch -r o/f ref; echo NEW > o/f; touch -r ref o/f")
        self.assertEqual(self.get("o/f"), b"NEW\n")

    def test_other_name_of_the_file(self):
        """a change by way of another name, in another folder"""
        self.fill(more="mkdir ../o; for f in f*; do ln $f ../o/$f; done")
        os.listdir(self.path("../o"))
        names = sorted(os.listdir(self.dir))
        for name in names[:3]:
            self.get(name)
        for name in names[3:]:
            self.run_("echo new > ../o/" + name)
            self.assertEqual(self.get(name), b"new\n")

    def test_open_and_removed_there(self):
        self.fill()
        name = self.read_some()[0]
        with open(self.path(name), "rb", buffering=0) as f:
            self.run_("rm " + name)
            self.assertEqual(f.read(), b"old%s\n" % name[1:].encode())

    def test_counts_as_read_when_it_is(self):
        self.fill(more="touch -a -d @%d f*" % DAYS_AGO)
        a, b = self.read_some()[:2]

        def atimes():
            return [int(t) for t in self.run_(
                "stat -c %%X %s %s" % (a, b)).split()]
        self.assertEqual(atimes(), [DAYS_AGO, DAYS_AGO])
        self.get(a)
        self.assertEqual(atimes()[1], DAYS_AGO)
        self.assertGreater(atimes()[0], DAYS_AGO)

        def is_shown():
            return os.stat(self.path(a)).st_atime > DAYS_AGO
        wait_for(is_shown)
        self.assertEqual(os.stat(self.path(b)).st_atime, DAYS_AGO)

    def test_after_the_connection_was_cut(self):
        self.fill()
        a, b, c = self.read_some()[:3]
        self.m.control("fault cut")
        self.run_("echo new > " + a)
        for name in b, c:
            self.assertEqual(self.get(name), b"old%s\n" % name[1:].encode())
        self.assertEqual(self.get(a), b"new\n")

    def test_after_the_helper_was_lost(self):
        self.fill()
        a, b = self.read_some()[:2]
        there = os.path.join(self.m.sandbox_dir("t"), self.name, "d")
        pids = self.m.helpers()
        self.m.signal_all(pids, signal.SIGSTOP)
        with open(os.path.join(there, a), "w") as f:
            f.write("new\n")
        self.m.signal_all(pids, signal.SIGKILL)

        def is_new():
            return self.get(a) == b"new\n"
        wait_for(is_new)
        self.assertEqual(self.get(b), b"old%s\n" % b[1:].encode())

    def test_no_more_than_may_be_of_use(self):
        self.run_("for i in $(seq 300); do head -c 60000 /dev/zero > f$i; "
                  "done")
        before = self.stats()["received_bytes"]
        for name in sorted(os.listdir(self.dir))[:4]:
            self.assertEqual(len(self.get(name)), 60000)
        self.m.run("t", "true")
        self.assertLess(self.stats()["received_bytes"] - before, 3 << 20)


if __name__ == "__main__":
    unittest.main()
