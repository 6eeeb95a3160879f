//! `cargo xtask demo`: the walkthrough, played on two embedded registries, every answer checked.

mod images;
mod stage;

use std::fs;
use std::path::Path;

use stage::say;
pub(crate) use stage::{Expect, Stage};
use xtask::shell::build_dhow;

/// Plays the walkthrough.
pub(crate) fn run() -> Result<(), String> {
    play(&build_dhow()?, |_| Ok(()))
}

/// Plays the walkthrough with a program, and something more on the same stage.
pub(crate) fn play(
    dhow: &Path,
    more: impl FnOnce(&mut Stage) -> Result<(), String>,
) -> Result<(), String> {
    let mut stage = Stage::open(dhow.to_owned())?;
    images::write(&stage.path("hub"))?;
    let hub = stage.serve("hub", "hub", &[])?;
    let users = stage.write_users("skopeo", TOKEN)?;
    let registry = stage.serve(
        "openshift",
        "openshift",
        &["--tls-self-signed", "--token-auth", "--htpasswd", &users],
    )?;
    stage.name("HUB", &hub);
    stage.name("REGISTRY", &registry);
    stage.name("TOKEN", TOKEN);
    look_and_fetch(&mut stage)?;
    push(&mut stage)?;
    persist(&mut stage)?;
    certificates(&mut stage)?;
    more(&mut stage)?;
    say(&format!(
        "done: {} commands, every answer as it should be",
        stage.count()
    ));
    Ok(())
}

const TAGS: [&str; 4] = [
    "centos:7",
    "centos:7.5.1804",
    "centos:7.4.1708",
    "rhel7:7.5",
];
const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.the-token-of-the-service-account";

fn look_and_fetch(stage: &mut Stage) -> Result<(), String> {
    say("What is in the registry? ($HUB stands in for docker.io; it speaks plain http)");
    for tag in TAGS {
        stage.dhow(
            &format!("inspect --tls-verify=false docker://$HUB/{tag}"),
            Expect::Output("\"Digest\""),
        )?;
    }
    stage.dhow(
        "list-tags --tls-verify=false docker://$HUB/centos",
        Expect::Output("7.5.1804"),
    )?;
    say("What would be copied, and how much?");
    stage.dhow(
        "copy --dry-run --all --src-tls-verify=false docker://$HUB/centos:7 oci:./target:centos:7",
        Expect::Output("would move"),
    )?;
    say(
        "Copy locally, four images into one OCI layout; layers that are there are not fetched again",
    );
    for tag in TAGS {
        stage.dhow(
            &format!("copy --src-tls-verify=false docker://$HUB/{tag} oci:./target:{tag}"),
            Expect::Progress("digest sha256:"),
        )?;
    }
    for tag in TAGS {
        stage.dhow(&format!("inspect --format '{{{{.Digest}}}} {{{{.Os}}}}/{{{{.Architecture}}}}' oci:./target:{tag}"), Expect::Output("sha256:"))?;
    }
    Ok(())
}

fn push(stage: &mut Stage) -> Result<(), String> {
    say(
        "Push to the private registry with the service account's token ($REGISTRY issues Bearer tokens, as OpenShift's)",
    );
    stage.dhow(
        "copy --dest-tls-verify=false --dest-creds=\"skopeo:$TOKEN\" oci:./target:rhel7:7.5 docker://$REGISTRY/my-images/rhel7:7.5",
        Expect::Progress("digest sha256:"),
    )?;
    stage.dhow(
        "inspect --tls-verify=false --creds=\"skopeo:$TOKEN\" docker://$REGISTRY/my-images/rhel7:7.5",
        Expect::Output("my-images/rhel7"),
    )?;
    say("From registry to registry, all platforms, nothing kept on disk");
    let before = stage.files()?;
    stage.dhow(
        "copy --all --src-tls-verify=false --dest-tls-verify=false --dest-creds=\"skopeo:$TOKEN\" docker://$HUB/centos:7 docker://$REGISTRY/my-images/centos:7",
        Expect::Progress("digest sha256:"),
    )?;
    if stage.files()? != before {
        return Err("the copy between registries left files behind".to_owned());
    }
    say("Pull back");
    stage.dhow(
        "copy --src-tls-verify=false --src-creds=\"skopeo:$TOKEN\" docker://$REGISTRY/my-images/centos:7 oci:./target:myimage:latest",
        Expect::Progress("digest sha256:"),
    )
}

fn persist(stage: &mut Stage) -> Result<(), String> {
    say("Without credentials the registry says no, and dhow says what to do");
    stage.dhow(
        "inspect --tls-verify=false docker://$REGISTRY/my-images/centos:7",
        Expect::Failure(3, "--creds"),
    )?;
    say("Credentials in Docker's config file are found by themselves");
    stage.write_docker_config("skopeo", TOKEN)?;
    stage.dhow(
        "inspect --tls-verify=false --format '{{.Digest}}' docker://$REGISTRY/my-images/centos:7",
        Expect::Output("sha256:"),
    )
}

fn certificates(stage: &mut Stage) -> Result<(), String> {
    say("The registry's certificate is its own: the error says how to trust it");
    stage.dhow(
        "inspect docker://$REGISTRY/my-images/centos:7",
        Expect::Failure(6, "--tls-verify=false"),
    )?;
    let certificate = stage.certificate("openshift")?;
    let certs = stage.path("certs");
    fs::create_dir_all(&certs)
        .and_then(|()| fs::write(certs.join("ca.crt"), certificate))
        .map_err(|error| format!("cannot write the certificate: {error}"))?;
    stage.dhow(
        "inspect --cert-dir ./certs --format '{{.Digest}}' docker://$REGISTRY/my-images/centos:7",
        Expect::Output("sha256:"),
    )?;
    say("A directory as a registry, for a network without one");
    let target = stage.serve("target", "target", &["--read-only"])?;
    stage.name("TARGET", &target);
    stage.dhow(
        "list-tags --tls-verify=false docker://$TARGET/centos",
        Expect::Output("7.4.1708"),
    )?;
    stage.dhow(
        "copy --src-tls-verify=false docker://$TARGET/rhel7:7.5 dir:./rhel7",
        Expect::Progress("digest sha256:"),
    )
}
