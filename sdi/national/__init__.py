"""The country's profile: VN-2000 grids and the pinned transformation, legacy encodings, parcel identifiers, units in
time."""
