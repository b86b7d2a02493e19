#!/usr/bin/python3
"""Mounting by the name of a profile, by mount(8) and by a line of fstab(5),
and what is wrong with a profile said before going to the background."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import shutil, subprocess, unittest
from sbxmount import BUILD, KEYS, Mount, wait_for


class Profiles(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.m = Mount(mount=False)
        cls.home = os.path.join(cls.m.dir, "home")
        cls.config = cls.home + "/.config/sbxfs/config"
        os.makedirs(os.path.dirname(cls.config))
        cls.env = {k: v for k, v in os.environ.items()
                   if k not in KEYS.values() and
                   not k.startswith(("SBXFS_API", "XDG_"))}
        cls.env.update(HOME=cls.home, PATH=BUILD + ":" + os.environ["PATH"])

    @classmethod
    def tearDownClass(cls):
        cls.m.close()

    def profile(self, text, mode=0o600):
        with open(self.config, "w") as f:
            f.write(text.format(url=self.m.source()))
        os.chmod(self.config, mode)

    def run_(self, *args, **more):
        return subprocess.run(args, env=dict(self.env, **more), timeout=100,
                              stdin=subprocess.DEVNULL, cwd=self.m.dir,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)

    def mounted(self, *args, **more):
        """Mounts in the background, looks, unmounts"""
        done = self.run_(*args, **more)
        try:
            self.assertEqual((done.returncode, done.stdout), (0, ""))
            with open(self.m.mnt + "/.sbxfs/config") as f:
                return f.read()
        finally:
            if self.m.is_mounted():
                subprocess.run(["umount", self.m.mnt] if os.geteuid() == 0
                               else ["fusermount3", "-u", self.m.mnt],
                               check=True)
            wait_for(lambda: not self.m.is_mounted(), 60)

    def refused(self, sentence, *args, status=1, **more):
        done = self.run_(*args, **more)
        self.assertEqual(done.returncode, status)
        self.assertIn(sentence, done.stdout)
        self.assertNotIn("test-key", done.stdout)
        self.assertEqual(done.stdout.count("\n"), 1)
        self.assertFalse(self.m.is_mounted())

    def test_by_name_with_a_key_a_keyfile_and_the_environment(self):
        self.profile("[work]\nsource = {url}\nkey = test-key\n"
                     "timeout = 17\n[other]\nsource = {url}\n")
        config = self.mounted("sbxfs", "work", self.m.mnt)
        self.assertIn("\ncredentials: key\n", config)
        self.assertIn("\ntimeout_s: 17\n", config)
        self.assertNotIn("test-key", config)
        self.mounted("sbxfs", "other", self.m.mnt, **self.m.key())
        key = self.home + "/key"
        with open(key, "w") as f:
            f.write("test-key\n")
        self.profile("[work]\nsource = {url}\nkeyfile = %s\n" % key, 0o644)
        os.chmod(key, 0o644)
        self.refused("can be read by others", "sbxfs", "work", self.m.mnt)
        os.chmod(key, 0o600)
        self.mounted("sbxfs", "work", self.m.mnt)

    def test_mistakes_are_said_in_one_sentence(self):
        go = ("sbxfs", "work", self.m.mnt)
        self.profile("[work]\nsource = {url}\nkey = test-key\n", 0o644)
        self.refused("chmod 600", *go)
        self.profile("[work]\nsource = {url}\nkey = wrong\n")
        self.refused("key", *go)
        self.profile("[work]\nkey = test-key\n")
        self.refused("has no source", *go)
        self.profile("[work]\nsource = {url}\nkeyy = test-key\n")
        self.refused("there is no such word", *go)
        self.profile("[other]\nsource = {url}\n")
        self.refused("no profile in", *go)
        self.profile("[work]\nsource = %s+http://127.0.0.1:1\n"
                     "key = test-key\n" % self.m.service)
        self.refused("127.0.0.1:1", *go)
        self.profile("[work]\nsource = {url}/nobody\nkey = test-key\n")
        self.refused("there is no sandbox", *go)

    @unittest.skipUnless(os.geteuid() == 0 and shutil.which("mount.fuse3"),
                         "needs root and mount.fuse3")
    def test_mount_and_fstab(self):
        # mount(8) hands on no environment and no home; "fuse.sbxfs" would
        # look for an installed program, and is the same otherwise
        source = "%s/sbxfs#%s" % (BUILD, self.m.source())
        key, fstab = self.home + "/fstab.key", self.m.dir + "/fstab"
        with open(os.open(key, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
            f.write("test-key\n")
        config = self.mounted("mount", "-snv", "-t", "fuse", source, self.m.mnt,
                              "-o", "timeout=9,keyfile=" + key)
        self.assertIn("\ntimeout_s: 9\n", config)
        line = "%s %s fuse noauto,_netdev,x-systemd.automount,user," \
               "timeout=8,protect,keyfile=%s 0 0\n"
        with open(fstab, "w") as f:
            f.write(line % (source, self.m.mnt, key))
        config = self.mounted("mount", "-T", fstab, self.m.mnt)
        self.assertIn("\ntimeout_s: 8\n", config)
        self.assertIn("\nprotect: yes\n", config)
        with open(fstab, "w") as f:
            f.write(line % (BUILD + "/sbxfs#nobody", self.m.mnt, key))
        done = self.run_("mount", "-T", fstab, self.m.mnt)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("no profile", done.stdout)


if __name__ == "__main__":
    unittest.main()
