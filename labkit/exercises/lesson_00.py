"""The exercise of lesson 00: a message, there and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pika

from labkit import brokers
from labkit.exercises.exercise import Exercise, Wrong, attempt, own_queue

_JOBS: tuple[dict[str, Any], ...] = (
    {"job_id": "1", "operation": "send-email", "payload": {"user_id": 7}},
    {"text": "Grüße …", "list": [1, 2.5, None, True]},
    {},
)


def _check_there_and_back(there_and_back: Callable) -> str:
    connection = brokers.connect(brokers.find().parameters("exercise there_and_back"))
    try:
        channel = connection.channel()
        queue = own_queue(channel)
        sent: list[bytes] = []
        publish = channel.basic_publish

        def listening(*arguments: Any, **named: Any) -> None:
            body = named.get("body", arguments[2] if len(arguments) > 2 else b"")
            sent.append(body.encode() if isinstance(body, str) else body)
            publish(*arguments, **named)

        channel.basic_publish = listening  # type: ignore[method-assign]
        for job in _JOBS:
            sent.clear()
            _judge(job, attempt(there_and_back, channel, queue, dict(job)), sent)
            left, _, _ = channel.basic_get(queue)  # a declare's count may be older than the publish before it
            if left is not None:
                raise Wrong("A message was left in the queue. Publish once, fetch once.")
    finally:
        with suppress(pika.exceptions.AMQPError):  # the learner's function may have closed it
            connection.close()
    return "The broker carried bytes; you made a job of them at both ends."


def _judge(job: dict, answer: object, sent: list[bytes]) -> None:
    if not sent:
        raise Wrong("Nothing was published: the job has to travel through the broker.")
    try:
        travelled = json.loads(sent[0])
    except ValueError:
        raise Wrong(f"What was published is not JSON: {sent[0]!r}.") from None
    if travelled != job:
        raise Wrong(f"{travelled!r} was published, and it should have been {job!r}.")
    if answer is None:
        raise Wrong("The function returned nothing. Did the message arrive, and is there a return?")
    if isinstance(answer, str | bytes):
        raise Wrong(f"The function returned {answer!r}: turn it back into a dictionary.")
    if answer != job:
        raise Wrong(f"{job!r} was sent, and {answer!r} came back.")


there_and_back = Exercise(
    "There and back",
    _check_there_and_back,
    hints=[
        "Four steps: dictionary to text, publish, get, text to dictionary.",
        "json.dumps(job) makes the body, json.loads(body) reads it; with basic_publish the exchange is ''.",
        "method, properties, body = channel.basic_get(queue, auto_ack=True) fetches one message.",
    ],
    solution="""import json

def there_and_back(channel, queue, job):
    channel.basic_publish(exchange="", routing_key=queue, body=json.dumps(job))
    method, properties, body = channel.basic_get(queue, auto_ack=True)
    return json.loads(body)""",
    why="The default exchange takes the routing key for the queue's name. json.loads takes bytes as they are.",
)
