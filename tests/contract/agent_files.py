"""Fs calls and watches: sections 2.7, 2.8 and 2.10, Q2, Q15 to Q17."""
import asyncio
import os
import unittest

import msgpack

from agent_lib import (ACK, ERROR, FS_EVENT, FS_LIST, FS_READ, FS_REMOVE,
                       FS_WATCH, FS_WRITE, AgentCase)


class FilesCase(AgentCase):
    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.id, self.s = await self.open()
        self.workspace = os.path.join(self.agent.dir, self.id, "workspace")

    async def read(self, path):
        m = await self.s.call(FS_READ, {"path": path})
        return m.raw if m.kind == FS_READ else self.error(m)

    def error(self, m):
        self.assertEqual((m.kind, m.map["code"]), (ERROR, "fs_error"))
        return m.map["message"]

    async def write(self, path, content, **more):
        m = await self.s.call(FS_WRITE, {"path": path, "content": content,
                                         "mode": 0o600, **more})
        if m.kind == ACK:
            self.assertEqual(m.raw, b"")
            return None
        return self.error(m)

    async def remove(self, path, recursive=False):
        m = await self.s.call(FS_REMOVE, {"path": path,
                                          "recursive": recursive})
        return None if m.kind == ACK else self.error(m)

    async def list(self, path):
        m = await self.s.call(FS_LIST, {"path": path})
        if m.kind == ERROR:
            return self.error(m)
        return msgpack.unpackb(m.raw, raw=True)

    async def names(self, path):
        return [e[b"name"] for e in await self.list(path)]

    def ends(self, message, text):
        self.assertIsInstance(message, str)
        self.assertTrue(message.endswith(text), message)


