#!/usr/bin/python3
"""Locks hold between programs here and with those in the sandbox, both ways:
flock, fcntl and open file descriptions; waiting, signals, ends of processes,
lost connections and lost helpers."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import errno, fcntl, random, signal, tempfile, time, unittest
from sbxactors import Here, actor_in
from sbxmount import RUNS, Mount, wait_for

RD, WR, UN = fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK


class LockTest(unittest.TestCase):
    def setUp(self):
        self.top = os.path.join(self.box, "workspace")
        self.dir = os.path.join(self.top, self.id().split(".")[-1])
        os.mkdir(self.dir)
        with open(self.path("f"), "wb") as f:
            f.write(b"0123456789")

    def path(self, name):
        return os.path.join(self.dir, name)

    def here(self):
        a = Here(self.dir)
        self.addCleanup(a.close)
        a("op(1, 'f')")
        return a

    def inside(self):
        a = actor_in(self.m, self.box, os.path.basename(self.dir))
        self.addCleanup(a.close)
        a("op(1, 'f')")
        a.is_behind = RUNS
        return a

    def gets(self, actor, lock):
        """what another has just given back: unlocking does not wait, and one
        in the folder behind does not wait for the exchange with it either"""
        end = time.monotonic() + 5
        answer = actor(lock)
        while getattr(actor, "is_behind", False) and answer == "EAGAIN":
            self.assertLess(time.monotonic(), end)
            answer = actor(lock)
        self.assertIsNone(answer)

    def waits(self, actor):
        """it asked, and its request has reached the sandbox"""
        for _ in range(100):
            if actor.is_in_a_call():
                break
            time.sleep(0.05)
        time.sleep(0.1)
        self.assertFalse(actor.has_answered())


class Locks(LockTest):
    @classmethod
    def setUpClass(cls):
        cls.m = Mount()
        cls.addClassCleanup(cls.m.close)
        cls.box = cls.m.create("t")

    def exclude(self, a, b, lock, unlock):
        self.assertIsNone(a(lock))
        self.assertIn(b(lock), ("EAGAIN", "EACCES"))
        self.assertIsNone(a(unlock))
        self.gets(b, lock)
        self.assertIn(a(lock), ("EAGAIN", "EACCES"))
        self.assertIsNone(b("cl(1)"))
        self.gets(a, lock)
        self.assertIsNone(a(unlock))

    def all_kinds(self, a, b):
        for lock, unlock in (("lockf(1, EX | NB)", "lockf(1, UN)"),
                             ("flock(1, EX | NB)", "flock(1, UN)"),
                             ("ofd(1, 1)", "ofd(1, 2)")):
            self.exclude(a, b, lock, unlock)
            b("op(1, 'f')")

    def test_here(self):
        self.all_kinds(self.here(), self.here())

    def test_here_and_inside(self):
        self.all_kinds(self.here(), self.inside())

    def test_inside_and_here(self):
        self.all_kinds(self.inside(), self.here())

    def test_shared_and_ranges(self):
        a, b, c = self.here(), self.here(), self.inside()
        for x in (a, b, c):
            self.assertIsNone(x("lockf(1, SH | NB)"))
        self.assertEqual(a("lockf(1, EX | NB)"), "EAGAIN")
        for x in (a, b, c):
            x("lockf(1, UN)")
        self.assertIsNone(a("lockf(1, EX | NB, 3, 0)"))
        self.assertIsNone(b("lockf(1, EX | NB, 3, 3)"))
        self.gets(c, "lockf(1, EX | NB, 0, 6)")
        self.assertEqual(c("lockf(1, EX | NB, 1, 2)"), "EAGAIN")
        # one from the middle of another, and what is left of it
        self.assertIsNone(a("lockf(1, UN, 1, 1)"))
        self.gets(c, "lockf(1, EX | NB, 1, 1)")
        self.assertEqual(c("lockf(1, EX | NB, 1, 0)"), "EAGAIN")
        self.assertEqual(b("lockf(1, EX | NB, 1, 2)"), "EAGAIN")
        # from exclusive to shared and back
        self.assertIsNone(b("lockf(1, SH | NB, 3, 3)"))
        self.assertIsNone(a("lockf(1, SH | NB, 1, 4)"))
        self.assertEqual(b("lockf(1, EX | NB, 3, 3)"), "EAGAIN")
        self.assertIsNone(a("lockf(1, UN, 1, 4)"))
        self.assertIsNone(b("lockf(1, EX | NB, 3, 3)"))

    def test_waiting_and_what_it_waited_for(self):
        for a, b in ((self.here(), self.inside()),
                     (self.inside(), self.here()),
                     (self.here(), self.here())):
            for lock, unlock in (("lockf(1, EX)", "lockf(1, UN)"),
                                 ("flock(1, EX)", "flock(1, UN)"),
                                 ("ofd(1, 1, wait=True)", "ofd(1, 2)")):
                b("os.pwrite(fds[1], b'old', 0)")
                self.sees(a, b"old")
                self.assertIsNone(b(lock))
                a.start(lock)
                self.waits(a)
                b("os.pwrite(fds[1], b'new', 0)")
                self.assertIsNone(b(unlock))
                self.assertIsNone(a.result())
                self.assertEqual(a("os.pread(fds[1], 3, 0)"), b"new")
                a(unlock)

    def sees(self, actor, what):
        """without a lock: at once, but for what is written in the folder
        behind, which is asked for after a second only, or is written here
        and on its way there"""
        def seen():
            return actor("os.pread(fds[1], 3, 0)") == what
        if RUNS:
            wait_for(seen, 5)
        self.assertTrue(seen())

    def test_a_signal_ends_waiting(self):
        a, b = self.here(), self.inside()
        for lock, unlock in (("lockf(1, EX)", "lockf(1, UN)"),
                             ("flock(1, EX)", "flock(1, UN)")):
            b(lock)
            a.start("handle(signal.SIGUSR1, lambda: %s)" % lock)
            self.waits(a)
            begin = time.monotonic()
            a.signal(signal.SIGUSR1)
            self.assertEqual(a.result(), "hit")
            self.assertLess(time.monotonic() - begin, 20)
            # and nothing of it is left
            b(unlock)
            c = self.here()
            self.assertIsNone(c(lock.replace("EX", "EX | NB")))
            c.close()

    def test_a_signal_keeps_what_was_held(self):
        a, b = self.here(), self.here()
        a("lockf(1, SH)")
        b("lockf(1, SH)")
        a.start("handle(signal.SIGUSR1, lambda: lockf(1, EX))")
        self.waits(a)
        a.signal(signal.SIGUSR1)
        self.assertEqual(a.result(), "hit")
        b("lockf(1, UN)")
        self.assertEqual(b("lockf(1, EX | NB)"), "EAGAIN")
        self.assertEqual(b("getlk(1, 1)"), (RD, 0, 0, a.pid))
        a("lockf(1, UN)")
        self.assertIsNone(b("lockf(1, EX | NB)"))

    def test_death_releases(self):
        a, b = self.here(), self.inside()
        for lock in ("lockf(1, EX)", "flock(1, EX)", "ofd(1, 1)"):
            a(lock)
            b.start(lock.replace("(1, 1)", "(1, 1, wait=True)"))
            self.waits(b)
            a.kill()
            self.assertIsNone(b.result())
            b("cl(1)")
            b("op(1, 'f')")
            a = self.here()

    def test_death_while_waiting(self):
        a, b = self.here(), self.inside()
        b("lockf(1, EX)")
        a.start("lockf(1, EX)")
        self.waits(a)
        begin = time.monotonic()
        a.kill()
        self.assertLess(time.monotonic() - begin, 20)
        b("lockf(1, UN)")
        self.assertIsNone(self.here()("lockf(1, EX)"))

    def test_closing_any_file_ends_a_process_locks(self):
        a, b = self.here(), self.inside()
        for flags in ("os.O_RDWR", "os.O_RDONLY", "os.O_WRONLY"):
            a("lockf(1, EX)")
            self.assertEqual(b("lockf(1, EX | NB)"), "EAGAIN")
            a("op(2, 'f', %s)" % flags)
            a("cl(2)")
            self.gets(b, "lockf(1, EX | NB)")
            b("lockf(1, UN)")
            # ... but not those of an open file description
            a("ofd(1, 1)")
            a("op(2, 'f', %s)" % flags)
            a("cl(2)")
            self.assertEqual(b("lockf(1, EX | NB)"), "EAGAIN")
            a("ofd(1, 2)")

    def test_files_of_before_the_first_lock(self):
        """end it, too, when they are closed"""
        box = self.m.create("first")
        self.addCleanup(os.rmdir, box)
        top = os.path.join(box, "workspace")
        a, b = Here(top), actor_in(self.m, box)
        b.is_behind = RUNS
        for x in (a, b):
            self.addCleanup(x.close)
            x("op(1, 'f', os.O_RDWR | os.O_CREAT)")
        a("op(2, 'f', os.O_RDONLY)")
        self.assertIsNone(a("lockf(1, EX)"))
        self.assertEqual(b("lockf(1, EX | NB)"), "EAGAIN")
        a("cl(2)")
        self.gets(b, "lockf(1, EX | NB)")

    def test_one_made_on_both_sides(self):
        """is one file, whoever was faster"""
        a, b = self.here(), self.inside()
        for i in range(4):
            flags = "%r, os.O_RDWR | os.O_CREAT" % ("g%d" % i)
            a("op(2, %s)" % flags)
            b("op(2, %s)" % flags)
            a("op(3, 'g%d', os.O_RDONLY)" % i)
            self.assertIsNone(a("lockf(2, EX | NB)"))
            self.assertIsNone(a("lockf(3, SH | NB)"))
            self.assertEqual(b("lockf(2, EX | NB)"), "EAGAIN")
            a("os.pwrite(fds[2], b'x', 0)")
            self.assertEqual(a("os.pread(fds[3], 2, 0)"), b"x")
            self.assertTrue(a("os.path.samestat(os.fstat(fds[2]), "
                              "os.fstat(fds[3]))"))
            a("cl(3)")
            self.gets(b, "lockf(2, EX | NB)")
            for x in (a, b):
                x("cl(2)")

    def test_files_of_one_process_do_not_conflict(self):
        a, b = self.here(), self.inside()
        a("op(2, 'f', os.O_RDONLY)")
        self.assertIsNone(a("lockf(2, SH | NB, 5, 0)"))
        self.assertIsNone(a("lockf(2, SH | NB, 1, 8)"))
        self.assertIsNone(a("lockf(1, EX | NB, 2, 0)"))
        self.assertEqual(b("lockf(1, SH | NB, 2, 0)"), "EAGAIN")
        self.assertIsNone(b("lockf(1, SH | NB, 3, 2)"))
        self.assertEqual(b("lockf(1, EX | NB, 1, 8)"), "EAGAIN")
        self.assertEqual(a("lockf(2, EX | NB)"), "EBADF")
        a("lockf(2, UN)")
        self.gets(b, "lockf(1, EX | NB)")
        b("lockf(1, UN)")
        # and the other way round
        a("cl(1)")
        a("op(1, 'f', os.O_WRONLY)")
        self.assertIsNone(a("lockf(1, EX | NB, 2, 0)"))
        self.assertIsNone(a("lockf(2, SH | NB, 2, 4)"))
        self.assertEqual(b("lockf(1, SH | NB, 2, 0)"), "EAGAIN")
        self.assertIsNone(b("lockf(1, SH | NB, 2, 4)"))
        self.assertEqual(b("lockf(1, EX | NB, 2, 4)"), "EAGAIN")

    def test_children(self):
        a, b = self.here(), self.inside()
        a("lockf(1, EX)")
        a("flock(1, EX)")
        # not a child's, whose close ends nothing either
        self.assertEqual(a("fork('lockf(1, EX | NB)')"), "'EAGAIN'")
        self.assertEqual(b("lockf(1, EX | NB)"), "EAGAIN")
        # one of the open file is a child's, too
        self.assertEqual(a("fork('flock(1, SH | NB)')"), "None")
        self.assertEqual(b("flock(1, EX | NB)"), "EAGAIN")
        self.assertIsNone(b("flock(1, SH | NB)"))
        b("flock(1, UN)")
        self.assertEqual(a("fork('flock(1, UN)')"), "None")
        self.gets(b, "flock(1, EX | NB)")

    def test_who_holds_it(self):
        a, b, c = self.here(), self.here(), self.inside()
        self.assertEqual(a("getlk(1, 1)")[0], UN)
        a("lockf(1, EX, 2, 4)")
        self.assertEqual(b("getlk(1, 1)"), (WR, 4, 2, a.pid))
        self.assertEqual(b("getlk(1, 1, 1, 0)")[0], UN)
        self.assertEqual(a("getlk(1, 1)")[0], UN)
        self.assertEqual(c("getlk(1, 1)")[:3], (WR, 4, 2))
        a("lockf(1, UN)")
        c("lockf(1, SH, 0, 7)")
        self.assertEqual(a("getlk(1, 1)"), (RD, 7, 0, 0))
        self.assertEqual(a("getlk(1, 0)")[0], UN)

    def test_unlocking_does_not_wait(self):
        a = self.here()
        a("lockf(1, EX)")
        self.m.control("fault delay 1000")
        try:
            begin = time.monotonic()
            a("lockf(1, UN)")
            # an answer takes 2 s
            self.assertLess(time.monotonic() - begin, 1.5)
        finally:
            self.m.control("fault delay 0")

    def test_a_cut_connection_loses_none(self):
        a, b, c = self.here(), self.here(), self.inside()
        a("lockf(1, EX)")
        a("op(2, 'f')")
        a("flock(2, EX)")
        b.start("lockf(1, EX)")
        self.waits(b)
        for _ in range(3):
            self.m.control("fault cut")
            a("os.pwrite(fds[1], b'x', 0)")
            a("os.fsync(fds[1])")
            self.assertEqual(c("lockf(1, EX | NB)"), "EAGAIN")
            self.assertEqual(c("flock(1, EX | NB)"), "EAGAIN")
        self.assertFalse(b.has_answered())
        a("lockf(1, UN)")
        self.assertIsNone(b.result())

    def test_folders_and_control_files(self):
        fd = os.open(self.dir, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(fd)
        with open(os.path.join(self.box, "status")) as f:
            with self.assertRaises(OSError) as e:
                fcntl.flock(f, fcntl.LOCK_EX)
            self.assertEqual(e.exception.errno, errno.EOPNOTSUPP)

    def test_like_a_local_disk(self):
        """the same random calls on a file here and on one of the mount"""
        seed = int(os.environ.get("SEED", "1"))
        r = random.Random(seed)
        with tempfile.TemporaryDirectory() as tmp:
            local = os.path.join(tmp, "f")
            open(local, "w").close()
            paths = {1: local, 2: local, 11: self.path("f"),
                     12: self.path("f")}
            flags = ("os.O_RDWR", "os.O_RDWR", "os.O_RDONLY", "os.O_WRONLY")
            actors = [Here(self.dir) for _ in range(3)]
            for a in actors:
                self.addCleanup(a.close)
                for k in paths:
                    a("op(%d, %r)" % (k, paths[k]))
            actors[0]("lockf(11, EX)")  # from now on every close is told
            for a in actors:
                for k in paths:
                    a("cl(%d)" % k)
                    a("op(%d, %r)" % (k, paths[k]))
            log = []
            for _ in range(int(os.environ.get("STEPS", "600"))):
                who, k = r.randrange(3), r.randrange(1, 3)
                a = actors[who]
                span = "%d, %d" % (r.randrange(6), r.randrange(12))
                how = r.choice((
                    "lockf({}, SH | NB, %s)" % span,
                    "lockf({}, EX | NB, %s)" % span,
                    "lockf({}, UN, %s)" % span,
                    "lockf({}, UN)",
                    "flock({}, SH | NB)", "flock({}, EX | NB)",
                    "flock({}, UN)",
                    "ofd({}, 0, %s)" % span, "ofd({}, 1, %s)" % span,
                    "ofd({}, 2, %s)" % span,
                    "getlk({}, %d, %s)[0] != 2" % (r.randrange(2), span),
                    "getlk({}, %d, %s)[0] != 2" % (r.randrange(2), span),
                    "reopen"))
                log.append((who, k, how))
                if how == "reopen":
                    with_ = r.choice(flags)
                    for j in (k, k + 10):
                        a("cl(%d)" % j)
                        a("op(%d, %r, %s)" % (j, paths[j], with_))
                    continue
                here, there = (a(how.format(j)) for j in (k, k + 10))
                self.assertEqual(there, here,
                                 "SEED=%d %s" % (seed, log[-20:]))

    def test_counter(self):
        """programs on both sides that add to one number"""
        add = ("import fcntl\n"
               "for i in range(%d):\n"
               "  with open('f', 'r+b') as f:\n"
               "    fcntl.%s(f, fcntl.LOCK_EX)\n"
               "    n = int(f.read().split()[0]) + 1\n"
               "    f.seek(0)\n"
               "    f.write(b'%%09d' %% n)\n"
               "    f.flush()\n")
        for kind in ("lockf", "flock"):
            n = 60
            with open(self.path("f"), "w") as f:
                f.write("0" * 9 + "\n")
            actors = [self.here(), self.here(), self.inside(), self.inside()]
            for a in actors:
                a.start("exec(%r)" % (add % (n, kind)))
            for a in actors:
                self.assertIsNone(a.result(120))
            with open(self.path("f")) as f:
                self.assertEqual(int(f.read()), n * len(actors))


class Local(unittest.TestCase):
    def test_locks_that_do_not_reach_the_sandbox(self):
        m = Mount(options=["locks=local"])
        self.addCleanup(m.close)
        box = m.create("t")
        top = os.path.join(box, "workspace")
        a, b, c = Here(top), Here(top), actor_in(m, box)
        for x in (a, b, c):
            self.addCleanup(x.close)
            x("op(1, 'f', os.O_RDWR | os.O_CREAT)")
        for lock in ("lockf(1, EX | NB)", "flock(1, EX | NB)"):
            m.messages()
            self.assertIsNone(a(lock))
            self.assertEqual(b(lock), "EAGAIN")
            self.assertEqual(m.messages(), 0)
            self.assertIsNone(c(lock))


class LostHelper(LockTest):
    """a helper that is gone takes its locks with it"""

    def setUp(self):
        self.m = Mount()
        self.addCleanup(self.m.close)
        self.box = self.m.create("t")
        super().setUp()

    def lose_helper(self):
        if RUNS:  # whose child no command is there
            for pid in self.m.helpers():
                os.kill(pid, signal.SIGKILL)
            return
        try:
            self.m.run("t", "kill -9 $PPID; sleep 60")
        except OSError:
            pass

    def test_taken_again(self):
        a, b = self.here(), self.here()
        a("lockf(1, EX, 2, 0)")
        a("lockf(1, SH, 2, 4)")
        b("flock(1, EX)")
        waiting = self.here()
        waiting.start("lockf(1, EX)")
        self.waits(waiting)
        self.lose_helper()
        if RUNS:  # it is missed by the next exchange
            self.assertIsNone(a("os.fsync(fds[1])"))
        c = self.inside()
        self.assertEqual(c("lockf(1, SH | NB, 2, 0)"), "EAGAIN")
        self.assertIsNone(c("lockf(1, SH | NB, 2, 4)"))
        self.assertEqual(c("lockf(1, EX | NB, 2, 4)"), "EAGAIN")
        self.assertEqual(c("flock(1, SH | NB)"), "EAGAIN")
        self.assertEqual(a("os.pwrite(fds[1], b'x', 0)"), 1)
        c("lockf(1, UN)")
        a("lockf(1, UN)")
        b("flock(1, UN)")
        self.gets(c, "flock(1, EX | NB)")
        self.assertIsNone(waiting.result())
        self.assertEqual(c("lockf(1, EX | NB)"), "EAGAIN")

    def test_taken_by_another_meanwhile(self):
        a, b = self.here(), self.here()
        a("lockf(1, EX)")
        # one that outlives the helper and waits for its end
        self.m.run("t", "cd %s && (setsid python3 -c '"
                   "import fcntl, time\n"
                   "f = open(\"f\", \"r+b\")\n"
                   "open(\"ready\", \"w\")\n"
                   "fcntl.lockf(f, fcntl.LOCK_EX)\n"
                   "open(\"taken\", \"w\")\n"
                   "time.sleep(600)' > /dev/null 2>&1 &)"
                   % os.path.basename(self.dir))
        wait_for(lambda: os.path.exists(self.path("ready")))
        self.lose_helper()
        wait_for(lambda: os.path.exists(self.path("taken")))
        self.assertEqual(a("os.pwrite(fds[1], b'x', 0)"), "EIO")
        self.assertEqual(a("os.fsync(fds[1])"), "EIO")
        self.assertEqual(a("lockf(1, EX)"), "EIO")
        self.assertIsNone(a("lockf(1, UN)"))
        # not others, nor the next one
        self.assertEqual(b("os.pwrite(fds[1], b'x', 0)"), 1)
        a("cl(1)")
        a("op(1, 'f')")
        self.assertEqual(a("os.pwrite(fds[1], b'x', 0)"), 1)


if __name__ == "__main__":
    unittest.main()
