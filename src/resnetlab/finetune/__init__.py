"""Fine-tuning of a pre-trained network on a folder of photographs."""
