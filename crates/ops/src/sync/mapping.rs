//! Where an image goes: the destination's name for a name at the source.

use super::request::{SyncDestination, SyncOptions, SyncTarget};
use crate::select::Rename;

/// The rule from names at the source to names at the destination.
#[derive(Clone, Debug)]
pub(super) struct Mapping {
    target: SyncTarget,
    root: String,
    scoped: bool,
    suffix: String,
    rename: Vec<Rename>,
}

impl Mapping {
    pub(super) fn new(destination: &SyncDestination, options: &SyncOptions) -> Self {
        let root = match destination.target {
            SyncTarget::Docker => {
                let name = destination.name.as_str();
                name.strip_prefix("docker://")
                    .unwrap_or(name)
                    .trim_end_matches('/')
                    .to_owned()
            }
            SyncTarget::ContainersStorage => destination.name.trim_end_matches('/').to_owned(),
            SyncTarget::Dir | SyncTarget::Oci | SyncTarget::OciArchive => destination.name.clone(),
        };
        Self {
            target: destination.target,
            root,
            scoped: options.scoped,
            suffix: options.append_suffix.clone(),
            rename: options.rename.clone(),
        }
    }

    /// Returns the transport-qualified name for an image, whose name at the source ends in a tag or a
    /// digest: `quay.io/a/b:c`.
    pub(super) fn image(&self, name: &str) -> String {
        let digest = name.contains('@');
        let mut name = self.short(name);
        if !digest {
            name.push_str(&self.suffix);
        }
        match self.target {
            SyncTarget::Docker => format!("docker://{}/{name}", self.root),
            SyncTarget::Dir => format!("dir:{}", join(&self.root, &name)),
            SyncTarget::Oci => format!("oci:{}:{name}", self.root),
            SyncTarget::OciArchive => format!("oci-archive:{}:{name}", self.root),
            // A store alone, in brackets: the name as it is.
            SyncTarget::ContainersStorage if self.root.is_empty() || self.root.ends_with(']') => {
                format!("containers-storage:{}{name}", self.root)
            }
            SyncTarget::ContainersStorage => format!("containers-storage:{}/{name}", self.root),
        }
    }

    /// Returns the repository at the destination for one at the source, without `docker://`.
    pub(super) fn repository(&self, repository: &str) -> String {
        // A tag stands in for those to come, so that rules for whole names meet one.
        let image = self.short(&format!("{repository}:x"));
        let name = image.strip_suffix(":x").unwrap_or(&image);
        format!("{}/{name}", self.root)
    }

    fn short(&self, name: &str) -> String {
        let name = if self.scoped {
            name
        } else {
            name.rsplit('/').next().unwrap_or(name)
        };
        self.rename
            .iter()
            .fold(name.to_owned(), |name, rule| rule.apply(&name))
    }
}

fn join(root: &str, name: &str) -> String {
    std::path::Path::new(root).join(name).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_mapped_as_skopeo_maps_them() {
        for (target, root, scoped, suffix, name, expected) in [
            (
                SyncTarget::Docker,
                "r.io/copy",
                false,
                "",
                "q.io/multi/arch:l",
                "docker://r.io/copy/arch:l",
            ),
            (
                SyncTarget::Docker,
                "r.io/copy",
                true,
                "",
                "q.io:5/multi/arch:l",
                "docker://r.io/copy/q.io:5/multi/arch:l",
            ),
            (
                SyncTarget::Docker,
                "docker://r.io/",
                false,
                "-x",
                "q.io/a:l",
                "docker://r.io/a:l-x",
            ),
            (
                SyncTarget::Docker,
                "r.io",
                false,
                "-x",
                "q.io/a@sha256:00",
                "docker://r.io/a@sha256:00",
            ),
            (
                SyncTarget::Dir,
                "s/d",
                true,
                "",
                "127.0.0.1:5991/multi/arch:l",
                "dir:s/d/127.0.0.1:5991/multi/arch:l",
            ),
            (SyncTarget::Dir, "d/", false, "", "q.io/a:1", "dir:d/a:1"),
            (
                SyncTarget::ContainersStorage,
                "localhost/m/",
                false,
                "",
                "q.io/a/b:1",
                "containers-storage:localhost/m/b:1",
            ),
            (
                SyncTarget::ContainersStorage,
                "[vfs@/r]",
                true,
                "",
                "q.io/a/b:1",
                "containers-storage:[vfs@/r]q.io/a/b:1",
            ),
            (SyncTarget::Oci, "./l", false, "", "q.io/a:1", "oci:./l:a:1"),
            (
                SyncTarget::OciArchive,
                "l.tar",
                false,
                "",
                "q.io/a:1",
                "oci-archive:l.tar:a:1",
            ),
        ] {
            let destination = SyncDestination {
                target,
                name: root.to_owned(),
                endpoint: crate::EndpointOptions::default(),
            };
            let options = SyncOptions {
                scoped,
                append_suffix: suffix.to_owned(),
                ..SyncOptions::default()
            };
            assert_eq!(Mapping::new(&destination, &options).image(name), expected);
        }
    }

    #[test]
    fn names_are_rewritten_before_they_are_placed() {
        let destination = SyncDestination {
            target: SyncTarget::Docker,
            name: "r.io/m".to_owned(),
            endpoint: crate::EndpointOptions::default(),
        };
        let options = SyncOptions {
            scoped: true,
            rename: vec![Rename::parse("^docker\\.io/library/=hub/").unwrap()],
            ..SyncOptions::default()
        };
        let mapping = Mapping::new(&destination, &options);
        assert_eq!(
            mapping.image("docker.io/library/alpine:3"),
            "docker://r.io/m/hub/alpine:3"
        );
        assert_eq!(
            mapping.repository("docker.io/library/alpine"),
            "r.io/m/hub/alpine"
        );
        assert_eq!(mapping.repository("quay.io/a/b"), "r.io/m/quay.io/a/b");
    }
}
