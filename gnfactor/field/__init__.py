"""The generalizable neural feature field (GNFactor, CoRL 2023, section 3.2): a volume rendered from any view."""
