//! A part of the work, decided by names alone, so that machines need not speak to each other.

use dhow_model::Digest;

use super::SelectError;

/// The I-th of N parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 0 on.
    index: u64,
    count: u64,
}

impl Shard {
    /// Parses `I/N` (1 ≤ I ≤ N), or `auto/N`, which takes I from the index that a Kubernetes Indexed Job
    /// gives its pods (0-based).
    pub fn parse(text: &str, job_completion_index: Option<&str>) -> Result<Self, SelectError> {
        let wrong = || {
            SelectError::new(format!("`{text}` is not a part of the work"))
                .with_hint("write `2/5` for the second of five parts")
        };
        let (index, count) = text.split_once('/').ok_or_else(wrong)?;
        let count: u64 = count.parse().map_err(|_| wrong())?;
        let automatic = index == "auto";
        let index = if automatic {
            let given = job_completion_index.ok_or_else(|| {
                SelectError::new(
                    "`auto` needs the variable `JOB_COMPLETION_INDEX`, which is not set",
                )
                .with_hint("run it as a Kubernetes Indexed Job, or write the part's number")
            })?;
            given
                .parse::<u64>()
                .ok()
                .and_then(|index| index.checked_add(1))
                .ok_or_else(|| {
                    SelectError::new(format!(
                        "JOB_COMPLETION_INDEX is `{given}`, which is no number"
                    ))
                })?
        } else {
            index.parse().map_err(|_| wrong())?
        };
        if index == 0 || index > count {
            return Err(match job_completion_index {
                Some(given) if automatic => SelectError::new(format!(
                    "JOB_COMPLETION_INDEX is `{given}`, which is too large for {count} parts"
                ))
                .with_hint("write as many parts as the Job has completions"),
                _ => wrong(),
            });
        }
        Ok(Self {
            index: index - 1,
            count,
        })
    }

    /// Returns whether an image belongs to this part. The same on every machine and in every version:
    /// the first 8 bytes of the SHA-256 of repository, zero byte and tag, as a number, modulo N.
    pub fn takes(&self, repository: &str, tag: &str) -> bool {
        let hex = Digest::sha256(format!("{repository}\0{tag}").as_bytes()).hex();
        let number = u64::from_str_radix(&hex[..16], 16).unwrap_or_default();
        number % self.count == self.index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_belongs_to_exactly_one_part() {
        let shards: Vec<_> = (1..=3)
            .map(|index| Shard::parse(&format!("{index}/3"), None).unwrap())
            .collect();
        let mut sizes = [0; 3];
        for number in 0..300 {
            let tag = number.to_string();
            let takers: Vec<_> = (0..3)
                .filter(|place| shards[*place].takes("r.io/a", &tag))
                .collect();
            assert_eq!(takers.len(), 1, "{tag}");
            sizes[takers[0]] += 1;
        }
        assert!(sizes.iter().all(|size| *size > 70), "{sizes:?}");
        // This must never change: parts of one mirror may run in different versions.
        let first = (0..8).filter(|tag| shards[0].takes("r.io/a", &tag.to_string()));
        let sum = first.map(|tag| 1 << tag).sum::<u32>();
        assert_eq!(sum, PINNED);
    }

    /// The tags from 0 to 7 that belong to the first part, as bits.
    const PINNED: u32 = 0b1000_0000;

    #[test]
    fn parts_are_numbered_from_one_or_by_kubernetes_from_zero() {
        assert_eq!(
            Shard::parse("auto/4", Some("0")).unwrap(),
            Shard::parse("1/4", None).unwrap()
        );
        for (text, index) in [
            ("0/4", None),
            ("5/4", None),
            ("1/0", None),
            ("1", None),
            ("a/4", None),
            ("-1/4", None),
            ("auto/4", None),
            ("auto/4", Some("x")),
            ("auto/4", Some("4")),
        ] {
            assert!(Shard::parse(text, index).is_err(), "{text} {index:?}");
        }
    }
}
