"""The subcommands of ``python3 -m labkit``, one module each, with ``add_arguments(parser)`` and ``run(args)``."""
