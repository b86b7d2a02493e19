#!/usr/bin/python3
"""A daemon that makes no terminals, and is too old to stream commands, runs none
for us: its files can be read all the same, and whoever asks for more is told
why it cannot be."""
import errno
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "../lib"))
os.environ["SBXFS_SERVICE"] = "computesdk"
os.environ["STANDIN_TRAITS"] = "no-pty without=/run/command"
import sbxmount


def setUpModule():
    global mount, workspace
    mount = sbxmount.Mount()
    mount.create("demo")
    workspace = mount.path("demo", "workspace")
    inside = mount.sandbox_dir("demo")
    with open(inside + "/note", "w") as f:
        f.write("text\n")
    os.mkdir(inside + "/sub")


def tearDownModule():
    mount.close()


class NoTerminals(unittest.TestCase):
    def test_files_are_read(self):
        self.assertEqual(sorted(os.listdir(workspace)), ["note", "sub"])
        with open(workspace + "/note") as f:
            self.assertEqual(f.read(), "text\n")

    def test_nothing_is_changed(self):
        with self.assertRaises(OSError) as e:
            open(workspace + "/new", "w")
        self.assertEqual(e.exception.errno, errno.EROFS)

    def test_the_status_says_why(self):
        os.listdir(workspace)
        with open(mount.path("demo", "status")) as f:
            helper = [l for l in f if l.startswith("helper:")][0]
        self.assertIn("files can only be read", helper)
        self.assertIn("terminal", helper)

    def test_a_command_fails(self):
        fd = os.open(mount.path("demo", "exec"), os.O_RDWR)
        try:
            with self.assertRaises(OSError) as e:
                os.write(fd, b"true\n")
                os.read(fd, 100)
            self.assertEqual(e.exception.errno, errno.EOPNOTSUPP)
        finally:
            os.close(fd)


if __name__ == "__main__":
    unittest.main()
