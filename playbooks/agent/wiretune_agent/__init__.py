"""What runs on a gateway: Python's standard library only, called by the `gateway` module, JSON in and JSON out."""
