#!/usr/bin/python3
"""Random operations on the mount, behind its back in the sandbox, and on a
local folder: after each barrier all three are the same, and without one where
a push, or on a service that pushes nothing the end of a second's trust, has
told of it.

MINUTES in the environment runs new ones for that long, SEED with another
beginning, OPTIONS with mount options; without it the same few are run each
time."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import json, random, signal, stat, subprocess, time, unittest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
import fileops
from sbxmount import RUNS, SERVICE, Mount, wait_for

MINUTES = float(os.environ.get("MINUTES", "0"))
SEED = int(os.environ.get("SEED", "1"))
EXAMPLES = int(os.environ.get("EXAMPLES", "4" if RUNS else "12"))
OPTIONS = os.environ.get("OPTIONS", "").split()
VERBOSE = os.environ.get("VERBOSE")
PUSHED_S = 20.0  # far more than it takes: a pushed change that never comes
FAULTY_S = 60.0
SEEN_S = 1.1  # the second that what is known is trusted, and the clock's ticks

# ---- what may be done ----

paths = st.sampled_from(["a", "b", "c", "d", "d/a", "d/b", "d/e", "d/e/a",
                         "d/e/b", "f", "f/a", "f/d", "f/d/a", "g"])
sizes = st.sampled_from([0, 1, 100, 4095, 4096, 5000, 70000])
offsets = st.sampled_from([0, 1, 10, 4096, 5000, 65536, 300000])
seeds = st.integers(0, 999999)
numbers = st.integers(0, 2)
O = os


def op(name, *args):
    return st.tuples(st.just(name), *args)


by_name = st.one_of(
    op("create", paths, st.sampled_from([0o600, 0o644, 0o755]),
       st.sampled_from([0, O.O_EXCL, O.O_TRUNC])),
    op("put", paths, sizes, seeds), op("put", paths, sizes, seeds),
    op("write", paths, offsets, sizes, seeds),
    op("append", paths, sizes, seeds),
    op("save", paths, sizes, seeds),
    op("truncate", paths, sizes),
    op("mapwrite", paths, offsets, sizes, seeds),
    op("copy", paths, paths, sizes),
    op("punch", paths, offsets, sizes),
    op("rename", paths, paths), op("rename", paths, paths),
    op("rename2", paths, paths,
       st.sampled_from([fileops.EXCHANGE, fileops.NOREPLACE])),
    op("unlink", paths), op("rmdir", paths),
    op("mkdir", paths), op("makedirs", paths),
    op("symlink", st.sampled_from(["a", "../a", "nowhere", "/nowhere/x"]), paths),
    op("link", paths, paths),
    op("chmod", paths, st.sampled_from([0o700, 0o755, 0o600 | 0o100, 0o711])),
    op("utimens", paths, st.integers(1, 1000000)),
    op("setxattr", paths, st.sampled_from("xy"), st.integers(1, 50), seeds),
    op("removexattr", paths, st.sampled_from("xy")),
    op("read", paths), op("entries", paths))
by_slot = st.one_of(
    op("opened", numbers, paths, st.sampled_from(
        [O.O_RDWR, O.O_RDONLY, O.O_RDWR | O.O_APPEND, O.O_RDWR | O.O_CREAT,
         O.O_WRONLY | O.O_TRUNC, O.O_RDONLY | O.O_DIRECTORY])),
    op("opened", numbers, paths, st.just(O.O_RDWR | O.O_CREAT)),
    op("closed", numbers),
    op("fpread", numbers, offsets, sizes),
    op("fpwrite", numbers, offsets, sizes, seeds),
    op("fwrite", numbers, sizes, seeds),
    op("ftruncate", numbers, sizes),
    op("fsync", numbers),
    op("fseek", numbers, st.sampled_from([0, 4096, 70000]),
       st.sampled_from([O.SEEK_END, O.SEEK_DATA, O.SEEK_HOLE])),
    op("fmap", numbers),
    op("fmapwrite", numbers, offsets, sizes, seeds),
    op("flist", numbers))
some = st.lists(by_name, min_size=1, max_size=5)
some_held = st.lists(st.one_of(by_name, by_slot), min_size=1, max_size=6)
HERE, THERE = ("here", "here2"), ("beside", "exec")
steps = st.one_of(
    st.tuples(st.sampled_from(HERE), some_held, st.booleans()),
    st.tuples(st.sampled_from(HERE), some_held, st.booleans()),
    st.tuples(st.just("beside"), some_held, st.booleans()),
    st.tuples(st.just("exec"), some, st.booleans()),
    st.tuples(st.sampled_from(["cut", "stop", "overflow", "delay", "soon"]),
              some, st.booleans()))
programs = st.lists(steps, min_size=6, max_size=20)
# takes seconds each time
killing = st.lists(st.one_of(steps, st.tuples(st.just("kill"), some,
                                              st.booleans())),
                   min_size=4, max_size=10)


with open(fileops.__file__) as f:
    FILEOPS = f.read()


class Hand:
    """A process that carries out operations in one folder."""

    def __init__(self, folder, owner=None):
        kw = {}
        if owner and os.geteuid() == 0:
            kw = {"user": owner.st_uid, "group": owner.st_gid,
                  "extra_groups": []}
        self.p = subprocess.Popen(
            ["/usr/bin/python3", "-S", "-c", FILEOPS],
            cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin"}, **kw)

    def do(self, ops):
        try:
            self.p.stdin.write(json.dumps(ops).encode() + b"\n")
            self.p.stdin.flush()
            line = self.p.stdout.readline()
        except BrokenPipeError:
            line = None
        if not line:
            raise AssertionError("died of %r: %s" % (ops, self.p.wait()))
        return json.loads(line)

    def close(self):
        self.p.stdin.close()
        self.p.wait(20)
        self.p.stdout.close()


def slotted(place, ops):
    """Slots of different places are different ones for the model."""
    return [[o[0], place + str(o[1])] + list(o[2:])
            if o[0] in SLOTTED else list(o) for o in ops]


SLOTTED = {"opened", "closed", "fpread", "fpwrite", "fwrite", "ftruncate",
           "fsync", "fseek", "fmap", "fmapwrite", "flist"}
OLD = 2 * 10**15  # times that utimens set are before this


def as_model(t):
    """What a local folder can show, too."""
    out = {}
    for name, one in t.items():
        one = dict(one)
        for k in ("ino", "ctime"):
            del one[k]
        if stat.S_ISDIR(one["mode"]):
            del one["size"]
        if one["mtime"] >= OLD:
            one["mtime"] = "now"
        out[name] = one
    return out


def without_ctime(t):
    return {n: {k: v for k, v in one.items() if k != "ctime"}
            for n, one in t.items()}


def hides_a_link(place, ops):
    """Whether a file may have got a name and lost it again before anybody
    could look: nobody is told of that, and but for its ctime it is as
    before."""
    names = [o[0] for o in ops]
    return place not in HERE and "link" in names and bool(
        {"rename", "rename2", "unlink", "save"} &
        set(names[names.index("link"):]))


def sizes(t):
    return {n: (one["size"], one["mode"]) for n, one in t.items()}


def difference(a, b):
    out = []
    for n in sorted(set(a) | set(b)):
        x, y = a.get(n), b.get(n)
        if x == y:
            continue
        if isinstance(x, dict) and isinstance(y, dict):
            for k in sorted(set(x) | set(y)):
                if x.get(k) != y.get(k):
                    out.append("%s %s: %r is not %r" % (n, k, x.get(k),
                                                        y.get(k)))
        else:
            out.append("%s: %r is not %r" % (n, x, y))
    return out


class World:
    """One mount with the hands that work on it; the second of the local ones
    in root/ if that is wanted, which is the same files again."""

    def __init__(self, options=OPTIONS, in_root=False):
        self.in_root = in_root
        self.m = Mount(options=options)
        try:
            self.begin()
        except BaseException:
            self.m.close()
            raise

    def begin(self):
        m = self.m
        m.create("t")
        self.there = m.sandbox_dir("t")
        owner = os.stat(self.there)
        model = os.path.join(m.dir, "model")
        os.mkdir(model)
        if os.geteuid() == 0:
            os.chown(model, owner.st_uid, owner.st_gid)
        self.top = top2 = m.path("t", "workspace")
        if self.in_root:
            top2 = m.path("t", "root") + m.run("t", "pwd").decode().strip()
        self.start_hands = lambda: (
            {"here": Hand(self.top), "here2": Hand(top2),
             "beside": Hand(self.there, owner)}, Hand(model, owner))
        self.hands, self.model = self.start_hands()
        self.examples = self.nr_steps = 0
        self.folder = None
        self.counts = {}
        # two files whose times are changed to fill the queue of events
        self.noise = [os.path.join(self.there, "noise%d" % i)
                      for i in range(2)]
        for n in self.noise:
            open(n, "w").close()

    def close_hands(self):
        for h in self.all_hands():
            try:
                h.close()
            except OSError:
                pass

    def close(self):
        self.close_hands()
        self.m.close()

    def all_hands(self):
        return list(self.hands.values()) + [self.model]

    # ---- barriers ----

    def exec_barrier(self):
        out = self.m.run("t", "echo done")
        if out != b"done\n":
            raise AssertionError("exec gave %r" % out)

    def wait_for_exec(self):
        """A command that was on its way to a killed helper is lost."""
        def runs():
            try:
                self.exec_barrier()
                return True
            except OSError:
                return False
        wait_for(runs, FAULTY_S)

    def check(self, t, from_model, what):
        bad = difference(as_model(t), from_model)
        if bad:
            raise AssertionError(what + ": " + "; ".join(bad[:12]))

    def compare(self, reader, barrier, order, wait=0.0):
        """The mount is as the model, now or within a time: whoever begins to
        look after that sees it."""
        want = as_model(self.model.do([["tree"]])[0][1])
        if barrier == "exec":
            self.exec_barrier()
        there = self.hands["beside"].do([["tree"]])[0][1]
        self.check(there, want, "the test is wrong")
        end = time.monotonic() + wait
        while wait:
            t = self.hands[reader].do([["tree", None]])[0]
            if t[0] == "ok" and sizes(t[1]) == sizes(there) or \
                    time.monotonic() > end:
                break
            time.sleep(0.01)
        while True:
            late = time.monotonic() >= end
            word, t = self.hands[reader].do([["tree", order]])[0]
            if word != "ok":
                bad = [t]
            elif self.link_hidden:
                bad = difference(without_ctime(t), without_ctime(there))
            else:
                bad = difference(t, there)
            if not bad:
                break
            if late:
                raise AssertionError("%s after %s shows: %s" %
                                     (reader, barrier, "; ".join(
                                         map(str, bad[:12]))))
            time.sleep(0.01)

    def compare_held(self, lost_is_fine=False):
        held = self.model.do([["held"]])[0][1]
        for place, hand in self.hands.items():
            want = {k[len(place):]: v for k, v in held.items()
                    if k[:-1] == place}
            have = {k[len(place):]: v
                    for k, v in hand.do([["held"]])[0][1].items()}
            for k in sorted(want):
                if lost_is_fine and len(have.get(k)) == 1:
                    ops = [["closed", place + k]]
                    hand.do(ops)
                    self.model.do(ops)
                elif want[k] != have.get(k):
                    raise AssertionError("open at %s: %s: %r is not %r" %
                                         (place, k, have.get(k), want[k]))

    # ---- steps ----

    def both(self, place, ops):
        ops = slotted(place, ops)
        want = self.model.do(ops)
        if place == "exec":
            have = self.exec_ops(ops)
        else:
            have = self.hands[place].do(ops)
        for o, w, h in zip(ops, want, have):
            if w != h:
                raise AssertionError("%s at %s gave %r and not %r" %
                                     (o, place, h, w))

    def exec_ops(self, ops):
        text = {"argv": ["/usr/bin/python3", "-S", "-c",
                         FILEOPS],
                "cwd": self.folder, "stdin": json.dumps(ops) + "\n"}
        try:
            return json.loads(self.m.run("t", json.dumps(text)))
        except (OSError, ValueError) as e:
            raise AssertionError("%r: %r" % (e, self.last_words())) from e

    def last_words(self):
        """what is left of a command that went wrong"""
        said = [self.m.log_text()[-2000:]]
        for name in ("jobs/last/exit_code", "jobs/last/stderr", "status"):
            with open(self.m.path("t", name), "rb") as f:
                said.append(f.read())
        sys.stderr.write("%r\n" % said)
        return said

    def fault(self, kind, ops):
        m = self.m
        if kind == "delay":
            m.control("fault delay 20")
        elif kind == "soon":
            m.control("fault delay 0")
        elif kind == "cut":
            m.control("fault cut")
        elif kind == "kill":
            m.kill_agent()
        stopped = self.m.helpers() if kind in ("stop", "overflow") else []
        m.signal_all(stopped, signal.SIGSTOP)
        try:
            if kind == "overflow":
                self.m.overflow(self.noise)
            self.both("beside", ops)
        finally:
            m.signal_all(stopped, signal.SIGCONT)
            if kind == "kill":
                m.start_agent()
                self.wait_for_exec()

    def step(self, n, place, ops, flag):
        self.nr_steps += 1
        self.counts[place] = self.counts.get(place, 0) + len(ops)
        if VERBOSE:
            print(n, place, ops, flag, file=sys.stderr)
        reader = HERE[(n + flag) % 2]
        self.link_hidden |= hides_a_link(place, ops)
        if place in self.hands or place == "exec":
            self.both(place, ops)
        else:
            self.fault(place, ops)
        if place in HERE and (reader == place or not self.in_root):
            # local programs need no barrier among themselves, but between
            # workspace/ and root/, which are told of one another's changes
            want = as_model(self.model.do([["tree"]])[0][1])
            word, t = self.hands[reader].do([["tree", flag]])[0]
            self.check(t, want, "at once, %s" % reader)
        if place in HERE:
            self.compare(reader, "exec", flag)
        elif place == "exec":
            self.compare(reader, "nothing", flag)
        else:
            wait = PUSHED_S if place in self.hands else FAULTY_S
            if RUNS:
                wait = SEEN_S
            for r in HERE if self.in_root else [reader]:
                self.compare(r, "exec" if flag else "push", not flag,
                             0 if flag else wait)
        self.compare_held(place == "kill")

    def run(self, program):
        self.examples += 1
        self.folder = "e%d" % self.examples
        n = -1
        self.link_hidden = False
        m = self.m
        m.control("fault delay 0")
        for h in (self.model, self.hands["here"]):
            h.do([["mkdir", self.folder]])
        self.exec_barrier()
        for h in self.all_hands():
            h.do([["chdir", self.folder]])
        try:
            self.both("here", [("mkdir", "d"), ("mkdir", "f"),
                               ("mkdir", "d/e"), ("put", "a", 5000, 1),
                               ("put", "d/a", 10, 2), ("put", "f/a", 0, 3)])
            # each view has looked everywhere: it is told of what is there
            for place in HERE:
                self.hands[place].do([["tree"]])
            for n, (place, ops, flag) in enumerate(program):
                self.step(n, place, ops, flag)
        except AssertionError as e:
            e.args = ("step %d: %s" % (n, e),)
            if VERBOSE:
                print("failed:", e, program, file=sys.stderr)
            # the next one begins with nothing of this one
            self.close_hands()
            self.hands, self.model = self.start_hands()
            raise
        for h in self.all_hands():
            h.do([["closed", s] for s in self.open_slots()])
            h.do([["chdir", ".."]])
        subprocess.run(["rm", "-rf", os.path.join(self.top, self.folder)],
                       check=True)

    def open_slots(self):
        return [p + str(i) for p in self.hands for i in range(3)]


class Model(unittest.TestCase):
    world_args = {}

    def setUp(self):
        self.world = World(**self.world_args)
        self.addCleanup(self.world.close)

    def run_examples(self, strategy, n, number=None):
        world = self.world

        @settings(max_examples=n, deadline=None, database=None,
                  derandomize=number is None,
                  phases=(Phase.generate, Phase.shrink),
                  suppress_health_check=list(HealthCheck), print_blob=False)
        @given(strategy)
        def run(program):
            world.run(program)
        if number is not None:
            run = seed(number)(run)
        run()

    def test_all_three_agree(self):
        if not MINUTES:
            self.run_examples(programs, EXAMPLES)
        end = time.monotonic() + MINUTES * 60
        number = SEED
        while time.monotonic() < end:
            self.run_examples(programs, 50, number)
            if not self.world.in_root and SERVICE == "xgen":
                self.run_examples(killing, 3, number)
            number += 1
            print("seed %d: %d examples, %d steps" %
                  (number, self.world.examples, self.world.nr_steps),
                  self.world.counts, file=sys.stderr)

    @unittest.skipIf(SERVICE != "xgen", "a stand-in forgets its sandboxes")
    def test_over_a_new_helper(self):
        self.run_examples(killing, 2)

    @unittest.skipIf(SERVICE != "xgen", "a stand-in forgets its sandboxes")
    def test_open_and_removed_before_a_new_helper_came(self):
        self.world.run([("here", [("opened", 0, "a", 2)], False),
                        ("kill", [("unlink", "a")], False)])


class ModelInRoot(Model):
    """The same with a cache that is always full, and through root/."""
    world_args = {"options": ("cache=1M",), "in_root": True}

    def test_over_a_new_helper(self):
        """a killed agent's sandbox gets another root when it is back, and
        who was in the old one stays there"""
        self.skipTest("through workspace/ only")

    test_open_and_removed_before_a_new_helper_came = test_over_a_new_helper


if __name__ == "__main__":
    unittest.main()
