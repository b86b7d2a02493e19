#!/usr/bin/python3
"""terminals/: full-screen programs, job control, attaching again, hanging
up, and bounds; the screen is drawn by a terminal emulator and compared."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import errno, hashlib, json, re, select, subprocess, threading, time, unittest
import pyte
from sbxmount import RUNS, SandboxTest, wait_for


class Screen(pyte.Screen):
    """vim asks for things that this emulator does not know"""

    def select_graphic_rendition(self, *attrs, private=False):
        if not private:
            super().select_graphic_rendition(*attrs)

    def report_device_status(self, mode, private=False):
        pass


class Terminal:
    """One open data file, and the screen that its bytes draw."""

    def __init__(self, path, cols=80, rows=24):
        self.path = path
        self.screen = Screen(cols, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.fd = os.open(path + "/data", os.O_RDWR | os.O_NONBLOCK)
        self.raw = b""
        self.ended = False

    def close(self):
        os.close(self.fd)

    def read(self):
        try:
            while not self.ended:
                piece = os.read(self.fd, 65536)
                self.ended = not piece
                self.raw += piece
                self.stream.feed(piece)
        except BlockingIOError:
            pass

    def type(self, text):
        data = text.encode()
        end = time.monotonic() + 60
        while data:
            select.select([], [self.fd], [], 60)
            try:
                data = data[os.write(self.fd, data):]
            except BlockingIOError:
                if time.monotonic() > end:
                    raise

    def shows(self, pattern, seconds=60):
        """Waits until the screen shows it."""
        end = time.monotonic() + seconds
        while True:
            self.read()
            text = "\n".join(self.screen.display)
            if re.search(pattern, text):
                return text
            if time.monotonic() > end or self.ended:
                raise AssertionError("%r is not on the screen:\n%s"
                                     % (pattern, text))
            select.select([self.fd], [], [], 1)


@unittest.skipIf(RUNS, "a command has no terminal there")
class Terminals(SandboxTest):
    def write(self, text, *parts):
        fd = os.open(self.path(*parts), os.O_WRONLY)
        try:
            os.write(fd, text if isinstance(text, bytes) else text.encode())
        finally:
            os.close(fd)

    def new(self, name, cols=80, rows=24):
        """A plain shell with a prompt that is known."""
        os.mkdir(self.path("terminals", name))
        self.addCleanup(self.gone, name)
        if (cols, rows) != (80, 24):
            self.write("%d %d" % (cols, rows), "terminals", name, "size")
        t = Terminal(self.path("terminals", name), cols, rows)
        self.addCleanup(t.close)
        t.type("exec env -u ENV -u PROMPT_COMMAND bash --norc --noprofile\n"
               "PS1='rea''dy> '; clear\n")
        t.shows(r"(?m)\Aready> *$")
        return t

    def gone(self, name):
        if name in os.listdir(self.path("terminals")):
            os.rmdir(self.path("terminals", name))

    def test_a_login_shell_in_the_workspace(self):
        os.mkdir(self.path("terminals", "login"))
        self.addCleanup(self.gone, "login")
        t = Terminal(self.path("terminals", "login"))
        self.addCleanup(t.close)
        t.type("case $0 in -*) echo log''in;; *) echo \"$0 $-\";; esac\n")
        t.type("shopt -q login_shell && echo log''in\n")
        t.shows(r"(?m)^login")
        t.type("pwd; tty; echo $TERM; stty size\n")
        t.shows(r"/dev/pts/\d+\s+xterm-256color\s+24 80")
        where = self.m.run("t", "pwd").decode().strip()
        self.assertIn(where, "".join(t.screen.display))
        self.assertEqual(self.text("terminals", "login", "command"),
                         "login shell\n")
        self.assertEqual(self.text("terminals", "login", "size"), "80 24\n")
        t.type("exit 7\n")
        self.assertEqual(self.text("terminals", "login", "exit_code"), "7\n")
        p = select.poll()
        p.register(t.fd, select.POLLIN)
        end = time.monotonic() + 60
        while not t.ended and time.monotonic() < end:
            p.poll(1000)
            t.read()
        self.assertTrue(t.ended)
        self.fails(errno.EIO, os.write, t.fd, b"x")
        self.fails(errno.ESRCH, self.write, "90 30", "terminals", "login",
                   "size")

    def test_vim(self):
        t = self.new("vim", 100, 30)
        t.type("vim -u NONE -i NONE -n hello.txt\n")
        t.shows(r'"hello.txt" \[New')
        t.type("ihello world\x1b")
        t.type("yy20p:wq\n")
        t.shows(r"(?m)^ready> *$")
        self.assertEqual(self.text("workspace", "hello.txt"),
                         "hello world\n" * 21)
        t.type("vim -u NONE -i NONE -n hello.txt\n")
        t.shows(r'\A(hello world *\n){21}(~ *\n){8}"hello.txt" 21')
        # it hears of a new size at once
        t.screen.reset()
        t.screen.resize(12, 60)
        self.write("60 12\n", "terminals", "vim", "size")
        t.shows(r"\A(hello world *\n){11}")
        t.type(":set columns? lines?\n")
        t.shows(r"columns=60")
        t.type("\x1b:q!\n")
        t.shows(r"(?m)^ready> *$")
        self.assertEqual(self.text("terminals", "vim", "size"), "60 12\n")

    def test_top(self):
        t = self.new("top")
        t.type("top -d 1\n")
        t.shows(r"PID +USER")
        late = Terminal(self.path("terminals", "top"))
        self.addCleanup(late.close)
        late.shows(r"\Atop - [^\n]*\nTasks:[^$]*PID +USER")
        t.type("q")
        late.shows(r"(?m)^ready> *$")
        t.shows(r"(?m)^ready> *$")

    def test_job_control(self):
        t = self.new("jc")
        # what it prints shows that it is in the foreground by then; no shell:
        # one that is just starting a program cannot be stopped (vfork(2))
        t.type("perl -e '$| = 1; $SIG{CONT} = sub {print \"contin\".\"ued\\n\"}; "
               "print \"star\".\"ted\\n\"; sleep 1 while 1'\n")
        t.shows("(?m)^started")
        t.type("\x1a")
        t.shows(r"Stopped +perl -e")
        t.type("clear; fg\n")
        t.shows(r"(?m)^continued")
        t.type("\x03")
        t.shows(r"\^C\s+ready>")
        t.type("echo status $?\n")
        t.shows("status 130")
        t.type("echo it''cat; cat\n")
        t.shows(r"(?m)^itcat")
        t.type("some line\n\x04")
        t.shows(r"some line\s+some line\s+ready>")

    def test_vim_stopped_and_continued_in_another_size(self):
        t = self.new("fg")
        t.type("vim -u NONE -i NONE -n\n")
        t.shows("VIM - Vi IMproved")
        t.type("iunsaved text\x1b")
        t.shows(r"(?m)\Aunsaved text *$")
        t.type("\x1a")
        t.shows(r"Stopped +vim")
        t.screen.resize(15, 70)
        self.write("70 15\n", "terminals", "fg", "size")
        t.type("clear; stty size\n")
        t.shows(r"\A15 70 *\nready>")
        t.type("fg\n")
        t.shows(r"\Aunsaved text *\n(~ *\n){13}")
        t.type(":set columns? lines?\n")
        t.shows(r"lines=15")
        t.type("\x1b:q!\n")
        t.shows(r"(?m)^ready> *$")

    def test_less(self):
        t = self.new("less")
        t.type("seq 1 300 >n; LESS= less n\n")
        t.shows(r"\A" + "".join(r"%d *\n" % i for i in range(1, 24)))
        t.type("100g")
        t.shows(r"\A" + "".join(r"%d *\n" % i for i in range(100, 123)))
        t.screen.reset()
        t.screen.resize(10, 40)
        self.write("40 10\n", "terminals", "less", "size")
        t.type("r")  # it overlooks a signal just before it reads
        t.shows(r"\A" + "".join(r"%d *\n" % i for i in range(100, 109)))
        t.type("G")
        t.shows(r"299 *\n300 *\n")
        t.type("q")
        t.shows(r"(?m)^ready> *$")

    def test_attach_again_and_two_readers(self):
        t = self.new("att")
        t.type("vim -u NONE -i NONE -n\n")
        t.shows(r"VIM - Vi IMproved")
        t.type("iseen by all\x1b")
        t.shows(r"seen by all")
        other = Terminal(self.path("terminals", "att"))
        other.shows(r"(?m)^seen by all")
        t.type("o2nd line\x1b")
        for one in (t, other):
            one.shows(r"2nd line")
        os.close(t.fd)
        other.type("o3rd line\x1b")
        other.shows("3rd line")
        other.close()
        t.fd = os.open(self.path("terminals", "att", "data"),
                       os.O_RDWR | os.O_NONBLOCK)
        again = Terminal(self.path("terminals", "att"))
        again.shows(r"seen by all\s+2nd line\s+3rd line")
        again.close()
        t.type(":q!\n")

    def test_a_reader_that_does_not_read_holds_nobody_back(self):
        t = self.new("slow")
        lazy = os.open(self.path("terminals", "slow", "data"), os.O_RDWR)
        t.type("seq 1 400000; echo en''d\n")  # 2.7 MB
        t.shows(r"(?m)^end")
        os.set_blocking(lazy, False)
        kept = b""
        while True:
            try:
                kept += os.read(lazy, 65536)
            except BlockingIOError:
                break
            select.select([lazy], [], [], 1)
        os.close(lazy)
        self.assertIn(b"\r\n400000\r\nend", kept)
        late = Terminal(self.path("terminals", "slow"))
        late.shows(r"(?m)^end")
        late.close()
        # whole lines, the last 256 KiB of them
        lines = late.raw.split(b"\r\n")
        self.assertTrue(lines[0].isdigit(), lines[0])
        self.assertLess(len(late.raw), 600000)
        self.assertGreater(len(late.raw), 200000)

    def test_much_input_waits_and_arrives(self):
        t = self.new("inp")
        # only once the terminal is raw, or the line discipline eats it
        t.type("stty raw -echo; echo ra''w; head -c 2000000 | md5sum; "
               "stty sane\n")
        t.shows("(?m)^raw")
        data = b"0123456789abcdef" * 125000
        sent = threading.Thread(target=self.blocking_write,
                                args=("inp", data))
        sent.start()
        t.shows(hashlib.md5(data).hexdigest(), 120)
        sent.join()

    def blocking_write(self, name, data):
        with open(self.path("terminals", name, "data"), "wb",
                  buffering=0) as f:
            while data:
                data = data[f.write(data[:65536]):]

    def test_rmdir_hangs_up(self):
        t = self.new("hup")
        t.type("sleep 1000 & sh -c 'echo star\"\"ted; exec sleep 1001'\n")
        t.shows("(?m)^started")
        t.type("\x1a")
        t.shows("Stopped")
        t.type("jobs -p >pids; echo $$ >>pids; sleep 1002 & "
               "echo $! >>pids; clear; fg\n")
        t.shows("(?m)^s(leep|h -c)")
        stubborn = self.new("stubborn")
        stubborn.type("trap '' HUP; echo $$ >>pids; clear; echo do''ne\n")
        stubborn.shows("(?m)^done")
        pids = self.text("workspace", "pids").split()
        self.assertEqual(len(pids), 5)
        for one in ("hup", "stubborn"):
            os.rmdir(self.path("terminals", one))
            self.assertNotIn(one, os.listdir(self.path("terminals")))

        def are_over():
            return not self.m.run("t", "; ".join(
                "test ! -e /proc/%s || grep -v ^State:.Z /proc/%s/status | "
                "grep ^State" % (p, p) for p in pids))
        wait_for(are_over, 60)
        for one in (t, stubborn):
            while not one.ended:
                select.select([one.fd], [], [], 1)
                one.read()

    def test_new(self):
        before = set(os.listdir(self.path("terminals")))
        self.assertEqual(self.text("terminals", "new"), "")
        self.assertEqual(set(os.listdir(self.path("terminals"))), before)
        fd = os.open(self.path("terminals", "new"), os.O_RDWR)
        name = os.read(fd, 100).decode().strip()
        self.assertEqual(os.pread(fd, 100, 0).decode().strip(), name)
        os.close(fd)
        self.addCleanup(self.gone, name)
        self.assertIn(name, os.listdir(self.path("terminals")))
        fd = os.open(self.path("terminals", "new"), os.O_RDWR)
        os.write(fd, json.dumps({"command": "echo $A; tty; exit 3",
                                 "env": {"A": "b"}}).encode())
        name = os.read(fd, 100).decode().strip()
        os.close(fd)
        self.addCleanup(self.gone, name)
        self.assertEqual(self.text("terminals", name, "exit_code"), "3\n")
        with open(self.path("terminals", name, "data"), "rb") as f:
            self.assertRegex(f.read(), rb"\Ab\r\n/dev/pts/\d+\r\n\Z")
        fd = os.open(self.path("terminals", "new"), os.O_RDWR)
        self.fails(errno.ENOENT, os.write, fd, b'{"argv":["/nonexistent"]}')
        os.write(fd, b'{"argv":')
        self.fails(errno.EINVAL, os.read, fd, 10)
        os.close(fd)
        self.assertIn("not a JSON object", self.text("status"))

    def test_new_takes_several_lines(self):
        """written as shells do, one by one"""
        before = set(os.listdir(self.path("terminals")))
        for text in ("A=b\necho $A\nexit 3\n",
                     '{"command":\n"echo $A; exit 3",\n"env": {"A": "b"}\n}\n'):
            r = subprocess.run(
                ["bash", "-c", 'exec 3<>new; printf "%s" "$1" >&3; read n <&3;'
                 'echo $n; exec 3<>new; read n <&3; echo $n', "bash", text],
                cwd=self.path("terminals"), stdout=subprocess.PIPE, timeout=60)
            name, shell = r.stdout.decode().split()
            self.addCleanup(self.gone, name)
            self.assertEqual(set(os.listdir(self.path("terminals"))) - before,
                             {name, shell})
            os.rmdir(self.path("terminals", shell))
            self.assertEqual(self.text("terminals", name, "exit_code"), "3\n")
            with open(self.path("terminals", name, "data"), "rb") as f:
                self.assertEqual(f.read(), b"b\r\n")
            os.rmdir(self.path("terminals", name))

    def test_names_and_sizes(self):
        self.fails(errno.EEXIST, os.mkdir, self.path("terminals", "new"))
        self.fails(errno.ENOENT, os.rmdir, self.path("terminals", "none"))
        self.fails(errno.ENOTDIR, os.rmdir, self.path("terminals", "new"))
        os.mkdir(self.path("terminals", "a b\n"))
        self.fails(errno.EEXIST, os.mkdir, self.path("terminals", "a b\n"))
        for bad in ("", "80", "0 24", "80 0", "80 70000", "80 24 1", "x y",
                    "-1 5", "80x24", b"80 \x00", "9" * 300):
            self.fails(errno.EINVAL, self.write, bad or "\n", "terminals",
                       "a b\n", "size")
        self.write("1 65535\n", "terminals", "a b\n", "size")
        self.assertEqual(self.text("terminals", "a b\n", "size"),
                         "1 65535\n")
        os.rmdir(self.path("terminals", "a b\n"))

    def test_their_number_is_bounded(self):
        m = self.m
        m.create("many")
        for n in range(64):
            os.mkdir(m.path("many", "terminals", str(n)))
        self.fails(errno.EDQUOT, os.mkdir,
                   m.path("many", "terminals", "one more"))
        # one that has ended makes room
        with open(m.path("many", "terminals", "5", "data"), "w") as f:
            f.write("exit\n")
        with open(m.path("many", "terminals", "5", "exit_code")) as f:
            self.assertEqual(f.read(), "0\n")
        os.mkdir(m.path("many", "terminals", "one more"))
        names = os.listdir(m.path("many", "terminals"))
        self.assertIn("one more", names)
        self.assertNotIn("5", names)
        os.rmdir(m.path("many"))

    def test_the_sandbox_goes_away(self):
        self.m.create("gone")
        os.mkdir(self.m.path("gone", "terminals", "x"))
        fd = os.open(self.m.path("gone", "terminals", "x", "data"), os.O_RDWR)
        d = os.open(self.m.path("gone", "terminals"), os.O_RDONLY)
        os.rmdir(self.m.path("gone"))
        self.fails(errno.ESTALE, os.read, fd, 10)
        self.fails(errno.ESTALE, os.write, fd, b"x")
        with self.assertRaises(OSError):
            os.mkdir("y", dir_fd=d)
        os.close(fd)
        os.close(d)


if __name__ == "__main__":
    unittest.main()
