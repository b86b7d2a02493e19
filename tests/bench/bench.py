#!/usr/bin/python3
"""The same work on the local disk, on sbxfs, on sshfs and on rclone mount,
side by side.

Each row is a program that a user runs.  "cold" is after a fresh mount, with
the kernel's own caches of the mount empty; "warm" repeats it unchanged.
rclone is given a full cache on the local disk, for without it most of these
programs fail; then it says that a file is written before it has sent it, also
to fsync(2).
"""
import argparse
import getpass
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from sbxmount import BUILD, Mount, wait_for  # noqa: E402

GIT = dict(os.environ, GIT_AUTHOR_NAME="b", GIT_AUTHOR_EMAIL="b@example.org",
           GIT_COMMITTER_NAME="b", GIT_COMMITTER_EMAIL="b@example.org",
           GIT_CONFIG_COUNT="1", GIT_CONFIG_KEY_0="safe.directory",
           GIT_CONFIG_VALUE_0="*")


def sh(command, cwd):
    subprocess.run(command, shell=True, cwd=cwd, check=True, env=GIT,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def seconds(command, cwd):
    begin = time.monotonic()
    sh(command, cwd)
    return time.monotonic() - begin


class Local:
    name = "local disk"

    def __init__(self, work, rtt):
        self.top = os.path.join(work, "local")
        os.makedirs(self.top, exist_ok=True)

    def fresh(self):
        """as after a new mount"""

    def there(self):
        """the folder itself, without a mount between"""
        return self.top

    def inside(self, command):
        subprocess.Popen(command, shell=True, cwd=self.there())

    def close(self):
        shutil.rmtree(self.top)


class Proxied:
    """A server's port, behind the delay if there is one."""
    proxy = None

    def port_for(self, port, rtt):
        if not rtt:
            return port
        self.proxy = subprocess.Popen(
            [sys.executable, os.path.join(HERE, "delayproxy.py"), str(port),
             str(rtt)], stdout=subprocess.PIPE)
        return int(self.proxy.stdout.readline())

    def end_proxy(self):
        if self.proxy:
            self.proxy.kill()
            self.proxy.wait()
            self.proxy.stdout.close()


class Sbxfs(Proxied):
    name = "sbxfs"

    def __init__(self, work, rtt):
        self.m = Mount(mount=False)
        agent_port = self.m.port
        self.m.port = self.port_for(self.m.port, rtt)
        self.m.start()
        self.agent_port = agent_port
        self.m.create("bench")
        self.top = self.m.path("bench", "workspace")

    def fresh(self):
        self.m.unmount()
        self.m.start()
        os.stat(self.top)  # connected; nothing of the tree is known

    def there(self):
        return self.m.sandbox_dir("bench")

    def inside(self, command):
        self.m.run("bench", "(%s) >/dev/null 2>&1 &" % command)

    def pid(self):
        return self.m.daemon.pid

    def messages(self):
        return self.m.messages()

    def close(self):
        self.m.close()
        self.end_proxy()


class Sshfs(Proxied):
    name = "sshfs"

    def __init__(self, work, rtt):
        self.dir = os.path.join(work, self.name)
        self.mnt = os.path.join(self.dir, "mnt")
        self.top = self.mnt
        self.far = os.path.join(self.dir, "far")
        os.makedirs(self.mnt)
        os.makedirs(self.far)
        os.makedirs("/run/sshd", exist_ok=True)
        for k in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "",
                            "-f", os.path.join(self.dir, k)], check=True)
        shutil.copy(os.path.join(self.dir, "user.pub"),
                    os.path.join(self.dir, "auth"))
        import socket
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.sshd = subprocess.Popen(
            ["/usr/sbin/sshd", "-D", "-f", "/dev/null", "-p", str(port),
             "-o", "ListenAddress=127.0.0.1",
             "-o", "HostKey=" + os.path.join(self.dir, "host"),
             "-o", "AuthorizedKeysFile=" + os.path.join(self.dir, "auth"),
             "-o", "PermitRootLogin=yes", "-o", "StrictModes=no",
             "-o", "Subsystem=sftp internal-sftp", "-o", "PidFile=none"],
            stderr=subprocess.DEVNULL)

        def listens():
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", port)) == 0
        wait_for(listens)
        self.port = self.port_for(port, rtt)
        self.mount()

    def mount(self):
        subprocess.run(
            ["sshfs", "-p", str(self.port),
             "-o", "IdentityFile=" + os.path.join(self.dir, "user"),
             "-o", "StrictHostKeyChecking=no,UserKnownHostsFile=/dev/null",
             "127.0.0.1:" + self.far, self.mnt], check=True,
            stderr=subprocess.DEVNULL)

    def unmount(self):
        subprocess.run(["fusermount3", "-u", self.mnt], check=True)

    def fresh(self):
        self.unmount()
        self.mount()

    def there(self):
        return self.far

    def inside(self, command):
        subprocess.Popen(command, shell=True, cwd=self.there())

    def close(self):
        self.unmount()
        self.sshd.terminate()
        self.sshd.wait()
        self.end_proxy()


