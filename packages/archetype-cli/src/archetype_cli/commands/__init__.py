"""The commands of this package, a module each; ``archetype_cli.command_group`` finds them through their entry points."""
