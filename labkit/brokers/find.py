"""Which broker the lab uses."""

from __future__ import annotations

import os
from pathlib import Path

from labkit.brokers.broker import Broker, Say
from labkit.brokers.compose import Compose
from labkit.brokers.node import Node
from labkit.brokers.remote import Remote
from labkit.errors import (
    BrokerNotInstalledError,
    BrokerTooOldError,
    EngineError,
    ImageMissingError,
    UsageError,
)

KINDS = ("node", "compose", "remote")


def find(*, root: Path | None = None, say: Say = print, fetch: bool = True) -> Broker:
    """The broker that this lab uses; it is not started yet.

    That of ``LABKIT_AMQP_URL``; or else the one that this checkout has running; or else ``compose.yaml``, if
    a Docker engine answers and has the image or can get it; or else a private node of the installed RabbitMQ.
    ``LABKIT_BROKER`` (node, compose or remote) forces one kind. ``root`` is where ``.labkit`` is (default:
    ``LABKIT_HOME``, or the checkout). ``say`` is told of a download; with ``fetch=False`` there is none.

    Raises BrokerNotInstalledError or BrokerTooOldError when there is no RabbitMQ to be had, EngineError when
    Docker is forced and does not answer, UsageError for a bad ``LABKIT_BROKER``.
    """
    forced = os.environ.get("LABKIT_BROKER", "").strip().lower()
    if forced and forced not in KINDS:
        raise UsageError(
            f"LABKIT_BROKER is {forced!r}, which is no kind of broker.",
            do=f"Set it to one of: {', '.join(KINDS)}.",
        )
    if forced == "remote" or (not forced and os.environ.get("LABKIT_AMQP_URL", "").strip()):
        return Remote.from_environment()
    node, compose = Node(root=root), Compose(root=root)
    if forced == "compose":
        compose.require_engine()
        return compose
    if node.in_use():
        return node
    if forced == "node":
        node.require_program()
        return node
    if compose.in_use():
        return compose
    try:
        compose.require_engine()
        if fetch:
            compose.fetch_image(say=say)
        return compose
    except EngineError as error:
        no_compose = error
    try:
        node.require_program()
    except (BrokerNotInstalledError, BrokerTooOldError) as error:
        raise type(error)(f"{error.what} {no_compose.what}", do=f"{error.do} Or: {no_compose.do}") from error
    if isinstance(no_compose, ImageMissingError):
        say(f"{no_compose.what} A private node of the installed RabbitMQ serves instead.")
    return node
