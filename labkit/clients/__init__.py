"""Who speaks AMQP: producers and workers, each a thread with a connection of its own."""
