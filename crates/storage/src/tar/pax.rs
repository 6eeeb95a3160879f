//! Extended headers (POSIX.1-2017 pax, *pax Extended Header*).

use super::header::{Sparse, Time};

/// What the headers before an entry's own say.
#[derive(Debug, Default)]
pub(super) struct Extended {
    pub(super) name: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Time>,
    pub(super) atime: Option<Time>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    sparse_name: Option<Vec<u8>>,
    sparse_size: Option<u64>,
    sparse_map: Option<Vec<u64>>,
    is_sparse: bool,
    sparse_offsets: Vec<u64>,
}

impl Extended {
    /// Takes the records of a pax header. `Err`: what is wrong with them.
    pub(super) fn take(&mut self, mut text: &[u8]) -> Result<(), String> {
        while !text.is_empty() {
            let (key, value, rest) = record(text).ok_or("a malformed pax record")?;
            self.note(key, value)
                .ok_or_else(|| format!("a malformed pax record `{}`", key.escape_ascii()))?;
            text = rest;
        }
        Ok(())
    }

    fn note(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        // SPEC: a record without a value takes back what a header before it said.
        let text = || (!value.is_empty()).then(|| value.to_vec());
        let count = || -> Option<Option<u64>> {
            if value.is_empty() {
                return Some(None);
            }
            std::str::from_utf8(value).ok()?.parse().ok().map(Some)
        };
        let time = || -> Option<Option<Time>> {
            if value.is_empty() {
                return Some(None);
            }
            Time::parse(value).map(Some)
        };
        match key {
            b"path" => self.name = text(),
            b"linkpath" => self.link = text(),
            b"size" => self.size = count()?,
            b"uid" => self.uid = count()?,
            b"gid" => self.gid = count()?,
            b"mtime" => self.mtime = time()?,
            b"atime" => self.atime = time()?,
            b"GNU.sparse.name" => self.sparse_name = text(),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                self.is_sparse = true;
                self.sparse_size = count()?;
            }
            b"GNU.sparse.major" => self.is_sparse = true,
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => self.sparse_offsets.push(count()??),
            b"GNU.sparse.map" => {
                let numbers = value.split(|byte| *byte == b',');
                let numbers = numbers.map(|number| std::str::from_utf8(number).ok()?.parse().ok());
                self.sparse_map = Some(numbers.collect::<Option<_>>()?);
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.retain(|(known, _)| known != name);
                    // SPEC: a record without a value takes it back, too.
                    if !value.is_empty() {
                        self.xattrs.push((name.to_vec(), value.to_vec()));
                    }
                }
            }
        }
        Some(())
    }

    /// Returns how the entry is sparse, if it is, and sets its name to the one it would have.
    pub(super) fn sparse(&mut self) -> Option<Sparse> {
        if !self.is_sparse {
            return None;
        }
        if let Some(name) = self.sparse_name.take() {
            self.name = Some(name);
        }
        let numbers = match self.sparse_map.take() {
            Some(numbers) => numbers,
            None => std::mem::take(&mut self.sparse_offsets),
        };
        let pairs = numbers.chunks_exact(2).map(|pair| (pair[0], pair[1]));
        Some(Sparse {
            real_size: self.sparse_size?,
            map: (!numbers.is_empty()).then(|| pairs.collect()),
        })
    }
}

/// Splits off one record: `LENGTH KEY=VALUE\n`, where the length counts all of it.
fn record(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = text.iter().take(20).position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(text.get(..space)?).ok()?.parse().ok()?;
    let whole = text.get(space + 1..length)?;
    let pair = whole.strip_suffix(b"\n")?;
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    let (key, value) = pair.split_at(equals);
    if key.is_empty() {
        return None;
    }
    Some((key, &value[1..], &text[length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_taken_by_their_length() {
        let mut extended = Extended::default();
        extended
            .take(b"13 path=a\nb/\n20 mtime=1234567.25\n30 SCHILY.xattr.user.a=1\n2=3\n\n")
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(extended.name.as_deref(), Some(&b"a\nb/"[..]));
        assert_eq!(
            extended.xattrs,
            [(b"user.a".to_vec(), b"1\n2=3\n".to_vec())]
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            &b"5 a=b"[..],
            b"99 path=a\n",
            b"0 \n",
            b"x path=a\n",
            b"9 size=-1\n",
            b"6 =bc\n",
            b"7 path\n",
        ] {
            let mut extended = Extended::default();
            assert!(extended.take(text).is_err(), "{}", text.escape_ascii());
        }
    }
}
