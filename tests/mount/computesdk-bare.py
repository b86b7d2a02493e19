#!/usr/bin/python3
"""A daemon that makes no terminals, and is too old to stream commands, or is of
generation 1, runs none for us: its files can be read all the same, and whoever
asks for more is told why it cannot be."""
import errno
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "../lib"))
os.environ["SBXFS_SERVICE"] = "computesdk"
import sbxmount


class Bare:
    @classmethod
    def setUpClass(cls):
        os.environ["STANDIN_TRAITS"] = cls.traits
        cls.mount = sbxmount.Mount()
        cls.addClassCleanup(cls.mount.close)
        cls.mount.create("demo")
        cls.workspace = cls.mount.path("demo", "workspace")
        inside = cls.mount.sandbox_dir("demo")
        os.mkdir(inside + "/sub")
        for name, data in (("note", b"text\n"), ("sub/note", b"below\n"),
                           ("data", b"\xff\0")):
            with open(os.path.join(inside, name), "wb") as f:
                f.write(data)

    def get(self, name):
        with open(os.path.join(self.workspace, name)) as f:
            return f.read()

    def fails(self, err, fn, *args):
        with self.assertRaises(OSError) as e:
            fn(*args)
        self.assertEqual(errno.errorcode[e.exception.errno],
                         errno.errorcode[err])

    def test_files_are_read(self):
        self.assertEqual(sorted(os.listdir(self.workspace)),
                         ["data", "note", "sub"])
        self.assertEqual(os.listdir(self.workspace + "/sub"), ["note"])
        self.assertEqual(self.get("note"), "text\n")
        self.assertEqual(os.stat(self.workspace + "/sub/note").st_size, 6)
        self.fails(errno.EILSEQ, self.get, "data")

    def test_nothing_is_changed(self):
        self.fails(errno.EROFS, open, self.workspace + "/new", "w")
        self.fails(errno.EROFS, open, self.workspace + "/note", "a")
        self.fails(errno.EROFS, os.unlink, self.workspace + "/note")

    def test_the_status_says_why(self):
        os.listdir(self.workspace)
        with open(self.mount.path("demo", "status")) as f:
            helper = [l for l in f if l.startswith("helper:")][0]
        self.assertIn("files can only be read", helper)
        self.assertIn(self.why, helper)

    def test_a_command_fails(self):
        fd = os.open(self.mount.path("demo", "exec"), os.O_RDWR)
        try:
            with self.assertRaises(OSError) as e:
                os.write(fd, b"true\n")
                os.read(fd, 100)
            self.assertEqual(e.exception.errno, errno.EOPNOTSUPP)
        finally:
            os.close(fd)


class NoTerminals(Bare, unittest.TestCase):
    traits = "no-pty without=/run/command"
    why = "terminal"

    def test_files_in_folders_are_read(self):
        self.assertEqual(self.get("sub/note"), "below\n")


class GenerationOne(Bare, unittest.TestCase):
    traits = "g1 without=/terminals"
    why = "generation"

    def test_files_in_folders_are_not(self):
        """its calls for files take the name of one in the workspace itself"""
        self.fails(errno.EOPNOTSUPP, self.get, "sub/note")


if __name__ == "__main__":
    unittest.main()
