"""The program itself: options, key, folder, start and end, confinement."""
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import unittest

from agent_lib import (AGENT, KEY, READY, WAIT, Agent, AgentCase,
                       process_is_there, until)


def run(*args, **env):
    environ = {k: v for k, v in os.environ.items() if k != "SBXFS_AGENT_KEY"}
    return subprocess.run([AGENT, *args], env={**environ, **env}, text=True,
                          capture_output=True, timeout=WAIT)


def children(pid):
    """All that came from a process, by its own word in /proc."""
    found, todo = [], [pid]
    while todo:
        p = todo.pop()
        try:
            with open(f"/proc/{p}/task/{p}/children") as f:
                more = [int(c) for c in f.read().split()]
        except OSError:
            more = []
        found += more
        todo += more
    return found


class Options(unittest.TestCase):
    def test_help_lists_traits_with_defaults(self):
        answer = run("--help")
        self.assertEqual(answer.returncode, 0)
        for word in ("--dir", "--listen", "--ready-fd", "--exit-with-fd",
                     "--root", "--trait", "reorder           on",
                     "rate-limit        120", "piece             4096"):
            self.assertIn(word, answer.stdout)
        self.assertLessEqual(max(map(len, answer.stdout.splitlines())), 100)

    def test_mistakes(self):
        for args in ((), ("--dir",), ("--nothing",),
                     ("--dir", "/tmp/x", "--trait", "no=1"),
                     ("--dir", "/tmp/x", "--trait", "piece=0"),
                     ("--dir", "/tmp/x", "--fault", "no"),
                     ("--dir", "/tmp/x", "--ready-fd", "77"),
                     ("--dir", "/tmp/x", "more")):
            answer = run(*args, SBXFS_AGENT_KEY="x")
            self.assertEqual(answer.returncode, 1, args)
            self.assertTrue(answer.stderr, args)

    def test_key_is_needed(self):
        for env in ({}, {"SBXFS_AGENT_KEY": ""}):
            answer = run("--dir", "/tmp/x", **env)
            self.assertEqual(answer.returncode, 1)
            self.assertIn("SBXFS_AGENT_KEY", answer.stderr)

    def test_folder_that_cannot_be(self):
        answer = run("--dir", "/proc/none", SBXFS_AGENT_KEY="x")
        self.assertEqual(answer.returncode, 1)
        self.assertIn("/proc/none", answer.stderr)

    def test_address_that_cannot_be(self):
        with tempfile.TemporaryDirectory() as d:
            for address in ("nowhere", "127.0.0.1:x", "127.0.0.1:99999",
                            "1.2.3.4:80"):
                answer = run("--dir", d, "--listen", address,
                             SBXFS_AGENT_KEY="x")
                self.assertEqual(answer.returncode, 1, address)
                self.assertIn(address, answer.stderr)

    def test_no_bubblewrap(self):
        with tempfile.TemporaryDirectory() as d:
            answer = run("--dir", d, SBXFS_AGENT_KEY="x",
                         PATH=d + "/nowhere")
            self.assertEqual(answer.returncode, 1)
            self.assertIn("bubblewrap is missing: install it", answer.stderr)
            self.assertEqual(answer.stderr.count("\n"), 1)

    def test_bubblewrap_that_may_not(self):
        with tempfile.TemporaryDirectory() as d:
            with open(os.path.join(d, "bwrap"), "w") as f:
                f.write("#!/bin/sh\necho 'bwrap: No permissions' >&2\nexit 1")
            os.chmod(f.name, 0o755)
            answer = run("--dir", d + "/x", SBXFS_AGENT_KEY="x", PATH=d)
            self.assertEqual(answer.returncode, 1)
            self.assertIn("(bwrap: No permissions)", answer.stderr)


