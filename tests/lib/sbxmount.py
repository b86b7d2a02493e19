"""A mount of its own for one test program, with the agent's fault switches.

Mount() starts the bundled agent by itself (so that its faults and journal can
be reached, and so that it can be killed) and mounts it through the ordinary
xgen source.  close() takes everything down and complains about what is left.
With SBXFS_SERVICE=opensandbox, computesdk, timetravel or vtrix it is that
service's stand-in instead, which knows the faults "cut" and "delay" alone, and
timetravel's "blackhole", too.
"""
import errno
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.request

BUILD = os.environ["SBXFS_BUILD"]
HERE = os.path.dirname(os.path.abspath(__file__))
# which service the mounts are of; STANDIN_TRAITS: words for its stand-in
SERVICE = os.environ.get("SBXFS_SERVICE", "xgen")
# there a command is a run of its own: its input is whole before it begins, its
# output comes at its end, nothing reaches it, and files wait for it
RUNS = SERVICE == "timetravel"
COMMAND_MAX = 100000 if RUNS else 1 << 20  # bytes that can be written to exec
KEYS = {"xgen": "XGEN_API_KEY", "opensandbox": "OPEN_SANDBOX_API_KEY",
        "computesdk": "COMPUTESDK_API_KEY",
        "timetravel": "TIMETRAVEL_API_KEY", "vtrix": "VTRIX_API_KEY"}
# seconds between two cuts of every connection; 0: none is cut
CUT_EVERY = float(os.environ.get("CUT_EVERY", "0"))
SICK = ("AddressSanitizer", "LeakSanitizer", "runtime error:")


def wait_for(what, seconds=60.0):
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise AssertionError("waited too long for " + what.__name__)
        time.sleep(0.01)


alive = set()


def end(p):
    """with what it has started itself, if it can"""
    p.terminate()
    try:
        p.wait(5)
    except subprocess.TimeoutExpired:
        p.kill()
        p.wait()


def on_sigterm(signum, frame):
    """meson's timeout: leave nothing behind"""
    for m in alive:
        subprocess.run(["fusermount3", "-uz", m.mnt])
        for p in (m.daemon, m.agent):
            if p:
                end(p)
        shutil.rmtree(m.dir, ignore_errors=True)
    os._exit(1)


signal.signal(signal.SIGTERM, on_sigterm)
# a shell starts what runs in its background, and nohup(1) anything, with these
# ignored, and so would be the programs whose signals are tested
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)


