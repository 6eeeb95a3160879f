//! What is wrong with a value that chooses images.

/// A value that chooses images makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SelectError {
    message: String,
    hint: Option<&'static str>,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl SelectError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            source: None,
        }
    }

    pub(super) const fn with_hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    pub(super) fn caused_by(
        mut self,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// Returns what the user can do about it.
    pub const fn hint(&self) -> Option<&str> {
        self.hint
    }
}