class Life(AgentCase):
    async def busy(self):
        """A sandbox with processes, one a daemon; their host pids."""
        ident, s = await self.open()
        await s.sh("setsid sleep 1000 >/dev/null 2>&1 & exit 0")
        await s.start("sleep", "1000")
        pids = children(self.agent.process.pid)
        # bubblewrap, the runtime, both sleeps
        self.assertGreaterEqual(len(pids), 4)
        return pids

    async def gone(self, pids):
        await until(lambda: not any(map(process_is_there, pids)))

    async def test_sigterm_and_sigint(self):
        for sig in (signal.SIGTERM, signal.SIGINT):
            pids = await self.busy()
            self.agent.process.send_signal(sig)
            self.assertEqual(self.agent.process.wait(WAIT), 0)
            await self.gone(pids)
            self.agent.stop()
            self.agent = Agent()

    async def test_sigkill(self):
        pids = await self.busy()
        self.agent.process.kill()
        await self.gone(pids)

    async def test_end_with_fd(self):
        pids = await self.busy()
        os.close(self.agent.lifeline)
        self.agent.lifeline = os.open("/dev/null", os.O_RDONLY)
        self.assertEqual(self.agent.process.wait(WAIT), 0)
        await self.gone(pids)

    async def test_folder_is_locked(self):
        second = Agent(directory=self.agent.dir)
        self.assertIsNone(second.port)
        self.assertIn("in use", second.stop())

    async def restart(self, *args):
        directory = self.agent.dir
        self.agent.own_dir = False
        self.agent.stop()
        self.agent = Agent(*args, directory=directory)
        self.agent.own_dir = True

    async def test_sandboxes_survive_a_restart(self):
        body = {"template": "go", "metadata": {"name": "x"}, "ports": [80],
                "capabilities": ["sudo"]}
        before = await self.create(body)
        s = await self.connect(before["id"])
        await s.sh("echo kept >file")
        await self.restart()
        status, after, _ = await self.rest(
            "GET", f"/api/v2/sandboxes/{before['id']}")
        self.assertEqual(status, 200)
        for name in ("id", "template", "metadata", "capabilities",
                     "created_at_ms", "expires_at_ms"):
            self.assertEqual(after[name], before[name])
        s = await self.connect(before["id"])
        self.assertEqual((await s.run("cat", "file"))[1], b"kept\n")

    async def test_restart_after_sigkill(self):
        sandbox = await self.create()
        self.agent.process.kill()
        self.agent.process.wait()
        path = self.agent.control
        self.assertTrue(os.path.exists(path))
        second = subprocess.Popen(
            [AGENT, "--dir", self.agent.dir, "--control", path, "--listen",
             f"127.0.0.1:{self.agent.port}", "--ready-fd", "1"],
            env={**os.environ, "SBXFS_AGENT_KEY": KEY}, text=True,
            stdout=subprocess.PIPE)
        try:
            self.assertEqual(second.stdout.readline(),
                             f"ready {self.agent.port}\n")
            self.agent.journal()
            async with self.new_session() as session:
                s = await self.connect(sandbox["id"], session)
                self.assertEqual((await s.run("true"))[0], 0)
        finally:
            second.terminate()
            second.wait(WAIT)
            second.stdout.close()

    async def test_restart_can_forget(self):
        sandbox = await self.create()
        await self.restart("--trait", "remember=off")
        status, _, _ = await self.rest("GET",
                                       f"/api/v2/sandboxes/{sandbox['id']}")
        self.assertEqual(status, 404)
        await self.restart()
        status, _, _ = await self.rest("GET",
                                       f"/api/v2/sandboxes/{sandbox['id']}")
        self.assertEqual(status, 200)

    async def test_restart_forgets_those_of_the_warm_pool(self):
        await self.restart("--trait", "warm-pool=on")
        claimed = await self.create()
        await self.restart()
        status, _, _ = await self.rest("GET",
                                       f"/api/v2/sandboxes/{claimed['id']}")
        self.assertEqual(status, 404)

    async def test_strange_folders_are_left_alone(self):
        directory = self.agent.dir
        os.mkdir(os.path.join(directory, "01234567-456"))
        os.mkdir(os.path.join(directory, "something"))
        os.symlink("/etc", os.path.join(directory, "11234567-456"))
        await self.restart()
        _, sandboxes, _ = await self.rest("GET", "/api/v2/sandboxes")
        self.assertEqual(sandboxes, [])
        self.assertTrue(os.path.exists("/etc/passwd"))


