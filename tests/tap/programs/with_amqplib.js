// amqplib on Node: a confirm channel, a consumer tag made up by the server, two at once.
const amqp = require("amqplib");
const { AMQP_URL, QUEUE } = process.env;
const COUNT = Number(process.env.COUNT);

async function main() {
  const connection = await amqp.connect(AMQP_URL);
  const channel = await connection.createConfirmChannel();
  await channel.assertQueue(QUEUE, { durable: true });
  if (process.argv[2] === "send") {
    for (let number = 0; number < COUNT; number++)
      channel.sendToQueue(QUEUE, Buffer.from(`task ${number}`), { persistent: true, messageId: `node-${number}` });
    await channel.waitForConfirms();
  } else {
    await channel.prefetch(2);
    await new Promise((over) => {
      let done = 0;
      channel.consume(QUEUE, (message) => {
        channel.ack(message);
        if (++done === COUNT) over();
      });
    });
  }
  await channel.close();
  await connection.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
