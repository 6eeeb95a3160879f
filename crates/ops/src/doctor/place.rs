//! One place of an image, step by step. The first step that does not work ends the examination:
//! what comes after it could only repeat it.

use dhow_client::{ErrorKind, Place, Probe, Proof};
use dhow_config::Credentials;
use dhow_transport::Kind;

use super::tls;
use super::{DoctorReport, Finding, Level};

/// Returns what findings about a place are called after.
pub(super) fn subject(place: &Place) -> String {
    let repository = place.client.repository();
    if place.mirror {
        format!("mirror {repository}")
    } else {
        repository.registry().to_owned()
    }
}

/// Examines a place that images are read from; returns whether it can be used at all.
pub(super) async fn examine(place: &Place, report: &mut DoctorReport) -> bool {
    let subject = subject(place);
    let probe = place.probe();
    let credentials = credentials(&probe, &subject, report).await;
    if !connection(&probe, &subject, report).await {
        return false;
    }
    let Some(proof) = answer(&probe, &subject, report).await else {
        return false;
    };
    let let_in = match credentials {
        Some(found) => {
            let anonymous = found == Credentials::Anonymous;
            login(&probe, &subject, &proof, anonymous, report).await
        }
        None => proof == Proof::Nothing,
    };
    if !let_in {
        return false;
    }
    pull(&probe, place, &subject, report).await;
    limit(&probe, &subject, report);
    true
}

async fn credentials(
    probe: &Probe,
    subject: &str,
    report: &mut DoctorReport,
) -> Option<Credentials> {
    match probe.credentials().await {
        Ok(found) => {
            let message = match found.user() {
                Some(user) => format!("user `{user}`, from {}", found.origin),
                None => format!("none: {}", found.origin),
            };
            report.add(Finding::ok("credentials", subject, message));
            Some(found.credentials)
        }
        Err(error) => {
            report.add(Finding::error("credentials", subject, &error));
            None
        }
    }
}

/// Resolves, connects and shakes hands; returns whether there is any use in going on.
async fn connection(probe: &Probe, subject: &str, report: &mut DoctorReport) -> bool {
    match probe.proxy() {
        Ok(None) => {}
        Ok(Some(proxy)) => {
            let message = format!("through `{proxy}`, which resolves names and connects");
            report.add(Finding::note("proxy", subject, message));
            return true;
        }
        Err(error) => {
            report.add(Finding::error("proxy", subject, &error));
            return false;
        }
    }
    let addresses = match probe.resolve().await {
        Ok(addresses) => addresses,
        Err(error) => {
            report.add(Finding::error("name resolution", subject, &error));
            return false;
        }
    };
    let shown: Vec<_> = addresses
        .iter()
        .map(|address| address.ip().to_string())
        .collect();
    report.add(Finding::ok("name resolution", subject, shown.join(", ")));
    let connected = match probe.connect(&addresses).await {
        Ok(connected) => connected,
        // A registry without TLS may listen on another port than that of https.
        Err(_) if !probe.trust().verified => return true,
        Err(error) => {
            report.add(Finding::error("connection", subject, &error));
            return false;
        }
    };
    let message = format!(
        "{} answered after {} ms",
        connected.address,
        connected.elapsed.as_millis()
    );
    report.add(Finding::ok("connection", subject, message));
    tls::examine(probe, connected.address, subject, report).await
}

async fn answer(probe: &Probe, subject: &str, report: &mut DoctorReport) -> Option<Proof> {
    let proof = match probe.proof().await {
        Ok(proof) => proof,
        Err(error) => {
            report.add(Finding::error("answer", subject, &error));
            return None;
        }
    };
    let message = match &proof {
        Proof::Nothing => "a registry that asks for no proof".to_owned(),
        Proof::Basic => "a registry that asks for user name and password".to_owned(),
        Proof::Bearer { realm, service } => {
            let service = service.as_deref().unwrap_or("no name");
            format!("a registry that asks for a token of `{realm}` (service `{service}`)")
        }
        Proof::Unknown { status } => {
            let message = format!("`GET /v2/` is answered with {status}, as no registry does");
            let finding = Finding::new(Level::Error, "api", subject, message);
            report.add(
                finding
                    .kind(Kind::Invalid)
                    .hint("check host and port, and what stands between here and the registry"),
            );
            return None;
        }
    };
    let scheme = match probe.is_secure() {
        Some(false) => "plain http, ",
        _ => "",
    };
    report.add(Finding::ok("answer", subject, format!("{scheme}{message}")));
    Some(proof)
}

async fn login(
    probe: &Probe,
    subject: &str,
    proof: &Proof,
    anonymous: bool,
    report: &mut DoctorReport,
) -> bool {
    if *proof == Proof::Nothing {
        return true;
    }
    match probe.log_in().await {
        Ok(()) => {
            let message = if anonymous {
                "let in without credentials"
            } else {
                "the credentials are right"
            };
            report.add(Finding::ok("login", subject, message));
            true
        }
        // Some token services give nobody a token for nothing in particular.
        Err(error) if anonymous && matches!(proof, Proof::Bearer { .. }) => {
            let finding = Finding::error("login", subject, &error);
            report.add(finding.level(Level::Note));
            true
        }
        Err(error) => {
            let mut finding = Finding::error("login", subject, &error);
            if anonymous {
                "credentials are needed, and there are none".clone_into(&mut finding.message);
                finding.hint = Some(format!(
                    "log in with `dhow login {}`",
                    subject.rsplit(' ').next().unwrap_or(subject)
                ));
            }
            report.add(finding);
            false
        }
    }
}

async fn pull(probe: &Probe, place: &Place, subject: &str, report: &mut DoctorReport) {
    let name = format!("`{}` of `{}`", place.manifest, place.client.repository());
    report.add(match probe.pull(&place.manifest).await {
        Ok(true) => Finding::ok("pull", subject, format!("{name} is there and can be read")),
        Ok(false) => {
            let message = format!("{name} is not there; reading is allowed");
            Finding::new(Level::Warning, "pull", subject, message)
        }
        Err(error) => Finding::error("pull", subject, &error),
    });
}

/// Examines whether the place that is named can be written to.
pub(super) async fn push(probe: &Probe, subject: &str, needed: bool, report: &mut DoctorReport) {
    let Err(error) = probe.push().await else {
        let message = "an upload was begun and given up again";
        report.add(Finding::ok("push", subject, message));
        return;
    };
    let finding = Finding::error("push", subject, &error);
    let refused = matches!(
        error.kind(),
        ErrorKind::Unauthorized | ErrorKind::Denied | ErrorKind::Unsupported | ErrorKind::NotFound
    );
    let message = format!("no push right: {}", finding.message);
    let level = if refused && !needed {
        Level::Warning
    } else {
        Level::Error
    };
    report.add(Finding {
        level,
        message,
        ..finding
    });
}

fn limit(probe: &Probe, subject: &str, report: &mut DoctorReport) {
    let Some(limit) = probe.rate_limit() else {
        return;
    };
    let all = limit
        .limit
        .map_or_else(String::new, |limit| format!(" of {limit}"));
    let window = limit.window.map_or_else(String::new, |window| {
        format!(" in {} minutes", window.as_secs() / 60)
    });
    let message = format!("{}{all} requests left{window}", limit.remaining);
    let level = if limit.remaining == 0 {
        Level::Warning
    } else {
        Level::Ok
    };
    report.add(Finding::new(level, "rate limit", subject, message));
}
