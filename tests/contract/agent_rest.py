"""The REST interface of the agent: protocols' sections 1.1 to 1.5, 1.7."""
import asyncio
import re
import unittest

from agent_lib import AgentCase, KEY, READY, Agent, until, WAIT


class Common(AgentCase):
    async def test_health_and_metrics_need_no_key(self):
        async with self.new_session(Authorization="") as s:
            status, text, _ = await self.rest("GET", "/healthz", session=s)
            self.assertEqual((status, text), (200, "ok"))
            status, text, _ = await self.rest("GET", "/metrics", session=s)
            self.assertEqual(status, 200)
            self.assertIn("xgen_sandboxes_active 0", text)

    async def test_unknown_route_is_plain_404(self):
        for path in ("/", "/api/v3/sandboxes", "/api/v2/sandboxes/",
                     "/api/v2/sandboxes/x/nothing", "/api/v2"):
            status, text, headers = await self.rest("GET", path)
            self.assertEqual((status, text), (404, "404 page not found\n"),
                             path)
            self.assertIn("text/plain", headers["Content-Type"])

    async def test_wrong_method_is_empty_405(self):
        for method, path in (("PUT", "/api/v2/sandboxes"),
                             ("PATCH", "/api/v1/sandboxes/x"),
                             ("GET", "/api/v2/sandboxes/x/exec")):
            status, text, _ = await self.rest(method, path)
            self.assertEqual((status, text), (405, ""), path)

    async def test_options_and_cors(self):
        status, text, headers = await self.rest("OPTIONS", "/what/ever")
        self.assertEqual((status, text), (204, ""))
        self.assertEqual(headers["Access-Control-Allow-Origin"], "*")
        _, _, headers = await self.rest("GET", "/api/v2/sandboxes")
        self.assertEqual(headers["Access-Control-Allow-Origin"], "*")

    async def test_v1_is_deprecated_v2_is_not(self):
        _, _, headers = await self.rest("GET", "/api/v1/sandboxes")
        self.assertEqual(headers["Deprecation"], "true")
        self.assertEqual(headers["Sunset"], "Sun, 01 Nov 2026 00:00:00 GMT")
        self.assertTrue(headers["Warning"].startswith("299 "))
        self.assertIn('rel="deprecation"', headers["Link"])
        _, _, headers = await self.rest("GET", "/api/v2/sandboxes")
        self.assertNotIn("Deprecation", headers)
        _, _, headers = await self.rest(
            "GET", "/api/v1/sandboxes", headers={"Authorization": "ApiKey no"})
        self.assertNotIn("Deprecation", headers)

    async def test_one_connection_carries_many_requests(self):
        for _ in range(30):
            status, _, _ = await self.rest("GET", "/api/v2/sandboxes")
            self.assertEqual(status, 200)

    async def test_bad_bodies(self):
        for body in ("", "{", "[]", '"x"', "null"):
            for path in ("/api/v2/sandboxes", "/api/v2/auth/token"):
                status, answer, _ = await self.rest("POST", path, data=body)
                self.assertEqual((status, answer["code"]),
                                 (400, "INVALID_REQUEST"), (path, body))
        status, answer, _ = await self.rest("POST", "/api/v1/sandboxes",
                                            data="{")
        self.assertEqual(status, 400)
        self.assertEqual(answer["code"], "INVALID_REQUEST")
        self.assertIn("error", answer)


