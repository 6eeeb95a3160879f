//! Names without a registry: what Podman and its relatives would make of them. dhow takes them for
//! names on docker.io, as skopeo does, and says the others when that was wrong.

use super::Registries;

impl Registries {
    /// Returns what `name` (without a registry, with or without tag) may stand for: the alias, then
    /// the name in each of the registries that are searched.
    pub fn short_name_candidates(&self, name: &str) -> Vec<String> {
        let end = name.find([':', '@']).unwrap_or(name.len());
        let (repository, rest) = name.split_at(end);
        let alias = self
            .aliases
            .get(repository)
            .map(|place| format!("{place}{rest}"));
        let searched = self.unqualified_search.iter().map(|registry| {
            // COMPAT(podman): on Docker Hub, names without a namespace are in `library`.
            match registry.as_str() {
                "docker.io" if !repository.contains('/') => format!("docker.io/library/{name}"),
                registry => format!("{registry}/{name}"),
            }
        });
        let mut candidates: Vec<String> = Vec::new();
        for candidate in alias.into_iter().chain(searched) {
            if !candidates.contains(&candidate) {
                candidates.push(candidate);
            }
        }
        candidates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alias_comes_before_the_registries_that_are_searched() {
        let registries = Registries {
            aliases: [(
                "fedora".to_owned(),
                "registry.fedoraproject.org/fedora".to_owned(),
            )]
            .into(),
            unqualified_search: vec!["quay.io".to_owned(), "docker.io".to_owned()],
            ..Registries::default()
        };
        for (name, expected) in [
            (
                "fedora:41",
                &[
                    "registry.fedoraproject.org/fedora:41",
                    "quay.io/fedora:41",
                    "docker.io/library/fedora:41",
                ][..],
            ),
            ("team/app", &["quay.io/team/app", "docker.io/team/app"]),
        ] {
            assert_eq!(registries.short_name_candidates(name), expected);
        }
        assert!(Registries::default().short_name_candidates("a").is_empty());
    }
}
