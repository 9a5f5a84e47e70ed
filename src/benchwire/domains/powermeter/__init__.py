"""USB power meters: polled, stored for good, integrated, watched and shown live."""
