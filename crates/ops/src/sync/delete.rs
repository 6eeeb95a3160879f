//! Removing at the destination what the source no longer has: in the repositories that were synced as
//! a whole, after everything else, and never more than was allowed.

use std::collections::{BTreeMap, HashSet};

use dhow_transport::{Deletion, Kind};

use super::destination::{hash, tags};
use super::image::parse;
use super::outcome::{SyncFailure, SyncOutcome, SyncVerdict};
use super::request::MaxDelete;
use super::run::Run;
use crate::Error;
use crate::select::digest_tag_subject;

/// What there should be at the destination.
#[derive(Debug, Default)]
pub(super) struct Expected(BTreeMap<String, Repository>);

#[derive(Debug, Default)]
struct Repository {
    /// Hashes of the names that the source has.
    names: HashSet<u64>,
    /// Something of it is not known: a list broke off, or only some tags were meant.
    uncertain: bool,
}

impl Expected {
    /// Notes that the source has an image that belongs under this name.
    pub(super) fn name(&mut self, repository: &str, destination: &str) {
        let names = &mut self.0.entry(repository.to_owned()).or_default().names;
        names.insert(hash(destination));
    }

    /// Notes that not everything is known of what the source has for this repository.
    pub(super) fn doubt(&mut self, repository: &str) {
        self.0.entry(repository.to_owned()).or_default().uncertain = true;
    }
}

impl Run {
    /// Removes what is not expected, or says why nothing is removed.
    pub(super) async fn remove(&self, expected: &Expected, most: MaxDelete) -> Vec<SyncOutcome> {
        let mut outcomes = Vec::new();
        let (mut doomed, mut total) = (Vec::new(), 0);
        for (repository, known) in &expected.0 {
            if known.uncertain {
                tracing::warn!(
                    repository,
                    "nothing is removed: not all of its source is known"
                );
                continue;
            }
            match self.surplus(repository, known).await {
                Ok((names, count)) => {
                    doomed.extend(names);
                    total += count;
                }
                Err(error) => outcomes.push(failed(format!("docker://{repository}"), &error)),
            }
        }
        let allowed = most.of(total);
        if doomed.len() > allowed {
            outcomes.push(too_many(doomed.len(), total, allowed));
            return outcomes;
        }
        // One after another: Docker's registry looks at all tags of a repository when it deletes a
        // manifest, and was seen to answer 404 when another one went meanwhile.
        for name in doomed {
            outcomes.push(self.remove_one(name).await);
        }
        outcomes
    }

    /// Returns the names in a repository that the source does not have, and how many there are.
    async fn surplus(
        &self,
        repository: &str,
        known: &Repository,
    ) -> Result<(Vec<String>, usize), Error> {
        let place = format!("docker://{repository}");
        let there = match tags(&self.destination, &place, self.options.retry).await {
            Ok(there) => there,
            Err(error) if error.kind() == Kind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let ours = |tag: &&String| {
            let shard = self.options.shard;
            tag.ends_with(self.options.append_suffix.as_str())
                && shard.is_none_or(|shard| shard.takes(repository, tag))
        };
        let ours: Vec<_> = there.iter().filter(ours).collect();
        let surplus = ours.iter().filter(|tag| {
            // Signatures may have been made here: they are removed only where they are synced, too.
            (self.options.digest_tags || digest_tag_subject(tag).is_none())
                && !known.names.contains(&hash(&format!("{place}:{tag}")))
        });
        let names = surplus.map(|tag| format!("{place}:{tag}")).collect();
        Ok((names, ours.len()))
    }

    async fn remove_one(&self, name: String) -> SyncOutcome {
        if self.options.dry_run {
            return removed(name);
        }
        match self.delete(&name).await {
            Ok(()) => removed(name),
            Err(error) => failed(name, &error),
        }
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        let location = parse(&self.destination, name, "destination")?;
        let Some(catalog) = location.catalog() else {
            return Ok(());
        };
        let retry = self.options.retry;
        retry
            .run(async || {
                let deleted = catalog.delete(Deletion::Tag).await;
                deleted.map_err(|source| Error::place("remove", &location, source))
            })
            .await
    }
}

const fn removed(name: String) -> SyncOutcome {
    SyncOutcome {
        source: String::new(),
        destination: name,
        verdict: SyncVerdict::Removed,
        digest: None,
        bytes: 0,
        failure: None,
        media_type: None,
    }
}

fn failed(name: String, error: &Error) -> SyncOutcome {
    SyncOutcome {
        verdict: SyncVerdict::Failed,
        failure: Some(SyncFailure::of(error)),
        ..removed(name)
    }
}

fn too_many(doomed: usize, total: usize, allowed: usize) -> SyncOutcome {
    let message = format!(
        "the source lacks {doomed} of {total} tags at the destination, and no more than {allowed} may \
         be removed: none is removed"
    );
    let mut failure = SyncFailure::words(Kind::Rejected, message);
    failure.hints.push(
        "look at the list with `--dry-run`; if it is right, allow it with `--max-delete`"
            .to_owned(),
    );
    SyncOutcome {
        verdict: SyncVerdict::Failed,
        failure: Some(failure),
        ..removed("--delete".to_owned())
    }
}
