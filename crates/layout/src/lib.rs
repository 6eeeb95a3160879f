//! An OCI image layout directory as a store: index, blobs, locks.
