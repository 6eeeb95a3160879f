//! `sif:` beside skopeo, which runs unsquashfs and tar: what unpacks from the layers is the same.

use std::fs;
use std::path::Path;

use dhow_testkit::image::{ImageSpec, validate_dir, validate_layout, write_dir};
use dhow_testkit::sif::{Object, SifFile};
use serde_json::Value;

use crate::dhow::{Desk, outcome};
use crate::tools;

/// Makes a tree with something of everything, and a squashfs of it.
fn squashfs(desk: &Desk, compression: &str) -> Vec<u8> {
    let script = "umask 022; mkdir -p t/bin t/etc t/dev t/empty && echo hi > t/etc/hello && \
        ln t/etc/hello t/etc/hard && ln -s hello t/etc/sym && ln -s \"$(printf %0300d 1)\" t/far && \
        (head -c 1000000 /dev/zero; seq 100000) > t/bin/big && truncate -s 5000000 t/bin/sparse && \
        chmod 4711 t/bin/big && chown 5:3000000 t/etc/hello && mknod t/dev/null c 1 3 && \
        mknod t/dev/disk b 259 70000 && mkfifo t/dev/fifo && touch -d @1600000000 t/etc/hello t/etc && \
        mkdir \"t/$(printf %0150d 1)\" && touch \"t/$(printf %0150d 1)/$(printf %0200d 2)\" t/ü\\ x && \
        for i in $(seq 700); do echo $i > t/empty/$i; done";
    outcome(desk.dressed("sh").args(["-c", script])).ok();
    let mut command = desk.dressed("mksquashfs");
    command.args([
        "t",
        "t.squashfs",
        "-noappend",
        "-no-xattrs",
        "-comp",
        compression,
    ]);
    outcome(&mut command).ok();
    fs::read(desk.path("t.squashfs")).unwrap()
}

/// Unpacks the layer of an image in a directory, and returns all that can be seen of its files.
fn unpacked(desk: &Desk, image: &str) -> (Value, String) {
    let document = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(desk.path(image).join(name)).unwrap()).unwrap()
    };
    let hex = |value: &Value| {
        let digest = value["digest"].as_str().unwrap();
        digest.split_once(':').unwrap().1.to_owned()
    };
    let manifest = document("manifest.json");
    let layer = hex(&manifest["layers"][0]);
    let mut config = document(&hex(&manifest["config"]));
    let shown = config["rootfs"].take().to_string() + &config["history"][0].take().to_string();
    assert!(shown.contains(&layer), "{shown}");
    // The script is of the moment when skopeo makes it.
    let script = format!(
        "mkdir {image}.root && cd {image}.root && tar --numeric-owner -xpf ../{image}/{layer} && \
         test -z \"$(find podman ! -perm 755)\" && touch -d @0 podman/runscript podman . && \
         find . ! -type d -printf '%P %y %m %U %G %T@ %s %n %l\\n' | sort && \
         find . -type d -printf '%P %m %U %G %T@ %n\\n' | sort && \
         find . -type f -exec sha256sum {{}} + | sort -k 2 && find dev -type b -o -type c | sort | \
         xargs stat -c '%n %t %T' && cat podman/runscript"
    );
    let listed = outcome(desk.dressed("sh").args(["-c", &script])).ok();
    (config, listed)
}

#[test]
fn sif_files_give_what_skopeo_gives() {
    let programs = ["skopeo", "mksquashfs", "unsquashfs"];
    if !tools::is_root() || !programs.iter().all(|program| tools::has(program)) {
        return;
    }
    for compression in ["gzip", "xz", "zstd", "lz4"] {
        let desk = Desk::new();
        let mut sif = SifFile::of(squashfs(&desk, compression));
        let definition = "Bootstrap: x\n%environment\n  A=b\n#c\n%runscript\n exec sh\n";
        sif.objects.push(Object::definition(definition.into()));
        fs::write(desk.path("a.sif"), sif.bytes()).unwrap();
        desk.dhow(&["copy", "sif:a.sif", "dir:./ours"]).ok();
        let first = validate_dir(&desk.path("ours")).unwrap();
        tools::run_skopeo(&desk, &["copy", "-q", "sif:a.sif", "dir:./theirs"]);
        let (ours, theirs) = (unpacked(&desk, "ours"), unpacked(&desk, "theirs"));
        assert_eq!(ours.0, theirs.0, "{compression}");
        for (one, other) in ours.1.lines().zip(theirs.1.lines()) {
            assert_eq!(one, other, "{compression}");
        }
        assert_eq!(ours.1.len(), theirs.1.len());
        assert!(
            ours.1
                .contains("etc/hard f 644 5 3000000 1600000000.0000000000 3 2 ")
        );
        desk.dhow(&["copy", "sif:a.sif", "oci:./layout:1"]).ok();
        validate_layout(&desk.path("layout")).unwrap();
        desk.dhow(&["copy", "sif:./a.sif", "dir:./again"]).ok();
        assert_eq!(validate_dir(&desk.path("again")).unwrap(), first);
        assert_eq!(leftovers(&desk), 0, "temporary files are gone");
    }
}

fn leftovers(desk: &Desk) -> usize {
    let tmp = desk.home().parent().map(|place| place.join("tmp"));
    let entries = tmp.as_deref().map(Path::read_dir);
    entries.map_or(0, |entries| entries.map_or(0, Iterator::count))
}

#[test]
fn sif_files_are_only_read() {
    let desk = Desk::new();
    write_dir(&desk.path("in"), &ImageSpec::oci(1).build());
    let told = desk.dhow(&["copy", "dir:./in", "sif:new.sif"]).fails(10);
    assert!(
        told.contains("\"sif:\" locations can only be read from, not written to"),
        "{told}"
    );
    fs::write(desk.path("no.sif"), [0; 4096]).unwrap();
    let told = desk.dhow(&["inspect", "sif:no.sif"]).fails(8);
    assert!(told.contains("the file has no SIF header"), "{told}");
    desk.dhow(&["inspect", "sif:none.sif"]).fails(9);
}
