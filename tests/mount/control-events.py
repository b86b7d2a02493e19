#!/usr/bin/python3
"""events: what happens to files, ports, commands, the connection and the
sandbox, as JSON lines; names of any bytes; slow readers; readers that go."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import base64, errno, json, select, shutil, signal, socket, subprocess, time
import unittest
from sbxmount import CUT_EVERY, RUNS, SERVICE, Mount, SandboxTest


class Reader:
    """One open events file; of cuts that are not the test's it tells
    nothing."""

    def __init__(self, path, cuts=not CUT_EVERY):
        self.cuts = cuts
        self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.data = b""
        self.seen = []
        self.ended = False

    def close(self):
        os.close(self.fd)

    def read(self, size=65536):
        try:
            while not self.ended:
                piece = os.read(self.fd, size)
                self.ended = not piece
                self.data += piece
        except BlockingIOError:
            pass
        *lines, self.data = self.data.split(b"\n")
        new = [json.loads(line) for line in lines]
        self.seen += [e for e in new if self.cuts or
                      e["type"] != "connection" or "missed" in e]

    def until(self, **want):
        """The events up to and with one that has these members."""
        end = time.monotonic() + 60
        n = 0
        while True:
            for e in self.seen[n:]:
                n += 1
                if all(e.get(k) == v for k, v in want.items()):
                    got, self.seen = self.seen[:n], self.seen[n:]
                    return got
            if time.monotonic() > end or self.ended:
                raise AssertionError("no %r in %r" % (want, self.seen))
            select.select([self.fd], [], [], 1)
            self.read()


def short(events):
    """Without time, and without what else happens to the same file."""
    return [{k: v for k, v in e.items() if k != "time"} for e in events
            if e["type"] not in ("attrib", "modified")]


class Events(SandboxTest):
    def reader(self, name="t", **more):
        r = Reader(self.m.path(name, "events"), **more)
        self.addCleanup(r.close)
        return r

    def files(self, r, command, last):
        """What a command does to files, up to one of the name last."""
        self.m.run("t", command + "; : >" + last)
        got = r.until(type="created", path=last)
        got = [e for e in got if e["type"] != "job"]
        for e in got:
            self.assertRegex(e["time"], r"^\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z$")
        return got[:-1]

    def test_changes_in_the_sandbox(self):
        self.m.run("t", "mkdir -p old/deep/er; echo x >old/deep/er/f")
        r = self.reader()
        got = self.files(r, "echo y >old/deep/er/f; chmod 600 old/deep/er/f; "
                            "mv old/deep/er/f g; rm g", "end1")
        self.assertEqual(
            [(e["type"], e.get("path") or (e["from"], e["to"])) for e in got],
            [("modified", "old/deep/er/f"), ("attrib", "old/deep/er/f"),
             ("moved", ("old/deep/er/f", "g")), ("deleted", "g")])
        # new folders, filled at once
        d = {"directory": True}
        got = short(self.files(r, "mkdir -p a/b/c; : >a/b/c/1", "end2"))
        self.assertEqual(sorted(e["path"] for e in got),
                         ["a", "a/b", "a/b/c", "a/b/c/1"])
        # ... and moved about, up and down
        got = short(self.files(
            r, "mv a z; : >z/b/c/2; mv z/b b; : >b/c/3; mv b/c c; : >c/4",
            "end3"))
        self.assertEqual(got, [
            dict(d, type="moved", **{"from": "a", "to": "z"}),
            {"type": "created", "path": "z/b/c/2"},
            dict(d, type="moved", **{"from": "z/b", "to": "b"}),
            {"type": "created", "path": "b/c/3"},
            dict(d, type="moved", **{"from": "b/c", "to": "c"}),
            {"type": "created", "path": "c/4"}])
        got = short(self.files(r, "mv c b/; mv b old/deep/er/", "end4"))
        self.assertEqual(got[1]["to"], "old/deep/er/b")
        got = short(self.files(r, ": >old/deep/er/b/c/5; rm -r old/deep/er",
                               "end5"))
        self.assertEqual(got[0]["path"], "old/deep/er/b/c/5")
        self.assertEqual(got[-1], dict(d, type="deleted", path="old/deep/er"))
        self.assertEqual(len(got), 9)
        # out of the workspace and in again
        got = short(self.files(r, "t=$(mktemp -d); mv old $t; : >$t/old/no; "
                                  "rm $t/old/no; mv $t/old new", "end6"))
        self.assertIn(dict(d, type="deleted", path="old"), got)
        self.assertEqual(got.count(dict(d, type="created", path="new")), 1)
        self.assertEqual(
            got.count(dict(d, type="created", path="new/deep")), 1)
        self.assertNotIn("no", [os.path.basename(e.get("path", ""))
                                for e in got])

    def test_changes_through_the_mount(self):
        r = self.reader()
        os.mkdir(self.path("workspace", "m"))
        with open(self.path("workspace", "m", "f"), "w") as f:
            f.write("x")
        os.rename(self.path("workspace", "m", "f"),
                  self.path("workspace", "m", "g"))
        shutil.rmtree(self.path("workspace", "m"))
        got = short(r.until(type="deleted", path="m"))
        self.assertEqual(got, [
            {"type": "created", "path": "m", "directory": True},
            {"type": "created", "path": "m/f"},
            {"type": "moved", "from": "m/f", "to": "m/g"},
            {"type": "deleted", "path": "m/g"},
            {"type": "deleted", "path": "m", "directory": True}])

    def test_names_of_any_bytes(self):
        r = self.reader()
        names = [b"caf\xc3\xa9", b"bad\xff\xfe", b"quote\"back\\",
                 b"ctl\x01\n\x7f", b"\xed\xa0\x80", b"\xf4\x90\x80\x80",
                 b"\xc0\xaf", "\U0001f600".encode(), b"a" * 255]
        ws = os.fsencode(self.path("workspace"))
        for name in names:
            open(os.path.join(ws, name), "w").close()
        got = [e for e in r.until(type="created", path="a" * 255)
               if e["type"] == "created"]
        back = [base64.b64decode(e["path_b64"]) if "path_b64" in e
                else e["path"].encode() for e in got]
        self.assertEqual(back, names)
        for name in names:
            os.unlink(os.path.join(ws, name))

    def test_jq_reads_them(self):
        with open(self.path("events")) as events, subprocess.Popen(
                ["jq", "--unbuffered", "-r",
                 'select(.type == "created") | .path'],
                stdin=events, stdout=subprocess.PIPE) as jq:
            self.m.run("t", "printf x >'j q'; : >bad$(printf '\\377')")
            self.assertEqual(jq.stdout.readline(), b"j q\n")
            self.assertEqual(jq.stdout.readline(), "bad\ufffd\n".encode())
            jq.kill()

    def test_commands_and_terminals(self):
        r = self.reader()
        self.m.run("t", "exit 3")
        got = r.until(type="job", state="ended")
        self.assertEqual([e["state"] for e in got], ["started", "ended"])
        self.assertEqual(got[0]["command"], "exit 3\n")
        self.assertEqual(got[1]["exit_code"], 3)
        self.assertEqual(got[0]["job"], got[1]["job"])
        if RUNS:  # there are no terminals
            return
        os.mkdir(self.path("terminals", "x"))
        r.until(type="terminal", terminal="x", state="started")
        with open(self.path("terminals", "x", "data"), "w") as f:
            f.write("exit 4\n")
        r.until(type="terminal", terminal="x", state="ended", exit_code=4)
        os.rmdir(self.path("terminals", "x"))

    @unittest.skipIf(RUNS, "nothing ends a command that runs there")
    def test_the_end_of_what_is_removed(self):
        r = self.reader()
        with open(self.path("jobs", "new"), "r+b", buffering=0) as f:
            f.write(b"exec sleep 1000")
            job = int(f.read())
        r.until(type="job", job=job, state="started")
        held = open(self.path("jobs", str(job), "command"))
        self.addCleanup(held.close)
        os.rmdir(self.path("jobs", str(job)))
        r.until(type="job", job=job, state="ended", exit_code=137)
        with self.assertRaises(OSError) as e:
            held.read()
        self.assertEqual(e.exception.errno, errno.ESTALE)
        os.mkdir(self.path("terminals", "y"))
        r.until(type="terminal", terminal="y", state="started")
        os.rmdir(self.path("terminals", "y"))
        r.until(type="terminal", terminal="y", state="ended")
        # and of what is still shown
        self.m.run("t", "exit 5")
        r.until(type="job", state="ended", exit_code=5)

    def test_ports(self):
        r = self.reader()
        self.m.run("t", "mkfifo wait")
        with open(self.path("ports")) as f:  # a service's own, of some
            before = set(f)
        server = ("python3 -uc 'import socket; s = socket.socket(); "
                  "s.bind((\"127.0.0.1\", 0)); s.listen(); "
                  "print(s.getsockname()[1]); open(\"wait\").read()'")
        if RUNS:  # told behind the command that leaves it there
            server = ("setsid %s </dev/null >port 2>&1 & until [ -s port ]; do "
                      "sleep 0.01; done; cat port; echo $! >pid" % server)
        fd = os.open(self.path("exec"), os.O_RDWR)
        os.write(fd, server.encode())
        port = int(os.read(fd, 100))
        self.assertEqual([e["port"] for e in r.until(
            type="port", port=port, state="open") if e["type"] == "port"],
            [port])
        # what others on this machine have open is not the sandbox's
        with socket.create_server(("127.0.0.1", 0)) as other, \
                open(self.path("ports")) as f:
            ports = [int(line.split()[0]) for line in set(f) - before]
            self.assertEqual(ports, [port])
            self.assertNotIn(other.getsockname()[1], ports)
        self.m.run("t", ": >wait" + (
            "; while kill -0 $(cat pid) 2>/dev/null; do sleep 0.01; done")
            * RUNS)
        r.until(type="port", port=port, state="closed")
        os.close(fd)

    def test_slow_readers_lose_the_oldest_and_are_told(self):
        slow = self.reader()
        self.m.run("t", "mkdir many; cd many; for i in $(seq 6000); do "
                        ": >file$i; done")
        quick = self.reader()
        self.m.run("t", "touch after")
        quick.until(type="created", path="after")
        got = slow.until(type="created", path="after")
        self.assertEqual(got[0]["type"], "lost")
        self.assertGreater(got[0]["events"], 1000)
        files = [e["path"] for e in got if e.get("path", "").startswith(
            "many/") and e["type"] == "created"]
        self.assertGreater(len(files), 1000)
        self.assertEqual(len(set(files)), len(files))
        self.assertEqual(files[-1], "many/file6000")

    def test_who_reads_byte_by_byte_is_told_what_is_lost(self):
        """as "while read" in a shell does"""
        fd = os.open(self.path("events"), os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, fd)
        self.m.run("t", ": >torn")
        select.select([fd], [], [])
        data = os.read(fd, 10)  # within a line, which is dropped then
        quick = self.reader()
        self.m.run("t", "mkdir more; cd more; for i in $(seq 6000); do "
                        ": >file$i; done; : >../last")
        quick.until(type="created", path="last")
        while data.count(b"\n") < 20:
            data += os.read(fd, 1)
        lines = data.splitlines()
        self.assertEqual(len(lines[0]), 10)
        lost = json.loads(lines[1])
        self.assertEqual(lost["type"], "lost")
        self.assertGreater(lost["events"], 1000)
        for line in lines[2:]:
            self.assertIn("path", json.loads(line))

    def test_small_reads_and_two_readers(self):
        a, b = self.reader(), self.reader()
        self.m.run("t", ": >small")
        data = b""
        while data.count(b"small") < 1 or data[-1:] != b"\n":
            select.select([a.fd], [], [], 1)
            try:
                data += os.read(a.fd, 7)
            except BlockingIOError:
                pass
        for line in data.splitlines():
            json.loads(line)
        b.until(type="created", path="small")

    def test_connection_lost_and_back(self):
        self.m.create("c")
        r = self.reader("c", cuts=True)
        if SERVICE == "opensandbox":  # takes it up again, mostly, untold
            self.m.signal_all(self.m.helpers(), signal.SIGKILL)
        else:
            self.m.control("fault cut")
        # what fails once is made anew, untold
        if SERVICE not in ("timetravel", "vtrix"):
            r.until(type="connection", state="lost")
            r.until(type="connection", state="up")
        self.m.run("c", ": >new")
        r.until(type="created", path="new")

    @unittest.skipIf(SERVICE == "vtrix", "that it is lost is not told")
    def test_what_is_done_when_it_is_up_again_is_told(self):
        """by the next helper, which has to watch first"""
        for i in range(4):
            name = "up%d" % i
            self.m.create(name)
            r = self.reader(name, cuts=True)
            self.m.signal_all(self.m.helpers(), signal.SIGKILL)
            if RUNS:  # an idle mount asks for nothing there
                self.m.run(name, "true")
            r.until(type="connection", state="up", missed=True)
            self.m.run(name, ": >new")
            r.until(type="created", path="new")
            os.rmdir(self.m.path(name))

    def test_the_end(self):
        self.m.create("gone")
        r = self.reader("gone")
        select.select([r.fd], [], [], 0.1)
        r.read()
        self.assertEqual((r.seen, r.ended), ([], False))
        os.rmdir(self.m.path("gone"))
        r.until(type="state", state="gone")
        self.assertEqual(os.read(r.fd, 100), b"")
        self.assertEqual(os.read(r.fd, 100), b"")

    def test_opened_and_closed_again_and_again(self):
        for i in range(20):
            os.close(os.open(self.path("events"), os.O_RDONLY))
        r = self.reader()
        self.m.run("t", ": >still")
        r.until(type="created", path="still")


@unittest.skipIf(CUT_EVERY, "what comes back is what this is about")
class OutOfReach(unittest.TestCase):
    """Opened while the sandbox cannot be reached, which lasts too long."""

    def test_is_told_when_it_is_watched_after_all(self):
        m = Mount(options=["timeout=2"])
        self.addCleanup(m.close)
        m.create("t")
        m.run("t", "true")
        m.control("fault blackhole on")
        try:
            r = Reader(m.path("t", "events"), cuts=True)
        finally:
            m.control("fault blackhole off")
        self.addCleanup(r.close)
        r.until(type="unwatched")
        m.run("t", "true")
        r.until(type="connection", state="up", missed=True)
        again = Reader(m.path("t", "events"))  # when all is watched
        self.addCleanup(again.close)
        m.run("t", ": >new")
        r.until(type="created", path="new")
        again.until(type="created", path="new")


if __name__ == "__main__":
    unittest.main()
