"""Work on other computers: the executor over a Dask cluster that the settings name.

``host`` runs on the cluster's workers, ``connection`` keeps the server in touch with it, and
``executor`` is what the rest of the server sees. Loaded only where a cluster is set.
"""
