//! Stores: log and inbox, leases and tasks, memo, blobs and traces.
