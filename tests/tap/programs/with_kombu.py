"""kombu: a simple queue, and one message at a time."""

import os
import sys

from kombu import Connection

with Connection(os.environ["AMQP_URL"]) as connection:
    queue = connection.SimpleQueue(os.environ["QUEUE"])
    for number in range(int(os.environ["COUNT"])):
        if sys.argv[1] == "send":
            queue.put({"number": number})
        else:
            queue.get(timeout=60).ack()
    queue.close()
