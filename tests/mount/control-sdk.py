#!/usr/bin/python3
"""What the calls of SDKs are done with: each row of the man page's two tables
is carried out, through files as a user would."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import errno, json, re, select, shlex, subprocess, tempfile, time
import unittest, urllib.request
from plaintable import Rows, check_rows, table
from sbxmount import BUILD, RUNS, SERVICE, Mount, wait_for
from sdkruns import Runs

SECTION = "WHERE THE CALLS OF AN SDK ARE"
Xgen, Other = Rows(), Rows()
# rows that are another service's own, or need an option of xgen's
XGENS = {"list of some status, label", "refresh, getInfo",
         "createdAt, expireAt, timeout", "renew, extend, extendTimeout",
         "pause, resume", "stop, start, restart", "update, configure", "wipe",
         "snapshots, restore", "sessionTokens, magicLinks", "domain, getUrl",
         "getEndpoint, getEndpointUrl"}


class Calls(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        # the agent's keepalive sets a life of an hour, as the real one
        cls.m = Mount(agent_args=["--trait", "life-s=3600"])
        cls.addClassCleanup(cls.m.close)
        cls.m.create("t")

    @unittest.skipIf(SERVICE != "xgen", "the table is of xgen")
    def test_calls_of_xgen(self):
        check_rows(self, table(0, SECTION), Xgen.tests, done="")

    def test_calls_of_others(self):
        rows, tests = table(1, SECTION), Other.tests
        if RUNS:  # each of those has another test there
            self.assertLessEqual(XGENS, Runs.tests.keys())
            rows = {**rows, **dict.fromkeys(Runs.tests, "")}
            tests = {**tests, **Runs.tests}
        check_rows(self, rows, tests, done="",
                   but=() if SERVICE == "xgen" or RUNS else XGENS)

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


# ---- xgen-sandbox: the client ----


@Xgen.of("agentUrl, apiKey")
def row(t):
    def sbxfs(mnt, key):
        return subprocess.run(
            [BUILD + "/sbxfs", "xgen+http://127.0.0.1:%d" % t.m.port, mnt],
            env=dict(os.environ, XGEN_API_KEY=key), timeout=100,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
    with tempfile.TemporaryDirectory() as mnt:
        t.assertNotEqual(sbxfs(mnt, "wrong"), 0)
        t.assertEqual(os.listdir(mnt), [])
        t.assertEqual(sbxfs(mnt, "test-key"), 0)
        try:
            t.assertIn("t", os.listdir(mnt))
        finally:
            subprocess.run(["fusermount3", "-u", mnt], check=True)


@Xgen.of("close")
def row(t):
    m = Mount()
    try:
        m.create("kept")
        m.unmount()
        t.assertEqual(os.listdir(m.mnt), [])
        m.start()
        t.assertIn("kept", os.listdir(m.mnt))
    finally:
        m.close()


@Xgen.of("createSandbox")
def row(t):
    t.same("mkdir ../made; cd ../made; echo 'echo hi' >exec; cat exec", "hi\n")
    name = t.new("name=asked\n")
    t.assertEqual(name, "asked")
    t.same("echo 'echo hi' >exec; cat exec", "hi\n", name)


@Xgen.of("template, gui, metadata")
def row(t):
    t.new('{"name": "words", "template": "nodejs", "gui": true, '
          '"metadata": {"team": "red"}}')
    t.same("grep ^template: status", "template: nodejs\n", "words")
    t.same("jq -r .metadata.team info.json", "red\n", "words")
    with t.assertRaises(OSError):
        t.new('{"name": "bad", "gui": "perhaps"}')


@Xgen.of("timeout_seconds, env, ports")
def row(t):
    t.new("name=more\ntimeout_seconds=300\nenv.MODE=test\nports=3000,8080\n")
    t.assertIn(t.remaining("more"), range(1, 301))
    t.same("echo 'echo $MODE' >exec; cat exec", "test\n", "more")
    t.same("cut -d' ' -f1 ports; grep -c declared ports", "3000\n8080\n2\n",
           "more")


@Xgen.of("getSandbox")
def row(t):
    ident = t.sh("sed -n 's/^id: //p' status").strip()
    t.same("sed -n 's/^name: //p' status", "t\n", ident)
    t.assertFalse(os.path.exists(t.m.path("nobody")))


@Xgen.of("listSandboxes")
def row(t):
    t.m.create("listed")
    t.assertLessEqual({"t", "listed"}, set(t.sh("ls ..").split()))


@Xgen.of("id, status")
def row(t):
    t.same("grep -c '^id: .' status; grep ^state: status",
           "1\nstate: running\n")


@Xgen.of("info, vncUrl, SandboxDesktop")
def row(t):
    # whatever the service says is there, so is vnc_url where it has desktops
    info = json.loads(t.get("info.json"))
    t.assertEqual(info, t.asked("sandboxes/" + info["id"]))


@Xgen.of("previewUrls, getPreviewUrl")
def row(t):
    t.new("name=url\nports=3000,8080\n")
    info = json.loads(t.get("info.json", name="url"))
    lines = [l.split() for l in t.get("ports", name="url").splitlines()]
    t.assertEqual({l[0]: l[2] for l in lines}, info["preview_urls"])


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


@Xgen.of("SandboxPreview")
def row(t):
    url_of_open_port(t, "preview")


# ---- xgen-sandbox: commands and terminals ----


@Xgen.of("exec")
def row(t):
    t.same("echo 'echo out; exit 3' >exec; cat exec; cat jobs/last/exit_code",
           "out\n3\n")


@Xgen.of("args, env, cwd, timeout")
def row(t):
    spec = {"argv": ["sh", "-c", 'pwd; echo "$A" "$1"', "-", "x  y"],
            "env": {"A": "b c"}, "cwd": "/tmp"}
    t.same("echo %s >exec; cat exec" % shlex.quote(json.dumps(spec)),
           "/tmp\nb c x  y\n")
    spec = {"command": "sleep 999", "timeout_ms": 100}
    t.same("echo '%s' >exec; cat jobs/last/exit_code" % json.dumps(spec),
           "143\n")


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


@Xgen.of("execStream")
def row(t):
    n, go = gated(t, "stream")
    with open(t.path("jobs", n, "stdout")) as f:
        t.assertEqual(f.readline(), "first\n")
        t.same("grep ^state jobs/%s/status" % n, "state: running\n")
        go()
        t.assertEqual(f.read(), "last\n")
    t.same("cd jobs/%s; cat stderr exit_code" % n, "wrong\n5\n")


@Xgen.of("execStream, left by break")
def row(t):
    t.m.run("t", "mkfifo left")
    fd = os.open(t.path("exec"), os.O_RDWR)
    os.write(fd, b"echo ready; read x <left; echo on")
    t.assertEqual(os.read(fd, 100), b"ready\n")
    n = os.readlink(t.path("jobs", "last"))
    os.close(fd)
    t.m.run("t", "echo >left")
    t.same("cd jobs/%s; cat exit_code stdout" % n, "0\nready\non\n")


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


@Xgen.of("openTerminal, SandboxTerminal")
def row(t):
    with Terminal(t, "open") as term:
        term.shows("yes a terminal", "test -t 0 && echo yes 'a terminal'\n")


@Xgen.of("cols, rows")
def row(t):
    with Terminal(t, "size") as term:
        t.put("120 40\n", "terminals", "size", "size")
        t.same("cat terminals/size/size", "120 40\n")
        term.shows("is 40 120", "echo is $(stty size)\n")


@Xgen.of("onData, write")
def row(t):
    with Terminal(t, "data") as term:
        t.put("echo typed $((6*7))\n", "terminals", "data", "data")
        term.shows("typed 42", "")
        t.put("exit 4\n", "terminals", "data", "data")
        t.same("cat terminals/data/exit_code", "4\n")


@Xgen.of("close of a terminal")
def row(t):
    with Terminal(t, "closed") as term, Events(t) as events:
        term.shows("alive 1", "exec sh -c 'trap \": >hung; exit\" HUP; "
                   "echo alive $((1)); while :; do sleep 0.05; done'\n")
        os.rmdir(term.dir)
        events.until(type="created", path="hung")
        t.assertNotIn("closed", os.listdir(t.path("terminals")))


# ---- xgen-sandbox: files, events, life ----


@Xgen.of("readFile, readTextFile")
def row(t):
    t.m.run("t", r"printf 'a\000\377\n' >read; sync")
    t.same("od -An -tx1 workspace/read", " 61 00 ff 0a\n")


@Xgen.of("writeFile")
def row(t):
    t.sh(r"printf 'a\000\377\n' | cat >workspace/written")
    t.assertEqual(t.m.run("t", "od -An -tx1 written"), b" 61 00 ff 0a\n")


@Xgen.of("listDir, SandboxFiles")
def row(t):
    t.m.run("t", "mkdir -p list/folder; printf 12345 >list/five")
    t.same("ls -l workspace/list | awk 'NR > 1 { print substr($1, 1, 1), $9 }';"
           "stat -c %s workspace/list/five", "- five\nd folder\n5\n")


@Xgen.of("removeFile, recursive")
def row(t):
    t.m.run("t", "mkdir -p tree/a/b; : >tree/a/b/c; : >single")
    t.same("rm workspace/single; rm -r workspace/tree", "")
    t.assertEqual(t.m.run("t", "ls -d tree single 2>/dev/null"), b"")


def files_are_told(t, name):
    t.m.run("t", "mkdir %s" % name)
    with Events(t) as events:
        t.m.run("t", "cd %s; : >f; echo x >>f; mv f g; rm g" % name)
        t.assertNotIn("directory", events.until(
            type="created", path=name + "/f"))
        events.until(type="modified", path=name + "/f")
        events.until(type="moved", **{"from": name + "/f", "to": name + "/g"})
        events.until(type="deleted", path=name + "/g")


@Xgen.of("watchFiles")
def row(t):
    files_are_told(t, "watched")


def ports_are_told(t):
    with Events(t) as events:
        n, port = t.listen()
        events.until(type="port", port=port, state="open")
        os.rmdir(t.path("jobs", n))
        events.until(type="port", port=port, state="closed")


@Xgen.of("onPortOpen")
def row(t):
    ports_are_told(t)
    n, port = t.listen()
    t.same("exec 3<>ports; echo %d >&3; awk '{ print $1, $2 }' <&3" % port,
           "%d open\n" % port)
    os.rmdir(t.path("jobs", n))


@Xgen.of("dispose, cancel")
def row(t):
    with Events(t) as kept:
        with Events(t) as disposed:
            t.m.run("t", ": >both")
            disposed.until(type="created", path="both")
        t.m.run("t", ": >one")
        kept.until(type="created", path="one")


@Xgen.of("keepAlive")
def row(t):
    t.new("name=kept\ntimeout_seconds=900\n")
    t.assertLessEqual(t.remaining("kept"), 900)
    t.same("touch keepalive", "", "kept")
    t.assertGreater(t.remaining("kept"), 3000)


@Xgen.of("destroy")
def row(t):
    for name, typed in (("one", "rmdir one"),
                        ("two", "echo destroy >two/status")):
        t.m.create(name)
        ident = t.sh("sed -n 's/^id: //p' status", name).strip()
        t.same("cd ..; " + typed, "")
        t.assertNotIn(name, os.listdir(t.m.mnt))
        t.assertNotIn(ident, json.dumps(t.asked("sandboxes")))


# ---- others ----


@Other.of("create, attach, get, delete, kill")
def row(t):
    t.same("mkdir ../life; cd ../life; grep ^state: status; cd ..; rmdir life; "
           "ls -d life 2>&1 | grep -c 'No such'", "state: running\n1\n")


@Other.of("list of some status, label")
def row(t):
    t.new("name=red\nmetadata.team=red-ones\n")
    t.same("cd ..; grep -l red-ones */info.json", "red/info.json\n")
    t.same("cd ..; grep -l '^state: running' t/status red/status",
           "t/status\nred/status\n")


@Other.of("refresh, getInfo")
def row(t):
    t.m.create("fresh")
    t.same("echo refresh >status; grep ^state: status", "state: running\n",
           "fresh")
    ident = t.sh("sed -n 's/^id: //p' status", "fresh").strip()
    t.assertEqual(json.loads(t.get("info.json", name="fresh")),
                  t.asked("sandboxes/" + ident))


@Other.of("createdAt, expireAt, timeout")
def row(t):
    when = r": \d{4}-\d\d-\d\dT[\d:]{8}"
    t.assertRegex(t.get("status"), r"(?m)^created" + when)
    t.assertRegex(t.get("status"), r"(?m)^expires" + when)
    t.assertRegex(t.get("keepalive"), r"(?m)^expires" + when)
    t.assertIn(t.remaining("t"), range(1, 3601))


@Other.of("renew, extend, extendTimeout")
def row(t):
    t.new("name=renewed\ntimeout_seconds=600\n")
    t.assertLessEqual(t.remaining("renewed"), 600)
    t.same("echo 1800 >keepalive", "", "renewed")
    t.assertGreaterEqual(t.remaining("renewed"), 1700)


@Other.of("pause, resume")
def row(t):
    t.verbs_fail("pause", "resume")


@Other.of("stop, start, restart")
def row(t):
    t.verbs_fail("stop", "start", "restart")


@Other.of("wipe")
def row(t):
    name = os.path.basename(t.m.create("wiped"))
    t.m.run(name, "mkdir -p a/b; : >a/b/c; : >.hidden")
    t.same("rm -r workspace/* workspace/.hidden", "", name)
    t.assertEqual(t.m.run(name, "ls -A"), b"")
    t.verbs_fail("wipe")


@Other.of("update, configure")
def row(t):
    t.verbs_fail("update", "configure")


def no_files(t, *names):
    t.all_fail(*[lambda n=n: os.stat(t.path(n)) for n in names])


@Other.of("snapshots, restore")
def row(t):
    no_files(t, "snapshots", "restore")


@Other.of("sessionTokens, magicLinks")
def row(t):
    no_files(t, "sessionTokens", "magicLinks")


@Other.of("run, runCommand, runCommandStream")
def row(t):
    with open(t.path("exec"), "rb+", buffering=0) as f:
        f.write(b"echo first; until [ -e run ]; do sleep 0.02; done; "
                b"echo last")
        begins(t, f, b"first\n")
        t.m.release("t", "run")
        t.assertEqual(f.read(), b"first\n" * RUNS + b"last\n")


@Other.of("background, runCommandDetached")
def row(t):
    n, go = gated(t, "background")
    with open(t.path("jobs", n, "stdout")) as f:
        begins(t, f, "first\n")
    if RUNS:
        t.until_it_runs(n)
    t.same("grep ^state jobs/%s/status" % n, "state: running\n")
    go()
    t.same("cat jobs/%s/exit_code" % n, "5\n")


@Other.of("stdin")
def row(t):
    t.same("""echo '{"command": "cat", "stdin": "given"}' >exec; cat exec""",
           "given")
    t.same("""echo '{"command": "sort", "stdin": true}' >exec;
           echo b >>jobs/last/stdin; echo a >jobs/last/stdin; cat exec""",
           "a\nb\n")


@Other.of("stdout, stderr, onStdout, onStderr")
def row(t):
    n, go = gated(t, "both")
    with open(t.path("jobs", n, "stderr")) as f:
        begins(t, f, "wrong\n")
    go()
    t.same("cd jobs/%s; cat stdout stderr" % n, "first\nlast\nwrong\n")


@Other.of("logs, execLogs, collectOutput")
def row(t):
    n, go = gated(t, "logs")
    with open(t.path("jobs", n, "output")) as f, \
            open(t.path("jobs", n, "output")) as second:
        for reader in (f, second)[:0 if RUNS else 2]:
            # of two streams, in any order
            t.assertEqual({reader.readline(), reader.readline()},
                          {"first\n", "wrong\n"})
        go()
        want = ["first\n", "last\n", "wrong\n"] if RUNS else ["last\n"]
        t.assertEqual(sorted(f), want)
        t.assertEqual(sorted(second), want)
    t.same("sort jobs/%s/output" % n, "first\nlast\nwrong\n")


@Other.of("getCommand, pid, startedAt, durationMs")
def row(t):
    n = t.start("echo $$")
    t.same("cd jobs/%s; cat exit_code command; cmp pid stdout" % n,
           "0\necho $$\n")
    t.assertRegex(t.get("jobs", n, "started"), r"^\d{4}-\d\d-\d\dT")
    t.assertRegex(t.get("jobs", n, "duration_ms"), r"^\d+\n$")


@Other.of("wait, exitCode")
def row(t):
    n, go = gated(t, "wait")
    with subprocess.Popen(["cat", t.path("jobs", n, "exit_code")],
                          stdout=subprocess.PIPE) as cat:
        t.assertFalse(select.select([cat.stdout], [], [], 0.2)[0])
        go()
        t.assertEqual(cat.stdout.read(), b"5\n")


@Other.of("kill of a command")
def row(t):
    for word, code in (("TERM", 143), ("9", 137), ("INT", 130), ("HUP", 129)):
        n = t.start("python3 -c 'import signal; signal.signal(signal.SIGINT, "
                    "signal.SIG_DFL); print(1, flush=True); signal.pause()'")
        with open(t.path("jobs", n, "stdout")) as f:
            t.assertEqual(f.readline(), "1\n")
        t.put(word, "jobs", n, "signal")
        t.same("cat jobs/%s/exit_code" % n, "%d\n" % code)


@Other.of("sudo, user")
def row(t):
    t.put('{"command": "id", "user": "somebody-else"}', "exec")


@Other.of("runCode")
def row(t):
    spec = {"argv": ["python3", "-c", "print('a b', 6 * 7)"]}
    t.same("echo %s >exec; cat exec" % shlex.quote(json.dumps(spec)),
           "a b 42\n")


@Other.of("server.start, list, retrieve")
def row(t):
    n, port = t.listen()
    t.assertIn(n, os.listdir(t.path("jobs")))
    t.same("grep ^state jobs/%s/status" % n, "state: running\n")
    t.assertEqual(t.answer_of("http://127.0.0.1:%d/" % port), 200)
    os.rmdir(t.path("jobs", n))


@Other.of("server.stop, restart")
def row(t):
    n, port = t.listen()
    t.same("cd jobs/%s; echo TERM >signal; cat exit_code" % n, "143\n")
    command = t.get("jobs", n, "command")
    again = t.start(command)
    t.assertNotEqual(again, n)
    with open(t.path("jobs", again, "stdout")) as f:
        t.assertGreater(int(f.readline()), 0)
    os.rmdir(t.path("jobs", again))


@Other.of("install, restart_policy, health_check")
def row(t):
    t.m.run("t", "mkdir server")
    command = (": >server/installed && while ! test -e server/3; do "
               "printf x >>server/runs; mv server/2 server/3 2>/dev/null; "
               "mv server/1 server/2 2>/dev/null; "
               "test -e server/3 || : >server/1; done")
    n = t.start(command)
    t.same("echo 'until test -e server/3; do sleep 0.01; done; "
           "cat server/runs' >exec; cat exec; cat jobs/%s/exit_code" % n,
           "xxx0\n")


@Other.of("terminal.create, list, retrieve, destroy")
def row(t):
    with Terminal(t, "listed"):
        t.same("ls terminals; cat terminals/listed/size",
               "listed\nnew\n80 24\n")
    t.same("ls terminals", "new\n")


@Other.of("filesystem, file: read, write, list")
def row(t):
    with tempfile.TemporaryDirectory() as name:
        name = os.path.basename(name)
    t.same("mkdir root/tmp/{0}; echo x >root/tmp/{0}/f; ls root/tmp/{0}; "
           "cat root/tmp/{0}/f".format(name), "f\nx\n")
    t.assertEqual(t.m.run("t", "cat /tmp/%s/f; rm -r /tmp/%s" % (name, name)),
                  b"x\n")


@Other.of("stat, exists")
def row(t):
    t.m.run("t", "printf 12345 >stat; touch -d @1000000000 stat; sync")
    t.same("stat -c '%s %Y %F' workspace/stat; test -e workspace/stat; echo $?;"
           "test -e workspace/nothing; echo $?",
           "5 1000000000 regular file\n0\n1\n")


@Other.of("mkDir, createDirectories")
def row(t):
    t.same("mkdir -p workspace/made/of/many; mkdir -p workspace/made/of/many",
           "")
    t.assertEqual(t.m.run("t", "ls -d made/of/many"), b"made/of/many\n")


@Other.of("deleteFiles, deleteDirectories, remove")
def row(t):
    t.m.run("t", "mkdir -p gone/a; : >gone/a/f; : >gone1; : >gone2")
    t.same("cd workspace; rm gone1 gone2; rm -r gone", "")
    t.assertEqual(t.m.run("t", "ls -d gone* 2>/dev/null"), b"")


@Other.of("move, rename")
def row(t):
    t.m.run("t", "mkdir -p from to; echo x >from/f")
    t.same("cd workspace; mv from/f to/g", "")
    t.assertEqual(t.m.run("t", "ls from; cat to/g"), b"x\n")


@Other.of("mode")
def row(t):
    t.m.run("t", ": >mode")
    t.same("chmod 754 workspace/mode", "")
    t.assertEqual(t.m.run("t", "stat -c %a mode"), b"754\n")


@Other.of("edit")
def row(t):
    t.m.run("t", "echo '\"port\": 3000' >edit")
    t.same("sed -i 's/\"port\": 3000/\"port\": 8080/' workspace/edit", "")
    t.assertEqual(t.m.run("t", "cat edit"), b'"port": 8080\n')


@Other.of("search")
def row(t):
    t.m.run("t", "mkdir -p search/d; echo needle >search/d/a.txt; : >search/b")
    t.same("cd workspace; find search -name '*.txt'; grep -rl needle search",
           "search/d/a.txt\nsearch/d/a.txt\n")


@Other.of("writeFiles, uploadFile, batchWrite")
def row(t):
    with tempfile.TemporaryDirectory() as here:
        os.mkdir(here + "/up")
        with open(here + "/up/run.sh", "wb") as f:
            f.write(b"echo ran\n" + b"#" * 100000)
        os.chmod(here + "/up/run.sh", 0o755)
        t.same("cp -r {0}/up workspace/up1; mkdir workspace/up2; "
               "tar -C {0} -c up | tar -C workspace/up2 -x; "
               "rsync -a {0}/up/ workspace/up3".format(here), "")
    for name in ("up1", "up2/up", "up3"):
        t.assertEqual(t.m.run("t", "./%s/run.sh" % name), b"ran\n")


@Other.of("downloadFiles, readStream, readToBuffer")
def row(t):
    t.m.run("t", "head -c 300000 /dev/urandom >big; sync")
    want = t.m.run("t", "md5sum <big").decode()
    with tempfile.NamedTemporaryFile() as here:
        t.same("cp workspace/big {0}; md5sum <{0}; "
               "dd if=workspace/big bs=65536 2>/dev/null | md5sum".format(
                   here.name), want * 2)


@Other.of("env.retrieve, update, remove, exists")
def row(t):
    t.m.run("t", r"printf 'A=1\nB=2\n' >.env")
    t.same("cd workspace; test -e .env && cat .env; sed -i /^A=/d .env; "
           "echo C=3 >>.env", "A=1\nB=2\n")
    t.assertEqual(t.m.run("t", ". ./.env; echo $A$B$C"), b"23\n")


@Other.of("overlay.create, list, retrieve, destroy")
def row(t):
    t.m.run("t", "mkdir -p template/d; echo x >template/d/f")
    t.same("cd workspace; cp -r template laid; ls laid", "d\n")
    t.assertEqual(t.m.run("t", "cat laid/d/f"), b"x\n")
    t.same("rm -r workspace/laid", "")
    t.assertEqual(t.m.run("t", "ls -d laid 2>/dev/null; cat template/d/f"),
                  b"x\n")


@Other.of("domain, getUrl")
def row(t):
    t.new("name=domain\nports=3000\n")
    t.assertRegex(t.get("ports", name="domain"),
                  r"^3000\s+declared\s+http://\S+\n$")


@Other.of("getEndpoint, getEndpointUrl")
def row(t):
    url_of_open_port(t, "endpoint")


@Other.of("watcher.create, on, off, destroy")
def row(t):
    files_are_told(t, "watcher")


@Other.of("signals.start, on, off, stop")
def row(t):
    ports_are_told(t)


@Other.of("emitPort, emitError, emitServerReady")
def row(t):
    t.same("stat -c %a events", "400\n")
    with t.assertRaises(OSError) as e:
        t.put("{}", "events")
    t.assertEqual(e.exception.errno, errno.EACCES)


if __name__ == "__main__":
    unittest.main()
