"""The messages that monitoring sends about incidents, and the port of the channels."""

from __future__ import annotations

from typing import Literal, Protocol

from msgspec import Struct

AlertStatus = Literal["open", "resolved"]


class AlertMessage(Struct, frozen=True):
    """A message about an incident: one when it begins (`open`), one when it ends (`resolved`).

    `incident` is the id of the incident, which both messages share. `type` is the type of the alert
    in the pipeline file. `title` is one line of plain text. `details` are names and texts, in the
    order in which they are shown. `run_id` and `uid` identify the run that began or ended the
    incident. `time` is its start in ISO 8601 format, in UTC.
    """

    incident: str
    status: AlertStatus
    type: str
    pipeline: str
    target: str | None
    title: str
    details: tuple[tuple[str, str], ...]
    run_id: str
    uid: str
    time: str


class AlertChannel(Protocol):
    """A service that receives messages, for example a channel of Slack."""

    def send(self, message: AlertMessage) -> None:
        """Send one message, and block until the service has accepted it.

        Raises WorldError if a later attempt may succeed, and UserError if the user must change
        something first.
        """
        ...
