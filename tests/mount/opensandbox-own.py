#!/usr/bin/python3
"""The files that OpenSandbox alone has, and its snapshots, as somebody at a
shell uses them."""
import os, sys
os.environ["SBXFS_SERVICE"] = "opensandbox"
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import errno, json, select, subprocess, threading, unittest, urllib.request
from sbxmount import Mount, wait_for

# what is claimed, what is typed in the sandbox's folder, what comes
TRANSCRIPT = (
    ("all of them are there",
     "ls -d contexts endpoints metadata metadata.json metrics network search "
     "snapshots | wc -l; ls metrics network", "8\nmetrics:\nnow.json\nstream\n\n"
     "network:\npolicy.json\n"),
    ("size 0, 0600, or 0400 if read-only",
     "stat -c '%s %a' metadata.json metadata/team metrics/now.json "
     "metrics/stream network/policy.json endpoints/80",
     "0 600\n0 600\n0 400\n0 400\n0 600\n0 600\n"),
    ("metadata: one file for each",
     "ls metadata | grep -v sbxfs; cat metadata/team; echo blue >metadata/team;"
     " cat metadata/team; echo x >metadata/new; cat metadata/new; "
     "rm metadata/new metadata/team; ls metadata | grep -v sbxfs",
     "name\nteam\nred\nblue\nx\nname\n"),
    ("what is read behind a write on the same open file is new",
     "exec 3<>metadata/a; echo 1 >&3; cat <&3; echo 2 >&3; cat <&3; "
     "rm metadata/a", "1\n2\n"),
    ("touch makes one, and changes none",
     "touch metadata/a && echo x >metadata/a && touch metadata/a && "
     "cat metadata/a; touch -d @1 metadata/a 2>&1 | grep -c permitted; "
     "touch metrics/now.json 2>&1 | grep -c denied; rm metadata/a",
     "x\n1\n1\n"),
    ("JSON in several writes, as bash does with lines",
     "{ echo '{'; echo '\"b\":\"x\",'; echo '\"c\":\"d\"'; echo '}'; echo; } "
     ">metadata.json; cat metadata/b metadata/c; "
     "{ echo '{'; echo '\"b\":'; } >metadata.json; cat metadata/b; "
     "rm metadata/b metadata/c", "x\nd\nx\n"),
    ("metadata.json: all of them, merged",
     "echo '{\"b\":\"c\",\"d\":\"e\"}' >metadata.json; ls metadata | "
     "grep -v sbxfs; echo '{\"b\":null}' >metadata.json; "
     "ls metadata | grep -v sbxfs; jq -r .d metadata.json",
     "b\nd\nname\nd\nname\ne\n"),
    ("what is no label is refused with a sentence",
     "echo 'two words' >metadata/d; cat metadata/d; "
     "grep -c '^last_error: two words: metadata' status; "
     "mkdir metadata/x 2>&1 | grep -c permitted",
     "sh: 1: echo: echo: I/O error\ne\n1\n1\n"),
    ("any port has an endpoint, and none is listed",
     "grep -c '^http://127.0.0.1:' endpoints/8080 endpoints/9; ls endpoints; "
     "ls endpoints/none 2>&1 | grep -c 'No such'",
     "endpoints/8080:1\nendpoints/9:1\n1\n"),
    ("an address for whoever has it, where there is a gateway",
     "echo 60 >endpoints/8080; grep -c 'last_error:.*signed' status",
     "sh: 1: echo: echo: I/O error\n1\n"),
    ("metrics", "jq -r '.cpu_count > 0' metrics/now.json", "true\n"),
    ("metrics as a stream",
     "head -n 2 metrics/stream 2>/dev/null | jq -r '.mem_total_mib > 0'",
     "true\ntrue\n"),
    ("the network policy is read and changed",
     "jq -r '.policy.egress[].target' network/policy.json; "
     "echo 'allow github.com' >network/policy.json; "
     "jq -r '.policy.egress[].target' network/policy.json; "
     "echo 'remove pypi.org' >network/policy.json; "
     "jq -r '.policy.egress[].target' network/policy.json",
     "pypi.org\ngithub.com\npypi.org\ngithub.com\n"),
    ("a search finds what was just written",
     "mkdir workspace/d; for i in 1 2; do echo >workspace/d/n$i.py; "
     "cat 'search/n*.py' | wc -l; done; ls search", "1\n2\n"),
    ("code contexts where there is no interpreter",
     "ls contexts; echo python 2>&1 >contexts/new; "
     "grep -c '^last_error: contexts: .* no interpreter' status",
     "new\nsh: 1: echo: echo: I/O error\n1\n"),
    ("snapshots: made, listed, deleted",
     "mkdir 'snapshots/one two' snapshots/b; ls snapshots; "
     "mkdir snapshots/b 2>&1 | grep -c exists; rmdir snapshots/b; "
     "ls snapshots; ls snapshots/restore 2>&1 | grep -c 'No such'",
     "b\none two\n1\none two\n1\n"),
    ("a new sandbox is made from one",
     "echo \"snapshot=$(jq -r .id 'snapshots/one two/info.json')\" >../new; "
     "cat ../[0-9a-f]*-*/workspace/d/n1.py; rmdir ../[0-9a-f]*-*", "\n"),
    ("a careless grep -r ends",
     "grep -rs --exclude-dir=root --exclude-dir=workspace --exclude=events "
     "nothing-like-it . ; echo $?", "1\n"),
)


