"""Fakes and real peers that tests share."""