class Rclone(Sshfs):
    """Of the same sshd."""
    name = "rclone"

    def mount(self):
        cache = os.path.join(self.dir, "cache")
        shutil.rmtree(cache, ignore_errors=True)
        self.p = subprocess.Popen(
            ["rclone", "mount", "--vfs-cache-mode", "full",
             "--cache-dir", cache, "--config", os.path.join(self.dir, "none"),
             ":sftp,host=127.0.0.1,port=%d,user=%s,key_file=%s:%s" %
             (self.port, getpass.getuser(), os.path.join(self.dir, "user"),
              self.far), self.mnt],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: os.path.ismount(self.mnt))

    def fresh(self):
        """Once it has sent all that it said was written."""
        files = "find . -type f -printf '%P %s\\n' | sort"
        wait_for(lambda: subprocess.check_output(
            files, shell=True, cwd=self.far) == subprocess.check_output(
                files, shell=True, cwd=self.mnt), 120)
        super().fresh()

    def unmount(self):
        super().unmount()
        self.p.wait()


def make_inputs(work, quick):
    """Two trees and an archive of one, on the local disk: how many files."""
    files, in_git = (200, 1000) if quick else (2000, 5000)
    tree = os.path.join(work, "tree")
    for i in range(files):
        d = os.path.join(tree, "d%02d" % (i % 100))
        os.makedirs(d, exist_ok=True)
        with open(os.path.join(d, "f%d.c" % i), "w") as f:
            f.write("int f%d(void);\n" % i * (1 + i % 97))
    sh("tar cf tree.tar tree", work)
    repo = os.path.join(work, "repo")
    for i in range(in_git):
        d = os.path.join(repo, "d%03d" % (i % 250))
        os.makedirs(d, exist_ok=True)
        with open(os.path.join(d, "f%d.c" % i), "w") as f:
            f.write("int g%d(void);\n" % i)
    sh("git init -q . && git add . && git commit -qm 1", repo)
    with open(os.path.join(work, "big"), "wb") as f:
        for _ in range(256):
            f.write(os.urandom(1 << 20))
    return files, in_git


def rows_files(fs, work, out):
    out("untar", seconds("tar xf %s/tree.tar" % work, fs.top))
    out("rsync -a in",
        seconds("rsync -a %s/tree/ copy/" % work, fs.top))
    fs.fresh()
    out("walk with stat, cold", seconds("find tree -size +1000k", fs.top))
    out("walk with stat, warm", seconds("find tree -size +1000k", fs.top))
    fs.fresh()
    out("grep -r, cold", seconds("grep -r nothing-there tree || true", fs.top))
    out("grep -r, warm", seconds("grep -r nothing-there tree || true", fs.top))
    out("rm -r", seconds("rm -r copy", fs.top))


def rows_git(fs, work, out):
    fs.fresh()
    sh("cp -a %s/repo . && chown -R --reference=. repo" % work, fs.there())
    sh("git status", fs.top + "/repo")
    fs.fresh()
    out("git status, cold", seconds("git status", fs.top + "/repo"))
    out("git status, second", min(
        seconds("git status", fs.top + "/repo") for _ in range(3)))


def rows_edit(fs, work, out):
    save = ("import os\nfor i in range(20):\n"
            " f=open('.t','w'); f.write('x'*4000); f.flush();"
            " os.fsync(f.fileno()); f.close()\n"
            " os.path.exists('t') and os.rename('t','t~')\n"
            " os.rename('.t','t'); os.stat('t')\n")
    t = seconds("%s -c \"%s\"" % (sys.executable, save), fs.top)
    out("editor's save with fsync", t / 20)


def rows_bulk(fs, work, out):
    out("write 256 MiB, MB/s", 268.4 / seconds(
        "dd if=%s/big of=big bs=1M conv=fsync" % work, fs.top), "%.0f")
    fs.fresh()
    out("read 256 MiB cold, MB/s", 268.4 / seconds(
        "dd if=big of=/dev/null bs=1M", fs.top), "%.0f")
    out("read 256 MiB warm, MB/s", 268.4 / seconds(
        "dd if=big of=/dev/null bs=1M", fs.top), "%.0f")
    os.unlink(os.path.join(fs.top, "big"))


def rows_push(fs, work, out):
    path = os.path.join(fs.top, "pushed")
    with open(path, "w") as f:
        f.write("0")
    open(path).read()
    fs.inside("sleep 1; date +%s.%N > pushed")
    end = time.monotonic() + 60
    while True:
        with open(path) as f:
            text = f.read().strip()
        if "." in text:
            break
        if time.monotonic() > end:
            out("a change there is seen after", 60, "> %d s")
            return
        time.sleep(0.001)
    out("a change there is seen after", max(0, time.time() - float(text)))


def many_at_once(jobs, n):
    """starts them all, then waits for the end of each"""
    numbers = []
    for _ in range(n):
        with open(jobs + "/new", "r+b", buffering=0) as f:
            f.write(b"true")
            numbers.append(f.read().decode().strip())
    for number in numbers:
        with open("%s/%s/exit_code" % (jobs, number)) as f:
            assert f.read() == "0\n"


