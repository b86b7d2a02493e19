#!/usr/bin/python3
"""The Vtrix service against its stand-in, well-behaved and not.

usage: vtrix_service.py DRIVE [CASE ...]     see service_lib.py
"""
import json
import os
import socket
import tempfile
import time

import service_lib
from service_lib import (CONNECTION, EACCES, EAGAIN, EINVAL, EIO, ENOENT,
                         EOPNOTSUPP, EPROTO, ETIMEDOUT, LATER, RESUME, bad,
                         good, main, made, wait_until)

HERE = os.path.dirname(os.path.abspath(__file__))
NEVER = 0
DAY = 86400


class Standin(service_lib.Standin):
    program = os.path.join(HERE, "../services/vtrix.py")

    def __init__(self, *traits):
        super().__init__(*traits)
        self.source = "vtrix+http://127.0.0.1:%d" % self.port

    def journal(self):
        return self.ask("/_test/journal")

    def requests(self):
        return [j["request"] for j in self.journal() if "request" in j]

    def bodies(self, end):
        return [json.loads(j["body"]) for j in self.journal()
                if j.get("request", "").endswith(end) and j["body"]]

    def calls(self, method="exec"):
        return [j["params"] for j in self.journal() if j.get("rpc") == method]

    def fault(self, kind, what, n=1):
        self.ask("/_test/fault", json.dumps({"kind": kind, "what": what,
                                             "n": n}))

    def traits(self, *traits):
        self.ask("/_test/traits", json.dumps(traits))

    def recreate(self, box):
        self.ask("/_test/recreate", json.dumps({"id": box["id"]}))


class Drive(service_lib.Drive):
    def __init__(self, source, key="right-token", env=None, log=None):
        super().__init__(source, {"VTRIX_API_KEY": key, **(env or {})}, log)


def state(d, box):
    return good(d.ask("get", box["id"]))["list"][0]["state"]


def run(d, box, script="echo x"):
    return good(d.ask("run", box["id"], script))


def case_life():
    for dialect in ("g1a", "g1b"):
        with Standin(dialect, "slow-create", "slow-delete") as s, \
                Drive(s.source) as d:
            assert good(d.ask("list"))["list"] == []
            box = made(d, json.dumps({
                "name": "demo", "image": "py", "ttl_hours": 2, "cpu": 1,
                "labels": {"a": 1}, "env": {"X": "y"}}))
            assert (box["name"], box["state"], box["image"]) == (
                "demo", "running", "py"), box
            assert round((box["expires_ms"] - box["created_ms"]) / 1e3) == 7200
            assert [b["id"] for b in good(d.ask("list"))["list"]] == [
                box["id"]]
            good(d.ask("destroy", box["id"]))
            good(d.ask("destroy", box["id"]))
            bad(d.ask("get", box["id"]), ENOENT)
            assert good(d.ask("list"))["list"] == []


def case_what_is_sent_to_create():
    with Standin() as s, Drive(s.source) as d:
        made(d, '{"name":"a","timeout":90,"payloads":[{"api":"/x"}],'
             '"env":{"A":1},"user_id":"me"}')
        body = s.bodies("/create")[0]
        assert len(body["labels"].pop("sbxfs-create")) == 32, body
        assert body == {"user_id": "me", "labels": {"name": "a"},
                        "ttl_hours": 1, "payloads": [
                            {"api": "/x"},
                            {"api": "/api/v1/env", "body": {"A": "1"}}]}, body


def case_a_list_makes_nothing():
    """Q1: in the second dialect the body of a list makes a sandbox."""
    with Standin("g1b") as s, Drive(s.source) as d:
        for _ in range(3):
            assert good(d.ask("list"))["list"] == []
        assert {r.split()[0] for r in s.requests()} == {"GET"}
    with Standin("g1a") as s, Drive(s.source) as d:
        assert good(d.ask("list"))["list"] == []
        # nothing that is refused is sent to where it could be taken
        assert "POST /api/v1/sandboxes" not in s.requests()


def case_any_name_fits_into_labels():
    with Standin() as s, Drive(s.source) as d:
        for name in ("my box", "\u00fcmlaut", "-x", "x" * 64, "y" * 255,
                     "a.b_c-d"):
            box = made(d, json.dumps({"name": name}))
            assert box["name"] == name, box


