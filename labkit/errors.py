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
    """Something about the broker."""


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
    """The broker knows this user not, or the password is wrong."""


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
    """Docker: the engine does not run, refuses permission, or cannot get the image."""


class ManagementError(LabError):
    """The management API does not answer as it should."""


class WaitTimeoutError(LabError, TimeoutError):
    """Something that was waited for did not happen within its time limit."""


class CancelledError(LabError):
    """An experiment was ended from elsewhere before it was done."""


class TaskError(LabError, ValueError):
    """A task that cannot be done as it stands; ``field`` is what is wrong with it."""

    def __init__(self, what: str, *, field: str = "", do: str = "") -> None:
        super().__init__(what, do=do)
        self.field = field


class SavedRunError(LabError):
    """A file is not a run that was saved, or it is damaged."""
