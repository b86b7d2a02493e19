#!/usr/bin/python3
"""Commands and their records: input, streams of any length at any place,
refusals, ends, and what is left running.  MB= makes the floods larger."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import errno, hashlib, json, select, signal, subprocess, threading, unittest
from sbxmount import COMMAND_MAX, RUNS, SandboxTest, wait_for

# a command waits until the test makes a file of that name
HOLD = "until [ -e %s ]; do sleep 0.02; done; "
MB = int(os.environ.get("MB", "8")) << 20
streams = unittest.skipIf(RUNS, "needs streams to and from what runs")


class Jobs(SandboxTest):
    def start(self, command, **more):
        if not isinstance(command, str):
            command = {"argv": command}
        elif more:
            command = {"command": command}
        if not isinstance(command, str):
            command = json.dumps(dict(command, **more))
        with open(self.path("jobs", "new"), "r+b", buffering=0) as f:
            f.write(command.encode())
            return f.read(100).decode().strip()

    def data(self, n, name="stdout"):
        with open(self.path("jobs", n, name), "rb") as f:
            return f.read()

    def code(self, n):
        return int(self.text("jobs", n, "exit_code"))

    def signal(self, n, name):
        with open(self.path("jobs", n, "signal"), "w") as f:
            f.write(name)

    def sh(self, script, **more):
        return subprocess.run(["bash", "-c", script], cwd=self.path(),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=60, **more)

    def release(self, name):
        self.m.release("t", name)

    def last_error(self):
        lines = self.text("status").splitlines()
        return [l for l in lines if l.startswith("last_error:")][0]

    # what cannot be run

    def test_shells_see_what_is_wrong(self):
        for bad, why in (('{bad', "not a JSON object"),
                         ('{"comand": "x"}', "comand"),
                         ('{"command": 1}', "string"),
                         ('{"command": "x"} y', "not a JSON object"),
                         ('{"command": "x", "user": 1, "a": 2}', '"a"')):
            for name in "exec", "jobs/new":
                r = self.sh("echo '%s' >%s" % (bad, name))
                self.assertNotEqual(r.returncode, 0, bad)
                self.assertIn(b"Invalid argument", r.stderr)
                self.assertIn(why, self.last_error())
        r = self.sh("printf 'a\\0b' >exec")
        self.assertNotEqual(r.returncode, 0)
        self.assertIn("zero byte", self.last_error())

    def test_refused_in_the_piece_that_is_wrong(self):
        fd = os.open(self.path("exec"), os.O_RDWR)
        for piece in b'{"command"', b': "echo ok"', b', "env": ':
            os.write(fd, piece)
        self.fails(errno.EINVAL, os.write, fd, b'1}')
        self.assertIn('"env"', self.last_error())
        # nothing of it is left, and no other's output is shown
        self.assertEqual(os.read(fd, 100), b"")
        for piece in b'{"command"', b': "echo ok"', b"}\n":
            os.write(fd, piece)
        self.assertEqual(os.read(fd, 100), b"ok\n")
        os.close(fd)

    def test_what_follows_a_refused_piece_is_refused(self):
        """half a script would be another one"""
        n = self.start("true")
        for name in "exec", "jobs/new":
            for first, error in ((b"#" * COMMAND_MAX, errno.E2BIG),
                                 (b'{"command": 1}\n', errno.EINVAL)):
                fd = os.open(self.path(name), os.O_RDWR)
                if error == errno.E2BIG:
                    os.write(fd, first)
                    first = b"#\n"
                self.fails(error, os.write, fd, first)
                self.fails(error, os.write, fd, b"touch half\n")
                os.close(fd)
        # which is how a shell writes, and goes on
        r = self.sh("printf -v s 'true %0200d\\n' {1..6000}; "
                    "printf '%stouch half' \"$s\" >exec")
        self.assertEqual(r.returncode, 1)
        self.assertIn(b"Argument list too long", r.stderr)
        self.assertEqual(self.start("test ! -e half"), str(int(n) + 1))
        self.assertEqual(self.code(str(int(n) + 1)), 0)
        # the next one is another matter
        r = self.sh("exec 3<>exec; echo '{bad' >&3; echo 'echo good' >&3; "
                    "cat <&3")
        self.assertEqual(r.stdout, b"good\n")

    def test_a_mebibyte_in_pieces(self):
        fd = os.open(self.path("exec"), os.O_RDWR)
        size = 90000 if RUNS else 1 << 20  # of which not all goes on there
        text = b"echo begin\n" + b"#" * (size - 20)
        for i in range(0, len(text), size // 15):
            os.write(fd, text[i:i + size // 15])
        self.assertEqual(os.read(fd, 100), b"begin\n")
        os.close(fd)
        fd = os.open(self.path("exec"), os.O_WRONLY)
        os.write(fd, b"#" * COMMAND_MAX)
        self.fails(errno.E2BIG, os.write, fd, b"#")
        os.close(fd)
        self.assertIn("100000 bytes" if RUNS else "1 MiB", self.last_error())

    def test_what_cannot_be_started_says_so_where_output_is_read(self):
        with open(self.path("workspace", "plain"), "w") as f:
            f.write("x")
        for spec, code, why, err in (
                ({"argv": ["/none"]}, 127, "No such file", errno.ENOENT),
                ({"argv": ["nosuchcommand"]}, 127, "No such", errno.ENOENT),
                ({"argv": ["ls"], "cwd": "/no"}, 127, "/no", errno.ENOENT),
                ({"argv": ["./plain"]}, 126, "denied", errno.EACCES)):
            fd = os.open(self.path("exec"), os.O_WRONLY)
            os.write(fd, json.dumps(spec).encode())
            if RUNS:  # a shell found out, later
                os.close(fd)
            else:
                self.fails(err, os.close, fd)
                self.assertIn("could not be run", self.last_error())
            r = self.sh("cat exec; cat jobs/last/exit_code")
            self.assertEqual((r.returncode, r.stderr), (0, b""))
            told, status = r.stdout.decode().splitlines()
            if not RUNS:
                self.assertIn("sbxfs: cannot run " + spec["argv"][0], told)
            self.assertIn(why, told)
            self.assertEqual(status, str(code))
            self.assertEqual(self.text("jobs/last/stdout"), "")
            self.assertIn("state: " + ("ended" if RUNS else "failed"),
                          self.text("jobs/last/status"))

    def test_64_commands_without_reading(self):
        fd = os.open(self.path("exec"), os.O_RDWR)
        for i in range(64):
            os.write(fd, b"echo %d" % i)
            os.close(os.dup(fd))
        self.fails(errno.EBUSY, os.write, fd, b"echo 64")
        for i in range(64):
            self.assertEqual(os.read(fd, 100), b"%d\n" % i)
            self.assertEqual(os.read(fd, 100), b"")
        os.write(fd, b"echo 64")
        self.assertEqual(os.read(fd, 100), b"64\n")
        os.close(fd)

    # conversations

    def test_writing_while_another_reads_the_same_file(self):
        fd = os.open(self.path("exec"), os.O_RDWR)
        os.write(fd, (HOLD % "go" + "echo one").encode())
        got = []
        t = threading.Thread(target=lambda: got.append(os.read(fd, 100)))
        t.start()
        wait_for(lambda: os.path.exists(self.path("jobs/last")) and
                 "running" in self.text("jobs/last/status"))
        os.write(fd, b"touch go")  # is not held up by the read
        os.close(os.dup(fd))
        if RUNS:  # it waits for its turn
            self.release("go")
        t.join(30)
        self.assertEqual(got, [b"one\n"])
        os.close(fd)

    def test_perl_and_bash_talk(self):
        r = self.sh("exec 3<>exec; echo 'echo a; echo b' >&3; "
                    "read -u 3 a; read -u 3 b; echo $a$b; cat <&3; "
                    "echo 'echo c' >&3; cat <&3")
        self.assertEqual((r.stdout, r.stderr), (b"ab\nc\n", b""))
        perl = ('open(F, "+<", "exec") or die; syswrite(F, "echo hi"); '
                'print while sysread(F, $_, 10);')
        r = subprocess.run(["perl", "-e", perl], cwd=self.path(), timeout=60,
                           stdout=subprocess.PIPE)
        self.assertEqual(r.stdout, b"hi\n")

    def test_jobs_new_tells_each_its_own_number(self):
        got = {}

        def one(i):
            n = self.start("echo %d; exit %d" % (i, i))
            got[i] = (n, self.data(n), self.code(n))
        ts = [threading.Thread(target=one, args=(i,)) for i in range(50)]
        [t.start() for t in ts]
        [t.join(120) for t in ts]
        self.assertEqual(len({n for n, out, code in got.values()}), 50)
        for i in range(50):
            self.assertEqual(got[i][1:], (b"%d\n" % i, i))
        r = self.sh("cat jobs/new; exec 3<>jobs/new; echo 'exit 3' >&3; "
                    "read n <&3; cat jobs/$n/exit_code; "
                    "echo 'exit 4' >jobs/new; cat jobs/last/exit_code")
        self.assertEqual((r.stdout, r.stderr), (b"3\n4\n", b""))

    # input

    def test_input_ends_when_the_writer_closes(self):
        n = self.start("cat; echo end", stdin=True)
        blob = b"0123456789abcde\n" * 4000 if RUNS else bytes(range(256)) * 4000
        with open(self.path("jobs", n, "stdout"), "rb") as out:
            with open(self.path("jobs", n, "stdin"), "wb") as f:
                f.write(blob)
            self.assertEqual(out.read(), blob + b"end\n")
        self.assertEqual(self.code(n), 0)
        fd = os.open(self.path("jobs", n, "stdin"), os.O_WRONLY)
        self.fails(errno.EPIPE, os.write, fd, b"x")
        os.close(fd)

    def test_appending_does_not_end_input(self):
        n = self.start("cat", stdin=True)
        r = self.sh("echo a >>jobs/%s/stdin; echo b >>jobs/%s/stdin; "
                    "exec 3>>jobs/%s/stdin; echo c >&3; exec 3>&-; "
                    "echo d >jobs/%s/stdin; cat jobs/%s/stdout; "
                    "echo e >jobs/%s/stdin" % ((n,) * 6))
        self.assertEqual(r.stdout, b"a\nb\nc\nd\n")
        self.assertIn(b"Broken pipe", r.stderr)

    def test_without_input_there_is_nothing_to_write_to(self):
        for more in ({}, {"stdin": False}, {"stdin": "text"}):
            n = self.start("cat; " + ("exit 137" if RUNS else "sleep 60"),
                           **more)
            fd = os.open(self.path("jobs", n, "stdin"), os.O_WRONLY)
            self.fails(errno.EPIPE, os.write, fd, b"x")
            os.close(fd)
            out = os.open(self.path("jobs", n, "stdout"), os.O_RDONLY)
            if "stdin" in more and more["stdin"]:
                self.assertEqual(os.read(out, 10), b"text")
            os.close(out)
            if not RUNS:
                self.signal(n, "KILL")
            self.assertEqual(self.code(n), 137)
        r = self.sh("cat jobs/last/stdin")  # for careless readers
        self.assertEqual((r.returncode, r.stdout), (0, b""))

    @streams
    def test_back_pressure(self):
        n = self.start(HOLD % "full" + "wc -c", stdin=True)
        path = self.path("jobs", n, "stdin")
        # waits for room when all on the way is full; a signal ends that
        perl = ("$SIG{ALRM} = sub {}; alarm 1; open F, '>>', $ARGV[0]; "
                "print syswrite(F, 'x' x 4000000) // 'none'")
        r = subprocess.run(["perl", "-e", perl, path], timeout=60,
                           stdout=subprocess.PIPE)
        total = int(r.stdout)
        self.assertGreater(total, 0)
        self.assertLess(total, 4000000)
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        p = select.poll()
        p.register(fd, select.POLLOUT)

        def is_full():
            nonlocal total
            try:
                total += os.write(fd, b"x" * 50000)
            except BlockingIOError:
                return True
        wait_for(is_full)
        self.release("full")
        self.assertEqual(p.poll(20000), [(fd, select.POLLOUT)])
        os.close(fd)
        self.assertEqual(int(self.data(n)), total)

    @streams
    def test_a_waiting_writer_is_told_when_nobody_can_read(self):
        n = self.start("sleep 60", stdin=True)
        got = []

        def write():
            fd = os.open(self.path("jobs", n, "stdin"), os.O_WRONLY)
            try:
                while True:
                    os.write(fd, b"x" * 100000)
            except OSError as e:
                got.append(e.errno)
            os.close(fd)
        t = threading.Thread(target=write)
        t.start()
        t.join(0.5)
        self.assertEqual(got, [])
        self.signal(n, "TERM")
        t.join(30)
        self.assertEqual(got, [errno.EPIPE])
        # and one whose reader has only closed it
        n = self.start("exec 0<&-; echo closed; sleep 60", stdin=True)
        with open(self.path("jobs", n, "stdout"), "rb", buffering=0) as f:
            self.assertEqual(f.read(10), b"closed\n")
        write()
        self.assertEqual(got[1:], [errno.EPIPE])
        self.signal(n, "KILL")

    @streams
    def test_terminal(self):
        n = self.start("stty size; read x; echo got:$x; stty size; read y; "
                       "echo end", tty=True, cols=100, rows=30)
        out = os.open(self.path("jobs", n, "stdout"), os.O_RDONLY)
        seen = b""

        def until(word):
            nonlocal seen
            while word not in seen:
                piece = os.read(out, 1000)
                self.assertTrue(piece, seen)
                seen += piece
        until(b"30 100")
        self.assertEqual(self.text("jobs", n, "size"), "100 30\n")
        r = self.sh("echo '120 40' >jobs/%s/size; cat jobs/%s/size; "
                    "echo x >jobs/%s/size" % (n, n, n))
        self.assertEqual((r.stdout, r.returncode), (b"120 40\n", 1))
        with open(self.path("jobs", n, "stdin"), "ab", buffering=0) as f:
            f.write(b"abc\n")
            until(b"got:abc")
            until(b"40 120")
        with open(self.path("jobs", n, "stdin"), "wb"):
            pass  # its end is the character for it
        until(b"end")
        os.close(out)
        self.assertEqual(self.code(n), 0)
        self.assertFalse(os.path.exists(
            self.path("jobs", self.start("true"), "size")))

    def test_environment(self):
        n = self.start("env", env={"A": "1 2", "B": "x\ny\\"})
        self.assertEqual(self.text("jobs", n, "env"), "A=1 2\nB=x\\ny\\\\\n")
        self.assertIn(b"\nB=x\ny\\\n", b"\n" + self.data(n))
        self.assertEqual(self.text("jobs", self.start("true"), "env"), "")

    # streams

    def test_size_is_what_was_printed_so_far(self):
        n = self.start("printf 12345; printf 123 >&2; " +
                       ("exit 137" if RUNS else "sleep 1000"))
        out = self.path("jobs", n, "stdout")
        wait_for(lambda: os.stat(out).st_size == 5)
        wait_for(lambda: os.stat(self.path("jobs", n, "output")).st_size == 8)
        self.assertEqual(os.stat(self.path("jobs", n, "stderr")).st_size, 3)
        if not RUNS:
            self.signal(n, "KILL")
        self.assertEqual(self.code(n), 137)
        self.assertEqual(os.stat(out).st_size, 5)

    def test_programs_read_streams(self):
        n = self.start("for i in 1 2 3 4 5 6 7 8 9; do echo line $i; done; "
                       "echo error >&2")
        self.code(n)
        for command, want in (
                ("head -1 stdout", "line 1\n"),
                ("tail -n 2 stdout", "line 8\nline 9\n"),
                ("tail -c 7 stdout", "line 9\n"),
                ("wc -c <stdout", "63\n"),
                ("(head -1; tail -1) <stdout", "line 1\nline 9\n"),
                ("dd if=stdout bs=1 skip=5 count=1 2>&-", "1"),
                ("dd if=stdout bs=7 skip=4 count=1 2>&-", "line 5\n"),
                ("cp stdout /dev/stdout | wc -l", "9\n"),
                ("grep -c line stdout stderr", "stdout:9\nstderr:0\n"),
                ("cat stdout stderr | md5sum <output >/dev/null; tail -1 stderr",
                 "error\n"),
                ("ls -l stdout | cut -d' ' -f5", "63\n")):
            r = self.sh("cd jobs/%s && %s" % (n, command))
            self.assertEqual((r.stdout.decode(), r.stderr), (want, b""))
        r = self.sh("echo 'echo 1; echo 2; echo 3' >exec; head -1 exec; "
                    "tail -1 exec; (head -1; head -1) <exec")
        self.assertEqual((r.stdout, r.stderr), (b"1\n3\n1\n2\n", b""))

    @streams
    def test_tail_f(self):
        n = self.start("echo begin; while read x; do echo $x; done",
                       stdin=True)
        out = self.path("jobs", n, "stdout")
        wait_for(lambda: os.stat(out).st_size == 6)
        tail = subprocess.Popen(["tail", "-f", out], stdout=subprocess.PIPE)
        self.assertEqual(tail.stdout.readline(), b"begin\n")
        with open(self.path("jobs", n, "stdin"), "wb", buffering=0) as f:
            for i in range(3):
                f.write(b"%d\n" % i)
                self.assertEqual(tail.stdout.readline(), b"%d\n" % i)
        tail.terminate()
        tail.wait()
        tail.stdout.close()

    @streams
    def test_sendfile_of_a_growing_stream(self):
        """has no zeros where more came"""
        n = self.start("printf abc; read x; printf def; cat", stdin=True)
        path = self.path("jobs", n, "stdout")
        wait_for(lambda: os.stat(path).st_size == 3)
        fd = os.open(path, os.O_RDONLY)
        self.addCleanup(os.close, fd)
        with open(self.m.dir + "/sent", "w+b", buffering=0) as to:
            self.assertEqual(os.sendfile(to.fileno(), fd, 0, 100), 3)
            with open(self.path("jobs", n, "stdin"), "ab") as f:
                f.write(b"\n")
            sent = 3

            def is_sent():
                """the kernel itself may learn of the length a look later"""
                nonlocal sent
                if os.fstat(fd).st_size == 6:
                    sent += os.sendfile(to.fileno(), fd, sent, 100)
                return sent == 6
            wait_for(is_sent)
            to.seek(0)
            self.assertEqual(to.read(), b"abcdef")
        open(self.path("jobs", n, "stdin"), "w").close()
        self.assertEqual(self.code(n), 0)

    @streams
    def test_any_offset_of_a_running_stream(self):
        n = self.start("echo 0123456789; cat", stdin=True)
        fd = os.open(self.path("jobs", n, "stdout"), os.O_RDONLY)
        self.assertEqual(os.read(fd, 4), b"0123")
        self.assertEqual(os.pread(fd, 3, 7), b"789")
        self.assertEqual(os.read(fd, 100), b"456789\n")
        os.set_blocking(fd, False)
        self.fails(errno.EAGAIN, os.read, fd, 1)
        self.fails(errno.EAGAIN, os.pread, fd, 1, 100)
        os.set_blocking(fd, True)
        got = []
        t = threading.Thread(target=lambda: got.append(os.pread(fd, 9, 13)))
        t.start()
        with open(self.path("jobs", n, "stdin"), "wb", buffering=0) as f:
            f.write(b"abcdefg")
        t.join(30)
        self.assertEqual(got, [b"cdefg"])
        self.assertEqual(os.pread(fd, 9, 1000), b"")
        self.assertEqual(os.lseek(fd, 0, os.SEEK_END), 18)
        self.assertEqual(os.read(fd, 1), b"")
        os.close(fd)

    def test_what_was_dropped_is_told(self):
        n = self.start("head -c %d /dev/zero | tr '\\0' x; echo end" % MB)
        self.code(n)
        fd = os.open(self.path("jobs", n, "stdout"), os.O_RDONLY)
        self.assertEqual(os.stat(fd).st_size, MB + 4)
        self.fails(errno.ENODATA, os.pread, fd, 1, 1)
        self.assertEqual(os.pread(fd, 10, MB), b"end\n")
        out = b""
        while True:
            piece = os.read(fd, 65536)
            if not piece:
                break
            out += piece
        self.assertEqual(os.read(fd, 1), b"")  # and still is its end
        os.close(fd)
        told, kept = out.split(b"\n", 1)
        self.assertEqual(told, b"[sbxfs: the first %d bytes were not kept]"
                         % (MB + 4 - len(kept)))
        r = self.sh("tail -c 4 jobs/%s/stdout" % n)
        self.assertEqual((r.stdout, r.stderr), (b"end\n", b""))

    def test_a_flood_on_both_streams(self):
        # in UTF-8, and in one answer of 16 MiB, where it is told in one
        size = MB // 2 if RUNS else MB
        make = ("base64 -w0" if RUNS else "cat") + " /dev/urandom | head -c"
        script = ("%s %d >a; %s %d >b; "
                  "cat a & cat b >&2; wait; cat a b | sha256sum >sum"
                  % (make, size, make, size))
        # a reader each, from the beginning
        n = self.start(script)
        sums = {}

        def read(name):
            h = hashlib.sha256()
            with open(self.path("jobs", n, name), "rb", buffering=0) as f:
                while True:
                    piece = f.read(1 << 20)
                    if not piece:
                        break
                    h.update(piece)
            sums[name] = h.hexdigest()
        ts = [threading.Thread(target=read, args=(x,))
              for x in ("stdout", "stderr", "output")]
        [t.start() for t in ts]
        [t.join(300) for t in ts]
        r = self.sh("cd workspace; sha256sum a b; rm a b")
        want = [l.split()[0] for l in r.stdout.decode().splitlines()]
        self.assertEqual([sums["stdout"], sums["stderr"]], want)
        self.assertEqual(os.stat(self.path("jobs", n, "output")).st_size,
                         2 * size)
        # nobody: it ends all the same
        self.assertEqual(self.code(self.start(script)), 0)
        # a reader that does not read holds it back, until he goes
        n = self.start(script)
        f = open(self.path("jobs", n, "stdout"), "rb", buffering=0)
        self.assertTrue(f.read(1))
        f.close()
        self.assertEqual(self.code(n), 0)

    @streams
    def test_closing_an_output(self):
        n = self.start("yes")
        with open(self.path("jobs", n, "stdout"), "rb", buffering=0) as f:
            f.read(10)
        self.assertIn("running", self.text("jobs", n, "status"))
        r = self.sh("echo nonsense >jobs/%s/stdout" % n)
        self.assertNotEqual(r.returncode, 0)
        self.assertEqual(self.sh("echo close >jobs/%s/stdout" % n).returncode,
                         0)
        self.assertEqual(self.code(n), 128 + signal.SIGPIPE)

    # ends

    @streams
    def test_closed_streams_end_before_the_command(self):
        n = self.start("echo a; exec >&- 2>&-; " + HOLD % "hold" + "exit 9")
        self.assertEqual(self.data(n), b"a\n")
        self.assertEqual(self.data(n, "stderr"), b"")
        fd = os.open(self.path("jobs", n, "exit_code"), os.O_RDONLY)
        p = select.poll()
        p.register(fd, select.POLLIN)
        self.assertEqual(p.poll(100), [])
        self.assertIn("running", self.text("jobs", n, "status"))
        self.release("hold")
        self.assertEqual(p.poll(20000), [(fd, select.POLLIN)])
        self.assertEqual(os.read(fd, 10), b"9\n")
        os.close(fd)

    @streams
    def test_what_outlives_its_starter(self):
        n = self.start("(" + HOLD % "late" + "echo late) & "
                       "echo early; exit 2")
        self.assertEqual(self.code(n), 2)
        self.assertEqual(self.data(n), b"early\n")
        self.release("late")
        wait_for(lambda: self.data(n) == b"early\nlate\n")

    @streams
    def test_signals_reach_the_group(self):
        n = self.start("sh -c 'trap \"echo got; exit 3\" INT; "
                       "echo ready; while :; do sleep 0.05; done'; exit 4")
        with open(self.path("jobs", n, "stdout"), "rb", buffering=0) as f:
            self.assertEqual(f.read(10), b"ready\n")
        self.signal(n, "SIGINT\n")
        self.assertIn(self.code(n), (4, 130))
        self.assertIn(b"got", self.data(n))
        r = self.sh("echo INT >jobs/%s/signal" % n)
        self.assertIn(b"No such process", r.stderr)

    def test_the_signal_that_ended_it(self):
        # which a status may stand for
        for command, code, name in (("kill -9 $$", 137, "KILL\n"),
                                    ("exit 143", 143, "TERM\n" if RUNS else ""),
                                    ("kill -34 $$", 162, "34\n"),
                                    ("exit 255", 255, "")):
            n = self.start(command)
            self.assertEqual(self.code(n), code)
            self.assertEqual(self.text("jobs", n, "signal"), name, command)

    @streams
    def test_rmdir_kills(self):
        n = self.start("sleep 1000 & sleep 1000")
        wait_for(lambda: self.text("jobs", n, "pid"))
        pid = self.text("jobs", n, "pid").strip()
        fd = os.open(self.path("jobs", n, "exit_code"), os.O_RDONLY)
        os.rmdir(self.path("jobs", n))
        self.assertEqual(os.read(fd, 10), b"137\n")
        os.close(fd)
        self.assertFalse(os.path.exists(self.path("jobs", n)))
        check = "ps -e -o pgid= | grep -cw %s" % pid

        def all_are_gone():  # what is killed takes a moment to die
            return self.data(self.start(check)).strip() == b"0"
        wait_for(all_are_gone)

    def test_an_interrupt_ends_every_wait(self):
        n = self.start("echo begin; sleep 1000", stdin=True)
        base = self.path("jobs", n)
        for script in ("cat exit_code", "cat stdout", "cat stderr",
                       "cat output", "cat ../../exec", "cat <>../../exec",
                       "tail -n +1 -f stdout", "yes >stdin"):
            if RUNS and "stdin" in script:
                continue  # it has an end there, and does not wait
            p = subprocess.Popen(["sh", "-c", "echo go; exec " + script],
                                 cwd=base, stdout=subprocess.PIPE)
            self.assertEqual(os.read(p.stdout.fileno(), 3), b"go\n")
            self.assertEqual(self.until_waiting(p), None)
            p.send_signal(signal.SIGINT)
            self.assertIn(p.wait(20), (-signal.SIGINT, 1), script)
            p.stdout.close()
        self.signal(n, "KILL")
        self.assertEqual(self.code(n), 137)

    def until_waiting(self, p):
        """for our answer, or asleep"""
        def is_waiting():
            with open("/proc/%d/stat" % p.pid) as f:
                state = f.read().rsplit(")", 1)[1].split()[0]
            with open("/proc/%d/comm" % p.pid) as f:
                return state == "S" and f.read().strip() != "sh"
        wait_for(is_waiting)

    def test_careless_readers_end(self):
        n = self.start("echo a; echo b >&2; exit 1")
        self.code(n)
        r = self.sh("grep -r . jobs/%s >&-; cp -r jobs/%s/. ." % (n, n))
        r = self.sh("d=$(mktemp -d); cp -r jobs/%s $d/j; cat $d/j/stdout; "
                    "rm -r $d" % n)
        self.assertEqual(r.stdout, b"a\n")

    @streams
    def test_epoll_and_select(self):
        n = self.start("cat", stdin=True)
        fd = os.open(self.path("jobs", n, "stdout"), os.O_RDONLY)
        e = select.epoll()
        e.register(fd, select.EPOLLIN)
        self.assertEqual(e.poll(0.05), [])
        self.assertEqual(select.select([fd], [], [], 0.05)[0], [])
        with open(self.path("jobs", n, "stdin"), "wb", buffering=0) as f:
            f.write(b"x")
            self.assertEqual(e.poll(20), [(fd, select.EPOLLIN)])
            self.assertEqual(select.select([fd], [], [], 20)[0], [fd])
            self.assertEqual(os.read(fd, 10), b"x")
        self.assertEqual(e.poll(20), [(fd, select.EPOLLIN)])
        self.assertEqual(os.read(fd, 10), b"")
        e.close()
        os.close(fd)


if __name__ == "__main__":
    unittest.main()
