//! Tar archives with anything in them, as no good tool would make them.

use dhow_testkit::image::gzip;

/// An archive that is being written.
#[derive(Default)]
pub(crate) struct Archive(Vec<u8>);

/// An entry.
#[derive(Clone)]
pub(crate) struct Item<'a> {
    name: &'a [u8],
    kind: u8,
    link: &'a [u8],
    content: &'a [u8],
    mode: u32,
    owner: (u64, u64),
    mtime: u64,
    device: (u32, u32),
    pax: Vec<(&'a str, &'a [u8])>,
}

/// Returns an entry of this kind: a letter of a tar header.
pub(crate) fn item(kind: u8, name: &str) -> Item<'_> {
    Item {
        name: name.as_bytes(),
        kind,
        link: b"",
        content: b"",
        mode: if kind == b'5' { 0o755 } else { 0o644 },
        owner: (0, 0),
        mtime: 1_600_000_000,
        device: (0, 0),
        pax: Vec::new(),
    }
}

/// Returns a file.
pub(crate) fn file<'a>(name: &'a str, content: &'a str) -> Item<'a> {
    Item {
        content: content.as_bytes(),
        ..item(b'0', name)
    }
}

/// Returns a folder.
pub(crate) fn folder(name: &str) -> Item<'_> {
    item(b'5', name)
}

/// Returns a link: `1` hard, `2` symbolic.
pub(crate) fn link<'a>(kind: u8, name: &'a str, to: &'a str) -> Item<'a> {
    Item {
        link: to.as_bytes(),
        ..item(kind, name)
    }
}

impl<'a> Item<'a> {
    pub(crate) fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    pub(crate) fn owner(self, uid: u64, gid: u64) -> Self {
        let owner = (uid, gid);
        Self { owner, ..self }
    }

    /// Returns whether its owner has an id below this.
    pub(crate) fn is_owned_below(&self, id: u64) -> bool {
        self.owner.0 < id && self.owner.1 < id
    }

    pub(crate) fn mtime(self, mtime: u64) -> Self {
        Self { mtime, ..self }
    }

    pub(crate) fn device(self, major: u32, minor: u32) -> Self {
        let device = (major, minor);
        Self { device, ..self }
    }

    pub(crate) fn bytes(self, content: &'a [u8]) -> Self {
        Self { content, ..self }
    }

    pub(crate) fn name_bytes(self, name: &'a [u8]) -> Self {
        Self { name, ..self }
    }

    pub(crate) fn pax(mut self, key: &'a str, value: &'a [u8]) -> Self {
        self.pax.push((key, value));
        self
    }
}

impl Archive {
    /// Returns the archive of these entries, with its end.
    pub(crate) fn of(items: &[Item<'_>]) -> Vec<u8> {
        let mut archive = Self::default();
        for item in items {
            archive.add(item);
        }
        archive.0.extend([0; 1024]);
        archive.0
    }

    /// Returns the archive as the layer of an image, and its content.
    pub(crate) fn layer(items: &[Item<'_>]) -> (Vec<u8>, Vec<u8>) {
        let content = Self::of(items);
        (gzip(&content), content)
    }

    fn add(&mut self, item: &Item<'_>) {
        let mut pax = item.pax.clone();
        if item.name.len() > 100 {
            pax.push(("path", item.name));
        }
        if item.link.len() > 100 {
            pax.push(("linkpath", item.link));
        }
        if !pax.is_empty() {
            let mut records = Vec::new();
            for (key, value) in pax {
                records.extend(record(key, value));
            }
            let about = super::archive::item(b'x', "pax").bytes(&records);
            self.write(&about);
        }
        self.write(item);
    }

    fn write(&mut self, item: &Item<'_>) {
        let mut header = [0_u8; 512];
        let mut put = |at: usize, bytes: &[u8]| {
            header[at..at + bytes.len()].copy_from_slice(bytes);
        };
        put(0, &item.name[..item.name.len().min(100)]);
        put(100, format!("{:07o}", item.mode).as_bytes());
        put(108, &number(item.owner.0));
        put(116, &number(item.owner.1));
        put(124, format!("{:011o}", item.content.len()).as_bytes());
        put(136, format!("{:011o}", item.mtime).as_bytes());
        put(148, b"        ");
        put(156, &[item.kind]);
        put(157, &item.link[..item.link.len().min(100)]);
        put(257, b"ustar\x0000");
        put(329, format!("{:07o}", item.device.0).as_bytes());
        put(337, format!("{:07o}", item.device.1).as_bytes());
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend(header);
        self.0.extend(item.content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }
}

/// Returns an id as octal digits, or in binary where they do not suffice.
fn number(value: u64) -> [u8; 8] {
    let mut field = [0; 8];
    if value < 0o7_777_777 {
        field[..7].copy_from_slice(format!("{value:07o}").as_bytes());
        return field;
    }
    field.copy_from_slice(&value.to_be_bytes());
    field[0] |= 0x80;
    field
}

/// Returns a record of a pax header, which begins with its own length.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let body = [key.as_bytes(), b"=", value, b"\n"].concat();
    let mut length = body.len() + 2;
    while length != body.len() + 1 + length.to_string().len() {
        length += 1;
    }
    [format!("{length} ").as_bytes(), &body].concat()
}
