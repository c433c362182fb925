"""Time that a study needs: measured speeds, estimates, and the forecast for a plan."""
