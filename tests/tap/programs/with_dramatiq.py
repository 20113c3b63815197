"""dramatiq: two threads, a dead-letter exchange and a delay queue of its own."""

import os
import sys
import threading
import time

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

broker = RabbitmqBroker(url=os.environ["AMQP_URL"], middleware=[])
dramatiq.set_broker(broker)
count, done, over = int(os.environ["COUNT"]), [], threading.Event()


@dramatiq.actor(queue_name=os.environ["QUEUE"])
def work(number):
    time.sleep(0.05)
    done.append(number)
    if len(done) == count:
        over.set()


if sys.argv[1] == "send":
    for number in range(count):
        work.send(number)
else:
    worker = dramatiq.Worker(broker, worker_threads=2)
    worker.start()
    over.wait(60)
    broker.join(os.environ["QUEUE"], timeout=60_000)
    worker.stop()
broker.close()
