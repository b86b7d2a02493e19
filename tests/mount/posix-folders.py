#!/usr/bin/python3
"""A large folder, read while files come and go: what stays is seen once each,
and a position (telldir, seekdir) keeps its meaning.  With MANY=100000, one as
large as is promised."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import ctypes, threading, unittest
from sbxmount import Mount

MANY = int(os.environ.get("MANY", "20000"))
NAME = 19  # where d_name is in a struct dirent
libc = ctypes.CDLL(None, use_errno=True)
libc.opendir.restype = libc.readdir.restype = ctypes.c_void_p
libc.telldir.restype = ctypes.c_long
for fn in (libc.readdir, libc.telldir, libc.rewinddir, libc.closedir):
    fn.argtypes = (ctypes.c_void_p,)
libc.seekdir.argtypes = (ctypes.c_void_p, ctypes.c_long)


class Folder:
    """as readdir(3) has it"""

    def __init__(self, path):
        self.d = libc.opendir(os.fsencode(path))
        if not self.d:
            raise OSError(ctypes.get_errno(), path)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        libc.closedir(self.d)

    def names(self, n=None):
        """the next n, or all that are left"""
        out = []
        while n is None or len(out) < n:
            ctypes.set_errno(0)
            e = libc.readdir(self.d)
            if not e:
                if ctypes.get_errno():
                    raise OSError(ctypes.get_errno(), "readdir")
                break
            out.append(ctypes.string_at(e + NAME))
        return out

    def tell(self):
        return libc.telldir(self.d)

    def seek(self, position):
        libc.seekdir(self.d, position)

    def rewind(self):
        libc.rewinddir(self.d)


class Folders(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.m = Mount()
        cls.addClassCleanup(cls.m.close)
        box = cls.m.create("t")
        cls.top = os.path.join(box, "workspace")
        cls.m.run("t", "mkdir big && cd big && "
                  "seq -f stay%%g %d | xargs touch" % MANY)
        cls.big = os.path.join(cls.top, "big")
        cls.stay = {b"stay%d" % n for n in range(1, MANY + 1)}

    def stays(self, names):
        """each of those that stay, once"""
        kept = [n for n in names if n.startswith(b"stay")]
        self.assertEqual(len(kept), len(set(kept)))
        self.assertEqual(set(kept), self.stay)

    def churn(self, stop, failed):
        """files that come and go, here and in the sandbox"""
        k = 0
        try:
            while not stop.is_set():
                for n in range(20):
                    open(os.path.join(self.big, "go%d" % (k + n)), "w").close()
                self.m.run("t", "cd big && rm -f go* && touch come%d" % k)
                k += 20
        except OSError as e:
            failed.append(e)

    def test_read_while_files_come_and_go(self):
        stop, failed = threading.Event(), []
        t = threading.Thread(target=self.churn, args=(stop, failed))
        t.start()
        try:
            for _ in range(3):
                with Folder(self.big) as f:
                    self.stays(f.names())
            self.stays(map(os.fsencode, os.listdir(self.big)))
        finally:
            stop.set()
            t.join()
        self.assertEqual(failed, [])
        self.m.run("t", "rm -f big/come* big/go*")
        self.assertEqual(set(map(os.fsencode, os.listdir(self.big))),
                         self.stay)

    def test_a_position_keeps_its_meaning(self):
        with Folder(self.big) as f:
            first = f.names(MANY // 20)
            at = f.tell()
            rest = f.names()
            end = f.tell()
            self.assertEqual(len(first) + len(rest), MANY + 2)
            f.seek(at)
            self.assertEqual(f.names(3000), rest[:3000])
            self.assertEqual(f.names(), rest[3000:])
            f.seek(end)
            self.assertEqual(f.names(), [])
            f.rewind()
            self.assertEqual(f.names(MANY // 20), first)

    def test_a_position_outlives_what_was_there(self):
        path = os.path.join(self.top, "small")
        os.mkdir(path)
        for n in range(2000):
            open(os.path.join(path, "f%d" % n), "w").close()
        with Folder(path) as f:
            first = f.names(700)
            at = f.tell()
            rest = f.names()
            # what was before it, right behind it, and what is new
            for name in first[100:500] + rest[:50]:
                if name not in (b".", b".."):
                    os.unlink(os.path.join(os.fsencode(path), name))
            self.m.run("t", "cd small && touch new1 && rm %s"
                       % rest[50].decode())
            open(os.path.join(path, "new2"), "w").close()
            f.seek(at)
            again = f.names()
            self.assertEqual([n for n in again if not n.startswith(b"new")],
                             [n for n in rest if n not in rest[:51]])
            self.assertEqual(len(again), len(set(again)))
            f.rewind()
            self.assertEqual(
                set(f.names()) - {b".", b".."},
                {b"new1", b"new2"} | (set(first + rest) - set(first[100:500])
                                      - set(rest[:51]) - {b".", b".."}))

    def test_removed_while_it_is_read(self):
        """as rm -r does it, with names of the greatest length"""
        path = os.path.join(self.top, "gone")
        os.mkdir(path)
        n = 3000
        self.m.run("t", "cd gone && python3 -c 'import os\nfor k in range(%d):"
                   " os.close(os.open((b\"%%05d\" %% k) + b\"\\xff\" * 250, "
                   "os.O_CREAT))'" % n)
        with Folder(path) as f:
            while True:
                names = f.names(100)
                if not names:
                    break
                for name in names:
                    if name not in (b".", b".."):
                        self.assertEqual(len(name), 255)
                        os.unlink(os.path.join(os.fsencode(path), name))
                        n -= 1
        self.assertEqual(n, 0)
        os.rmdir(path)


if __name__ == "__main__":
    unittest.main()
