"""Guest components for whole fabrics."""

pytest_plugins = ("guests",)
