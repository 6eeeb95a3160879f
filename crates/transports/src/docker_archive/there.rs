//! The archive that was there before, and what of a new image is found in it.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use dhow_model::{Algorithm, Digest, Hasher, ImageConfig};
use dhow_transport::Result;

use super::ArchiveLocation;
use super::commit;
use super::opened::Opened;
use crate::archive_target;

/// The archive that was there, and what was found in it.
#[derive(Debug)]
pub(super) struct There {
    opened: Arc<Opened>,
    file: Metadata,
    claims: OnceLock<Claims>,
    /// Members that were asked for and have the digest that their images claim.
    found: Mutex<HashMap<Digest, Option<Member>>>,
}

/// The name and the size of a member.
type Member = (String, u64);

/// What the images of an archive say of its members.
#[derive(Debug, Default)]
struct Claims {
    configs: HashMap<Digest, Member>,
    /// The members that should hold a layer, by the digest of its content.
    layers: HashMap<Digest, Vec<String>>,
}

impl There {
    /// Opens the archive that is there, if there is one that can be added to. Blocks.
    pub(super) fn open(location: &ArchiveLocation) -> Result<Option<Arc<Self>>> {
        let open = || location.open();
        let found = archive_target::present(&location.path, "Docker archive", open, |opened| {
            &opened.archive
        })?;
        Ok(found.map(|(opened, file)| {
            Arc::new(Self {
                opened: Arc::new(opened),
                file,
                claims: OnceLock::new(),
                found: Mutex::default(),
            })
        }))
    }

    /// Returns whether the two are one file that nobody has changed.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let identity = |file: &Metadata| {
            (
                file.dev(),
                file.ino(),
                file.len(),
                file.mtime(),
                file.mtime_nsec(),
            )
        };
        identity(&self.file) == identity(&other.file)
    }

    /// Returns the size of a config or an uncompressed layer that is in the archive and has this
    /// digest. What an image says of itself is not believed: the content is read. Blocks.
    pub(super) fn size_of(&self, digest: &Digest) -> Option<u64> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let member = found.entry(*digest).or_insert_with(|| self.search(digest));
        member.as_ref().map(|(_, size)| *size)
    }

    fn search(&self, digest: &Digest) -> Option<Member> {
        let claims = self.claims.get_or_init(|| Claims::of(&self.opened));
        if let Some(config) = claims.configs.get(digest) {
            return Some(config.clone());
        }
        let archive = &self.opened.archive;
        claims.layers.get(digest)?.iter().find_map(|name| {
            let part = archive.members.file(name)?;
            let actual = commit::digest_of(&archive.file, part, digest.algorithm()).ok()?;
            (actual == *digest).then(|| (name.clone(), part.size))
        })
    }

    /// Returns the digests that were asked for.
    pub(super) fn looked_for(&self) -> Vec<Digest> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.keys().copied().collect()
    }

    /// Returns the archive with the members that were found.
    pub(super) fn kept(&self) -> commit::Before {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let members = found.iter();
        commit::Before {
            opened: Arc::clone(&self.opened),
            kept: members
                .filter_map(|(digest, member)| Some((*digest, member.as_ref()?.0.clone())))
                .collect(),
        }
    }
}

impl Claims {
    /// Reads the config of every image, once.
    fn of(opened: &Opened) -> Self {
        let mut claims = Self::default();
        for item in &opened.items {
            let config = opened
                .archive
                .read(&item.config, ImageConfig::MAX_SIZE as u64);
            let Ok(config) = config else { continue };
            for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
                let mut hasher = Hasher::new(algorithm);
                hasher.update(&config);
                let member = || (item.config.clone(), config.len() as u64);
                let known = claims.configs.entry(hasher.finish());
                known.or_insert_with(member);
            }
            let Ok(parsed) = ImageConfig::parse(&config) else {
                continue;
            };
            for (name, diff_id) in item.layers.iter().zip(parsed.rootfs.diff_ids) {
                let names = claims.layers.entry(diff_id).or_default();
                names.push(name.clone());
            }
        }
        claims
    }
}