class Mount:
    service = SERVICE  # a subclass may have another

    def __init__(self, options=(), agent_args=(), mount=True):
        self.dir = tempfile.mkdtemp(prefix="sbxfs-test.")
        self.mnt = os.path.join(self.dir, "mnt")
        self.control_path = os.path.join(self.dir, "control")
        self.agent_args = list(agent_args)
        self.agent = self.daemon = None
        self.port = self.noted = 0
        self.stop_cutting = threading.Event()
        self.cutter = None
        self.cuts = 0
        alive.add(self)
        os.mkdir(self.mnt)
        os.mkdir(os.path.join(self.dir, "sandboxes"))
        self.log = open(os.path.join(self.dir, "log"), "w+b")
        try:
            self.start_agent()
            if mount:
                self.start(options)
        except BaseException:
            self.close()
            raise
        if CUT_EVERY:
            self.cut_every(CUT_EVERY)

    # everything again while the connection is lost again and again

    def cut_every(self, seconds):
        """Cuts all connections to the agent that often, until close()."""
        def cut():
            while not self.stop_cutting.wait(seconds):
                try:
                    self.control("fault cut")
                    self.cuts += 1
                except OSError:
                    pass  # the agent was ended by the test
        self.cutter = threading.Thread(target=cut)
        self.cutter.start()

    # the agent

    def start_agent(self):
        if self.service == "xgen":
            self.start_xgen_agent()
        else:
            self.start_standin()

    def start_standin(self):
        self.agent = subprocess.Popen(
            ["/usr/bin/python3",
             os.path.join(HERE, "../services", self.service + ".py"), "--stay",
             "--dir", os.path.join(self.dir, "sandboxes"),
             "--port", str(self.port)]
            # copies after each of some thousand runs would take their time
            + ["--records"] * (self.service == "timetravel")
            + os.environ.get("STANDIN_TRAITS", "").split(),
            env=dict(os.environ, STANDIN_KEY="test-key"),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=self.log, text=True)
        word = self.agent.stdout.readline().split()
        if not word or word[0] != "ready":
            raise AssertionError("the stand-in did not start")
        self.port = int(word[1])

    def start_xgen_agent(self):
        if os.path.exists(self.control_path):
            os.unlink(self.control_path)  # of one that was killed
        r, w = os.pipe()
        env = dict(os.environ, SBXFS_AGENT_KEY="test-key")
        self.agent = subprocess.Popen(
            [os.path.join(BUILD, "sbxfs-agent"),
             "--dir", os.path.join(self.dir, "sandboxes"),
             "--listen", "127.0.0.1:%d" % self.port,
             "--control", self.control_path,
             "--ready-fd", str(w)] + self.agent_args
            + [w for t in os.environ.get("STANDIN_TRAITS", "").split()
               for w in ("--trait", t)],
            env=env, pass_fds=(w,), stdin=subprocess.DEVNULL,
            stdout=self.log, stderr=self.log)
        os.close(w)
        with os.fdopen(r) as f:
            word = f.readline().split()
        if not word or word[0] != "ready":
            raise AssertionError("the agent did not start")
        self.port = int(word[1])

    def kill_agent(self):
        self.agent.kill()
        self.agent.wait()

    def standin(self, path, line=None):
        with urllib.request.urlopen(urllib.request.Request(
                "http://127.0.0.1:%d/%s" % (self.port, path), line),
                timeout=60) as answer:
            return answer.read().decode()

    @staticmethod
    def asks(entry):
        """of a stand-in's journal; a run of Vtrix's that is parked waits
        for what happens there, and asks for nothing"""
        if entry.get("rpc") == "exec":
            batch = re.search(r"^set -- \w+ \d+ (\d+) ",
                              entry["params"]["command"], re.M)
            return not batch or batch[1] == "0"
        return entry.get("ws") == "stdin" or "command" in entry

    def standin_control(self, line):
        runs = self.service in ("vtrix", "timetravel")
        if line == "journal":
            journal = json.loads(self.standin(
                "_test/journal" if runs else "_standin/journal"))
            if runs:  # which keep all of it
                journal, self.noted = journal[self.noted:], len(journal)
            return "type stdin %d\n" % sum(map(self.asks, journal))
        delay = re.fullmatch(r"fault delay (\d+)", line)
        if delay and runs:
            return self.standin("_test/delay", b'{"ms": %d}' % int(delay[1]))
        if delay and self.service == "opensandbox":
            return self.standin("_standin/fault",
                                b"execd delay %d" % int(delay[1]))
        if delay and self.service == "computesdk":
            return self.standin("_standin/daemon", json.dumps(
                {"do": "delay", "ms": int(delay[1])}).encode())
        if line.startswith("fault blackhole ") and RUNS:
            return self.standin("_test/blackhole", json.dumps(
                {"on": line.endswith(" on")}).encode())
        if line != "fault cut":
            raise unittest.SkipTest("the stand-in has no such fault: " + line)
        if runs:
            return self.standin("_test/cut", b"{}")
        return self.standin("_standin/fault", b"execd cut")

    def control(self, line):
        if self.service != "xgen":
            return self.standin_control(line)
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.control_path)
            s.settimeout(60)
            s.sendall(line.encode() + b"\n")
            s.shutdown(socket.SHUT_WR)
            data = b""
            while True:
                piece = s.recv(65536)
                if not piece:
                    return data.decode()
                data += piece

    def messages(self):
        """WebSocket messages that the agent got since the last call"""
        words = [l.split() for l in self.control("journal").splitlines()]
        return sum(int(w[2]) for w in words if w and w[0] == "type")

    def sandbox_dir(self, name):
        """The folder behind workspace/: to change it behind its back."""
        if self.service == "timetravel":
            return json.loads(self.standin("_test/folder", json.dumps(
                {"vm": name}).encode()))["workspace"]
        with open(self.path(name, "status")) as f:
            ident = [l.split()[1] for l in f if l.startswith("id:")][0]
        return os.path.join(self.dir, "sandboxes", ident, "workspace")

    def release(self, name, file):
        """Makes a file that a command waits for, in its workspace."""
        top = self.sandbox_dir(name) if RUNS else self.path(name, "workspace")
        open(os.path.join(top, file), "w").close()

    def processes(self):
        """Those of all sandboxes, from outside: {PID: (WORDS, SESSION)}."""
        parent, session = {}, {}
        for p in os.listdir("/proc"):
            if p.isdigit():
                try:
                    with open("/proc/%s/stat" % p) as f:
                        words = f.read().rpartition(")")[2].split()
                    parent[int(p)], session[int(p)] = map(int, words[1:4:2])
                except OSError:
                    pass
        out = {}
        for p in parent:
            q = p
            while q in parent and q != self.agent.pid:
                q = parent[q]
            if q != self.agent.pid:
                continue
            try:
                with open("/proc/%d/cmdline" % p) as f:
                    out[p] = f.read().split("\0"), session[p]
            except OSError:
                continue
        return out

    def helpers(self):
        """Process ids of the helpers, to stop them and let them go on."""
        # of those that run for an exchange, the one that stays
        return [p for p, (words, session) in self.processes().items()
                if re.search("/sbxfs(-[0-9]+)?/helper-", words[0]) and (
                    "--batch" not in words or session == p)]

    @staticmethod
    def signal_all(pids, number):
        """Those that have ended meanwhile are let be."""
        for p in pids:
            try:
                os.kill(p, number)
            except ProcessLookupError:
                pass

    @staticmethod
    def overflow(two):
        """More changes of two files than the kernel keeps for a helper."""
        with open("/proc/sys/fs/inotify/max_queued_events") as f:
            n = int(f.read())
        for i in range(n + 100):
            os.utime(two[i % 2])

    # the mount

    def source(self):
        return "%s+http://127.0.0.1:%d" % (self.service, self.port)

    def key(self):
        return {KEYS[self.service]: "test-key"}

    def start(self, options=(), wrapper=()):
        args = [*wrapper, os.path.join(BUILD, "sbxfs"), "-f"]
        if options:
            args += ["-o", ",".join(options)]
        args += [self.source(), self.mnt]
        self.daemon = subprocess.Popen(
            args, env=dict(os.environ, XDG_STATE_HOME=self.dir, **self.key()),
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

        def mounted():
            return self.is_mounted() or self.daemon.poll() is not None
        wait_for(mounted)
        if not self.is_mounted():
            raise AssertionError("sbxfs did not mount: " + self.log_text())

    def is_mounted(self):
        with open("/proc/mounts") as f:
            return any(line.split()[1] == self.mnt for line in f)

    def create(self, name):
        path = os.path.join(self.mnt, name)
        os.mkdir(path)
        return path

    def path(self, *parts):
        return os.path.join(self.mnt, *parts)

    def run(self, name, command):
        """A shell command through exec: its output."""
        fd = os.open(self.path(name, "exec"), os.O_RDWR)
        try:
            os.write(fd, command.encode() + b"\n")
            out = b""
            while True:
                piece = os.read(fd, 1 << 16)
                if not piece:
                    return out
                out += piece
        finally:
            os.close(fd)

    def log_text(self):
        self.log.flush()
        with open(self.log.name, "rb") as f:
            return f.read().decode(errors="replace")

    def unmount(self):
        subprocess.run(["fusermount3", "-u", self.mnt], check=True)
        status = self.daemon.wait(60)
        self.daemon = None
        if status:
            raise AssertionError("sbxfs ended with status %d" % status)

    def holders(self):
        """Who uses the mount: "PID name: path", for each."""
        found = []
        for p in filter(str.isdigit, os.listdir("/proc")):
            at = "/proc/%s/" % p
            try:
                with open(at + "comm") as f:
                    name = f.read().strip()
                links = [at + "cwd", at + "root", at + "exe"] + [
                    at + "fd/" + n for n in os.listdir(at + "fd")] + [
                    at + "map_files/" + n for n in os.listdir(at + "map_files")]
            except OSError:
                continue  # it has ended
            for link in links:
                try:
                    path = os.readlink(link)
                except OSError:
                    continue
                if (path + "/").startswith(self.mnt + "/"):
                    found.append("%s %s: %s" % (p, name, path))
        return found

    def close(self):
        bad = []
        self.stop_cutting.set()
        if self.cutter:
            self.cutter.join()
        if self.is_mounted():
            if subprocess.run(["fusermount3", "-u", self.mnt]).returncode:
                bad.append("the mount was busy (%s)" % "; ".join(
                    self.holders()))
                subprocess.run(["fusermount3", "-uz", self.mnt])
        if self.daemon:
            try:
                self.daemon.wait(60)
            except subprocess.TimeoutExpired:
                bad.append("sbxfs goes on")
                self.daemon.kill()
                self.daemon.wait()
        if self.agent and self.agent.poll() is None:
            self.agent.send_signal(signal.SIGTERM)
            try:
                self.agent.wait(60)
            except subprocess.TimeoutExpired:
                bad.append("the agent goes on")
                self.agent.kill()
                self.agent.wait()
        text = self.log_text()
        bad += [w for w in SICK if w in text]
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)
        alive.discard(self)
        if bad:
            raise AssertionError("; ".join(bad) + "\n" + text[-8000:])


