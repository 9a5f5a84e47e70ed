"""What can go wrong with a copy."""

from benchwire.foundation.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable


class AddressInvalid(Invalid):
    """The text is no address in an object store."""

    code = "stores.address_invalid"


class CopyInvalid(Invalid):
    """What is to be copied where cannot be copied."""

    code = "stores.copy_invalid"


class StoreForbidden(Forbidden):
    """Requests may not name that place."""

    code = "stores.forbidden"


class NothingThere(NotFound):
    """The store has nothing at that address."""

    code = "stores.nothing_there"


class TargetTaken(Conflict):
    """Something is where the copy is to go, or another copy is on its way there."""

    code = "stores.target_taken"


class StoreAway(Unavailable):
    """The store does not answer, or not in a way that is of use."""

    code = "stores.away"


class StoreRefuses(Unavailable):
    """The store does not let the server do that; asking again would not help."""

    code = "stores.refuses"


class ExtraMissing(Unavailable):
    """The library for that kind of store is not installed."""

    code = "stores.extra_missing"


class CopyGivenUp(Conflict):
    """The copy had failed or was cancelled when the server ended."""

    code = "stores.copy_given_up"


class CopyDiffers(Conflict):
    """What arrived is not what was sent, or the source was changed meanwhile."""

    code = "stores.copy_differs"
