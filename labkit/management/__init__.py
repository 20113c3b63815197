"""What RabbitMQ says over HTTP: its management API, asked and answered."""

from labkit.management.management import Management, of

__all__ = ["Management", "of"]
