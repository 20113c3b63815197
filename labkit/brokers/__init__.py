"""Where RabbitMQ runs."""
