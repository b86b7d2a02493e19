"""What the programs share that carry out the calls of SDKs."""
import json
import os
import re
import select
import subprocess
import time
import unittest
import urllib.request

from sbxmount import RUNS, Mount, wait_for

SECTION = "WHERE THE CALLS OF AN SDK ARE"


class SdkTest(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        # the agent's keepalive sets a life of an hour, as the real one
        cls.m = Mount(agent_args=["--trait", "life-s=3600"])
        cls.addClassCleanup(cls.m.close)
        cls.m.create("t")

    def path(self, *parts):
        return self.m.path("t", *parts)

    def sh(self, typed, name="t"):
        """What is typed in the sandbox's folder prints this."""
        r = subprocess.run(["sh", "-c", typed], cwd=self.m.path(name),
                           stdin=subprocess.DEVNULL, timeout=100,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return r.stdout.decode()

    def same(self, typed, want, name="t"):
        self.assertEqual(self.sh(typed, name), want)

    def get(self, *parts, name="t"):
        with open(self.m.path(name, *parts)) as f:
            return f.read()

    def put(self, text, *parts, name="t"):
        fd = os.open(self.m.path(name, *parts), os.O_WRONLY)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    def new(self, options):
        """A sandbox with these options, until the end of the tests."""
        with open(self.m.path("new"), "r+") as f:
            f.write(options)
            f.flush()
            return f.read().strip()

    def start(self, command, name="t"):
        """jobs/new: the number of what it started"""
        fd = os.open(self.m.path(name, "jobs", "new"), os.O_RDWR)
        try:
            os.write(fd, command.encode())
            return os.read(fd, 100).decode().strip()
        finally:
            os.close(fd)

    def until_it_runs(self, n):
        """what has said nothing yet may be starting"""
        def it_runs():
            return "state: running\n" in self.get("jobs", n, "status")
        wait_for(it_runs)

    def remaining(self, name):
        return int(re.search(r"remaining_s: (\d+)",
                             self.get("keepalive", name=name))[1])

    def all_fail(self, *calls):
        """Each fails with the same error, which is raised."""
        errors = []
        for call in calls:
            with self.assertRaises(OSError) as e:
                call()
            errors.append(e.exception)
        self.assertEqual(len({e.errno for e in errors}), 1, errors)
        raise errors[0]

    def verbs_fail(self, *verbs):
        self.all_fail(*[lambda v=v: self.put(v, "status") for v in verbs])

    def listen(self, name="t"):
        """A server in the sandbox: its job and port."""
        n = self.start(
            "python3 -uc 'import http.server as h; s = h.HTTPServer("
            "(\"127.0.0.1\", 0), h.SimpleHTTPRequestHandler); "
            "print(s.server_port); s.serve_forever()'", name)
        with open(self.m.path(name, "jobs", n, "stdout")) as f:
            return n, int(f.readline())

    def answer_of(self, url):
        with urllib.request.urlopen(url, timeout=60) as f:
            return f.status

    def events(self):
        return Events(self)

    def asked(self, path):
        """What the agent itself answers."""
        def call(method, path, body=None, **headers):
            r = urllib.request.Request(
                "http://127.0.0.1:%d/api/v2/%s" % (self.m.port, path),
                method=method, headers=headers,
                data=json.dumps(body).encode() if body else None)
            with urllib.request.urlopen(r, timeout=60) as f:
                return json.load(f)
        token = call("POST", "auth/token", {"api_key": "test-key"})["token"]
        return call("GET", path, Authorization="Bearer " + token)


class Events:
    def __init__(self, t):
        self.fd = os.open(t.path("events"), os.O_RDONLY)
        self.data = b""

    def __enter__(self):
        return self

    def __exit__(self, *why):
        os.close(self.fd)

    def until(self, **want):
        """The next event that has these members."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            line, nl, rest = self.data.partition(b"\n")
            if nl:
                self.data = rest
                e = json.loads(line)
                if want.items() <= e.items():
                    return e
            elif select.select([self.fd], [], [], 1)[0]:
                self.data += os.read(self.fd, 65536)
        raise AssertionError("no event %r" % want)


def url_of_open_port(t, name):
    """One that was not declared, too: made up from that of one that was."""
    t.new("name=%s\nports=3000\n" % name)
    ident = t.sh("sed -n 's/^id: //p' status", name).strip()
    n, port = t.listen(name)
    with open(t.m.path(name, "ports"), "r+b", buffering=0) as f:
        f.write(b"%d\n" % port)
        line = f.read(1000).decode().split()
    os.rmdir(t.m.path(name, "jobs", n))
    t.assertEqual(line, [str(port), "open",
                         "http://sbx-%s-%d.preview.localhost:%d"
                         % (ident, port, t.m.port)])


def gated(t, name):
    """A command that prints first, waits for go(), and prints last."""
    gate = "gate-" + name
    n = t.start("echo first; echo wrong >&2; until [ -e %s ]; do sleep 0.02; "
                "done; echo last; exit 5" % gate)
    return n, lambda: t.m.release("t", gate)


def begins(t, f, line):
    """It has printed that so far, which is told at its end elsewhere."""
    if not RUNS:
        t.assertEqual(f.readline(), line)


class Terminal:
    """terminals/NAME, made and removed"""

    def __init__(self, t, name):
        self.dir = t.path("terminals", name)

    def __enter__(self):
        os.mkdir(self.dir)
        self.fd = os.open(self.dir + "/data", os.O_RDWR)
        return self

    def __exit__(self, *why):
        os.close(self.fd)
        if os.path.exists(self.dir):
            os.rmdir(self.dir)

    def shows(self, words, typed):
        """What is typed makes the terminal show this, which is not in it."""
        os.write(self.fd, typed.encode())
        seen = b""
        while words.encode() not in seen:
            if not select.select([self.fd], [], [], 60)[0]:
                raise AssertionError("no %s in %r" % (words, seen))
            seen += os.read(self.fd, 65536)


def files_are_told(t, name):
    t.m.run("t", "mkdir %s" % name)
    with Events(t) as events:
        t.m.run("t", "cd %s; : >f; echo x >>f; mv f g; rm g" % name)
        t.assertNotIn("directory", events.until(
            type="created", path=name + "/f"))
        events.until(type="modified", path=name + "/f")
        events.until(type="moved", **{"from": name + "/f", "to": name + "/g"})
        events.until(type="deleted", path=name + "/g")


def ports_are_told(t):
    with Events(t) as events:
        n, port = t.listen()
        events.until(type="port", port=port, state="open")
        os.rmdir(t.path("jobs", n))
        events.until(type="port", port=port, state="closed")
