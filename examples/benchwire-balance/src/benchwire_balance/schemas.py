"""Bodies and answers of the balances' API."""

from pydantic import BaseModel, Field

from benchwire.foundation.clock import utc_text
from benchwire_balance.store import Weighing


class BalanceAnswer(BaseModel):
    """A balance and what it shows."""

    name: str
    port: str
    connected: bool
    state: str = Field(description="stable, moving, overload, underload, busy or offline")
    grams: float | None = Field(description="Net weight in g")
    at: str | None
    model: str | None
    serial_number: str | None
    last_error: str | None


class WeighOrder(BaseModel):
    """What a weighing is of."""

    label: str = Field("", max_length=200)


class WeighingAnswer(BaseModel):
    """A stable weight that was kept."""

    id: int
    at: str
    balance: str
    serial_number: str | None
    grams: float = Field(description="Net weight in g")
    tare_grams: float = Field(description="Tare in g")
    text: str = Field(description="Net weight with the digits the balance sent, and the unit")
    label: str

    @classmethod
    def of(cls, weighing: Weighing) -> "WeighingAnswer":
        """Return a weighing for clients."""
        return cls(
            id=weighing.id,
            at=utc_text(weighing.at),
            balance=weighing.balance,
            serial_number=weighing.serial_number,
            grams=float(weighing.grams),
            tare_grams=float(weighing.tare_grams),
            text=f"{weighing.grams} g",
            label=weighing.label,
        )


class TareAnswer(BaseModel):
    """The tare that is in force."""

    tare_grams: float


class Message(BaseModel):
    """That something was done."""

    message: str
