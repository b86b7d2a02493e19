#!/usr/bin/python3
"""What ComputeSDK alone has, as files, each used as a user would."""
import json
import os
import select
import socket
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "../lib"))
os.environ["SBXFS_SERVICE"] = "computesdk"
import sbxmount

WAIT = 60


def setUpModule():
    global mount
    mount = sbxmount.Mount()
    mount.create("demo")


def tearDownModule():
    mount.close()


def path(*parts):
    return mount.path("demo", *parts)


def read(*parts):
    with open(path(*parts)) as f:
        return f.read()


def write(text, *parts):
    """Written and closed"""
    fd = os.open(path(*parts), os.O_WRONLY | os.O_TRUNC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def tell(text, *parts):
    """Written, and what is read on the same open file"""
    fd = os.open(path(*parts), os.O_RDWR)
    try:
        os.write(fd, text.encode())
        out = b""
        while True:
            piece = os.read(fd, 1 << 16)
            if not piece:
                return out.decode()
            out += piece
    finally:
        os.close(fd)


def shows(name, *parts):
    """Lists are two seconds old at the most."""
    sbxmount.wait_for(lambda: name in os.listdir(path(*parts)))


def shows_not(name, *parts):
    sbxmount.wait_for(lambda: name not in os.listdir(path(*parts)))


class Stream:
    """An open stream, and what came of it"""

    def __init__(self, *parts, text=None):
        self.fd = os.open(path(*parts), os.O_RDWR if text else os.O_RDONLY)
        if text:
            os.write(self.fd, text.encode())
        self.data = b""
        self.step(0)  # it begins with the first who looks

    def step(self, ms):
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        if poll.poll(ms):
            self.data += os.read(self.fd, 1 << 16)

    def until(self, word, again=lambda: None):
        for _ in range(WAIT * 10):
            if word.encode() in self.data:
                return self.data.decode()
            again()
            self.step(100)
        raise AssertionError("%r never came: %r" % (word, self.data))

    def close(self):
        os.close(self.fd)


class OwnFiles(unittest.TestCase):
    def stream(self, *args, **more):
        s = Stream(*args, **more)
        self.addCleanup(s.close)
        return s

    def fails(self, err, what, *args):
        with self.assertRaises(OSError) as e:
            what(*args)
        self.assertEqual(e.exception.errno, err)

    def test_daemon(self):
        self.assertEqual(json.loads(read("daemon", "health.json"))["status"],
                         "ok")
        self.assertIn("version", json.loads(read("daemon", "info.json")))
        self.assertIn("ready", json.loads(read("daemon", "ready.json")))
        self.assertIn("endpoints", json.loads(read("daemon", "auth.json")))
        self.assertEqual(json.loads(read("auth"))["token_type"],
                         "access_token")

    def test_servers(self):
        start = "exec /usr/bin/python3 -m http.server $PORT"
        with socket.socket() as s:  # others may run this test as well
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        slug = tell(json.dumps({"slug": "web", "start": start, "port": port}),
                    "servers", "new")
        self.assertEqual(slug, "web\n")
        shows("web", "servers")
        sbxmount.wait_for(lambda: read("servers", "web", "status").strip()
                          in ("running", "ready"))
        self.assertEqual(read("servers", "web", "port"), "%d\n" % port)
        self.assertTrue(int(read("servers", "web", "pid")))
        self.assertEqual(json.loads(
            read("servers", "web", "info.json"))["slug"], "web")
        read("servers", "web", "log", "combined")
        write("ready\n", "servers", "web", "status")
        self.assertEqual(read("servers", "web", "status"), "ready\n")
        self.fails(22, write, "stop\n", "servers", "web", "status")
        self.assertEqual(read("servers", "web", "status"), "ready\n")
        write("restart\n", "servers", "web", "ctl")
        self.fails(22, write, "jump\n", "servers", "web", "ctl")
        os.rmdir(path("servers", "web"))
        shows_not("web", "servers")
        self.fails(2, read, "servers", "none", "status")
        self.fails(22, tell, "no json", "servers", "new")

    def test_overlays(self):
        template = path("root", "tmp", "template")
        os.makedirs(template)
        with open(template + "/one", "w") as f:
            f.write("1")
        with open(template + "/one") as f:
            os.fsync(f.fileno())
        ident = tell(json.dumps({"source": "/tmp/template",
                                 "target": "from-template"}),
                     "overlays", "new").strip()
        sbxmount.wait_for(lambda: read("overlays", ident, "status")
                          == "complete\n")
        self.assertEqual(read("overlays", ident, "source"), "/tmp/template\n")
        self.assertEqual(json.loads(
            read("overlays", ident, "stats.json"))["copied_files"], 1)
        mount.run("demo", "true")
        self.assertEqual(read("workspace", "from-template", "one"), "1")
        os.rmdir(path("overlays", ident))
        shows_not(ident, "overlays")

    def test_env(self):
        os.mkdir(path("env", ".env"))
        with open(path("env", ".env", "KEY"), "w") as f:
            f.write("a value\n")
        self.assertEqual(read("env", ".env", "KEY"), "a value\n")
        mount.run("demo", "true")  # what the daemon wrote is known then
        self.assertIn("KEY=", read("workspace", ".env"))
        self.assertEqual(os.listdir(path("env", ".env")), ["KEY"])
        os.unlink(path("env", ".env", "KEY"))
        self.assertEqual(os.listdir(path("env", ".env")), [])
        self.fails(2, read, "env", ".env", "KEY")
        shows(".env", "env")
        os.mkdir(path("env", "production.env"))
        with open(path("env", "production.env", "LEVEL"), "w") as f:
            f.write("1\n")
        shows("production.env", "env")

    def test_code(self):
        self.assertEqual(tell("print(6 * 7)", "code", "python"), "42\n")
        self.assertEqual(tell("echo $((6 * 7))", "code", "sh"), "42\n")
        self.assertEqual(tell("import sys; print(sys.byteorder)",
                              "code", "auto"), sys.byteorder + "\n")
        with open(path("workspace", "unsent"), "w") as f:
            f.write("written before")
            f.flush()
            self.assertEqual(tell("cat unsent", "code", "sh").strip(),
                             "written before")

    def test_code_and_how_it_ended(self):
        end = json.loads(tell(json.dumps({
            "code": "print(1); raise SystemExit(3)", "language": "python"}),
            "code", "run.json"))
        self.assertEqual((end["output"], end["exit_code"]), ("1\n", 3))
        self.fails(22, tell, "print(1)", "code", "run.json")
        self.fails(22, tell, '{"code": "1", "language": "cobol"}', "code",
                   "run.json")

    def test_lines_that_bash_writes_are_one_text(self):
        out = subprocess.run(
            ["bash", "-c", "exec 3<>code/sh; printf '[ 1 = 1 ] &&\n"
             "x=6\necho $((x * 7))\n' >&3; cat <&3"], cwd=path(),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=100)
        self.assertEqual(out.stdout, b"42\n")

    def test_batch(self):
        results = json.loads(tell(json.dumps([
            {"path": "b1", "operation": "write", "content": "one"},
            {"path": "none/../../x", "operation": "delete"}]), "batch"))
        self.assertTrue([r for r in results
                         if r["path"] == "b1" and r["success"]])
        mount.run("demo", "true")
        self.assertEqual(read("workspace", "b1"), "one")
        self.fails(22, tell, "{}", "batch")

    def test_terminals_of_the_daemon(self):
        mount.run("demo", "true")  # by one that is no business of users
        sbxmount.wait_for(lambda: os.listdir(path("term")) == ["new"])
        ident = tell("/bin/sh", "term", "new").strip()
        shows(ident, "term")
        self.assertEqual(json.loads(
            read("term", ident, "info.json"))["id"], ident)
        s = self.stream("term", ident, "data", text="echo $((6*7))\n")
        s.until("42")
        # what is written arrives whole, whatever the bytes
        s = self.stream("term", ident, "data",
                        text="od -An -tx1 -N3\nA\0\n")
        s.until("41 00 0a")
        out = json.loads(tell("echo beside", "term", ident, "exec"))
        self.assertEqual(out["stdout"], "beside\n")
        self.assertEqual(read("term", ident, "commands.json"), "[]\n")
        self.assertEqual(os.listdir(path("term", ident, "commands")), [])
        write("100 30\n", "term", ident, "size")
        s = self.stream("term", ident, "data", text="stty size\n")
        s.until("30 100")
        for text in ("", "100", "0 30", "100 30 1", "100x30"):
            self.fails(22, write, text or "\n", "term", ident, "size")
        self.fails(22, tell, '{"command": 7}', "term", "new")
        os.rmdir(path("term", ident))
        shows_not(ident, "term")

    def test_commands_of_a_terminal(self):
        ident = tell('{"pty": false}', "term", "new").strip()
        shows(ident, "term")
        ran = json.loads(tell(json.dumps({
            "command": "echo out; echo err >&2; exit 3",
            "background": True}), "term", ident, "exec"))["cmd_id"]
        shows(ran, "term", ident, "commands")

        def of(name):
            return read("term", ident, "commands", ran, name)

        def ended():
            return of("exit_code") == "3\n"
        sbxmount.wait_for(ended)
        self.assertEqual((of("stdout"), of("stderr"), of("status")),
                         ("out\n", "err\n", "failed\n"))
        self.assertIn("exit 3", of("command"))
        self.assertEqual(json.loads(of("info.json"))["cmd_id"], ran)
        self.fails(2, read, "term", ident, "commands", "none", "stdout")
        self.fails(95, write, "80 24\n", "term", ident, "size")
        self.fails(22, tell, '{"command": "true", "colour": 1}', "term",
                   ident, "exec")
        os.rmdir(path("term", ident))

    def test_urls_of_ports(self):
        self.assertEqual(os.listdir(path("url")), [])
        for name in ("0", "65536", "x", "080"):
            self.fails(2, read, "url", name)
        # the stand-in is at an address of numbers
        self.fails(95, read, "url", "3000")
        self.assertIn("no name that those of ports", read("status"))

    def test_watchers(self):
        os.mkdir(path("workspace", "watched"))
        where = mount.run("demo", "pwd").decode().strip() + "/watched"
        ident = tell(where + "\n", "watch", "new").strip()
        self.assertEqual(json.loads(
            read("watch", ident, "info.json"))["path"], where)
        s = self.stream("watch", ident, "events")
        n = iter(range(1000))

        def touch():
            mount.run("demo", "echo > watched/f%d" % next(n))
        line = s.until("\n", touch).splitlines()[0]
        event = json.loads(line)
        self.assertEqual(event["type"], "file:changed")
        self.assertIn("watched", event["path"])
        os.rmdir(path("watch", ident))
        shows_not(ident, "watch")

    def test_signals(self):
        s = self.stream("signals", "events")
        sbxmount.wait_for(lambda: read("signals", "status") == "active\n")

        def emit():
            write("port 3000 open http://x\n", "signals", "emit")
        event = json.loads(s.until("\n", emit).splitlines()[0])
        self.assertEqual((event["signal"], event["port"]), ("port", 3000))
        write("error it broke", "signals", "emit")
        s.until("it broke")
        self.fails(22, write, "port what", "signals", "emit")

    def test_tokens(self):
        text = tell("3600 for a friend\n", "tokens", "new")
        words = dict(l.split(": ") for l in text.splitlines())
        self.assertTrue(words["token"])
        shows(words["id"], "tokens")
        self.assertEqual(read("tokens", words["id"], "description"),
                         "for a friend\n")
        self.assertTrue(read("tokens", words["id"], "expires").strip())
        self.assertNotIn(words["token"],
                         read("tokens", words["id"], "info.json"))
        self.assertNotIn(words["token"], mount.log_text())
        os.rmdir(path("tokens", words["id"]))
        shows_not(words["id"], "tokens")
        self.fails(22, tell, "soon", "tokens", "new")

    def test_magic_link(self):
        self.assertEqual(read("magiclink"), "")  # reading makes none
        link = tell("/play/\n", "magiclink")
        self.assertIn("/auth/magic", link)
        self.fails(22, tell, "http://elsewhere\n", "magiclink")
        for name in ("magiclink", "snapshot", "term/new"):
            self.fails(22, tell, "\0", name)  # no empty line

    def test_child_sandboxes(self):
        for text in ('{"command": 7}', "[]", "7", '{"directory": 7}'):
            self.fails(22, tell, text, "children", "new")
        self.fails(22, tell, '{"directory": "a", "colour": 1}', "children",
                   "new")
        self.assertIn('not "colour"', read("status"))
        ident = tell("{}", "children", "new").strip()
        shows(ident, "children")
        self.assertTrue(read("children", ident, "url").startswith("http"))
        os.rmdir(path("children", ident))
        shows_not(ident, "children")

    def test_snapshots(self):
        with open(path("workspace", "kept"), "w") as f:
            f.write("as it was")
        ident = tell("first\n", "snapshot").strip()
        top = os.path.join(mount.mnt, "snapshots")
        self.assertIn(ident, os.listdir(top))
        with open(os.path.join(top, ident, "info.json")) as f:
            self.assertEqual(json.load(f)["id"], ident)
        fd = os.open(os.path.join(mount.mnt, "new"), os.O_RDWR)
        os.write(fd, b"name=copy\nsnapshotId=%s\n" % ident.encode())
        self.assertEqual(os.read(fd, 100), b"copy\n")
        os.close(fd)
        self.assertIn("as it was", mount.run(
            "copy", "cat $(dirname $PWD)/*/kept").decode())
        os.rmdir(os.path.join(top, ident))
        self.assertNotIn(ident, os.listdir(top))

    def test_an_end_that_is_not_told_is_not_never(self):
        self.assertEqual(read("keepalive"), "expires: unknown\n")
        self.assertIn("\nexpires: unknown\n", read("status"))
        m = sbxmount.Mount(["keepalive"])
        self.addCleanup(m.close)

        def is_warned():
            return "not kept alive" in m.log_text()
        sbxmount.wait_for(is_warned)

    def test_what_can_only_be_written_has_nothing_to_read(self):
        self.assertEqual(os.stat(path("signals", "ctl")).st_mode & 0o777,
                         0o600)
        self.assertEqual(read("signals", "ctl"), "")

    def test_reading_everything_makes_nothing(self):
        before = {d: sorted(os.listdir(path(d))) for d in
                  ("servers", "overlays", "tokens", "children")}
        for top, folders, files in os.walk(path()):
            if top == path():
                folders[:] = ["servers", "overlays", "tokens", "children",
                              "daemon", "code"]
                files = []
            for name in files:
                if os.stat(os.path.join(top, name)).st_mode & 0o400:
                    with open(os.path.join(top, name)) as f:
                        f.read()
        self.assertEqual(before, {d: sorted(os.listdir(path(d)))
                                  for d in before})

    def test_what_is_typed_is_text(self):
        ident = tell("/bin/cat", "term", "new").strip()
        shows(ident, "term")
        fd = os.open(path("term", ident, "data"), os.O_RDWR)
        self.addCleanup(os.close, fd)
        os.write(fd, b"\xff\n")
        self.fails(84, os.read, fd, 10)
        os.rmdir(path("term", ident))


class SecondGeneration(unittest.TestCase):
    """It has some of it, under other names."""

    def test_what_it_has(self):
        os.environ["STANDIN_TRAITS"] = "g2"
        self.addCleanup(os.environ.pop, "STANDIN_TRAITS")
        m = sbxmount.Mount()
        self.addCleanup(m.close)
        m.create("old")
        m.run("old", "true")

        def get(*parts):
            with open(m.path("old", *parts)) as f:
                return f.read()
        there = set(os.listdir(m.path("old")))
        self.assertLessEqual({"auth", "children", "magiclink", "signals",
                              "term", "tokens", "watch", "url"}, there)
        self.assertFalse({"batch", "code", "env", "overlays",
                          "servers"} & there)
        self.assertEqual(sorted(os.listdir(m.path("old", "daemon"))),
                         ["auth.json", "health.json", "info.json"])
        self.assertEqual(json.loads(get("daemon", "info.json"))["version"],
                         "1.0.0")
        with open(m.path("old", "term", "new"), "r+b", 0) as f:
            f.write(b"\n")
            ident = f.read(100).decode().strip()
        self.assertEqual(sorted(os.listdir(m.path("old", "term", ident))),
                         ["data", "exec", "info.json", "size"])
        with open(m.path("old", "term", ident, "exec"), "r+b", 0) as f:
            f.write(b"echo beside\n")
            self.assertEqual(json.loads(f.read(10000))["stdout"],
                             "beside\n")
        os.rmdir(m.path("old", "term", ident))
        with open(m.path("old", "tokens", "new"), "r+b", 0) as f:
            f.write(b"3600 for a friend\n")
            self.assertIn(b"token: st_", f.read(1000))


if __name__ == "__main__":
    unittest.main()
