"""Commands over the WebSocket: section 2.6 of the protocol, Q4 to Q8, Q18."""
import asyncio
import hashlib
import unittest

import msgpack

from agent_lib import (ACK, ERROR, EXEC_START, EXIT, SIGNAL,
                       STDIN, STDOUT, WAIT, AgentCase)


class Start(AgentCase):
    async def test_ack_comes_first_and_echoes(self):
        _, s = await self.open()
        for ident in range(1, 20):
            await s.send(EXEC_START, msgpack.packb(
                {"command": "echo", "args": ["x"]}), 70000 + ident, ident)
            m = await s.wait(lambda m: m.channel == 70000 + ident)
            self.assertEqual((m.kind, m.id), (ACK, ident))
            self.assertEqual(m.map, {"process_id": ident,
                                     "channel": 70000 + ident})
            # process_id and channel are always five bytes
            self.assertIn(b"\xaaprocess_id\xce", m.raw)
            self.assertIn(b"\xa7channel\xce", m.raw)
            code, out, err = await s.finish(70000 + ident)
            self.assertEqual((code, out, err), (0, b"x\n", b""))

    async def test_channel_zero_lets_the_service_choose(self):
        _, s = await self.open()
        channel, _ = await s.start("true", channel=0)
        self.assertGreater(channel, 100)
        self.assertEqual((await s.finish(channel))[0], 0)

    async def test_exit_codes(self):
        ident, s = await self.open()
        for command, code in ((("sh", "-c", "exit 255"), 255),
                              (("sh", "-c", "exit 127"), 127),
                              (("no-such-command",), 127),
                              (("/no/such/file",), 127),
                              (("/etc/passwd",), 126),
                              (("sh", "-c", "kill -9 $$"), -1),
                              (("sh", "-c", "kill -TERM $$"), -1)):
            self.assertEqual((await s.run(*command))[0], code, command)
        code, _, err = await s.run("true", cwd="/no/such/folder")
        self.assertEqual(code, 2)
        self.assertIn(b"can't cd to /no/such/folder", err)
        # compact integers
        for line, raw in (("exit 7", b"\x07"), ("exit 255", b"\xcc\xff"),
                          ("kill -9 $$", b"\xff")):
            channel, _ = await s.start("sh", "-c", line)
            m = await s.wait(lambda m: m.channel == channel)
            self.assertEqual(m.raw, b"\x81\xa9exit_code" + raw)

    async def test_user_and_environment(self):
        _, s = await self.open()
        _, out, _ = await s.run("id")
        self.assertEqual(out.split()[:2],
                         [b"uid=1000(sandbox)", b"gid=1000(sandbox)"])
        _, out, _ = await s.run("sh", "-c", "umask; id -un; cd; pwd; hostname")
        ident = s.ws._response.url.path.split("/")[4].encode()
        self.assertEqual(out.split(), [b"0022", b"sandbox", b"/home/sandbox",
                                       ident])
        _, out, _ = await s.run("env")
        self.assertEqual(set(out.decode().splitlines()), {
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:"
            "/bin", "HOME=/home/sandbox", "USER=sandbox",
            "TERM=xterm-256color", "PWD=/home/sandbox/workspace", "OLDPWD=/"})
        _, out, _ = await s.run("env", env={"USER": "me", "A": "b\nc"},
                                cwd="/tmp")
        self.assertIn(b"USER=me\n", out)
        self.assertIn(b"A=b\nc\n", out)
        self.assertIn(b"PWD=/tmp\n", out)
        # relative folders are taken from the root
        _, out, _ = await s.run("pwd", cwd="usr")
        self.assertEqual(out, b"/usr\n")
        code, _, err = await s.run("true", env={"PATH": "/nowhere"})
        self.assertEqual(code, 127)
        self.assertIn(b"nsenter: failed to execute sh", err)

    async def test_env_of_creation_is_not_seen(self):
        _, s = await self.open({"env": {"SECRET_OF_CREATION": "x"}})
        _, out, _ = await s.run("env")
        self.assertNotIn(b"SECRET_OF_CREATION", out)

    async def test_refusals(self):
        _, s = await self.open()
        for fields, code, word in (
                ({"command": "true", "tty": True}, "exec_failed",
                 "operation not permitted"),
                ({"command": "true", "args": ["a\0b"]}, "exec_failed",
                 "invalid argument"),
                ({"command": "true", "env": {"A": "\0"}}, "exec_failed",
                 "invalid argument"),
                ({"command": "true", "tty": "no"}, "invalid_payload", ""),
                ({"command": 5}, "invalid_payload", ""),
                ({"command": "a", "args": "b"}, "invalid_payload", ""),
                (b"", "invalid_payload", "EOF"),
                (b"\x93", "invalid_payload", ""),
                (b"\xdf\xff\xff\xff\xff", "invalid_payload", "")):
            m = await s.call(EXEC_START, fields)
            self.assertEqual((m.kind, m.map["code"]), (ERROR, code), fields)
            self.assertIn(word, m.map["message"])

    async def test_other_spellings_of_values(self):
        _, s = await self.open()
        # bin for strings, nil for what is optional, unknown keys
        m = await s.call(EXEC_START, msgpack.packb({
            b"command": b"true", b"args": None, b"env": None, b"cwd": None,
            b"cols": 80, b"what": [1, {}]}, use_bin_type=True))
        self.assertEqual(m.kind, ACK)

    async def test_no_shell_in_between(self):
        _, s = await self.open()
        _, out, _ = await s.run("printf", "%s|", "$HOME", "a b", "", "*", "'")
        self.assertEqual(out, b"$HOME|a b||*|'|")

    async def test_long_arguments(self):
        _, s = await self.open()
        _, out, _ = await s.run("sh", "-c", 'printf %s "$1" | wc -c', "sh",
                                "x" * 32000)
        self.assertEqual(out.strip(), b"32000")