def case_options_are_checked():
    with Standin() as s, Drive(s.source) as d:
        for options, word in (
                ('{"nonsense":1}', "nonsense"), ('{"ports":[80]}', "ports"),
                ('{"ttl_hours":0}', "ttl_hours"), ('{"env":[]}', "env"),
                ('{"name":"a/b"}', "name"), ("[]", "JSON")):
            bad(d.ask("create", options), EINVAL, word)
        assert s.requests() == []


def case_bad_ids_are_not_asked_for():
    with Standin() as s, Drive(s.source) as d:
        for name in (".git", "..", "a/b", "%2e", "-x", "x" * 200):
            bad(d.ask("get", name), ENOENT)
            bad(d.ask("destroy", name), ENOENT)
        assert s.requests() == []


def case_pages():
    for dialect in ("g1a", "g1b"):
        with Standin(dialect, "pages=2") as s, Drive(s.source) as d:
            ids = [made(d)["id"] for _ in range(5)]
            assert [b["id"] for b in good(d.ask("list"))["list"]] == ids


def case_run():
    with Standin() as s, Drive(s.source) as d:
        box = made(d)
        r = run(d, box, "echo out; echo err >&2; exit 7")
        assert (r["out"], r["stderr"], r["exit"]) == ("out\n", "err\n", 7), r
        assert run(d, box, "kill -9 $$")["exit"] == 137
        assert run(d, box, "cat")["out"] == ""
        r = run(d, box, "head -c 300000 /dev/zero | tr '\\0' x; echo; echo e")
        assert r["exit"] == 0 and r["out"] == "x" * 300000 + "\ne\n", len(r["out"])
        # one connection for all, and none without a limit of time
        assert sum(p.endswith("/connect") for p in s.requests()) == 1
        assert all(c["timeout"] > 0 for c in s.calls())
        r = bad(d.ask("run", "none", "true"), ENOENT)
        assert not r["maybe"], r


def case_chunks_of_each_kind():
    text = "one\ntwo\n\nthree\n"
    for trait in ("lines", "bare-lines", "raw", "newlines", "lossy"):
        with Standin(trait, "cap=4") as s, Drive(s.source) as d:
            r = run(d, made(d), "printf 'one\\ntwo\\n\\nthree\\n'")
            assert r["out"] == text, (trait, r)


def case_a_limit_is_an_error():
    with Standin() as s, Drive(s.source) as d:
        box = made(d)
        d.tell("timeout", 1000)
        r = bad(d.ask("run", box["id"], "sleep 30"), ETIMEDOUT)
        assert r["maybe"], r
        run(d, box)


def case_what_may_have_run_says_so():
    with Standin() as s, Drive(s.source) as d:
        box = made(d)
        run(d, box)
        for kind, err, retry in (
                ("lost-before", ETIMEDOUT, CONNECTION),
                ("lost-during", ETIMEDOUT, CONNECTION),
                ("lost-after", ETIMEDOUT, CONNECTION),
                ("garbage", EPROTO, CONNECTION),
                ("binary", EPROTO, CONNECTION),
                ("huge", EPROTO, CONNECTION),
                ("no-result", EPROTO, LATER)):
            s.fault(kind, "exec")
            before = len(s.calls())
            r = bad(d.ask("run", box["id"], "echo x"), err)
            assert r["maybe"] and r["retry"] == retry, (kind, r)
            # and it was not sent twice
            assert len(s.calls()) == before + 1, kind
            assert run(d, box)["out"] == "x\n"


def case_an_answer_that_never_comes():
    with Standin() as s, Drive(s.source) as d:
        box = made(d)
        run(d, box)
        s.fault("silent", "exec")
        d.tell("timeout", 200)
        r = bad(d.ask("run", box["id"], "echo x"), ETIMEDOUT)
        assert r["maybe"] and r["retry"] == CONNECTION, r
        run(d, box)
        assert sum(p.endswith("/connect") for p in s.requests()) == 2


def case_a_pod_that_vanishes():
    """Q7, Q9: nobody answers, on a connection that is fine."""
    with Standin() as s, Drive(s.source) as d:
        box = made(d)
        run(d, box)
        d.tell("timeout", 100000)
        s.ask("/_test/vanish", json.dumps({"id": box["id"]}))
        start = time.time()
        r = bad(d.ask("run", box["id"], "echo x"), ETIMEDOUT)
        assert r["maybe"] and r["retry"] == CONNECTION, r
        assert time.time() - start < 60


