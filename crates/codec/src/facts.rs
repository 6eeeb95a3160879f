//! What is known of a stream once it has ended.

use std::sync::{Arc, Mutex, PoisonError};

/// Where a value appears when the stream that it describes has ended well.
#[derive(Debug)]
pub struct Facts<T>(Arc<Mutex<Option<T>>>);

impl<T> Facts<T> {
    /// Returns the value, once. `None` while the stream is on its way, and when it broke.
    pub fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Returns a copy of the value; as [`Facts::take`] otherwise.
    pub fn value(&self) -> Option<T>
    where
        T: Clone,
    {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns whether the stream has let go of it: it has ended, well or not.
    pub fn is_alone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    pub(crate) fn set(&self, value: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }
}

impl<T> Clone for Facts<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Facts<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}
