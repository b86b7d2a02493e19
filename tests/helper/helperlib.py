"""A client of the helper, in Python: frames and messages by its own codec,
written from client/wire/proto.h and sharing nothing with the C code."""

import errno
import os
import random
import select
import shutil
import struct
import subprocess
import tempfile
import time
import unittest

import msgpack

BUILD = os.environ.get("SBXFS_BUILD") or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "..", "build")
HELPER = os.path.join(BUILD, "sbxfs-helper")
MAGIC = 0x53425846
MORE = 0x80000000
FRAME_MAX = 32755
WAIT = 60.0  # seconds after which a test gives up

# requests
DIR, FORGET, LOOKUP, LIST, TREE, CONTENT = range(1, 7)
GETATTR, SETATTR, READLINK, ACCESS, STATFS = 16, 17, 18, 19, 20
GETXATTR, LISTXATTR, SETXATTR, REMOVEXATTR = 21, 22, 23, 24
CREATE, MKDIR, MKNOD, SYMLINK, LINK, UNLINK, RMDIR, RENAME = range(32, 40)
(OPEN, CLOSE, READ, WRITE, FSYNC, FALLOCATE, SEEK, COPY, LOCK,
 HASH) = range(48, 58)
BARRIER, BATCH, CREDS = 64, 65, 66
EXEC, STDIN, SIGNAL, RESIZE, CREDIT, CREDIT_ONE, CLOSE_OUTPUT = range(80, 87)
PORTS, PORT_WATCH = 96, 97
# messages
(REPLY, PART, CHANGE, OVERFLOW, UNWATCHED, OUTPUT, EXIT, PORT,
 LOG) = range(9)
# changes
CREATED, DELETED, DATA, ATTR, MOVED_FROM, MOVED_TO = 1, 2, 4, 8, 16, 32
# exec flags
TTY, KEEP_STDIN, MERGE = 1, 2, 4
WORKSPACE, ROOT, FIRST = 1, 2, 16

ATTR_NAMES = ("mode nlink uid gid size blocks ino dev rdev atime_s atime_ns "
              "mtime_s mtime_ns ctime_s ctime_ns blksize flags").split()


class Attr:
    """The array "attr" with names."""

    def __init__(self, values):
        assert len(values) == 17, values
        for name, value in zip(ATTR_NAMES, values):
            setattr(self, name, value)


def frame(payload, seq, ack=0, more=False):
    length = len(payload) | (MORE if more else 0)
    return struct.pack(">IIII", length, length ^ MAGIC, seq, ack) + payload


