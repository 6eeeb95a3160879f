//! The configuration: which files are there, and whether they make sense.

use std::sync::Arc;

use dhow_config::{AuthFiles, ConfigFile, Policy, SurveyedProgram};

use super::{DoctorReport, Finding};
use crate::session::PolicyOption;
use crate::{EndpointOptions, Session};

/// Examines the files, in a thread that may block.
pub(super) async fn examine(
    session: &Session,
    endpoint: &EndpointOptions,
    report: &mut DoctorReport,
) {
    let (session, endpoint) = (session.clone(), endpoint.clone());
    let reading = tokio::task::spawn_blocking(move || {
        let mut found = DoctorReport::default();
        registries(&session, &mut found);
        signature_storage(&session, &mut found);
        policy(&session, &mut found);
        credentials(&session, &endpoint, &mut found);
        proxies(&session, &mut found);
        found.findings
    });
    report.findings.extend(reading.await.unwrap_or_default());
}

fn registries(session: &Session, report: &mut DoctorReport) {
    const CHECK: &str = "registries.conf";
    match session.config.registries() {
        Ok(registries) => {
            files(CHECK, &registries.files, report);
            for entry in registries.entries.iter().filter(|entry| entry.blocked) {
                let message = format!("blocked, by `{}`", entry.file.display());
                report.add(Finding::note(CHECK, &entry.prefix, message));
            }
        }
        Err(error) => report.add(Finding::broken(CHECK, "", &error)),
    }
}

fn signature_storage(session: &Session, report: &mut DoctorReport) {
    const CHECK: &str = "registries.d";
    match session.config.signature_storage() {
        Ok(storage) => files(CHECK, &storage.files, report),
        Err(error) => report.add(Finding::broken(CHECK, "", &error)),
    }
}

fn policy(session: &Session, report: &mut DoctorReport) {
    const CHECK: &str = "policy.json";
    let environment = session.config.environment();
    let loaded = match &session.policy {
        PolicyOption::AcceptAnything => {
            report.add(Finding::note(
                CHECK,
                "",
                "not asked: every image is accepted",
            ));
            return;
        }
        PolicyOption::Default => Policy::load(environment, None),
        PolicyOption::File(path) => Policy::load(environment, Some(path)),
    };
    report.add(match loaded {
        Ok(policy) => match policy.path {
            Some(path) => Finding::ok(CHECK, path.display().to_string(), "read"),
            None => Finding::note(CHECK, "", "there is none: every image is accepted"),
        },
        Err(error) => Finding::broken(CHECK, "", &error),
    });
}

fn credentials(session: &Session, endpoint: &EndpointOptions, report: &mut DoctorReport) {
    const CHECK: &str = "credential files";
    let auth = AuthFiles::new(Arc::clone(&session.config), endpoint.authfile.clone());
    for helper in auth.configured_helpers().unwrap_or_default() {
        report.add(helper_finding(helper, "registries.conf"));
    }
    for surveyed in auth.survey() {
        let file = surveyed.file;
        match surveyed.helpers {
            Ok(helpers) => {
                files(CHECK, std::slice::from_ref(&file), report);
                for helper in helpers {
                    let named_in = file.path.display().to_string();
                    report.add(helper_finding(helper, &named_in));
                }
            }
            Err(error) => {
                let path = file.path.display().to_string();
                report.add(Finding::broken(CHECK, path, &error));
            }
        }
    }
}

fn helper_finding(helper: SurveyedProgram, named_in: &str) -> Finding {
    const CHECK: &str = "credential helper";
    match helper.path {
        Ok(path) => {
            let message = format!("`{}`, named in `{named_in}`", path.display());
            Finding::ok(CHECK, helper.program, message)
        }
        Err(error) => Finding::broken(CHECK, helper.program, &error),
    }
}

fn proxies(session: &Session, report: &mut DoctorReport) {
    for name in [
        "HTTPS_PROXY",
        "https_proxy",
        "HTTP_PROXY",
        "http_proxy",
        "NO_PROXY",
        "no_proxy",
    ] {
        if session.config.environment().variable(name).is_some() {
            // The value of a proxy can hold a password.
            report.add(Finding::note("environment", name, "set"));
        }
    }
}

fn files(check: &'static str, files: &[ConfigFile], report: &mut DoctorReport) {
    for file in files {
        let path = file.path.display().to_string();
        report.add(if file.found {
            Finding::ok(check, path, "read")
        } else {
            Finding::note(check, path, "not there")
        });
    }
}
