//! The table of transports: what is parsed, and what is said about the rest.

use dhow_client::{Endpoint, EndpointOptions, Session, SessionOptions};
use dhow_config::{AuthFiles, CredentialSource};
use dhow_transports::{EngineOptions, Parts, Transports, standard};

fn transports() -> Transports {
    let session = Session::new(SessionOptions::default()).expect("the options are right");
    let options = EndpointOptions {
        tls_verify: None,
        ..EndpointOptions::new(CredentialSource::Files(AuthFiles::new(
            std::sync::Arc::default(),
            None,
        )))
    };
    standard(&Parts {
        environment: std::sync::Arc::default(),
        endpoint: Endpoint::new(&session, options),
        shared_blob_dir: None,
        tmp: std::env::temp_dir(),
        platform: dhow_model::PlatformWish::new("linux", "amd64", None),
        additional_tags: Vec::new(),
        engine: EngineOptions::default(),
    })
}

#[test]
fn names_are_parsed_and_shown_in_full() {
    assert_eq!(
        transports().names(),
        [
            "containers-storage",
            "dir",
            "docker",
            "docker-archive",
            "docker-daemon",
            "oci",
            "oci-archive",
            "sif",
            "tarball"
        ]
    );
    for (name, shown) in [
        (
            "docker://centos",
            "docker://docker.io/library/centos:latest",
        ),
        ("docker://quay.io/a/b:c", "docker://quay.io/a/b:c"),
        ("oci:./target:centos:7", "oci:./target:centos:7"),
        ("oci:target", "oci:target"),
        ("oci-archive:a.tar:b", "oci-archive:a.tar:b"),
        ("dir:/a/b:c", "dir:/a/b:c"),
        ("docker-archive:a.tar", "docker-archive:a.tar"),
        ("docker-archive:a.tar:@3", "docker-archive:a.tar:@3"),
        (
            "docker-archive:a.tar:b",
            "docker-archive:a.tar:docker.io/library/b:latest",
        ),
        ("docker-daemon:a:b", "docker-daemon:a:b"),
        ("sif:a.sif", "sif:a.sif"),
        ("tarball:a.tar:b.tar", "tarball:a.tar:b.tar"),
    ] {
        let location = transports().parse(name).unwrap();
        let transport = name.split(':').next().unwrap();
        assert_eq!(location.transport(), transport);
        assert_eq!(location.is_in_registry(), transport == "docker");
        assert_eq!(location.to_string(), shown);
    }
}

#[test]
fn other_names_are_refused_with_a_hint() {
    for (name, hint) in [
        ("", ""),
        ("centos", "docker://centos"),
        ("centos:7", "docker://centos:7"),
        ("quay.io/a/b:c", "docker://quay.io/a/b:c"),
        ("dokcer://a/b", "`docker:`"),
        ("Docker://a/b", "`docker:`"),
        ("ocid:a", "`oci:`"),
        (
            "no way:a",
            "dir, docker, docker-archive, docker-daemon, oci, oci-archive, sif, tarball",
        ),
        ("docker-archive:", ""),
        ("docker-archive:a.tar:b@sha256:0", ""),
        ("docker-archive:a.tar:@x", ""),
        ("docker-archive:a.tar:@-1", ""),
        ("docker-daemon:a", "docker-daemon:a:latest"),
        ("sif:", "`sif:FILE`"),
        ("tarball:", ""),
        ("tarball:a.tar:", ""),
        ("docker:a/b", ""),
        ("docker://A b", ""),
        ("oci:", ""),
        ("oci:a:-", ""),
        ("dir:", ""),
    ] {
        let error = transports().parse(name).unwrap_err();
        let said = error.hint_text().unwrap_or_default();
        assert!(said.contains(hint), "{name}: {said}");
    }
}
