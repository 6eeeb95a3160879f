//! Resolve: which manifests take part, read and verified, children first.

use std::collections::{BTreeMap, BTreeSet};

use dhow_model::{Descriptor, Digest, Index, Platform, RawManifest};
use dhow_transport::Source;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::patience::Patience;
use crate::{Error, Options, PlanError, Select};

/// The manifests that take part; the root is the last, and children come before their parents.
#[derive(Debug)]
pub(crate) struct RawTree {
    pub(crate) nodes: Vec<RawNode>,
}

/// A manifest, not yet admitted.
#[derive(Debug)]
pub(crate) struct RawNode {
    pub(crate) raw: RawManifest,
    /// What it runs on, when an index says so.
    pub(crate) platform: Option<Platform>,
    /// The index that it was chosen from, when it is taken alone.
    pub(crate) chosen_from: Option<RawManifest>,
    /// For an index: its view, and for each entry the place of its manifest in the tree, if it
    /// takes part.
    pub(crate) index: Option<(Index, Vec<Option<usize>>)>,
}

/// Reads the root and whatever `options.select` takes of it.
pub(crate) async fn tree(
    source: &dyn Source,
    options: &Options,
    patience: &Patience,
) -> Result<RawTree, Error> {
    if options.strip_removed_platforms && !matches!(options.select, Select::Platforms(_)) {
        return Err(PlanError::NothingToStrip.into());
    }
    let name = source.location().to_string();
    let read = || async {
        let root = source.root().await;
        root.map_err(|error| Error::source(&name, "read the manifest", error))
    };
    let root = patience.run("the manifest", read).await?;
    if options.strip_removed_platforms && !root.kind().is_index() {
        return Err(PlanError::NotAnIndex("`--strip-removed-platforms`").into());
    }
    let mut walk = Walk {
        source,
        name,
        options,
        patience,
        nodes: Vec::new(),
        known: BTreeMap::new(),
        count: 0,
        bytes: 0,
    };
    match (&options.select, root.kind().is_index()) {
        (Select::System, true) => {
            let image = walk.descend(root).await?;
            walk.nodes.push(image);
        }
        (Select::IndexOnly, false) => return Err(PlanError::NotAnIndex("`index-only`").into()),
        (_, false) => walk.nodes.push(RawNode::image(root, None)),
        (_, true) => {
            walk.index(root, None, 0).await?;
        }
    }
    Ok(RawTree { nodes: walk.nodes })
}

impl RawNode {
    fn image(raw: RawManifest, platform: Option<Platform>) -> Self {
        Self {
            raw,
            platform,
            chosen_from: None,
            index: None,
        }
    }
}

struct Walk<'a> {
    source: &'a dyn Source,
    name: String,
    options: &'a Options,
    patience: &'a Patience,
    nodes: Vec<RawNode>,
    known: BTreeMap<Digest, usize>,
    /// How many manifests indexes have brought in, and their bytes.
    count: usize,
    bytes: u64,
}

