#!/usr/bin/python3
"""What is promised of the control files, sentence by sentence, as somebody
at a shell sees it: each case is a transcript."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import subprocess, unittest
from sbxmount import RUNS, SERVICE, Mount

# the gateway of ComputeSDK does not tell a sandbox's end
END = "remaining_s\n" * (SERVICE != "computesdk")

# the words of the promise: what is typed in the sandbox's folder, what comes
TRANSCRIPT = (
    ("control files have size 0",
     "stat -c %s exec status ports keepalive events jobs/new | sort -u", "0\n"),
    ("mode 0600, or 0400 if read-only",
     "stat -c '%a %n' exec status events info.json",
     "600 exec\n600 status\n400 events\n400 info.json\n"),
    ("a job's streams: their length so far",
     "echo 'printf 12345' >exec; cat jobs/last/exit_code; "
     "stat -c %s jobs/last/stdout jobs/last/stderr", "0\n5\n0\n"),
    ("truncating one on opening means nothing",
     ": >status; truncate -s 0 keepalive; grep -c ^state: status", "1\n"),
    ("what is not understood: EINVAL, and the reason in last_error",
     "echo paus >status; grep -c '^last_error: .*paus' status; "
     "grep ^state: status; tail -1 ../.sbxfs/errors | grep -c paus",
     "sh: 1: echo: echo: I/O error\n1\nstate: running\n1\n"),
    ("one shell command, in the sandbox's workspace",
     "mkdir -p workspace/d; echo 'cd d && touch x; ls' >exec; cat exec; "
     "ls workspace/d", "x\nx\n"),
    ("exec 3<>exec", "exec 3<>exec; echo 'echo a; sleep 0.2; echo b >&2' >&3; "
     "cat <&3", "a\nb\n"),
    ("closing a handle does not kill the command",
     "echo 'sleep 0.3; echo done' >exec; exec 3<exec; exec 3<&-; "
     "cat jobs/last/stdout", "done\n"),
    ("a JSON object: argv, cwd, env, stdin",
     "echo '{\"argv\": [\"sh\", \"-c\", \"pwd; echo $A; cat\"], "
     "\"cwd\": \"/tmp\", \"env\": {\"A\": \"b c\"}, \"stdin\": \"in\"}' >exec; "
     "cat exec", "/tmp\nb c\nin"),
    ("timeout_ms", "echo '{\"command\": \"sleep 99\", \"timeout_ms\": 100}' "
     ">exec; cat jobs/last/exit_code", "143\n"),
    ("jobs/last", "echo true >exec; n=$(readlink jobs/last); ls jobs/$n | "
     "tr '\\n' ' '; cd jobs/last && cat command cwd exit_code",
     "command cwd duration_ms env exit_code output pid signal started status "
     "stderr stdin stdout true\n.\n0\n"),
    ("stdout and stderr are separate and binary safe",
     "printf %s 'printf \"\\000\\377\"; printf \"\\001\" >&2' >exec; "
     "od -An -tx1 jobs/last/stdout; od -An -tx1 jobs/last/stderr",
     " 00 ff\n 01\n"),
    ("each reader starts from the beginning",
     "echo 'echo once' >exec; for i in 1 2; do cat jobs/last/output; done",
     "once\nonce\n"),
    ("the exit status, or 128 plus the signal",
     "echo 'exit 7' >exec; cat jobs/last/exit_code; echo 'kill -9 $$' >exec; "
     "cat jobs/last/exit_code jobs/last/signal", "7\n137\nKILL\n"),
    ("closing stdin sends end of input; opened O_APPEND it does not",
     "echo '{\"command\": \"wc -l\", \"stdin\": true}' >exec; "
     "echo 1 >>jobs/last/stdin; echo 2 >>jobs/last/stdin; "
     "echo 3 >jobs/last/stdin; cat jobs/last/stdout", "3\n"),
    ("signals reach the whole process group",
     "echo 'sleep 99 | sleep 99' >exec; echo TERM >jobs/last/signal; "
     "cat jobs/last/exit_code", "143\n"),
    ("rmdir forgets it, killing it if needed",
     "echo 'echo $$; exec sleep 99' >exec; n=$(readlink jobs/last); "
     "p=$(head -1 jobs/$n/stdout); exec 3<jobs/$n/exit_code; rmdir jobs/$n; "
     "cat <&3; ls -d jobs/$n 2>&1 | grep -c 'No such'; "
     "echo \"kill -0 $p 2>&1 | grep -c 'No such'\" >exec; cat exec",
     "137\n1\n1\n"),
    ("terminals: data, size, command, exit_code",
     "mkdir terminals/c; ls terminals/c | tr '\\n' ' '; "
     "cat terminals/c/size; echo 100 30 >terminals/c/size; "
     "cat terminals/c/size; echo 'exit 4' >terminals/c/data; "
     "cat terminals/c/exit_code; rmdir terminals/c; ls terminals",
     "command data exit_code size 80 24\n100 30\n4\nnew\n"),
    ("status reads as key: value lines",
     "for k in id name service state created expires helper connection "
     "unsent last_error; do grep -c \"^$k:\" status; done | sort -u", "1\n"),
    ("info.json is the service's own answer", "jq -r type info.json",
     "object\n"),
    ("keepalive: expires and remaining; seconds, an empty line, touch",
     "echo 500 >keepalive; echo >keepalive; touch keepalive; "
     "cut -d: -f1 keepalive", "expires\n" + END),
    ("no time but now can be set", "touch -d 2001-01-01 keepalive status 2>&1 | "
     "grep -c 'not permitted'", "2\n"),
    ("what the sandbox did is visible once its end can be seen",
     "for i in 1 2 3 4 5; do echo \"echo $i >n\" >exec; cat exec; cat workspace/n; done",
     "1\n2\n3\n4\n5\n"),
    ("what was written before a command is visible to it",
     "for i in 1 2 3; do echo $i >workspace/m; echo 'cat m' >exec; cat exec; "
     "done", "1\n2\n3\n"),
    ("a careless grep -r ends",
     "grep -r --exclude-dir=root --exclude-dir=workspace "
     "nothing-like-it . 2>&1; echo $?", "1\n"),
    ("and so it does in the mount's own folder",
     "grep -r nothing-like-it ../.sbxfs 2>&1; echo $?", "1\n"),
)
# the same where a command is a run of its own and nothing expires; None: of
# what is not there, or of what must reach a command that runs
WITH_RUNS = {
    "jobs/last":
        ("echo true >exec; n=$(readlink jobs/last); ls jobs/$n | "
         "tr '\\n' ' '; cd jobs/last && cat command cwd exit_code",
         "command cwd duration_ms env exit_code output pid signal snapshot "
         "started status stderr stdin stdout true\n.\n0\n"),
    "control files have size 0":
        ("stat -c %s exec status ports events jobs/new | sort -u", "0\n"),
    "truncating one on opening means nothing":
        (": >status; truncate -s 0 status; grep -c ^state: status", "1\n"),
    "timeout_ms":  # ended by what ends with 124 then
        ("echo '{\"command\": \"sleep 99\", \"timeout_ms\": 100}' >exec; "
         "cat jobs/last/exit_code", "124\n"),
    "stdout and stderr are separate and binary safe":  # as text goes
        ("printf %s 'printf \"\\000\\303\\277\"; printf \"\\001\" >&2' >exec; "
         "od -An -tx1 jobs/last/stdout; od -An -tx1 jobs/last/stderr",
         " 00 c3 bf\n 01\n"),
    "signals reach the whole process group": None,
    "rmdir forgets it, killing it if needed": None,
    "terminals: data, size, command, exit_code":
        ("ls -d terminals 2>&1 | grep -c 'No such'", "1\n"),
    "keepalive: expires and remaining; seconds, an empty line, touch":
        ("ls keepalive 2>&1 | grep -c 'No such'", "1\n"),
    "no time but now can be set":
        ("touch -d 2001-01-01 status 2>&1 | grep -c 'not permitted'", "1\n"),
}


class Contract(unittest.TestCase):
    def test_every_sentence(self):
        m = Mount()
        self.addCleanup(m.close)
        m.create("t")
        for words, typed, want in TRANSCRIPT:
            if RUNS and words in WITH_RUNS:
                if not WITH_RUNS[words]:
                    continue
                typed, want = WITH_RUNS[words]
            r = subprocess.run(["sh", "-c", typed], cwd=m.path("t"),
                               stdin=subprocess.DEVNULL, timeout=100,
                               stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
            with self.subTest(words):
                self.assertEqual(r.stdout.decode(), want)


if __name__ == "__main__":
    unittest.main()
