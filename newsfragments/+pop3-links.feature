A frontend's POP3 connections to backends of pycyrus serve one user after another.
