#!/usr/bin/python3
"""Plain mode harms nothing: no link is followed, no message is too large, all
belongs to one user, lost and lying shells lose nothing silently; and it is
there by itself where no helper can run."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import errno, hashlib, random, re, shutil, signal, threading, time, unittest
from sbxmount import SERVICE, FolderTest, Mount, wait_for

# as often as something can be done in between: a terminal takes its time
CUT_S = 0.5 if SERVICE == "computesdk" else 0.15
# what the answer may be when the sandbox, or the way there, is broken
BROKEN = (errno.ETIMEDOUT, errno.EPROTO, errno.EIO, errno.ESTALE)


class Safety(FolderTest):
    options = ["helper=off"]
    agent_args = ["--trait", "pod-owners=on"] if os.getuid() == 0 else []

    def test_links_are_removed_and_not_what_they_lead_to(self):
        self.inside("mkdir precious d; echo 1 > precious/a; "
                    "ln -s ../precious d/l; ln -s $PWD/precious/a d/f; "
                    "ln -s /nowhere d/dangling")
        shutil.rmtree(self.path("d"))
        self.inside("ln -s precious l; ln -s precious/a f")
        os.unlink(self.path("l"))
        os.unlink(self.path("f"))
        self.assertEqual(self.inside("ls; cat precious/a"), b"precious\n1\n")

    def test_a_folder_that_became_a_link_is_not_entered(self):
        self.inside("mkdir precious d; echo 1 > precious/f; echo 2 > d/f")
        # the kernel trusts these names for a second; a loop there changes
        # what they mean without anybody being told
        fd = os.open(self.path("d"), os.O_RDONLY | os.O_DIRECTORY)
        self.inside("(while :; do mv d e && ln -s precious d; rm d; mv e d; "
                    "done) >/dev/null 2>&1 & echo $! > pid")
        try:
            for _ in range(30):
                for change in (
                        lambda: os.unlink("f", dir_fd=fd),
                        lambda: os.rename("f", "g", src_dir_fd=fd,
                                          dst_dir_fd=fd),
                        lambda: os.chmod("f", 0o600, dir_fd=fd)):
                    try:
                        change()
                    except OSError:
                        pass
        finally:
            self.inside("kill $(cat pid)")
            os.close(fd)
        self.assertEqual(self.inside("stat -c %a precious/f; cat precious/f"),
                         b"644\n1\n")

    def only_commands(self, journal):
        self.assertIn("\ntoo-long 0\n", journal)
        # commands, their input and signals; none of the service's own calls
        # for files, which know another owner and follow links
        self.assertLessEqual(set(re.findall(r"^type (\S+)", journal, re.M)),
                             {"0x20", "0x21", "0x25"})

    def test_nothing_is_too_large(self):
        self.m.control("journal")
        self.inside("head -c 50000000 /dev/urandom > big; mkdir many; "
                    "cd many; seq 3000 | xargs touch")
        h = hashlib.md5()
        with open(self.path("big"), "rb") as f:
            while True:
                data = f.read(1 << 20)
                if not data:
                    break
                h.update(data)
        self.assertEqual(h.hexdigest().encode(),
                         self.inside("md5sum < big").split()[0])
        self.assertEqual(len(os.listdir(self.path("many"))), 3000)
        if SERVICE == "xgen":  # whose agent notes them
            self.only_commands(self.m.control("journal"))
        self.inside("rm -r big many")

    def test_one_owner(self):
        self.put("f")
        os.mkdir(self.path("d"))
        os.symlink("x", self.path("l"))
        os.mkfifo(self.path("p"))
        with open(self.path("f"), "ab") as f:
            f.write(b"y")
        os.rename(self.path("f"), self.path("d/f"))
        self.assertEqual(self.inside("find . -not -uid $(id -u) | wc -l; "
                                     "echo more >> d/f; rm -r d l p; ls"),
                         b"0\n")

    def test_cut_while_changing(self):
        """what did not fail is there, what failed may be"""
        stop = threading.Event()
        # a shell that is cut before it has started, again and again, says
        # nothing of changes
        left = 0

        def cut():
            nonlocal left
            while not stop.wait(CUT_S):
                if left:
                    left -= 1
                    self.m.control("fault cut")
        t = threading.Thread(target=cut)
        t.start()
        done, unsure = {}, set()
        try:
            for i in range(25):
                left = 4
                data = random.randbytes(random.choice((0, 10, 70000)))
                try:
                    self.put("f%d" % i, data)
                    done["f%d" % i] = hashlib.md5(data).hexdigest()
                    os.rename(self.path("f%d" % i), self.path("g%d" % i))
                    done["g%d" % i] = done.pop("f%d" % i)
                except OSError as e:
                    self.assertIn(e.errno, BROKEN + (errno.ENOENT,
                                                     errno.EEXIST))
                    unsure |= {"f%d" % i, "g%d" % i}
        finally:
            stop.set()
            t.join()
        sums = dict(reversed(line.split()) for line in self.inside(
            "md5sum *").decode().splitlines())
        for name in set(sums) | set(done):
            if name not in unsure:
                self.assertEqual(sums.get(name), done.get(name), name)

    def test_shells_that_are_killed_or_lie(self):
        """by a program of the sandbox's user, who may do that"""
        self.put("f", b"content" * 10000)
        # by a process of its own: where nobody reads any more it would be
        # killed, or wait for ever
        self.inside("""(i=0; while [ $i -lt 30 ]; do
            for p in $(pgrep -f "[s]bxfs-plain"); do
              timeout 2 sh -c 'exec >$0; head -c 300 /dev/urandom
                printf "\\n@x.1 0 \\n"' /proc/$p/fd/1
              [ $((i % 10)) -ne 5 ] || kill -9 $p
            done; sleep 0.05; i=$((i + 1)); done; touch over
            ) >/dev/null 2>&1 &""")
        end = time.monotonic() + 90
        right = 0
        while time.monotonic() < end:
            try:
                with open(self.path("f"), "rb") as f:
                    right += f.read() == b"content" * 10000
                os.listdir(self.dir)
                self.put("g", b"1")
                if os.path.exists(self.path("over")):
                    break
            except OSError as e:
                self.assertIn(e.errno, BROKEN + (errno.EPERM, errno.EACCES,
                                                 errno.ENOENT))
        self.assertTrue(os.path.exists(self.path("over")))

        def well():
            try:
                self.put("g", b"2")
                return self.inside("cat g") == b"2"
            except OSError:
                return False
        wait_for(well)


    def test_signals_arrive_once_and_in_order(self):
        """though what they make the command print puts all in doubt"""
        fd = os.open(os.path.join(self.box, "exec"), os.O_RDWR)
        out = b""

        def until(text):
            nonlocal out
            while text not in out:
                data = os.read(fd, 65536)
                self.assertTrue(data, out)
                out += data
        try:
            os.write(fd, b"n=0; trap 'n=$((n + 1)); seq 100; echo got $n.' "
                         b"USR1; echo up; while :; do sleep 0.01; done\n")
            until(b"up\n")
            jobs = os.path.join(self.box, "jobs")
            number = max((n for n in os.listdir(jobs) if n.isdigit()), key=int)

            def send(word):
                with open(os.path.join(jobs, number, "signal"), "w") as f:
                    f.write(word)
            for i in range(1, 16):
                send("USR1")
                until(b"got %d.\n" % i)
                # stopped for good if the second overtakes the first
                send("STOP")
                send("CONT")
            send("USR1")
            until(b"got 16.\n")
            self.assertEqual(out.count(b"got"), 16)
            send("KILL")
        finally:
            os.close(fd)


