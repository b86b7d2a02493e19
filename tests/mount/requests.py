#!/usr/bin/python3
"""What everyday operations cost: the requests that go to the sandbox, and how
many times somebody waits for an answer before the next can be sent.  Both are
counted by the mount and compared with the table in tests/README.md, so that
whoever changes them changes it there, too.

    tests/mount/requests.py --print       the table as it is now
    tests/mount/requests.py --verbose     which requests they are
"""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import fcntl, re, shutil, sqlite3, subprocess, tarfile, tempfile
from sbxmount import Mount

README = os.path.join(os.path.dirname(__file__), "..", "README.md")
FILES = "for i in $(seq 100); do echo line $i > f$i; done"
TREE = ("for d in $(seq 10); do mkdir d$d; for i in $(seq 10); do "
        "echo line $i > d$d/f$i; done; done")
TIMETRAVEL = os.environ.get("SBXFS_SERVICE") == "timetravel"
rows = []


def row(name, prepare="", warm=False, each=1):
    """An operation in a folder of its own, which the sandbox filled; warm:
    done once before it is counted; each: this many operations in one"""
    def add(fn):
        rows.append((name, prepare, warm, each, fn))
        return fn
    return add


def sh(command):
    return lambda: subprocess.run(["sh", "-ec", command], check=True,
                                  stdout=subprocess.DEVNULL)


def put(name, data, mode="w"):
    with open(name, mode) as f:
        f.write(data)


def known(fn):
    """The folder has been listed before"""
    def run():
        fn()
    run.known = True
    return run


def about(fn):
    """How much of what comes ahead of need is here in time is a matter of
    time: a quarter more or less is the same"""
    fn.about = True
    return fn


def another(fn):
    """What git wrote down there is not true here: the sandbox's user has
    another number than who mounts"""
    fn.another = True
    return fn


ONE = "echo one > f; echo two > g"

row("`stat` of a known file", ONE, warm=True)(lambda: os.stat("f"))
row("`stat` of a name that is not there", ONE, warm=True)(
    lambda: os.path.exists("none"))
row("`ls -l` of 1,000 files, first time",
    "for i in $(seq 1000); do echo > f$i; done")(sh("ls -l"))
row("`ls -l` of 1,000 files, again",
    "for i in $(seq 1000); do echo > f$i; done", warm=True)(sh("ls -l"))
row("`ls -l` of 100 links, first time",
    "for i in $(seq 100); do ln -s f$i l$i; done")(sh("ls -l"))
row("`cat` of a small file, first time", ONE)(sh("cat f"))
row("`cat` of a small file, again", ONE, warm=True)(sh("cat f"))
row("new file: create, write, close", ONE)(known(lambda: put("n", "x")))
row("overwrite with `>`", ONE)(known(sh("echo new > f")))
row("append a line with `>>`", ONE)(known(sh("echo new >> f")))


@row("editor's save: new file, fsync, rename over", ONE)
@known
def save():
    with open("f~", "w") as f:
        f.write("saved")
        f.flush()
        os.fsync(f.fileno())
    os.rename("f~", "f")


row("`mv` to a new name", ONE)(known(sh("mv f n")))
row("`mv` over a file", ONE)(known(sh("mv f g")))
row("`mkdir -p a/b/c`", ONE)(known(sh("mkdir -p a/b/c")))
row("`rm` of a file", ONE)(known(sh("rm f")))
row("`rm -r` of 100 files in 10 folders", TREE, each=110)(sh("rm -r d*"))
row("`cp -p` of a small file", ONE)(known(sh("cp -p f n")))
row("`ln`", ONE)(known(sh("ln f n")))
row("`ln -s`", ONE)(known(sh("ln -s f n")))
row("`chmod`", ONE)(known(sh("chmod 600 f")))
row("`touch` of a file", ONE)(known(sh("touch f")))


def outside(name):
    return os.path.join(os.environ["OUTSIDE"], name)