class Helper:
    """One session: a helper, and the stream pair attached to it at present."""

    def __init__(self, cwd, runtime, shuffle=False, env=None, session=None,
                 limit=0, uid=None, groups=None):
        self.cwd, self.limit, self.uid = cwd, limit, uid
        self.groups = [] if uid and groups is None else groups
        self.env = dict(os.environ, XDG_RUNTIME_DIR=runtime, **(env or {}))
        self.session = session or os.urandom(16).hex()
        self.shuffle = shuffle
        self.random = random.Random(7)
        self.instance = self.received = self.seq = 0
        self.unacked = []  # (seq, frame bytes)
        self.next_id = 1
        self.replies, self.parts = {}, {}
        self.journal = []  # everything received, in order
        self.proc = None
        self.hello = None

    # ---- carrier ----

    def attach(self):
        self.detach()
        command = [HELPER, self.session]
        if self.limit:
            command = ["sh", "-c", "ulimit -n %d; exec \"$0\" \"$@\"" %
                       self.limit] + command
        self.proc = subprocess.Popen(
            command, cwd=self.cwd, env=self.env,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
            user=self.uid, group=self.uid,
            extra_groups=self.groups)
        self.inbuf = b""
        self.hello = None
        self.partial = b""
        hello = {"v": 1, "session": self.session, "instance": self.instance,
                 "received": self.received}
        self.put(frame(msgpack.packb(hello), 0, self.received))
        self.wait(lambda: self.hello)
        return self

    def on_hello(self, hello):
        assert hello["v"] == 1 and hello["session"] == self.session
        if self.instance and hello["instance"] != self.instance:
            self.received = self.seq = 0
            self.unacked = []
        self.instance = hello["instance"]
        self.hello = hello
        self.ack(hello["received"])
        for _, data in self.unacked:
            self.put(data)

    def detach(self):
        """Drops the streams, as a lost connection does."""
        if not self.proc:
            return
        self.proc.stdin.close()
        self.proc.stdout.close()
        self.proc.kill()
        self.proc.wait()
        self.proc = None

    def put(self, data):
        while data:
            data = data[self.proc.stdin.write(data):]

    def ack(self, seq):
        self.unacked = [u for u in self.unacked if u[0] > seq]

    def pump(self, timeout):
        """Takes what comes within the time; false: nothing."""
        ready, _, _ = select.select([self.proc.stdout], [], [], timeout)
        if not ready:
            return False
        data = os.read(self.proc.stdout.fileno(), 1 << 20)
        if not data:
            raise EOFError("the helper closed the stream")
        self.inbuf += data
        got = 0
        while len(self.inbuf) >= 16:
            length, magic, seq, ack = struct.unpack_from(">IIII", self.inbuf)
            assert magic == length ^ MAGIC
            size = 16 + (length & ~MORE)
            if len(self.inbuf) < size:
                break
            payload = self.inbuf[16:size]
            self.inbuf = self.inbuf[size:]
            self.take(seq, ack, payload)
            got += len(payload)
        if got > 100000:
            self.ping()
        return True

    def take(self, seq, ack, payload):
        if seq == 0:
            if payload:
                self.on_hello(msgpack.unpackb(payload))
            else:
                self.journal.append(("empty",))
                self.ack(ack)
            return
        self.ack(ack)
        if seq <= self.received:
            return  # sent again
        assert seq == self.received + 1, "a gap in what the helper sent"
        self.received = seq
        self.partial += payload
        unpacker = msgpack.Unpacker(raw=True, max_buffer_size=1 << 24)
        unpacker.feed(self.partial)
        used = 0
        for message in unpacker:
            used = unpacker.tell()
            self.on_message(message)
        self.partial = self.partial[used:]

    def on_message(self, m):
        self.journal.append(m)
        if m[0] == REPLY:
            assert m[1] not in self.replies
            self.replies[m[1]] = m[2:]
        elif m[0] == PART:
            self.parts.setdefault(m[1], []).append(m[2:])

    def ping(self):
        self.put(frame(b"", 0, self.received))

    def wait(self, condition, what="an answer"):
        end = time.monotonic() + WAIT
        while not condition():
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError("waited too long for " + what)
            self.pump(left)
        return condition()

    # ---- requests ----

    def send_payloads(self, payloads):
        """Each a frame; in any order, if the carrier shuffles."""
        frames = []
        for p in payloads:
            pieces = [p[i:i + FRAME_MAX - 16]
                      for i in range(0, len(p), FRAME_MAX - 16)]
            for i, piece in enumerate(pieces):
                self.seq += 1
                data = frame(piece, self.seq, self.received,
                             i + 1 < len(pieces))
                self.unacked.append((self.seq, data))
                frames.append(data)
        if self.shuffle:
            self.random.shuffle(frames)
        if self.proc:
            for f in frames:
                self.put(f)

    def ids(self, n):
        first = self.next_id
        self.next_id += n
        return range(first, first + n)

    def post(self, *requests):
        """Sends requests without waiting; their ids."""
        ids = list(self.ids(len(requests)))
        self.send_payloads([msgpack.packb([r[0], i] + list(r[1:]))
                            for r, i in zip(requests, ids)])
        return ids

    def quiet(self, op, *args):
        self.send_payloads([msgpack.packb([op, 0] + list(args))])

    def result(self, rid):
        self.wait(lambda: rid in self.replies, "reply %d" % rid)
        reply = self.replies.pop(rid)
        if reply[0]:
            raise OSError(reply[0], os.strerror(reply[0]))
        return reply[1:]

    def call(self, op, *args):
        return self.result(self.post((op,) + args)[0])

    def call_parts(self, op, *args):
        rid = self.post((op,) + args)[0]
        result = self.result(rid)
        return self.parts.pop(rid, []), result

    def settle(self):
        """All that happened so far has been told."""
        self.call(BARRIER)

    def changes(self):
        """What was told since the last time: {(dir, name): [what, attr]}."""
        self.settle()
        found = {}
        for m in self.journal:
            if m[0] == CHANGE:
                one = found.setdefault((m[1], m[2]), [0, None])
                one[0] |= m[3]
                one[1] = Attr(m[4]) if m[4] else None
        self.journal = []
        return found

    # ---- shorthands ----

    def attr(self, *at):
        return Attr(self.call(GETATTR, *at)[0])

    def dir(self, number, *at, watch=True):
        attr, watched = self.call(DIR, number, *at, watch)
        return Attr(attr), watched

    def list(self, number):
        parts, (count,) = self.call_parts(LIST, number, 0)
        entries = [e for p in parts for e in p[0]]
        assert len(entries) == count
        return {e[0]: e[1] and Attr(e[1]) for e in entries}

    def open(self, handle, *at, flags=os.O_RDONLY):
        return Attr(self.call(OPEN, handle, *at, flags)[0])

    def create(self, handle, directory, name, flags=os.O_RDWR, mode=0o644):
        attr, created = self.call(CREATE, directory, name, handle, flags, mode)
        return Attr(attr), created

    def read(self, handle, offset, length):
        parts, (data, eof, *_) = self.call_parts(READ, handle, offset, length)
        return b"".join(p[0] for p in parts) + data, eof

    def write(self, handle, offset, data):
        return Attr(self.call(WRITE, handle, offset, data)[0])

    def run(self, job, argv, cwd=b"", env=None, flags=0, credit=1 << 20):
        return self.call(EXEC, job, argv, cwd, env or {}, flags, 80, 24,
                         credit)[0]

    def output(self, job, stream=1):
        return b"".join(m[3] for m in self.journal
                        if m[0] == OUTPUT and m[1] == job and m[2] == stream)

    def ended(self, job, stream):
        return any(m[0] == OUTPUT and m[1] == job and m[2] == stream and m[4]
                   for m in self.journal)

    def exit_of(self, job):
        """Waits for its end: (status, signal)."""
        def find():
            return [m for m in self.journal if m[0] == EXIT and m[1] == job]
        exits = self.wait(find, "the end of job %d" % job)
        assert len(exits) == 1
        return exits[0][2], exits[0][3]

    def sh(self, job, script, **kw):
        self.run(job, [b"sh", b"-c", script.encode()], **kw)
        return self.exit_of(job)

    # ---- the end ----

    def quit(self, remove=False):
        if not self.hello:
            self.detach()
            return
        pid = self.hello["pid"]
        if not self.proc and alive(pid):
            self.attach()
        if self.proc:
            quit_map = {"quit": True}
            if remove:
                quit_map["remove"] = True
            try:
                self.put(frame(msgpack.packb(quit_map), 0, self.received))
            except OSError:
                pass
            wait_for(lambda: not alive(pid), "the helper's end")
            self.detach()


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition, what):
    end = time.monotonic() + WAIT
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("waited too long for " + what)
        time.sleep(0.01)
    return condition()


class HelperTest(unittest.TestCase):
    """A temporary workspace, and a helper in it."""

    shuffle = False

    def setUp(self):
        self.top = tempfile.mkdtemp(prefix="sbxfs-test-")
        self.work = os.path.join(self.top, "work")
        self.run_dir = os.path.join(self.top, "run")
        os.mkdir(self.work)
        os.mkdir(self.run_dir, 0o700)
        self.h = self.new_helper().attach()

    def new_helper(self, **kw):
        h = Helper(self.work, self.run_dir, shuffle=self.shuffle, **kw)
        self.addCleanup(h.quit)
        return h

    def tearDown(self):
        self.doCleanups()
        shutil.rmtree(self.top, ignore_errors=True)

    def path(self, *names):
        return os.path.join(self.work, *names)

    def make(self, name, data=b""):
        with open(self.path(name), "wb") as f:
            f.write(data)
        return os.stat(self.path(name))

    def fails(self, err, fn, *args, **kw):
        with self.assertRaises(OSError) as c:
            fn(*args, **kw)
        self.assertEqual(errno.errorcode[c.exception.errno],
                         errno.errorcode[err])
