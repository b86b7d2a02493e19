#!/usr/bin/python3
"""exec, jobs, ports and the other control files: every way of writing and
reading them, waiting, not waiting, being interrupted, and giving up."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import errno, json, select, signal, socket, subprocess, threading, unittest
from sbxmount import COMMAND_MAX, RUNS, SERVICE, SandboxTest, wait_for

def free_port():
    """below those that the kernel gives to others meanwhile"""
    for port in range(20000 + os.getpid() % 10000, 32768):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)):
                return port
    raise OSError("no port is free")


UNTIL = b"until [ -e %s ]; do sleep 0.05; done;"


class Control(SandboxTest):
    def run_(self, command):
        return self.m.run("t", command)

    def start(self, command):
        fd = os.open(self.path("exec"), os.O_WRONLY)
        os.write(fd, command.encode())
        os.close(fd)
        return os.readlink(self.path("jobs", "last"))

    def touch(self, name):
        self.m.release("t", name)

    def read_all(self, fd, size=65536):
        out = b""
        while True:
            piece = os.read(fd, size)
            if not piece:
                return out
            out += piece

    # exec

    def test_byte_by_byte(self):
        fd = os.open(self.path("exec"), os.O_RDWR)
        for c in b"echo abc":
            os.write(fd, bytes([c]))
        self.assertEqual(self.read_all(fd, 1), b"abc\n")
        self.assertEqual(os.read(fd, 1), b"")
        os.write(fd, b"echo next")
        self.assertEqual(self.read_all(fd), b"next\n")
        os.close(fd)

    def test_commands_queue_on_one_open_file(self):
        fd = os.open(self.path("exec"), os.O_RDWR)
        for i in range(3):
            os.write(fd, b"echo %d" % i)
            os.close(os.dup(fd))  # as a shell does after each echo
        got = [self.read_all(fd) for i in range(3)]
        self.assertEqual(got, [b"0\n", b"1\n", b"2\n"])
        os.close(fd)

    def test_shell_forms(self):
        for form in ('echo "echo hi" > exec; cat exec',
                     'exec 3<>exec; echo "echo hi" >&3; cat <&3',
                     '(echo "echo hi" >&3; cat <&3) 3<>exec',
                     'echo "echo hi" >> exec; cat exec'):
            for shell in ("sh", "bash"):
                out = subprocess.run([shell, "-c", form], cwd=self.path(),
                                     stdout=subprocess.PIPE).stdout
                self.assertEqual(out, b"hi\n", shell + ": " + form)

    def test_large_output_and_large_script(self):
        out = self.run_("head -c 5000000 /dev/zero | tr '\\0' y")
        self.assertEqual(out, b"y" * 5000000)
        size = 90000 if RUNS else 300000
        out = self.run_(": " + "#" * size + "\necho long; cat; echo end")
        self.assertEqual(out, b"long\nend\n")
        fd = os.open(self.path("exec"), os.O_RDWR)
        os.write(fd, b"#" * COMMAND_MAX)
        self.fails(errno.E2BIG, os.write, fd, b"#")
        os.close(fd)

    def test_late_readers_get_the_last_mebibyte(self):
        fd = os.open(self.path("exec"), os.O_WRONLY)
        os.write(fd, b"head -c 5000000 /dev/zero | tr '\\0' y")
        os.close(fd)
        self.assertEqual(self.text("jobs", "last", "exit_code"), "0\n")
        with open(self.path("jobs", "last", "stdout"), "rb") as f:
            told, out = f.read().split(b"\n", 2)[-2:]
        dropped = int(told.split(b"first ")[1].split()[0])
        self.assertEqual(dropped + len(out), 5000000)
        self.assertGreaterEqual(len(out), 1 << 20)
        self.assertLess(len(out), 2 << 20)

    def test_json(self):
        size = 60000 if RUNS else 700000
        self.assertEqual(self.run_(json.dumps(
            {"argv": ["cat"], "stdin": "x" * size})), b"x" * size)
        self.assertEqual(self.run_(json.dumps(
            {"command": "pwd; echo $A", "cwd": "/tmp", "env": {"A": "b"}})),
            b"/tmp\nb\n")
        if RUNS:
            self.fails(errno.EOPNOTSUPP, self.run_,
                       '{"command":"tty","tty":true}')
        else:
            self.assertIn(b"/dev/", self.run_('{"command":"tty","tty":true}'))
        self.run_(json.dumps({"command": "sleep 60", "timeout_ms": 200}))
        self.assertEqual(self.text("jobs", "last", "exit_code"),
                         "124\n" if RUNS else "143\n")

    def test_merged_output_keeps_its_order(self):
        lines = "".join("echo %d >&%d; " % (i, 1 + i % 2) for i in range(100))
        want = "".join("%d\n" % i for i in range(100)).encode()
        self.assertEqual(self.run_(json.dumps(
            {"command": lines, "merge": True})), want)
        job = self.m.path("t", "jobs", "last")
        for name, text in (("stdout", want), ("stderr", b""),
                           ("output", want)):
            with open(os.path.join(job, name), "rb") as f:
                self.assertEqual(f.read(), text, name)

    def test_merged_output_says_what_cannot_be_run(self):
        for spec in ({"argv": ["nosuch"]}, {"argv": ["/etc/passwd"]},
                     {"argv": ["true"], "cwd": "/nowhere"},
                     {"argv": ["nosuch"], "cwd": "/tmp"}):
            self.run_(json.dumps({**spec, "merge": True}))
            job = self.m.path("t", "jobs", "last")
            with open(os.path.join(job, "stdout")) as f:
                self.assertRegex(f.read(), "No such file|ermission denied|can.t cd")
            with open(os.path.join(job, "stderr")) as f:
                self.assertEqual(f.read(), "", spec)

    def test_errors(self):
        def run(text):
            fd = os.open(self.path("exec"), os.O_RDWR)
            try:
                os.write(fd, text)
                os.read(fd, 1)
            finally:
                try:
                    os.close(fd)
                except OSError:
                    pass
        self.fails(errno.EINVAL, run, b" \n")
        self.assertIn("no command", self.text("status"))
        self.fails(errno.EINVAL, run, b'{"comand":"x"}')
        self.fails(errno.EOPNOTSUPP, run, b'{"command":"x","user":"joe"}')
        fd = os.open(self.path("exec"), os.O_WRONLY)
        os.write(fd, b'{"argv":["/nonexistent"]}')
        if RUNS:
            os.close(fd)
        else:
            self.fails(errno.ENOENT, os.close, fd)
        self.assertEqual(self.text("jobs", "last", "exit_code"), "127\n")

    def test_user_before_and_after_the_first_connection(self):
        """told in the write, whether the helper is there already or not"""
        uid = self.m.run("t", "id -u").strip().decode()
        # (where there are no terminals nobody has one)
        for file in ("exec", "jobs/new", "terminals/new")[:2 if RUNS else 3]:
            name = "u" + file[0]
            self.m.create(name)
            for user in "joe", uid, "joe", uid, "x" * 100, 4294967294:
                fd = os.open(self.m.path(name, file), os.O_RDWR)
                text = json.dumps({"command": "exit 3", "user": user}).encode()
                if user == uid:
                    self.assertEqual(os.write(fd, text), len(text))
                else:
                    self.fails(errno.EOPNOTSUPP, os.write, fd, text)
                os.close(fd)
                with open(self.m.path(name, "status")) as f:
                    self.assertIn("sandbox's own user", f.read())
            os.rmdir(self.m.path(name))
        # each first question is the first connection of its sandbox
        for user, error in ((int(uid), 0), ("joe", errno.EOPNOTSUPP)):
            self.m.create("v")
            fd = os.open(self.m.path("v", "exec"), os.O_RDWR)
            text = json.dumps({"command": "echo hi", "user": user}).encode()
            if error:
                self.fails(error, os.write, fd, text)
                self.assertEqual(os.read(fd, 100), b"")
            else:
                os.write(fd, text)
                self.assertEqual(os.read(fd, 100), b"hi\n")
            os.close(fd)
            os.rmdir(self.m.path("v"))

    def test_poll_and_nonblock(self):
        fd = os.open(self.path("exec"), os.O_RDWR | os.O_NONBLOCK)
        os.write(fd, UNTIL % b"a" + b"echo late;" + UNTIL % b"b")
        self.fails(errno.EAGAIN, os.read, fd, 10)
        p = select.poll()
        p.register(fd, select.POLLIN)
        self.assertEqual(p.poll(50), [])
        self.touch("a")
        if RUNS:
            self.assertEqual(p.poll(50), [])
            self.touch("b")
        self.assertEqual(p.poll(60000), [(fd, select.POLLIN)])
        self.assertEqual(os.read(fd, 10), b"late\n")
        if not RUNS:
            self.assertEqual(p.poll(50), [])
            self.touch("b")
        self.assertEqual(p.poll(60000), [(fd, select.POLLIN)])
        self.assertEqual(os.read(fd, 10), b"")
        os.close(fd)

    def test_interrupt_ends_a_read_and_loses_nothing(self):
        def stop(*args):
            raise InterruptedError
        signal.signal(signal.SIGALRM, stop)
        fd = os.open(self.path("exec"), os.O_RDWR)
        os.write(fd, UNTIL % b"go" + b"echo x")
        with self.assertRaises(InterruptedError):
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            os.read(fd, 10)
        self.touch("go")
        self.assertEqual(self.read_all(fd), b"x\n")
        os.close(fd)

    @unittest.skipUnless(SERVICE == "xgen", "its sandboxes answer by themselves")
    def test_an_interrupted_write_starts_nothing(self):
        """here it waits for the sandbox to say who its user is"""
        def stop(*args):
            raise InterruptedError
        signal.signal(signal.SIGALRM, stop)
        os.mkdir(self.m.path("away"))
        for name in "exec", "jobs/new":
            fd = os.open(self.m.path("away", name), os.O_RDWR)
            self.m.agent.send_signal(signal.SIGSTOP)
            try:
                with self.assertRaises(InterruptedError):
                    signal.setitimer(signal.ITIMER_REAL, 0.3)
                    os.write(fd, b'{"command": "echo no", "user": "0"}')
                os.close(fd)
            finally:
                self.m.agent.send_signal(signal.SIGCONT)
        self.assertEqual(self.m.run("away", "echo yes"), b"yes\n")
        self.assertEqual(sorted(os.listdir(self.m.path("away", "jobs"))),
                         ["1", "last", "new"])
        os.rmdir(self.m.path("away"))

    def test_late_readers_start_at_the_beginning(self):
        self.start("echo one; sleep 0.4; echo two")
        for i in range(2):
            self.assertEqual(self.text("exec"), "one\ntwo\n")

    def test_many_at_once(self):
        got = {}

        def talk(i):
            got[i] = self.run_("for j in 1 2 3; do echo %d; done" % i)
        ts = [threading.Thread(target=talk, args=(i,)) for i in range(20)]
        [t.start() for t in ts]
        [t.join() for t in ts]
        for i in range(20):
            self.assertEqual(got[i], b"%d\n" % i * 3)

    # jobs

    def test_job(self):
        n = self.start("echo o; echo e >&2; exit 5")
        self.assertEqual(self.text("jobs", n, "exit_code"), "5\n")
        self.assertEqual(self.text("jobs", n, "stdout"), "o\n")
        self.assertEqual(self.text("jobs", n, "stderr"), "e\n")
        self.assertIn("exit 5", self.text("jobs", n, "command"))
        self.assertIn("state: ended", self.text("jobs", n, "status"))
        self.assertIn(n, os.listdir(self.path("jobs")))
        os.rmdir(self.path("jobs", n))
        self.assertNotIn(n, os.listdir(self.path("jobs")))

    def test_signal_and_waiting_for_the_end(self):
        n = self.start((UNTIL % b"end").decode() + "exit 9" if RUNS
                       else "sleep 60")
        fd = os.open(self.path("jobs", n, "exit_code"),
                     os.O_RDONLY | os.O_NONBLOCK)
        self.fails(errno.EAGAIN, os.read, fd, 10)
        p = select.poll()
        p.register(fd, select.POLLIN)
        self.assertEqual(p.poll(50), [])
        wait_for(lambda: "running" in self.text("jobs", n, "status"))
        s = os.open(self.path("jobs", n, "signal"), os.O_WRONLY)
        if RUNS:
            self.fails(errno.EOPNOTSUPP, os.write, s, b"KILL\n")
            self.touch("end")
        else:
            os.write(s, b"KILL\n")
        os.close(s)
        self.assertEqual(p.poll(60000), [(fd, select.POLLIN)])
        self.assertEqual(os.read(fd, 10), b"9\n" if RUNS else b"137\n")
        os.close(fd)
        self.assertEqual(self.text("jobs", n, "signal"),
                         "" if RUNS else "KILL\n")

    # values

    def test_values_at_any_offset(self):
        fd = os.open(self.path("status"), os.O_RDONLY)
        whole = self.read_all(fd, 1)
        self.assertEqual(os.pread(fd, 5, 4), whole[4:9])
        self.assertEqual(os.pread(fd, 10, len(whole)), b"")
        os.close(fd)
        if RUNS:  # they do not expire
            self.assertFalse(os.path.exists(self.path("keepalive")))
            return
        fd = os.open(self.path("keepalive"), os.O_RDWR)
        os.write(fd, b"600\n")
        self.assertTrue(os.read(fd, 100).startswith(b"expires: "))
        self.assertEqual(os.pread(fd, 7, 0), b"expires")
        os.close(fd)
        self.assertEqual(os.stat(self.path("keepalive")).st_size, 0)

    def test_new_takes_lines_one_by_one(self):
        fd = os.open(self.m.path("new"), os.O_RDWR)
        os.write(fd, b"name=lines\n")
        os.write(fd, b"# a word more\n" if RUNS else b"metadata.a=b\n")
        self.assertEqual(os.read(fd, 100), b"lines\n")
        os.write(fd, b'{"name": "object"}')
        self.assertEqual(os.read(fd, 100), b"object\n")
        self.fails(errno.EEXIST, os.write, fd, b'{"name": "object"}')
        self.fails(errno.EINVAL, os.write, fd, b"nonsense\n")
        os.close(fd)
        with open(self.m.path("lines", "info.json")) as f:
            self.assertIn('"name": "lines"' if RUNS else '"a": "b"', f.read())
        with open(self.m.path(".sbxfs", "errors")) as f:
            self.assertIn("nonsense", f.read())

    def test_new_as_shells_write_it(self):
        """line by line, whatever was said to the lines before"""
        def bash(text):
            script = 'printf "%s" "$1" >new'
            return subprocess.run(["bash", "-c", script, "bash", text],
                                  cwd=self.m.mnt,
                                  stderr=subprocess.DEVNULL).returncode
        before = set(os.listdir(self.m.mnt))
        self.assertEqual(bash('{\n"name":\n"pretty"\n}\n\n' if RUNS else
                              '{\n"name": "pretty",\n"metadata":\n'
                              '{"a": "b"}\n}\n\n'), 0)
        self.assertEqual(bash("# " + "x" * 5000 + "\nname=wide\n"), 0)
        self.assertEqual(set(os.listdir(self.m.mnt)) - before,
                         {"pretty", "wide"})
        for bad in ('name=bad\nbogus\nmetadata.a=b\n',
                    '{"name": "../bad"}\n\n',
                    '{"name": "bad"} x\n{"name": "bad"}\n',
                    '{"name": "wide"}\n\n',
                    # (the words of others are ComputeSDK's to judge)
                    'nam=bad\n' if SERVICE != "computesdk" else "nam\n"):
            self.assertEqual(bash(bad), 1, bad)
        self.assertEqual(set(os.listdir(self.m.mnt)) - before,
                         {"pretty", "wide"})
        for name in "pretty", "wide":
            os.rmdir(self.m.path(name))

    def test_port_is_waited_for(self):
        port = b"%d" % free_port()
        fd = os.open(self.path("ports"), os.O_RDWR)
        os.write(fd, port + b"\n")
        got = []
        t = threading.Thread(target=lambda: got.append(os.read(fd, 100)))
        t.start()
        t.join(0.3)
        self.assertEqual(got, [])
        # what stays in the background is not part of a run
        n = self.start("%s python3 -c 'import socket as s; "
                       'l = s.create_server(("127.0.0.1", %d)); '
                       "l.accept()'%s" % ("setsid" if RUNS else "exec",
                                          int(port),
                                          " </dev/null >/dev/null 2>&1 &"
                                          if RUNS else ""))
        t.join(60)
        self.assertEqual(got[0].split(), [port, b"open", b"-"])
        self.assertIn(port.decode(), self.text("ports"))
        if RUNS:
            socket.create_connection(("127.0.0.1", int(port))).close()
        else:
            with open(self.path("jobs", n, "signal"), "w") as f:
                f.write("TERM")
        os.close(fd)

    @unittest.skipUnless(SERVICE == "xgen", "has no ports to declare")
    def test_ports_that_were_not_declared_have_urls(self):
        """which are put together from those that were"""
        def ports(name):
            with open(self.m.path(name, "ports")) as f:
                return {p: (state, url) for p, state, url in
                        (line.split() for line in f)}
        port = str(free_port())
        fd = os.open(self.m.path("new"), os.O_RDWR)
        os.write(fd, b'{"name": "urls", "ports": [3000]}')
        self.assertEqual(os.read(fd, 100), b"urls\n")
        os.close(fd)
        state, url = ports("urls")["3000"]
        self.assertEqual(state, "declared")
        self.assertIn("-3000.", url)
        for name in "t", "urls":
            with open(self.m.path(name, "status")) as f:
                ident = [l.split()[1] for l in f if l.startswith("id:")][0]
            fd = os.open(self.m.path(name, "exec"), os.O_WRONLY)
            os.write(fd, b"python3 -c 'import socket as s; "
                     b'l = s.create_server(("127.0.0.1", %d)); '
                     b"l.accept()'" % int(port))
            os.close(fd)
            fd = os.open(self.m.path(name, "ports"), os.O_RDWR)
            os.write(fd, port.encode())
            got = os.read(fd, 200).decode().split()
            os.close(fd)
            self.assertEqual(got[:2], [port, "open"])
            self.assertEqual(got[2], "http://sbx-%s-%s.%s" % (
                ident, port, url.split("-3000.")[1]))
            self.assertEqual(ports(name)[port], (got[1], got[2]))
            with open(self.m.path(name, "jobs", "last", "signal"), "w") as f:
                f.write("KILL")
            with open(self.m.path(name, "jobs", "last", "exit_code")) as f:
                self.assertEqual(f.read(), "137\n")
        os.rmdir(self.m.path("urls"))

    # the end of a sandbox

    def test_destroyed_while_in_use(self):
        os.mkdir(self.m.path("d"))
        fd = os.open(self.m.path("d", "exec"), os.O_RDWR)
        os.write(fd, b"exec sleep 1000")
        st = os.open(self.m.path("d", "status"), os.O_RDONLY)
        got = []

        def read():
            try:
                got.append(os.read(fd, 1))
            except OSError as e:
                got.append(e.errno)
        t = threading.Thread(target=read)
        t.start()
        t.join(0.3)
        os.rmdir(self.m.path("d"))
        t.join(60)
        # a service may end the command first, and the sandbox then
        self.assertIn(got, ([errno.ESTALE], [b""]))
        self.fails(errno.ESTALE, os.read, st, 1)
        os.close(st)
        os.close(fd)
        self.assertNotIn("d", os.listdir(self.m.mnt))


if __name__ == "__main__":
    unittest.main()
