"""What can be done with plates, places, wells, images and chemistry, one file per kind."""

from benchwire.domains.plates.service.chemistry import Chemistry
from benchwire.domains.plates.service.exchange import Exchange
from benchwire.domains.plates.service.images import Images
from benchwire.domains.plates.service.locations import Locations
from benchwire.domains.plates.service.plates import Plates
from benchwire.domains.plates.service.wells import Wells

__all__ = ["Chemistry", "Exchange", "Images", "Locations", "Plates", "Wells"]
