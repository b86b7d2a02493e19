#!/usr/bin/python3
"""Eight programs work on one mount at the same time; afterwards the mount,
a fresh mount and the sandbox itself show the same tree.

SECONDS in the environment sets how long (default 10)."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import subprocess, threading, time, unittest
from sbxmount import Mount

SECONDS = float(os.environ.get("SECONDS", "10"))

PROGRAMS = {
    "git": """git init -q r && cd r && for i in 1 2 3 4 5; do
        seq $i 200 > f$i && git add . && git commit -qm $i || exit 1; done
        git gc -q && git fsck && test -z "$(git status --porcelain)" """,
    "tar": """mkdir a && (cd a && for i in $(seq 60); do echo $i > f$i; done)
        tar cf a.tar a && mkdir b && tar xf a.tar -C b && diff -r a b/a""",
    "rsync": """mkdir s && (cd s && for i in $(seq 60); do seq $i > f$i; done)
        rsync -a s/ d/ && test -z "$(rsync -aci s/ d/)" && diff -r s d""",
    "sqlite": """for i in 1 2 3 4 5; do sqlite3 x.db "CREATE TABLE IF NOT
        EXISTS t(a); INSERT INTO t VALUES($i); " || exit 1; done
        test "$(sqlite3 x.db 'SELECT sum(a) FROM t; PRAGMA integrity_check')" \
            = "15\nok" || test "$(sqlite3 x.db 'SELECT sum(a) FROM t')" = 15""",
    "vim": """for i in 1 2 3; do echo text$i > t && vim -u NONE -es \
        -c 's/text/word/' -c wq t < /dev/null; grep -q word$i t || exit 1
        done""",
    "cc": """printf 'int main(void){return 0;}' > m.c && cc -o m m.c && ./m""",
    "dd": """dd if=/dev/urandom of=big bs=64k count=100 2>/dev/null &&
        cp big big2 && cmp big big2 && truncate -s 1000 big2 &&
        test $(wc -c < big2) = 1000""",
    "find": """mkdir -p x/y/z && touch x/1 x/y/2 x/y/z/3 && mv x/y w &&
        test $(find . -type f | wc -l) = 3 && rm -r w x &&
        test $(find . | wc -l) = 1""",
}
TREE = "find . -printf '%P|%y|%s|%m|%n|%l|%T@\\n' | sort"
SUMS = "find . -type f -exec sha256sum {} + | sort"


class EightAtOnce(unittest.TestCase):
    def test_all_views_agree_afterwards(self):
        m = Mount()
        self.addCleanup(m.close)
        m.create("t")
        top = m.path("t", "workspace")
        env = dict(os.environ, HOME=m.dir, GIT_CONFIG_COUNT="1",
                   GIT_CONFIG_KEY_0="safe.directory", GIT_CONFIG_VALUE_0="*",
                   GIT_AUTHOR_NAME="t", GIT_AUTHOR_EMAIL="t@example.org",
                   GIT_COMMITTER_NAME="t", GIT_COMMITTER_EMAIL="t@example.org")
        end = time.monotonic() + SECONDS
        failed, rounds = [], {}

        def work(name, script):
            n = 0
            while not failed and (time.monotonic() < end or not n):
                n += 1
                d = os.path.join(top, "%s%d" % (name, n))
                os.mkdir(d)
                p = subprocess.run(["sh", "-c", script], cwd=d, env=env,
                                   stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT)
                if p.returncode:
                    failed.append((name, n, p.stdout[-2000:]))
                if n > 3:  # keep the tree small
                    subprocess.run(["rm", "-rf", os.path.join(
                        top, "%s%d" % (name, n - 2))], check=True)
            rounds[name] = n
        threads = [threading.Thread(target=work, args=p)
                   for p in PROGRAMS.items()]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(failed, [])
        for command in (TREE, SUMS):
            there = m.run("t", command)
            here = subprocess.run(["sh", "-c", command], cwd=top,
                                  stdout=subprocess.PIPE).stdout
            self.assertEqual(here, there)
        m.unmount()
        m.start()
        self.assertEqual(subprocess.run(["sh", "-c", SUMS], cwd=top,
                                        stdout=subprocess.PIPE).stdout, there)
        print("rounds:", rounds, file=sys.stderr)


if __name__ == "__main__":
    unittest.main()
