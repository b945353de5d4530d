//! Effects: providers, commands, search, git trees.
