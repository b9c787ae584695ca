"""Raw data folders become tokenized data sets."""
