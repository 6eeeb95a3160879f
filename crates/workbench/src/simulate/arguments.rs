//! The command line of `cargo xtask simulate`.

use std::str::FromStr;

use super::clock::{SECOND, Time};

/// What is mirrored, and under which circumstances.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Arguments {
    /// How many tags there are.
    pub(super) tags: u64,
    /// In how many repositories.
    pub(super) repositories: u64,
    /// Of how many of a hundred the destination has nothing.
    pub(super) changed: f64,
    /// How many layers an image has.
    pub(super) layers: u64,
    /// The size of a layer.
    pub(super) layer_mib: f64,
    /// The round trip to each of both registries.
    pub(super) rtt: Time,
    /// The link of each shard, each way; 0: no limit.
    pub(super) bandwidth_mbit: f64,
    /// How many requests the source allows in a second.
    pub(super) rate: Option<usize>,
    /// How many manifests the source gives, and in which time.
    pub(super) manifest_limit: Option<(usize, Time)>,
    /// How many images a shard has in work at once.
    pub(super) parallel: usize,
    /// How many shards there are.
    pub(super) shards: usize,
    /// How many tags a page of a list has.
    pub(super) page: u64,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            tags: 1_000_000,
            repositories: 1000,
            changed: 1.0,
            layers: 5,
            layer_mib: 10.0,
            rtt: SECOND / 50,
            bandwidth_mbit: 1000.0,
            rate: None,
            manifest_limit: None,
            parallel: 12,
            shards: 1,
            page: 1000,
        }
    }
}

impl Arguments {
    /// Parses what stands behind `simulate`.
    pub(super) fn parse(words: &[String]) -> Result<Self, String> {
        let mut arguments = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let (flag, inline) = match word.split_once('=') {
                Some((flag, value)) => (flag, Some(value)),
                None => (word.as_str(), None),
            };
            let value = inline.or_else(|| words.next().map(String::as_str));
            let value = value.ok_or_else(|| format!("`{flag}` needs a value\n\n{USAGE}"))?;
            arguments.set(flag, value)?;
        }
        arguments.checked()
    }

    fn set(&mut self, flag: &str, value: &str) -> Result<(), String> {
        match flag {
            "--tags" => self.tags = number(flag, value)?,
            "--repositories" => self.repositories = number(flag, value)?,
            "--changed" => self.changed = number(flag, value.trim_end_matches('%'))?,
            "--layers" => self.layers = number(flag, value)?,
            "--layer-mib" => self.layer_mib = number(flag, value)?,
            "--rtt-ms" => self.rtt = milliseconds(flag, value)?,
            "--bandwidth-mbit" => self.bandwidth_mbit = number(flag, value)?,
            "--rate" => self.rate = Some(number(flag, value.trim_end_matches("/s"))?),
            "--manifest-limit" => self.manifest_limit = Some(limit(flag, value)?),
            "--parallel" => self.parallel = number(flag, value)?,
            "--shards" => self.shards = number(flag, value)?,
            "--page" => self.page = number(flag, value)?,
            _ => return Err(format!("`{flag}` is unknown\n\n{USAGE}")),
        }
        Ok(())
    }

    fn checked(self) -> Result<Self, String> {
        let wrong = [
            (self.tags > MOST_TAGS, "--tags"),
            (self.repositories == 0, "--repositories"),
            (!(0.0..=100.0).contains(&self.changed), "--changed"),
            (self.layers == 0 || self.layers > 127, "--layers"),
            (!(0.0..=1e6).contains(&self.layer_mib), "--layer-mib"),
            (
                !(0.0..=1e9).contains(&self.bandwidth_mbit),
                "--bandwidth-mbit",
            ),
            (self.rate == Some(0), "--rate"),
            (self.parallel == 0 || self.parallel > 100_000, "--parallel"),
            (self.shards == 0 || self.shards > 10_000, "--shards"),
            (self.page == 0, "--page"),
        ];
        match wrong.iter().find(|(is_wrong, _)| *is_wrong) {
            Some((_, flag)) => Err(format!("`{flag}` is out of range\n\n{USAGE}")),
            None => Ok(self),
        }
    }

    /// Returns the arguments of a line that is right.
    #[cfg(test)]
    pub(super) fn of(line: &str) -> Self {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Self::parse(&words).expect("the line is right")
    }
}

