//! What was found.

use dhow_transport::Kind;
use serde::Serialize;

/// What was found, in the order in which it was looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DoctorReport {
    /// The image, by its full name.
    pub image: Option<String>,
    /// The findings.
    pub findings: Vec<Finding>,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What was looked at: `tls`, `login`, `registries.conf`.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// Of which file, registry or mirror.
    pub subject: String,
    /// The fact.
    pub message: String,
    /// What the user can do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What kind of error it is, for the exit code.
    #[serde(skip)]
    pub kind: Option<Kind>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// Something that will not work as somebody may expect.
    Warning,
    /// What makes commands fail, or was configured and does not work.
    Error,
}

impl DoctorReport {
    /// Returns the first of the worst findings: the later ones may follow from it.
    pub fn worst(&self) -> Option<&Finding> {
        let worst = self.findings.iter().map(|finding| finding.level).max()?;
        self.findings.iter().find(|finding| finding.level == worst)
    }

    pub(super) fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }
}

impl Finding {
    pub(super) fn new(
        level: Level,
        check: &'static str,
        subject: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            check,
            level,
            subject: subject.into(),
            message: message.into(),
            hint: None,
            kind: None,
        }
    }

    pub(super) fn ok(
        check: &'static str,
        subject: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self::new(Level::Ok, check, subject, message)
    }

    pub(super) fn note(
        check: &'static str,
        subject: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self::new(Level::Note, check, subject, message)
    }

    /// Returns what the client reports, as a finding.
    pub(super) fn error(
        check: &'static str,
        subject: impl Into<String>,
        error: &dhow_client::Error,
    ) -> Self {
        let mut finding = Self::new(Level::Error, check, subject, one_line(error));
        finding.hint = error.hint_text().map(str::to_owned);
        finding.kind = Some(crate::error::kind_of(error.kind()));
        finding
    }

    /// Returns what is wrong with a configuration file, as a finding.
    pub(super) fn broken(
        check: &'static str,
        subject: impl Into<String>,
        error: &dhow_config::ConfigError,
    ) -> Self {
        let mut finding = Self::new(Level::Error, check, subject, one_line(error));
        finding.hint = error.hint();
        finding.kind = Some(Kind::Invalid);
        finding
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn kind(mut self, kind: Kind) -> Self {
        self.kind = Some(kind);
        self
    }

    pub(super) fn level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }
}

/// Returns an error and its causes on one line.
fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