impl Walk<'_> {
    /// Follows an index to the one image for the platform that is wanted.
    async fn descend(&self, root: RawManifest) -> Result<RawNode, Error> {
        let mut raw = root.clone();
        for _ in 0..MAX_DEPTH {
            let index = self.parse(&raw)?;
            let chosen = index.choose(&self.options.platform).ok_or_else(|| {
                let wish = &self.options.platform;
                let wanted = Platform {
                    os: wish.os.clone(),
                    architecture: wish.architecture.clone(),
                    variant: wish.variant.clone(),
                    ..Platform::default()
                };
                no_platform(&wanted, &index)
            })?;
            raw = self.fetch(chosen).await?;
            if !raw.kind().is_index() {
                return Ok(RawNode {
                    chosen_from: Some(root),
                    ..RawNode::image(raw, chosen.platform.clone())
                });
            }
        }
        Err(PlanError::TooDeep(MAX_DEPTH).into())
    }

    /// Reads what is taken of an index, then adds it, and returns its place.
    async fn index(
        &mut self,
        raw: RawManifest,
        platform: Option<Platform>,
        depth: usize,
    ) -> Result<usize, Error> {
        if depth >= MAX_DEPTH {
            return Err(PlanError::TooDeep(MAX_DEPTH).into());
        }
        let view = self.parse(&raw)?;
        let taken = self.taken(&view, depth)?;
        self.bound(&view, &taken)?;
        let fetched: Vec<(usize, RawManifest)> = stream::iter(taken)
            .map(|place| {
                let (walk, entry) = (&*self, &view.entries[place]);
                async move { Ok::<_, Error>((place, walk.fetch(entry).await?)) }
            })
            .buffered(MANIFESTS_AT_ONCE)
            .try_collect()
            .await?;
        let mut members = vec![None; view.entries.len()];
        for (place, member) in fetched {
            let digest = member.digest();
            let platform = view.entries[place].platform.clone();
            let node = if let Some(node) = self.known.get(&digest) {
                *node
            } else if member.kind().is_index() {
                Box::pin(self.index(member, platform, depth + 1)).await?
            } else {
                self.nodes.push(RawNode::image(member, platform));
                self.nodes.len() - 1
            };
            self.known.insert(digest, node);
            members[place] = Some(node);
        }
        self.nodes.push(RawNode {
            raw,
            platform,
            chosen_from: None,
            index: Some((view, members)),
        });
        Ok(self.nodes.len() - 1)
    }

    /// Refuses more than can be held in memory.
    fn bound(&mut self, index: &Index, taken: &[usize]) -> Result<(), Error> {
        self.count += taken.len();
        self.bytes = taken
            .iter()
            .map(|place| index.entries[*place].size)
            .fold(self.bytes, u64::saturating_add);
        if self.count > MAX_MANIFESTS || self.bytes > MAX_MANIFEST_BYTES {
            return Err(PlanError::TooMany.into());
        }
        Ok(())
    }

    /// Returns the places of the entries that take part.
    fn taken(&self, index: &Index, depth: usize) -> Result<Vec<usize>, Error> {
        let wanted = match &self.options.select {
            Select::IndexOnly => return Ok(Vec::new()),
            Select::Platforms(wanted) if depth == 0 => wanted,
            _ => return Ok((0..index.entries.len()).collect()),
        };
        let mut taken = vec![false; index.entries.len()];
        for platform in wanted {
            let mut found = false;
            for (place, entry) in index.entries.iter().enumerate() {
                if entry
                    .platform
                    .as_ref()
                    .is_some_and(|has| has.matches(platform))
                {
                    taken[place] = true;
                    found = true;
                }
            }
            if !found {
                return Err(no_platform(platform, index).into());
            }
        }
        Ok((0..taken.len()).filter(|place| taken[*place]).collect())
    }

    fn parse(&self, raw: &RawManifest) -> Result<Index, Error> {
        Index::parse(raw).map_err(|source| Error::Manifest {
            name: self.name.clone(),
            source,
        })
    }

    async fn fetch(&self, entry: &Descriptor) -> Result<RawManifest, Error> {
        let step = || format!("read the manifest `{}`", entry.digest);
        let read = || async {
            let raw = self.source.manifest(&entry.digest).await;
            raw.map_err(|error| Error::source(&self.name, &step(), error))
        };
        let what = format!("manifest `{}`", entry.digest);
        let raw = self.patience.run(&what, read).await?;
        if raw.bytes().len() as u64 != entry.size {
            let error = dhow_transport::Error::new(
                dhow_transport::Kind::SizeMismatch,
                format!(
                    "size mismatch: its index says {} bytes, and it has {}",
                    entry.size,
                    raw.bytes().len()
                ),
            );
            return Err(Error::source(&self.name, &step(), error));
        }
        Ok(raw)
    }
}

fn no_platform(wanted: &Platform, index: &Index) -> PlanError {
    let mut available: Vec<String> = index
        .entries
        .iter()
        .filter_map(|entry| entry.platform.as_ref())
        .filter(|platform| platform.os != "unknown")
        .map(ToString::to_string)
        .collect();
    let mut seen = BTreeSet::new();
    available.retain(|platform| seen.insert(platform.clone()));
    if available.is_empty() {
        available.push("no platforms at all".to_owned());
    }
    PlanError::NoPlatform {
        wanted: wanted.to_string(),
        available: available.join(", "),
    }
}

/// How deep indexes may list indexes. No tool makes more than two levels.
const MAX_DEPTH: usize = 8;

/// How many manifests one copy reads. The largest indexes in use list some hundreds.
const MAX_MANIFESTS: usize = 4096;

/// How many bytes these may have together: all of them are held until they are written.
const MAX_MANIFEST_BYTES: u64 = 128 * 1024 * 1024;

/// How many manifests of an index are read at once.
const MANIFESTS_AT_ONCE: usize = 8;
