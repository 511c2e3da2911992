"""Small trained nets, run in NumPy: one object from a prompt, and all objects of a picture."""
