"""What a drop looks like, in the words of the field, from nothing to the best."""

# The order of Hampton Research's scoring sheet, which other sheets follow with small changes.
SCORES = {
    1: "Clear",
    2: "Phase separation",
    3: "Precipitate",
    4: "Microcrystals",
    5: "Spherulites",
    6: "Needles (1D)",
    7: "Plates (2D)",
    8: "Crystals (3D) below 0.2 mm",
    9: "Crystals (3D) above 0.2 mm",
}
POINT_TYPES = ("crystal", "particle", "droplet", "other")
