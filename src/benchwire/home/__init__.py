"""What belongs to no domain: the index, the documents, metrics, login and the dashboard's frame."""
