"""What is asked and answered: frozen types and pure array functions."""