class Credentials(AgentCase):
    async def refused(self, text, params=None, **headers):
        async with self.new_session(**headers) as s:
            if headers.get("Authorization") == "":
                s.headers.popall("Authorization")
            for path in ("/api/v1/sandboxes", "/api/v2/sandboxes"):
                status, answer, headers = await self.rest(
                    "GET", path, session=s, params=params)
                self.assertEqual((status, answer), (401, {"error": text}))
                self.assertIn("text/plain", headers["Content-Type"])

    async def test_refusals(self):
        await self.refused("missing authorization", Authorization="")
        await self.refused("invalid authorization format", Authorization="x")
        await self.refused("unsupported auth scheme", Authorization="Basic x")
        await self.refused("unsupported auth scheme",
                           Authorization=f"apikey {KEY}")
        await self.refused("invalid API key", Authorization="ApiKey x")
        await self.refused("invalid token format", Authorization="Bearer x")
        await self.refused("invalid token signature",
                           Authorization="Bearer x.y")

    async def token(self, version="v2"):
        status, answer, _ = await self.rest(
            "POST", f"/api/{version}/auth/token", {"api_key": KEY})
        self.assertEqual(status, 200)
        return answer

    async def test_token_exchange(self):
        answer = await self.token()
        self.assertEqual(set(answer), {"token", "expires_at_ms"})
        self.assertEqual(answer["token"].count("."), 1)
        answer = await self.token("v1")
        self.assertEqual(set(answer), {"token", "expires_at"})
        status, answer, _ = await self.rest(
            "POST", "/api/v2/auth/token", {"api_key": "no"})
        self.assertEqual((status, answer["code"], answer["retryable"]),
                         (401, "UNAUTHORIZED", False))

    async def test_token_is_good_in_header_and_query(self):
        token = (await self.token())["token"]
        async with self.new_session(Authorization=f"Bearer {token}") as s:
            status, _, _ = await self.rest("GET", "/api/v2/sandboxes",
                                           session=s)
            self.assertEqual(status, 200)
        async with self.new_session(Authorization="") as s:
            s.headers.popall("Authorization")
            status, _, _ = await self.rest(
                "GET", "/api/v2/sandboxes", session=s,
                params={"token": token})
            self.assertEqual(status, 200)
        # the key is no token, and a good query does not rescue a bad header
        await self.refused("invalid token format", {"token": KEY},
                           Authorization="")
        await self.refused("invalid API key", {"token": token},
                           Authorization="ApiKey no")


class TokenLife(AgentCase):
    traits = ("token-life-s=1",)

    async def test_token_expires(self):
        _, answer, _ = await self.rest("POST", "/api/v2/auth/token",
                                       {"api_key": KEY})
        async with self.new_session(
                Authorization=f"Bearer {answer['token']}") as s:
            async def poll():
                while True:
                    status, answer, _ = await self.rest(
                        "GET", "/api/v2/sandboxes", session=s)
                    if status == 401:
                        return answer
                    await asyncio.sleep(0.05)
            self.assertEqual(await asyncio.wait_for(poll(), WAIT),
                             {"error": "token expired"})


class RateLimit(AgentCase):
    async def exhaust(self, session, **more):
        for i in range(121):
            status, text, headers = await self.rest(
                "GET", "/api/v2/sandboxes", session=session, **more)
            if status == 429:
                break
        self.assertEqual(i, 120)
        self.assertEqual(text, "rate limit exceeded\n")
        self.assertIn("text/plain", headers["Content-Type"])
        self.assertNotIn("Retry-After", headers)

    async def test_each_connection_has_its_own(self):
        await self.exhaust(self.session)
        async with self.new_session() as s:
            status, _, _ = await self.rest("GET", "/api/v2/sandboxes",
                                           session=s)
            self.assertEqual(status, 200)
        # what needs no credentials is not counted
        status, _, _ = await self.rest("GET", "/healthz")
        self.assertEqual(status, 200)

    async def test_forwarded_for_is_one_bucket(self):
        async with self.new_session(**{"X-Forwarded-For": "1.2.3.4"}) as s:
            await self.exhaust(s)
        async with self.new_session(**{"X-Forwarded-For": "1.2.3.4"}) as s:
            status, _, _ = await self.rest("GET", "/api/v2/sandboxes",
                                           session=s)
            self.assertEqual(status, 429)
        async with self.new_session(**{"X-Forwarded-For": "1.2.3.5"}) as s:
            status, _, _ = await self.rest("GET", "/api/v2/sandboxes",
                                           session=s)
            self.assertEqual(status, 200)