class Confinement(AgentCase):
    async def test_key_is_nowhere(self):
        _, s = await self.open()
        await s.start("sleep", "1000")
        for pid in [self.agent.process.pid] + children(self.agent.process.pid):
            with open(f"/proc/{pid}/environ", "rb") as f:
                self.assertNotIn(KEY.encode(), f.read())
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                self.assertNotIn(KEY.encode(), f.read())

    async def test_what_can_be_seen(self):
        hidden = os.path.dirname(self.agent.dir)
        _, s = await self.open()
        code, out, _ = await s.sh(
            "ls -A /root /tmp /mnt /media 2>/dev/null; ls -A /home; "
            f"ls {self.agent.dir} 2>&1")
        lines = out.decode().split()
        self.assertIn("sandbox", lines)
        self.assertNotIn("meta.json", out.decode())
        self.assertIn("No such file", out.decode())
        for line in ("echo >/etc/x", "echo >/usr/x", "mkdir /x", "echo >/x",
                     "echo >/sys/x", "mount -t tmpfs x /mnt",
                     "rm -rf ~/workspace", "mv ~/workspace ~/w",
                     "echo >/home/x"):
            self.assertNotEqual((await s.sh(line))[0], 0, line)
        for line in ("echo x >/tmp/a", "echo x >/var/tmp/a", "echo x >~/a",
                     "echo x >/dev/shm/a", "echo x >a", "test -w /dev/null",
                     "ls /proc/self/fd"):
            self.assertEqual((await s.sh(line))[0], 0, line)

    async def test_no_privileges(self):
        _, s = await self.open()
        _, out, _ = await s.sh("cat /proc/self/status /proc/1/status")
        text = out.decode()
        self.assertEqual(text.count("NoNewPrivs:\t1"), 2)
        self.assertEqual(text.count("CapEff:\t0000000000000000"), 2)
        self.assertEqual(text.count("CapPrm:\t0000000000000000"), 2)
        # only its own processes
        _, out, _ = await s.sh("ps -e --no-headers | wc -l")
        self.assertLess(int(out), 6)

    async def test_terminals_work(self):
        _, s = await self.open()
        code, out, _ = await s.run("script", "-qfec", "tty; id -u",
                                   "/dev/null")
        self.assertEqual(code, 0)
        self.assertEqual(out.split(), [b"/dev/pts/0", b"1000"])

    async def test_descriptors_do_not_leak(self):
        _, s = await self.open()
        _, out, _ = await s.sh("ls /proc/self/fd")
        self.assertEqual(out.split(), [b"0", b"1", b"2", b"3"])

    async def test_modes_of_what_is_ours(self):
        ident, _ = await self.open()
        for name in (ident, ".agent"):
            mode = os.stat(os.path.join(self.agent.dir, name)).st_mode
            self.assertEqual(stat.S_IMODE(mode), 0o700)
        mode = os.stat(os.path.join(self.agent.dir, ident,
                                    "meta.json")).st_mode
        self.assertEqual(stat.S_IMODE(mode), 0o600)

    async def test_deep_and_odd_trees_are_removed(self):
        ident, s = await self.open()
        code, _, err = await s.run(
            "/usr/bin/python3", "-c",
            "import os\n"
            "for i in range(3000):\n"
            "    os.mkdir('d'*200); os.chdir('d'*200)\n"
            "open('end','w')\n")
        self.assertEqual(code, 0, err)
        await s.sh("mkfifo p; ln -s / l; mkdir -m 0 shut; touch x; ln x y")
        await self.rest("DELETE", f"/api/v2/sandboxes/{ident}")
        trash = os.path.join(self.agent.dir, ".agent", "trash")
        await until(lambda: os.path.isdir(trash) and not os.listdir(trash) and
                    not os.path.exists(os.path.join(self.agent.dir, ident)))