fn number<T: FromStr>(flag: &str, text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("`{flag}` needs a number, not `{text}`"))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked"
)]
fn milliseconds(flag: &str, text: &str) -> Result<Time, String> {
    let amount: f64 = number(flag, text)?;
    if (0.0..=60_000.0).contains(&amount) {
        Ok((amount * 1e6).round() as Time)
    } else {
        Err(format!("`{flag}` must be between 0 and 60000"))
    }
}

/// Parses `100/6h`.
fn limit(flag: &str, text: &str) -> Result<(usize, Time), String> {
    let wrong = || format!("`{flag}` needs a number and a time such as `100/6h`, not `{text}`");
    let (count, window) = text.split_once('/').ok_or_else(wrong)?;
    let count: usize = count
        .parse()
        .ok()
        .filter(|count| *count > 0)
        .ok_or_else(wrong)?;
    let unit = match window.chars().last() {
        Some('s') => SECOND,
        Some('m') => 60 * SECOND,
        Some('h') => 3600 * SECOND,
        _ => return Err(wrong()),
    };
    let amount: Time = window[..window.len() - 1].parse().map_err(|_| wrong())?;
    if amount == 0 || amount > 1000 {
        return Err(wrong());
    }
    Ok((count, amount * unit))
}

/// The most tags that can be played. Each takes some bytes of memory while it waits.
const MOST_TAGS: u64 = 100_000_000;

/// What can be said on the command line.
pub(super) const USAGE: &str = "usage: cargo xtask simulate [OPTION]...

Plays a mirror of a registry in virtual time and prints what it costs. An image has one layer and a
config of its own; 20 tags in succession share the other layers, also with other repositories.

  --tags N                tags at the source [default: 1000000]
  --repositories N        in so many repositories [default: 1000]
  --changed P%            tags that the destination does not have; 100% is the first filling [default: 1%]
  --layers N              layers of an image [default: 5]
  --layer-mib N           size of a layer [default: 10]
  --rtt-ms N              round trip to each registry [default: 20]
  --bandwidth-mbit N      link of each shard, each way; 0 is no limit [default: 1000]
  --rate N/s              requests that the source allows, 429 beyond [default: any number]
  --manifest-limit N/6h   manifests that the source gives; HEAD does not count [default: any number]
  --parallel N            images that a shard has in work at once [default: 12]
  --shards N              shards, each a process of its own [default: 1]
  --page N                tags on a page of a list [default: 1000]";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Arguments::parse(&words)
    }

    #[test]
    fn units_are_optional_where_there_is_only_one() {
        let units = parse("--changed 5% --rate=100/s --manifest-limit 200/6h").unwrap();
        let plain = parse("--changed=5 --rate 100 --manifest-limit 200/360m").unwrap();
        assert_eq!(units, plain);
        assert_eq!(units.rate, Some(100));
        assert_eq!(units.manifest_limit, Some((200, 6 * 3600 * SECOND)));
        assert_eq!(parse("").unwrap(), Arguments::default());
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "--tags",
            "--tags many",
            "--tags 1000000000",
            "--changed 101%",
            "--changed NaN",
            "--layers 0",
            "--rate 0",
            "--manifest-limit 100",
            "--manifest-limit 0/6h",
            "--manifest-limit 5/0h",
            "--manifest-limit 5/h",
            "--rtt-ms -1",
            "--bandwidth-mbit inf",
            "--shards 0",
            "--frequency 3",
            "copy",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
