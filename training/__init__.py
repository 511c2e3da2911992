"""How the built-in engine's nets are trained, measured and exported; not part of the package.

python -m training --help
"""
