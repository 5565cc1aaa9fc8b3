"""The demo city: a generated district of Hà Nội, delivered in the files a city really holds, with known defects."""
