"""Writes Loom's comment on a pull request, with GitHub's REST API (version 2022-11-28)."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

import aiohttp

from loomgit.errors import WorldError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.github.workflow import Workflow

COMMENT_LIMIT = 65_536  # characters
PER_PAGE = 100
TIMEOUT_SECONDS = 20.0  # timeout of one request
ATTEMPTS = 3
RETRY_SECONDS = 1.0  # delay before the second attempt; the delay before the third is twice as long
_TEMPORARY = frozenset({429, 500, 502, 503, 504})


def render_marker(project: str) -> str:
    """Return the hidden first line of a comment, which identifies the project."""
    return f"<!-- loom: {quote(project, safe='/').replace('--', '-%2D')} -->"


class _ErrorResponse(WorldError):
    """GitHub responded with an error status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Comments:
    """Writes Loom's comments on the pull requests of one repository.

    `project` is the path of the project folder in the repository. `seconds` is the timeout of one
    request. `pause` is the delay (in seconds) before the first retry.
    """

    def __init__(
        self,
        workflow: Workflow,
        project: str = ".",
        *,
        seconds: float = TIMEOUT_SECONDS,
        pause: float = RETRY_SECONDS,
    ) -> None:
        self._workflow = workflow
        self._repository = f"{workflow.api}/repos/{workflow.repository}"
        self._marker = render_marker(project)
        self._seconds = seconds
        self._pause = pause

    async def publish(self, text: str) -> str:
        """Create or update the comment on the pull request, and return the comment's URL.

        If two workflow runs create a comment at the same time, the older comment is updated, and
        the newer comment is removed. A comment that exceeds GitHub's limit is cut off. Raises
        WorldError if GitHub refuses the request or is unreachable.
        """
        body = f"{self._marker}\n{text}"[:COMMENT_LIMIT]
        async with self._session() as session:
            pull = self._workflow.pull or await self._find_pull(session)
            comments = f"{self._repository}/issues/{pull}/comments"
            known = await self._find_own(session, comments)
            if (address := await self._update(session, known, body)) is not None:
                return address
            created = await self._send(session, "POST", comments, body)
            created_id = _comment_id(created)
            older = [id_ for id_ in await self._find_own(session, comments) if id_ < created_id]
            if (address := await self._update(session, older, body)) is not None:
                await self._remove(session, created_id)
                return address
            return str(created.get("html_url", ""))

    async def _update(
        self, session: aiohttp.ClientSession, comments: Sequence[int], body: str
    ) -> str | None:
        """Update the first of `comments` (comment ids) that can be updated.

        Comments that were deleted or that the token may not change are skipped. Returns the URL of
        the updated comment, or None if no comment can be updated.
        """
        for comment_id in comments:
            url = f"{self._repository}/issues/comments/{comment_id}"
            try:
                updated = await self._send(session, "PATCH", url, body)
            except _ErrorResponse as error:
                if error.status in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND):
                    continue
                raise
            return str(updated.get("html_url", ""))
        return None

    async def _remove(self, session: aiohttp.ClientSession, comment_id: int) -> None:
        try:
            await self._request(
                session, "DELETE", f"{self._repository}/issues/comments/{comment_id}"
            )
        except _ErrorResponse as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    async def _find_own(self, session: aiohttp.ClientSession, url: str) -> list[int]:
        """Return the ids of Loom's comments for this project, the oldest first.

        A comment is Loom's if it starts with the marker, and if its author is a bot or the owner of
        the token.
        """
        marked = [
            comment
            for comment in await self._fetch_all(session, url)
            if str(comment.get("body", "")).startswith(self._marker)
        ]
        others = [comment for comment in marked if _author(comment)[1] != "Bot"]
        user = await self._fetch_user(session) if others else ""
        return sorted(
            _comment_id(comment)
            for comment in marked
            if comment not in others or (user and _author(comment)[0] == user)
        )

    async def _fetch_user(self, session: aiohttp.ClientSession) -> str:
        """Return the login name of the token's owner.

        Returns an empty text if GitHub refuses the request, as it does for the token of a workflow.
        """
        try:
            user = await self._request(session, "GET", f"{self._workflow.api}/user")
        except _ErrorResponse:
            return ""
        return str(user.get("login", "")) if isinstance(user, dict) else ""

    async def _fetch_all(self, session: aiohttp.ClientSession, url: str) -> list[dict[str, object]]:
        comments: list[dict[str, object]] = []
        page = 1
        while True:
            params = {"per_page": str(PER_PAGE), "page": str(page)}
            items = await self._request(session, "GET", url, params=params)
            if not isinstance(items, list):
                raise WorldError("the response of GitHub is not a list")
            comments += [item for item in items if isinstance(item, dict)]
            if len(items) < PER_PAGE:
                return comments
            page += 1

    async def _find_pull(self, session: aiohttp.ClientSession) -> int:
        """Return the number of the open pull request whose head is the workflow's commit.

        The event `workflow_run` contains a commit and a branch, but not the number. The workflow
        that caused the event could pass the number in an artifact, but an attacker could forge it.
        Raises WorldError if no pull request has this head.
        """
        workflow = self._workflow
        params = {"head": f"{workflow.owner}:{workflow.branch}", "state": "open"}
        pulls = await self._request(session, "GET", f"{self._repository}/pulls", params=params)
        for pull in pulls if isinstance(pulls, list) else []:
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
        response = await self._request(session, method, url, body=body)
        return response if isinstance(response, dict) else {}

    async def _request(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: str,
        *,
        params: dict[str, str] | None = None,
        body: str | None = None,
    ) -> object:
        """Send a request and return the parsed JSON of the response, or None if it has no content.

        Temporary failures are retried. Raises WorldError if all attempts fail.
        """
        json = None if body is None else {"body": body}
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with session.request(method, url, params=params, json=json) as response:
                    return await self._read(response)
            except _ErrorResponse as error:
                if error.status not in _TEMPORARY or attempt == ATTEMPTS:
                    raise
            except (aiohttp.ClientError, TimeoutError) as error:
                if attempt == ATTEMPTS:
                    reason = self._redact(str(error) or "timeout")
                    raise WorldError(f"GitHub is unreachable: {reason}") from error
            await asyncio.sleep(self._pause * 2 ** (attempt - 1))
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _read(self, response: aiohttp.ClientResponse) -> object:
        if response.status >= HTTPStatus.BAD_REQUEST:
            message = self._redact(" ".join((await response.text(errors="replace"))[:200].split()))
            raise _ErrorResponse(
                response.status, f"GitHub responded with {response.status}: {message}"
            )
        if response.status == HTTPStatus.NO_CONTENT:
            return None
        try:
            return await response.json()
        except ValueError as error:
            raise WorldError("the response of GitHub is not JSON") from error

    def _redact(self, text: str) -> str:
        """Replace the token in `text` with `***`."""
        return text.replace(self._workflow.token, "***") if self._workflow.token else text


def _comment_id(comment: dict[str, object]) -> int:
    value = comment.get("id")
    return value if isinstance(value, int) else 0


def _author(comment: dict[str, object]) -> tuple[object, object]:
    user = comment.get("user")
    return (user.get("login"), user.get("type")) if isinstance(user, dict) else (None, None)