class SandboxTest(unittest.TestCase):
    """Tests that share a mount with one sandbox, t."""
    options = ()
    agent_args = ()

    @classmethod
    def setUpClass(cls):
        cls.m = Mount(cls.options, cls.agent_args)
        cls.addClassCleanup(cls.m.close)
        cls.box = cls.m.create("t")
        cls.top = os.path.join(cls.box, "workspace")

    def path(self, *parts):
        return os.path.join(self.box, *parts)

    def text(self, *parts):
        with open(self.path(*parts)) as f:
            return f.read()

    def fails(self, err, fn, *args, **kw):
        with self.assertRaises(OSError) as e:
            fn(*args, **kw)
        self.assertEqual(errno.errorcode[e.exception.errno],
                         errno.errorcode[err])


class FolderTest(SandboxTest):
    """... each of them in a folder of its own in the workspace."""

    def setUp(self):
        self.dir = os.path.join(self.top, self.id().split(".")[-1])
        os.mkdir(self.dir)

    def path(self, name):
        return os.path.join(self.dir, name)

    def put(self, name, data=b"x"):
        with open(self.path(name), "wb") as f:
            f.write(data)
        return self.path(name)

    def get(self, name):
        with open(self.path(name), "rb") as f:
            return f.read()

    def inside(self, command):
        return self.m.run("t", "cd %s && %s" % (
            os.path.basename(self.dir), command))
