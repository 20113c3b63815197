"""Everything that can go wrong and that somebody can mend.

Every error says in one sentence what happened and in another what to do about it. An error that
came from pika, requests or the operating system keeps that one as its ``__cause__``.
"""


class LabError(Exception):
    """The base of all errors of the lab: what happened, and what to do."""

    def __init__(self, what: str, *, do: str = "") -> None:
        """``what`` happened (a sentence); ``do`` is what mends it (a sentence, or nothing)."""
        super().__init__(what, do)
        self.what = what
        self.do = do

    def __str__(self) -> str:
        return f"{self.what}\n{self.do}" if self.do else self.what

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows instead of a traceback (IPython asks for this by name)."""
        return [f"{type(self).__name__}: {self.what}", *([f"→ {self.do}"] if self.do else [])]


class UsageError(LabError, ValueError):
    """A value was refused at the door; the sentence names it, and ``field`` is what the parameter is called."""

    def __init__(self, what: str, *, do: str = "", field: str = "") -> None:
        super().__init__(what, do=do)
        self.field = field


class SetupError(LabError):
    """The lab's own environment could not be made."""


class BrokerError(LabError):
    """Something about the broker. The facts, where they are known, are None otherwise.

    ``queue`` is the queue that it is about; ``reply_code`` and ``reply_text`` are the broker's own words (or HTTP's
    status and reason); ``address`` is where it answers, or does not; ``setting`` is the environment variable
    that mends it.
    """

    def __init__(
        self,
        what: str,
        *,
        do: str = "",
        queue: str | None = None,
        reply_code: int | None = None,
        reply_text: str | None = None,
        address: str | None = None,
        setting: str | None = None,
    ) -> None:
        super().__init__(what, do=do)
        self.queue = queue
        self.reply_code = reply_code
        self.reply_text = reply_text
        self.address = address
        self.setting = setting


class BrokerNotInstalledError(BrokerError):
    """There is no RabbitMQ on this machine and none could be installed."""


class BrokerTooOldError(BrokerError):
    """RabbitMQ is older than what the lab needs."""


class BrokerDownError(BrokerError):
    """Nothing that speaks AMQP answers at the broker's address."""


class BrokerStartError(BrokerError):
    """The broker did not come up; the output of what failed is in the sentence."""


class PortTakenError(BrokerError):
    """Another program listens on a port that the broker needs."""


class NotOurBrokerError(BrokerError):
    """A remote broker cannot be started, stopped, restarted or killed from here."""


class AccessRefusedError(BrokerError):
    """The broker does not know this user, the password is wrong, or the user lacks a permission."""


class VirtualHostError(BrokerError):
    """The virtual host does not exist, or this user may not enter it."""


class ResourceAlarmError(BrokerError):
    """The broker blocks publishers because its disk or its memory runs low."""


class QueueMismatchError(BrokerError):
    """The queue exists with other arguments (406 PRECONDITION_FAILED)."""


class QueueMissingError(BrokerError):
    """The queue does not exist (404 NOT_FOUND)."""


class FeatureRefusedError(BrokerError):
    """This RabbitMQ refuses a deprecated feature."""


class EngineError(BrokerError):
    """Docker: it is not installed, does not run, or refuses permission."""


class ImageMissingError(EngineError):
    """The image of ``compose.yaml`` is not on this machine and could not be downloaded."""


class ManagementError(LabError):
    """The management API at ``url`` does not answer as it should; ``status`` is HTTP's, ``reason`` RabbitMQ's."""

    def __init__(
        self,
        what: str,
        *,
        do: str = "",
        url: str | None = None,
        status: int | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(what, do=do)
        self.url = url
        self.status = status
        self.reason = reason


class WaitTimeoutError(LabError, TimeoutError):
    """Something that was waited for did not happen within its time ``limit`` (seconds)."""

    def __init__(self, what: str, *, do: str = "", limit: float | None = None) -> None:
        super().__init__(what, do=do)
        self.limit = limit


class ProgramError(LabError):
    """A program of one's own did not start, or has ended: ``exit_code`` (None: never began), its last ``output``."""

    def __init__(
        self, what: str, *, do: str = "", name: str = "", exit_code: int | None = None, output: str = ""
    ) -> None:
        super().__init__(what, do=do)
        self.name = name
        self.exit_code = exit_code
        self.output = output


class CancelledError(LabError):
    """An experiment was ended from elsewhere before it was done."""


class TaskError(LabError, ValueError):
    """A task that cannot be done as it stands; ``field`` is what is wrong with it."""

    def __init__(self, what: str, *, field: str = "", do: str = "") -> None:
        super().__init__(what, do=do)
        self.field = field


class SavedRunError(LabError):
    """A file is not a run that was saved, or it is damaged."""
