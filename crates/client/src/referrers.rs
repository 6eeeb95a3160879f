//! Referrers (OCI distribution-spec v1.1, *Listing Referrers*), with the tag that stands in for
//! the API where a registry does not have it.

use bytes::Bytes;
use dhow_model::{Descriptor, Digest, MediaType, RawManifest, Tag};
use http::{HeaderName, Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
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
        let answer = self
            .manifest_request(Method::GET, &ManifestRef::Tag(fallback_tag(subject)?))
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

    /// Lists a manifest that was stored, and of which the registry did not say that it has listed it
    /// itself, under the tag that stands in for the API. Does nothing for one that refers to nothing.
    ///
    /// Nobody else in this process changes such a tag meanwhile; another process may, and then one of
    /// the changes is lost: there is no way to write a tag only if it has not moved.
    // SPEC: distribution-spec v1.1, *Pushing Manifests with Subject*: the client MUST do it.
    pub async fn list_referrer(&self, manifest: &RawManifest) -> Result<(), Error> {
        let Some((subject, entry)) = relation(manifest) else {
            return Ok(());
        };
        let what = |error: Error| error.during(self.what_listing(&subject));
        let tag = ManifestRef::Tag(fallback_tag(&subject)?);
        let _nobody_else = self.channel.listing_referrers().await;
        let answer = self.manifest_request(Method::GET, &tag).await?;
        let mut index = match answer.status() {
            StatusCode::NOT_FOUND => empty_index(),
            StatusCode::OK => {
                let body = answer.bytes(RawManifest::MAX_SIZE).await.map_err(what)?;
                serde_json::from_slice(&body)
                    .map_err(|source| what(no_index(&tag).caused_by(source)))?
            }
            _ => return Err(self.refusal(answer, self.what_listing(&subject)).await),
        };
        let Some(Value::Array(entries)) = index.get_mut("manifests") else {
            return Err(what(no_index(&tag)));
        };
        let digest = Value::from(manifest.digest().to_string());
        if entries
            .iter()
            .any(|entry| entry.get("digest") == Some(&digest))
        {
            return Ok(());
        }
        entries.push(entry);
        let bytes = Bytes::from(index.to_string());
        let index = RawManifest::new(bytes, Some(&MediaType::OCI_INDEX))
            .map_err(|source| what(no_index(&tag).caused_by(source)))?;
        self.put_manifest(&tag, &index).await.map(drop)
    }

    fn what_listing(&self, subject: &Digest) -> String {
        let repository = &self.repository;
        format!("what refers to `{subject}` cannot be listed in `{repository}`")
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

/// Returns the tag that stands in for the API.
// SPEC: *Referrers Tag Schema*: cut to what a tag can hold.
fn fallback_tag(subject: &Digest) -> Result<Tag, Error> {
    let name = subject.to_string().replace(':', "-");
    let name: String = name.chars().take(128).collect();
    Tag::parse(&name)
        .map_err(|source| Error::protocol("a digest does not make a tag").caused_by(source))
}

fn no_index(tag: &ManifestRef) -> Error {
    Error::protocol(format!("under the tag `{tag}` is no index of referrers"))
        .hint("remove that tag, or rename it: the registry has no referrers API, and needs it")
}

fn empty_index() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_INDEX.as_str(),
        "manifests": [],
    })
}

/// Returns the subject of a manifest, and the entry for the list of what refers to it.
// SPEC: *Listing Referrers*: type and annotations of the manifest; the config's type stands in.
fn relation(manifest: &RawManifest) -> Option<(Digest, Value)> {
    if !manifest
        .bytes()
        .windows(SUBJECT.len())
        .any(|part| part == SUBJECT)
    {
        return None;
    }
    let document: Value = serde_json::from_slice(manifest.bytes()).ok()?;
    let subject = document.get("subject")?.get("digest")?.as_str()?;
    let subject = Digest::parse(subject).ok()?;
    let text = |value: Option<&Value>| {
        let text = value.and_then(Value::as_str);
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let kind = text(document.get("artifactType")).or_else(|| {
        text(
            document
                .get("config")
                .and_then(|config| config.get("mediaType")),
        )
    });
    let mut entry = json!({
        "mediaType": manifest.media_type().as_str(),
        "digest": manifest.digest().to_string(),
        "size": manifest.bytes().len(),
    });
    if let Some(kind) = kind {
        entry["artifactType"] = Value::from(kind);
    }
    if let Some(notes) = document
        .get("annotations")
        .filter(|notes| notes.is_object())
    {
        entry["annotations"] = notes.clone();
    }
    Some((subject, entry))
}

/// What the bytes of a manifest with a subject have in them.
const SUBJECT: &[u8] = b"\"subject\"";

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
