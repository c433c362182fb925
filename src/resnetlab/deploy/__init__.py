"""Using a trained network: predict, score, combine, explain, export, serve. Every part takes a model's folder."""