class Sandboxes(AgentCase):
    async def test_create_list_get_delete(self):
        first = await self.create()
        self.assertRegex(first["id"], r"^[0-9a-f]{8}-[0-9a-f]{3}$")
        self.assertEqual(first["status"], "starting")
        self.assertEqual(first["template"], "base")
        self.assertFalse(first["from_warm_pool"])
        for absent in ("metadata", "capabilities", "preview_urls", "vnc_url"):
            self.assertNotIn(absent, first)
        second = await self.create({"template": "python"}, version="v1")
        self.assertEqual(second["template"], "python")
        self.assertRegex(second["created_at"],
                         r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(Z|[+-])")
        self.assertNotIn("created_at_ms", second)
        self.assertNotIn("from_warm_pool", second)
        _, sandboxes, _ = await self.rest("GET", "/api/v2/sandboxes")
        self.assertEqual({s["id"] for s in sandboxes},
                         {first["id"], second["id"]})
        status, _, _ = await self.rest(
            "DELETE", f"/api/v2/sandboxes/{first['id']}")
        self.assertEqual(status, 204)
        status, answer, _ = await self.rest(
            "GET", f"/api/v2/sandboxes/{first['id']}")
        self.assertEqual((status, answer["code"]), (404, "SANDBOX_NOT_FOUND"))
        self.assertEqual(answer["details"], {"sandbox_id": first["id"]})
        status, answer, _ = await self.rest(
            "GET", f"/api/v1/sandboxes/{first['id']}")
        self.assertEqual(answer["details"],
                         '{"sandbox_id":"%s"}' % first["id"])
        for _ in range(2):
            status, text, _ = await self.rest(
                "DELETE", f"/api/v2/sandboxes/{first['id']}")
            self.assertEqual((status, text), (204, ""))

    async def test_members_come_back(self):
        sandbox = await self.create({
            "metadata": {"name": "demo"}, "capabilities": ["sudo"],
            "ports": [3000, 8080], "env": {"A": "b"}, "gui": False,
            "unknown": [1], "resources": {"cpu": "many"}})
        self.assertEqual(sandbox["metadata"], {"name": "demo"})
        self.assertEqual(sandbox["capabilities"], ["sudo"])
        self.assertEqual(set(sandbox["preview_urls"]), {"3000", "8080"})
        self.assertIn(f"sbx-{sandbox['id']}-3000.",
                      sandbox["preview_urls"]["3000"])
        _, services, _ = await self.rest(
            "GET", f"/api/v2/sandboxes/{sandbox['id']}/services")
        self.assertEqual([s["port"] for s in services], [3000, 8080])
        self.assertEqual(services[0]["preview_url"],
                         sandbox["preview_urls"]["3000"])

    async def test_bad_members(self):
        for body in ({"template": 1}, {"timeout_ms": "x"}, {"env": []},
                     {"metadata": {"a": 1}}, {"ports": ["x"]},
                     {"gui": "yes"}, {"capabilities": [1]}):
            status, answer, _ = await self.rest("POST", "/api/v2/sandboxes",
                                                body)
            self.assertEqual((status, answer["code"]),
                             (400, "INVALID_REQUEST"), body)
        for body, field in (({"ports": [0]}, "ports"),
                            ({"ports": [65536]}, "ports"),
                            ({"ports": [1, 1]}, "ports"),
                            ({"metadata": {"k" * 129: ""}}, "metadata"),
                            ({"metadata": {"k": "v" * 1025}}, "metadata"),
                            ({"metadata": {str(i): "" for i in range(21)}},
                             "metadata"),
                            ({"capabilities": ["fly"]}, "capabilities")):
            status, answer, _ = await self.rest("POST", "/api/v2/sandboxes",
                                                body)
            self.assertEqual((status, answer["code"]),
                             (400, "INVALID_PARAMETER"), body)
            self.assertEqual(answer["details"]["field"], field)
        for env in ({"PATH": ""}, {"LD_PRELOAD": ""}, {"1a": ""}, {"": ""},
                    {"SANDBOX_X": ""}, {str("A%d" % i): "" for i in range(51)}):
            status, answer, _ = await self.rest("POST", "/api/v2/sandboxes",
                                                {"env": env})
            self.assertEqual((status, answer["code"], answer["retryable"]),
                             (503, "POD_CREATE_FAILED", True), env)
            self.assertEqual(answer["details"]["template"], "base")

    async def test_exec(self):
        sandbox = await self.create()
        s = await self.connect(sandbox["id"])
        await s.wait(lambda m: m.kind == READY)
        path = f"/api/v2/sandboxes/{sandbox['id']}/exec"
        status, answer, _ = await self.rest("POST", path, {
            "command": "sh", "args": ["-c", "echo $A; echo e >&2; exit 3"],
            "env": {"A": "b"}, "cwd": "/tmp"})
        self.assertEqual((status, answer), (200, {
            "exit_code": 3, "stdout": "b\n", "stderr": "e\n"}))
        _, answer, _ = await self.rest("POST", path, {"command": "echo hi"})
        self.assertEqual(answer["exit_code"], 127)
        _, answer, _ = await self.rest("POST", path, {
            "command": "printf", "args": ["a\\377\\303\\251\\000"]})
        self.assertEqual(answer["stdout"], "a\ufffd\u00e9\x00")
        status, answer, _ = await self.rest("POST", path, {
            "command": "sleep", "args": ["1000"], "timeout_ms": 100})
        self.assertEqual((status, answer["code"]), (504, "EXEC_TIMEOUT"))
        # it goes on
        code, _, _ = await s.sh("until pgrep -f 'sleep 1[0]00'; do "
                                "sleep 0.05; done")
        self.assertEqual(code, 0)
        for body in ({}, {"command": ""}, {"command": 1},
                     {"command": "a", "args": "b"}):
            status, answer, _ = await self.rest("POST", path, body)
            self.assertEqual((status, answer["code"]),
                             (400, "INVALID_REQUEST"), body)
        status, answer, _ = await self.rest("POST", path, {
            "command": "true", "args": ["x" * 33000]})
        self.assertEqual(status, 500)
        self.assertIn("StatusMessageTooBig", answer["message"])
        status, answer, _ = await self.rest(
            "POST", "/api/v2/sandboxes/00000000-000/exec", {"command": "a"})
        self.assertEqual(status, 404)

    async def test_dead_sidecar(self):
        ident, s = await self.open()
        self.agent.fault(f"dead-sidecar {ident}")
        self.assertIsNone(await s.receive())
        self.assertEqual(s.ws.close_code, 1006)
        s = await self.connect(ident)
        self.assertIsNone(await s.receive())
        self.assertEqual(s.ws.close_code, 1011)
        status, answer, _ = await self.rest(
            "POST", f"/api/v2/sandboxes/{ident}/exec", {"command": "true"})
        self.assertEqual((status, answer["code"], answer["retryable"]),
                         (503, "SIDECAR_UNREACHABLE", True))
        _, answer, _ = await self.rest("GET", f"/api/v2/sandboxes/{ident}")
        self.assertEqual(answer["status"], "running")

    async def test_admin(self):
        await self.create()
        status, answer, _ = await self.rest("GET", "/api/v2/admin/summary")
        self.assertEqual((status, answer["active_sandboxes"]), (200, 1))

    async def test_folder_goes_with_the_sandbox(self):
        import os
        ident, s = await self.open()
        await s.sh("mkdir -p a/b; chmod 0 a; ln -s / root")
        folder = os.path.join(self.agent.dir, ident)
        self.assertTrue(os.path.isdir(os.path.join(folder, "workspace")))
        await self.rest("DELETE", f"/api/v2/sandboxes/{ident}")
        self.assertIsNone(await s.receive())
        self.assertEqual(s.ws.close_code, 1006)
        trash = os.path.join(self.agent.dir, ".agent", "trash")
        await until(lambda: not os.path.exists(folder) and
                    not os.listdir(trash))


class Starting(AgentCase):
    traits = ("start-delay-ms=1500", "address-delay-ms=300")

    async def test_starting_then_running_then_reachable(self):
        import aiohttp
        # a random delay, so that some take long enough to look at
        ids = [(await self.create(wait=False))["id"] for _ in range(8)]
        status, answer, _ = await self.rest(
            "POST", f"/api/v2/sandboxes/{ids[-1]}/exec", {"command": "true"})
        self.assertEqual((status, answer["message"]),
                         (500, f"sandbox not ready: {ids[-1]}"))
        with self.assertRaises(aiohttp.WSServerHandshakeError) as refused:
            await self.session.ws_connect(
                f"{self.agent.url}/api/v2/sandboxes/{ids[-1]}/ws")
        self.assertEqual(refused.exception.status, 503)
        await self.until_running(ids[0])
        s = await self.connect(ids[0])
        await s.wait(lambda m: m.kind == READY)


class Expiry(AgentCase):
    traits = ("expiry-check-ms=100", "life-s=3600", "max-life-s=86400")

    async def test_life(self):
        now = (await self.create())
        self.assertAlmostEqual(now["expires_at_ms"] - now["created_at_ms"],
                               3600000, delta=5)
        long = await self.create({"timeout_ms": 10 ** 12})
        self.assertAlmostEqual(long["expires_at_ms"] - long["created_at_ms"],
                               86400000, delta=5)
        short = await self.create({"timeout_seconds": 60}, version="v1")
        self.assertIn("expires_at", short)

    async def test_keepalive_shortens(self):
        sandbox = await self.create({"timeout_ms": 80000000})
        path = f"/api/v2/sandboxes/{sandbox['id']}"
        status, text, _ = await self.rest("POST", path + "/keepalive")
        self.assertEqual((status, text), (204, ""))
        _, after, _ = await self.rest("GET", path)
        self.assertLess(after["expires_at_ms"], sandbox["expires_at_ms"])
        status, _, _ = await self.rest(
            "POST", "/api/v2/sandboxes/nobody/keepalive")
        self.assertEqual(status, 404)

    async def test_expired_is_404_and_drops_sockets(self):
        sandbox = await self.create({"timeout_ms": 2500})
        s = await self.connect(sandbox["id"])
        await s.wait(lambda m: m.kind == READY)
        self.assertIsNone(await s.receive())
        self.assertEqual(s.ws.close_code, 1006)
        status, _, _ = await self.rest("GET",
                                       f"/api/v2/sandboxes/{sandbox['id']}")
        self.assertEqual(status, 404)


class OldServer(AgentCase):
    traits = ("v2=off",)

    async def test_v2_is_an_unknown_route(self):
        status, text, headers = await self.rest("GET", "/api/v2/sandboxes")
        self.assertEqual((status, text), (404, "404 page not found\n"))
        status, _, _ = await self.rest("GET", "/api/v1/sandboxes")
        self.assertEqual(status, 200)


class WarmPool(AgentCase):
    traits = ("warm-pool=on",)

    async def test_pod_survives_delete(self):
        sandbox = await self.create(wait=False)
        self.assertEqual((sandbox["status"], sandbox["from_warm_pool"]),
                         ("running", True))
        ident = sandbox["id"]
        _, again, _ = await self.rest("GET", f"/api/v2/sandboxes/{ident}")
        self.assertFalse(again["from_warm_pool"])
        s = await self.connect(ident)
        await self.rest("DELETE", f"/api/v2/sandboxes/{ident}")
        status, _, _ = await self.rest("GET", f"/api/v2/sandboxes/{ident}")
        self.assertEqual(status, 404)
        self.assertEqual((await s.run("true"))[0], 0)

    async def test_pod_survives_its_expiry(self):
        ident = (await self.create(wait=False))["id"]
        s = await self.connect(ident)
        self.agent.fault(f"expire {ident}")
        while (await self.rest("GET", f"/api/v2/sandboxes/{ident}"))[0] == 200:
            await asyncio.sleep(0.02)
        self.assertEqual((await s.run("true"))[0], 0)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
