#!/usr/bin/python3
"""A sandbox that is paused: whoever wants something of it is told at once,
and what ran in it goes on afterwards."""
import os, sys
os.environ["SBXFS_SERVICE"] = "opensandbox"
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import errno, json, select, time, unittest, urllib.request
from sbxmount import Mount, wait_for

SOON = 20  # a call that waits for a lost connection waits for 30 s


class Pause(unittest.TestCase):
    def setUp(self):
        self.m = Mount()
        self.addCleanup(self.m.close)
        self.m.create("t")
        self.write("workspace/a", "x")

    def write(self, name, text):
        with open(self.m.path("t", name), "w") as f:
            f.write(text)

    def state(self):
        with open(self.m.path("t", "status")) as f:
            return [l.split()[1] for l in f if l.startswith("state:")][0]

    def api(self, verb):
        """What another client asks."""
        with open(self.m.path("t", "info.json")) as f:
            ident = json.load(f)["id"]
        urllib.request.urlopen(urllib.request.Request(
            "http://127.0.0.1:%d/v1/sandboxes/%s/%s"
            % (self.m.port, ident, verb), b"",
            {"OPEN-SANDBOX-API-KEY": "test-key"}), timeout=60).close()

    def assert_paused(self):
        for what in (lambda: self.write("workspace/new", "y"),
                     lambda: os.listdir(self.m.path("t", "root/usr/share")),
                     lambda: self.write("exec", "true"),
                     lambda: os.open(self.m.path("t", "root/etc/hosts"),
                                     os.O_RDONLY)):
            start = time.monotonic()
            with self.assertRaises(OSError) as e:
                what()
            self.assertEqual(e.exception.errno, errno.EAGAIN)
            self.assertLess(time.monotonic() - start, SOON)

    def assert_goes_on(self):
        self.write("workspace/new", "z")
        self.assertEqual(self.m.run("t", "cat new"), b"z")
        os.listdir(self.m.path("t", "root/usr/share"))

    def test_by_the_mount(self):
        self.write("exec", "until [ -e go ]; do sleep 0.05; done; echo on")
        with open(self.m.path("t", "workspace/b"), "w") as f:
            f.write("written just before")
            f.flush()
            self.write("status", "pause")
        self.assert_paused()
        time.sleep(1.1)  # and not only for a moment
        self.assert_paused()
        self.write("status", "resume")
        self.assert_goes_on()
        self.assertEqual(self.m.run("t", "cat b"), b"written just before")
        self.write("workspace/go", "")
        with open(self.m.path("t", "jobs/1/stdout"), "rb") as f:
            self.assertEqual(f.read(), b"on\n")

    def test_events_that_were_opened_meanwhile(self):
        self.write("status", "pause")
        self.assert_paused()
        with open(self.m.path("t", "events")) as events:
            self.assertEqual(json.loads(next(events))["type"], "unwatched")
            self.write("status", "resume")
            for line in events:
                if json.loads(line).get("missed"):
                    break
            self.m.run("t", ": >seen")
            for line in events:
                if json.loads(line).get("path") == "seen":
                    break

    def test_by_somebody_else(self):
        self.api("pause")

        def seen():
            os.listdir(self.m.mnt)
            return self.state() == "paused"
        wait_for(seen)
        self.assert_paused()
        self.api("resume")

        def seen_again():
            os.listdir(self.m.mnt)
            return self.state() == "running"
        wait_for(seen_again)
        self.assert_goes_on()


class Unread(unittest.TestCase):
    """without a helper, a command's output comes as execd sends it"""

    def test_output_that_is_not_read_for_a_while(self):
        m = Mount(options=["helper=off"])
        self.addCleanup(m.close)
        m.create("t")
        with open(m.path("t", "exec"), "r+b", buffering=0) as f:
            f.write(b"head -c 20000000 /dev/zero; echo end\n")
            got = len(f.read(65536))
            time.sleep(35)
            while True:
                wait_for(lambda: select.select([f], [], [], 0)[0])
                data = f.read(1 << 20)
                if not data:
                    break
                got += len(data)
                last = data
        self.assertEqual(got, 20000004)
        self.assertTrue(last.endswith(b"end\n"))


if __name__ == "__main__":
    unittest.main()
