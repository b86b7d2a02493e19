"""A mount of the time-travel service's stand-in, for one test program."""
import json
import os
import subprocess
import urllib.request

from sbxmount import Mount

HERE = os.path.dirname(os.path.abspath(__file__))
STANDIN = os.path.join(HERE, "..", "services", "timetravel.py")
KEY = "ws_" + "0123456789abcdef" * 3


class TimetravelMount(Mount):
    def start_agent(self):
        self.agent = subprocess.Popen(
            ["/usr/bin/python3", STANDIN, "--dir",
             os.path.join(self.dir, "sandboxes"), "--port", str(self.port)] +
            self.agent_args, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self.log, text=True)
        word = self.agent.stdout.readline().split()
        if not word or word[0] != "ready":
            raise AssertionError("the stand-in did not start")
        self.port = int(word[1])

    def source(self):
        return "timetravel+http://127.0.0.1:%d" % self.port

    def key(self):
        return {"TIMETRAVEL_API_KEY": KEY}

    def ask(self, path, body=None):
        url = "http://127.0.0.1:%d%s" % (self.port, path)
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {
            "Content-Type": "application/json", "x-api-key": KEY})
        with urllib.request.urlopen(request, timeout=60) as f:
            return json.load(f)

    def fault(self, kind, n=1, path="/run", says=""):
        self.ask("/_test/fault", {"kind": kind, "n": n, "path": path,
                                  "says": says})

    def sandbox_dir(self, name):
        return self.ask("/_test/folder", {"vm": name})["workspace"]

    def requests(self):
        return self.ask("/_test/journal")

    def runs(self, ours=None):
        """Commands that ran so far; ours: those of sbxfs, or of users."""
        return [e["command"] for e in self.requests() if "command" in e and
                (ours is None or ours == e["command"].startswith(": sbxfs;"))]

    def close(self):
        if self.agent and self.agent.poll() is None:
            self.agent.stdin.close()
            self.agent.stdin = None
        super().close()
