"""Page of a single run: curves, confusions, gradients, blocks, settings and provenance."""
