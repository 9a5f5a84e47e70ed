"""The plates' pages."""

from benchwire.domains.plates.service import Chemistry, Images, Locations, Plates, Wells
from benchwire.foundation.domain import Dashboard
from benchwire.foundation.web.shell import Shell


def register(
    shell: Shell,
    plates: Plates,
    locations: Locations,
    wells: Wells,
    images: Images,
    chemistry: Chemistry,
) -> Dashboard:
    """Register the pages in the dashboard's frame."""
    return Dashboard()
