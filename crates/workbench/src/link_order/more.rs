//! What the demo does not do and users do daily.

use crate::bench::write_sample;
use crate::demo::{Expect, Stage};

/// Plays it on the demo's stage.
pub(super) fn play(stage: &mut Stage) -> Result<(), String> {
    for (line, expect) in ON_DISK {
        stage.dhow(line, expect)?;
    }
    // The demo's layers are all noise, which a compressor keeps as it is; it writes to a disk and over TLS.
    let memory = tempfile::tempdir_in("/dev/shm").map_err(|error| format!("/dev/shm: {error}"))?;
    for name in ["small", "many", "multi"] {
        write_sample(name, memory.path())?;
    }
    let plain = stage.serve("plain", "plain", &[])?;
    stage.name("PLAIN", &plain);
    stage.name("MEMORY", &memory.path().display().to_string());
    for (line, expect) in IN_MEMORY {
        stage.dhow(line, expect)?;
    }
    Ok(())
}

const COPIED: Expect = Expect::Progress("digest sha256:");
const DONE: Expect = Expect::Output("");

const ON_DISK: [(&str, Expect); 9] = [
    ("--version", Expect::Output("dhow")),
    (
        "copy --all --src-tls-verify=false --dest-tls-verify=false docker://$HUB/centos:7 docker://$REGISTRY/again/centos:7",
        COPIED,
    ),
    (
        "copy --all --src-tls-verify=false --dest-tls-verify=false docker://$HUB/centos:7 docker://$REGISTRY/again/centos:7",
        COPIED,
    ),
    (
        "copy --src-tls-verify=false --dest-tls-verify=false docker://$REGISTRY/again/centos:7 docker://$REGISTRY/other/centos:7",
        COPIED,
    ),
    (
        "copy --src-tls-verify=false docker://$HUB/rhel7:7.5 docker-archive:rhel7.tar:rhel7:7.5",
        COPIED,
    ),
    (
        "copy --dest-tls-verify=false docker-archive:rhel7.tar docker://$REGISTRY/archive/rhel7:7.5",
        COPIED,
    ),
    (
        "copy oci:./target:rhel7:7.5 oci-archive:rhel7-oci.tar",
        COPIED,
    ),
    (
        "sync --all --src docker --dest docker --src-tls-verify=false --dest-tls-verify=false $HUB/centos $REGISTRY/mirror",
        Expect::Progress(""),
    ),
    (
        "delete --tls-verify=false docker://$REGISTRY/other/centos:7",
        DONE,
    ),
];

/// Images as they are: several layers of several MB, many layers, several platforms; in memory, and without TLS.
const IN_MEMORY: [(&str, Expect); 9] = [
    // Before anybody knows how its layers are when they are packed.
    (
        "copy -q --dest-tls-verify=false docker-archive:$MEMORY/small.tar docker://$PLAIN/packed/small",
        DONE,
    ),
    (
        "copy -q --dest-tls-verify=false oci:$MEMORY/small:latest docker://$PLAIN/usual/small",
        DONE,
    ),
    (
        "copy -q --dest-tls-verify=false oci:$MEMORY/many:latest docker://$PLAIN/usual/many",
        DONE,
    ),
    (
        "copy -q --all --dest-tls-verify=false oci:$MEMORY/multi:latest docker://$PLAIN/usual/multi",
        DONE,
    ),
    (
        "inspect --tls-verify=false docker://$PLAIN/usual/many",
        Expect::Output("\"Digest\""),
    ),
    (
        "copy -q --src-tls-verify=false --dest-tls-verify=false docker://$PLAIN/usual/many docker://$PLAIN/usual/mounted",
        DONE,
    ),
    (
        "copy -q --src-tls-verify=false docker://$PLAIN/usual/many oci:$MEMORY/again:latest",
        DONE,
    ),
    (
        "copy -q --src-tls-verify=false docker://$PLAIN/usual/small docker-archive:$MEMORY/again.tar:small:latest",
        DONE,
    ),
    (
        "copy -q --all --src-tls-verify=false docker://$PLAIN/usual/multi oci:$MEMORY/platforms:latest",
        DONE,
    ),
];
