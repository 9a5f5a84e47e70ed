"""How a route asks for what it needs: ``Annotated[PowerMeter, service(PowerMeter)]``."""

from typing import Any

from fastapi import Depends
from starlette.requests import HTTPConnection


def service(kind: type) -> Any:
    """Return a dependency that gives a route the one object of that type in its application."""

    # A coroutine, so that it is not sent to a thread, which would cost more than many a request.
    async def look_up(connection: HTTPConnection) -> object:
        return connection.app.state.services[kind]

    return Depends(look_up)