def case_stop_start_restart():
    for traits in (("g1a",), ("g1b", "slow-delete"), ("g1a", "always-200")):
        with Standin(*traits) as s, Drive(s.source) as d:
            box = made(d)
            run(d, box, "echo kept > f")
            assert good(d.ask("stop", box["id"]))["list"][0][
                "state"] == "stopped"
            # it is there already
            good(d.ask("stop", box["id"]))
            # a connection to it would prove nothing, and is not tried
            before = len(s.requests())
            r = bad(d.ask("run", box["id"], "true"), EAGAIN, "stopped")
            assert not r["maybe"] and r["retry"] == RESUME, r
            assert not any(p.endswith("/connect")
                           for p in s.requests()[before:])
            bad(d.ask("restart", box["id"]), EAGAIN)
            assert good(d.ask("start", box["id"]))["list"][0][
                "state"] == "running"
            good(d.ask("start", box["id"]))
            assert run(d, box, "cat f")["out"] == "kept\n"
            good(d.ask("restart", box["id"]))
            assert run(d, box, "cat f")["out"] == "kept\n"


def case_recreated():
    """Q9, Q10: the pod is another one, and at first nobody finds it."""
    with Standin("stale-start") as s, Drive(s.source) as d:
        box = made(d)
        run(d, box)
        s.recreate(box)
        end = time.time() + 30
        errors = set()
        while (r := d.ask("run", box["id"], "echo x"))["err"]:
            assert time.time() < end and r["retry"] != NEVER, r
            assert not r["maybe"] or r["err"] == ETIMEDOUT, r
            errors.add(r["status"])
        assert 502 in errors, errors


def case_extend():
    for traits in (("g1a",), ("g1a", "seconds"), ("g1b",), ("g1b", "hours"),
                   ("g1a", "strict"), ("g1b", "strict"),
                   ("g1a", "seconds", "strict")):
        with Standin(*traits) as s, Drive(s.source) as d:
            box = made(d, '{"ttl_hours":1}')
            # there is more than that left already
            r = good(d.ask("keepalive", box["id"], 600))["list"][0]
            assert r["expires_ms"] == box["expires_ms"], (traits, r)
            assert not s.bodies("/extend")
            r = good(d.ask("keepalive", box["id"], 7200))["list"][0]
            more = (r["expires_ms"] - box["expires_ms"]) / 1000
            # never less than was asked for, and no three thousand times it
            assert 7199 < more < 7201, (traits, more)
            good(d.ask("keepalive", box["id"]))
            r = good(d.ask("keepalive", box["id"], 10 * DAY))["list"][0]
            assert r["expires_ms"] / 1000 - time.time() >= DAY - 60, r


def case_an_extension_that_does_nothing():
    with Standin("no-extend") as s, Drive(s.source) as d:
        box = made(d, '{"ttl_hours":1}')
        bad(d.ask("keepalive", box["id"], 7200), EIO, "longer")


def case_refused_credentials():
    for dialect in ("g1a", "g1b"):
        with Standin(dialect) as s:
            with Drive(s.source, "wrong") as d:
                bad(d.ask("list"), EACCES, "VTRIX_API_KEY")
                bad(d.ask("run", "sb-1", "true"), EACCES, "key")
            with Drive(s.source, env={"VTRIX_PROJECT_ID": "other"}) as d:
                bad(d.ask("list"), EACCES, "project")
            with Drive(s.source, env={"VTRIX_PROJECT_ID": "proj"}) as d:
                good(d.ask("list"))
                assert s.journal()[-1]["project"] == "proj"
            with Drive(s.source, env={"VTRIX_PROJECT_ID": "a\nb"}) as d:
                bad(d.answer(), EINVAL, "VTRIX_PROJECT_ID")


def case_secrets_stay_secret():
    with Standin("preview") as s, tempfile.TemporaryFile("w+") as log:
        with Drive(s.source, env={"DEBUG": "1"}, log=log) as d:
            box = made(d, '{"env":{"SECRET":"in-the-env"}}')
            assert "preview.example" in box["info"], box
            run(d, box)
            s.fault("lost-after", "exec")
            bad(d.ask("run", box["id"], "echo x"), ETIMEDOUT)
        log.seek(0)
        text = log.read()
        assert "vtrix" in text or "service" in text, text
        for word in ("right-token", "in-the-env", "preview.example"):
            assert word not in text, text


