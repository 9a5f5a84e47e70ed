"""Chemicals, units and stock solutions."""

from typing import Annotated

from fastapi import APIRouter
from starlette.responses import Response

from benchwire.domains.plates.requests import record_id
from benchwire.domains.plates.routes.edge import (
    OPENAPI_BODY,
    Body,
    Paged,
    Search,
    bare,
    cut,
    listed,
    told,
)
from benchwire.domains.plates.service import Chemistry
from benchwire.domains.plates.service.chemistry import read_chemicals
from benchwire.foundation.web.bodies import uploaded
from benchwire.foundation.web.injection import service

router = APIRouter()

Service = Annotated[Chemistry, service(Chemistry)]
_SOLUTIONS = "/stock_solutions"
_ONE = _SOLUTIONS + "/{solution_id}"
_COMPONENTS = _ONE + "/components"


def _solution(text: str) -> int:
    return record_id(text, "StockSolution")


def _chemical(text: str) -> int:
    return record_id(text, "Chemical")


def _unit(text: str) -> int:
    return record_id(text, "Unit")


def _component(text: str) -> int:
    return record_id(text, "StockSolutionComponent")


@router.get("/chemicals/search")
def search_chemicals(chemistry: Service, q: Search = "") -> Response:
    """The first chemicals whose name, CAS number or barcode contains a text."""
    return bare(chemistry.search_chemicals(q))


@router.post("/chemicals/import", openapi_extra=OPENAPI_BODY)
def import_chemicals(body: Body, chemistry: Service) -> Response:
    """Add or change many chemicals, listed or as a CSV file."""
    file = uploaded(body.get("file"))
    rows = read_chemicals(None if file is None else file.file, body)
    return told(chemistry.import_chemicals(rows), "Chemicals imported successfully")


@router.get("/chemicals")
def all_chemicals(
    chemistry: Service,
    page: Paged,
    search: Search = "",
    sort: str = "name",
    direction: str = "asc",
) -> Response:
    """Chemicals."""
    found, total = chemistry.chemicals(search, page, sort=sort, descending=direction == "desc")
    return listed(found, total)


@router.post("/chemicals", status_code=201, openapi_extra=OPENAPI_BODY)
def create_chemical(body: Body, chemistry: Service) -> Response:
    """Add a chemical."""
    return told(chemistry.save_chemical(None, body), "Chemical created successfully", 201)


@router.get("/chemicals/{chemical_id}")
def chemical(chemical_id: str, chemistry: Service) -> Response:
    """A chemical."""
    return told(chemistry.chemical(_chemical(chemical_id)))


@router.put("/chemicals/{chemical_id}", openapi_extra=OPENAPI_BODY)
@router.patch("/chemicals/{chemical_id}", openapi_extra=OPENAPI_BODY)
def update_chemical(chemical_id: str, body: Body, chemistry: Service) -> Response:
    """Change a chemical."""
    changed = chemistry.save_chemical(_chemical(chemical_id), body)
    return told(changed, "Chemical updated successfully")


@router.delete("/chemicals/{chemical_id}")
def delete_chemical(chemical_id: str, chemistry: Service) -> Response:
    """Delete a chemical that is in no stock solution."""
    chemistry.delete_chemical(_chemical(chemical_id))
    return told(None, "Chemical deleted successfully")


@router.get("/units")
def all_units(chemistry: Service, page: Paged) -> Response:
    """Units."""
    return cut(chemistry.units(), page)


@router.post("/units", status_code=201, openapi_extra=OPENAPI_BODY)
def create_unit(body: Body, chemistry: Service) -> Response:
    """Add a unit."""
    return told(chemistry.save_unit(None, body), "Unit created successfully", 201)


@router.get("/units/{unit_id}")
def unit(unit_id: str, chemistry: Service) -> Response:
    """A unit."""
    return told(chemistry.unit(_unit(unit_id)))


@router.put("/units/{unit_id}", openapi_extra=OPENAPI_BODY)
@router.patch("/units/{unit_id}", openapi_extra=OPENAPI_BODY)
def update_unit(unit_id: str, body: Body, chemistry: Service) -> Response:
    """Change a unit."""
    return told(chemistry.save_unit(_unit(unit_id), body), "Unit updated successfully")


@router.delete("/units/{unit_id}")
def delete_unit(unit_id: str, chemistry: Service) -> Response:
    """Delete a unit in which nothing is measured."""
    chemistry.delete_unit(_unit(unit_id))
    return told(None, "Unit deleted successfully")


@router.get(_SOLUTIONS)
def all_solutions(chemistry: Service, page: Paged, search: Search = "") -> Response:
    """Stock solutions by name."""
    return listed(*chemistry.solutions(search, page), is_bare=True)


@router.post(_SOLUTIONS, status_code=201, openapi_extra=OPENAPI_BODY)
def create_solution(body: Body, chemistry: Service) -> Response:
    """Add a stock solution, with its components if they are given."""
    return bare(chemistry.save_solution(None, body), 201)


@router.get(_ONE)
def solution(solution_id: str, chemistry: Service) -> Response:
    """A stock solution with its components."""
    return bare(chemistry.solution(_solution(solution_id)))


@router.put(_ONE, openapi_extra=OPENAPI_BODY)
@router.patch(_ONE, openapi_extra=OPENAPI_BODY)
def update_solution(solution_id: str, body: Body, chemistry: Service) -> Response:
    """Change a stock solution or its components."""
    return bare(chemistry.save_solution(_solution(solution_id), body))


@router.delete(_ONE)
def delete_solution(solution_id: str, chemistry: Service) -> Response:
    """Delete a stock solution that is in no well."""
    chemistry.delete_solution(_solution(solution_id))
    return told(None, "Stock solution deleted successfully")


@router.get(_COMPONENTS)
def components(solution_id: str, chemistry: Service) -> Response:
    """Components of a stock solution."""
    return told(chemistry.components(_solution(solution_id)))


@router.post(_COMPONENTS, status_code=201, openapi_extra=OPENAPI_BODY)
def add_component(solution_id: str, body: Body, chemistry: Service) -> Response:
    """Add a component to a stock solution."""
    made = chemistry.save_component(_solution(solution_id), None, body)
    return told(made, "Component created successfully", 201)


@router.get(_COMPONENTS + "/{component_id}")
def component(solution_id: str, component_id: str, chemistry: Service) -> Response:
    """A component of a stock solution."""
    return told(chemistry.component(_solution(solution_id), _component(component_id)))


@router.put(_COMPONENTS + "/{component_id}", openapi_extra=OPENAPI_BODY)
@router.patch(_COMPONENTS + "/{component_id}", openapi_extra=OPENAPI_BODY)
def update_component(
    solution_id: str, component_id: str, body: Body, chemistry: Service
) -> Response:
    """Change a component of a stock solution."""
    number = _component(component_id)
    changed = chemistry.save_component(_solution(solution_id), number, body)
    return told(changed, "Component updated successfully")


@router.delete(_COMPONENTS + "/{component_id}")
def delete_component(solution_id: str, component_id: str, chemistry: Service) -> Response:
    """Remove a component from a stock solution."""
    chemistry.delete_component(_solution(solution_id), _component(component_id))
    return told(None, "Component deleted successfully")
