//! Doctor: what would be used to reach an image, and the first step at which that goes wrong.
//!
//! ```text
//! files   configuration that was read, was not there, or makes no sense
//! place   for each place of the image: name → connection → TLS → proof → login → pull → push
//! ```

mod files;
mod finding;
mod place;
mod tls;

pub use finding::{DoctorReport, Finding, Level};

use dhow_client::{Access, Endpoint};
use dhow_model::Reference;
use dhow_transport::ParseError;

use crate::{Error, ImageName, Session};

/// What to examine.
#[derive(Clone, Debug)]
pub struct DoctorRequest {
    /// The image; without one only the configuration is examined.
    pub image: Option<ImageName>,
    /// Where the flags are that hold without an image, too.
    pub endpoint: crate::EndpointOptions,
    /// Whether the image has to be writable: then it is an error, and not a warning, when it is
    /// not.
    pub push: bool,
}

/// Examines. What is wrong with the patient is in the report; an error is about the request.
///
/// # Errors
/// When the image is not one of a registry.
pub async fn doctor(session: &Session, request: &DoctorRequest) -> Result<DoctorReport, Error> {
    let reference = request.image.as_ref().map(reference).transpose()?;
    let mut report = DoctorReport {
        image: reference
            .as_ref()
            .map(|reference| format!("docker://{reference}")),
        findings: Vec::new(),
    };
    files::examine(session, &request.endpoint, &mut report).await;
    let Some(reference) = reference else {
        return Ok(report);
    };
    let endpoint = request.endpoint.parts(session).endpoint;
    examine_places(&endpoint, &reference, request.push, &mut report).await;
    Ok(report)
}

async fn examine_places(
    endpoint: &Endpoint,
    reference: &Reference,
    push: bool,
    report: &mut DoctorReport,
) {
    let named = reference.repository.registry();
    let places = match endpoint.places(reference).await {
        Ok(places) => places,
        Err(error) => {
            report.add(Finding::error("registries.conf", named, &error));
            return;
        }
    };
    let mut usable = true;
    for place in &places {
        usable = place::examine(place, report).await;
    }
    // Writes go to the place that is named, whatever mirrors there are.
    let same = |place: &dhow_client::Place| *place.client.repository() == reference.repository;
    if !usable && places.last().is_some_and(same) {
        return;
    }
    match endpoint
        .repository(&reference.repository, Access::Push)
        .await
    {
        Ok(client) => place::push(&client.probe(), named, push, report).await,
        Err(error) => report.add(Finding::error("push", named, &error)),
    }
}

/// Returns the image of a name, with or without `docker://` before it.
fn reference(image: &ImageName) -> Result<Reference, Error> {
    let name = image.name.strip_prefix("docker://").unwrap_or(&image.name);
    let refuse = |message: String, hint: &str| Error::Name {
        role: "image",
        source: ParseError::new(message).hint(hint),
    };
    let transport = name.split_once(':').map(|(transport, _)| transport);
    if matches!(transport, Some("oci" | "dir")) {
        return Err(refuse(
            format!("`{name}` is not in a registry"),
            "name an image as `docker://REGISTRY/REPOSITORY:TAG`",
        ));
    }
    Reference::parse(name)
        .map(Reference::with_default_tag)
        .map_err(|error| {
            refuse(
                error.to_string(),
                "name an image as `docker://REGISTRY/REPOSITORY:TAG`",
            )
        })
}
