"""Transports, TLS and limits under the protocols."""
