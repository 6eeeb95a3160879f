//! What the doctor found.

use std::fmt::Write as _;

use dhow_ops::{DoctorReport, Finding, Level};
use serde_json::{Value, json};

use super::streams;
use crate::failure::{Exit, Failure};

/// Writes the findings on stdout, for people.
pub(crate) fn text(report: &DoctorReport) -> Result<(), Failure> {
    let mut text = String::new();
    let (files, places): (Vec<&Finding>, Vec<&Finding>) = report
        .findings
        .iter()
        .partition(|finding| is_about_files(finding));
    section(&mut text, "configuration", &files);
    if let Some(image) = &report.image {
        text.push('\n');
        section(&mut text, image, &places);
    }
    let count = |level: Level| {
        let findings = report.findings.iter();
        findings.filter(|finding| finding.level == level).count()
    };
    let (errors, warnings) = (count(Level::Error), count(Level::Warning));
    let _infallible = writeln!(text, "\n{errors} errors, {warnings} warnings");
    streams::write(text.as_bytes())
}

fn section(text: &mut String, title: &str, findings: &[&Finding]) {
    let _infallible = writeln!(text, "{title}");
    for finding in findings {
        let level = match finding.level {
            Level::Ok => "ok",
            Level::Note => "-",
            Level::Warning => "warning",
            Level::Error => "error",
        };
        let subject = match finding.subject.as_str() {
            "" => String::new(),
            subject => format!("{subject}: "),
        };
        let _infallible = writeln!(
            text,
            "  {level:<8} {:<18} {subject}{}",
            finding.check, finding.message
        );
        if let Some(hint) = &finding.hint {
            let _infallible = writeln!(text, "  {:<8} {:<18} hint: {hint}", "", "");
        }
    }
}

/// Writes the findings on stdout as one JSON object (`docs/user/doctor.md` describes it).
pub(crate) fn json(report: &DoctorReport, exit: Option<Exit>) -> Result<(), Failure> {
    let mut object = json!({
        "schemaVersion": 1,
        "exitCode": exit.map_or(0, Exit::code),
    });
    let findings = serde_json::to_value(report)
        .map_err(|error| Failure::new(Exit::General, "cannot write JSON").caused_by(&error))?;
    if let (Value::Object(object), Value::Object(findings)) = (&mut object, findings) {
        object.extend(findings);
    }
    streams::write(format!("{object}\n").as_bytes())
}

fn is_about_files(finding: &Finding) -> bool {
    matches!(
        finding.check,
        "registries.d" | "policy.json" | "credential files" | "credential helper" | "environment"
    ) || finding.check == "registries.conf"
        && finding
            .kind
            .is_none_or(|kind| kind == dhow_transport::Kind::Invalid)
}
