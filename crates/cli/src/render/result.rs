//! The result of a copy, and the plan of a dry run.

use std::fmt::Write as _;

use dhow_ops::{CopyReport, CopyRequest, PlanSummary, Report, Tally};
use serde_json::{Value, json};

use super::size;
use super::streams;
use crate::failure::Failure;

/// Writes one line about a finished copy on stderr.
pub(crate) fn text(request: &CopyRequest, copied: &CopyReport) {
    let report = &copied.report;
    let mut parts = Vec::new();
    let mut part = |tally: &Tally, words: &str| {
        if tally.blobs > 0 {
            let blobs = if tally.blobs == 1 { "blob" } else { "blobs" };
            parts.push(format!(
                "{} {blobs} {words} ({})",
                tally.blobs,
                size::bytes(tally.bytes)
            ));
        }
    };
    part(&report.sent, "sent");
    part(&report.mounted, "mounted");
    part(&report.reused, "already there");
    let images = match report.images {
        0 | 1 => String::new(),
        count => format!("{count} images, "),
    };
    streams::eprint(&format!(
        "copied {}\n{}    to {}\ndigest {}\n{images}{}, {}\n",
        request.source.name,
        served_by(report),
        request.destination.name,
        report.digest,
        if report.unchanged {
            "unchanged".to_owned()
        } else if parts.is_empty() {
            "no blobs".to_owned()
        } else {
            parts.join(", ")
        },
        size::time(copied.elapsed),
    ));
}

/// Says where the image was really read from, when the name does not.
fn served_by(report: &Report) -> String {
    let place = report.served_by.as_deref();
    place.map_or_else(String::new, |place| format!("  from {place}\n"))
}

/// Writes a plan on stdout.
pub(crate) fn plan(request: &CopyRequest, plan: &PlanSummary) -> Result<(), Failure> {
    let mut text = format!(
        "would copy {}\n        to {}\n",
        request.source.name, request.destination.name
    );
    for manifest in &plan.manifests {
        let platform = manifest
            .platform
            .as_ref()
            .map_or_else(String::new, |platform| format!("  {platform}"));
        let change = manifest.change.as_deref().unwrap_or("as it is");
        let _infallible = writeln!(
            text,
            "manifest  {}  {:>10}  {change}{platform}",
            manifest.source_digest,
            size::bytes(manifest.size)
        );
    }
    let mut moved = Tally::default();
    let mut there = Tally::default();
    for blob in &plan.blobs {
        let present = blob.present == Some(true);
        let tally = if present { &mut there } else { &mut moved };
        tally.blobs += 1;
        tally.bytes += blob.size;
        let words = if present { "is there" } else { "would move" };
        let _infallible = writeln!(
            text,
            "blob      {}  {:>10}  {words}",
            blob.digest,
            size::bytes(blob.size)
        );
    }
    let _infallible = writeln!(
        text,
        "{} blobs would move ({}), {} are there ({})",
        moved.blobs,
        size::bytes(moved.bytes),
        there.blobs,
        size::bytes(there.bytes)
    );
    streams::write(text.as_bytes())
}

/// Writes the result as one JSON object on stdout (`docs/user/copy.md` describes it).
pub(crate) fn json(request: &CopyRequest, copied: &CopyReport) -> Result<(), Failure> {
    let report = &copied.report;
    let tally = |tally: &Tally| json!({"blobs": tally.blobs, "bytes": tally.bytes});
    let mut object = json!({
        "schemaVersion": 1,
        "source": request.source.name,
        "destination": request.destination.name,
        "digest": report.digest,
        "mediaType": report.media_type,
        "images": report.images,
        "sent": tally(&report.sent),
        "reused": tally(&report.reused),
        "mounted": tally(&report.mounted),
        "unchanged": report.unchanged,
        "servedBy": report.served_by,
        "seconds": copied.elapsed.as_secs_f64(),
    });
    if let (Some(plan), Some(fields)) = (&report.plan, object.as_object_mut()) {
        fields.insert("plan".to_owned(), plan_value(plan));
    }
    streams::write(format!("{object}\n").as_bytes())
}

fn plan_value(plan: &PlanSummary) -> Value {
    let manifests = plan.manifests.iter().map(|manifest| {
        json!({
            "digest": manifest.source_digest,
            "mediaType": manifest.media_type,
            "size": manifest.size,
            "platform": manifest.platform,
            "change": manifest.change,
        })
    });
    let blobs = plan.blobs.iter().map(|blob| {
        json!({
            "digest": blob.digest,
            "mediaType": blob.media_type,
            "size": blob.size,
            "present": blob.present,
        })
    });
    json!({
        "manifests": manifests.collect::<Vec<_>>(),
        "blobs": blobs.collect::<Vec<_>>(),
    })
}
