//! A registry like OpenShift's internal one, and the walkthrough's sections on it with dhow.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dhow_testkit::image::{ImageSpec, write_layout};
use dhow_testkit::token_service::{Right, Settings, TokenService, User};

use crate::authority::Authority;
use crate::dhow::{Desk, outcome};
use crate::registry::{Registry, Wanted};
use crate::tools::has;

const TOKEN: &str = "sha256~a-service-accounts-token";
const CLUSTER: &str = "sha256~what-provisions-the-cluster";

fn account(token: &str, rights: Vec<Right>) -> User {
    User {
        name: None,
        password: token.to_owned(),
        identity: None,
        rights,
    }
}

#[test]
fn the_walkthrough_works_on_a_registry_like_that_of_openshift() {
    if !has("docker-registry") || !has("openssl") || !has("m4") {
        return;
    }
    let desk = Desk::new();
    let authority = Authority::create(&desk.work());
    let front = TokenService::start(Settings {
        path: "/openshift/token".to_owned(),
        tls: Some((authority.certificate.clone(), authority.key.clone())),
        users: vec![
            account(
                TOKEN,
                vec![
                    Right::new("openshift/*", "pull"),
                    Right::new("other-images/*", "pull"),
                    Right::new("my-images/*", "pull,push"),
                ],
            ),
            account(CLUSTER, vec![Right::new("*", "pull,push,delete")]),
        ],
    });
    let wanted = Wanted {
        signed: Some(&front),
        ..Wanted::default()
    };
    let behind = Registry::debian(&desk, "behind", wanted);
    front.stand_before(&behind.address);
    let registry = front.address();
    let image = ImageSpec::oci(41).build();
    write_layout(&desk.path("target"), &[("rhel7:7.5", &image)]);
    let ca = authority.trusted.join("ca.crt");
    let dhow = |words: &[&str]| outcome(desk.command().env("SSL_CERT_FILE", &ca).args(words));
    for name in ["openshift/nodejs:latest", "other-images/myimage:latest"] {
        let to = format!("docker://{registry}/{name}");
        let creds = format!("--dest-creds=provision:{CLUSTER}");
        dhow(&["copy", &creds, "oci:./target:rhel7:7.5", &to]).ok();
    }
    let nodejs = format!("docker://{registry}/openshift/nodejs");
    let creds = format!("--creds=skopeo:{TOKEN}");
    dhow(&["inspect", &creds, &nodejs]).ok();
    dhow(&["inspect", &format!("--creds=anyone:{TOKEN}"), &nodejs]).ok();

    let dest = format!("--dest-creds=skopeo:{TOKEN}");
    let rhel = format!("docker://{registry}/my-images/rhel7:7.5");
    dhow(&["inspect", &creds, &rhel]).fails(2);
    dhow(&["copy", &dest, "oci:./target:rhel7:7.5", &rhel]).ok();
    let theirs = format!("docker://{registry}/other-images/rhel7:7.5");
    let message = dhow(&["copy", &dest, "oci:./target:rhel7:7.5", &theirs]).fails(3);
    assert!(!message.contains(TOKEN), "{message}");
    let src = format!("--src-creds=skopeo:{TOKEN}");
    let mine = format!("docker://{registry}/other-images/myimage:latest");
    dhow(&["copy", &src, &mine, "oci:./target:myimage:latest"]).ok();
    dhow(&[
        "list-tags",
        &creds,
        &format!("docker://{registry}/my-images/none"),
    ])
    .fails(2);

    dhow(&["inspect", &nodejs]).fails(3);
    let template = r#"{"auths":{"__REGISTRY__":{"auth":"__BASE64AUTH__"}}}"#;
    fs::write(desk.path("config.json.m4"), template).unwrap();
    let config = outcome(desk.dressed("m4").args([
        format!("-D__REGISTRY__={registry}"),
        format!(
            "-D__BASE64AUTH__={}",
            STANDARD.encode(format!("skopeo:{TOKEN}"))
        ),
        "config.json.m4".to_owned(),
    ]))
    .ok();
    fs::create_dir(desk.home().join(".docker")).unwrap();
    fs::write(desk.home().join(".docker/config.json"), config).unwrap();
    dhow(&["inspect", &format!("{nodejs}:latest")]).ok();

    desk.dhow(&["inspect", &nodejs]).fails(6);
    let shown = outcome(desk.dressed("sh").arg("-c").arg(format!(
        "openssl s_client -connect {registry} -showcerts </dev/null"
    )))
    .ok();
    assert!(shown.contains("BEGIN CERTIFICATE"));
    desk.dhow(&["inspect", "--tls-verify=false", &nodejs]).ok();
}
