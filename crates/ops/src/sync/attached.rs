//! What belongs to an image and is no part of it: artifacts that refer to it (signatures, SBOMs,
//! attestations), by the referrers API or by tags made of digests.

use std::collections::{BTreeSet, VecDeque};

use dhow_copy::Standing;
use dhow_model::{Digest, Index};
use dhow_transport::Location;

use super::image::parse;
use super::origins::{Image, apart};
use super::outcome::SyncOutcome;
use super::run::Run;
use crate::Error;

impl Run {
    /// Copies what refers to an image that is at the destination, if that was asked for, and returns
    /// the digests that others may refer to: those of the image and of the images in an index.
    pub(super) async fn attach(
        &self,
        image: &Image,
        outcome: &mut SyncOutcome,
    ) -> Result<Vec<Digest>, Error> {
        let options = &self.options;
        let Some(root) = outcome
            .digest
            .filter(|_| options.referrers || options.digest_tags)
        else {
            return Ok(Vec::new());
        };
        let subjects = self.subjects(image, root, outcome).await?;
        if options.referrers && !options.dry_run {
            let (into, _) = apart(&outcome.destination);
            outcome.bytes += self.referrers(image, &into, &subjects).await?;
        }
        Ok(subjects)
    }

    /// Returns the digests of an image, or of an index and its images.
    async fn subjects(
        &self,
        image: &Image,
        root: Digest,
        outcome: &SyncOutcome,
    ) -> Result<Vec<Digest>, Error> {
        let kind = outcome
            .media_type
            .as_ref()
            .and_then(dhow_model::MediaType::manifest_kind);
        if !kind.is_some_and(dhow_model::ManifestKind::is_index) {
            return Ok(vec![root]);
        }
        // A tag may have moved; what is asked for by its digest has not.
        let location = parse(&image.side, &image.source, "source")?;
        let place = |error| Error::place("read the index of", &location, error);
        let source = location.source().await.map_err(place)?;
        let raw = source.manifest(&root).await.map_err(place)?;
        let index = Index::parse(&raw).map_err(|source| Error::Manifest {
            what: "index",
            name: location.to_string(),
            source,
        })?;
        let children = index.entries.iter().map(|child| child.digest);
        Ok(std::iter::once(root).chain(children).collect())
    }

    /// Copies what refers to these manifests, and what refers to that. Returns the bytes sent.
    async fn referrers(
        &self,
        image: &Image,
        into: &str,
        subjects: &[Digest],
    ) -> Result<u64, Error> {
        let mut bytes = 0;
        let mut open: VecDeque<Digest> = subjects.iter().copied().collect();
        // What refers to something can be referred to by it: each is looked at once.
        let mut seen: BTreeSet<Digest> = subjects.iter().copied().collect();
        while let Some(subject) = open.pop_front() {
            let source = at(image, &subject)?;
            let found = referrers_of(&*source, &subject).await?;
            if found.is_empty() {
                continue;
            }
            let name = format!("{into}@{subject}");
            let target = parse(&self.destination, &name, "destination")?;
            let there: BTreeSet<Digest> = referrers_of(&*target, &subject)
                .await?
                .into_iter()
                .collect();
            for digest in found {
                if !seen.insert(digest) {
                    continue;
                }
                open.push_back(digest);
                if there.contains(&digest) {
                    continue;
                }
                let name = format!("{into}@{digest}");
                let target = parse(&self.destination, &name, "destination")?;
                let report = self
                    .copy(at(image, &digest)?, target, Standing::Absent)
                    .await?;
                bytes += report.sent.bytes;
            }
        }
        Ok(bytes)
    }
}

/// Returns the place of a manifest in the repository of an image.
fn at(image: &Image, digest: &Digest) -> Result<std::sync::Arc<dyn Location>, Error> {
    let name = format!("docker://{}@{digest}", image.repository);
    parse(&image.side, &name, "source")
}

async fn referrers_of(location: &dyn Location, subject: &Digest) -> Result<Vec<Digest>, Error> {
    let place = |error| Error::place("list the referrers of", &location, error);
    let source = location.source().await.map_err(place)?;
    let found = source.referrers(subject).await.map_err(place)?;
    Ok(found.into_iter().map(|one| one.digest).collect())
}