class Own(unittest.TestCase):
    def setUp(self):
        self.m = Mount()
        self.addCleanup(self.m.close)
        with open(self.m.path("new"), "w") as f:
            f.write(json.dumps({
                "name": "t", "metadata": {"team": "red"},
                "networkPolicy": {"egress": [
                    {"action": "allow", "target": "pypi.org"}]}}))

    def journal(self):
        return json.loads(self.m.standin("_standin/journal"))

    def reader(self):
        """Somebody who has read a line of the stream, and reads on."""
        r = subprocess.Popen(["cat", self.m.path("t", "metrics/stream")],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertIn(b"cpu_count", r.stdout.readline())
        return r

    def type_all(self, name, transcript):
        for words, typed, want in transcript:
            r = subprocess.run(["sh", "-c", typed], cwd=self.m.path(name),
                               stdin=subprocess.DEVNULL, timeout=100,
                               stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
            with self.subTest(words):
                self.assertEqual(r.stdout.decode(), want)

    def test_every_claim(self):
        self.type_all("t", TRANSCRIPT)

    def test_code_contexts(self):
        self.m.standin("_standin/fault", b"jupyter")
        with open(self.m.path("new"), "w") as f:
            f.write('{"name": "j"}')
        self.type_all("j", (
                ("one is made, and stays where it is told",
                 "exec 3<>contexts/new; echo python >&3; read id <&3; "
                 "ls contexts | grep -c $id; jq -r .language "
                 "contexts/$id/info.json; cd contexts/$id; ls; "
                 "echo 'x = 6' >exec; exec 3<>exec; echo 'x * 7' >&3; cat <&3",
                 "1\npython\nctl\nexec\ninfo.json\n42\n"),
                ("its folder is the workspace",
                 "echo in >workspace/f; cd contexts/[0-9a-f]*; exec 3<>exec; "
                 "echo 'print(open(\"f\").read(), end=\"\"); "
                 "n = open(\"g\", \"w\").write(\"out\")' >&3; cat <&3; "
                 "cat ../../workspace/g", "in\nout"),
                ("lines, one by one as bash writes them, are one text",
                 "cd contexts/[0-9a-f]*; exec 3<>exec; bash -c \"printf "
                 "'[0]\\nfor i in range(2):\\n    print(i)\\n' >&3\"; cat <&3; "
                 "bash -c \"printf 'for z in [8]:\\n  z += 1\\n' >exec\"; "
                 "echo z >&3; cat <&3", "0\n1\n9\n"),
                ("what fails says why",
                 "cd contexts/[0-9a-f]*; exec 3<>exec; echo 1/0 >&3; "
                 "tail -n 1 <&3", "ZeroDivisionError: division by zero\n"),
                ("what runs can be interrupted",
                 "cd contexts/[0-9a-f]*; (exec 3<>exec; echo 'open(\"s\", "
                 "\"w\"); import time; time.sleep(600)' >&3; tail -n 1 <&3) & "
                 "until [ -e ../../workspace/s ]; do sleep .05; done; "
                 "echo interrupt >ctl; wait", "KeyboardInterrupt\n"),
                ("and it is ended", "rmdir contexts/[0-9a-f]*; ls contexts",
                 "new\n")))

    def test_what_follows_a_refused_piece_is_refused(self):
        fd = os.open(self.m.path("t", "metadata.json"), os.O_WRONLY)
        self.addCleanup(os.close, fd)
        os.write(fd, b'{"a":\n')
        os.write(fd, b'"x')
        with self.assertRaises(OSError) as e:
            for _ in range(9):  # the kernel may take a part of one
                os.write(fd, b"x" * (1 << 20))
        self.assertEqual(e.exception.errno, errno.E2BIG)
        with self.assertRaises(OSError) as e:
            os.write(fd, b'{"half": "x"}\n')
        self.assertEqual(e.exception.errno, errno.E2BIG)
        os.close(os.dup(fd))
        self.assertNotIn("half", os.listdir(self.m.path("t", "metadata")))

    def test_half_a_text_goes_when_it_is_read(self):
        fd = os.open(self.m.path("t", "metadata.json"), os.O_RDWR)
        self.addCleanup(os.close, fd)
        os.write(fd, b'{"a":\n')
        with self.assertRaises(OSError) as e:
            os.read(fd, 100)
        self.assertEqual(e.exception.errno, errno.EINVAL)
        os.write(fd, b'{"a":\n')
        os.write(fd, b'"b"}\n')
        os.write(fd, b"\n")
        self.assertEqual(json.loads(os.read(fd, 1000))["a"], "b")

    def test_a_late_answer_hides_no_later_name(self):
        folder = os.open(self.m.path("t", "metadata"), os.O_RDONLY)
        self.addCleanup(os.close, folder)
        with open(self.m.path("t", "metadata.json"), "w") as f:
            f.write('{"seed": "s"}')  # what was listed is old now
        self.m.standin("_standin/fault", b"hold-get")
        late = threading.Thread(
            target=os.stat, args=("team",), kwargs={"dir_fd": folder})
        late.start()
        wait_for(lambda: json.loads(
            self.m.standin("_standin/counts")).get("held"))
        with open(self.m.path("t", "metadata.json"), "w") as f:
            f.write('{"k": "v"}')
        self.m.standin("_standin/fault", b"-held")
        late.join()
        with open(self.m.path("t", "metadata", "k")) as f:
            self.assertEqual(f.read(), "v\n")

    def test_a_late_list_hides_no_later_snapshot(self):
        folder = self.m.path("t", "snapshots")
        os.mkdir(folder + "/early")
        os.rmdir(folder + "/early")  # what was listed is old now
        self.m.standin("_standin/fault", b"hold-snapshots")
        held = json.loads(self.m.standin("_standin/counts")).get("held", 0)
        late = threading.Thread(target=os.listdir, args=(folder,))
        late.start()
        wait_for(lambda: json.loads(
            self.m.standin("_standin/counts")).get("held", 0) > held)
        os.mkdir(folder + "/later")
        self.m.standin("_standin/fault", b"-held")
        late.join()
        self.assertIn("later", os.listdir(folder))
        os.rmdir(folder + "/later")

    def somebody_else(self, method, path, body=None):
        """what another client of the service asks for, and is told"""
        with urllib.request.urlopen(urllib.request.Request(
                "http://127.0.0.1:%d%s" % (self.m.port, path), body,
                {"OPEN-SANDBOX-API-KEY": "test-key",
                 "Content-Type": "application/json"}, method=method)) as r:
            return json.loads(r.read() or b"null")

    def ident(self):
        with open(self.m.path("t", "info.json")) as f:
            return json.load(f)["id"]

    def test_a_snapshot_made_anew_under_its_name_is_shown(self):
        def make():
            return self.somebody_else("POST", "/sandboxes/%s/snapshots"
                                      % self.ident(), b'{"name": "s"}')["id"]

        def shown():
            os.listdir(self.m.path("t", "snapshots"))
            with open(self.m.path("t", "snapshots", "s", "info.json")) as f:
                return json.load(f)

        def is_ready():
            return shown()["status"]["state"] == "Ready"

        def is_the_second():
            return shown()["id"] == second
        first = make()
        self.assertEqual(shown()["id"], first)
        wait_for(is_ready, 20)
        self.somebody_else("DELETE", "/snapshots/" + first)
        second = make()
        wait_for(is_the_second, 20)

    def test_making_one_that_somebody_else_has_made_keeps_his(self):
        ident = self.ident()
        os.listdir(self.m.path("t", "metadata"))
        self.somebody_else("PATCH", "/sandboxes/%s/metadata" % ident,
                           b'{"theirs": "kept"}')
        path = self.m.path("t", "metadata", "theirs")
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
        with open(path) as f:
            self.assertEqual(f.read(), "kept\n")

    def test_texts_of_the_service_are_one_line_of_status(self):
        with open(self.m.path("new"), "w") as f:
            f.write(json.dumps({"name": "liar", "image": {
                "uri": "a\nlast_error: faked\r\x1b[2Jb"}}))
        with open(self.m.path("liar", "status")) as f:
            lines = f.read().splitlines()
        self.assertIn("template: a?last_error: faked??[2Jb", lines)
        self.assertIn("last_error: ", lines)
        self.assertNotIn("last_error: faked", lines)

    def test_a_stream_waits_and_costs_nothing_unread(self):
        fd = os.open(self.m.path("t", "metrics/stream"),
                     os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, fd)
        self.assertNotIn("/metrics/watch",
                         [j.get("path") for j in self.journal()])
        self.assertEqual(os.read(fd, 4096), b"")
        self.assertNotIn("/metrics/watch",
                         [j.get("path") for j in self.journal()])
        p = select.poll()
        p.register(fd, select.POLLIN)
        # this begins it
        self.assertEqual(p.poll(60000), [(fd, select.POLLIN)])
        self.assertIn("cpu_count", json.loads(os.read(fd, 4096)))
        with self.assertRaises(BlockingIOError):
            os.read(fd, 4096)
        # cut: an error, and not for ever
        self.m.control("fault cut")
        self.assertTrue(p.poll(60000))
        with self.assertRaises(OSError) as e:
            os.read(fd, 4096)
        self.assertEqual(e.exception.errno, errno.ETIMEDOUT)

    def test_a_stream_ends_with_its_sandbox(self):
        r = self.reader()
        os.rmdir(self.m.path("t"))
        # it may be the connection that goes first
        self.assertRegex(r.communicate(timeout=60)[1],
                         b"Stale|Connection timed out")

    def test_a_killed_reader_ends_what_it_read(self):
        r = self.reader()
        r.kill()
        r.communicate(timeout=60)

        def ended():
            return any(j.get("watch") == "end" for j in self.journal())
        wait_for(ended)


class NoBash(unittest.TestCase):
    """execd starts what can be spoken with by it alone"""

    def box(self, traits):
        os.environ["STANDIN_TRAITS"] = traits
        self.addCleanup(os.environ.pop, "STANDIN_TRAITS")
        m = Mount()
        self.addCleanup(m.close)
        m.create("t")
        return m

    def fails(self, err, what, *args):
        with self.assertRaises(OSError) as e:
            what(*args)
        self.assertEqual(e.exception.errno, err)

    def test_files_are_read(self):
        m = self.box("no-bash")
        inside, here = m.sandbox_dir("t"), m.path("t", "workspace")
        os.mkdir(inside + "/sub")
        wanted = {"note": b"text\n", "data": b"\xff\0", "empty": b"",
                  "sub/x +%y": b"below\n"}
        for name, data in wanted.items():
            with open(os.path.join(inside, name), "wb") as f:
                f.write(data)
        with open(inside + "/a$HOME", "w") as f:
            f.write("not to be had")
        os.symlink("note", inside + "/link")
        os.mkfifo(inside + "/fifo")  # reading it would not end
        self.assertEqual(sorted(os.listdir(here)),
                         ["a$HOME", "data", "empty", "note", "sub"])
        for name, data in wanted.items():
            path = os.path.join(here, name)
            self.assertEqual(os.stat(path).st_size, len(data))
            with open(path, "rb") as f:
                self.assertEqual(f.read(), data, name)
        self.fails(errno.ENOENT, open, here + "/none")
        with open(here + "/a$HOME") as f:
            self.fails(errno.EOPNOTSUPP, f.read)
        self.fails(errno.EROFS, open, here + "/new", "w")
        self.fails(errno.EROFS, os.unlink, here + "/note")
        with open(m.path("t", "status")) as f:
            self.assertIn("files can only be read: the sandbox has no bash",
                          f.read())
        self.fails(errno.EOPNOTSUPP, m.run, "t", "true")

    def test_an_execd_that_lists_no_folders(self):
        m = self.box("no-bash 1.0.18")
        self.fails(errno.EOPNOTSUPP, os.listdir, m.path("t", "workspace"))


if __name__ == "__main__":
    unittest.main()