def case_a_restart_that_begins_late():
    """"active" is no proof: it was that before, too."""
    with Standin("late-restart") as s, Drive(s.source) as d:
        box = made(d)

        def begun():
            return s.ask("/_test/folder",
                         json.dumps({"id": box["id"]}))["begun"]
        good(d.ask("restart", box["id"]))
        assert begun() == 1
        good(d.ask("own write", box["id"], "update", '{"cpu":2}'))
        assert begun() == 2
        # nor is it waited for where nothing begins
        good(d.ask("own write", box["id"], "configure", "\n"))


def case_previews():
    with Standin("preview-url") as s, Drive(s.source) as d:
        box = made(d)
        assert box["ports"] == [
            {"port": 8080, "url": "https://one.preview.example/x"}], box


def case_second_generation():
    """Its list is shown; commands it must be asked for in another way."""
    with Standin("g2") as s, Drive(s.source) as d:
        made(d)
        listed = good(d.ask("list"))["list"]
        assert [b["state"] for b in listed] == ["running"], listed
        r = bad(d.ask("run", listed[0]["id"], "true"), EOPNOTSUPP,
                "generation")
        assert r["retry"] == NEVER, r


def case_methods_that_are_missing():
    with Standin("no-exec") as s, Drive(s.source) as d:
        r = bad(d.ask("run", made(d)["id"], "true"), EOPNOTSUPP)
        assert r["retry"] == NEVER and not r["maybe"], r


def case_start_in_vain_leaves_nothing():
    with Standin("create-fails") as s, Drive(s.source) as d:
        bad(d.ask("create", "{}"), EIO, "start")
        assert good(d.ask("list"))["list"] == []


def case_lost_answer_creates_once():
    for dialect, what in (("g1a", "/create"), ("g1b", "POST /api/v1/sandboxes")):
        with Standin(dialect, "pages=2") as s, Drive(s.source) as d:
            made(d)
            s.fault("lost-after", what)
            box = made(d, '{"name":"once"}')
            assert box["name"] == "once"
            assert len(good(d.ask("list"))["list"]) == 2


def case_lost_answer_on_a_later_page():
    for dialect, what in (("g1a", "/create"), ("g1b", "POST /api/v1/sandboxes")):
        with Standin(dialect, "pages=1") as s, Drive(s.source) as d:
            for _ in range(3):
                made(d)
            s.fault("lost-after", what)
            assert made(d, '{"name":"last"}')["name"] == "last"
            assert len(good(d.ask("list"))["list"]) == 4


def case_a_list_without_end():
    """what is not found in it may be there: it is not made again"""
    for dialect, what in (("g1a", "/create"), ("g1b", "POST /api/v1/sandboxes")):
        with Standin(dialect, "endless") as s, Drive(s.source) as d:
            made(d)
            bad(d.ask("list"), EPROTO, "more sandboxes than can be shown")
            s.fault("lost-after", what)
            assert d.ask("create", "{}")["err"] != 0
            assert sum(what in r for r in s.requests()) == 2


def case_a_gateway_below_a_path():
    for dialect in ("g1a", "g1b"):
        with Standin(dialect, "below=/team/hermes") as s:
            with Drive(s.source + "/team/hermes/") as d:
                box = made(d)
                said_hi(d, box)
                assert good(d.ask("get", box["id"]))["list"]
            with Drive(s.source + "/team/hermes/" + box["id"]) as d:
                assert len(good(d.ask("list"))["list"]) == 1
                good(d.ask("destroy", box["id"]))
            with Drive(s.source) as d:
                bad(d.ask("list"), EPROTO)


def said_hi(d, box):
    assert good(d.ask("run", box["id"], "echo hi"))["out"] == "hi\n"


def case_a_gateway_that_is_replaced():
    """by one of the other dialect, while it is in use"""
    for first, second in (("g1a", "g1b"), ("g1b", "g1a")):
        with Standin(first) as s, Drive(s.source) as d:
            box = made(d)
            said_hi(d, box)
            s.traits(second)
            assert good(d.ask("get", box["id"]))["list"]
            said_hi(d, box)
            s.traits(first)
            assert good(d.ask("list"))["list"]
            s.traits(second)
            made(d)
            bad(d.ask("get", "none"), ENOENT)
            # each time one list more was asked for, and nothing made twice
            assert len(good(d.ask("list"))["list"]) == 2