def rows_exec(fs, work, out):
    if not isinstance(fs, Sbxfs):
        return
    fs.m.run("bench", "true")
    begin = time.monotonic()
    for _ in range(50):
        fs.m.run("bench", "true")
    out("exec true", (time.monotonic() - begin) / 50)
    program = os.path.join(BUILD, "sbxrun")
    sh("%s true" % program, fs.top)
    begin = time.monotonic()
    for _ in range(50):
        subprocess.run([program, "true"], cwd=fs.top, check=True,
                       stdin=subprocess.DEVNULL)
    out("sbxrun true", (time.monotonic() - begin) / 50)
    begin = time.monotonic()
    many_at_once(fs.m.path("bench", "jobs"), 50)
    out("50 commands at once", time.monotonic() - begin)
    begin = time.monotonic()
    for p in [subprocess.Popen([program, "true"], cwd=fs.top,
                               stdin=subprocess.DEVNULL) for _ in range(50)]:
        assert p.wait() == 0
    out("50 sbxrun at once", time.monotonic() - begin)
    out("sbxrun reads 256 MiB, MB/s", 268.4 / seconds(
        "%s head -c 268435456 /dev/zero | cat" % program, fs.top), "%.0f")
    out("sbxrun writes 256 MiB, MB/s", 268.4 / seconds(
        "head -c 268435456 /dev/zero | %s sh -c 'cat >/dev/null'" % program,
        fs.top), "%.0f")


def rows_walk(fs, work, out):
    if not isinstance(fs, Sbxfs):
        return
    fs.m.run("bench", "mkdir huge; cd huge; for d in $(seq 100); do mkdir $d; "
             "(cd $d; seq -f f%04g 1000 | xargs touch); done")
    fs.fresh()
    out("walk of 100,000 files", seconds("find huge -size +1000k", fs.top))
    with open("/proc/%d/status" % fs.pid()) as f:
        rss = [l for l in f if l.startswith("VmRSS")][0].split()[1]
    out("  resident afterwards, MiB", int(rss) / 1024, "%.1f")
    fs.messages()
    sh("find huge -size +1000k", fs.top)
    out("  messages of a second walk", fs.messages(), "%d")

    def cpu():
        with open("/proc/%d/stat" % fs.pid()) as f:
            w = f.read().rsplit(")", 1)[1].split()
        return int(w[11]) + int(w[12])
    before = cpu()
    time.sleep(5)
    out("  idle CPU, ticks in 5 s", cpu() - before, "%d")


ROWS = {"files": rows_files, "git": rows_git, "edit": rows_edit,
        "bulk": rows_bulk, "push": rows_push, "exec": rows_exec,
        "walk": rows_walk}


def bare_stream():
    """What the same agent delivers to a client without a file system."""
    program = os.path.join(BUILD, "bench_stream")
    if not os.path.exists(program):
        return
    m = Mount(mount=False)
    try:
        p = subprocess.run(
            [program, "xgen+http://127.0.0.1:%d" % m.port], text=True,
            env=dict(os.environ, XGEN_API_KEY="test-key"),
            stdout=subprocess.PIPE)
        print("bare exec stream client:", p.stdout.strip().replace("\n", "; "))
    finally:
        m.close()


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--rtt", type=float, default=0, metavar="MS")
    ap.add_argument("--quick", action="store_true",
                    help="200 files and 1,000 in git, not 2,000 and 5,000")
    ap.add_argument("--no-sshfs", action="store_true",
                    help="neither sshfs nor rclone")
    ap.add_argument("rows", nargs="*", choices=[[], *ROWS])
    args = ap.parse_args()
    kinds = [Local, Sbxfs] + ([] if args.no_sshfs else [Sshfs, Rclone])
    table, names = {}, []
    with tempfile.TemporaryDirectory(prefix="sbxfs-bench.") as work:
        sizes = make_inputs(work, args.quick)
        for kind in kinds:
            fs = kind(work, 0 if kind is Local else args.rtt)
            try:
                for row in args.rows or ROWS:
                    def out(name, value, form=None):
                        form = form or ("%.4f s" if value < 0.1 else "%.2f s")
                        if name not in names:
                            names.append(name)
                        table[name, kind.name] = form % value
                    try:
                        ROWS[row](fs, work, out)
                    except (OSError, AssertionError,
                            subprocess.CalledProcessError) as e:
                        print("%s: %s: %s" % (kind.name, row, e),
                              file=sys.stderr)
            finally:
                fs.close()
    print("round trip %g ms, %d files, %d in git" % (args.rtt, *sizes))
    print("%-32s" % "" + "".join("%14s" % k.name for k in kinds))
    for n in names:
        print("%-32s" % n + "".join(
            "%14s" % table.get((n, k.name), "-") for k in kinds))
    if not args.rtt and (not args.rows or {"bulk", "exec"} & set(args.rows)):
        bare_stream()


if __name__ == "__main__":
    main()
