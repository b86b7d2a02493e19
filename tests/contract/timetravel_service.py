#!/usr/bin/python3
"""The time-travel service against its stand-in, well-behaved and not.

usage: timetravel_service.py DRIVE [CASE ...]     see service_lib.py
"""
import json
import os
import socket
import threading
import time

import service_lib
from service_lib import (CONNECTION, E2BIG, EACCES, EAGAIN, EINVAL, EIO,
                         ENOENT, EPROTO, ETIMEDOUT, LATER, bad, good)

HERE = os.path.dirname(os.path.abspath(__file__))
KEY = "ws_" + "0123456789abcdef" * 3
EEXIST, ENODEV = -17, -19
NEVER = 0


class Standin(service_lib.Standin):
    program = os.path.join(HERE, "../services/timetravel.py")

    def __init__(self, *words):
        super().__init__(*words)
        self.source = "timetravel+http://127.0.0.1:%d" % self.port

    def fault(self, kind, path="/run", n=1):
        self.ask("/_test/fault", json.dumps({"kind": kind, "path": path,
                                             "n": n}))

    def paths(self):
        return [e["path"] for e in self.ask("/_test/journal")]


class Drive(service_lib.Drive):
    def __init__(self, source, key=KEY):
        super().__init__(source, {"TIMETRAVEL_API_KEY": key})


def case_life():
    with Standin() as s, Drive(s.source) as d:
        assert good(d.ask("list"))["list"] == []
        box = good(d.ask("create", '{"name":"a.b_c-1"}'))["list"][0]
        assert (box["id"], box["name"], box["state"], box["image"]) == (
            "a.b_c-1", "a.b_c-1", "running", "docker"), box
        assert abs(box["created_ms"] / 1000 - time.time()) < 60
        bad(d.ask("create", '{"name":"a.b_c-1"}'), EEXIST)
        made = good(d.ask("create", "{}"))["list"][0]["id"]
        assert [b["id"] for b in good(d.ask("list"))["list"]] == [
            made, "a.b_c-1"]
        good(d.ask("get", made))
        good(d.ask("destroy", made))
        good(d.ask("destroy", made))
        bad(d.ask("get", made), ENOENT)


def case_bad_names_are_not_asked_for():
    with Standin() as s, Drive(s.source) as d:
        before = len(s.paths())
        for name in (".git", "..", "a/b", "%2e", "-x", "x" * 200):
            bad(d.ask("get", name), ENOENT)
            bad(d.ask("create", json.dumps({"name": name})), EINVAL)
        bad(d.ask("create", '{"image":"x"}'), EINVAL, "image")
        assert len(s.paths()) == before


def case_run():
    with Standin() as s, Drive(s.source) as d:
        good(d.ask("create", '{"name":"v"}'))
        r = good(d.ask("run", "v", "echo out; echo err >&2; exit 7"))
        assert (r["out"], r["stderr"], r["exit"]) == ("out\n", "err\n", 7), r
        assert good(d.ask("run", "v", "kill -9 $$"))["exit"] == 137
        assert good(d.ask("run", "v", "cat"))["out"] == ""
        bad(d.ask("run", "none", "true"), ENOENT)
        bad(d.ask("run", "v", ": " + '"' * 60000), E2BIG)


def case_what_may_have_run_says_so():
    with Standin() as s, Drive(s.source) as d:
        good(d.ask("create", '{"name":"v"}'))
        for kind, err, retry in (
                ("unique", EAGAIN, LATER), ("lost-after", ETIMEDOUT,
                                            CONNECTION),
                ("lost-before", ETIMEDOUT, CONNECTION),
                ("html-500", EIO, LATER), ("garbage", EPROTO, LATER),
                ("half", EPROTO, LATER)):
            s.fault(kind)
            before = len(s.paths())
            r = bad(d.ask("run", "v", "true"), err)
            assert r["maybe"] and r["retry"] == retry, (kind, r)
            # and it was not sent twice
            assert len(s.paths()) == before + 1, kind
        good(d.ask("run", "v", "true"))


def case_lost_in_a_restart():
    with Standin() as s, Drive(s.source) as d:
        good(d.ask("create", '{"name":"v"}'))
        s.ask("/_test/restart", "{}")
        # a listing says running, before and after it was looked at
        assert good(d.ask("list"))["list"][0]["state"] == "running"
        assert good(d.ask("get", "v"))["list"][0]["state"] == "error"
        assert good(d.ask("list"))["list"][0]["state"] == "error"
        r = bad(d.ask("run", "v", "true"), ENODEV, "destroy")
        assert not r["maybe"] and r["retry"] == NEVER, r
        good(d.ask("destroy", "v"))
        good(d.ask("create", '{"name":"v"}'))
        assert good(d.ask("list"))["list"][0]["state"] == "running"


def case_creation_goes_wrong():
    with Standin() as s, Drive(s.source) as d:
        s.fault("create-error", "/vms")
        bad(d.ask("create", '{"name":"v"}'), EIO)
        assert good(d.ask("list"))["list"] == []
        # (the next fault is for the second request of that path)
        s.fault("lost-after", "/vms")
        assert good(d.ask("create", '{"name":"w"}'))["list"][0]["id"] == "w"
        assert len(good(d.ask("list"))["list"]) == 1


def case_listing_goes_wrong():
    with Standin() as s, Drive(s.source) as d:
        s.fault("html-500", "/vms")
        good(d.ask("list"))
        s.fault("garbage", "/vms")
        bad(d.ask("list"), EPROTO)
        s.fault("lost-after", "/vms")
        good(d.ask("list"))


def case_wrong_key():
    with Standin() as s, Drive(s.source, "ws_wrong") as d:
        bad(d.ask("list"), EACCES, "key")


def case_nobody_there():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with Drive("timetravel+http://127.0.0.1:%d" % port) as d:
        r = bad(d.ask("list"), ETIMEDOUT)
        assert r["retry"] == CONNECTION, r


def answering(body, kind="text/html", status="404 Not Found"):
    """A server that says the same to all."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                c = server.accept()[0]
            except OSError:
                return
            c.recv(65536)
            c.sendall(("HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: "
                       "%d\r\nConnection: close\r\n\r\n%s" % (
                           status, kind, len(body), body)).encode())
            c.close()
    threading.Thread(target=serve, daemon=True).start()
    return server


def case_another_server():
    server = answering("<html>no such page</html>")
    with Drive("timetravel+http://127.0.0.1:%d" %
               server.getsockname()[1]) as d:
        bad(d.ask("list"), EPROTO, "address")
    server.shutdown(socket.SHUT_RDWR)
    server.close()


def case_closing_with_calls_under_way():
    with Standin() as s:
        with Drive(s.source) as d:
            good(d.ask("create", '{"name":"v"}'))
            d.proc.stdin.write("quick\n")


service_lib.main(globals())
