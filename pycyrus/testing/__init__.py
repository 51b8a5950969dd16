"""Doubles and drivers that other projects may use as well."""
