"""Rows of control-sdk.py that are other where a command is one run, of which
nothing is heard before its end and which nothing reaches.

Each is what a user does there instead, or the error of what cannot be done.
"""
import errno
import json
import os

from plaintable import Rows

Runs = Rows()


def refused(t, err, fn, *args):
    with t.assertRaises(OSError) as e:
        fn(*args)
    t.assertEqual(errno.errorcode[e.exception.errno], errno.errorcode[err])


def verbs_refused(t, err, *verbs):
    for verb in verbs:
        refused(t, err, t.put, verb, "status")


def listen(t):
    """A server that stays in the background, as it is no part of a run then:
    its process and port."""
    return map(int, t.m.run(
        "t", "rm -f port; setsid python3 -uc 'import http.server as h; "
        "s = h.HTTPServer((\"127.0.0.1\", 0), h.SimpleHTTPRequestHandler); "
        "print(s.server_port); s.serve_forever()' </dev/null >port 2>/dev/null "
        "& until [ -s port ]; do sleep 0.01; done; echo $!; cat port").split())


def end_of(t, pid):
    t.m.run("t", "kill %d; while kill -0 %d 2>/dev/null; do sleep 0.01; done"
            % (pid, pid))


# ---- what the table has for xgen alone ----


@Runs.of("list of some status, label")
def row(t):
    t.same("cd ..; grep -l '^state: running' t/status", "t/status\n")
    refused(t, errno.EINVAL, t.new, "name=red\nmetadata.team=red\n")


@Runs.of("refresh, getInfo")
def row(t):
    t.same("echo refresh >status; grep ^state: status; jq -r .name info.json",
           "state: running\nt\n")


@Runs.of("createdAt, expireAt, timeout")
def row(t):
    t.assertRegex(t.get("status"), r"(?m)^created: \d{4}-\d\d-\d\dT[\d:]{8}")
    t.same("grep ^expires: status", "expires: never\n")


@Runs.of("renew, extend, extendTimeout")
def row(t):
    refused(t, errno.ENOENT, os.stat, t.path("keepalive"))
    refused(t, errno.EINVAL, t.new, "name=renewed\ntimeout_seconds=600\n")


@Runs.of("pause, resume")
def row(t):
    verbs_refused(t, errno.EOPNOTSUPP, "pause", "resume")


@Runs.of("stop, start, restart")
def row(t):
    verbs_refused(t, errno.EOPNOTSUPP, "stop", "start", "restart")


@Runs.of("wipe")
def row(t):
    t.m.create("wiped")
    t.m.run("wiped", "mkdir -p a/b; : >a/b/c")
    t.same("echo wipe >status; ls workspace", "", "wiped")
    t.assertEqual(t.m.run("wiped", "ls"), b"")


@Runs.of("update, configure")
def row(t):
    verbs_refused(t, errno.EINVAL, "update", "configure")


@Runs.of("snapshots, restore")
def row(t):
    t.m.create("back")
    t.m.run("back", ": >later")
    t.same("ls snapshots | grep -c ^cmd_; echo initial >snapshots/restore; "
           "ls workspace", "1\n", "back")


@Runs.of("sessionTokens, magicLinks")
def row(t):
    for name in ("sessionTokens", "magicLinks"):
        refused(t, errno.ENOENT, os.stat, t.path(name))


@Runs.of("domain, getUrl")
def row(t):
    refused(t, errno.EINVAL, t.new, "name=domain\nports=3000\n")


@Runs.of("getEndpoint, getEndpointUrl")
def row(t):
    pid, port = listen(t)
    t.same("exec 3<>ports; echo %d >&3; cat <&3" % port, "%-5d  open      -\n" % port)
    end_of(t, pid)


# ---- commands, servers, terminals ----


@Runs.of("getCommand, pid, startedAt, durationMs")
def row(t):
    n = t.start("echo $$")
    t.same("cd jobs/%s; cat exit_code command pid" % n, "0\necho $$\n")
    t.assertRegex(t.get("jobs", n, "started"), r"^\d{4}-\d\d-\d\dT")
    t.assertRegex(t.get("jobs", n, "duration_ms"), r"^\d+\n$")


@Runs.of("kill of a command")
def row(t):
    for word, code in (("TERM", 143), ("9", 137), ("INT", 130), ("HUP", 129)):
        # until its input is whole it has not begun
        n = t.start('{"command": "sleep 99", "stdin": true}')
        t.put(word, "jobs", n, "signal")
        t.same("cat jobs/%s/exit_code" % n, "%d\n" % code)
    n = t.start("until [ -e spared ]; do sleep 0.02; done; echo went on")
    t.until_it_runs(n)
    refused(t, errno.EOPNOTSUPP, t.put, "TERM", "jobs", n, "signal")
    refused(t, errno.EOPNOTSUPP, os.rmdir, t.path("jobs", n))
    t.m.release("t", "spared")
    t.same("cat jobs/%s/stdout" % n, "went on\n")
    # what ends it there
    t.put('{"command": "sleep 99", "timeout_ms": 1000}', "exec")
    t.same("cat jobs/last/exit_code", "124\n")


@Runs.of("server.start, list, retrieve")
def row(t):
    pid, port = listen(t)
    t.same("awk '$1 == %d { print $2 }' ports; cat root/proc/%d/comm"
           % (port, pid), "open\npython3\n")
    t.assertEqual(t.answer_of("http://127.0.0.1:%d/" % port), 200)
    end_of(t, pid)


@Runs.of("server.stop, restart")
def row(t):
    pid, port = listen(t)
    end_of(t, pid)
    t.same("grep -c ^%d ports" % port, "0\n")
    again, port = listen(t)
    t.assertNotEqual(again, pid)
    t.assertGreater(port, 0)
    end_of(t, again)


@Runs.of("terminal.create, list, retrieve, destroy")
def row(t):
    refused(t, errno.ENOENT, os.mkdir, t.path("terminals", "x"))
    refused(t, errno.EOPNOTSUPP, t.put, '{"command": "sh", "tty": true}',
            "exec")


@Runs.of("signals.start, on, off, stop")
def row(t):
    with t.events() as events:
        pid, port = listen(t)
        events.until(type="port", port=port, state="open")
        end_of(t, pid)
        events.until(type="port", port=port, state="closed")
