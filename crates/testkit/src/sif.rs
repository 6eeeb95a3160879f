//! SIF files (Singularity Image Format, version 1), with whatever in them.

/// An object in a SIF file.
#[derive(Clone, Debug)]
pub struct Object {
    /// What it is.
    pub kind: i32,
    /// What a partition is for: 1 a system, 2 the system.
    pub use_as: i32,
    /// Its bytes.
    pub content: Vec<u8>,
}

impl Object {
    /// Returns the partition with the system, which is a squashfs.
    pub fn partition(content: Vec<u8>) -> Self {
        Self {
            kind: 0x4004,
            use_as: 2,
            content,
        }
    }

    /// Returns a definition file.
    pub fn definition(content: Vec<u8>) -> Self {
        Self {
            kind: 0x4001,
            use_as: 0,
            content,
        }
    }
}

/// A SIF file, made on 2017-07-14 at 02:40.
#[derive(Clone, Debug)]
pub struct SifFile {
    /// The code of the architecture; `02` is amd64.
    pub architecture: [u8; 2],
    /// What is in it.
    pub objects: Vec<Object>,
}

impl SifFile {
    /// Returns a file with one primary partition.
    pub fn of(squashfs: Vec<u8>) -> Self {
        Self {
            architecture: *b"02",
            objects: vec![Object::partition(squashfs)],
        }
    }

    /// Returns the file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut file = b"#!/usr/bin/env run-singularity\n\0SIF_MAGIC\0".to_vec();
        file.extend(b"01\0");
        file.extend(self.architecture);
        file.push(0);
        // 12345678-1234-5678-1234-567812345678
        file.extend([0x12, 0x34, 0x56, 0x78].repeat(4));
        let count = i64::try_from(self.objects.len()).expect("there are few");
        for number in [
            1_500_000_000,
            1_500_000_001,
            48 - count,
            48,
            4096,
            585 * 48,
            32768,
            0,
        ] {
            file.extend(i64::to_le_bytes(number));
        }
        file.resize(4096, 0);
        let mut data = Vec::new();
        for (at, object) in self.objects.iter().enumerate() {
            data.resize(usize::next_multiple_of(data.len(), 4096), 0);
            file.extend(self.descriptor(at, object, DATA + data.len()));
            data.extend(&object.content);
        }
        file.resize(DATA, 0);
        file.extend(data);
        file
    }

    fn descriptor(&self, at: usize, object: &Object, offset: usize) -> Vec<u8> {
        let number = |value: usize| i64::try_from(value).expect("it is small");
        let mut bytes = object.kind.to_le_bytes().to_vec();
        bytes.push(1);
        bytes.extend(u32::try_from(at + 1).expect("it is small").to_le_bytes());
        bytes.extend([1, 0, 0, 0xf0, 0, 0, 0, 0]);
        let size = number(object.content.len());
        for value in [
            number(offset),
            size,
            size,
            1_500_000_000,
            1_500_000_001,
            0,
            0,
        ] {
            bytes.extend(value.to_le_bytes());
        }
        bytes.resize(201, 0);
        bytes.extend(1_i32.to_le_bytes());
        bytes.extend(object.use_as.to_le_bytes());
        bytes.extend(self.architecture);
        bytes.resize(585, 0);
        bytes
    }
}

/// Where the first object is, in bytes.
pub const DATA: usize = 32768;
