"""What the cases on a mount of the time-travel service share."""
import errno
import os
import signal
import sys
import time

from sbxmount import wait_for
from timetravelmount import TimetravelMount


def fails(err, fn, *args):
    try:
        fn(*args)
    except OSError as e:
        assert e.errno == err, (errno.errorcode[e.errno], args)
        return
    raise AssertionError("no " + errno.errorcode[err])


def put(path, data):
    with open(path, "wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())


def get(path):
    with open(path, "rb") as f:
        return f.read()


def say(path, text):
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def text_of(path):
    with open(path) as f:
        return f.read()


class Box:
    """A mount with one VM."""

    def __init__(self, *args, **kw):
        self.m = TimetravelMount(agent_args=args, **kw)

    def __enter__(self):
        try:
            self.top = self.m.create("vm")
            self.ws = os.path.join(self.top, "workspace")
            self.there = self.m.sandbox_dir("vm")
        except BaseException:
            self.m.close()
            raise
        return self

    def __exit__(self, *_):
        self.m.close()

    def here(self, *names):
        return os.path.join(self.ws, *names)

    def inside(self, *names):
        return os.path.join(self.there, *names)

    def run(self, text):
        return self.m.run("vm", text)

    def start(self, text):
        """A command, until it runs: the folder of its job."""
        say(os.path.join(self.top, "exec"), text)
        job = os.path.join(self.top, "jobs",
                           os.readlink(os.path.join(self.top, "jobs/last")))
        wait_for(lambda: text_of(job + "/status").startswith(
            "state: running"))
        return job

    def status(self, key):
        for line in text_of(os.path.join(self.top, "status")).splitlines():
            if line.startswith(key + ": "):
                return line.partition(": ")[2]
        return None

    def count(self, fn):
        """How many runs it costs, what was known being old: less one for
        each second that it takes, after which all is asked for anew."""
        time.sleep(1.1)
        before = len(self.m.runs())
        begin = time.monotonic()
        fn()
        seconds = int(time.monotonic() - begin)
        return max(0, len(self.m.runs()) - before - seconds)


def kill_helper(b):
    killed = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            exe = os.readlink("/proc/%s/exe" % pid)
            ours = "helper-" in exe and os.path.samefile(
                "/proc/%s/root/workspace" % pid, b.there)
        except OSError:
            continue
        if ours:
            os.kill(int(pid), signal.SIGKILL)
            killed += 1
    assert killed


def run_cases(names):
    """The cases of a test program, whose globals() these are, or those that
    its command line names."""
    for name in sys.argv[1:] or [n[5:] for n in names if n[:5] == "case_"]:
        print(name, flush=True)
        names["case_" + name]()
