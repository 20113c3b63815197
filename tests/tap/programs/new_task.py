"""RabbitMQ's tutorial two, the sender: written anew from its description.

https://www.rabbitmq.com/tutorials/tutorial-two-python
"""

import os
import sys

import pika

connection = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"]))
channel = connection.channel()
channel.queue_declare(queue=os.environ["QUEUE"], durable=True, arguments={"x-queue-type": "quorum"})
for message in sys.argv[1:] or ["Hello World!"]:
    channel.basic_publish(
        exchange="",
        routing_key=os.environ["QUEUE"],
        body=message,
        properties=pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent),
    )
    print(f" [x] Sent {message}")
connection.close()
