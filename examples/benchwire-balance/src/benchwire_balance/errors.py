"""Errors of the balances, and the body the API writes them in."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from benchwire.foundation.errors import Conflict, Failed, Invalid, NotFound, Unavailable
from benchwire.foundation.instruments.transport import LinkLost
from benchwire.foundation.web.problems import Problem


class BalanceUnknown(NotFound):
    """There is no balance of that name."""

    code = "balance.unknown"


class WeighingUnknown(NotFound):
    """There is no weighing of that id."""

    code = "balance.weighing_unknown"


class LabelRefused(Invalid):
    """A label has characters that no database keeps."""

    code = "balance.label_refused"

    def __init__(self) -> None:
        super().__init__(
            "The label contains characters that cannot be stored",
            hint="Leave out the character NUL and halves of characters.",
        )


class NotStable(Conflict):
    """The weight does not come to rest, or the balance is busy with something else."""

    code = "balance.not_stable"

    def __init__(self) -> None:
        super().__init__(
            "The balance gives no stable weight",
            hint="Close the draught shield, wait until the load is at rest, and try again.",
        )


class Overload(Conflict):
    """There is more on the pan than the balance can weigh, zero or tare."""

    code = "balance.overload"

    def __init__(self) -> None:
        super().__init__("The load is above the balance's range", hint="Take something off.")


class Underload(Conflict):
    """There is less on the pan than the balance can weigh, zero or tare."""

    code = "balance.underload"

    def __init__(self) -> None:
        super().__init__(
            "The load is below the balance's range", hint="Put the pan in place, then zero it."
        )


class CommandRefused(Failed):
    """The balance does not understand a command, as one of another make would not."""

    code = "balance.command_refused"


class AnswerDamaged(Unavailable):
    """What the balance answered cannot be read; nothing of it was used."""

    code = "balance.answer_damaged"


class BalanceSilent(LinkLost):
    """The port is open and the balance says nothing."""

    code = "balance.silent"

    def __init__(self) -> None:
        super().__init__(
            "The balance does not answer",
            hint="Switch it on, and compare its line speed with the setting.",
        )


class BalanceRefusal(BaseModel):
    """A refusal as this API writes it."""

    error: str
    hint: str
    code: str


def render_error(problem: Problem) -> tuple[int, Mapping[str, Any]]:
    """Write a problem as this API does."""
    return problem.status, {
        "error": problem.message,
        "hint": problem.hint,
        "code": problem.code,
    }
