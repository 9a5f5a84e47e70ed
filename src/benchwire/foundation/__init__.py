"""What every domain stands on: database, jobs, streams, workers, files, instruments and the web."""
