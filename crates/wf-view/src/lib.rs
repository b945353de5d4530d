//! Views: folds records to what surfaces show; every wire type.
