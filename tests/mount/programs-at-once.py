#!/usr/bin/python3
"""Many programs work on one mount, and in the sandbox, at the same time;
afterwards the mount, a fresh mount and the sandbox itself show the same tree,
and the daemon holds no more than before.

SECONDS in the environment sets how long (default 10), PROGRAMS how many
(default 12)."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import subprocess, threading, time, unittest
from sbxmount import Mount

SECONDS = float(os.environ.get("SECONDS", "10"))
# Connections that are there afterwards.  With the time-travel service each
# command of the user's is on a new one, which is kept for what comes next; so
# are 16 at most (SBX_HTTP_MAX_CONNECTIONS).
KEPT = 16 if os.environ.get("SBXFS_SERVICE") == "timetravel" else 4
NUMBER = int(os.environ.get("PROGRAMS", "12"))

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
    "clone": """git init -q o && (cd o && for i in 1 2 3; do seq $i 300 > f$i
        done; git add . && git commit -qm 1) && git clone -q o c && cd c &&
        echo x >> f1 && git commit -qam 2 && git push -q origin HEAD:new &&
        git gc -q --aggressive && git fsck && cd ../o && git log -1 new""",
    "out": """mkdir o && (cd o && for i in $(seq 40); do seq $i > f$i; done)
        t=$(mktemp -d) && rsync -a o/ $t/ && rsync -a $t/ p/ && diff -r o p &&
        rsync -a --delete --checksum p/ $t/ && diff -r $t o; r=$?
        rm -r $t; exit $r""",
    "backup": """for i in 1 2 3 4; do echo text$i > t && vim -u NONE -es \
        -c 'set backup backupskip= backupcopy=no' -c 's/text/word/' -c wq t </dev/null
        grep -q word$i t && grep -q text$i t~ || exit 1; done""",
    "make": """printf 'all: m\nm: m.o n.o\n\tcc -o m m.o n.o\n' > Makefile
        echo 'int n(void); int main(void) { return n(); }' > m.c
        echo 'int n(void) { return 0; }' > n.c; make -s && ./m &&
        make -q && echo 'int n(void) { return 3; }' > n.c &&
        touch -d '+2 seconds' n.c && make -s; ./m; test $? = 3""",
    "python": """/usr/bin/python3 -c '
import os, mmap, json
for i in range(20):
    with open("d.json.tmp", "w") as f:
        json.dump(list(range(i * 50)), f)
    os.replace("d.json.tmp", "d.json")
    assert len(json.load(open("d.json"))) == i * 50
with open("m", "w+b") as f:
    f.truncate(100000)
    m = mmap.mmap(f.fileno(), 0)
    m[50000:50003] = b"abc"
    m.flush()
    m.close()
assert open("m", "rb").read()[49999:50004] == b"\\0abc\\0"
os.makedirs("a/b/c"); os.rename("a", "z"); os.removedirs("z/b/c")
' """,
    "links": """for i in $(seq 30); do echo $i > f$i; ln f$i g$i; ln -s f$i l$i
        done; test $(stat -c %h f7) = 2 && rm f* &&
        test "$(cat g* | wc -l)" = 30 && test "$(find . -links 1 -type f |
        wc -l)" = 30 && test ! -e l3""",
}
# run inside the sandbox; each is one command, and its output is the last word
INSIDE = {
    "sh": """for i in $(seq 50); do seq $i 100 > f$i; done; 
        cat f* | wc -l > n; rm f*; test $(cat n) = 3775""",
    "tar": """mkdir a; for i in $(seq 50); do echo $i > a/f$i; done
        tar cf a.tar a; mkdir b; tar xf a.tar -C b; diff -r a b/a""",
    "mv": """for i in $(seq 100); do echo $i > v.new; mv v.new v; done
        test $(cat v) = 100; mkdir x; mv x y; mv y z; rmdir z""",
    "log": """for i in $(seq 200); do echo line$i >> log; done
        test $(wc -l < log) = 200""",
}
TREE = "find . -printf '%P|%y|%s|%m|%n|%l|%T@\\n' | sort"
SUMS = "find . -type f -exec sha256sum {} + | sort"


class AtOnce(unittest.TestCase):
    def held(self, m):
        pid = m.daemon.pid
        with open("/proc/%d/status" % pid) as f:
            out = {l.split(":")[0]: int(l.split()[1]) for l in f
                   if l.startswith(("VmHWM", "VmRSS"))}
        top = "/proc/%d/fd/" % pid
        out["fds"] = len(os.listdir(top))
        out["sockets"] = sum(os.readlink(top + n).startswith("socket:")
                             for n in os.listdir(top))
        return out

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

        def inside(name, script):
            name, script = "in-" + name, "mkdir %s; cd %s\n" + script + \
                "\nr=$?; cd ..; rm -rf %s; echo end $r"
            n = 0
            while not failed and (time.monotonic() < end or not n):
                n += 1
                d = "%s%d" % (name, n)
                out = m.run("t", script % (d, d, "%s%d" % (name, n - 2)))
                if out != b"end 0\n":
                    failed.append((name, n, out[-2000:]))
                # what it did can be seen here, at once
                if not os.path.isdir(os.path.join(top, d)):
                    failed.append((name, n, "no folder"))
            rounds[name] = n

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
        todo = [(work, n, p) for n, p in PROGRAMS.items()]
        todo = todo[:max(NUMBER - len(INSIDE), NUMBER // 2)]
        todo += [(inside, n, p) for n, p in INSIDE.items()]
        todo += [(work, n + "-", p) for n, p in PROGRAMS.items()]
        before = self.held(m)
        threads = [threading.Thread(target=fn, args=(name, p))
                   for fn, name, p in todo[:NUMBER]]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(failed, [])
        tree = None
        for command in (TREE, SUMS):
            there = m.run("t", command)
            here = subprocess.run(["sh", "-c", command], cwd=top,
                                  stdout=subprocess.PIPE).stdout
            self.assertEqual(here, there)
            tree = tree or there
        after = self.held(m)
        # no open file is left, in the daemon or in the helper
        self.assertLessEqual(after["fds"] - after["sockets"],
                             before["fds"] - before["sockets"] + 4)
        self.assertLessEqual(after["sockets"], before["sockets"] + KEPT)
        m.unmount()
        m.start()
        self.assertEqual(subprocess.run(["sh", "-c", TREE], cwd=top,
                                        stdout=subprocess.PIPE).stdout, tree)
        self.assertEqual(subprocess.run(["sh", "-c", SUMS], cwd=top,
                                        stdout=subprocess.PIPE).stdout, there)
        print("rounds:", rounds, "before:", before, "after:", after,
              file=sys.stderr)


if __name__ == "__main__":
    unittest.main()