class ByItself(unittest.TestCase):
    @unittest.skipIf(SERVICE == "computesdk",
                     "there the helper carries commands in plain mode, too")
    def test_where_no_helper_can_run(self):
        m = Mount(options=["helper=off"])
        try:
            m.create("t")
            m.run("t", "mkdir -p ~/.cache; touch ~/.cache/sbxfs "
                       "/tmp/sbxfs-$(id -u) /var/tmp/sbxfs-$(id -u)")
            m.unmount()
            m.start()
            with open(m.path("t", "workspace", "f"), "w") as f:
                f.write("works")
            self.assertEqual(m.run("t", "cat f"), b"works")
            with open(m.path("t", "status")) as f:
                self.assertIn("helper: none: the sandbox has no folder",
                              f.read())
            self.assertEqual(m.log_text().count("going on in plain mode"), 1)
        finally:
            m.close()


    def test_unmounting_ends_commands(self):
        """also when no shell is there to do it, though one was until just
        now"""
        m = Mount(options=["helper=off"])
        try:
            m.create("t")
            with open(m.path("t", "exec"), "w") as f:
                f.write("exec sleep 4242")
            m.run("t", "echo")
            m.control("fault delay 200")
            shells = [p for p, (words, _) in m.processes().items()
                      if "sbxfs-plain" in words]
            self.assertTrue(shells)
            m.signal_all(shells, signal.SIGKILL)
            m.unmount()
            m.control("fault delay 0")
            m.start(["helper=off"])
            self.assertEqual(m.run("t", 'pgrep -f "[s]leep 4242"; :'), b"")
        finally:
            m.close()


if __name__ == "__main__":
    unittest.main()
