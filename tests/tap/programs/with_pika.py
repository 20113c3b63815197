"""Bare pika: messages without ids, automatic acknowledgements."""

import os
import sys

import pika

queue, count = os.environ["QUEUE"], int(os.environ["COUNT"])
connection = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"]))
channel = connection.channel()
channel.queue_declare(queue, durable=True)
if sys.argv[1] == "send":
    for _ in range(count):
        channel.basic_publish("", queue, b"the same")
else:
    for method, _, _ in channel.consume(queue, auto_ack=True):
        if method.delivery_tag == count:
            break
    connection.sleep(
        2.5
    )  # seconds: what a channel did last is not counted if it goes before the broker looks
    channel.cancel()
connection.close()
