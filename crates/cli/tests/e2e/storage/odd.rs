//! Images with every odd thing that a layer can hold.

use std::path::Path;

use dhow_model::Digest;
use serde_json::{Value, json};

use super::archive::{Archive, Item, file, folder, item, link};

/// Writes a layout with one image of these layers under a name.
pub(crate) fn write_image(layout: &Path, name: &str, layers: &[Vec<Item<'_>>]) {
    let layers: Vec<_> = layers.iter().map(|items| Archive::layer(items)).collect();
    write_packed(layout, name, &layers);
}

/// Writes a layout with one image of layers that are packed already: the blob, and its content.
pub(crate) fn write_packed(layout: &Path, name: &str, layers: &[(Vec<u8>, Vec<u8>)]) {
    let blobs = layout.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |media_type: &str, bytes: &[u8]| -> Value {
        let digest = Digest::sha256(bytes);
        std::fs::write(blobs.join(digest.hex()), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
    };
    let diff_ids: Vec<String> = layers
        .iter()
        .map(|(_, content)| Digest::sha256(content).to_string())
        .collect();
    let history: Vec<Value> = (0..layers.len())
        .map(|number| {
            json!({"created": "2020-01-02T03:04:05Z", "created_by": format!("step {number}")})
        })
        .collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "created": "2020-01-02T03:04:05.5Z",
        "author": name, "config": {"Cmd": ["/bin/sh"], "Labels": {"name": name}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": history,
    });
    let config = put(
        "application/vnd.oci.image.config.v1+json",
        config.to_string().as_bytes(),
    );
    let layers: Vec<Value> = layers
        .iter()
        .map(|(blob, _)| put("application/vnd.oci.image.layer.v1.tar+gzip", blob))
        .collect();
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest =
        json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers});
    let mut entry = put(kind, manifest.to_string().as_bytes());
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    let index = layout.join("index.json");
    let mut listed: Value = std::fs::read(&index).map_or_else(
        |_| json!({"schemaVersion": 2, "manifests": []}),
        |text| serde_json::from_slice(&text).unwrap(),
    );
    listed["manifests"].as_array_mut().unwrap().push(entry);
    std::fs::write(&index, listed.to_string()).unwrap();
    std::fs::write(
        layout.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
}

/// Returns three layers with everything.
pub(crate) fn everything() -> Vec<Vec<Item<'static>>> {
    vec![base(), changes(), more_changes()]
}

fn base() -> Vec<Item<'static>> {
    let long = "l".repeat(90) + "/" + &"m".repeat(200);
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let large: &'static [u8] = dhow_testkit::image::noise(7, 700_000).leak();
    vec![
        folder("etc"),
        file("etc/passwd", "root:x:0:0::/:/bin/sh\n"),
        folder("./usr/bin/").mode(0o711).mtime(1_500_000_000),
        file("./usr/bin/su", "set-user-ID").mode(0o4755),
        file("usr/bin/sg", "set-group-ID")
            .mode(0o2755)
            .owner(12, 34),
        file("deep/without/parents/f", "x").owner(1000, 1001),
        folder("tmp").mode(0o1777),
        link(b'1', "hard", "etc/passwd"),
        link(b'1', "hard2", "./usr/bin/su")
            .mode(0o600)
            .owner(5, 6)
            .mtime(1_400_000_000),
        link(b'2', "symlink", "/etc/passwd")
            .owner(7, 8)
            .mtime(1_300_000_000),
        link(b'2', "dangling", "../../../nowhere"),
        folder("dev"),
        item(b'3', "dev/null").mode(0o666).device(1, 3),
        item(b'4', "dev/loop9").mode(0o660).owner(0, 6).device(7, 9),
        item(b'6', "dev/fifo").mode(0o622),
        file("capable", "cap")
            .mode(0o755)
            .pax("SCHILY.xattr.security.capability", capability),
        file("attributes", "x")
            .pax("SCHILY.xattr.user.a", b"b\nc")
            .pax("SCHILY.xattr.user.e", b""),
        folder("attributed").pax("SCHILY.xattr.user.dir", b"yes"),
        file("fraction", "f")
            .pax("mtime", b"1234567890.123456789")
            .pax("atime", b"1234567899.5"),
        item(b'0', "")
            .name_bytes(b"\xc3\xa9\xff name \n")
            .bytes(b"odd"),
        file(long.leak(), "long"),
        link(b'2', "long-symlink", "z".repeat(300).leak()),
        item(b'0', "large").bytes(large),
        file("empty", ""),
        file("many-ids", "1").owner(3_000_000_000, 2_100_000),
        file("before-1970", "x").pax("mtime", b"-5"),
        file("future", "x").mtime(5_000_000_000),
        file("/absolute/file", "x"),
        folder("gone"),
        file("gone/a", "a"),
        folder("opaque").mode(0o750).owner(3, 0),
        file("opaque/a", "a"),
        folder("folder-to-file"),
        file("folder-to-file/x", "q"),
        file("file-to-folder", "1"),
        file("secret", "x").mode(0),
    ]
}

