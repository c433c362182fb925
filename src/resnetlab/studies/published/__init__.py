"""Published work as data: the bibliography of the catalog, and the numbers of references."""
