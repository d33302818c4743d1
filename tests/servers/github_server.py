"""A server on loopback that speaks as much of GitHub's API as `loom ci` needs: the comments of pull
requests, and the pull requests by their head. It remembers who asked what, and fails when told to.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from aiohttp import web

from tests.servers.openai_server import stop_server

BOT = {"login": "github-actions[bot]", "type": "Bot"}


class GitHubServer:
    """The server; `comments` are the dicts of issue `pull`, in order. `owner` is who a token writes
    as. `fail` maps a method to the statuses of its next answers (0: no answer); `delay` is seconds
    before every list, so that two writers meet."""

    def __init__(self, repository: str = "acme/bot", pull: int = 7) -> None:
        self.repository = repository
        self.pull = pull
        self.comments: list[dict[str, Any]] = []
        self.pulls: list[dict[str, Any]] = []
        self.asked: list[tuple[str, str]] = []
        self.tokens: set[str] = set()
        self.fail: dict[str, list[int]] = {}
        self.owner = BOT
        self.delay = 0.0
        self._next = 1
        self._ready = threading.Event()

    @property
    def url(self) -> str:
        """What GITHUB_API_URL says."""
        return f"http://127.0.0.1:{self.port}"

    def add(self, body: str, login: str = "ada", kind: str = "User") -> dict[str, Any]:
        """A comment of somebody's."""
        comment = {
            "id": self._next,
            "body": body,
            "user": {"login": login, "type": kind},
            "html_url": f"https://github.test/{self.repository}/pull/{self.pull}#{self._next}",
        }
        self._next += 1
        self.comments.append(comment)
        return comment

    def __enter__(self) -> GitHubServer:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the server did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        app = web.Application(client_max_size=1 << 20, middlewares=[self._watch])
        root = f"/repos/{self.repository}"
        app.router.add_get(f"{root}/issues/{self.pull}/comments", self._list)
        app.router.add_post(f"{root}/issues/{self.pull}/comments", self._create)
        app.router.add_patch(f"{root}/issues/comments/{{id}}", self._update)
        app.router.add_delete(f"{root}/issues/comments/{{id}}", self._delete)
        app.router.add_get(f"{root}/pulls", self._find)
        app.router.add_get("/user", self._user)
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        try:
            await self._stop.wait()
        finally:
            await stop_server(runner)

    @web.middleware
    async def _watch(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append((request.method, request.path))
        self.tokens.add(request.headers.get("authorization", "").removeprefix("Bearer "))
        waiting = self.fail.get(request.method, [])
        if waiting:
            status = waiting.pop(0)
            if status == 0:
                await self._stop.wait()
            said = f"refused: {request.headers.get('authorization')}"
            return web.json_response({"message": said}, status=status or 503)
        if "X-GitHub-Api-Version" not in request.headers:
            return web.json_response({"message": "which version?"}, status=400)
        return await handler(request)

    async def _list(self, request: web.Request) -> web.Response:
        per_page = min(int(request.query.get("per_page", 30)), 100)
        start = (int(request.query.get("page", 1)) - 1) * per_page
        found = list(self.comments[start : start + per_page])
        await asyncio.sleep(self.delay)
        return web.json_response(found)

    async def _create(self, request: web.Request) -> web.Response:
        body = (await request.json())["body"]
        if len(body) > 65_536:
            message = "Body is too long (maximum is 65536 characters)"
            return web.json_response({"message": message}, status=422)
        made = self.add(body, self.owner["login"], self.owner["type"])
        return web.json_response(made, status=201)

    async def _update(self, request: web.Request) -> web.Response:
        comment = self._get(request)
        if comment is None:
            return web.json_response({"message": "Not Found"}, status=404)
        body = (await request.json())["body"]
        if len(body) > 65_536:
            return web.json_response({"message": "Body is too long"}, status=422)
        comment["body"] = body
        return web.json_response(comment)

    async def _delete(self, request: web.Request) -> web.Response:
        comment = self._get(request)
        if comment is None:
            return web.json_response({"message": "Not Found"}, status=404)
        self.comments.remove(comment)
        return web.Response(status=204)

    def _get(self, request: web.Request) -> dict[str, Any] | None:
        wanted = int(request.match_info["id"])
        return next((c for c in self.comments if c["id"] == wanted), None)

    async def _find(self, request: web.Request) -> web.Response:
        head = request.query.get("head", "")
        found = [pull for pull in self.pulls if pull["head"]["label"] == head]
        return web.json_response(found)

    async def _user(self, _: web.Request) -> web.Response:
        if self.owner["type"] == "Bot":
            return web.json_response(
                {"message": "Resource not accessible by integration"}, status=403
            )
        return web.json_response(self.owner)
