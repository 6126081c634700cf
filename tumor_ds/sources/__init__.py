"""Pictures of other hospitals: one adapter a public download, all with the same record."""
