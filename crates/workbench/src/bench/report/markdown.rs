//! Tables for people, which line up in a terminal, too.

use super::{Circumstances, Measured};
use crate::bench::access_log::Requests;
use crate::bench::rounds::{End, Row, Run};
use crate::bench::statistics::Spread;

/// Returns what stands above all tables.
pub(in crate::bench) fn heading(circumstances: &Circumstances) -> String {
    let machine = &circumstances.machine;
    let registry = [("registry".to_owned(), circumstances.registry.clone())];
    let tools = circumstances.tools.iter().chain(&registry);
    let tools: Vec<String> = tools
        .map(|(name, version)| format!("- {name}: {version}\n"))
        .collect();
    format!(
        "{}, {} cores ({}), {}, load {:.2}\n\n{}; median of {} runs, least and most\n\n{}",
        machine.date,
        machine.cores,
        machine.processor,
        machine.kernel,
        machine.load,
        circumstances.network,
        circumstances.runs,
        tools.concat(),
    )
}

/// Returns the table of a scenario.
pub(in crate::bench) fn table(measured: &Measured) -> String {
    let rows = &measured.rows;
    let mut cells = vec![HEADERS.map(str::to_owned).to_vec()];
    cells.extend(rows.iter().map(|row| line(row, rows)));
    format!("### {}\n\n{}", measured.scenario, aligned(&cells))
}

const HEADERS: [&str; 11] = [
    "tool",
    "wall",
    "min – max",
    "user+sys",
    "peak MiB",
    "of fastest other",
    "of skopeo",
    "of dhow",
    "requests to source",
    "to destination",
    "remark",
];

fn line(row: &Row, rows: &[Row]) -> Vec<String> {
    let mut cells = vec![row.tool.clone()];
    if let Some(wall) = wall(row) {
        let processor = spread(row, |run| run.cost.processor as f64);
        let memory = spread(row, |run| run.cost.memory as f64);
        let others = rows.iter().filter(|other| other.tool != row.tool);
        // Builds of dhow are compared with others, and others with everything else.
        let others = others.filter(|other| !(row.is_dhow && other.is_dhow) || alone(rows));
        let fastest = others.filter_map(self::wall).map(|wall| wall.median);
        let fastest = fastest.min_by(f64::total_cmp);
        let median = |name: &str| {
            let row = rows.iter().find(|other| other.tool == name);
            row.and_then(self::wall).map(|wall| wall.median)
        };
        let ratio = |other: Option<f64>| {
            other.map_or_else(
                || "–".to_owned(),
                |other| format!("{:.2}", wall.median / other),
            )
        };
        let last = row.runs.last();
        cells.extend([
            time(wall.median),
            format!("{} – {}", time(wall.least), time(wall.most)),
            processor.map_or_else(String::new, |spread| time(spread.median)),
            memory.map_or_else(String::new, |spread| {
                format!("{:.1}", spread.median / f64::from(1 << 20))
            }),
            ratio(fastest),
            ratio(median("skopeo")),
            ratio(median("dhow")),
            last.map_or_else(String::new, |run| requests(&run.source)),
            last.map_or_else(String::new, |run| requests(&run.destination)),
        ]);
    }
    cells.resize(HEADERS.len() - 1, "–".to_owned());
    cells.push(match &row.end {
        None => String::new(),
        Some(End::Unable) => "cannot do this".to_owned(),
        Some(End::Wrong(error)) => format!("FAILED: {}", error.replace('|', "/")),
    });
    cells
}

/// Returns whether there are builds of dhow only.
fn alone(rows: &[Row]) -> bool {
    rows.iter().all(|row| row.is_dhow)
}

fn wall(row: &Row) -> Option<Spread> {
    spread(row, |run| run.cost.wall as f64)
}

fn spread(row: &Row, value: impl Fn(&Run) -> f64) -> Option<Spread> {
    Spread::of(row.runs.iter().map(value))
}

fn time(microseconds: f64) -> String {
    if microseconds < 1e6 {
        format!("{:.1} ms", microseconds / 1e3)
    } else {
        format!("{:.2} s", microseconds / 1e6)
    }
}

fn requests(requests: &Requests) -> String {
    let methods: Vec<String> = requests
        .iter()
        .map(|(method, count)| format!("{count} {method}"))
        .collect();
    let total: usize = requests.values().sum();
    match methods.as_slice() {
        [] => "0".to_owned(),
        [only] => only.clone(),
        several => format!("{total}: {}", several.join(", ")),
    }
}

/// Returns a Markdown table whose columns line up.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
            .max(3)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |cells: &[String]| {
        let cells = cells.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let mut lines: Vec<String> = rows.iter().map(|cells| line(cells)).collect();
    lines.insert(1.min(lines.len()), line(&rule));
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::measure::Cost;

    fn row(tool: &str, is_dhow: bool, walls: &[u64]) -> Row {
        let run = |wall: &u64| Run {
            cost: Cost {
                wall: *wall,
                processor: wall / 2,
                memory: 3 << 20,
            },
            source: Requests::from([("GET".to_owned(), 2)]),
            destination: Requests::from([("HEAD".to_owned(), 1), ("PUT".to_owned(), 4)]),
        };
        Row {
            tool: tool.to_owned(),
            is_dhow,
            runs: walls.iter().map(run).collect(),
            end: None,
        }
    }

    #[test]
    fn ratios_are_to_others_and_failures_are_shown() {
        let mut rows = vec![
            row("dhow", true, &[2000, 1000, 3000]),
            row("before", true, &[1000]),
            row("skopeo", false, &[8_000_000]),
            row("crane", false, &[4000]),
            row("oras", false, &[]),
            row("regctl", false, &[]),
        ];
        rows[4].end = Some(End::Wrong("a|b".to_owned()));
        rows[5].end = Some(End::Unable);
        let cells: Vec<Vec<String>> = rows.iter().map(|row| line(row, &rows)).collect();
        let wanted = [
            "dhow",
            "2.0 ms",
            "1.0 ms – 3.0 ms",
            "1.0 ms",
            "3.0",
            "0.50",
            "0.00",
            "1.00",
            "2 GET",
            "5: 1 HEAD, 4 PUT",
            "",
        ];
        assert_eq!(cells[0], wanted);
        assert_eq!(cells[2][1], "8.00 s");
        assert_eq!(cells[3][5], "4.00");
        assert_eq!(cells[4][10], "FAILED: a/b");
        assert_eq!(cells[5][10], "cannot do this");
    }

    #[test]
    fn builds_of_dhow_are_compared_when_there_is_nobody_else() {
        let rows = [row("dhow", true, &[1000]), row("before", true, &[2000])];
        assert_eq!(line(&rows[0], &rows)[5], "0.50");
    }

    #[test]
    fn columns_line_up() {
        let cells = |row: [&str; 2]| row.map(str::to_owned).to_vec();
        let table = aligned(&[cells(["tool", "–"]), cells(["a", "12345"])]);
        assert_eq!(
            table,
            "| tool | –     |\n| ---- | ----- |\n| a    | 12345 |\n"
        );
    }
}