class Files(FilesCase):
    async def test_write_read_list_remove(self):
        self.assertEqual(await self.list(""), [])
        self.assertIsNone(await self.write("a/b/c.txt", b"hello"))
        self.assertEqual(await self.read("a/b/c.txt"), b"hello")
        self.assertEqual(await self.read("/a/./b/../b/c.txt/"), b"hello")
        m = await self.s.call(FS_LIST, {"path": "a/b"})
        self.assertTrue(m.raw.startswith(
            b"\x91\x84\xa4name\xa5c.txt\xa4size\xd3" + bytes(7) + b"\x05"
            b"\xa5isDir\xc2\xa7modTime\xd3"), m.raw)
        entries = await self.list("a")
        self.assertEqual((entries[0][b"name"], entries[0][b"isDir"]),
                         (b"b", True))
        self.ends(await self.remove("a"), "directory not empty")
        self.assertIsNone(await self.remove("a/b/c.txt"))
        self.assertIsNone(await self.remove("a", recursive=True))
        self.assertIsNone(await self.remove("a", recursive=True))
        self.ends(await self.remove("a"), "no such file or directory")
        self.assertEqual(await self.list(""), [])

    async def test_mode_is_ignored_and_kept(self):
        await self.write("new", b"x")
        _, out, _ = await self.s.sh("stat -c %a new; chmod 600 new")
        self.assertEqual(out, b"644\n")
        await self.write("new", b"y")
        _, out, _ = await self.s.sh("stat -c %a new; cat new")
        self.assertEqual(out, b"600\ny")
        await self.write("deep/er/new", b"x")
        _, out, _ = await self.s.sh("stat -c %a deep deep/er")
        self.assertEqual(out, b"755\n755\n")

    async def test_content_may_be_str_bin_or_nil(self):
        for content, want in (("text", b"text"), (b"\xff\x00", b"\xff\x00"),
                              (None, b"")):
            self.assertIsNone(await self.write("f", content))
            self.assertEqual(await self.read("f"), want)
        m = await self.s.call(FS_WRITE, {"path": "f", "content": [1]})
        self.assertEqual(m.map["code"], "invalid_payload")
        m = await self.s.call(FS_REMOVE, {"path": "f", "recursive": "yes"})
        self.assertEqual(m.map["code"], "invalid_payload")
        m = await self.s.call(FS_READ, b"")
        self.assertEqual(m.map, {"code": "invalid_payload", "message": "EOF"})

    async def test_names_are_bytes_and_sorted(self):
        await self.s.sh("touch b a B \"$(printf '\\377\\376')\" '*'")
        self.assertEqual(await self.names("."),
                         [b"*", b"B", b"a", b"b", b"\xff\xfe"])
        self.assertIsNone(await self.write(b"\xff\xfe", b"odd"))
        self.assertEqual(await self.read(b"\xff\xfe"), b"odd")

    async def test_errors(self):
        await self.s.sh("mkdir d; touch f; ln -s loop loop")
        for answer, text in (
                (await self.read("none"), "no such file or directory"),
                (await self.read("d"), "is a directory"),
                (await self.list("f"), "not a directory"),
                (await self.list("none"), "no such file or directory"),
                (await self.read("f/x"), "not a directory"),
                (await self.write("d", b""), "is a directory"),
                (await self.read("a\0b"), "invalid argument"),
                (await self.read("x" * 256), "file name too long"),
                (await self.read("loop"), "too many links"),
                (await self.remove("loop"), "too many links")):
            self.ends(answer, text)
        for path in ("", ".", "/", "d/.."):
            for recursive in (False, True):
                self.assertEqual(await self.remove(path, recursive),
                                 "cannot remove workspace root")

    async def test_paths_stay_below_the_workspace(self):
        for path in ("/etc/passwd", "../../../etc/passwd",
                     "/home/sandbox/workspace/x", "../meta.json"):
            self.ends(await self.read(path), "no such file or directory")
        self.assertIsNone(await self.write("../../up", b"x"))
        self.assertEqual(os.listdir(self.workspace), ["up"])

    async def test_links(self):
        await self.s.sh("echo x >file; mkdir dir; touch dir/in; "
                        "ln -s file link; ln -s dir dlink; ln -s none dangling;"
                        "ln -s /home/sandbox/workspace/file abs")
        self.assertEqual(await self.read("link"), b"x\n")
        self.assertEqual(await self.read("abs"), b"x\n")
        self.assertEqual(await self.names("dlink"), [b"in"])
        entry = [e for e in await self.list("") if e[b"name"] == b"dlink"][0]
        self.assertEqual((entry[b"isDir"], entry[b"size"]), (False, 3))
        # a dangling one: read fails, write makes the target
        self.ends(await self.read("dangling"), "no such file or directory")
        self.assertIsNone(await self.write("dangling", b"made"))
        self.assertEqual(await self.read("none"), b"made")
        # remove destroys the target and leaves the link
        self.assertIsNone(await self.remove("link"))
        self.assertNotIn(b"file", await self.names(""))
        self.assertIn(b"link", await self.names(""))
        # and now it dangles, so it goes itself
        self.assertIsNone(await self.remove("link"))
        self.assertNotIn(b"link", await self.names(""))
        self.assertIsNone(await self.remove("dlink", recursive=True))
        self.assertNotIn(b"dir", await self.names(""))

    async def test_links_out_of_the_workspace(self):
        await self.s.sh("ln -s /etc etc; ln -s ../../.. up; ln -s / root; "
                        "ln -s /usr/bin/python3 py")
        for path in ("etc", "etc/passwd", "up", "up/etc/passwd", "root/etc"):
            for answer in (await self.read(path), await self.list(path),
                           await self.write(path, b"x"),
                           await self.remove(path, True)):
                self.assertTrue(answer.startswith(
                    "path escapes workspace root via symlink: "), answer)
        self.ends(await self.read("py"), "no such file or directory")
        self.assertTrue(os.path.exists("/etc/passwd"))

    async def test_swapped_links_never_lead_out(self):
        """A command swaps a folder and a link while we write through it."""
        await self.s.sh("mkdir real; ln -s /tmp evil")
        channel, pid = await self.s.start(
            "/usr/bin/python3", "-c",
            "import os,ctypes\n"
            "c=ctypes.CDLL(None)\n"
            "while True: c.renameat2(-100,b'real',-100,b'evil',2)")
        for i in range(300):
            m = await self.s.call(FS_WRITE, {"path": f"real/canary{i}",
                                             "content": b"x"})
            self.assertIn(m.kind, (ACK, ERROR))
        self.assertFalse([n for n in os.listdir("/tmp")
                          if n.startswith("canary")])

    async def test_fifo_never_answers(self):
        await self.s.sh("mkfifo pipe")
        with self.assertRaises(asyncio.TimeoutError):
            await self.s.call(FS_READ, {"path": "pipe"}, 0.3)
        self.assertEqual((await self.list(""))[0][b"isDir"], False)
        # the others go on
        for _ in range(20):
            await self.s.send(FS_READ, msgpack.packb({"path": "pipe"}))
        self.assertEqual(await self.names(""), [b"pipe"])

    async def test_requests_run_at_the_same_time(self):
        """A write and a read sent together: sometimes the read is first."""
        early = 0
        for i in range(200):
            a, b = 1000 + 2 * i, 1001 + 2 * i
            await self.s.send(FS_WRITE, msgpack.packb(
                {"path": "race", "content": b"%d" % i}), ident=a)
            await self.s.send(FS_READ, msgpack.packb({"path": "race"}),
                              ident=b)
            await self.s.wait(lambda m: m.id == a)
            m = await self.s.wait(lambda m: m.id == b)
            early += m.kind == ERROR or m.raw != b"%d" % i
        self.assertGreater(early, 0)


