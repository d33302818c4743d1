"""The one comment of ours at a pull request, through GitHub's REST API (version 2022-11-28)."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

import aiohttp

from loomgit.errors import WorldError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.hooks.github import Workflow

COMMENT_LIMIT = 65_536  # characters
PER_PAGE = 100
SECONDS = 20.0  # for one request
ATTEMPTS = 3
PAUSE = 1.0  # seconds before the second attempt; twice that before the third
_PASSES = frozenset({429, 500, 502, 503, 504})


def marker(project: str) -> str:
    """What a comment of ours begins with, and nobody sees: each project has its own."""
    return f"<!-- loom: {quote(project, safe='/').replace('--', '-%2D')} -->"


class _Refused(WorldError):
    """GitHub answered, and not with what was asked for."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Comments:
    """The comments of one repository's pull requests; `project` is the project's folder in it."""

    def __init__(
        self,
        workflow: Workflow,
        project: str = ".",
        *,
        seconds: float = SECONDS,
        pause: float = PAUSE,
    ) -> None:
        self._workflow = workflow
        self._repository = f"{workflow.api}/repos/{workflow.repository}"
        self._marker = marker(project)
        self._seconds = seconds
        self._pause = pause

    async def publish(self, text: str) -> str:
        """Write our comment at the pull request, or update it where there is one; returns its
        address.

        Where two runs write at once, the older comment stays and the other one goes. Raises
        WorldError where GitHub refuses or cannot be reached.
        """
        body = f"{self._marker}\n{text}"[:COMMENT_LIMIT]
        async with self._session() as session:
            pull = self._workflow.pull or await self._find_pull(session)
            here = f"{self._repository}/issues/{pull}/comments"
            known = await self._ours(session, here)
            if (address := await self._update(session, known, body)) is not None:
                return address
            made = await self._send(session, "POST", here, body)
            older = [one for one in await self._ours(session, here) if one < _identity(made)]
            if (address := await self._update(session, older, body)) is not None:
                await self._remove(session, _identity(made))
                return address
            return str(made.get("html_url", ""))

    async def _update(
        self, session: aiohttp.ClientSession, comments: Sequence[int], body: str
    ) -> str | None:
        """Update the first of these comments that is still there and ours to change; returns its
        address, None where there is none."""
        for identity in comments:
            url = f"{self._repository}/issues/comments/{identity}"
            try:
                done = await self._send(session, "PATCH", url, body)
            except _Refused as error:
                if error.status in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND):
                    continue
                raise
            return str(done.get("html_url", ""))
        return None

    async def _remove(self, session: aiohttp.ClientSession, identity: int) -> None:
        try:
            await self._ask(session, "DELETE", f"{self._repository}/issues/comments/{identity}")
        except _Refused as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    async def _ours(self, session: aiohttp.ClientSession, here: str) -> list[int]:
        """The ids of our comments, the oldest first: those that begin with the marker, and that a
        bot wrote, or whoever the token belongs to."""
        marked = [
            comment
            for comment in await self._all(session, here)
            if str(comment.get("body", "")).startswith(self._marker)
        ]
        others = [comment for comment in marked if _author(comment)[1] != "Bot"]
        me = await self._me(session) if others else ""
        return sorted(
            _identity(comment)
            for comment in marked
            if comment not in others or (me and _author(comment)[0] == me)
        )

    async def _me(self, session: aiohttp.ClientSession) -> str:
        """Whose token it is; empty for a workflow's own, which may not ask that."""
        try:
            found = await self._ask(session, "GET", f"{self._workflow.api}/user")
        except _Refused:
            return ""
        return str(found.get("login", "")) if isinstance(found, dict) else ""

    async def _all(self, session: aiohttp.ClientSession, url: str) -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        page = 1
        while True:
            params = {"per_page": str(PER_PAGE), "page": str(page)}
            items = await self._ask(session, "GET", url, params=params)
            if not isinstance(items, list):
                raise WorldError("GitHub's answer is no list")
            found += [item for item in items if isinstance(item, dict)]
            if len(items) < PER_PAGE:
                return found
            page += 1

    async def _find_pull(self, session: aiohttp.ClientSession) -> int:
        """The open pull request whose head is the workflow's: a run that follows another one is
        told the commit and the branch, and no number that somebody else could have made up."""
        workflow = self._workflow
        params = {"head": f"{workflow.owner}:{workflow.branch}", "state": "open"}
        found = await self._ask(session, "GET", f"{self._repository}/pulls", params=params)
        for pull in found if isinstance(found, list) else []:
            head = pull.get("head") if isinstance(pull, dict) else None
            if workflow.head and isinstance(head, dict) and head.get("sha") == workflow.head:
                return int(pull["number"])
        raise WorldError(f"no open pull request has the commit {workflow.head[:8]} at its head")

    # -- requests

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            headers={
                "Authorization": f"Bearer {self._workflow.token}",
                "Accept": "application/vnd.github+json",
                "X-GitHub-Api-Version": "2022-11-28",
            },
            timeout=aiohttp.ClientTimeout(total=self._seconds),
            trust_env=True,
        )

    async def _send(
        self, session: aiohttp.ClientSession, method: str, url: str, body: str
    ) -> dict[str, object]:
        found = await self._ask(session, method, url, body=body)
        return found if isinstance(found, dict) else {}

    async def _ask(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: str,
        *,
        params: dict[str, str] | None = None,
        body: str | None = None,
    ) -> object:
        """The answer; asked again where it may come later."""
        json = None if body is None else {"body": body}
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with session.request(method, url, params=params, json=json) as reply:
                    return await self._read(reply)
            except _Refused as error:
                if error.status not in _PASSES or attempt == ATTEMPTS:
                    raise
            except (aiohttp.ClientError, TimeoutError) as error:
                if attempt == ATTEMPTS:
                    said = self._clean(str(error) or "no answer in time")
                    raise WorldError(f"GitHub cannot be reached: {said}") from error
            await asyncio.sleep(self._pause * 2 ** (attempt - 1))
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _read(self, reply: aiohttp.ClientResponse) -> object:
        if reply.status >= HTTPStatus.BAD_REQUEST:
            said = self._clean(" ".join((await reply.text(errors="replace"))[:200].split()))
            raise _Refused(reply.status, f"GitHub says {reply.status}: {said}")
        if reply.status == HTTPStatus.NO_CONTENT:
            return None
        try:
            return await reply.json()
        except ValueError as error:
            raise WorldError("GitHub's answer is no JSON") from error

    def _clean(self, text: str) -> str:
        """Text without the token, should somebody have said it."""
        return text.replace(self._workflow.token, "***") if self._workflow.token else text


def _identity(comment: dict[str, object]) -> int:
    found = comment.get("id")
    return found if isinstance(found, int) else 0


def _author(comment: dict[str, object]) -> tuple[object, object]:
    user = comment.get("user")
    return (user.get("login"), user.get("type")) if isinstance(user, dict) else (None, None)
