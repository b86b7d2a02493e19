#!/usr/bin/python3
"""What the calls of xgen's SDK are done with: each row of the man page's table
is carried out, through files as a user would."""
import json
import os
import shlex
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from plaintable import Rows, check_rows, table  # noqa: E402
from sbxmount import BUILD, SERVICE, Mount  # noqa: E402
from sdkcalls import (  # noqa: E402
    SECTION, Events, SdkTest, Terminal, files_are_told, gated,
    ports_are_told, url_of_open_port)

Xgen = Rows()


class Calls(SdkTest):
    @unittest.skipIf(SERVICE != "xgen", "the table is of xgen")
    def test_calls_of_xgen(self):
        check_rows(self, table(0, SECTION), Xgen.tests, done="")


# ---- the client ----


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


@Xgen.of("SandboxPreview")
def row(t):
    url_of_open_port(t, "preview")


# ---- commands and terminals ----


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


# ---- files, events, life ----


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


@Xgen.of("watchFiles")
def row(t):
    files_are_told(t, "watched")


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


if __name__ == "__main__":
    unittest.main()
