//! Policy is asked about everything that is copied.

use std::path::Path;
use std::sync::Arc;

use dhow_config::Policy;
use dhow_copy::{Engine, Error, Job, Options, Select};
use dhow_testkit::image::{ImageSpec, IndexSpec};
use dhow_testkit::memory::{Call, Memory};
use dhow_transport::Kind;
use dhow_trust::Admission;

use super::{Events, all, options, platforms};

#[tokio::test]
async fn an_image_that_policy_rejects_is_not_copied() {
    let image = ImageSpec::oci(1).build();
    let index = IndexSpec::oci(1, &["linux/amd64"]).build();
    let index_only = Options {
        select: Select::IndexOnly,
        ..options()
    };
    let named = Options {
        select: platforms(&["linux/amd64"]),
        ..options()
    };
    for requirement in ["reject", "signedBy", "sigstoreSigned"] {
        let extra = match requirement {
            "reject" => "",
            "signedBy" => r#","keyType":"GPGKeys","keyPath":"/k""#,
            _ => r#","keyPath":"/k""#,
        };
        let text = format!(r#"{{"default":[{{"type":"{requirement}"{extra}}}]}}"#);
        let policy = Policy::parse(&text, Path::new("/p.json")).unwrap();
        let engine = Engine::new(Admission::new(policy));
        let cases = [
            (&image, options()),
            (&image, named.clone()),
            (&index, options()),
            (&index, all()),
            (&index, index_only.clone()),
        ];
        for (sample, options) in cases {
            let (from, to) = (Memory::holding("from", sample), Memory::new("to"));
            let job = Job {
                source: from.location(),
                destination: to.location(),
                options,
            };
            let result = engine.copy(&job, Arc::new(Events::default())).await;
            let error = result.unwrap_err();
            assert!(matches!(error, Error::Rejected(_)), "{error}");
            assert_eq!(error.kind(), Kind::Rejected);
            assert!(error.hint_text().is_some());
            assert_eq!(to.calls(), Vec::new(), "the destination is left alone");
            let read = from.calls();
            assert!(!read.iter().any(|call| matches!(call, Call::Blob(_))));
        }
    }
}
