"""Celery, two processes; acknowledged before the work, or with ACKS_LATE after it."""

import os
import sys
import time

from celery import Celery

app = Celery("proof", broker=os.environ["AMQP_URL"])
app.conf.update(
    task_default_queue=os.environ["QUEUE"],
    task_ignore_result=True,
    task_acks_late="ACKS_LATE" in os.environ,
    worker_prefetch_multiplier=1 if "ACKS_LATE" in os.environ else 4,
    broker_connection_retry_on_startup=True,
)


@app.task(name="work")
def work(number):
    time.sleep(0.05)


if __name__ == "__main__":
    if sys.argv[1] == "send":
        for number in range(int(os.environ["COUNT"])):
            work.delay(number)
    else:
        app.worker_main(["worker", "--concurrency=2", "--loglevel=WARNING"])
