"""The credentials checkers that come with pycyrus, for twistd's plugin system."""

from pycyrus.auth.checkers.passwd import PasswdCheckerFactory

passwd = PasswdCheckerFactory()