class Streams(AgentCase):
    async def test_bytes_are_clean_both_ways(self):
        _, s = await self.open()
        data = bytes(range(256)) * 100
        channel, pid = await s.start("head", "-c", str(len(data)))
        await s.stdin(pid, data)
        code, out, _ = await s.finish(channel)
        self.assertEqual((code, out), (0, data))

    async def test_pieces_are_at_most_4096(self):
        _, s = await self.open()
        channel, _ = await s.start("head", "-c", "100000", "/dev/zero")
        total = 0
        while True:
            m = await s.wait(lambda m: m.channel == channel)
            if m.kind == EXIT:
                break
            self.assertEqual((m.kind, m.id), (STDOUT, 0))
            self.assertLessEqual(len(m.raw), 4096)
            total += len(m.raw)
        self.assertEqual(total, 100000)

    async def test_much_output_is_whole_and_in_order(self):
        _, s = await self.open()
        channel, _ = await s.start("seq", "2000000")
        code, out, _ = await s.finish(channel)
        self.assertEqual(code, 0)
        want = "".join(f"{i}\n" for i in range(1, 2000001)).encode()
        self.assertEqual(hashlib.sha256(out).digest(),
                         hashlib.sha256(want).digest())

    async def test_a_stopped_reader_stops_the_command(self):
        ident, s = await self.open()
        watcher = await self.connect(ident)
        size = 32 << 20
        channel, _ = await s.start(
            "sh", "-c", f"echo $$ >/tmp/pid; exec head -c {size} /dev/zero")
        transport = s.ws._conn.transport
        transport.pause_reading()
        await watcher.sh("until [ -s /tmp/pid ]; do sleep 0.05; done")
        written = -1
        for _ in range(100):
            _, out, _ = await watcher.sh(
                "sleep 0.1; sed -n 's/wchar: //p' /proc/$(cat /tmp/pid)/io")
            if int(out) == written:
                break
            written = int(out)
        # it has come to rest well before the end
        self.assertLess(written, size // 2)
        transport.resume_reading()
        code, out, _ = await s.finish(channel)
        self.assertEqual((code, len(out)), (0, size))

    async def test_stdin_stays_open(self):
        _, s = await self.open()
        channel, pid = await s.start("cat")
        await s.stdin(pid, b"")
        await s.stdin(pid, b"a")
        m = await s.wait(lambda m: m.channel == channel)
        self.assertEqual(m.raw, b"a")
        with self.assertRaises(asyncio.TimeoutError):
            await s.wait(lambda m: m.channel == channel, 0.3)

    async def test_stdin_of_the_dead_is_dropped(self):
        _, s = await self.open()
        channel, pid = await s.start("true")
        await s.finish(channel)
        await s.stdin(pid, b"x" * 30000)
        await s.stdin(0, b"x")
        await s.stdin(999, b"x")
        await s.send(STDIN, b"\0\0")
        self.assertEqual((await s.run("true"))[0], 0)

    async def test_stdin_waits_for_a_slow_command(self):
        _, s = await self.open()
        size, n = 32755, 300
        await s.run("mkfifo", "/tmp/go")
        channel, pid = await s.start(
            "sh", "-c", "read go </tmp/go; head -c %d | sha256sum"
            % (size * n))
        # nothing reads yet, the service takes all of it, others go on
        for _ in range(n):
            await s.stdin(pid, b"y" * size)
        self.assertEqual((await s.sh("echo go >/tmp/go"))[0], 0)
        _, out, _ = await s.finish(channel)
        self.assertEqual(out.split()[0].decode(),
                         hashlib.sha256(b"y" * (size * n)).hexdigest())

    async def test_unread_stdin_is_bounded_and_stops_nobody_else(self):
        ident, s = await self.open()
        other = await self.connect(ident)
        channel, pid = await s.start("sleep", "1000")

        async def flood():
            for _ in range(6000):
                await s.stdin(pid, b"x" * 32755)
        task = asyncio.create_task(flood())
        await asyncio.wait([task], timeout=1)
        self.assertEqual((await other.run("echo", "x"))[1], b"x\n")
        with open(f"/proc/{self.agent.process.pid}/statm") as f:
            pages = int(f.read().split()[1])
        self.assertLess(pages * 4096, 300 << 20)
        await other.run("pkill", "-9", "-x", "sleep")
        await asyncio.wait_for(task, WAIT)
        self.assertEqual((await s.finish(channel))[0], -1)

    async def test_exit_waits_for_children_that_hold_stdout(self):
        _, s = await self.open()
        loop = asyncio.get_running_loop()
        began = loop.time()
        code, _, _ = await s.sh("sleep 0.7 & exit 3")
        self.assertEqual(code, 3)
        self.assertGreater(loop.time() - began, 0.6)

    async def test_a_hundred_at_once(self):
        _, s = await self.open()
        channels = []
        for i in range(100):
            await s.send(EXEC_START, msgpack.packb(
                {"command": "sh", "args": ["-c", f"echo {i}; exit {i}"]}),
                80000 + i, i + 1)
        for i in range(100):
            self.assertEqual((await s.finish(80000 + i))[:2],
                             (i, f"{i}\n".encode()))


class Order(AgentCase):
    traits = ("stdin-reorder=200",)

    async def test_stdin_messages_swap_but_stay_whole(self):
        _, s = await self.open()
        channel, pid = await s.start("head", "-c", "20000")
        for i in range(200):
            await s.stdin(pid, b"%03d:" % i + b"x" * 95 + b"\n")
        _, out, _ = await s.finish(channel)
        lines = out.split(b"\n")[:-1]
        self.assertEqual(sorted(lines),
                         [b"%03d:" % i + b"x" * 95 for i in range(200)])
        self.assertNotEqual(lines, sorted(lines))


class InOrder(AgentCase):
    traits = ("stdin-reorder=0", "reorder=off", "map-order=off")

    async def test_order_can_be_asked_for(self):
        _, s = await self.open()
        channel, pid = await s.start("head", "-c", "1000000")
        want = b""
        for i in range(10000):
            piece = b"%099d\n" % i
            want += piece
            await s.stdin(pid, piece)
        _, out, _ = await s.finish(channel)
        self.assertEqual(out, want)


class Signals(AgentCase):
    async def signal(self, s, pid, name):
        await s.send(SIGNAL, msgpack.packb({"process_id": pid,
                                            "signal": name}))

    async def test_signal_closes_stdin_and_nothing_else(self):
        _, s = await self.open()
        channel, pid = await s.start("cat")
        await self.signal(s, pid, "SIGTERM")
        self.assertEqual((await s.finish(channel))[0], -1)
        # one that does not read its stdin lives on, with its stdout
        channel, pid = await s.start("sleep", "1000")
        await self.signal(s, pid, "SIGKILL")
        with self.assertRaises(asyncio.TimeoutError):
            await s.wait(lambda m: m.channel == channel, 0.3)
        code, out, _ = await s.run("pkill", "-9", "-x", "sleep")
        self.assertEqual(code, 0)
        self.assertEqual((await s.finish(channel))[0], -1)

    async def test_other_words_do_nothing(self):
        _, s = await self.open()
        channel, pid = await s.start("cat")
        for name in ("TERM", "SIGHUP", "15", "", "SIGTERM "):
            await self.signal(s, pid, name)
        await s.send(SIGNAL, msgpack.packb({"signal": "SIGTERM"}))
        await s.send(SIGNAL, b"garbage")
        await s.stdin(pid, b"alive")
        m = await s.wait(lambda m: m.channel == channel)
        self.assertEqual(m.raw, b"alive")

    async def test_kill_by_a_second_command(self):
        _, s = await self.open()
        channel, _ = await s.start("sh", "-c", "echo $$; exec sleep 1000")
        m = await s.wait(lambda m: m.channel == channel)
        await s.run("kill", "-9", "--", m.raw.decode().strip())
        self.assertEqual((await s.finish(channel))[0], -1)


class DeliveredSignals(AgentCase):
    traits = ("deliver-signals=on",)

    async def test_signal_reaches_the_group(self):
        _, s = await self.open()
        channel, pid = await s.start("sh", "-c", "sleep 1000 & sleep 1000")
        await s.send(SIGNAL, msgpack.packb({"process_id": pid,
                                            "signal": "SIGKILL"}))
        self.assertEqual((await s.finish(channel))[0], -1)


class Connections(AgentCase):
    async def test_processes_outlive_their_connection(self):
        ident, s = await self.open()
        channel, pid = await s.start(
            "sh", "-c", "while read x; do echo $x >>/tmp/log; yes | "
            "head -c 1000000; done")
        await s.stdin(pid, b"1\n")
        await s.wait(lambda m: m.kind == STDOUT)
        await s.close()
        s = await self.connect(ident)
        # written to from another connection; its output blocks nothing
        for i in b"234":
            await s.stdin(pid, b"%c\n" % i)
        code, out, _ = await s.sh(
            "until [ \"$(wc -l </tmp/log)\" = 4 ]; do sleep 0.05; done; "
            "cat /tmp/log")
        self.assertEqual(sorted(out.split()), [b"1", b"2", b"3", b"4"])

    async def test_one_pid_space_and_one_tmp(self):
        ident, s = await self.open()
        t = await self.connect(ident)
        await s.sh("echo x >/tmp/shared")
        self.assertEqual((await t.run("cat", "/tmp/shared"))[1], b"x\n")
        other, u = await self.open()
        self.assertEqual((await u.run("cat", "/tmp/shared"))[0], 1)
        await s.start("sleep", "1234")
        code, _, _ = await u.run("pgrep", "-f", "sleep 1234")
        self.assertEqual(code, 1)
        code, _, _ = await t.run("pgrep", "-xf", "sleep 1234")
        self.assertEqual(code, 0)


class Runtime(AgentCase):
    async def test_orphans_are_reaped(self):
        _, s = await self.open()
        await s.sh("(sleep 0.1 &) ; true")
        code, _, _ = await s.sh(
            "sleep 0.3; for i in $(seq 100); do "
            "ps -eo stat | grep -q Z || exit 0; sleep 0.1; done; exit 1")
        self.assertEqual(code, 0)

    async def test_killed_runtime_is_started_anew(self):
        ident, s = await self.open()
        channel, _ = await s.start("sleep", "1000")
        await s.sh("echo kept >file")
        self.agent.fault(f"kill-runtime {ident}")
        self.assertEqual((await s.finish(channel))[0], -1)
        self.assertEqual((await s.run("cat", "file"))[1], b"kept\n")

    async def test_commands_cannot_kill_it(self):
        _, s = await self.open()
        await s.sh("kill -9 -1")
        self.assertEqual((await s.run("echo", "x"))[1], b"x\n")


class NoRestart(AgentCase):
    traits = ("runtime-restart=off",)

    async def test_killed_runtime_stays_dead(self):
        ident, s = await self.open()
        channel, _ = await s.start("sleep", "1000")
        self.agent.fault(f"kill-runtime {ident}")
        self.assertEqual((await s.finish(channel))[0], -1)
        m = await s.call(EXEC_START, {"command": "true"})
        self.assertEqual((m.kind, m.map["code"]), (ERROR, "exec_failed"))
        self.assertIn("runtime container process not found",
                      m.map["message"])


class MemoryLimit(AgentCase):
    traits = ("memory-limit-mib=4",)

    async def test_unread_stdin_kills_the_sandbox(self):
        ident, s = await self.open()
        _, pid = await s.start("sleep", "1000")
        with self.assertRaises((EOFError, OSError)):
            for _ in range(400):
                await s.stdin(pid, b"x" * 32755)
            await s.wait(lambda m: False)
        s = await self.connect(ident)
        self.assertIsNone(await s.receive())
        self.assertEqual(s.ws.close_code, 1011)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
