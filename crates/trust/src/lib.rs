//! Policy evaluation: may this image be used.
//!
//! [`Admission`] is asked once per image, before anything of the image is parsed. Requirements
//! that need signatures are refused with a clear message; they are never taken as satisfied.

use std::path::PathBuf;

use dhow_config::{Policy, Requirement};
use dhow_model::{Admitted, RawManifest};
use dhow_transport::PolicyScopes;

/// Decides by a policy.
#[derive(Clone, Debug)]
pub struct Admission {
    policy: Policy,
}

impl Admission {
    /// Decides by `policy`.
    pub const fn new(policy: Policy) -> Self {
        Self { policy }
    }

    /// Accepts everything (`--insecure-policy`).
    pub fn accept_all() -> Self {
        Self::new(Policy::accept_all())
    }

    /// Lets a manifest through, or says why not. All requirements that apply must hold.
    pub fn admit(
        &self,
        transport: &str,
        scopes: &PolicyScopes,
        manifest: RawManifest,
    ) -> Result<Admitted<RawManifest>, Rejection> {
        let (scope, requirements) = self.requirements(transport, scopes);
        let rejection = |reason| Rejection {
            reason,
            scope: scope.clone(),
            policy: self.policy.path.clone(),
        };
        for requirement in requirements {
            match requirement {
                Requirement::AcceptAnything => {}
                Requirement::Reject => return Err(rejection(Reason::Rejected)),
                Requirement::Unsupported { kind } => {
                    return Err(rejection(Reason::Unsupported(kind.clone())));
                }
            }
        }
        Ok(Admitted::by_policy(manifest))
    }

    /// Returns whether everything at a place is accepted, whatever it is.
    pub fn accepts_anything(&self, transport: &str, scopes: &PolicyScopes) -> bool {
        let (_, requirements) = self.requirements(transport, scopes);
        requirements
            .iter()
            .all(|requirement| *requirement == Requirement::AcceptAnything)
    }

    /// Returns the requirements that apply: of the location itself, else of its nearest parent,
    /// else of the transport, else of everything. With the words that name the scope.
    fn requirements(&self, transport: &str, scopes: &PolicyScopes) -> (String, &[Requirement]) {
        if let Some(table) = self.policy.transports.get(transport) {
            let names = scopes
                .identity
                .iter()
                .chain(&scopes.parents)
                .map(String::as_str);
            for scope in names.chain([""]) {
                if let Some(requirements) = table.get(scope) {
                    return (
                        format!("scope `{scope}` of transport `{transport}`"),
                        requirements,
                    );
                }
            }
        }
        ("the default requirement".to_owned(), &self.policy.default)
    }
}

/// Why an image may not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the policy {} does not allow this image: {scope} {reason}", self.policy_name())]
pub struct Rejection {
    reason: Reason,
    scope: String,
    policy: Option<PathBuf>,
}

impl Rejection {
    /// Returns what the user can do about it.
    pub fn hint_text(&self) -> &'static str {
        match self.reason {
            Reason::Rejected => "name another policy with `--policy`, or change this one",
            Reason::Unsupported(_) => {
                "this version of dhow cannot check signatures; after checking the image by other means, pass `--insecure-policy`"
            }
        }
    }

    fn policy_name(&self) -> String {
        self.policy.as_ref().map_or_else(
            || "in force".to_owned(),
            |path| format!("`{}`", path.display()),
        )
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Reason {
    Rejected,
    Unsupported(String),
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rejected => f.write_str("rejects it"),
            Self::Unsupported(kind) => {
                write!(f, "wants `{kind}`, which this version of dhow cannot check")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const POLICY: &str = r#"{"default":[{"type":"reject"}],"transports":{
        "docker":{"quay.io":[{"type":"insecureAcceptAnything"}],
                  "quay.io/bad":[{"type":"reject"}],
                  "*.example.com":[{"type":"insecureAcceptAnything"}],
                  "signed.io":[{"type":"insecureAcceptAnything"},{"type":"signedBy"}]},
        "dir":{"":[{"type":"insecureAcceptAnything"}]}}}"#;

    fn admits(transport: &str, names: &[&str]) -> bool {
        let admission = Admission::new(Policy::parse(POLICY, Path::new("/p.json")).unwrap());
        let scopes = PolicyScopes {
            identity: names.first().map(|name| (*name).to_owned()),
            parents: names
                .iter()
                .skip(1)
                .map(|name| (*name).to_owned())
                .collect(),
        };
        let text = br#"{"schemaVersion":2,"manifests":[]}"#;
        let manifest = RawManifest::new(bytes::Bytes::from_static(text), None).unwrap();
        admission.admit(transport, &scopes, manifest).is_ok()
    }

    #[test]
    fn the_nearest_scope_decides() {
        assert!(admits("docker", &["quay.io/a:b", "quay.io/a", "quay.io"]));
        assert!(!admits(
            "docker",
            &["quay.io/bad:b", "quay.io/bad", "quay.io"]
        ));
        assert!(!admits("docker", &["a.io/a:b", "a.io/a", "a.io"]));
        assert!(admits(
            "docker",
            &["r.example.com/a:b", "r.example.com", "*.example.com"]
        ));
        assert!(admits("dir", &["/x", "/"]));
        assert!(!admits("oci", &["/x"]));
    }

    #[test]
    fn a_requirement_that_cannot_be_checked_never_passes() {
        assert!(!admits("docker", &["signed.io/a:b", "signed.io"]));
    }

    #[test]
    fn every_requirement_must_hold() {
        const ACCEPT: &str = r#"{"type":"insecureAcceptAnything"}"#;
        const REJECT: &str = r#"{"type":"reject"}"#;
        let admits = |requirements: &str| {
            let text = format!(r#"{{"default":[{requirements}]}}"#);
            let policy = Policy::parse(&text, Path::new("/p.json")).unwrap();
            let raw = br#"{"schemaVersion":2,"manifests":[]}"#;
            let manifest = RawManifest::new(bytes::Bytes::from_static(raw), None).unwrap();
            Admission::new(policy).admit("oci", &PolicyScopes::default(), manifest)
        };
        assert!(admits(ACCEPT).is_ok());
        assert!(admits(&format!("{ACCEPT},{ACCEPT}")).is_ok());
        assert!(admits(&format!("{ACCEPT},{REJECT}")).is_err());
        assert!(admits(&format!("{REJECT},{ACCEPT}")).is_err());
    }

    #[test]
    fn a_rejection_names_the_scope_and_the_policy_and_the_requirement() {
        let policy = Policy::parse(POLICY, Path::new("/etc/p.json")).unwrap();
        let raw = br#"{"schemaVersion":2,"manifests":[]}"#;
        let manifest = RawManifest::new(bytes::Bytes::from_static(raw), None).unwrap();
        let scopes = PolicyScopes {
            identity: Some("signed.io".to_owned()),
            parents: Vec::new(),
        };
        let rejection = Admission::new(policy).admit("docker", &scopes, manifest);
        let text = rejection.unwrap_err().to_string();
        for part in ["`/etc/p.json`", "`signed.io`", "`docker`", "`signedBy`"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn the_insecure_policy_accepts_everything() {
        let raw = br#"{"schemaVersion":2,"manifests":[]}"#;
        let manifest = RawManifest::new(bytes::Bytes::from_static(raw), None).unwrap();
        let scopes = PolicyScopes::default();
        let admitted = Admission::accept_all().admit("any", &scopes, manifest.clone());
        assert_eq!(*admitted.unwrap().as_inner(), manifest);
    }
}
