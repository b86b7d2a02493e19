#!/usr/bin/python3
"""sbxrun: a command in the sandbox of the current directory behaves as if it
ran here: streams, exit status, signals, terminal.  MB= makes it more."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import fcntl, hashlib, pty, re, signal, struct, subprocess, termios, threading
import unittest
from sbxmount import BUILD, RUNS, SERVICE, Mount, wait_for

MB = int(os.environ.get("MB", "16")) << 20
# a shell may overlook a signal while it starts a program
READY = ["perl", "-e", '$| = 1; print "ready\n"; sleep 1000']
SBXRUN = os.path.join(BUILD, "sbxrun")
streams = unittest.skipIf(RUNS, "nothing reaches what runs, nor comes of it")


def at_terminal(words, cwd):
    """on a terminal of its own: the program, and what controls it"""
    master, slave = pty.openpty()
    p = subprocess.Popen(
        words, cwd=cwd, stdin=slave, stdout=slave, stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    os.close(slave)
    return p, master


def rest(master):
    """what is shown there until all have closed it"""
    seen = b""
    try:
        while piece := os.read(master, 1000):
            seen += piece
    except OSError:
        pass
    os.close(master)
    return seen


class Run(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.m = Mount()
        cls.m.create("t")
        os.makedirs(cls.m.path("t", "workspace", "d"))

    @classmethod
    def tearDownClass(cls):
        cls.m.close()

    def path(self, *parts):
        return self.m.path("t", "workspace", *parts)

    def text(self, *parts):
        with open(self.m.path("t", *parts)) as f:
            return f.read()

    def run_(self, *args, cwd=None, stdin=subprocess.DEVNULL, **more):
        if "input" in more:
            stdin = None
        return subprocess.run([SBXRUN] + list(args), timeout=120,
                              cwd=cwd or self.path(), stdin=stdin,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              **more)

    def sh(self, script):
        env = dict(os.environ, PATH=BUILD + ":" + os.environ["PATH"])
        return subprocess.run(["bash", "-c", script], cwd=self.path(),
                              env=env, stdin=subprocess.DEVNULL, timeout=120,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def popen(self, *args, **more):
        p = subprocess.Popen([SBXRUN] + list(args), cwd=self.path(),
                             stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, **more)
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        return p

    def test_streams_and_status(self):
        r = self.run_("sh", "-c", "echo out; echo err >&2; exit 7")
        self.assertEqual((r.returncode, r.stdout, r.stderr),
                         (7, b"out\n", b"err\n"))
        odd = ["a b", "", "\"\\\t\n\x01\x7f", "\u00e4\U0001f600", "-e", "$x"]
        r = self.run_("printf", "[%s]", *odd)
        self.assertEqual(r.stdout.decode(), "".join("[%s]" % a for a in odd))

    def test_input_that_is_cut_short_is_no_success(self):
        folder = os.open("/", os.O_RDONLY)
        self.addCleanup(os.close, folder)
        r = self.run_("cat", stdin=folder)
        self.assertEqual((r.returncode, r.stderr),
                         (125, b"sbxrun: stdin: Is a directory\n"))

    def test_same_directory(self):
        inside = self.run_("pwd").stdout.decode().strip()
        for cwd, want in ((self.path("d"), inside + "/d"),
                          (self.m.path("t"), inside),
                          (self.m.path("t", "jobs"), inside),
                          (self.m.path("t", "root", "tmp"), "/tmp"),
                          (self.m.path("t", "root"), "/")):
            r = self.run_("pwd", cwd=cwd)
            self.assertEqual(r.stdout.decode(), want + "\n", r.stderr)
            r = self.run_("-d", cwd, "--", "pwd", cwd="/")
            self.assertEqual(r.stdout.decode(), want + "\n", r.stderr)
        os.mkdir(self.m.path("other"))
        a = self.run_("-d", "other", "pwd", cwd=self.m.mnt)
        b = self.run_("-d", "other", "pwd", cwd=self.path("d"))
        self.assertEqual((a.returncode, a.stdout), (b.returncode, b.stdout))
        os.rmdir(self.m.path("other"))

    def test_a_folder_that_looks_like_a_sandbox(self):
        os.makedirs(self.path("fake", "jobs", "new"))
        open(self.path("fake", "exec"), "w").close()
        r = self.run_("basename", "x", cwd=self.path("fake"))
        self.assertEqual((r.returncode, r.stdout), (0, b"x\n"))

    def test_environment_and_user(self):
        os.environ["PASSED_ON"] = "on"
        r = self.run_("-e", "A=1 2", "-e", "A=3=4", "-e", "PASSED_ON", "-e",
                      "NOT_THERE", "sh", "-c", "echo $A $PASSED_ON $HERE")
        self.assertEqual(r.stdout, b"3=4 on\n")
        r = self.run_("-u", "nobody-at-all", "true")
        self.assertEqual(r.returncode, 125)
        self.assertIn(b"user", r.stderr)

    def test_failures(self):
        r = self.run_("nosuchcommand")
        self.assertEqual((r.returncode, r.stdout), (127, b""))
        self.assertIn(b"nosuchcommand" if RUNS else
                      b"cannot run nosuchcommand", r.stderr)
        r = self.run_("/etc/passwd")
        self.assertEqual(r.returncode, 126)
        r = self.run_("true", cwd="/")
        self.assertEqual((r.returncode, r.stdout), (125, b""))
        self.assertIn(b"/ is not in a sandbox", r.stderr)
        r = self.run_("-d", self.m.path("t", "nowhere"), "true", cwd="/")
        self.assertEqual(r.returncode, 125)
        r = self.run_("-d", self.m.mnt, "true")
        self.assertEqual(r.returncode, 125)
        for bad in ((), ("-q", "x"), ("-e", "=x", "true"), ("--nonsense",)):
            self.assertEqual(self.run_(*bad).returncode, 125)
        r = self.run_(b"echo", b"\xff")
        self.assertEqual(r.returncode, 125)
        self.assertIn(b"UTF-8", r.stderr)
        self.assertEqual(self.run_("--help").returncode, 0)
        self.assertIn(b"sbxrun ", self.run_("--version").stdout)

    def test_binary_pipes(self):
        # what it reads goes with it, as text, and what it prints is text
        data = os.urandom(1 << 20) * (MB >> 20)
        if RUNS:
            r = self.run_("cat", input=data)
            self.assertEqual((r.returncode, r.stdout), (125, b""))
            self.assertIn(b"File too large", r.stderr)
            data = bytes(range(128)) * 500
        r = self.run_("cat", input=data)
        self.assertEqual(r.returncode, 0)
        self.assertEqual(hashlib.sha256(r.stdout).digest(),
                         hashlib.sha256(data).digest())
        r = self.run_("sh", "-c", "cat >&2", input=data[:3000000])
        self.assertEqual(r.stderr, data[:3000000])

    def test_output_that_cannot_be_written(self):
        r = self.sh("sbxrun echo x >/dev/full; echo $?; "
                    "sbxrun sh -c 'echo x >&2; exit 3' 2>/dev/full; echo $?; "
                    "sbxrun echo x >/dev/full 2>&1; echo $?")
        self.assertEqual(r.stdout, b"125\n125\n125\n")
        self.assertIn(b"sbxrun: stdout: No space left", r.stderr)

    def test_closed_streams_are_no_control_files(self):
        """what is printed would be the next command"""
        self.run_("true")
        for _ in range(3):
            before = os.readlink(self.m.path("t", "jobs", "last"))
            r = self.sh("sbxrun sh -c 'echo true; sleep 0.2' >&-; echo $?; "
                        "sbxrun sh -c 'echo true >&2; exit 3' 2>&-; echo $?; "
                        "sbxrun true >&- 2>&- <&-; echo $?")
            self.assertEqual(r.stdout, b"125\n125\n0\n")
            self.assertIn(b"sbxrun: stdout: Bad file descriptor", r.stderr)
            after = os.readlink(self.m.path("t", "jobs", "last"))
            self.assertEqual(int(after), int(before) + 3)

    def test_outputs_in_one_file_keep_their_order(self):
        lines = "".join("echo %d >&%d; " % (i, 1 + i % 2) for i in range(100))
        want = [str(i) for i in range(100)]
        for how in (">both 2>&1", "2>&1 | cat >both", "2>&1 >both 2>&1"):
            self.sh("sbxrun sh -c '%s' %s" % (lines, how))
            with open(self.path("both")) as f:
                self.assertEqual(f.read().split(), want, how)
        # two open files, of one name
        self.sh(": >both; sbxrun sh -c 'echo out; echo err >&2' >>both 2>>both")
        with open(self.path("both")) as f:
            self.assertEqual(sorted(f.read().split()), ["err", "out"])
        self.assertEqual(self.run_("sh", "-c", "echo err >&2").stderr, b"err\n")
        if RUNS:  # it would be printed to no end
            return
        r = self.sh("sbxrun sh -c 'yes; echo $? >&2' 2>&1 | head -1")
        self.assertEqual(r.stdout, b"y\n")

    def test_many_arguments(self):
        n = 9000 if RUNS else 60000  # which are 97 KiB as words of a shell
        r = self.sh("sbxrun sh -c 'echo $#' sh $(seq %d); "
                    "sbxrun true $(seq 70000); echo $?" % n)
        self.assertEqual(r.stdout, b"%d\n125\n" % n)
        self.assertIn(b'"argv" has more than', r.stderr)

    def test_tar_in_and_out(self):
        # all of what goes in must be less than 100,000 bytes there
        nr, z = (50, " | base64") if RUNS else (200, "")
        r = self.sh("mkdir in out && for i in $(seq %d); do echo $i >in/$i; "
                    "done && tar c -C in . | sbxrun tar x -C out && "
                    "sbxrun sh -c 'tar c out%s'%s | tar t | wc -l && "
                    "diff -r in out" % (nr, z, z and z + " -d"))
        self.assertEqual((r.stdout, r.stderr), (b"%d\n" % (nr + 1), b""))

    def test_end_of_input(self):
        self.assertEqual(self.run_("wc", "-c").stdout, b"0\n")
        self.assertEqual(self.run_("-n", "wc", "-c",
                                   input=b"x").stdout, b"0\n")
        r = self.sh("exec 0<&-; sbxrun wc -c")
        self.assertEqual(r.stdout, b"0\n")
        if RUNS:  # all of it is waited for, up to what a command may have
            r = self.sh("yes | sbxrun true; echo ${PIPESTATUS[@]}")
            self.assertEqual(r.stdout, b"141 125\n")
            self.assertIn(b"stdin: File too large", r.stderr)
            return
        # who does not want its input does not hold up the end
        r = self.sh("yes | sbxrun true; echo ${PIPESTATUS[@]}")
        self.assertEqual(r.stdout, b"141 0\n")
        r = self.sh("yes | sbxrun sh -c 'exec 0<&-; echo a; exit 3'; "
                    "echo ${PIPESTATUS[1]}")
        self.assertEqual(r.stdout, b"a\n3\n")

    @streams
    def test_pipes_that_others_made_nonblocking(self):
        """which is of the pipe, not of the program: ours may be one"""
        data = os.urandom(1 << 20)
        in_r, in_w = os.pipe()
        out_r, out_w = os.pipe()
        os.set_blocking(in_r, False)
        os.set_blocking(out_w, False)
        p = subprocess.Popen([SBXRUN, "sh", "-c", "echo ready; cat"],
                             cwd=self.path(), stdin=in_r, stdout=out_w,
                             stderr=subprocess.PIPE)
        os.close(in_r)
        os.close(out_w)
        with open(out_r, "rb") as out:
            self.assertEqual(out.readline(), b"ready\n")
            with open(in_w, "wb", buffering=0) as f:
                t = threading.Thread(target=lambda: (f.write(data), f.close()))
                t.start()
                self.assertEqual(out.read(), data)
                t.join()
        self.assertEqual((p.communicate()[1], p.returncode), (b"", 0))

    @streams
    def test_output_that_nobody_wants(self):
        r = self.sh("sbxrun yes | head -1; echo ${PIPESTATUS[@]}")
        self.assertEqual((r.stdout, r.stderr), (b"y\n141 0\n", b""))
        # also one that takes no notice of the signal
        r = self.sh("sbxrun sh -c 'trap \"\" PIPE; while echo y; do :; done; "
                    "exit 5' 2>/dev/null | head -1; echo ${PIPESTATUS[@]}")
        self.assertEqual(r.stdout, b"y\n5 0\n")
        r = self.sh("sbxrun seq 100000 >/dev/full; echo $?")
        self.assertIn(b"No space left", r.stderr)

    @unittest.skipIf(not RUNS, "they reach it: see below")
    def test_signals_that_reach_no_command(self):
        p = self.popen("sh", "-c", "until [ -e go ]; do sleep 0.02; done; "
                       "echo end; kill -USR1 $$")
        wait_for(lambda: "running" in self.text("jobs", "last", "status"))
        p.send_signal(signal.SIGTERM)
        self.m.release("t", "go")
        self.assertEqual(p.stdout.read(), b"end\n")
        self.assertEqual(p.wait(60), 128 + signal.SIGUSR1)
        p.stdout.close()

    @streams
    def test_signals(self):
        for signo in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP,
                      signal.SIGQUIT):
            p = self.popen(*READY)
            self.assertEqual(p.stdout.readline(), b"ready\n")
            p.send_signal(signo)
            self.assertEqual(p.wait(60), 128 + signo)
            p.stdout.close()
        p = self.popen("sh", "-c", "trap 'echo got; exit 9' USR1; "
                       "echo ready; while :; do sleep 0.05; done")
        self.assertEqual(p.stdout.readline(), b"ready\n")
        p.send_signal(signal.SIGUSR1)
        self.assertEqual(p.wait(60), 9)
        self.assertEqual(p.stdout.read(), b"got\n")
        p.stdout.close()
        r = self.run_("sh", "-c", "kill -SEGV $$")
        self.assertEqual(r.returncode, 139)

    def test_ignored_signals_are_not_passed_on(self):
        p = self.popen("sh", "-c", "echo ready; read x; sleep 1; echo end",
                       preexec_fn=lambda: signal.signal(signal.SIGHUP,
                                                        signal.SIG_IGN))
        self.assertEqual(p.stdout.readline(), b"ready\n")
        p.send_signal(signal.SIGHUP)
        self.assertEqual(p.stdout.read(), b"end\n")
        self.assertEqual(p.wait(60), 0)
        p.stdout.close()

    @streams
    def test_stopped_and_continued(self):
        # not a shell: it waits unstoppably for a stopped child to start
        p = self.popen("perl", "-e",
                       '$| = 1; print "$$\\n"; sleep 1 while 1')
        pid = int(p.stdout.readline())
        state = "cut -d ' ' -f 3 /proc/%d/stat" % pid

        def remote_state():
            return self.run_("sh", "-c", state).stdout.strip()
        p.send_signal(signal.SIGTSTP)
        wait_for(lambda: remote_state() == b"T")

        def local_state():
            with open("/proc/%d/stat" % p.pid) as f:
                return f.read().split()[2]
        wait_for(lambda: local_state() == "T")
        p.send_signal(signal.SIGCONT)
        wait_for(lambda: remote_state() != b"T")
        p.send_signal(signal.SIGTERM)
        self.assertEqual(p.wait(60), 143)
        p.stdout.close()

    @unittest.skipIf(SERVICE == "vtrix", "which needs the helper")
    def test_what_needs_no_terminal_runs_without(self):
        m = self.m if RUNS else Mount(["helper=off"])
        if m is not self.m:
            self.addCleanup(m.close)
            m.create("t")
        p, master = at_terminal([SBXRUN, "sh", "-c", "tty; exit 3"],
                                m.path("t", "workspace"))
        self.assertEqual(rest(master), b"not a tty\r\n")
        self.assertEqual(p.wait(60), 3)
        p, master = at_terminal([SBXRUN, "wc", "-c"],
                                m.path("t", "workspace"))
        if not RUNS:  # where there is no input
            os.write(master, b"abc\n\x04")
        self.assertEqual(rest(master).split()[-1], b"0" if RUNS else b"4")
        self.assertEqual(p.wait(60), 0)
        r = subprocess.run([SBXRUN, "-t", "true"], stderr=subprocess.PIPE,
                           cwd=m.path("t", "workspace"))
        self.assertEqual(r.returncode, 125)
        self.assertIn(b"it can have no terminal there", r.stderr)

    @streams
    def test_terminal(self):
        master, slave = pty.openpty()
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("4H", 33, 77, 0, 0))
        p = subprocess.Popen(
            [SBXRUN, "sh", "-c", "tty; stty size; echo $TERM; read x; "
             "echo got $x; stty size; read y; exit 4"],
            cwd=self.path(), stdin=slave, stdout=slave, stderr=slave,
            env=dict(os.environ, TERM="xterm-test"), start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        seen = b""

        def until(word):
            nonlocal seen
            while word not in seen:
                seen += os.read(master, 1000)
        until(b"33 77\r\n")
        until(b"xterm-test")
        self.assertIn(b"/dev/", seen)
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("4H", 40, 99, 0, 0))
        os.kill(p.pid, signal.SIGWINCH)
        os.write(master, b"abc\n")
        until(b"got abc")
        until(b"40 99")
        os.write(master, b"\x04")  # end of input, as typed
        self.assertEqual(p.wait(60), 4)
        self.assertEqual(seen.count(b"abc"), 2)  # its echo is the other one
        os.close(slave)
        os.close(master)
        # interrupted by its own terminal
        master, slave = pty.openpty()
        p = subprocess.Popen(
            [SBXRUN] + READY, cwd=self.path(),
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        seen = b""
        until(b"ready")
        os.write(master, b"\x03")
        self.assertEqual(p.wait(60), 130)
        os.close(slave)
        os.close(master)

    @streams
    def test_input_does_not_overtake_a_new_size(self):
        # as when the signal for it comes late: here it never does
        def on_terminal():
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            signal.signal(signal.SIGWINCH, signal.SIG_IGN)
        master, slave = pty.openpty()
        size = struct.pack("4H", 33, 77, 0, 0)
        fcntl.ioctl(master, termios.TIOCSWINSZ, size)
        p = subprocess.Popen(
            [SBXRUN, "sh", "-c", "while read x; do stty size; done"],
            cwd=self.path(), stdin=slave, stdout=slave, stderr=slave,
            start_new_session=True, preexec_fn=on_terminal)
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        seen = b""
        for rows in 33, 40, 50:
            size = struct.pack("4H", rows, 77, 0, 0)
            fcntl.ioctl(master, termios.TIOCSWINSZ, size)
            os.write(master, b"\n")
            while not re.search(rb"\d+ 77\r\n\Z", seen):
                seen += os.read(master, 1000)
            self.assertIn(b"%d 77" % rows, seen)
            seen = b""
        os.write(master, b"\x04")
        self.assertEqual(p.wait(60), 0)
        os.close(slave)
        os.close(master)

    @streams
    def test_terminal_on_demand(self):
        r = self.run_("-t", "sh", "-c", "test -t 1 && tty >/dev/null; echo $?")
        self.assertEqual(r.stdout, b"0\r\n")
        self.assertEqual(self.run_("-T", "test", "-t", "1").returncode, 1)

    def test_fifty_at_once(self):
        got = {}

        def one(i):
            r = self.run_("sh", "-c", "read x; echo $x; exit %d" % i,
                          input=b"%d\n" % i)
            got[i] = (r.returncode, r.stdout)
        ts = [threading.Thread(target=one, args=(i,)) for i in range(50)]
        [t.start() for t in ts]
        [t.join(200) for t in ts]
        for i in range(50):
            self.assertEqual(got[i], (i, b"%d\n" % i))

    def requests(self):
        """of the kernel that somebody waited for, this look not counted"""
        with open(os.path.join(self.m.mnt, ".sbxfs", "stats")) as f:
            ops = dict(re.findall(
                r'^sbxfs_operations_total\{op="(\w+)"\} (\d+)$', f.read(),
                re.M))
        return sum(int(ops.get(op, 0)) for op in (
            "lookup", "getattr", "open", "read", "write", "flush"))

    def asked(self, script):
        """the fewest requests of some runs: the kernel forgets some names
        after a second"""
        least = 1000
        for _ in range(5):
            before = self.requests()
            own = self.requests() - before
            before = self.requests()
            self.assertEqual(self.sh(script).returncode, 0)
            least = min(least, self.requests() - before - own)
        return least

    def test_asks_little_of_the_mount(self):
        self.assertLessEqual(self.asked("exec sbxrun true"), 17)
        self.assertLessEqual(self.asked("exec sbxrun true 2>&1"), 13)

    def test_a_control_file_is_looked_up_once(self):
        """name, open, read, flush"""
        self.assertLessEqual(self.asked("exec 3<../jobs/new; read -u 3 n; "
                                        "[ -z $n ]"), 4)

    @unittest.skipIf(RUNS, "a command ends there when its output does")
    def test_what_outlives_the_command(self):
        r = self.run_("sh", "-c", "sleep 1000 & echo $!")
        self.assertEqual(r.returncode, 0)
        self.assertEqual(self.run_("kill", r.stdout.decode().strip())
                         .returncode, 0)


class OneSandbox(unittest.TestCase):
    def test_nothing_in_it_is_taken_for_a_sandbox(self):
        m = Mount()
        self.addCleanup(m.close)
        m.create("t")
        m.unmount()
        top = m.source()
        m.source = lambda: top + "/t"
        m.start()
        os.mkdir(m.path("workspace", "d"))
        for name in ("info.json", "d/info.json", "new", ".sbxfs"):
            open(m.path("workspace", name), "w").close()
        there = m.run("", "pwd").strip()
        for cwd, want in (("", there), ("workspace", there), ("jobs", there),
                          ("workspace/d", there + b"/d"),
                          ("root/tmp", b"/tmp")):
            r = subprocess.run([SBXRUN, "pwd"], cwd=m.path(*cwd.split("/")),
                               stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE)
            self.assertEqual(r.returncode, 0)
            self.assertEqual(r.stdout, want + b"\n")


class ReadOnly(unittest.TestCase):
    def test_says_that_it_is_read_only(self):
        m = Mount()
        self.addCleanup(m.close)
        m.create("t")
        m.unmount()
        m.start(["ro"])
        r = subprocess.run([SBXRUN, "true"], cwd=m.path("t"),
                           stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.assertEqual(r.returncode, 125)
        self.assertIn(b"Read-only", r.stderr)


if __name__ == "__main__":
    unittest.main()
