"""Attributes, links, extended attributes, file systems."""

import errno
import os
import stat
import struct
import time
import unittest

from helperlib import *

SET_MODE, SET_UID, SET_GID, SET_SIZE, SET_ATIME, SET_MTIME = 1, 2, 4, 8, 16, 32
SET_ATIME_NOW, SET_MTIME_NOW = 64, 128


class Attrs(HelperTest):
    def same(self, attr, st):
        for name in "mode nlink uid gid size blocks ino dev".split():
            self.assertEqual(getattr(attr, name), getattr(st, "st_" + name))
        self.assertEqual(attr.mtime_s * 10**9 + attr.mtime_ns, st.st_mtime_ns)
        self.assertEqual(attr.ctime_s * 10**9 + attr.ctime_ns, st.st_ctime_ns)

    def set(self, name, valid, mode=0, uid=0, gid=0, size=0, atime=(0, 0),
            mtime=(0, 0), ino=0):
        return Attr(self.h.call(SETATTR, WORKSPACE, name, ino, valid, mode,
                                uid, gid, size, *atime, *mtime)[0])

    def test_lookup_tells_what_lstat_does(self):
        self.make("f", b"hello")
        os.symlink("f", self.path("l"))
        os.mkfifo(self.path("p"))
        for name in ("f", "l", "p"):
            a = Attr(self.h.call(LOOKUP, WORKSPACE, name, 0)[0])
            self.same(a, os.lstat(self.path(name)))
        self.same(self.h.attr(WORKSPACE, b"", 0), os.stat(self.work))
        self.same(self.h.attr(ROOT, b"", 0), os.stat("/"))
        self.fails(errno.ENOENT, self.h.call, LOOKUP, WORKSPACE, "x", 0)

    def test_another_inode_is_stale(self):
        ino = self.make("f").st_ino
        self.h.call(LOOKUP, WORKSPACE, "f", ino)
        for op in (LOOKUP, GETATTR, READLINK, STATFS):
            self.fails(errno.ESTALE, self.h.call, op, WORKSPACE, "f", ino + 1)
        self.fails(errno.ESTALE, self.set, "f", SET_MODE, mode=0, ino=ino + 1)
        self.fails(errno.ESTALE, self.h.call, OPEN, 7, WORKSPACE, "f",
                   ino + 1, os.O_WRONLY | os.O_TRUNC)
        self.fails(errno.ESTALE, self.h.call, UNLINK, WORKSPACE, "f", ino + 1)
        self.assertTrue(os.path.exists(self.path("f")))

    def test_illegal_names_are_refused(self):
        for name in (b"..", b".", b"a/b", b"a\0b", b"x" * 256):
            self.fails(errno.EINVAL, self.h.call, LOOKUP, WORKSPACE, name, 0)
            self.fails(errno.EINVAL, self.h.call, MKDIR, WORKSPACE, name,
                       0o755)
        self.h.call(MKDIR, WORKSPACE, b"x" * 255, 0o755)
        self.h.call(MKDIR, WORKSPACE, b"\xff\n\x01", 0o755)
        self.assertIn(b"\xff\n\x01", self.h.list(WORKSPACE))

    def test_unknown_numbers_are_stale(self):
        self.fails(errno.ESTALE, self.h.call, LOOKUP, 77, "f", 0)
        self.fails(errno.ESTALE, self.h.call, GETATTR, 0, b"", 77)
        self.fails(errno.ESTALE, self.h.call, READ, 77, 0, 10)
        self.fails(errno.EOPNOTSUPP, self.h.call, 200)
        self.fails(errno.EINVAL, self.h.call, LOOKUP, "wrong", "type", "s")

    def test_setattr_mode_owner_times(self):
        self.make("f")
        a = self.set("f", SET_MODE, mode=0o4751)
        self.assertEqual(stat.S_IMODE(a.mode), 0o4751)
        a = self.set("f", SET_UID | SET_GID, uid=1234, gid=4321)
        self.assertEqual((a.uid, a.gid), (1234, 4321))
        a = self.set("f", SET_ATIME | SET_MTIME, atime=(5, 6),
                     mtime=(-7, 999999999))
        self.same(a, os.stat(self.path("f")))
        self.assertEqual((a.mtime_s, a.mtime_ns), (-7, 999999999))
        a = self.set("f", SET_MTIME_NOW)
        self.assertLess(abs(a.mtime_s - time.time()), 10)
        self.assertEqual((a.atime_s, a.atime_ns), (5, 6))

    def test_setattr_follows_no_link(self):
        self.make("f")
        before = os.stat(self.path("f"))
        os.symlink("f", self.path("l"))
        self.set("l", SET_MTIME, mtime=(9, 9))
        self.set("l", SET_UID, uid=55)
        self.assertEqual(os.lstat(self.path("l")).st_uid, 55)
        self.fails(errno.EOPNOTSUPP, self.set, "l", SET_MODE, mode=0o600)
        self.fails(errno.EINVAL, self.set, "l", SET_SIZE, size=0)
        self.assertEqual(os.stat(self.path("f")), before)

    def test_setattr_size(self):
        self.make("f", b"0123456789")
        self.assertEqual(self.set("f", SET_SIZE, size=4).size, 4)
        self.assertEqual(self.set("f", SET_SIZE, size=1 << 33).size, 1 << 33)
        os.mkdir(self.path("d"))
        self.fails(errno.EISDIR, self.set, "d", SET_SIZE, size=0)

    def test_setattr_by_handle_after_unlink(self):
        self.make("f", b"abc")
        self.h.open(5, WORKSPACE, "f", 0, flags=os.O_RDONLY)
        os.unlink(self.path("f"))
        a = Attr(self.h.call(SETATTR, 0, b"", 5, SET_MODE | SET_SIZE, 0o600,
                             0, 0, 1)[0])
        self.assertEqual((stat.S_IMODE(a.mode), a.size, a.nlink),
                         (0o600, 1, 0))
        self.assertEqual(self.h.attr(0, b"", 5).size, 1)

    def test_readlink(self):
        os.symlink(b"/some\xffwhere", self.path("l"))
        self.make("f")
        self.assertEqual(self.h.call(READLINK, WORKSPACE, "l", 0),
                         [b"/some\xffwhere"])
        self.fails(errno.EINVAL, self.h.call, READLINK, WORKSPACE, "f", 0)

    def test_access_and_statfs(self):
        self.make("f")
        self.h.call(ACCESS, WORKSPACE, "f", 0, os.R_OK | os.W_OK)
        self.fails(errno.EACCES, self.h.call, ACCESS, WORKSPACE, "f", 0,
                   os.X_OK)
        fs = os.statvfs(self.work)
        got = self.h.call(STATFS, WORKSPACE, b"", 0)
        self.assertEqual((got[0], got[2], got[7]),
                         (fs.f_bsize, fs.f_blocks, fs.f_namemax))

    def test_xattrs(self):
        self.make("f")
        self.assertEqual(self.h.attr(WORKSPACE, "f", 0).flags, 0)
        try:
            os.setxattr(self.path("f"), "user.probe", b"")
            os.removexattr(self.path("f"), "user.probe")
        except OSError:
            self.skipTest("no extended attributes on this file system")
        self.h.call(SETXATTR, WORKSPACE, "f", 0, "user.a", b"\0one", 0)
        self.assertEqual(self.h.attr(WORKSPACE, "f", 0).flags, 1)
        self.assertEqual(self.h.call(GETXATTR, WORKSPACE, "f", 0, "user.a"),
                         [b"\0one"])
        self.h.call(SETXATTR, WORKSPACE, "f", 0, "user.b", b"", 1)
        self.fails(errno.EEXIST, self.h.call, SETXATTR, WORKSPACE, "f", 0,
                   "user.b", b"", 1)
        names = self.h.call(LISTXATTR, WORKSPACE, "f", 0)[0]
        self.assertEqual(set(names.split(b"\0")), {b"user.a", b"user.b", b""})
        self.h.call(REMOVEXATTR, WORKSPACE, "f", 0, "user.a")
        self.fails(errno.ENODATA, self.h.call, GETXATTR, WORKSPACE, "f", 0,
                   "user.a")
        os.symlink("f", self.path("l"))
        self.fails(errno.EPERM, self.h.call, SETXATTR, WORKSPACE, "l", 0,
                   "user.a", b"", 0)
        self.assertEqual(self.h.list(WORKSPACE)[b"f"].flags, 1)

    def test_proc_is_volatile_and_reads_to_its_end(self):
        self.h.dir(20, ROOT, "proc", 0)
        attr, watched = self.h.dir(20, ROOT, "proc", 0)
        self.assertFalse(watched)
        self.assertTrue(attr.flags & 2)
        self.h.open(3, 20, "cpuinfo", 0)
        data, eof = self.h.read(3, 0, 1 << 20)
        self.assertTrue(eof)
        self.assertIn(b"processor", data)

    @unittest.skipIf(os.getuid(), "needs root")
    def test_creds_act_as_another_user(self):
        os.chmod(self.top, 0o755)
        os.chmod(self.work, 0o777)
        self.make("secret", b"x")
        os.chmod(self.path("secret"), 0o600)
        os.mkdir(self.path("closed"), 0o755)
        self.h.call(CREDS, 1234, 1235, [1236])
        self.fails(errno.EACCES, self.h.open, 5, WORKSPACE, "secret", 0)
        a, _ = self.h.create(6, WORKSPACE, "mine")
        self.assertEqual((a.uid, a.gid), (1234, 1235))
        a = Attr(self.h.call(MKDIR, WORKSPACE, "d", 0o777, 0o27)[0])
        self.assertEqual((a.uid, a.gid, a.mode & 0o7777), (1234, 1235, 0o750))
        a = Attr(self.h.call(SYMLINK, WORKSPACE, "l", "x")[0])
        self.assertEqual(a.uid, 1234)
        self.h.dir(20, WORKSPACE, "closed", 0)
        self.fails(errno.EACCES, self.h.call, MKDIR, 20, "d", 0o755)
        self.fails(errno.EACCES, self.h.call, RENAME, WORKSPACE, "mine", 20,
                   "mine", 0)
        self.fails(errno.EACCES, self.h.call, LINK, WORKSPACE, "mine", 0, 20,
                   "mine")
        self.h.call(MKNOD, WORKSPACE, "p", stat.S_IFIFO | 0o600, 0)
        self.fails(errno.EPERM, self.h.call, MKNOD, WORKSPACE, "c",
                   stat.S_IFCHR | 0o600, os.makedev(1, 3))
        # everything else is the helper's own
        self.set("secret", SET_MODE, mode=0o640)
        self.assertEqual(stat.S_IMODE(self.h.attr(WORKSPACE, "secret",
                                                  0).mode), 0o640)
        self.h.sh(1, "id -u")
        self.assertEqual(self.h.output(1).split(), [b"0"])
        self.h.call(CREDS)
        self.h.open(5, WORKSPACE, "secret", 0)

    @unittest.skipIf(os.getuid(), "needs root")
    def test_creds_hold_for_what_has_lost_its_name(self):
        os.chmod(self.top, 0o755)
        self.h.dir(WORKSPACE, WORKSPACE, b"", 0)
        self.make("mine")
        os.chmod(self.path("mine"), 0o600)
        self.make("f")
        # from then on they are kept
        self.fails(errno.ESTALE, self.h.open, 5, WORKSPACE, "f", 1)
        os.rename(self.path("mine"), self.path("f"))
        ino = self.h.changes()[WORKSPACE, b"f"][1].ino
        self.make("other")
        os.rename(self.path("other"), self.path("f"))
        self.h.call(CREDS, 1234, 1234, [])
        self.fails(errno.EACCES, self.h.open, 5, WORKSPACE, "f", ino)
        self.h.call(CREDS)
        self.h.open(5, WORKSPACE, "f", ino)

    @unittest.skipIf(os.getuid(), "needs root")
    def test_creds_that_fail_let_nobody_act(self):
        self.fails(errno.EINVAL, self.h.call, CREDS, 1, 1, list(range(1025)))
        self.fails(errno.EPERM, self.h.call, MKDIR, WORKSPACE, "d", 0o755)
        self.h.attr(WORKSPACE, b"", 0)
        self.h.call(CREDS)
        self.h.call(MKDIR, WORKSPACE, "d", 0o755)

    @unittest.skipIf(os.getuid(), "needs root")
    def test_creds_reach_where_the_way_is_closed(self):
        os.makedirs(self.path("a/b"))
        os.chmod(self.path("a/b"), 0o777)
        self.h.dir(20, WORKSPACE, "a", 0)
        self.h.dir(21, 20, "b", 0)
        os.chmod(self.path("a"), 0o700)
        self.h.call(CREDS, 1234, 1234, [])
        self.h.call(MKDIR, 21, "d", 0o755)
        self.assertEqual(os.stat(self.path("a/b/d")).st_uid, 1234)

    def test_closed_directory_has_attributes(self):
        h = self.h
        if not os.getuid():
            os.chmod(self.top, 0o755)
            os.chmod(self.work, 0o777)
            run = os.path.join(self.top, "run-1234")
            os.mkdir(run, 0o700)
            os.chown(run, 1234, 1234)
            h = Helper(self.work, run, uid=1234).attach()
            self.addCleanup(h.quit)
        self.assertEqual(h.call(MKDIR, WORKSPACE, "d", 0, 0, 30)[1:],
                         [False, False])
        self.fails(errno.ESTALE, h.list, 30)
        attr, watched = h.dir(20, WORKSPACE, "d", 0)
        self.assertFalse(watched)
        self.assertEqual(stat.S_IMODE(attr.mode), 0)
        self.fails(errno.EACCES, h.list, 20)
        self.fails(errno.EACCES, h.call, LOOKUP, 20, "x", 0)
        self.assertEqual(h.attr(20, b"", 0).uid, os.getuid() or 1234)
        h.call(SETATTR, 20, b"", 0, SET_MODE, 0o700)
        self.assertEqual(h.list(20), {})
        self.assertTrue(h.dir(20, WORKSPACE, "d", 0)[1])

    def test_umask_gives_way_to_a_default_acl(self):
        os.mkdir(self.path("d"))
        # user::rwx group::rwx mask::rwx other::r-x
        acl = struct.pack("<I", 2) + b"".join(
            struct.pack("<HHI", tag, perm, 0xffffffff)
            for tag, perm in ((1, 7), (4, 7), (0x10, 7), (0x20, 5)))
        try:
            os.setxattr(self.path("d"), "system.posix_acl_default", acl)
        except OSError:
            self.skipTest("no ACLs on this file system")
        self.h.dir(20, WORKSPACE, "d", 0)
        for number, mode in ((20, 0o775), (WORKSPACE, 0o700)):
            a = Attr(self.h.call(MKDIR, number, "new", 0o777, 0o77)[0])
            self.assertEqual(oct(a.mode & 0o777), oct(mode))


if __name__ == "__main__":
    unittest.main()
