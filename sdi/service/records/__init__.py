"""The city's data catalogue: OGC API Records, DCAT, ISO 19115, the open-data list and the register's change log.

pygeoapi's records are those of a draft and of its own providers, and would not follow who asks; so the routes are ours.
"""
