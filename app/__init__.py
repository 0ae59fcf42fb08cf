"""The Wiretune service: API, database, durable workflows and command line."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("wiretune")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0.1.0"
