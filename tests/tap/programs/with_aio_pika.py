"""aio-pika: confirms, a name, three at once."""

import asyncio
import os
import sys

import aio_pika

COUNT, QUEUE = int(os.environ["COUNT"]), os.environ["QUEUE"]


async def send(channel):
    for number in range(COUNT):
        message = aio_pika.Message(b"task %d" % number, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, routing_key=QUEUE)


async def work(channel):
    await channel.set_qos(prefetch_count=3)
    done, over = [], asyncio.Event()

    async def on_message(message):
        async with message.process():
            await asyncio.sleep(0.05)
        done.append(message)
        if len(done) == COUNT:
            over.set()

    queue = await channel.get_queue(QUEUE)
    await queue.consume(on_message)
    await asyncio.wait_for(over.wait(), 60)


async def main():
    url, properties = os.environ["AMQP_URL"], {"connection_name": f"aio {sys.argv[1]}"}
    async with await aio_pika.connect(url, client_properties=properties) as connection:
        channel = await connection.channel()
        await channel.declare_queue(QUEUE, durable=True)
        await (send if sys.argv[1] == "send" else work)(channel)


asyncio.run(main())
