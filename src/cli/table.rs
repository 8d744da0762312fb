//! Tables for people: aligned columns, two spaces apart.

/// A table. A column that is empty all the way down is not shown.
pub(super) struct Table {
    columns: Vec<Column>,
}

struct Column {
    title: String,
    to_the_right: bool,
    cells: Vec<String>,
}

impl Table {
    /// A table with columns of `titles`. Those that end in `>` hold numbers.
    pub(super) fn new<T: AsRef<str>>(titles: impl IntoIterator<Item = T>) -> Self {
        let column = |title: T| {
            let (title, to_the_right) = match title.as_ref().strip_suffix('>') {
                Some(title) => (title, true),
                None => (title.as_ref(), false),
            };
            Column { title: title.to_owned(), to_the_right, cells: Vec::new() }
        };
        Self { columns: titles.into_iter().map(column).collect() }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            column.cells.push(printable(&cell));
        }
    }

    /// Whether it has no rows.
    pub(super) fn is_empty(&self) -> bool {
        self.columns.iter().all(|column| column.cells.is_empty())
    }

    /// The table as text, with a line for each row.
    pub(super) fn render(&self) -> String {
        let columns = self.columns.iter().filter(|column| column.is_used()).collect::<Vec<_>>();
        let rows = columns.iter().map(|column| column.cells.len()).max().unwrap_or(0);
        let line = |cell: &dyn Fn(&Column) -> String| {
            let cells = columns.iter().map(|column| column.pad(&cell(column)));
            let line = cells.collect::<Vec<_>>().join("  ");
            format!("{}\n", line.trim_end())
        };
        let titles = line(&|column| column.title.clone());
        let cell =
            |row: usize| move |column: &Column| column.cells.get(row).cloned().unwrap_or_default();
        titles + &(0..rows).map(|row| line(&cell(row))).collect::<String>()
    }
}

impl Column {
    fn is_used(&self) -> bool {
        self.cells.iter().any(|cell| !cell.is_empty())
    }

    fn pad(&self, cell: &str) -> String {
        let cells = self.cells.iter().chain([&self.title]);
        let width = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        if self.to_the_right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
    }
}

/// A line for each row: its title, and its text in a column.
pub(super) fn aligned(rows: &[(String, String)]) -> String {
    let width = rows.iter().map(|(title, _)| title.chars().count()).max().unwrap_or(0);
    let line = |(title, text): &(String, String)| {
        let line = format!("{:<width$}  {}", printable(title), printable(text));
        format!("{}\n", line.trim_end())
    };
    rows.iter().map(line).collect()
}

/// `text` without what moves a terminal's cursor or changes its colours.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(titles: &[&str], rows: &[&[&str]]) -> String {
        let mut table = Table::new(titles);
        for row in rows {
            table.row(row.iter().map(|cell| (*cell).to_owned()));
        }
        table.render()
    }

    #[test]
    fn columns_are_aligned() {
        assert_eq!(
            table(
                &["KEY", "RPM>", "STATE"],
                &[&["flash_01", "12/15", "ready"], &["p", "1/60", "cooling"]]
            ),
            "KEY         RPM  STATE\n\
             flash_01  12/15  ready\n\
             p          1/60  cooling\n"
        );
    }

    #[test]
    fn an_empty_column_is_left_out_and_no_line_ends_in_space() {
        assert_eq!(
            table(&["A", "B", "C"], &[&["1", "", ""], &["22", "", "x"]]),
            "A   C\n1\n22  x\n"
        );
    }

    #[test]
    fn rows_stand_in_two_columns() {
        let rows = [("a", "1"), ("long", "2 \u{1b}"), ("b", "")];
        let rows = rows.map(|(title, text)| (title.to_owned(), text.to_owned()));
        assert_eq!(aligned(&rows), "a     1\nlong  2 \u{fffd}\nb\n");
    }

    #[test]
    fn nothing_in_a_cell_moves_the_cursor() {
        assert_eq!(table(&["A"], &[&["\u{1b}[2Jé\n"]]), "A\n\u{fffd}[2Jé\u{fffd}\n");
    }
}