row("`tar x` of 100 files in 10 folders", each=110)(
    known(lambda: sh("tar x --no-same-owner --no-same-permissions -f " +
                     outside("tree.tar"))()))
row("`rsync -a` of 100 files, new")(
    about(known(lambda: sh("rsync -a " + outside("flat/") + " .")())))
row("`rsync -a` of 100 files, nothing new", warm=True)(
    lambda: sh("rsync -a " + outside("flat/") + " .")())
row("`find` of 100 files in 10 folders, first time", TREE)(sh("find ."))
row("`find` of 100 files in 10 folders, again", TREE, warm=True)(
    sh("find ."))
row("`du` of 100 files in 10 folders, first time", TREE)(sh("du ."))
row("`grep -r` in 100 files in 10 folders, first time", TREE)(
    about(sh("grep -r line .")))
row("`grep -r` in 100 files in 10 folders, again", TREE, warm=True)(
    sh("grep -r line ."))

# old files: git reads again what is as new as its index
# the same names of objects each time, or else some share a folder
os.environ["GIT_AUTHOR_DATE"] = "1700000000 +0000"
os.environ["GIT_COMMITTER_DATE"] = "1700000000 +0000"
REPO = ("export GIT_AUTHOR_DATE='1700000000 +0000' "
        "GIT_COMMITTER_DATE='1700000000 +0000'; " + TREE + "; find . -type f -exec touch -d yesterday {} +; git init -q .; "
        "git config user.name n; git config user.email e@x; "
        "git config gc.auto 0; git add .; git commit -qm one")
row("`git status` of 100 files, first time", REPO)(
    another(about(sh("git --no-optional-locks status"))))
row("`git status` again", REPO, warm=True)(
    sh("git --no-optional-locks status"))
row("`git status` again, with its lock on the index", REPO, warm=True)(
    another(sh("git status")))


@row("`git commit` of one file", REPO)
@about
def commit():
    sh("git commit -qm two --allow-empty; git status; echo x >> d1/f1")()
    before = snapshot()
    sh("git commit -qam three")()
    return before, snapshot()


row("`make` with nothing to do", "printf 'all: f g\\n' > Makefile; " + ONE,
    warm=True)(sh("make"))
row("`import` of a Python module, first time", "echo 'x = 1' > mod.py")(
    sh("PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -c 'import mod'"))


def sqlite_open():
    db = sqlite3.connect("db")
    db.execute("create table if not exists t(x)")
    db.commit()
    return db


@row("SQLite: one insert")
@about
def insert():
    db = sqlite_open()
    before = snapshot()
    db.execute("insert into t values(1)")
    db.commit()
    after = snapshot()
    db.close()
    return before, after


@row("`flock`, taken and given back", ONE)
@known
def lock():
    with open("f") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        fcntl.flock(f, fcntl.LOCK_UN)


@row("`exec`: a command that does nothing")
def true():
    before = snapshot()
    mount.run("t", "true")
    return before, snapshot()


# ---- counting ----

def snapshot():
    with open(mount.path(".sbxfs", "stats")) as f:
        text = f.read()
    ops = {m[1]: int(m[2]) for m in re.finditer(
        r'^sbxfs_requests_total{sandbox="t",op="(\w+)"} (\d+)$', text, re.M)}
    trips = int(re.search(r'^sbxfs_round_trips_total{sandbox="t"} (\d+)$',
                          text, re.M)[1])
    # one a second at most, and waited for: a matter of time
    return ops, trips - ops.pop("statfs", 0)


def settle():
    """What nobody waits for is on its way, too, and what follows it, such as
    the closing of a file: a command is answered behind all that.  Returns
    what that cost."""
    before = snapshot()
    mount.run("t", "true")
    after = snapshot()
    return after[0]["exec"] - before[0].get("exec", 0), after[1] - before[1]


