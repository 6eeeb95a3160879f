//! Aligns cells that end in tabs into columns: Go's `text/tabwriter` with a minimal width of 12
//! and a padding of 2, as `table` templates are shown.

use std::fmt::Write as _;

/// The narrowest column.
const MINIMAL_WIDTH: usize = 12;
/// The space between columns.
const PADDING: usize = 2;

/// Returns `text` with each tab turned into the spaces that make columns. A column is a block of
/// neighbouring lines that have a cell there; the last cell of a line belongs to none.
pub(crate) fn align(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text
        .split('\n')
        .map(|line| line.split('\t').collect())
        .collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|cells| vec![0; cells.len() - 1]).collect();
    let columns = widths.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..columns {
        let mut start = 0;
        while start < lines.len() {
            let end = start
                + widths[start..]
                    .iter()
                    .take_while(|cells| cells.len() > column)
                    .count();
            let width = lines[start..end]
                .iter()
                .map(|cells| cells[column].chars().count())
                .max()
                .map_or(0, |widest| (widest + PADDING).max(MINIMAL_WIDTH));
            for cells in &mut widths[start..end] {
                cells[column] = width;
            }
            start = end.max(start + 1);
        }
    }
    let rendered: Vec<String> = lines
        .iter()
        .zip(&widths)
        .map(|(cells, widths)| {
            let mut line = String::new();
            for (cell, width) in cells.iter().zip(widths) {
                let _infallible = write!(line, "{cell:<width$}");
            }
            line.push_str(cells.last().unwrap_or(&""));
            line
        })
        .collect();
    rendered.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_as_tabwriter_does() {
        for (text, aligned) in [
            ("plain\n", "plain\n"),
            ("a\tb\n", "a           b\n"),
            (
                "a-long-long-cell\tb\nc\td\n",
                "a-long-long-cell  b\nc                 d\n",
            ),
            // A line without a cell ends the block.
            (
                "a-long-long-cell\tb\n\nc\td\n",
                "a-long-long-cell  b\n\nc           d\n",
            ),
        ] {
            assert_eq!(align(text), aligned);
        }
    }
}