def case_ids_of_many_letters():
    """nothing is told of them but that they are in paths"""
    for dialect in ("g1a", "g1b"):
        with Standin(dialect, "odd-ids") as s, Drive(s.source) as d:
            box = made(d)
            assert box["id"].endswith("_.:@+~=,"), box
            assert [b["id"] for b in good(d.ask("list"))["list"]] == [
                box["id"]]
            good(d.ask("get", box["id"]))
            assert run(d, box)["out"] == "x\n"
            good(d.ask("stop", box["id"]))
            good(d.ask("destroy", box["id"]))
            bad(d.ask("get", box["id"]), ENOENT)


def case_no_time_is_none():
    with Standin("year-one") as s, Drive(s.source) as d:
        box = made(d)
        assert (box["created_ms"], box["expires_ms"]) == (0, 0), box


def case_single_looks_that_fail_end_no_create():
    with Standin("slow-create") as s, Drive(s.source) as d:
        good(d.ask("list"))
        d.tell("create", "{}")
        wait_until(lambda: any(r.endswith("/create") for r in s.requests()))
        # more than one request is repeated for
        s.fault("lost-before", "", 5)
        assert good(d.answer())["list"][0]["state"] == "running"


def case_configure_of_a_pod_that_is_not_found_yet():
    """Q10"""
    with Standin("stale-start", "stale-500") as s, Drive(s.source) as d:
        box = made(d)
        good(d.ask("restart", box["id"]))
        good(d.ask("own", "write", box["id"], "configure",
                   '{"env":{"A":"b"}}'))
        assert len(s.bodies("/configure")) == 3


def case_a_second_destroy():
    """Q11: it is an error, and the first one takes its time."""
    for trait in ("g1a", "only-400"):
        second_destroy(trait)


def second_destroy(trait):
    with Standin("slow-delete", trait) as s, Drive(s.source) as d:
        box = made(d)
        s.fault("lost-after", box["id"])
        good(d.ask("destroy", box["id"]))
        assert [r.split()[0] for r in s.requests()].count("DELETE") > 1, \
            s.requests()
        bad(d.ask("get", box["id"]), ENOENT)


def case_flaky():
    with Standin() as s, Drive(s.source) as d:
        box = made(d)
        for kind in ("lost-before", "lost-after", "half"):
            s.fault(kind, "/list")
            good(d.ask("list"))
            s.fault(kind, box["id"])
            good(d.ask("get", box["id"]))
        s.fault("garbage", "/list")
        bad(d.ask("list"), EPROTO)
        s.fault("huge", "/list")
        bad(d.ask("list"), EPROTO)


def case_rate_limit():
    for trait in ("strict", "always-200"):
        rate_limit(trait)


def rate_limit(trait):
    with Standin(trait) as s, Drive(s.source) as d:
        good(d.ask("list"))
        s.fault("limit", "/list")
        start = time.time()
        good(d.ask("list"))
        assert time.time() - start > 1
        d.tell("timeout", 1000)
        s.fault("limit", "/list", 9)
        r = bad(d.ask("list"), EAGAIN)
        assert r["status"] == 429 and r["retry"] == LATER, r


def case_silent():
    with Standin() as s, Drive(s.source) as d:
        good(d.ask("list"))
        d.tell("timeout", 300)
        s.fault("silent", "/list", 9)
        r = bad(d.ask("list"), ETIMEDOUT)
        assert r["retry"] == CONNECTION, r


def case_a_page_for_people():
    with Standin("html") as s, Drive(s.source) as d:
        r = bad(d.ask("list"), EAGAIN)
        assert r["status"] == 503, r


def case_nobody_there():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with Drive("vtrix+http://127.0.0.1:%d" % port) as d:
        r = bad(d.ask("list"), ETIMEDOUT)
        assert r["retry"] == CONNECTION, r


def case_another_server():
    opensandbox = os.path.join(HERE, "../services/opensandbox.py")

    class Other(service_lib.Standin):
        program = opensandbox
    with Other() as s, Drive("vtrix+http://127.0.0.1:%d" % s.port) as d:
        bad(d.ask("list"), EPROTO, "address")


def case_closing_with_calls_under_way():
    with Standin() as s:
        with Drive(s.source) as d:
            d.tell("quick")  # while it finds out about the dialect
        with Drive(s.source) as d:
            d.tell("leave", made(d)["id"], "true")
        with Drive(s.source) as d:
            box = made(d)
            run(d, box)
            s.fault("silent", "exec")
            d.tell("leave", box["id"], "true")


main(globals())
