//! The TLS of one place: who vouches for it, for which names, and how long still.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use dhow_client::{CertificateFacts, Probe, TlsFacts};
use dhow_transport::Kind;

use super::{DoctorReport, Finding, Level};

/// A certificate that ends within this time is worth a warning.
const SOON: Duration = Duration::from_hours(14 * 24);

/// Examines the TLS of a place; returns whether there is any use in going on.
pub(super) async fn examine(
    probe: &Probe,
    address: SocketAddr,
    subject: &str,
    report: &mut DoctorReport,
) -> bool {
    let verified = probe.trust().verified;
    match probe.tls(address).await {
        Err(error) => {
            report.add(Finding::error("tls", subject, &error));
            false
        }
        Ok(None) if verified => {
            let finding = Finding::new(Level::Error, "tls", subject, "it does not speak https");
            report.add(finding.kind(Kind::Unreachable).hint(
                "pass --tls-verify=false, or set `insecure = true` for it in registries.conf, if \
                 it has to be plain http",
            ));
            false
        }
        Ok(None) => {
            let message = "it speaks plain http, which the settings allow";
            report.add(Finding::note("tls", subject, message));
            true
        }
        Ok(Some(facts)) => judged(&facts, verified, subject, report),
    }
}

fn judged(facts: &TlsFacts, verified: bool, subject: &str, report: &mut DoctorReport) -> bool {
    let own = facts.chain.first();
    let described = own.map_or_else(|| "a certificate".to_owned(), describe);
    if let Some(why) = &facts.distrust {
        let message = format!("{}: {described} is not trusted: {why}", facts.version);
        let finding = Finding::new(Level::Error, "tls", subject, message).kind(Kind::Untrusted);
        report.add(finding.hint(advice(facts, why)));
        return false;
    }
    let message = format!("{}: {described}", facts.version);
    if !verified {
        let message = format!("{message}; it is not verified, as the settings say");
        report.add(Finding::note("tls", subject, message));
        return true;
    }
    report.add(Finding::ok("tls", subject, message));
    let ends = facts.chain.iter().map(|certificate| certificate.not_after);
    if let Some(end) = ends.min()
        && end < SystemTime::now() + SOON
    {
        let message = format!("a certificate of the chain expires on {}", date(end));
        let finding = Finding::new(Level::Warning, "tls", subject, message);
        report.add(finding.hint("have it renewed before that day"));
    }
    true
}

fn advice(facts: &TlsFacts, why: &str) -> String {
    let own = facts.chain.first();
    let over = own.is_some_and(|own| own.not_after < SystemTime::now());
    if over || why.contains("expired") {
        return "have the certificate renewed; until then --tls-verify=false turns verification \
                off"
        .to_owned();
    }
    if why.contains("another name") || why.contains("names no host") {
        return match own.filter(|own| !own.names.is_empty()) {
            Some(own) => format!("use one of the names it is for: {}", own.names.join(", ")),
            None => "have a certificate made that names this host".to_owned(),
        };
    }
    let issuer = facts.chain.last().map_or_else(
        || "its authority".to_owned(),
        |last| format!("`{}`", last.issuer),
    );
    format!(
        "trust {issuer}: put its certificate as a `.crt` file into certs.d, or pass --cert-dir DIR"
    )
}

fn describe(certificate: &CertificateFacts) -> String {
    let names = match certificate.names.as_slice() {
        [] => "no host".to_owned(),
        names => names.join(", "),
    };
    format!(
        "certificate `{}` for {names}, signed by `{}`, valid until {}",
        certificate.subject,
        certificate.issuer,
        date(certificate.not_after)
    )
}

fn date(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(
        |_| "a day far away".to_owned(),
        |time| time.strftime("%Y-%m-%d %H:%M UTC").to_string(),
    )
}
