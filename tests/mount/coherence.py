#!/usr/bin/python3
"""What happens in the sandbox shows here, at once and by itself; what is
written here is there for the next command; nothing is asked twice."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import random, signal, subprocess, threading, time, unittest
from sbxmount import FolderTest, RUNS, wait_for

O_PATH = 0o10000000


class Coherence(FolderTest):
    def setUp(self):
        self.dir = self.top

    def run_(self, command):
        return self.m.run("t", command)

    def test_exec_is_a_barrier_both_ways(self):
        for i in range(100):
            self.put("b", b"%d" % i)
            self.assertEqual(self.run_("cat b; echo in%d > c; rm -f d; "
                                       "mkdir -p e%d" % (i, i)), b"%d" % i)
            self.assertEqual(self.get("c"), b"in%d\n" % i)
            self.assertTrue(os.path.isdir(self.path("e%d" % i)))
            os.rename(self.path("c"), self.path("d"))
            self.assertEqual(self.run_("cat d; ls c 2>&1 | grep -c cannot"),
                             b"in%d\n1\n" % i)

    def test_stat_sees_what_exec_did_at_once(self):
        self.put("s", b"1")
        for i in range(2, 60):
            os.stat(self.path("s"))
            self.run_("head -c %d /dev/zero > s" % i)
            self.assertEqual(os.stat(self.path("s")).st_size, i)

    def test_folder_filled_by_the_command_that_made_it(self):
        os.listdir(self.top)
        # it is told when it is made, and nobody watches it when it is filled
        self.run_("mkdir young; sleep 0.1; mkdir young/a young/b")
        there = self.run_("stat -c '%h %Y' young").split()
        st = os.stat(self.path("young"))
        self.assertEqual([st.st_nlink, int(st.st_mtime)], [4, int(there[1])])

    def test_mode_and_owner_that_it_has_already(self):
        """nobody waits for them, but for the ctime that comes of it"""
        with open(self.path("mode"), "w") as f:
            fd = f.fileno()
            old = os.fstat(fd)
            for change in (
                    lambda: os.fchmod(fd, old.st_mode & 0o7777),
                    lambda: os.fchown(fd, old.st_uid, old.st_gid),
                    lambda: os.fchown(fd, -1, -1)):
                # (a file system's clock has its ticks)
                before = os.fstat(fd).st_ctime_ns
                self.run_("sleep 0.05")
                change()
                st = os.fstat(fd)
                self.assertGreater(st.st_ctime_ns, before)
                s, ns = self.run_("stat -c %.9Z mode").strip().split(b".")
                self.assertEqual(st.st_ctime_ns, int(s) * 10**9 + int(ns))
                self.assertEqual(st.st_mode, old.st_mode)
            os.fchmod(fd, 0o6755)
            os.fchown(fd, old.st_uid, old.st_gid)
            self.assertEqual(
                b"%o" % (os.fstat(fd).st_mode & 0o7777),
                self.run_("stat -c %a mode").strip())

    def test_made_here_and_filled_there(self):
        """at once, by somebody who waits for it"""
        os.mkdir(self.path("in"))
        self.run_("cat > fill.py <<'E'\n"
                  "import os\n"
                  "for i in range(200):\n"
                  "    while True:\n"
                  "        try:\n"
                  "            open('in/d%d/x' % i, 'w').close()\n"
                  "            break\n"
                  "        except FileNotFoundError:\n"
                  "            if os.path.exists('enough'):\n"
                  "                raise SystemExit\n"
                  "E\n"
                  "python3 fill.py > /dev/null 2>&1 &")
        try:
            for i in range(200):
                d = self.path("in/d%d" % i)
                os.mkdir(d)
                os.path.exists(d + "/x")

                def is_there():
                    return os.path.exists(d + "/x") and \
                        os.listdir(d) == ["x"]
                wait_for(is_there)
        finally:
            self.run_("touch enough; rm -f fill.py")
            self.run_("rm enough")

    def test_done_here_and_there_at_once(self):
        """who comes second is told so, and what the first did is seen"""
        rounds = int(os.environ.get("ROUNDS", "60"))
        both = ("import os, random, time\n"
                "def at_once(start, look):\n"
                "    for k in range(%d):\n"
                "        for j, (do, *names) in enumerate((\n"
                "                (os.mkdir, 'm'), (os.rename, 'f', 'g'),\n"
                "                (os.unlink, 'h'))):\n"
                "            names = ['%%s%%d' %% (n, k) for n in names]\n"
                "            at = start + k * 0.03 + j * 0.01\n"
                "            if not look:\n"
                "                at += random.uniform(0, 0.001)\n"
                "            time.sleep(max(0, at - time.time() - 0.002))\n"
                "            while time.time() < at:\n"
                "                pass\n"
                "            try:\n"
                "                do(*names)\n"
                "            except (FileExistsError, FileNotFoundError):\n"
                "                pass\n"
                "            if look and do == os.mkdir:\n"
                "                os.listdir(names[0])\n" % rounds)
        self.run_("mkdir at; cd at; touch $(seq -f f%%g 0 %d) "
                  "$(seq -f h%%g 0 %d)" % (rounds - 1, rounds - 1))
        want = sorted("%s%d" % (n, k) for n in "mg" for k in range(rounds))
        top = self.path("at")
        os.listdir(top)
        start = time.time() + 0.5
        self.run_("cat > at.py <<'E'\n%sat_once(%r, False)\nE\n"
                  "(cd at; python3 ../at.py; touch ended) > at.out 2>&1 &"
                  % (both, start))
        here = subprocess.run(
            ["/usr/bin/python3", "-c",
             "%sat_once(%r, True)\n" % (both, start)], cwd=top,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        wait_for(lambda: os.path.exists(top + "/ended"))
        self.assertEqual(self.run_("rm at/ended; cat at.out"), b"")
        self.assertEqual(here.stdout, b"")
        self.assertEqual(sorted(n for n in want if os.path.exists(
            os.path.join(top, n))), want)
        self.assertEqual(sorted(os.listdir(top)), want)
        self.assertEqual([n % k for n in ("f%d", "h%d") for k in range(rounds)
                          if os.path.exists(os.path.join(top, n % k))], [])

    @unittest.skipIf(RUNS, "nothing is pushed")
    def test_written_here_and_there_at_once(self):
        """by one who keeps it open there: no page stays as it was"""
        rounds = int(os.environ.get("ROUNDS", "60"))
        self.put("both", b"x" * 4096 * 17)
        here = os.open(self.path("both"), os.O_RDWR)
        self.addCleanup(os.close, here)
        there = os.open(os.path.join(self.m.sandbox_dir("t"), "both"),
                        os.O_RDWR)
        self.addCleanup(os.close, there)
        go = threading.Barrier(2)
        written = threading.Event()

        def write_there():
            for k in range(1, rounds):
                go.wait(60)
                time.sleep(0.001 + 0.003 * random.random())
                os.pwrite(there, b"%04d" % k, 4096 * (1 + k % 16))
                written.set()

        def is_seen():
            return os.pread(here, 4096 * 17, 0) == os.pread(
                there, 4096 * 17, 0)
        os.pread(here, 4096 * 17, 0)
        os.pwrite(there, b"0000", 4096)
        wait_for(is_seen)
        writer = threading.Thread(target=write_there)
        writer.start()
        self.addCleanup(writer.join)
        self.addCleanup(go.abort)
        for k in range(1, rounds):
            written.clear()
            go.wait(60)
            while not written.is_set():
                os.pwrite(here, b"%04d" % k, 0)
            os.fsync(here)
            wait_for(is_seen, 10)

    def test_opened_here_and_replaced_there(self):
        """an open file is what it was when it was opened"""
        for i in range(10):
            self.run_("echo old%d > r; echo new > r.new" % i)
            fd = os.open(self.path("r"), os.O_RDONLY)
            self.run_("mv r.new r")
            self.assertEqual(os.fstat(fd).st_size, 5)
            self.assertEqual(os.read(fd, 100), b"old%d\n" % i)
            os.close(fd)
            self.assertEqual(self.get("r"), b"new\n")
        # one whose content is here as a whole
        fd = os.open(self.path("r"), os.O_RDONLY)
        self.run_("echo newer > r.new; mv r.new r")
        self.assertEqual(os.fstat(fd).st_size, 4)
        self.assertEqual(os.read(fd, 100), b"new\n")
        os.close(fd)

    def test_replaced_there_all_the_time_and_opened_here(self):
        """some version is there whenever it is opened, newer each time"""
        self.run_("echo 0 > all; cat > replace.py <<'E'\n"
                  "import os, sys\n"
                  "i = 0\n"
                  "while not os.path.exists('enough'):\n"
                  "    i += 1\n"
                  "    with open('all.new', 'w') as f:\n"
                  "        f.write('%d\\n' % i)\n"
                  "    os.rename('all.new', 'all')\n"
                  "E\n"
                  "python3 replace.py > /dev/null 2>&1 &")
        last = 0
        try:
            wait_for(lambda: int(self.get("all")) > 1, 60)
            for i in range(int(os.environ.get("OPENS", "500"))):
                now = int(self.get("all"))
                self.assertGreaterEqual(now, last)
                last = now
        finally:
            self.put("enough", b"")
        self.assertGreater(last, 1)

    def test_opened_here_and_changed_and_removed_there(self):
        os.mkdir(self.path("left"))
        for i in range(30):
            name = "left/%d" % i
            self.put(name, b"")
            with open(self.path(name), "rb") as f:
                os.fstat(f.fileno())
                self.run_("printf 1 > " + name)
                self.assertEqual(f.read(), b"1")
                self.run_((": > {0}; rm {0}", "printf 123 > {0}; "
                           "echo > new; mv new {0}")[i % 2].format(name))
                st = os.fstat(f.fileno())
                self.assertEqual((st.st_size, st.st_nlink), (3 * (i % 2), 0))
                self.assertEqual(os.pread(f.fileno(), 9, 0), b"123"[:st.st_size])

    def test_changed_by_a_name_that_is_then_anothers(self):
        os.mkdir(self.path("names"))
        for i in range(30):
            a, b = "names/a%d" % i, "names/b%d" % i
            self.put(a, b"1")
            os.link(self.path(a), self.path(b))
            self.run_("true")
            self.assertEqual(self.get(a), b"1")
            self.run_("printf 23 >> %s; echo > new; mv new %s" % (b, b))
            st = os.stat(self.path(a))
            self.assertEqual((st.st_size, st.st_nlink), (3, 1))
            self.assertEqual(self.get(a), b"123")

    def test_folder_exchanged_for_one_that_is_new(self):
        """and one that went there and back, which events tell the same way"""
        exchange = ("import ctypes; ctypes.CDLL(None).renameat2(-100, b'%s', "
                    "-100, b'%s', 2)")
        for after in (exchange % ("xd/e", "xf/d"),
                      "os.rmdir('xf/d/a'); os.rmdir('xf/d'); "
                      "os.rename('xd/e', 'xf/d'); os.rename('xf/d', 'xd/e')"):
            self.run_("mkdir -p xd/e/a xd/e/b xf")
            subprocess.run(["ls", "-lR", self.path("xd"), self.path("xf")],
                           check=True, stdout=subprocess.DEVNULL)
            self.run_("python3 -c \"import os; os.makedirs('xf/d/a'); %s\"" %
                      after)
            subprocess.run(["rm", "-r", self.path("xd"), self.path("xf")],
                           check=True)

    def test_folder_with_the_inode_number_of_one_that_is_gone(self):
        os.makedirs(self.path("top/old/in"))
        self.assertEqual(os.listdir(self.path("top/old/in")), [])
        ino = os.stat(self.path("top/old/in")).st_ino
        fd = os.open(self.path("top/old/in"), os.O_RDONLY)  # remembered
        self.addCleanup(os.close, fd)
        self.run_("rm -r top/old")
        name = self.run_("cd top; for i in $(seq 300); do mkdir $i; "
                         "[ $(stat -c %%i $i) = %d ] && { mkdir $i/x; "
                         "echo top/$i; break; }; done; true" % ino).decode().strip()
        if not name:
            self.skipTest("this file system does not give a number again")
        self.assertEqual(os.listdir(self.path(name)), ["x"])
        self.put(name + "/f", b"x")
        self.run_("mv %s/f %s/g" % (name, name))
        self.assertEqual(sorted(os.listdir(self.path(name))), ["g", "x"])

    def renamed_by_links_while_open(self, make, flags):
        there = self.m.sandbox_dir("t")
        os.listdir(self.dir)
        for i in range(20):
            old, new = "old%d" % i, "new%d" % i
            make(old)
            fd = os.open(self.path(old), flags)
            try:
                if flags != os.O_RDONLY or i % 2:
                    self.assertEqual(os.pread(fd, 6000, 0), b"a" * 5000)
                os.link(os.path.join(there, old), os.path.join(there, new))
                os.unlink(os.path.join(there, old))
                wait_for(lambda: os.path.exists(self.path(new)))
                self.put(new, b"b" * 5000)
                self.assertEqual(os.pread(fd, 6000, 0), b"b" * 5000, i)
            finally:
                os.close(fd)
                os.unlink(self.path(new))

    def test_link_with_the_inode_number_of_one_that_is_gone(self):
        self.run_("ln -s 0 l")
        for i in range(1, 20):
            self.assertEqual(os.readlink(self.path("l")), "%d" % (i - 1))
            self.run_("rm l; ln -s %d n; mv n l" % i)
        self.assertEqual(os.listdir(self.top).count("l"), 1)
        self.assertEqual(os.readlink(self.path("l")), "19")

    def test_open_here_and_given_another_name_there(self):
        def here(name):
            self.put(name, b"a" * 5000)

        def known(name):
            """all of it is in the kernel, so it is not opened there"""
            self.run_("head -c 5000 /dev/zero | tr '\\0' a > %s" % name)
            for _ in range(2):
                self.assertEqual(self.get(name), b"a" * 5000)

        self.renamed_by_links_while_open(here, os.O_RDWR)
        self.renamed_by_links_while_open(here, os.O_RDONLY)
        self.renamed_by_links_while_open(known, os.O_RDONLY)

    def test_hard_links(self):
        """what is done by one name shows by all, at once, wherever it is"""
        self.run_("mkdir links-d links-e links-f")
        # listed, looked into, and never heard of
        known, seen, far = "links-d", "links-e", "links-f"
        script = """
            ln A D/b | ln A E/b | rm A | mv D/b A | ln A D/b
            echo x >> E/b | chmod 600 D/b | : > E/b | echo y > D/b
            touch -d @1000 E/b | mv E/b E/c | mv E/c F/c | echo zz >> F/c
            chmod 640 F/c | mv F/c F/d | ln F/d F/e | rm F/d | rm A
            echo more >> F/e | ln D/b A | rm F/e | mv A F/a | echo 1 >> F/a
            echo 2 >> D/b | echo new > E/n; mv E/n D/b | echo 3 >> F/a
            ln F/a A | echo 4 >> F/a | rm F/a | echo 5 >> A
            """.replace("\n", "|").split("|")
        names = ["A", "D/b", "E/b", "E/c"]
        place = {"A": "links-a", "D": known, "E": seen, "F": far}

        def real(s):
            for k, v in place.items():
                s = s.replace(k, v)
            return s
        self.run_(real("echo first > A"))
        os.listdir(self.top)
        os.listdir(self.path(known))
        self.assertFalse(os.path.exists(self.path(seen + "/none")))
        kept = {}
        look = ("for f in %s; do [ ! -e $f ] || { stat -c '%%n %%h %%s %%a "
                "%%.9Y %%.9Z %%i' $f; md5sum < $f; }; done" %
                " ".join(map(real, names)))
        for line in filter(None, map(str.strip, script)):
            there = self.run_(real(line) + "; " + look).decode()
            here = subprocess.run(look, shell=True, cwd=self.top, check=True,
                                  capture_output=True).stdout.decode()
            self.assertEqual(here, there, line)
            for n in map(real, names):
                if n not in kept and os.path.exists(self.path(n)):
                    kept[n] = os.open(self.path(n), os.O_RDONLY)
                    self.addCleanup(os.close, kept[n])

    def test_written_there_by_a_name_that_is_gone(self):
        ways = (lambda name: os.unlink(self.path(name)),
                lambda name: self.run_("rm " + name),
                lambda name: os.rename(self.path("other"), self.path(name)),
                lambda name: self.run_("mv other " + name))
        for i, way in enumerate(ways):
            f, gone, go = "kept%d" % i, "gone%d" % i, "go%d" % i
            self.put(f, b"one\n")
            self.put("other", b"other\n")
            os.link(self.path(f), self.path(gone))
            self.run_("{ exec 3>>%s; touch open%d; until [ -e %s ]; do "
                      "sleep .01; done; echo two >&3; touch done%d; } "
                      ">/dev/null 2>&1 & until [ -e open%d ]; do sleep .01; "
                      "done" % (gone, i, go, i, i))
            self.assertEqual(self.get(f), b"one\n")
            way(gone)
            self.assertEqual(self.get(f), b"one\n")
            self.assertEqual(os.stat(self.path(f)).st_size, 4)
            self.run_("touch %s; until [ -e done%d ]; do sleep .01; done" %
                      (go, i))
            self.assertEqual(os.stat(self.path(f)).st_size, 8, i)
            self.assertEqual(self.get(f), b"one\ntwo\n", i)

    def test_too_many_changes_are_compared_before_the_end_is_seen(self):
        os.mkdir(self.path("of"))
        for i in range(40):
            os.mkdir(self.path("of/d%d" % i))
            self.put("of/d%d/f" % i, b"old")
        noise = ["noise1", "noise2"]
        for n in noise:
            self.put(n, b"")
        self.run_(":")
        there = self.m.sandbox_dir("t")
        subprocess.run(["find", self.path("of"), "-ls"], check=True,
                       stdout=subprocess.DEVNULL)
        stopped = self.m.helpers()
        self.m.signal_all(stopped, signal.SIGSTOP)
        try:
            self.m.overflow([os.path.join(there, n) for n in noise])
            for i in range(40):
                with open(os.path.join(there, "of/d%d/f" % i), "wb") as f:
                    f.write(b"newer")
                os.mkdir(os.path.join(there, "of/d%d/e" % i))
        finally:
            self.m.signal_all(stopped, signal.SIGCONT)
        self.run_(":")
        for i in range(40):
            d = self.path("of/d%d" % i)
            self.assertEqual(os.stat(d).st_nlink, 3, i)
            self.assertEqual(os.stat(d + "/f").st_size, 5, i)
            self.assertEqual(self.get(d + "/f"), b"newer", i)

    @unittest.skipIf(RUNS, "nothing is pushed")
    def test_background_change_is_pushed(self):
        """seen within 100 ms of being made, by a reader of cached data"""
        # of many, for a busy machine may be late
        self.assertTrue(any(self.lateness("fresh%d" % i) < 0.1
                            for i in range(20)))

    def lateness(self, fresh):
        self.put("p", b"old")
        self.assertEqual(self.get("p"), b"old")
        os.listdir(self.top)
        self.assertFalse(os.path.exists(self.path(fresh)))
        # the command ends at once; its child writes later, with its own time
        self.run_("(sleep 0.5; date +%%s.%%N > p; touch %s) "
                  ">/dev/null 2>&1 &" % fresh)
        # truncated first, then written
        wait_for(lambda: self.get("p").endswith(b"\n"))
        late = time.time() - float(self.get("p"))
        wait_for(lambda: os.path.exists(self.path(fresh)))
        return late

    def test_removed_and_renamed_inside(self):
        self.put("x1", b"1")
        self.put("x2", b"2")
        os.makedirs(self.path("dir/sub"))
        self.put("dir/sub/f", b"f")
        self.assertEqual(self.get("dir/sub/f"), b"f")
        self.run_("rm x1; mv x2 x3; mv dir dir2")
        self.assertFalse(os.path.exists(self.path("x1")))
        self.assertFalse(os.path.exists(self.path("x2")))
        self.assertEqual(self.get("x3"), b"2")
        self.assertFalse(os.path.exists(self.path("dir")))
        self.assertEqual(self.get("dir2/sub/f"), b"f")
        self.run_("echo g > dir2/sub/f")
        self.assertEqual(self.get("dir2/sub/f"), b"g\n")

    def test_same_size_same_second(self):
        for i in range(40):
            self.run_("echo %03d > z" % i)
            self.assertEqual(self.get("z"), b"%03d\n" % i)

    def test_growing_log_is_followed(self):
        self.put("log", b"")
        self.run_("(for i in 1 2 3 4 5; do echo line$i >> log; sleep 0.05; "
                  "done) >/dev/null 2>&1 &")
        wait_for(lambda: self.get("log").count(b"\n") == 5)
        self.assertEqual(self.get("log"), b"line1\nline2\nline3\nline4\nline5\n")

    def messages(self):
        """messages that went towards the sandbox since the last call"""
        return self.m.messages()

    def test_nothing_is_asked_twice(self):
        os.mkdir(self.path("many"))
        self.run_("cd many; for i in $(seq 300); do echo $i > f$i; done")
        self.messages()
        names = [e.name for e in os.scandir(self.path("many"))
                 if e.stat().st_size]
        self.assertEqual(len(names), 300)
        first = self.messages()
        # one request for the listing and its attributes; acknowledgements
        # of what came back are not requests but are messages, too
        self.assertLessEqual(first, 3)
        for _ in range(5):
            for n in names:
                os.stat(self.path("many/" + n))
            os.listdir(self.path("many"))
            self.assertFalse(os.path.exists(self.path("many/none")))
        self.assertEqual(self.messages(), 0)

    def test_linked_here_where_the_other_view_has_not_looked(self):
        os.mkdir(self.path("unseen"))
        root = self.m.path("t", "root") + self.run_("pwd").decode().strip()
        for i in range(10):
            name = "seen%d" % i
            self.put(name, b"1")
            self.run_("true")
            self.assertEqual(os.stat(os.path.join(root, name)).st_nlink, 1)
            os.link(self.path(name), self.path("unseen/" + name))
            self.run_("true")
            self.assertEqual(os.stat(os.path.join(root, name)).st_nlink, 2)

    def test_two_trees_of_one_sandbox_agree(self):
        cwd = self.run_("pwd").decode().strip()
        other = self.m.path("t", "root") + cwd
        self.put("both", b"one")
        with open(os.path.join(other, "both"), "rb") as f:
            self.assertEqual(f.read(), b"one")
        self.put("both", b"three")

        def agrees():
            with open(os.path.join(other, "both"), "rb") as f:
                return f.read() == b"three"
        wait_for(agrees)

    def read_and_open(self, name, top):
        """Open, though the sandbox was not asked: all of it is known."""
        self.run_("printf old > %s" % name)
        path = os.path.join(top, name)
        with open(path, "rb") as f:
            self.assertEqual(f.read(), b"old")
        # a word goes along with the next that somebody waits for
        wait_for(lambda: self.run_("true") == b"" and not self.is_open(name))
        fd = os.open(path, os.O_RDONLY)
        self.addCleanup(os.close, fd)
        return fd

    def is_open(self, name):
        """there, by a helper"""
        path = os.path.join(self.m.sandbox_dir("t"), name)
        for p in self.m.helpers():
            for fd in os.listdir("/proc/%d/fd" % p):
                try:
                    with open("/proc/%d/fdinfo/%s" % (p, fd)) as f:
                        flags = int(f.read().split("flags:")[1].split()[0], 8)
                    if not flags & O_PATH and os.path.samefile(
                            "/proc/%d/fd/%s" % (p, fd), path):
                        return True
                except OSError:
                    pass
        return False

    def views(self):
        cwd = self.run_("pwd").decode().strip()
        return self.top, self.m.path("t", "root") + cwd

    def test_open_and_changed_by_a_command_that_removes_it(self):
        for top in self.views():
            fd = self.read_and_open("brief", top)
            self.run_("printf new 1<>brief; rm brief")
            self.assertEqual(os.pread(fd, 9, 0), b"new")

    def test_open_for_long_and_changed_by_who_removes_it(self):
        path = os.path.join(self.m.sandbox_dir("t"), "long")
        for top in self.views():
            fd = self.read_and_open("long", top)
            wait_for(lambda: self.is_open("long"))
            with open(path, "r+b", 0) as f:
                f.write(b"new")
            os.unlink(path)
            self.run_("true")
            self.assertEqual(os.pread(fd, 9, 0), b"new")


if __name__ == "__main__":
    unittest.main()
