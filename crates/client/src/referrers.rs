//! Referrers (OCI distribution-spec v1.1, *Listing Referrers*), with the tag that stands in for
//! the API where a registry does not have it.

use bytes::Bytes;
use dhow_model::{Descriptor, Digest, RawManifest, Tag};
use http::{HeaderName, Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use url::form_urlencoded;

use crate::answer::Answer;
use crate::tags::Pages;
use crate::{Error, ManifestRef, RepositoryClient};

/// The largest number of referrers that are collected.
const MAX_REFERRERS: usize = 20_000;

const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

#[derive(Deserialize)]
struct Referrers {
    manifests: Option<Vec<Value>>,
}

impl RepositoryClient {
    /// Returns the manifests that refer to `subject`, those of one artifact type if it is given.
    pub async fn referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        let mut path = self.path(&format!("referrers/{subject}"));
        if let Some(wanted) = artifact_type {
            let query: String = form_urlencoded::byte_serialize(wanted.as_bytes()).collect();
            path = format!("{path}?artifactType={query}");
        }
        let mut pages = Pages::new(path);
        let mut all = Vec::new();
        let mut first = true;
        while let Some(path) = pages.take()? {
            let answer = self
                .channel
                .send(self.request_to(Method::GET, path))
                .await?;
            match answer.status() {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED if first => {
                    return self.referrers_by_tag(subject, artifact_type).await;
                }
                _ => return Err(self.refusal(answer, self.what(subject)).await),
            }
            first = false;
            pages.set(answer.next_page());
            let filtered = answer
                .header(FILTERS_APPLIED)
                .is_some_and(|filters| filters.contains("artifactType"));
            let mut found = self.read(answer, subject).await?;
            if let Some(wanted) = artifact_type.filter(|_| !filtered) {
                found.retain(|one| one.artifact_type.as_deref() == Some(wanted));
            }
            all.extend(found);
            if all.len() > MAX_REFERRERS {
                return Err(Error::protocol(format!(
                    "`{subject}` has more than {MAX_REFERRERS} referrers"
                )));
            }
        }
        Ok(all)
    }

    /// Reads the index under the tag `sha256-<hex>`.
    async fn referrers_by_tag(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        let name = subject.to_string().replace(':', "-");
        // SPEC: *Referrers Tag Schema*: cut to what a tag can hold.
        let name: String = name.chars().take(128).collect();
        let tag = Tag::parse(&name)
            .map_err(|source| Error::protocol("a digest does not make a tag").caused_by(source))?;
        let answer = self
            .manifest_request(Method::GET, &ManifestRef::Tag(tag))
            .await?;
        let mut found = match answer.status() {
            StatusCode::OK => self.read(answer, subject).await?,
            StatusCode::NOT_FOUND => return Ok(Vec::new()),
            _ => return Err(self.refusal(answer, self.what(subject)).await),
        };
        if let Some(wanted) = artifact_type {
            found.retain(|one| one.artifact_type.as_deref() == Some(wanted));
        }
        Ok(found)
    }

    async fn read(&self, answer: Answer, subject: &Digest) -> Result<Vec<Descriptor>, Error> {
        let body = answer
            .bytes(RawManifest::MAX_SIZE)
            .await
            .map_err(|error| error.during(self.what(subject)))?;
        parse(&body).map_err(|error| error.during(self.what(subject)))
    }

    fn what(&self, subject: &Digest) -> String {
        format!(
            "the referrers of `{subject}` in `{}` cannot be listed",
            self.repository
        )
    }
}

fn parse(body: &Bytes) -> Result<Vec<Descriptor>, Error> {
    let list: Referrers = serde_json::from_slice(body)
        .map_err(|source| Error::protocol("the answer is not an index").caused_by(source))?;
    let entries = list.manifests.unwrap_or_default();
    // An entry that makes no sense, or whose digest cannot be verified, is of no use.
    Ok(entries
        .into_iter()
        .filter_map(|entry| serde_json::from_value(entry).ok())
        .collect())
}
