//! Tables: columns aligned, without frames, so that they read well and `awk`
//! takes them apart.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Row};

/// The side of its column to which a cell is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Names and words.
    Left,
    /// Numbers.
    Right,
}

/// Rows below headings.
#[derive(Debug)]
pub struct Table {
    inner: comfy_table::Table,
}

impl Table {
    /// A table without rows. Headings are written in capitals.
    #[must_use]
    pub fn new<const N: usize>(columns: [(&str, Side); N]) -> Self {
        let mut inner = comfy_table::Table::new();
        inner.load_style(NOTHING);
        inner.set_header(columns.map(|(heading, _)| heading.to_uppercase()));
        for (column, (_, side)) in inner.column_iter_mut().zip(columns) {
            column.set_padding((0, 2));
            column.set_cell_alignment(match side {
                Side::Left => CellAlignment::Left,
                Side::Right => CellAlignment::Right,
            });
        }
        Self { inner }
    }

    /// Adds a row: a cell for each column.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        // A line end would break the row apart.
        let cells = cells.into_iter().map(|cell| cell.into().replace(['\n', '\r'], " "));
        self.inner.add_row(Row::from(cells.collect::<Vec<_>>()));
    }

    /// Whether it has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    /// The lines, each ended. Within `width` columns long cells are wrapped;
    /// without a width none is, so that each row stays one line for programs.
    pub(super) fn render(&self, width: Option<u16>) -> String {
        let mut table = self.inner.clone();
        match width {
            Some(width) => {
                table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width)
            }
            None => table.set_content_arrangement(ContentArrangement::Disabled),
        };
        table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics() -> Table {
        let mut table = Table::new([("topic", Side::Left), ("records", Side::Right)]);
        table.row(["orders", "12"]);
        table.row(["payments of the last year", "1"]);
        table
    }

    #[test]
    fn columns_are_aligned_and_rows_are_lines() {
        let expected = "\
TOPIC                      RECORDS
orders                          12
payments of the last year        1
";
        assert_eq!(topics().render(None), expected);
        assert_eq!(topics().render(Some(80)), expected);
    }

    #[test]
    fn a_narrow_terminal_wraps_the_long_cells() {
        let narrow = topics().render(Some(24));
        assert!(narrow.lines().all(|line| line.len() <= 24), "{narrow}");
        assert!(narrow.lines().count() > 3, "{narrow}");
    }

    #[test]
    fn a_line_end_in_a_cell_breaks_no_row() {
        let mut table = Table::new([("value", Side::Left)]);
        table.row(["a\nb"]);
        assert_eq!(table.render(None), "VALUE\na b\n");
    }
}