fn changes() -> Vec<Item<'static>> {
    vec![
        file(".wh.gone", ""),
        folder("opaque").owner(4, 0),
        file("opaque/.wh..wh..opq", ""),
        file("opaque/b", "b"),
        file("etc/.wh.passwd", "").owner(9, 9),
        file("folder-to-file", "file now"),
        folder("file-to-folder").mode(0o700),
        file("file-to-folder/in", "in"),
        file("deep/without/parents/g", "y"),
        folder(".").mode(0o700).owner(77, 0),
    ]
}

fn more_changes() -> Vec<Item<'static>> {
    vec![
        file("opaque/d", "d"),
        file("hard", "replaced"),
        link(b'1', "usr/bin/su", "opaque/d"),
    ]
}

/// Returns layers that nobody means well with, each under a name.
pub(crate) fn hostile() -> Vec<(&'static str, Vec<Item<'static>>)> {
    let mut all = leading_out();
    all.extend(swapping());
    all.extend(unknown());
    all
}

fn leading_out() -> Vec<(&'static str, Vec<Item<'static>>)> {
    vec![
        ("above", vec![file("../../evil", "e")]),
        ("above-within", vec![file("a/../../../evil", "e")]),
        (
            "symlink-out",
            vec![link(b'2', "s", "/tmp/dhow-evil"), file("s/evil", "e")],
        ),
        (
            "symlink-in",
            vec![folder("d"), link(b'2', "s", "/d"), file("s/in", "e")],
        ),
        (
            "symlink-above",
            vec![link(b'2', "s", "../../../../tmp"), file("s/evil", "e")],
        ),
        (
            "hard-link-out",
            vec![link(b'1', "h", "../../../../etc/hostname")],
        ),
        ("hard-link-absolute", vec![link(b'1', "h", "/etc/hostname")]),
        (
            "hard-link-to-symlink",
            vec![link(b'2', "s", "/etc/hostname"), link(b'1', "h", "s")],
        ),
        ("whiteout-above", vec![file(".wh...", "")]),
        ("whiteout-of-nothing", vec![file(".wh.", "")]),
        ("device", vec![item(b'4', "sda").device(8, 0)]),
        ("root-symlink", vec![link(b'2', ".", "/tmp")]),
        ("root-file", vec![file(".", "1")]),
        ("root-slash", vec![folder("/").mode(0o700)]),
    ]
}

fn swapping() -> Vec<(&'static str, Vec<Item<'static>>)> {
    vec![
        (
            "folder-to-symlink",
            vec![
                folder("d"),
                file("d/x", "1"),
                link(b'2', "d", "/etc"),
                file("d/evil", "2"),
            ],
        ),
        (
            "symlink-to-folder",
            vec![link(b'2', "d", "/etc"), folder("d"), file("d/evil", "2")],
        ),
        ("twice", vec![file("a", "1"), file("a", "2")]),
        (
            "twice-a-folder",
            vec![folder("a"), folder("a/").mode(0o700)],
        ),
        (
            "twice-otherwise",
            vec![file("a", "1"), file("/a", "2"), file("../a", "3")],
        ),
        (
            "whiteout-of-own",
            vec![file("foo", "1"), file(".wh.foo", "")],
        ),
        (
            "whiteout-below-whiteout",
            vec![file(".wh.foo", ""), file("foo/.wh.bar", "")],
        ),
        (
            "whiteout-of-whiteouts",
            vec![folder(".wh..wh.plnk"), file(".wh..wh.aufs", "")],
        ),
        ("below-a-file", vec![file("f", "1"), file("f/g", "2")]),
        ("hard-link-to-nothing", vec![link(b'1', "h", "nothing")]),
    ]
}

fn unknown() -> Vec<(&'static str, Vec<Item<'static>>)> {
    vec![
        ("unknown-kind", vec![item(b'Z', "w")]),
        ("contiguous", vec![item(b'7', "w")]),
        ("sparse", vec![item(b'S', "w")]),
        (
            "unknown-attribute",
            vec![file("a", "").pax("SCHILY.xattr.bogus.ns", b"1")],
        ),
        (
            "overlay-attributes",
            vec![folder("a").pax("SCHILY.xattr.trusted.overlay.opaque", b"y")],
        ),
        ("nothing", vec![]),
    ]
}
