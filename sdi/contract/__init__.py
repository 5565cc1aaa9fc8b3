"""The nouns: Layer, CodeList, Delivery, Report, FeatureQuery. Reads layers/; imports no GIS library and no SQL."""
