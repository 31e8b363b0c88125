"""The command ``archetype``. Its subcommands come from installed packages, and are imported when they are called."""
