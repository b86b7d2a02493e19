#!/usr/bin/python3
"""What the calls of the other SDKs are done with: each row of the man page's
second table is carried out, through files as a user would."""
import errno
import json
import os
import select
import shlex
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from plaintable import Rows, check_rows, table  # noqa: E402
from sbxmount import RUNS, SERVICE  # noqa: E402
from sdkcalls import (  # noqa: E402
    SECTION, SdkTest, Terminal, begins, files_are_told, gated,
    ports_are_told, url_of_open_port)
from sdkruns import Runs  # noqa: E402

Other = Rows()
# rows that are another service's own, or need an option of xgen's
XGENS = {"list of some status, label", "refresh, getInfo",
         "createdAt, expireAt, timeout", "renew, extend, extendTimeout",
         "pause, resume", "stop, start, restart", "update, configure", "wipe",
         "snapshots, restore", "sessionTokens, magicLinks", "domain, getUrl",
         "getEndpoint, getEndpointUrl"}


class Calls(SdkTest):
    def test_calls_of_others(self):
        rows, tests = table(1, SECTION), Other.tests
        if RUNS:  # each of those has another test there
            self.assertLessEqual(XGENS, Runs.tests.keys())
            rows = {**rows, **dict.fromkeys(Runs.tests, "")}
            tests = {**tests, **Runs.tests}
        check_rows(self, rows, tests, done="",
                   but=() if SERVICE == "xgen" or RUNS else XGENS)


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
