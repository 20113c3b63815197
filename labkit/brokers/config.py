"""How the lab's own broker is configured (compose.yaml says the same inline)."""

from __future__ import annotations

DISK_FREE_LIMIT = 50_000_000  # bytes; with less than this free RabbitMQ blocks every publisher

# Makes the figures of the management API 0.3-0.8 s old instead of up to 5 s. All three retention policies
# must be there. https://www.rabbitmq.com/docs/management#sample-retention
FRESH_STATISTICS = """\
collect_statistics_interval = 1000
management.sample_retention_policies.global.minute = 5
management.sample_retention_policies.basic.minute = 1
management.sample_retention_policies.detailed.10 = 1
"""

PLUGINS = "[rabbitmq_management,rabbitmq_prometheus].\n"


def rabbitmq_conf(*, amqp: int, management: int, prometheus: int) -> str:
    """The ``rabbitmq.conf`` of a private node on these ports of the loopback address."""
    return f"""\
# Written by the lab at every start of its broker: changes made here do not last.
listeners.tcp.1 = 127.0.0.1:{amqp}
management.tcp.ip = 127.0.0.1
management.tcp.port = {management}
prometheus.tcp.ip = 127.0.0.1
prometheus.tcp.port = {prometheus}
disk_free_limit.absolute = {DISK_FREE_LIMIT}
{FRESH_STATISTICS}"""


def advanced_config(*, permit_transient: bool = True) -> str:
    """The ``advanced.config``: permits non-durable queues, which RabbitMQ 4.3 refuses by default.

    ``rabbitmq.conf`` has a key for it too, but a RabbitMQ that does not know the key (before 3.12)
    refuses to boot with it; what it does not know in this file it passes over.
    https://www.rabbitmq.com/docs/deprecated-features
    """
    value = "true" if permit_transient else "false"
    return f"[{{rabbit, [{{permit_deprecated_features, #{{transient_nonexcl_queues => {value}}}}}]}}].\n"