class OtherKeys(FilesCase):
    traits = ("agent-keys=on", "exit-camel=on")

    async def test_spellings(self):
        await self.write("f", b"x")
        self.assertEqual(set((await self.list(""))[0]),
                         {b"name", b"size", b"is_dir", b"mod_time"})
        channel, _ = await self.s.start("true")
        m = await self.s.wait(lambda m: m.channel == channel)
        self.assertEqual(m.map, {"exitCode": 0})


@unittest.skipIf(os.getuid(), "needs root")
class PodOwners(FilesCase):
    traits = ("pod-owners=on",)

    async def test_two_owners_few_rights(self):
        _, out, _ = await self.s.sh("stat -c '%u %g %a' .")
        self.assertEqual(out, b"0 1000 2777\n")
        await self.s.sh("echo x >open; echo x >closed; chmod 600 closed; "
                        "mkdir dir shut; touch dir/f; chmod 700 shut")
        self.assertEqual(await self.read("open"), b"x\n")
        self.ends(await self.read("closed"), "permission denied")
        self.ends(await self.write("open", b"y"), "permission denied")
        self.ends(await self.write("dir/new", b"y"), "permission denied")
        self.ends(await self.remove("dir/f"), "permission denied")
        self.ends(await self.list("shut"), "permission denied")
        self.assertIsNone(await self.write("ours/sub", b"y"))
        self.assertIsNone(await self.remove("closed"))
        _, out, _ = await self.s.sh("stat -c '%u %g %a' ours ours/sub")
        self.assertEqual(out, b"0 1000 2755\n0 1000 644\n")
        for line in ("echo z >>ours/sub", "touch ours/new", "rm ours/sub"):
            code, _, err = await self.s.sh(line)
            self.assertNotEqual(code, 0)
            self.assertIn(b"Permission denied", err)
        await self.write("top", b"x")
        self.assertEqual((await self.s.sh("rm -f top; echo y >top"))[0], 0)


class Watch(FilesCase):
    traits = ("watch-ms=100",)

    async def events(self, number):
        got = []
        for _ in range(number):
            m = await self.s.wait(lambda m: m.kind == FS_EVENT)
            self.assertEqual((m.channel, m.id), (0, 0))
            got.append((m.map["type"], m.map["path"]))
        return got

    async def none(self):
        with self.assertRaises(asyncio.TimeoutError):
            await self.s.wait(lambda m: m.kind == FS_EVENT, 0.4)

    async def watch(self, path, **more):
        return await self.s.call(FS_WATCH, {"path": path, **more})

    async def test_created_modified_deleted(self):
        await self.s.sh("mkdir -p s/t; touch s/old")
        self.assertEqual((await self.watch("s")).kind, ACK)
        await self.s.sh("touch s/t/new; mkdir s/dir")
        self.assertEqual(await self.events(1), [("created", "s/t/new")])
        await self.s.sh("echo x >s/old")
        self.assertEqual(await self.events(1), [("modified", "s/old")])
        await self.s.sh("mv s/old s/other")
        self.assertEqual(await self.events(2), [("created", "s/other"),
                                                ("deleted", "s/old")])
        await self.s.sh("chmod 600 s/other; rmdir s/dir")
        await self.none()
        await self.s.sh("rm -r s")
        self.assertEqual(sorted(await self.events(2)),
                         [("deleted", "s/other"), ("deleted", "s/t/new")])
        await self.s.sh("mkdir s; touch s/again")
        self.assertEqual(await self.events(1), [("created", "s/again")])

    async def test_unwatch(self):
        await self.watch("")
        self.assertEqual((await self.watch("", unwatch=True)).kind, ACK)
        self.assertEqual((await self.watch("no", unwatch=True)).kind, ACK)
        await self.s.sh("touch x")
        await self.none()

    async def test_overlapping_watches_double(self):
        await self.s.sh("mkdir d")
        await self.watch("")
        await self.watch("d")
        await self.s.sh("touch d/x")
        self.assertEqual(await self.events(2), [("created", "d/x")] * 2)

    async def test_missing_path(self):
        m = await self.watch("none")
        self.assertEqual((m.kind, m.map["code"]), (ERROR, "watch_error"))

    async def test_watches_end_with_their_connection(self):
        await self.watch("")
        old = self.s
        self.s = await self.connect(self.id)
        await old.close()
        await self.s.sh("touch x")
        await self.none()


if __name__ == "__main__":
    unittest.main(warnings="ignore")
