"""Two programs that do as they are told: one here, one in the sandbox.

Each evaluates Python expressions and answers with the result, or the name of
the error.  start() does not wait for the answer, result() does.
"""
import itertools
import json
import os
import queue
import signal
import subprocess
import threading

SCRIPT = r'''
import errno, fcntl, mmap, os, signal, struct, sys, time
fds = {}
SH, EX, UN, NB = fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_UN, fcntl.LOCK_NB
def op(k, path, flags=os.O_RDWR):
    fds[k] = os.open(path, flags | os.O_CLOEXEC, 0o644)
def cl(k):
    os.close(fds.pop(k))
def lockf(k, how, length=0, start=0):
    fcntl.lockf(fds[k], how, length, start, 0)
def flock(k, how):
    fcntl.flock(fds[k], how)
def ofd(k, kind, length=0, start=0, wait=False):
    fcntl.fcntl(fds[k], 38 if wait else 37,
                struct.pack("hhqqi4x", kind, 0, start, length, 0))
def getlk(k, kind, length=0, start=0):
    r = struct.unpack("hhqqi4x", fcntl.fcntl(fds[k], fcntl.F_GETLK,
        struct.pack("hhqqi4x", kind, 0, start, length, 0)))
    return r[0], r[2], r[3], r[4]
def handle(signum, how):
    class Hit(Exception):
        pass
    def on_signal(s, f):
        raise Hit
    signal.signal(signum, on_signal)
    try:
        how()
    except Hit:
        return "hit"
def fork(expression):
    """the answer of a child, which has these files, too"""
    r, w = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            x = eval(expression)
        except OSError as e:
            x = errno.errorcode[e.errno]
        os.write(w, repr(x).encode())
        os._exit(0)
    os.close(w)
    out = os.read(r, 1000).decode()
    os.close(r)
    os.waitpid(pid, 0)
    return out
def say(x):
    sys.stdout.write(repr(x) + "\n")
    sys.stdout.flush()
say(os.getpid())
for line in lines():
    try:
        say(eval(line))
    except OSError as e:
        say(errno.errorcode[e.errno])
    except SyntaxError:
        exec(line)
        say(None)
'''
HERE = "import sys\ndef lines(): return sys.stdin\n" + SCRIPT
# no standard input there: it is read from a file that grows
INSIDE = r'''
import os, time
def lines():
    f, text = open(%r), ""
    while True:
        text += f.readline()
        if text.endswith("\n"):
            yield text
            text = ""
        elif not os.path.exists(%r):
            return
        else:
            time.sleep(0.003)
''' + SCRIPT
numbers = itertools.count(1)


class Actor:
    def listen(self, f):
        self.answers = queue.Queue()

        def reader():
            for line in f:
                self.answers.put(line.decode().rstrip("\n"))
        self.thread = threading.Thread(target=reader, daemon=True)
        self.thread.start()
        self.pid = int(self.result())

    def result(self, seconds=60):
        text = self.answers.get(timeout=seconds)
        try:
            return eval(text)
        except SyntaxError:
            raise AssertionError("the actor says: " + text)

    def has_answered(self):
        return not self.answers.empty()

    def __call__(self, expression):
        self.start(expression)
        return self.result()


class Here(Actor):
    def __init__(self, cwd):
        self.p = subprocess.Popen(["/usr/bin/python3", "-c", HERE], cwd=cwd,
                                  stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE)
        self.listen(self.p.stdout)

    def start(self, expression):
        self.p.stdin.write(expression.encode() + b"\n")
        self.p.stdin.flush()

    def is_in_a_call(self):
        """sleeps, and not for what it is told; a kernel may not say"""
        with open("/proc/%d/wchan" % self.pid) as f:
            where = f.read()
        return where != "0" and "pipe" not in where

    def signal(self, number):
        self.p.send_signal(number)

    def close(self):
        self.p.stdin.close()
        try:
            self.p.wait(60)
        except subprocess.TimeoutExpired:
            self.p.kill()
            self.p.wait()
        self.thread.join(20)
        self.p.stdout.close()

    def kill(self):
        self.p.send_signal(signal.SIGKILL)
        self.p.wait()
        self.thread.join(20)


class Inside(Actor):
    """box: the sandbox's folder; cwd: below its workspace"""

    def __init__(self, box, cwd="."):
        self.path = os.path.join(box, "workspace", ".in%d" % next(numbers))
        self.to = open(self.path, "wb", buffering=0)
        name = os.path.basename(self.path)
        inside = os.path.relpath(name, cwd)
        fd = os.open(os.path.join(box, "exec"), os.O_RDWR)
        os.write(fd, json.dumps({
            "argv": ["python3", "-u", "-c", INSIDE % (inside, inside)],
            "cwd": cwd}).encode())
        self.out = os.fdopen(fd, "rb", buffering=0)
        self.listen(self.out)

    def start(self, expression):
        self.to.write(expression.encode() + b"\n")

    def is_in_a_call(self):
        return True  # nobody can tell from here

    def close(self):
        self.to.close()
        try:
            os.unlink(self.path)
        except OSError:
            return  # the sandbox is gone
        self.thread.join(30)
        self.out.close()


def actor_in(m, box, cwd="."):
    """One in that sandbox of m's.  Where a command keeps all else waiting, one
    in the folder behind it."""
    if m.service == "timetravel":
        return Here(os.path.join(m.sandbox_dir(os.path.basename(box)), cwd))
    return Inside(box, cwd)