class OtherMounts(AgentCase):
    async def test_fuse_mounts_are_not_held(self):
        """Else unmounting one would not end its daemon."""
        from agent_lib import BUILD
        program = os.path.join(BUILD, "sbxfs")
        if not os.path.exists(program) or not os.path.exists("/dev/fuse"):
            self.skipTest("needs sbxfs and FUSE")
        folder = tempfile.mkdtemp(prefix="sbxfs-agent-mnt-", dir="/var/tmp")
        daemon = subprocess.Popen(
            [program, "-f", f"xgen+http://127.0.0.1:{self.agent.port}",
             folder], env={**os.environ, "XGEN_API_KEY": KEY})
        try:
            await until(lambda: os.path.ismount(folder))
            _, s = await self.open()
            _, out, _ = await s.sh("grep -c fuse /proc/self/mountinfo")
            self.assertEqual(out, b"0\n")
            subprocess.run(["fusermount3", "-u", folder], check=True)
            self.assertEqual(daemon.wait(WAIT), 0)
        finally:
            if daemon.poll() is None:
                subprocess.run(["fusermount3", "-uz", folder])
                daemon.kill()
                daemon.wait()
            os.rmdir(folder)


@unittest.skipIf(os.getuid(), "needs root")
class Root(AgentCase):
    arguments = ("--root",)

    async def test_really_root(self):
        _, s = await self.open()
        for line in ("test $(id -u) = 0", "touch f; chown 12345:54321 f",
                     "test $(stat -c %u:%g f) = 12345:54321",
                     "mknod n c 1 3", "mkfifo p",
                     "chmod 4755 f; test -u f",
                     "/usr/bin/python3 -c 'import os; os.setuid(7)'"):
            code, _, err = await s.sh(line)
            self.assertEqual(code, 0, (line, err))

    async def test_but_not_of_the_host(self):
        _, s = await self.open()
        await s.sh("mknod disk c 1 3")
        for line in ("mount -t tmpfs x /mnt", "echo x >/etc/x",
                     "cat /etc/shadow", "cat disk", "echo 1 >disk",
                     "echo 1 >/proc/sys/vm/drop_caches",
                     "kill -9 1; kill -0 %d" % self.agent.process.pid,
                     "chroot / mount -o remount,rw /usr"):
            self.assertNotEqual((await s.sh(line))[0], 0, line)
        _, out, _ = await s.sh("grep NoNewPrivs /proc/self/status")
        self.assertEqual(out.split()[1], b"1")

    async def test_device_files_are_not_opened_by_fs_calls(self):
        from agent_lib import ERROR, FS_READ
        _, s = await self.open()
        await s.sh("mknod zero c 1 5")
        m = await s.call(FS_READ, {"path": "zero"})
        self.assertEqual(m.kind, ERROR)


@unittest.skipIf(os.getuid(), "needs root, to become somebody else")
class Unprivileged(unittest.IsolatedAsyncioTestCase):
    """As an ordinary user, with nothing but a user namespace."""

    async def test_it_works_all_the_same(self):
        home = tempfile.mkdtemp(prefix="sbxfs-agent-user-", dir="/var/tmp")
        os.chmod(home, 0o755)
        program = shutil.copy(AGENT, home)
        folder = os.path.join(home, "dir")
        os.mkdir(folder)
        os.chown(folder, 33, 33)
        case = AgentCase()
        import agent_lib
        agent_lib.AGENT, old = program, agent_lib.AGENT
        try:
            case.agent = Agent(
                directory=folder, prefix=(
                    "setpriv", "--reuid", "33", "--regid", "33",
                    "--clear-groups"))
        finally:
            agent_lib.AGENT = old
        try:
            self.assertIsNotNone(case.agent.port)
            case.session = case.new_session()
            ident, s = await case.open()
            _, out, _ = await s.sh("id -u; id -un; touch f; stat -c %U f")
            self.assertEqual(out.split(), [b"1000", b"sandbox", b"sandbox"])
            path = os.path.join(folder, ident, "workspace", "f")
            self.assertEqual(os.stat(path).st_uid, 33)
            m = await s.call(0x31, {"path": "g", "content": b"x"})
            self.assertEqual(m.kind, 0x04)
            self.assertEqual((await s.sh("echo y >>g"))[0], 0)
            await case.session.close()
        finally:
            log = case.agent.stop()
            shutil.rmtree(home)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
