"""Variational autoencoders whose encoder and decoder architectures are the object of study."""

__version__ = "0.1.0"
