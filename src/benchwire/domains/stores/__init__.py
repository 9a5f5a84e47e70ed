"""Copies between the folders of this server and object stores."""
