"""The words everything else is written in: types, protocols, schemas, configuration. Imports nothing of ours outside itself."""
