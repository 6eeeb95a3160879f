//! The command line of `cargo xtask bench`.

use std::path::PathBuf;
use std::str::FromStr;

/// What is to be measured, and how.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Arguments {
    /// Patterns of scenario names; none: all.
    pub(super) scenarios: Vec<String>,
    /// How many runs of each tool count.
    pub(super) runs: usize,
    /// Names of tools; none: all that are found.
    pub(super) tools: Vec<String>,
    /// The link to the registries; none: loopback.
    pub(super) link: Option<Link>,
    /// Whether the registries speak TLS.
    pub(super) tls: bool,
    /// Whether the scenarios with the big image are among them.
    pub(super) big: bool,
    /// Whether the scenarios are only listed.
    pub(super) list: bool,
    /// The dhow to measure; none: the one that is built.
    pub(super) dhow: Option<PathBuf>,
    /// More builds of dhow, by name.
    pub(super) also: Vec<(String, PathBuf)>,
    /// Where the tables go, besides stdout.
    pub(super) markdown: Option<PathBuf>,
    /// Where every single run goes.
    pub(super) json: Option<PathBuf>,
}

/// A link that takes time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Link {
    /// The round trip in milliseconds.
    pub(super) rtt: f64,
    /// The rate each way in Mbit/s.
    pub(super) rate: f64,
}

impl Arguments {
    /// Parses what stands behind `bench`.
    pub(super) fn parse(words: &[String]) -> Result<Self, String> {
        let mut arguments = Self::default();
        let (mut rtt, mut rate) = (None, None);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let (flag, inline) = match word.split_once('=') {
                Some((flag, value)) => (flag, Some(value.to_owned())),
                None => (word.as_str(), None),
            };
            let takes_none = match flag {
                "--tls" => Some(&mut arguments.tls),
                "--big" => Some(&mut arguments.big),
                "--list" => Some(&mut arguments.list),
                _ => None,
            };
            if let Some(switch) = takes_none {
                if inline.is_some() {
                    return Err(format!("`{flag}` takes no value\n\n{USAGE}"));
                }
                *switch = true;
                continue;
            }
            let value = || {
                let value = inline.or_else(|| words.next().cloned());
                value.ok_or_else(|| format!("`{flag}` needs a value\n\n{USAGE}"))
            };
            match flag {
                "--scenario" => arguments.scenarios.extend(list(&value()?)),
                "--tools" => arguments.tools.extend(list(&value()?)),
                "--runs" => arguments.runs = number(flag, &value()?)?,
                "--rtt" => rtt = Some(amount(flag, &value()?)?),
                "--rate" => rate = Some(amount(flag, &value()?)?),
                "--dhow" => arguments.dhow = Some(value()?.into()),
                "--also" => arguments.also.push(named(&value()?)?),
                "--markdown" => arguments.markdown = Some(value()?.into()),
                "--json" => arguments.json = Some(value()?.into()),
                _ => return Err(format!("`{flag}` is unknown\n\n{USAGE}")),
            }
        }
        if arguments.runs == 0 {
            return Err("`--runs` must be at least 1".to_owned());
        }
        arguments.link = link(rtt, rate)?;
        Ok(arguments)
    }
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            scenarios: Vec::new(),
            runs: 5,
            tools: Vec::new(),
            link: None,
            tls: false,
            big: false,
            list: false,
            dhow: None,
            also: Vec::new(),
            markdown: None,
            json: None,
        }
    }
}

fn link(rtt: Option<f64>, rate: Option<f64>) -> Result<Option<Link>, String> {
    match (rtt, rate) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err("`--rate` needs `--rtt`".to_owned()),
        (Some(rtt), rate) => Ok(Some(Link {
            rtt,
            rate: rate.unwrap_or(DEFAULT_RATE),
        })),
    }
}

fn list(text: &str) -> Vec<String> {
    let words = text.split(',').map(str::trim);
    words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

fn number<T: FromStr>(flag: &str, text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("`{flag}` needs a number, not `{text}`"))
}

fn amount(flag: &str, text: &str) -> Result<f64, String> {
    let amount: f64 = number(flag, text)?;
    if amount > 0.0 && amount.is_finite() {
        Ok(amount)
    } else {
        Err(format!("`{flag}` must be more than 0"))
    }
}

fn named(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => {
            Ok((name.to_owned(), path.into()))
        }
        _ => Err(format!("`--also` needs NAME=PATH, not `{text}`")),
    }
}

/// The rate of a link whose rate nobody named, in Mbit/s.
const DEFAULT_RATE: f64 = 1000.0;

/// What can be said on the command line.
pub(super) const USAGE: &str = "usage: cargo xtask bench [OPTION]...

  --scenario GLOB[,GLOB]  only scenarios that fit; --list shows their names
  --runs N                runs that count, of each tool in each scenario [default: 5]
  --tools NAME[,NAME]     only these of dhow, skopeo, crane, regctl, oras, ocync
  --dhow PATH             measure this dhow instead of building one
  --also NAME=PATH        measure another build of dhow beside it; may be repeated
  --big                   also the scenarios with an image of 700 MB
  --tls                   registries speak TLS
  --rtt MS                registries are this round trip away (root, Linux)
  --rate MBIT             how fast the link of --rtt is, each way [default: 1000]
  --markdown FILE         write the tables there, too
  --json FILE             write every single run there
  --list                  list the scenarios and stop";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Arguments::parse(&words)
    }

    #[test]
    fn values_stand_behind_a_blank_or_an_equals_sign() {
        let spaced = parse("--scenario copy-*,raw --runs 3 --rtt 20 --tls").unwrap();
        let joined = parse("--scenario=copy-*,raw --runs=3 --rtt=20 --tls").unwrap();
        assert_eq!(spaced, joined);
        assert_eq!(spaced.scenarios, ["copy-*", "raw"]);
        assert_eq!(spaced.runs, 3);
        assert_eq!(
            spaced.link,
            Some(Link {
                rtt: 20.0,
                rate: DEFAULT_RATE
            })
        );
        assert!(spaced.tls && !spaced.big);
    }

    #[test]
    fn other_builds_have_names() {
        let arguments = parse("--also old=/a=b --also new=/c --dhow=/d").unwrap();
        let also = [("old".into(), "/a=b".into()), ("new".into(), "/c".into())];
        assert_eq!(arguments.also, also);
        assert_eq!(arguments.dhow, Some("/d".into()));
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "--frequency 3",
            "--runs",
            "--runs many",
            "--runs 0",
            "--rate 100",
            "--rtt -1",
            "--also old",
            "--tls=yes",
            "copy",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
