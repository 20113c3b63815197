"""A publisher in a process of its own, so that it takes no time from the threads that are measured.

Reads lines of JSON, {"url", "queue", "count"}, and answers each with a line when all of it is published.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pika

from labkit import tasks


class Source:
    """Starts that process; ``publish`` returns at once."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdin and self._process.stdout  # both are pipes
        self._asked, self._said = self._process.stdin, self._process.stdout
        self._ask("ready?")

    def publish(self, queue: str, count: int) -> None:
        """Publish so many tasks without work, without waiting for it."""
        self._send({"url": self._url, "queue": queue, "count": count})

    def wait(self) -> None:
        """Wait until what ``publish`` was given is published."""
        self._said.readline()

    def _ask(self, what: object) -> None:
        self._send(what)
        self.wait()

    def _send(self, what: object) -> None:
        self._asked.write(json.dumps(what) + "\n")
        self._asked.flush()

    def close(self) -> None:
        """End the process."""
        self._asked.close()
        self._said.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main() -> None:
    """Publish what is asked for, until nobody asks any more."""
    connections: dict[str, tuple] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        if isinstance(asked, dict):
            if asked["url"] not in connections:
                connection = pika.BlockingConnection(pika.URLParameters(asked["url"]))
                connections[asked["url"]] = (connection, connection.channel())
            connection, channel = connections[asked["url"]]
            for task in tasks.equal(asked["count"], 0):
                properties = pika.BasicProperties(
                    message_id=task.id, content_type=task.content_type, delivery_mode=1
                )
                channel.basic_publish("", asked["queue"], task.body, properties)
            connection.process_data_events(0)
        print("done", flush=True)


if __name__ == "__main__":
    main()
