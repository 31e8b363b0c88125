"""The suite tests itself: pytester runs adopters as their authors would."""

pytest_plugins = ["pytester"]