def cost(nr, prepare, warm, fn):
    # none beside it: else whoever reads here has walked here
    where = mount.path("t", "workspace", "r%d" % nr, "r")
    mount.run("t", "mkdir -p r%d/r; cd r%d/r; %s" % (nr, nr, prepare))
    os.chdir(where)
    try:
        if getattr(fn, "known", False):
            os.listdir(".")
            for name in os.listdir("."):
                os.stat(name)
        if warm:
            fn()
        settle()
        # whether its attributes are still trusted is a matter of time;
        # after this they are, and what is in it is not known
        os.stat(".")
        before = snapshot()
        inner = fn()
        execs, trips = settle()
        after = snapshot()
        after[0]["exec"] -= execs
        after = after[0], after[1] - trips
    finally:
        os.chdir("/")
    if type(inner) is tuple:
        before, after = inner
    if verbose:
        diff = {k: v - before[0].get(k, 0) for k, v in after[0].items()}
        print({k: v for k, v in diff.items() if v}, file=sys.stderr)
    return (sum(after[0].values()) - sum(before[0].values()),
            after[1] - before[1])


def number(n, each):
    return str(n) if each == 1 else "%d (%.1f each)" % (n, n / each)


def measure(row):
    global folders
    name, prepare, warm, each, fn = row
    folders += 1
    requests, trips = cost(folders, prepare, warm, fn)
    more = "about " if getattr(fn, "about", False) else ""
    return "| %s | %s%s | %s%s |" % (name, more, number(requests, each), more,
                                     number(trips, each))


def parts(line):
    """Operation, whether the figures are "about", and these"""
    found = re.fullmatch(r"(\| .* \|) (about )?(\d+)(?: \(.*\))? \| "
                         r"(?:about )?(\d+)(?: \(.*\))? \|", line)
    return found and (found[1], bool(found[2]), int(found[3]), int(found[4]))


def is_no_more(mine, its):
    return mine[:2] == its[:2] and all(
        a <= b + (max(1, b // 4) if its[1] else 0)
        for a, b in zip(mine[2:], its[2:]))


def is_about(mine, its):
    return mine[:2] == its[:2] and its[1] and all(
        abs(a - b) <= max(1, b // 4) for a, b in zip(mine[2:], its[2:]))


def is_in(row, written):
    """Where what comes ahead of need comes in the same run of a command as
    what was asked for, less is waited for than the table says"""
    same = is_no_more if TIMETRAVEL else is_about
    return row in written or any(same(parts(row), p)
                                 for p in map(parts, written) if p)


def check(written):
    """What is trusted for a second is asked again on a machine that is slow:
    a row may be measured again"""
    wrong = 0
    same = int(mount.run("t", "id -u")) == os.getuid()
    for row in rows:
        if same and getattr(row[-1], "another", False):
            continue
        seen = []
        while len(seen) < 4 and (not seen or not is_in(seen[-1], written)):
            seen.append(measure(row))
        if not is_in(seen[-1], written):
            print("not in tests/README.md:", *set(seen), sep="\n  ")
            wrong += 1
    return wrong


def fill_outside(top):
    os.environ["OUTSIDE"] = top
    os.mkdir(os.path.join(top, "flat"))
    for i in range(100):
        put(os.path.join(top, "flat", "f%d" % i), "line %d\n" % i)
    with tarfile.open(os.path.join(top, "tree.tar"), "w") as tar:
        for d in range(10):
            sub = os.path.join(top, "d%d" % d)
            os.mkdir(sub)
            for i in range(10):
                put(os.path.join(sub, "f%d" % i), "line %d\n" % i)
            tar.add(sub, "d%d" % d)


folders = 0
verbose = "--verbose" in sys.argv
mount = Mount()
top = tempfile.mkdtemp(prefix="sbxfs-test.")
wrong = 0
try:
    fill_outside(top)
    mount.create("t")
    os.listdir(mount.path("t", "workspace"))
    if "--print" in sys.argv:
        print("| operation | requests | round trips |\n|---|---|---|")
        for r in rows:
            print(measure(r), flush=True)
    else:
        with open(README) as f:
            wrong = check(f.read().splitlines())
finally:
    mount.close()
    shutil.rmtree(top)
sys.exit(1 if wrong else 0)
