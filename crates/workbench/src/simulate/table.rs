//! The tables that are printed, in Markdown.

use std::fmt::Write as _;

use super::arguments::Arguments;
use super::clock::{SECOND, Time};
use super::request::Kind;
use super::shard::Costs;

/// Returns what a mirror costs.
pub(super) fn show(arguments: &Arguments, costs: &[Costs]) -> String {
    let mut sum = Costs::default();
    for one in costs {
        sum.add(one);
    }
    let mut text = format!("{}\n\n", heading(arguments));
    text.push_str(&requests(&sum));
    text.push('\n');
    text.push_str(&shards(arguments, costs, &sum));
    text
}

fn heading(arguments: &Arguments) -> String {
    let mut text = format!(
        "{} tags in {} repositories, {}% new; {} layers of {} MiB; {} ms, {}",
        grouped(arguments.tags),
        grouped(arguments.repositories),
        arguments.changed,
        arguments.layers,
        arguments.layer_mib,
        arguments.rtt as f64 / 1e6,
        link(arguments.bandwidth_mbit),
    );
    if let Some(rate) = arguments.rate {
        let _ = write!(text, "; {rate} requests/s");
    }
    if let Some((count, window)) = arguments.manifest_limit {
        let _ = write!(text, "; {count} manifests in {}", time(window));
    }
    let _ = write!(
        text,
        "; shards: {}, images at once in each: {}",
        arguments.shards, arguments.parallel
    );
    text
}

fn link(mbit: f64) -> String {
    if mbit == 0.0 {
        "no limit of bandwidth".to_owned()
    } else {
        format!("{mbit} Mbit/s for each shard")
    }
}

fn requests(sum: &Costs) -> String {
    let mut text = "| requests | source | destination |\n| --- | ---: | ---: |\n".to_owned();
    for (name, source, destination) in ROWS {
        let cell = |kind: Option<Kind>| kind.map_or_else(String::new, |kind| grouped(sum.of(kind)));
        let _ = writeln!(
            text,
            "| {name} | {} | {} |",
            cell(source),
            cell(destination)
        );
    }
    let (source, destination): (u64, u64) = ROWS
        .iter()
        .map(|(_, source, destination)| {
            let of = |kind: &Option<Kind>| kind.map_or(0, |kind| sum.of(kind));
            (of(source), of(destination))
        })
        .fold((0, 0), |(a, b), (more, others)| (a + more, b + others));
    let _ = writeln!(
        text,
        "| all | {} | {} |",
        grouped(source),
        grouped(destination)
    );
    let _ = writeln!(text, "| bytes of blobs | {0} | {0} |", size(sum.bytes));
    text
}

fn shards(arguments: &Arguments, costs: &[Costs], sum: &Costs) -> String {
    let mut text = "| shard | requests | bytes | time | lost to limits |\n| --- | ---: | ---: | ---: | ---: |\n"
        .to_owned();
    let at_once = arguments.parallel as u64;
    let mut row = |name: &str, one: &Costs, at_once: u64| {
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {} | {} |",
            grouped(one.all()),
            size(one.bytes),
            time(one.end),
            time(one.waited / at_once),
        );
    };
    if costs.len() > 1 {
        for (index, one) in costs.iter().enumerate() {
            row(&format!("{}/{}", index + 1, costs.len()), one, at_once);
        }
    }
    row("all", sum, at_once * costs.len() as u64);
    text.push_str("\n\"Lost\" is how long an image's place in the work stood still, on average.");
    text
}

const ROWS: [(&str, Option<Kind>, Option<Kind>); 7] = [
    (
        "pages of tags",
        Some(Kind::SourcePage),
        Some(Kind::DestinationPage),
    ),
    (
        "HEAD manifest",
        Some(Kind::SourceHead),
        Some(Kind::DestinationHead),
    ),
    (
        "GET, PUT manifest",
        Some(Kind::GetManifest),
        Some(Kind::PutManifest),
    ),
    ("POST: there, or mounted", None, Some(Kind::Mount)),
    ("POST: upload begins", None, Some(Kind::Post)),
    ("GET, PUT blob", Some(Kind::GetBlob), Some(Kind::PutBlob)),
    ("refused with 429", Some(Kind::Refused), None),
];

/// Returns a number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn size(bytes: u64) -> String {
    let gib = bytes as f64 / (1024.0 * 1024.0 * 1024.0);
    match gib {
        0.0 => "0".to_owned(),
        small if small < 10.0 => format!("{small:.2} GiB"),
        large if large < 1024.0 => format!("{large:.0} GiB"),
        huge => format!("{:.1} TiB", huge / 1024.0),
    }
}

fn time(time: Time) -> String {
    let seconds = time as f64 / SECOND as f64;
    match seconds {
        0.0 => "0".to_owned(),
        short if short < 120.0 => format!("{short:.1} s"),
        middle if middle < 7200.0 => format!("{:.1} min", middle / 60.0),
        long if long < 172_800.0 => format!("{:.1} h", long / 3600.0),
        days => format!("{:.1} days", days / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        let numbers = [0, 12, 1234, 1_000_000].map(grouped);
        assert_eq!(numbers, ["0", "12", "1,234", "1,000,000"]);
        let times = [0, 1, 300, 20_000, 600_000].map(|seconds| time(seconds * SECOND));
        assert_eq!(times, ["0", "1.0 s", "5.0 min", "5.6 h", "6.9 days"]);
        let sizes = [0, 1 << 29, 1 << 35, 1 << 41].map(size);
        assert_eq!(sizes, ["0", "0.50 GiB", "32 GiB", "2.0 TiB"]);
    }

    #[test]
    fn shards_have_rows_of_their_own() {
        let arguments = Arguments::of("--shards 2 --rate 10 --manifest-limit 5/6h");
        let text = show(&arguments, &[Costs::default(), Costs::default()]);
        for part in [
            "| 1/2 |",
            "| 2/2 |",
            "| all |",
            "10 requests/s",
            "5 manifests in 6.0 h",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
